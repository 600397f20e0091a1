"""Reading hand-over files back: what a partner holds of a run that a restored database has lost.

Every row proves itself: its number has a check digit, and its PIN is the one that our key gives for it. No message
shows what stands in a row; a line's number does.
"""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from models.errors import NotFound, RefusedInput
from models.handover import EXPORT_HEADER
from models.keys import KeyRing, parse_voucher_number, pin
from models.money import BadAmount, parse_amount
from models.tables import LINES_PER_RUN

#: What mends a file that cannot be used.
AS_WRITTEN = "take the file as `voucher export` wrote it, and as no spreadsheet has changed it"


@dataclass(frozen=True, slots=True)
class HandedOver:
    """One voucher, as its file has it."""

    voucher_id: int
    registration_id: str
    amount_minor: int
    valid_until: date
    key_version: int


@dataclass(slots=True)
class Files:
    """What the files of one run hold together."""

    vouchers: list[HandedOver] = field(default_factory=list)  #: by number, each once
    digests: list[str] = field(default_factory=list)  #: SHA-256 of each file

    @property
    def amount_minor(self) -> int:
        """The sum."""
        return sum(voucher.amount_minor for voucher in self.vouchers)


def read_handed_over(paths: Sequence[Path], *, run_id: int, currency: str, keys: KeyRing) -> Files:
    """The vouchers of a run's hand-over files. A voucher may stand in several of them, if they say the same.

    Raises RefusedInput naming file and line for a row that is not ours, of another run, or there twice; NotFound.
    """
    found: dict[int, HandedOver] = {}
    families: dict[str, int] = {}
    files = Files()
    for path in paths:
        here: set[int] = set()
        for place, row in _read_rows(path, files):
            voucher = _parse(place, row, run_id=run_id, currency=currency, keys=keys)
            known = found.setdefault(voucher.voucher_id, voucher)
            if voucher.voucher_id in here:
                raise _refused(place, "its voucher stands in this file twice")
            if known != voucher:
                raise _refused(place, "another file says something else of its voucher")
            if families.setdefault(voucher.registration_id, voucher.voucher_id) != voucher.voucher_id:
                raise _refused(place, "its family has another voucher of this run in these files")
            here.add(voucher.voucher_id)
    files.vouchers = [found[number] for number in sorted(found)]
    return files


def _read_rows(path: Path, files: Files) -> Iterator[tuple[str, list[str]]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None
    files.digests.append(hashlib.sha256(content).hexdigest())
    try:
        rows = csv.reader(content.decode().splitlines())
        header = next(rows, [])
        if tuple(header) != EXPORT_HEADER:
            raise RefusedInput(
                f"{path} is no hand-over file: its first line is another", hint="despensa voucher export"
            )
        for row in rows:
            yield f"{path}, line {rows.line_num}", row
    except (UnicodeDecodeError, csv.Error):
        raise RefusedInput(f"{path} is no hand-over file: it is no CSV in UTF-8") from None


def _parse(place: str, row: list[str], *, run_id: int, currency: str, keys: KeyRing) -> HandedOver:
    if len(row) != len(EXPORT_HEADER):
        raise _refused(place, f"it has {len(row)} columns and not {len(EXPORT_HEADER)}")
    registration_id, number, digits, amount, row_currency, until = row
    try:
        voucher_id = parse_voucher_number(number)
    except RefusedInput:
        raise _refused(place, "the check digit of its voucher does not fit") from None
    if voucher_id // LINES_PER_RUN != run_id:
        raise _refused(place, f"its voucher is of run id {voucher_id // LINES_PER_RUN}, not {run_id}")
    versions = [key.version for key in keys.keys if pin(keys, version=key.version, voucher_id=voucher_id) == digits]
    if not versions:
        raise _refused(place, "its PIN is none that our keys give: it was changed, or a version of pin.key is missing")
    try:
        amount_minor, valid_until = parse_amount(amount, currency=currency), date.fromisoformat(until)
    except (BadAmount, ValueError):
        raise _refused(place, "its amount or its date cannot be read") from None
    if amount_minor < 1 or row_currency != currency or not registration_id:
        raise _refused(place, "its amount, currency or registration is none that we wrote")
    return HandedOver(voucher_id, registration_id, amount_minor, valid_until, versions[0])


def _refused(place: str, reason: str) -> RefusedInput:
    return RefusedInput(
        f"{place}: {reason}", hint="take the file as it was written, without passing it through a spreadsheet"
    )

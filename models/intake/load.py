"""Loading a folder or a file, in one transaction: all of it, or nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from models.errors import RefusedInput
from models.events import FileImported
from models.intake.funding import load_funds, load_rates
from models.intake.households import load_households
from models.intake.places import load_locations, load_stores
from models.intake.programme import load_programme
from models.intake.report import FileReport
from models.intake.rows import BadFile, require_file
from models.journal import append
from models.outgoing import INTERNET, Outgoing
from models.runs import only_programme
from models.storage import Database, Tx
from models.tables import Programme

#: A folder's files in the order in which they rest on each other; funds last, since releases wait for a fund that is
#: given money until the whole import has ended.
PATTERNS = ("programme.toml", "locations.csv", "stores.csv", "rates.csv", "households*.csv", "funds.csv")


class DryRun(Exception):  # no error: it ends a transaction that was only to be looked at
    """Rolls everything back."""


def load(
    database: Database, path: Path, *, programme: str | None, dry_run: bool, show: Callable[[list[FileReport]], None],
    keys: Path | None = None, outgoing: Outgoing = INTERNET,
) -> list[FileReport]:  # fmt: skip
    """Load a folder, or one file. `show` is told what will change before it is applied. `keys` is the folder of the
    key files: where it is not given, a file that says who its families are is refused. `outgoing` is where stores and
    issuers may be.

    Raises BadFile, with nothing changed, at the first rule that is broken; NotFound where a file belongs to a
    programme that is not there; Misconfigured for a person key that is missing.
    """
    files = _files(path)
    reports: list[FileReport] = []
    try:
        with database.transaction() as tx:
            owner: Programme | None = None
            for file in files:
                owner, report = _load_file(tx, file, owner, code=programme, keys=keys, outgoing=outgoing)
                reports.append(report)
            show(reports)
            if dry_run:
                raise DryRun
    except DryRun:
        pass
    return reports


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise RefusedInput(f"there is no file or folder {path}")
    if path.is_file():
        if not any(path.match(pattern) for pattern in PATTERNS):
            raise RefusedInput(f"{path.name} is none of the files that can be imported: {', '.join(PATTERNS)}")
        return [path]
    files = [file for pattern in PATTERNS for file in sorted(path.glob(pattern))]
    if not files:
        raise RefusedInput(f"{path} holds none of the files that can be imported: {', '.join(PATTERNS)}")
    return files


def _load_file(
    tx: Tx, file: Path, owner: Programme | None, *, code: str | None, keys: Path | None, outgoing: Outgoing
) -> tuple[Programme, FileReport]:
    if file.name == "programme.toml":
        owner, report = load_programme(tx, file, outgoing)
    else:
        owner = owner or only_programme(tx, code)
        report = _load_csv(tx, file, owner, keys=keys, outgoing=outgoing)
    if report.changes_anything:
        append(
            tx,
            FileImported(
                kind=report.kind, file_digest=_digest(file), added=report.added, changed=report.changed,
                unchanged=report.unchanged, operator=tx.operator,
            ),
        )  # fmt: skip
    return owner, report


def _load_csv(tx: Tx, file: Path, owner: Programme, *, keys: Path | None, outgoing: Outgoing) -> FileReport:
    require_file(file)
    if file.name == "locations.csv":
        return load_locations(tx, file, owner)
    if file.name == "stores.csv":
        return load_stores(tx, file, outgoing)
    if file.name == "funds.csv":
        return load_funds(tx, file, owner)
    if file.name == "rates.csv":
        return load_rates(tx, file, owner)
    return load_households(tx, file, owner, keys=keys, digest=_digest(file))


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise BadFile(file, f"cannot be read: {type(error).__name__}") from None

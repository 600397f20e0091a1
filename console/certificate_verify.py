"""Checking certificates with nothing but the files and a public key: each alone, then those of a month together.

Within a file the families' HMACs ascend strictly, so none stands there twice. Those of one programme and month are
under one key, so over its files an equal HMAC is the same family, paid twice. Memory stays flat: all files are read
side by side, as one ascending list.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from pathlib import Path

from models.certificate import CertificateFile, Head, ReleasedRun, is_ascending, read_certificate
from models.errors import RefusedInput

#: Families that are in two files, told one by one.
TWICE_TOLD = 10


@dataclass(slots=True)
class Month:
    """The certificates of one programme and month that were given."""

    programme: str
    cycle: str
    files: list[CertificateFile] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    paid_twice: int = 0  #: families that stand in two of the files

    @property
    def newest(self) -> Head:
        """The one as of the latest place in the journal: it knows of the most runs."""
        return max((each.head for each in self.files), key=lambda head: head.journal.seq)

    @property
    def missing(self) -> list[ReleasedRun]:
        """Runs that were released, by the newest certificate, and of which none was given."""
        here = {each.head.run for each in self.files}
        return [run for run in self.newest.released_runs if run.run not in here]

    @property
    def families(self) -> int:
        """Credited, over these files."""
        return sum(each.head.credited.families for each in self.files)

    @property
    def credited_minor(self) -> int:
        """The same in money."""
        return sum(each.head.credited.amount_minor for each in self.files)


def verify(paths: Sequence[Path], public_keys: set[str]) -> list[Month]:
    """Certificates by programme and month, with all that does not agree.

    Raises RefusedInput for a file that has not the form of a certificate, and where two are of the same run.
    """
    months: dict[tuple[str, str], Month] = {}
    for path in paths:
        certificate = read_certificate(path)
        head = certificate.head
        month = months.setdefault((head.programme, head.cycle), Month(head.programme, head.cycle))
        month.files.append(certificate)
    for month in months.values():
        _refuse_same_run(month)
        for certificate in month.files:
            month.faults += [f"{certificate.path}: {reason}" for reason in faults_of(certificate, public_keys)]
        month.faults += _faults_between(month)
        if not month.faults:  # otherwise a line is not where it ought to be
            _find_paid_twice(month)
    _compare_journals(list(months.values()))
    return [months[key] for key in sorted(months)]


def faults_of(certificate: CertificateFile, public_keys: set[str]) -> Iterator[str]:
    """What of one file is not true. A file that nobody trusted has signed is not looked at any further."""
    head = certificate.head
    if head.public_key not in public_keys:
        yield "it is signed with another key than the one that was given: anybody may have made it"
        return
    if not certificate.is_signed_by(bytes.fromhex(head.public_key.removeprefix("ed25519:"))):
        yield "its first line is not the one that was signed"
        return
    rules = (
        (f"{certificate.families:,} families stand in it, it says {head.credited.families:,}",
         certificate.families == head.credited.families),
        ("its run is not that of its month, location and part", head.run == _code(head)),
        ("credited, waiting and not owed do not come to what was planned", _adds_up(head)),
        ("what the funds paid does not come to what was credited", _funds_add_up(head)),
        ("it is completed, and cases are open", head.state != "completed" or head.cases_open.families == 0),
        ("who planned it approved it, or one person approved it twice", _has_four_eyes(head)),
        ("it does not list its own run as released", _own(head) in head.released_runs),
    )  # fmt: skip
    yield from (reason for reason, holds in rules if not holds)
    yield from _faults_of_families(certificate)


def _faults_of_families(certificate: CertificateFile) -> Iterator[str]:
    digest, last, number = hashlib.sha256(), b"", 2
    for chunk in certificate.chunks():
        digest.update(b"\n".join(chunk) + b"\n")
        if not is_ascending(chunk, last):
            yield f"its families do not ascend from line {number} on: one may stand there twice"
            return
        last, number = chunk[-1], number + len(chunk)
    if digest.hexdigest() != certificate.head.families_sha256:
        yield "its families are not those that were signed"


def _refuse_same_run(month: Month) -> None:
    known: dict[str, CertificateFile] = {}
    for each in month.files:
        other = known.setdefault(each.head.run, each)
        if other is each:
            continue
        older, newer = sorted((other, each), key=lambda file: file.head.journal.seq)
        if older.head.journal.seq == newer.head.journal.seq:
            told = "both of the same place in the journal: leave one of them out"
        else:
            told = f"{newer.path} is newer (as of {newer.head.journal.seq}) and replaces {older.path}"
        raise RefusedInput(f"{other.path} and {each.path} are of the same run {each.head.run}", hint=told)


def _faults_between(month: Month) -> Iterator[str]:
    """What certificates of one month must agree about."""
    heads = [each.head for each in month.files]
    if len({head.currency for head in heads}) > 1:
        yield f"{month.cycle}: the certificates are in several currencies"
    if len({head.public_key for head in heads}) > 1:
        yield f"{month.cycle}: the certificates are of several keys: nobody can compare their families"
    listed = {run.run: run for run in month.newest.released_runs}
    for each in month.files:
        for run in each.head.released_runs:
            if listed.get(run.run) != run:
                yield f"{each.path}: what it says of run {run.run} is not what the newest certificate says"


def _find_paid_twice(month: Month) -> None:
    streams = [zip(each.lines(), repeat(each), strict=False) for each in month.files]
    last, where = b"", month.files[0]
    for line, certificate in heapq.merge(*streams, key=itemgetter(0)):
        if line == last:
            month.paid_twice += 1
            if month.paid_twice <= TWICE_TOLD:
                month.faults.append(f"the family {line.decode()} is in {where.path} and in {certificate.path}")
        last, where = line, certificate
    if month.paid_twice > TWICE_TOLD:
        month.faults.append(f"and {month.paid_twice - TWICE_TOLD:,} more families are in two files")


def _compare_journals(months: Iterable[Month]) -> None:
    """One journal has one hash at a place."""
    known: dict[int, str] = {}
    for month in months:
        for each in month.files:
            place = each.head.journal
            if known.setdefault(place.seq, place.hash) != place.hash:
                month.faults.append(f"{each.path}: another certificate names another journal at its place {place.seq}")


def _code(head: Head) -> str:
    return f"{head.cycle}/{head.location}" + (f".{head.part}" if head.part > 1 else "")


def _own(head: Head) -> ReleasedRun:
    planned = head.planned
    return ReleasedRun(
        run=head.run, families=planned.families, amount_minor=planned.amount_minor, lines_digest=head.lines_digest
    )


def _adds_up(head: Head) -> bool:
    parts = (head.credited, head.cases_open, head.not_owed)
    return head.planned.families == sum(part.families for part in parts) and head.planned.amount_minor == sum(
        part.amount_minor for part in parts
    )


def _funds_add_up(head: Head) -> bool:
    return head.credited.families == sum(fund.families for fund in head.funds) and (
        head.credited.amount_minor == sum(fund.amount_minor for fund in head.funds)
    )


def _has_four_eyes(head: Head) -> bool:
    persons = [each.by for each in head.approvals if each.how == "person"]
    levels = [each.level for each in head.approvals]
    return (
        levels == list(range(1, len(levels) + 1))
        and len(levels) > 0
        and len(set(persons)) == len(persons)
        and head.planned_by not in persons
    )

"""Making the certificate of a run, from one instant of the database.

What it says is true as of a place in the sealed journal: facts and events are of the same transactions, so an instant
that has no unsealed event of a run shows it as the journal tells it up to the head of that instant.
"""

import hashlib
import heapq
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from models import custody
from models.certificate import (
    FORMAT,
    ApprovalAct,
    FundShare,
    Head,
    JournalPlace,
    Rate,
    ReleasedRun,
    Sum,
    cycle_key,
    family_hmac,
    public_key_text,
    sign,
    write_families,
)
from models.columns import instant_text
from models.errors import BooksDisagree, RefusedByState, RefusedInput
from models.events import CertificateCreated
from models.journal import append
from models.key_rotation import LIST_CERTIFICATES, LOCK_KEYS, require_same
from models.keys import Key, KeyRing
from models.retention import require_kept
from models.runs import find_run, of_run, summarise
from models.storage import Database, Query, Tx
from models.tables import LINES_PER_RUN, Location, Programme, Run, run_code
from models.whole_files import name_it, part_of

#: HMACs sorted in memory at a time; more of them lie sorted on the disk, and are merged.
SORTED_MAX = 200_000
HMAC_BYTES = 32

LIST_CREDITED_FAMILIES = Query("""
-- list_credited_families: of each voucher of a run the family and the amount, streamed; in any order
SELECT h.registration_id, d.amount_minor FROM voucher v JOIN disbursement d ON d.id = v.id
JOIN household h ON h.id = d.household_id WHERE v.id BETWEEN :first_id AND :last_id
""")

COUNT_UNSEALED = Query("""
-- count_unsealed: a run's events without a place in the log, but for certificates: they change nothing of the run
SELECT COUNT(*) FROM journal j
WHERE j.run_id = :run_id AND j.event <> 'certificate.created'
  AND NOT EXISTS (SELECT 1 FROM seal s WHERE s.journal_id = j.id)
""")

SUM_CASES_OF_RUN = Query("""
-- sum_cases_of_run: what a run's lines come to that wait, and those that were found not owed
SELECT CAST(COALESCE(SUM(CASE WHEN c.state = 'open' THEN d.amount_minor ELSE 0 END), 0) AS BIGINT) AS open_minor,
       CAST(COALESCE(SUM(CASE WHEN c.outcome = 'not_owed' THEN d.amount_minor ELSE 0 END), 0) AS BIGINT)
           AS not_owed_minor
FROM cases c JOIN disbursement d ON d.id = c.disbursement_id WHERE c.run_id = :run_id
""")

SUM_FUNDS_OF_RUN = Query("""
-- sum_funds_of_run: what each fund paid of a run, by batches and by cases that a person resolved; bounded by the funds
SELECT f.code, f.donor, CAST(SUM(COALESCE(b.credited, 1)) AS BIGINT) AS families,
       CAST(SUM(t.amount_minor) AS BIGINT) AS amount_minor
FROM transfer t JOIN fund f ON f.id = t.fund_id LEFT JOIN batch b ON b.id = t.batch_id
WHERE t.kind = 'credit' AND t.run_id = :run_id GROUP BY f.code, f.donor, f.position ORDER BY f.position
""")

LIST_RELEASED_RUNS = Query("""
-- list_released_runs: of a programme's month those whose release is sealed; bounded by the runs of a month
SELECT r.cycle, r.location_code, r.part, r.lines, r.planned_minor, r.digest FROM run r
WHERE r.programme_id = :programme_id AND r.cycle = :cycle
  AND EXISTS (SELECT 1 FROM journal j JOIN seal s ON s.journal_id = j.id
              WHERE j.run_id = r.id AND j.event = 'run.released')
ORDER BY r.location_code, r.part
""")


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that was written and journalled."""

    path: Path
    head: Head
    digest: str  #: SHA-256 of the file


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one instant of the database says of a run, but for its families."""

    run: Run
    key: Key
    fields: dict[str, object]  #: of the head
    credited: Sum


def create_certificate(database: Database, typed: str, *, keys: KeyRing, path: Path | None) -> Certified:
    """Write the certificate of a run that is over to a new file, 0600, and journal it. Flat memory, whatever its size.

    Without `path` its name says of what it is. The file is whole, on the disk and journalled before it gets its name.
    Raises RefusedInput where it exists or cannot be written; RefusedByState for a run that is not over, or of which
    something is not sealed yet; BooksDisagree where the vouchers are not what the books say.
    """
    with ExitStack() as stack:
        try:
            with database.reading() as tx:
                tx.allow_long_statement()
                facts = _read_facts(tx, find_run(tx, typed), keys)
                path = path or Path(_name(facts))
                _require_new(path)
                families = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                head = _write_sorted(tx, facts, families, folder=path.parent)
            part = part_of(path)
            stack.callback(part.unlink, missing_ok=True)
            digest = _write_new(part, head, families, key=facts.key)
            _journal(database, facts, head, keys=keys, digest=digest)
            name_it(part, path)
        except OSError as error:
            raise RefusedInput(f"{path} cannot be written: {error.strerror}", hint="give another FILE") from None
    return Certified(path, head, digest)


def sort_hmacs(hmacs: Iterable[bytes], *, folder: Path, at_a_time: int = SORTED_MAX) -> Iterator[bytes]:
    """HMACs in ascending order. What does not fit into memory lies in files without a name meanwhile."""
    with ExitStack() as stack:
        spilled: list[BinaryIO] = []
        chunk: list[bytes] = []
        for each in hmacs:
            chunk.append(each)
            if len(chunk) == at_a_time:
                stream = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                stream.write(b"".join(sorted(chunk)))
                stream.seek(0)
                spilled.append(stream)
                chunk.clear()
        yield from heapq.merge(*(iter(partial(stream.read, HMAC_BYTES), b"") for stream in spilled), sorted(chunk))


def _read_facts(tx: Tx, run: Run, keys: KeyRing) -> _Facts:
    head = custody.get_head(tx)
    _require_over(tx, run)
    require_kept(tx, run)
    programme = tx.get(Programme, Programme.id == run.programme_id)
    require_same(tx, keys)
    key = keys.get(_version_of(tx, programme.code, run.cycle) or keys.latest.version)
    counts, cases = summarise(tx, run.id).counts, tx.one(SUM_CASES_OF_RUN, run_id=run.id)
    credited = Sum(families=counts.credited, amount_minor=counts.credited_minor)
    funds = [
        FundShare(fund=row.code, donor=row.donor, families=int(row.families), amount_minor=int(row.amount_minor))
        for row in tx.all(SUM_FUNDS_OF_RUN, run_id=run.id)
    ]
    fields: dict[str, object] = {
        "format": FORMAT,
        "public_key": public_key_text(key),
        "key_version": key.version,
        "created_at": instant_text(tx.now),
        "programme": programme.code,
        "programme_name": programme.name,
        "location": run.location_code,
        "location_name": tx.get(Location, Location.code == run.location_code).name,
        "cycle": run.cycle,
        "part": run.part,
        "run": run_code(run),
        "state": run.state,
        "currency": run.currency,
        "planned": Sum(families=counts.planned, amount_minor=counts.planned_minor),
        "credited": credited,
        "cases_open": Sum(families=counts.cases, amount_minor=int(cases.open_minor)),
        "not_owed": Sum(families=counts.not_owed, amount_minor=int(cases.not_owed_minor)),
        "rate": _rate(run),
        "funds": funds,
        "lines_digest": run.digest,
        **_acts(run),
        "journal": JournalPlace(seq=head.seq, hash=head.hash),
        "released_runs": _released_runs(tx, run),
    }
    return _Facts(run, key, fields, credited)


def _require_over(tx: Tx, run: Run) -> None:
    if run.completed_at is None:
        raise RefusedByState(
            f"run {run_code(run)} is {run.state}: what it paid is certified once it is over",
            hint=f"despensa run status {run_code(run)}",
        )
    unsealed = int(tx.scalar(COUNT_UNSEALED, run_id=run.id))
    if unsealed:
        raise RefusedByState(
            f"{unsealed} events of run {run_code(run)} have no place in the journal yet: no head tells of them",
            hint="a scheduler seals within seconds: repeat the command; without one: despensa run start",
        )


def _version_of(tx: Tx, programme: str, cycle: str) -> int | None:
    """The key version of a month's certificates: that of its first one, or HMACs could not be compared; None before."""
    for row in tx.all(LIST_CERTIFICATES):
        fields = orjson.loads(row.fields)
        if (fields.get("programme"), fields.get("cycle")) == (programme, cycle):
            return int(fields["key_version"])
    return None


def _rate(run: Run) -> Rate | None:
    if run.rate_millionths is None:
        return None
    return Rate(
        from_currency=run.value_currency, millionths=run.rate_millionths, source=run.rate_source, date=run.rate_date
    )


def _acts(run: Run) -> dict[str, object]:
    """Who planned, approved and released. Of a run that is over all these are known."""
    assert run.approved_at and run.released_at and run.completed_at
    approvals = []
    if run.first_approved_by and run.first_approved_at:
        at = instant_text(run.first_approved_at)
        approvals.append(ApprovalAct(level=1, by=run.first_approved_by, at=at, how="person"))
    approvals.append(
        ApprovalAct(
            level=len(approvals) + 1, by=run.approved_by or "", at=instant_text(run.approved_at),
            how="policy" if run.approval == "policy" else "person",
        )
    )  # fmt: skip
    return {
        "planned_by": run.planned_by,
        "planned_at": instant_text(run.planned_at),
        "approvals": approvals,
        "released_by": run.released_by or "",
        "released_at": instant_text(run.released_at),
        "completed_at": instant_text(run.completed_at),
    }


def _released_runs(tx: Tx, run: Run) -> list[ReleasedRun]:
    return [
        ReleasedRun(run=run_code(row), families=row.lines, amount_minor=row.planned_minor, lines_digest=row.digest)
        for row in tx.all(LIST_RELEASED_RUNS, programme_id=run.programme_id, cycle=run.cycle)
    ]


def _name(facts: _Facts) -> str:
    code = run_code(facts.run).replace("/", "-")
    journal = facts.fields["journal"]
    assert isinstance(journal, JournalPlace)
    return f"{facts.fields['programme']}-{code}-as-of-{journal.seq}.certificate"


def _require_new(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise RefusedInput(f"{path} exists; a certificate is never overwritten", hint="give another FILE")
    if not path.parent.is_dir():
        raise RefusedInput(f"there is no folder {path.parent}", hint=f"mkdir -p -m 700 {path.parent}")


def _write_sorted(tx: Tx, facts: _Facts, families: BinaryIO, *, folder: Path) -> Head:
    """The families' lines, from the vouchers themselves, and the head that they give. Raises BooksDisagree."""
    run = facts.run
    secret = cycle_key(facts.key, programme=str(facts.fields["programme"]), cycle=run.cycle)
    sum_minor = 0

    def hmacs() -> Iterator[bytes]:
        nonlocal sum_minor
        span = {"first_id": run.id * LINES_PER_RUN, "last_id": (run.id + 1) * LINES_PER_RUN - 1}
        for row in tx.stream(LIST_CREDITED_FAMILIES, **span):
            sum_minor += row.amount_minor
            yield family_hmac(secret, row.registration_id)

    count, digest = write_families(families, sort_hmacs(hmacs(), folder=folder))
    if (count, sum_minor) != (facts.credited.families, facts.credited.amount_minor):
        raise BooksDisagree(
            f"run {run_code(run)}: its vouchers are {count:,}, its books say {facts.credited.families:,}",
            hint="despensa run reconcile",
        )
    return Head.model_validate({**facts.fields, "families_sha256": digest})


def _write_new(path: Path, head: Head, families: BinaryIO, *, key: Key) -> str:
    """Write head, families and signature to a file that must not exist, for its owner alone. Returns its SHA-256."""
    line = head.line()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as sink:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise RefusedInput(f"{path.parent} cannot keep a file from others", hint="choose a folder on a local disk")
        sink.write(line)
        families.seek(0)
        shutil.copyfileobj(families, sink, 1 << 20)
        sink.write(sign(key, line))
        sink.flush()
        os.fsync(descriptor)
        sink.seek(0)
        return hashlib.file_digest(sink, "sha256").hexdigest()


def _journal(database: Database, facts: _Facts, head: Head, *, keys: KeyRing, digest: str) -> None:
    """Raises RefusedByState where another desk has signed a certificate of the month with another version meanwhile."""
    with database.transaction() as tx:
        tx.one(LOCK_KEYS)
        require_same(tx, keys)
        if _version_of(tx, head.programme, head.cycle) not in (None, facts.key.version):
            raise RefusedByState(f"certificates of {head.cycle} have another key version by now", hint="repeat it")
        append(
            tx,
            CertificateCreated(
                **of_run(tx, facts.run), state=head.state, credited=head.credited.families,
                credited_minor=head.credited.amount_minor, cases=head.cases_open.families, currency=head.currency,
                as_of_seq=head.journal.seq, key_version=head.key_version, file_digest=digest, operator=tx.operator,
            ),
        )  # fmt: skip

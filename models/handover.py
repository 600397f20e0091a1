"""What leaves for partners and stores: the life of a voucher, the hand-over file, the stores and their secrets.

A hand-over file holds registration ids and PINs. It is written for its owner alone, under a name that no reader
knows until it is whole; the journal keeps its digest, never its content.
"""

import csv
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, Any, TypedDict
from zoneinfo import ZoneInfo

from sqlalchemy import Row

from models.calendar import zone
from models.columns import instant_text
from models.errors import NotFound, RefusedByState, RefusedInput
from models.events import SecretRotated, VouchersExported
from models.journal import append
from models.keys import KeyRing, pin, voucher_number
from models.money import MINOR_PER_MAJOR
from models.retention import require_kept
from models.runs import of_run
from models.storage import Database, Query, Tx
from models.tables import LINES_PER_RUN, Location, Run, Store, run_code
from models.whole_files import name_it, part_of

#: So long the secret before a rotation signs, too. Source: issue "The monthly run, end to end", Workers.
PREVIOUS_SECRET_FOR = timedelta(hours=24)
STORES_MAX = 10_000

EXPORT_HEADER = ("registration_id", "voucher_number", "pin", "amount", "currency", "valid_until")

LIST_VOUCHERS_TO_EXPORT = Query("""
-- list_vouchers_to_export: a run's vouchers in order, streamed; one that a person resolved was credited with its case
SELECT v.id, v.key_version, h.registration_id, d.amount_minor, COALESCE(b.credited_at, c.closed_at) AS credited_at
FROM voucher v JOIN disbursement d ON d.id = v.id JOIN household h ON h.id = d.household_id
LEFT JOIN batch b ON b.id = v.batch_id
LEFT JOIN cases c ON c.disbursement_id = v.id AND c.outcome = 'paid' AND v.batch_id IS NULL
WHERE v.id BETWEEN :first_id AND :last_id ORDER BY v.id
""")

COUNT_VOUCHERS = Query("""
-- count_vouchers: of one run
SELECT COUNT(*) FROM voucher WHERE id BETWEEN :first_id AND :last_id
""")

LIST_KEY_VERSIONS = Query("""
-- list_key_versions: on which a run's PINs rest; bounded by the versions of the key
SELECT DISTINCT key_version FROM voucher WHERE id BETWEEN :first_id AND :last_id
""")

FIND_LIFE = Query("""
-- find_life: one line with its voucher, if it has one; a line of a run that was never released has no batch that counts
SELECT d.id, d.amount_minor, r.id AS run_id, r.currency, r.validity_days, p.code AS programme, r.location_code, r.cycle,
       r.part, r.state AS run_state, l.time_zone, v.id AS voucher_id, v.batch_id, v.key_version,
       COALESCE(b.credited_at, c.closed_at) AS credited_at, c.id AS case_id, f.code AS fund
FROM disbursement d JOIN run r ON r.id = d.id / 10000000 JOIN programme p ON p.id = r.programme_id
JOIN location l ON l.code = r.location_code
LEFT JOIN voucher v ON v.id = d.id
LEFT JOIN batch b ON b.id = v.batch_id
LEFT JOIN cases c ON c.disbursement_id = v.id AND c.outcome = 'paid' AND v.batch_id IS NULL
LEFT JOIN fund f ON f.id = COALESCE(b.fund_id, c.fund_id)
WHERE d.id = :disbursement_id
""")

FIND_SEQ = Query("""
-- find_seq: the place in the log of the event that credited; :mention is a field and its value in canonical JSON
SELECT j.id AS journal_id, s.seq FROM journal j LEFT JOIN seal s ON s.journal_id = j.id
WHERE j.run_id = :run_id AND j.event = :event AND j.fields LIKE :mention
ORDER BY j.id LIMIT 1
""")

LIST_CASES_OF_LINE = Query("""
-- list_cases_of_line: what went wrong with one line, oldest first
SELECT id, reason, state, outcome, attempts, opened_at, closed_at, next_attempt_at FROM cases
WHERE disbursement_id = :disbursement_id ORDER BY id LIMIT 1000
""")

LIST_STORES = Query("""
-- list_stores: each store, what it was not told yet, and whether it is cut off
SELECT s.id AS store, s.location_code, l.name AS location, s.active, s.failures, s.breaker_until, s.secret_version,
       COALESCE(SUM(CASE WHEN n.state = 'due' THEN 1 ELSE 0 END), 0) AS notices_due,
       COALESCE(SUM(CASE WHEN n.state = 'delivered' THEN 1 ELSE 0 END), 0) AS notices_delivered,
       COALESCE(SUM(CASE WHEN n.state = 'undelivered' THEN 1 ELSE 0 END), 0) AS notices_undelivered
FROM store s JOIN location l ON l.code = s.location_code LEFT JOIN notice n ON n.store_id = s.id
GROUP BY s.id, s.location_code, l.name, s.active, s.failures, s.breaker_until, s.secret_version
ORDER BY s.location_code, s.id LIMIT :limit
""")

ROTATE_SECRET = Query("""
-- rotate_secret: the next version signs, and the one before until :previous_until
UPDATE store SET secret_version = secret_version + 1, previous_secret_until = :previous_until
WHERE id = :store_id AND secret_version = :version
""")


@dataclass(frozen=True, slots=True)
class CaseOfLine:
    """One trouble that a line had."""

    case: int
    reason: str
    outcome: str  #: open, retried, paid or not_owed
    attempts: int
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Life:
    """The life of one voucher, or of a line that has none yet. Nothing of the family."""

    number: str
    disbursement: int
    credited: bool
    programme: str
    run: str
    run_state: str
    location: str
    cycle: str
    amount_minor: int
    currency: str
    batch: int | None  #: None before it was credited, and where a person resolved its case
    fund: str | None
    credited_at: datetime | None
    valid_until: date | None
    key_version: int | None
    seq: int | None  #: of the event that credited it; None until it is sealed
    cases: tuple[CaseOfLine, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """A hand-over file that was written and journalled."""

    path: Path
    vouchers: int
    digest: str  #: SHA-256 of the file


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A store, what it was not told yet, and whether it is cut off."""

    store: str
    location_code: str
    location: str
    active: bool
    notices_due: int
    notices_delivered: int
    notices_undelivered: int
    failures: int  #: in a row
    breaker_until: datetime | None  #: None, or past, where nothing keeps notices from it
    secret_version: int


class _Range(TypedDict):
    """The ids of a run's lines."""

    first_id: int
    last_id: int


def valid_until(credited_at: datetime, *, time_zone: ZoneInfo, validity_days: int) -> date:
    """The last local day on which a voucher is valid: so many days after the local day on which it was credited."""
    return credited_at.astimezone(time_zone).date() + timedelta(days=validity_days)


def decimal_text(amount_minor: int) -> str:
    """Minor units as `1234.56`, for files."""
    return f"{amount_minor // MINOR_PER_MAJOR}.{amount_minor % MINOR_PER_MAJOR:02}"


def export_row(
    *, voucher_id: int, registration_id: str, amount_minor: int, currency: str, until: date, pin_digits: str
) -> tuple[str, ...]:
    """One row of a hand-over file, in the order of EXPORT_HEADER."""
    return (
        registration_id,
        voucher_number(voucher_id),
        pin_digits,
        decimal_text(amount_minor),
        currency,
        until.isoformat(),
    )


def count_vouchers(tx: Tx, run: Run) -> int:
    """How many vouchers a run has so far."""
    return int(tx.scalar(COUNT_VOUCHERS, **_range_of(run)))


def export_run(database: Database, run: Run, *, keys: KeyRing, path: Path) -> Export:
    """Write a run's vouchers to a new file, 0600, and journal it. Flat memory, whatever the size of the run.

    The file is whole, on the disk and journalled before it gets its name: a crash may leave an event without a file,
    never a file without an event. Raises RefusedInput if `path` exists or its folder cannot keep it from others,
    RefusedByState if nothing was credited yet, Misconfigured if a version of the key is missing.
    """
    if path.exists() or path.is_symlink():
        raise RefusedInput(f"{path} exists; a hand-over file is never overwritten", hint="give another name to --out")
    if not path.parent.is_dir():
        raise RefusedInput(f"there is no folder {path.parent}", hint=f"mkdir -p -m 700 {path.parent}")
    part = part_of(path)
    try:
        with database.reading() as tx:
            tx.allow_long_statement()
            require_kept(tx, run)
            for row in tx.all(LIST_KEY_VERSIONS, **_range_of(run)):
                keys.get(row.key_version)  # refuse before the first row, not at the millionth
            rows = _export_rows(tx, run, keys=keys)
            vouchers, digest = _write_new(part, rows)
        if vouchers == 0:
            raise RefusedByState(
                f"run {run.cycle}/{run.location_code} has no voucher yet", hint="despensa run status, then repeat"
            )
        with database.transaction() as tx:
            fields = of_run(tx, run)
            append(tx, VouchersExported(**fields, vouchers=vouchers, file_digest=digest, operator=tx.operator))
        name_it(part, path)
    except OSError as error:
        raise RefusedInput(f"{path} cannot be written: {error.strerror}", hint="choose another --out") from None
    finally:
        part.unlink(missing_ok=True)
    return Export(path, vouchers, digest)


def find_life(tx: Tx, disbursement_id: int) -> Life | None:
    """The life of one line and its voucher; None where there is no such line."""
    row = tx.first(FIND_LIFE, disbursement_id=disbursement_id)
    if row is None:
        return None
    credited = row.voucher_id is not None
    until = None
    if credited:
        until = valid_until(row.credited_at, time_zone=zone(row.time_zone), validity_days=row.validity_days)
    return Life(
        number=voucher_number(row.id),
        disbursement=row.id,
        credited=credited,
        programme=row.programme,
        run=run_code(row),
        run_state=row.run_state,
        location=row.location_code,
        cycle=row.cycle,
        amount_minor=row.amount_minor,
        currency=row.currency,
        batch=row.batch_id,
        fund=row.fund,
        credited_at=row.credited_at,
        valid_until=until,
        key_version=row.key_version,
        seq=_seq_of(tx, run_id=row.run_id, batch_id=row.batch_id, case_id=row.case_id) if credited else None,
        cases=tuple(_case_of(case) for case in tx.all(LIST_CASES_OF_LINE, disbursement_id=disbursement_id)),
    )


def list_stores(tx: Tx) -> list[StoreRow]:
    """Every store by location, up to STORES_MAX."""
    rows = tx.all(LIST_STORES, limit=STORES_MAX)
    return [
        StoreRow(
            store=row.store,
            location_code=row.location_code,
            location=row.location,
            active=bool(row.active),
            notices_due=int(row.notices_due),
            notices_delivered=int(row.notices_delivered),
            notices_undelivered=int(row.notices_undelivered),
            failures=row.failures,
            breaker_until=row.breaker_until,
            secret_version=row.secret_version,
        )
        for row in rows
    ]


def get_store(tx: Tx, store_id: str, *, lock: bool = False) -> Store:
    """The store of this id. Raises NotFound."""
    store = tx.find(Store, Store.id == store_id, lock=lock)
    if store is None:
        raise NotFound(f"there is no store {store_id}", hint="despensa store list")
    return store


def rotate_secret(tx: Tx, store_id: str) -> Store:
    """Make the next version of a store's secret; the one before signs too for PREVIOUS_SECRET_FOR. Returns the store.

    Rotating again within that time ends the oldest at once: two secrets sign, never three.
    """
    store = get_store(tx, store_id, lock=True)
    until = tx.now + PREVIOUS_SECRET_FOR
    if tx.execute(ROTATE_SECRET, store_id=store_id, version=store.secret_version, previous_until=until) != 1:
        raise RefusedByState(
            f"the secret of {store_id} was rotated meanwhile", hint=f"despensa store secret {store_id}"
        )
    rotated = get_store(tx, store_id)
    append(
        tx,
        SecretRotated(
            store=store_id,
            version=rotated.secret_version,
            previous_until=instant_text(until),
            operator=tx.operator,
        ),
    )
    return rotated


def _range_of(run: Run) -> _Range:
    return {"first_id": run.id * LINES_PER_RUN, "last_id": (run.id + 1) * LINES_PER_RUN - 1}


def _export_rows(tx: Tx, run: Run, *, keys: KeyRing) -> Iterator[tuple[str, ...]]:
    time_zone = zone(tx.get(Location, Location.code == run.location_code).time_zone)
    for row in tx.stream(LIST_VOUCHERS_TO_EXPORT, **_range_of(run)):
        yield export_row(
            voucher_id=row.id,
            registration_id=row.registration_id,
            amount_minor=row.amount_minor,
            currency=run.currency,
            until=valid_until(row.credited_at, time_zone=time_zone, validity_days=run.validity_days),
            pin_digits=pin(keys, version=row.key_version, voucher_id=row.id),
        )


class _Digesting:
    """A text sink for `csv` that takes the digest of what it writes."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._digest = hashlib.sha256()

    def write(self, text: str) -> int:
        """One row, as UTF-8."""
        encoded = text.encode()
        self._digest.update(encoded)
        return self._sink.write(encoded)

    def hexdigest(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()


def _write_new(path: Path, rows: Iterable[tuple[str, ...]]) -> tuple[int, str]:
    """Write header and rows to a file that must not exist, for its owner alone. Returns rows and SHA-256."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise RefusedInput(f"{path.parent} cannot keep a file from others", hint="choose a folder on a local disk")
        digesting = _Digesting(sink)
        writer = csv.writer(digesting, lineterminator="\n")
        writer.writerow(EXPORT_HEADER)
        count = 0
        for row in rows:
            writer.writerow(row)
            count += 1
        sink.flush()
        os.fsync(descriptor)
    return count, digesting.hexdigest()


def _seq_of(tx: Tx, *, run_id: int, batch_id: int | None, case_id: int | None) -> int | None:
    event, mention = (
        ("batch.credited", f'%"batch_id":{batch_id},%') if batch_id is not None
        else ("case.resolved", f'%"case_id":{case_id},%')
    )  # fmt: skip
    row = tx.first(FIND_SEQ, run_id=run_id, event=event, mention=mention)
    return None if row is None else row.seq


def _case_of(row: Row[Any]) -> CaseOfLine:
    return CaseOfLine(
        case=row.id,
        reason=row.reason,
        outcome=row.outcome or row.state,
        attempts=row.attempts,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )

"""Bringing batches into rare states, and the one check of all books."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import text, update

from models.keys import credit_reference, load_keys
from models.reconcile import reconcile
from models.storage import Database
from models.tables import Batch, Case, Intent, Issuer, Journal, Notice, Run, Store
from scheduler.sweep import sweep_exhausted
from tests.builders import batches_of
from tests.faults.report import Row
from workers.credit import TAKES_MAX, Lease, take_batch


def assert_books_agree(database: Database) -> None:
    """Every check of `run reconcile`."""
    with database.reading() as tx:
        differences = [each.as_json() for each in reconcile(tx)]
    assert differences == [], differences


def count(database: Database, statement: str) -> int:
    """A number from the database."""
    with database.reading() as tx:
        tx.allow_long_statement()
        return int(tx.connection.execute(text(statement)).scalar_one())


def vouchers_by_batch(database: Database) -> "Counter[int]":
    """How many there are of each batch."""
    counts = text("SELECT batch_id, COUNT(*) AS credited FROM voucher GROUP BY batch_id")
    with database.reading() as tx:
        tx.allow_long_statement()
        return Counter({int(row.batch_id): int(row.credited) for row in tx.connection.execute(counts)})


def count_credited(database: Database) -> int:
    """How many families have a voucher, each counted once a month however many it has.

    Sorted, in one process: where PostgreSQL's parallel workers hash so many different rows, whoever gathers them takes
    minutes for a million.
    """
    families = (
        "SELECT COUNT(DISTINCT d.household_id || ' ' || d.cycle) FROM voucher v JOIN disbursement d ON d.id = v.id"
    )
    return count(database, families)


def of_vouchers(fault: str, database: Database, *, families: int, runs: int = 1) -> Row:
    """A row for the campaign's table: our vouchers, held against the families that are owed one each."""
    credited = count_credited(database)
    return Row(
        fault=fault, runs=runs, doubled=vouchers_by_batch(database).total() - credited, lost=families - credited
    )  # fmt: skip


def credits_by_reference(database: Database, keys_folder: Path) -> dict[str, int]:
    """Our vouchers as the issuer of `northern-mexico` is to know them: amounts in minor units, by reference."""
    keys = load_keys(keys_folder, "reference")
    vouchers = text(
        "SELECT h.registration_id, d.cycle, d.amount_minor FROM voucher v "
        "JOIN disbursement d ON d.id = v.id JOIN household h ON h.id = d.household_id"
    )
    with database.reading() as tx:
        rows = tx.connection.execute(vouchers).all()
    return {
        credit_reference(
            keys, programme="northern-mexico", registration_id=row.registration_id, cycle=row.cycle
        ): row.amount_minor
        for row in rows
    }


def expire_lease(database: Database, batch: Batch) -> None:
    """Set the lease of a batch back, as if its worker were long gone, and make its next attempt due."""
    with database.transaction() as tx:
        past = tx.now - timedelta(minutes=1)
        tx.connection.execute(
            update(Batch)
            .where(Batch.id == batch.id)  # type: ignore[arg-type]
            .values(lease_until=past, stamped_at=past, next_attempt_at=past)
        )


def expire_stamps(database: Database) -> None:
    """As if ten seconds had passed since the messages were sent, and every next attempt were due."""
    with database.transaction() as tx:
        past = tx.now - timedelta(minutes=1)
        tx.connection.execute(update(Batch).where(Batch.stamped_at.is_not(None)).values(stamped_at=past))  # type: ignore[union-attr]
        tx.connection.execute(
            update(Notice)
            .where(Notice.state == "due")  # type: ignore[arg-type]
            .values(stamped_at=None, next_attempt_at=past, lease_until=None)
        )


def pass_time(database: Database) -> None:
    """As if so long had passed that every lease, stamp, next attempt and breaker has run out."""
    expire_stamps(database)
    with database.transaction() as tx:
        past = tx.now - timedelta(minutes=1)
        tx.connection.execute(
            update(Batch)
            .where(Batch.state.in_(("open", "stopped", "paused")))  # type: ignore[attr-defined]
            .values(next_attempt_at=past, lease_until=None)
        )
        tx.connection.execute(update(Case).where(Case.next_attempt_at.is_not(None)).values(next_attempt_at=past))  # type: ignore[union-attr]
        tx.connection.execute(update(Issuer).values(breaker_until=past))
        tx.connection.execute(update(Store).values(breaker_until=None))


def age_calls(database: Database, age: timedelta) -> None:
    """As if every call had been made so much earlier: its rows are evidence, so their guard is lifted for it."""
    with database.transaction() as tx:
        if tx.dialect == "sqlite":
            tx.connection.execute(text("DROP TRIGGER IF EXISTS intent_refuses_update"))
        else:
            tx.connection.execute(text("ALTER TABLE intent DISABLE TRIGGER intent_refuses_change"))
        tx.connection.execute(update(Intent).values(recorded_at=tx.now - age))


def exhaust(database: Database, batch: Batch) -> Lease:
    """Take a batch as often as it may be taken; its worker is slow. Returns the last lease."""
    lease: Lease | None = None
    for _ in range(TAKES_MAX):
        expire_lease(database, batch)
        lease = take_batch(database, batch.id)
    assert lease is not None
    expire_lease(database, batch)
    return lease


def make_dead_case(database: Database, run: Run) -> None:
    """The first open batch of a run, of one line, ends as a case."""
    batch = next(each for each in batches_of(database, run) if each.state == "open")
    assert batch.lines == 1
    exhaust(database, batch)
    with database.transaction() as tx:
        assert sweep_exhausted(tx, run.id) == 1


def events(database: Database, name: str) -> list[dict[str, Any]]:
    """What the journal says under this name."""
    with database.reading() as tx:
        return [orjson.loads(row.fields) for row in tx.list(Journal, Journal.event == name)]

"""A disk that is full: nothing is split, no attempt is spent, no line of the log is lost; room made, the month ends."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, text

from console.log_verify import compare, verify
from models.log import Log
from models.states import BatchState, RunState
from models.storage import Database
from scheduler.seal import emit, seal
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, run_again, vouchers_of
from tests.faults.report import Row
from tests.installation import Installation
from tests.integration.test_outside import work
from tests.ledger import assert_books_agree, of_vouchers
from tests.unit.test_log import room_for


def fill(database: Database) -> None:
    """No page more, as SQLite itself says it; for PostgreSQL, the code by which it says so."""
    if database.dialect == "sqlite":
        event.listen(database.engine, "begin", _no_page_more)
        return
    with database.transaction() as tx:
        tx.connection.execute(
            text(
                "CREATE FUNCTION refuse_for_want_of_room() RETURNS trigger LANGUAGE plpgsql AS $$ "
                "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
            )
        )
        tx.connection.execute(
            text(
                "CREATE TRIGGER voucher_refuses_for_want_of_room BEFORE INSERT ON voucher "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_for_want_of_room()"
            )
        )


def make_room(database: Database) -> None:
    """As an operator does."""
    if database.dialect == "sqlite":
        event.remove(database.engine, "begin", _no_page_more)
        database.engine.dispose()
        return
    with database.transaction() as tx:
        tx.connection.execute(text("DROP TRIGGER voucher_refuses_for_want_of_room ON voucher"))


def _no_page_more(connection: object) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]  # what is there already stays


def test_full_disk_of_the_database_spends_no_attempt_and_splits_nothing(
    installation: Installation, profile: str, record_fault: Callable[[Row], None]
) -> None:
    database = installation.database
    programme = a_programme(database, stores=0)
    families(database, programme, 3_000, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1_000)
    fill(database)

    for _ in range(4):
        work(installation, run)
    full = {(batch.state, batch.attempts, batch.last_error != "") for batch in batches_of(database, run)}
    make_room(database)
    work(installation, run, rounds=2)

    name = {"embedded": "SQLite", "distributed": "PostgreSQL"}[profile]
    record_fault(of_vouchers(f"disk of {name} full", database, families=3_000))
    assert full == {(BatchState.OPEN, 0, True)}
    assert len(vouchers_of(database, run)) == 3_000
    assert run_again(database, run).state == RunState.COMPLETED
    assert len(batches_of(database, run)) == 3
    assert_books_agree(database)


@pytest.mark.parametrize("profile", ["embedded"])
def test_log_is_whole_after_its_disk_filled_in_mid_line(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    a_released_run(database, programme)
    while seal(database):
        pass

    with room_for(50), pytest.raises(OSError, match="too large"):
        emit(database, installation.log)
    emit(database, installation.log)

    found = verify([installation.settings.log])
    with database.reading() as tx:
        assert compare(tx, found) == 0
    assert (found.faults, len(found.torn)) == ([], 1)


@pytest.mark.parametrize("profile", ["embedded"])
def test_tick_goes_on_while_the_log_has_no_room(installation: Installation) -> None:
    """Families do not wait for a log."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    run = a_released_run(database, programme)
    ticker = installation.ticker()
    with Log.to_file(Path("/dev/full"), "test") as full:
        ticker.log = full
        result = ticker.tick()

    assert {str(error) for error in result.errors} == {"see: No space left on device", "seal: No space left on device"}
    assert [batch.stamped_at is not None for batch in batches_of(database, run)] == [True]


def test_line_that_finds_no_room_is_not_marked_as_written(database: Database, tmp_path: Path) -> None:
    """/dev/full is a disk without room."""
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    a_released_run(database, programme)
    while seal(database):
        pass

    with Log.to_file(Path("/dev/full"), "test") as full, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        emit(database, full)
    with Log.to_file(tmp_path / "log.jsonl", "test") as log:
        written = emit(database, log)

    with database.reading() as tx:
        events = tx.connection.execute(text("SELECT COUNT(*) FROM journal")).scalar_one()
    assert written == events == len((tmp_path / "log.jsonl").read_bytes().splitlines())

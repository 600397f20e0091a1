"""What a migration may hold up: on PostgreSQL, where it locks, and nothing else does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from models import deadlines, schema
from models.errors import AnotherCommandAtWork
from models.storage import Database
from tests.builders import TIJUANA, a_planned_run, a_programme, families
from tests.migration.planted import Planted, expand, plant, planted_revision, sql
from tests.waiting import until

pytestmark = pytest.mark.long

NEW_COLUMN = expand(sql("ALTER TABLE disbursement ADD COLUMN note TEXT"))
INDEX = expand('create_index("ix_planted", "disbursement", ["household_id"])')
UNIQUE_INDEX = expand('create_index("ix_planted", "disbursement", ["amount_minor"], unique=True)')
#: The lock that an INSERT, UPDATE or DELETE takes.
AS_A_WRITER = "LOCK TABLE disbursement IN ROW EXCLUSIVE MODE"


@pytest.fixture
def lines(postgresql_database: Database) -> Database:
    """A database with the lines of a run, all of another amount."""
    programme = a_programme(postgresql_database)
    families(postgresql_database, programme, 5, location=TIJUANA)
    a_planned_run(postgresql_database, programme)
    return postgresql_database


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """From now on `schema` is that of a release that knows these migrations besides ours."""

    def install(*migrations: Planted) -> None:
        monkeypatch.setattr(schema, "MIGRATIONS", plant(tmp_path, *migrations))

    return install


@contextmanager
def another_session(database: Database) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A transaction that is open while the context lasts."""
    with psycopg.connect(database.url.render_as_string(hide_password=False)) as connection:
        yield connection
        connection.rollback()


@contextmanager
def upgrading(database: Database) -> Iterator[threading.Thread]:
    """`db upgrade` in a thread of its own; it has ended when the context ends."""
    thread = threading.Thread(target=schema.upgrade, args=(database,))
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def waiting_for_a_lock(database: Database) -> int:
    """How many sessions do."""
    with database.reading() as tx:
        waiting = text("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
                       "AND wait_event_type = 'Lock'")  # fmt: skip
        return int(tx.connection.execute(waiting).scalar_one())


def index_is_valid(database: Database) -> bool:
    with database.reading() as tx:
        found = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_planted')")
        return bool(tx.connection.execute(found).scalar_one_or_none())


def test_migration_that_waits_for_a_table_lets_those_behind_it_pass(
    lines: Database, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a migration that queues, everybody queues: here each waits less long than any statement may."""
    monkeypatch.setattr(schema, "LOCK_PAUSE_S", 0.1)
    release(NEW_COLUMN)

    with another_session(lines) as dump, upgrading(lines) as upgrade:
        dump.execute("SELECT COUNT(*) FROM disbursement")
        for _ in range(3):
            until(lambda: waiting_for_a_lock(lines) == 1, what="the migration to wait")
            with another_session(lines) as worker:
                worker.execute("SET lock_timeout = '3s'")
                worker.execute("SELECT COUNT(*) FROM disbursement")
        assert upgrade.is_alive()
        dump.rollback()

    assert schema.current_revision(lines) == planted_revision(1)


def test_migration_that_never_gets_its_table_is_given_up(
    lines: Database, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_PAUSE_S", 0)
    monkeypatch.setattr(schema, "LOCK_TRIES", 2)
    release(expand(), NEW_COLUMN)

    with another_session(lines) as dump:
        dump.execute("SELECT COUNT(*) FROM disbursement")
        with pytest.raises(AnotherCommandAtWork, match=f"{planted_revision(2)} did not get its tables in 2 tries"):
            schema.upgrade(lines)

    assert schema.current_revision(lines) == planted_revision(1)


def test_migration_gives_up_before_a_deadlock_ends_a_worker(lines: Database) -> None:
    with lines.reading() as tx:
        deadlock_ms = int(tx.connection.execute(text(
            "SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'"
        )).scalar_one())  # fmt: skip

    assert deadlock_ms > schema.LOCK_WAIT_MS
    assert schema.LOCK_WAIT_MS < deadlines.LOCK_S * 1_000


def test_index_on_a_big_table_is_built_while_everybody_writes(
    lines: Database, release: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a transaction that has begun, longer than a lock is waited for; and those that come write on."""
    monkeypatch.setattr(schema, "LOCK_TRIES", 1)
    release(INDEX, expand('assert op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar_one() == "800ms"'))

    with another_session(lines) as begun, upgrading(lines) as upgrade:
        begun.execute(AS_A_WRITER)
        until(lambda: waiting_for_a_lock(lines) == 1, what="the index to wait")
        with another_session(lines) as worker:
            worker.execute("SET lock_timeout = '100ms'")
            worker.execute(AS_A_WRITER)
        upgrade.join(2 * schema.LOCK_WAIT_MS / 1_000)
        assert upgrade.is_alive()
        begun.rollback()

    assert index_is_valid(lines)
    assert schema.current_revision(lines) == planted_revision(2)


def test_index_that_was_broken_off_is_built_again(lines: Database, release: Callable[..., None]) -> None:
    """PostgreSQL leaves an invalid one behind, which nobody uses and every writer pays for."""
    release(INDEX)
    with (
        psycopg.connect(lines.url.render_as_string(hide_password=False), autocommit=True) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_planted ON disbursement (programme_id)")
    with lines.reading() as tx:
        assert tx.connection.execute(text("SELECT to_regclass('ix_planted')")).scalar_one() is not None
    assert not index_is_valid(lines)

    schema.upgrade(lines)

    assert index_is_valid(lines)


def test_index_that_was_built_before_its_migration_was_noted_is_taken(
    lines: Database, release: Callable[..., None]
) -> None:
    release(UNIQUE_INDEX)
    with lines.transaction() as tx:
        tx.connection.execute(text("CREATE UNIQUE INDEX ix_planted ON disbursement (amount_minor)"))

    schema.upgrade(lines)

    assert schema.current_revision(lines) == planted_revision(1)

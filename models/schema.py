"""The schema: which migration the code needs, which the database has, and the upgrade from one to the other.

A migration expands the schema, so that the release before goes on working on it, or contracts it, once nobody of that
release is at work (`PHASE` in the migration). So code works on its own schema, on that without the contractions still
to come, and on a newer one whose `code_floor` lets it. deploy/UPGRADING.md says how an upgrade goes.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, OperationalError

from models import custody, deadlines, rights
from models.errors import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, AnotherCommandAtWork, NoDatabase, RefusedByState
from models.link_trouble import POSTGRESQL, find_trouble
from models.sightings import SEEN_WITHIN_S, list_older
from models.storage import Database, Query, describe

MIGRATIONS = Path(__file__).parent / "migrations"
#: PostgreSQL advisory lock of `db` commands: "desp" in ASCII.
DB_COMMAND_LOCK = 0x64657370
#: PostgreSQL versions that despensa is tested with. Source: design.md, Dependencies.
POSTGRESQL_MIN, POSTGRESQL_MAX = 15, 18

#: A migration waits so long for a table, and behind it everybody who wants that table; then it lets them pass, and
#: tries again. Below PostgreSQL's deadlock_timeout: in a deadlock it is the migration that gives up.
LOCK_WAIT_MS = 800
LOCK_PAUSE_S = 2
LOCK_TRIES = 30

GET_CODE_FLOOR = Query("""
-- get_code_floor: the newest migration that code must know to work on this schema
SELECT revision FROM code_floor WHERE id = 1
""")

CHECK_INTEGRITY = Query("""
-- check_integrity: what SQLite finds wrong with its file; one row `ok` if nothing, bounded by SQLite at 100
SELECT integrity_check AS finding FROM pragma_integrity_check
""")

GET_SERVER_VERSION = Query("""
-- get_server_version: of PostgreSQL, as 170002
SELECT current_setting('server_version_num')::int
""")


@dataclass(frozen=True, slots=True)
class Step:
    """A migration, as its module declares it."""

    revision: str
    contracts: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a database's schema and this code stand to each other."""

    current: str | None  #: the database's migration; None for an empty one
    usable: bool  #: whether this code works on it
    fact: str
    hint: str  #: what mends it, or is still to be done; empty for nothing


def head_revision() -> str:
    """The newest migration that this code knows: as of when the process first asked.

    A process outlives the files that it was started from: one of the release before must not pass for the new one.
    """
    return _steps(MIGRATIONS)[-1].revision


def current_revision(database: Database) -> str | None:
    """The migration that the database is at; None for an empty one.

    Raises NoDatabase, without creating a file, if there is none.
    """
    _refuse_absent(database)
    try:
        with database.reading() as tx:
            return MigrationContext.configure(tx.connection).get_current_revision()
    except OperationalError as error:
        raise _unreachable(database, error, then="despensa doctor") from None
    except DatabaseError as error:
        raise NoDatabase(
            f"{database.name} cannot be read as a database: {type(error.orig).__name__}",
            hint="restore its last backup, or mend DESPENSA_DATABASE_URL",
        ) from None


def is_new(database: Database) -> bool:
    """Whether nothing can be in it yet: no file, or no schema. Raises NoDatabase where it does not answer."""
    if database.dialect == "sqlite" and not Path(str(database.url.database)).exists():
        return True
    return current_revision(database) is None


def look_at(database: Database) -> Standing:
    """Whether this code works on the database's schema, and what is still to be done. Raises NoDatabase as above."""
    current = current_revision(database)
    if current is None:
        return Standing(None, False, f"the database {database.name} is empty", "despensa db upgrade")
    if not _is_known(current):
        return _look_at_newer(database, current)
    ahead = _steps_after(current)
    if not ahead:
        return Standing(current, True, "the schema is this code's", "")
    hint = "despensa db upgrade" + (" --contract" if ahead[0].contracts else "")
    if all(step.contracts for step in ahead):
        names = ", ".join(step.revision for step in ahead)
        return Standing(current, True, f"{names} may follow once nobody of an older release is at work", hint)
    needed = [step.revision for step in ahead if not step.contracts][-1]
    return Standing(current, False, f"the schema of {database.name} is at {current}, this code needs {needed}", hint)


def require_current(database: Database) -> Standing:
    """As `look_at`. Raises NoDatabase unless the database is there, with a schema that this code works on."""
    found = look_at(database)
    if not found.usable:
        raise NoDatabase(found.fact, hint=found.hint)
    return found


def upgrade(database: Database, *, contract: bool = False) -> tuple[str | None, str]:
    """Bring the database to this code's schema; creates a SQLite file, and its folder, where there is none.

    Stops before the first migration that contracts the schema, unless `contract`, or nobody can be at work: the
    database was empty. Each migration is a transaction of its own. Returns the migrations before and after; a newer
    schema that this code works on stays as it is. Where PostgreSQL's roles have the schema, what it makes belongs to
    the owner, and every role gets its rights anew.

    Raises AnotherCommandAtWork if another `db` command is running or a table was in use all the time, RefusedByState
    if somebody of an older release was seen lately, and NoDatabase if the database does not answer or was made by
    newer code.
    """
    if database.dialect == "sqlite" and database.url.database:
        path = Path(database.url.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    current = current_revision(database)
    if current is not None and not _is_known(current):
        require_current(database)
        return current, current
    try:
        with alone(database) as connection:
            owner = database.dialect != "sqlite" and rights.become_owner(connection)
            connection.commit()
            before = after = _revision_of(connection)
            for step in _steps_after(before):
                if step.contracts and before is not None:
                    if not contract:
                        break
                    _refuse_older(database, step)
                _patiently(
                    database, connection, step.revision, partial(command.upgrade, _config(connection), step.revision)
                )
                after = step.revision
            if owner:
                _patiently(database, connection, "what the roles may do", partial(rights.give, connection))
                connection.commit()
            with database.transaction() as tx:
                custody.fill_place(tx)
    except OperationalError as error:
        raise _unreachable(database, error, then="despensa db upgrade") from None
    assert after is not None
    return before, after


def find_damage(database: Database) -> list[str]:
    """What is wrong with a SQLite file; empty if nothing, and on PostgreSQL, which checks its own pages."""
    if database.dialect != "sqlite":
        return []
    try:
        with database.reading() as tx:
            findings = [str(row.finding) for row in tx.all(CHECK_INTEGRITY)]
    except DatabaseError as error:
        return [type(error.orig).__name__]
    return [] if findings == ["ok"] else findings


def server_major(database: Database) -> int | None:
    """The major version of a PostgreSQL server; None on SQLite."""
    if database.dialect == "sqlite":
        return None
    with database.reading() as tx:
        return int(tx.scalar(GET_SERVER_VERSION)) // 10_000


def _unreachable(database: Database, error: OperationalError, *, then: str) -> NoDatabase:
    """What is wrong with the link, where its error tells."""
    trouble = find_trouble(error.orig or error, POSTGRESQL)
    if trouble is None:
        told, hint = type(error.orig).__name__, "start it, or mend DESPENSA_DATABASE_URL"
    else:
        told, hint = trouble.fact, trouble.hint
    return NoDatabase(f"the database {database.name} does not answer: {told}", hint=f"{hint}; then: {then}")


def _refuse_absent(database: Database) -> None:
    if database.dialect == "sqlite" and not Path(str(database.url.database)).exists():
        raise NoDatabase(f"there is no database at {database.url.database}", hint="despensa db upgrade")


def _look_at_newer(database: Database, current: str) -> Standing:
    """Of a migration that this code does not know: their numbers say which is newer, and the floor who may stay."""
    head, floor = head_revision(), _code_floor(database)
    if current.isdigit() and floor is not None and current > head >= floor:
        fact = f"the schema is at {current}, newer than this code ({head}), which works on it all the same"
        return Standing(current, True, fact, "")
    floor_told = f": it is newer, and needs code that knows {floor}" if floor else ": it is newer"
    return Standing(
        current,
        False,
        f"the schema of {database.name} is at {current}, which this code ({head}) does not know{floor_told}",
        "install the despensa that upgraded it, or a newer one: deploy/UPGRADING.md, The way back",
    )


def _code_floor(database: Database) -> str | None:
    try:
        with database.reading() as tx:
            floor = tx.scalar(GET_CODE_FLOOR)
    except DatabaseError:  # there is no such table: not ours, or of before the first release
        return None
    return None if floor is None else str(floor)


@cache
def _steps(migrations: Path) -> tuple[Step, ...]:
    """All migrations of this code, in their order."""
    scripts = list(ScriptDirectory(str(migrations)).walk_revisions())
    contracts = {"expand": False, "contract": True}
    return tuple(Step(script.revision, contracts[script.module.PHASE]) for script in reversed(scripts))


def _is_known(revision: str) -> bool:
    return revision in {step.revision for step in _steps(MIGRATIONS)}


def _steps_after(revision: str | None) -> tuple[Step, ...]:
    return tuple(step for step in _steps(MIGRATIONS) if revision is None or step.revision > revision)


def _revision_of(connection: Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()  # Alembic begins a transaction for each migration only where none has begun
    return revision


def _refuse_older(database: Database, step: Step) -> None:
    older = list_older(database, step.revision)
    if older:
        raise RefusedByState(
            f"{step.revision} waits: of a release before it, {', '.join(older)} "
            f"{'was' if len(older) == 1 else 'were'} seen in the last {SEEN_WITHIN_S} s",
            hint=f"stop or upgrade them, and {SEEN_WITHIN_S} s later: despensa db upgrade --contract",
        )


def _patiently(database: Database, connection: Connection, what: str, change: Callable[[], None]) -> None:
    """One change. Where a table is in use, those who want it pass between two tries, instead of queueing behind."""
    pause = threading.Event()
    for _ in range(LOCK_TRIES):
        try:
            change()
        except OperationalError as error:
            connection.rollback()
            if describe(error)[1] not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                raise
            pause.wait(LOCK_PAUSE_S)
        else:
            return
    raise AnotherCommandAtWork(
        f"{database.name} is in use: {what} did not get its tables in {LOCK_TRIES} tries; "
        "what was before it is done, and nothing of it",
        hint="wait for the long transaction (pg_stat_activity), a dump or a plan; then repeat: despensa db upgrade",
    )


@contextmanager
def alone(database: Database) -> Iterator[Connection]:
    """A connection to migrate on. No other `db` command works meanwhile: raises AnotherCommandAtWork beside one."""
    with _file_lock(database), database.engine.connect() as connection:
        if database.dialect == "sqlite":
            yield connection
            return
        try:
            _prepare(connection)
            yield connection
        finally:
            connection.invalidate()  # not given back to the pool: its settings and its lock end with it


def _prepare(connection: Connection) -> None:
    """Take the lock of `db` commands for this session; long statements are allowed it, but no long wait for a table."""
    driver: Any = connection.connection.driver_connection  # models.postgresql's
    driver.deadline_s += deadlines.LONG_STATEMENT_S
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"SET {name} = '{deadlines.LONG_STATEMENT_S}s'"))
    connection.execute(text(f"SET lock_timeout = '{LOCK_WAIT_MS}ms'"))
    if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": DB_COMMAND_LOCK}).scalar_one():
        raise _at_work()
    connection.commit()


@contextmanager
def _file_lock(database: Database) -> Iterator[None]:
    """One `db` command at a time on SQLite. Of a file beside the database: closing the database's own file would
    drop the locks that SQLite holds on it. The kernel drops ours when its command ends, however it ends."""
    if database.dialect != "sqlite":
        yield
        return
    descriptor = os.open(f"{database.url.database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise _at_work() from None
    finally:
        os.close(descriptor)


def _at_work() -> AnotherCommandAtWork:
    return AnotherCommandAtWork("another db command is at work on this database", hint="wait for it, then repeat")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

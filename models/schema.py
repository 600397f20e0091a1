"""The schema: which migration the code needs, which the database has, and the upgrade from one to the other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, OperationalError

from models.errors import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, AnotherCommandAtWork, NoDatabase
from models.storage import Database, Query, describe

MIGRATIONS = Path(__file__).parent / "migrations"
#: PostgreSQL advisory lock of `db` commands: "desp" in ASCII.
DB_COMMAND_LOCK = 0x64657370
#: PostgreSQL versions that despensa is tested with. Source: design.md, Dependencies.
POSTGRESQL_MIN, POSTGRESQL_MAX = 15, 18

CHECK_INTEGRITY = Query("""
-- check_integrity: what SQLite finds wrong with its file; one row `ok` if nothing, bounded by SQLite at 100
SELECT integrity_check AS finding FROM pragma_integrity_check
""")

GET_SERVER_VERSION = Query("""
-- get_server_version: of PostgreSQL, as 170002
SELECT current_setting('server_version_num')::int
""")


def head_revision() -> str:
    """The migration that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_revision(database: Database) -> str | None:
    """The migration that the database is at; None for an empty one.

    Raises NoDatabase, without creating a file, if there is none.
    """
    _refuse_absent(database)
    try:
        with database.reading() as tx:
            return MigrationContext.configure(tx.connection).get_current_revision()
    except OperationalError as error:
        raise NoDatabase(
            f"the database {database.name} does not answer: {type(error.orig).__name__}",
            hint="start it, or mend DESPENSA_DATABASE_URL; then: despensa doctor",
        ) from None
    except DatabaseError as error:
        raise NoDatabase(
            f"{database.name} cannot be read as a database: {type(error.orig).__name__}",
            hint="restore its last backup, or mend DESPENSA_DATABASE_URL",
        ) from None


def require_current(database: Database) -> None:
    """Raises NoDatabase unless the database is there and at the migration that this code needs."""
    current = current_revision(database)
    if current == head_revision():
        return
    _refuse_unknown(database, current)
    if current is None:
        raise NoDatabase(f"the database {database.name} is empty", hint="despensa db upgrade")
    raise NoDatabase(
        f"the schema of {database.name} is at {current}, this code needs {head_revision()}", hint="despensa db upgrade"
    )


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the database to this code's migration; creates a SQLite file, and its folder, where there is none.

    Returns the migrations before and after. Raises AnotherCommandAtWork if another `db` command is running, and
    NoDatabase if the database does not answer or was made by newer code.
    """
    if database.dialect == "sqlite" and database.url.database:
        path = Path(database.url.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    _refuse_unknown(database, current_revision(database))
    try:
        with _file_lock(database), database.transaction() as tx:
            tx.allow_long_statement()
            _lock(tx.connection)
            before = MigrationContext.configure(tx.connection).get_current_revision()
            command.upgrade(_config(tx.connection), "head")
    except OperationalError as error:
        if describe(error)[1] in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
            raise AnotherCommandAtWork(
                f"{database.name} is in use: the upgrade did not get its tables in time, and changed nothing",
                hint="stop scheduler and workers, then: despensa db upgrade",
            ) from None
        raise NoDatabase(
            f"the database {database.name} does not answer: {type(error.orig).__name__}",
            hint="start it, or mend DESPENSA_DATABASE_URL; then: despensa db upgrade",
        ) from None
    return before, head_revision()


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


def _refuse_absent(database: Database) -> None:
    if database.dialect == "sqlite" and not Path(str(database.url.database)).exists():
        raise NoDatabase(f"there is no database at {database.url.database}", hint="despensa db upgrade")


def _refuse_unknown(database: Database, revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise NoDatabase(
            f"the schema of {database.name} is at {revision}, which this code does not know: it is newer",
            hint="install the despensa that upgraded it, or restore the backup from before the upgrade",
        )


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


def _lock(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return  # _file_lock is SQLite's
    if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": DB_COMMAND_LOCK}).scalar_one():
        raise _at_work()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

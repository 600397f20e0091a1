"""The schema: which migration the code needs, which the database has, and the upgrade from one to the other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from models.errors import AnotherCommandAtWork, NoDatabase
from models.storage import Database

MIGRATIONS = Path(__file__).parent / "migrations"
#: PostgreSQL advisory lock of `db` commands: "desp" in ASCII.
DB_COMMAND_LOCK = 0x64657370


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


def require_current(database: Database) -> None:
    """Raises NoDatabase unless the database is there and at the migration that this code needs."""
    current = current_revision(database)
    if current == head_revision():
        return
    if current is None:
        raise NoDatabase(f"the database {database.name} is empty", hint="despensa db upgrade")
    raise NoDatabase(
        f"the schema of {database.name} is at {current}, this code needs {head_revision()}", hint="despensa db upgrade"
    )


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the database to this code's migration; creates a SQLite file, and its folder, where there is none.

    Returns the migrations before and after. Raises AnotherCommandAtWork if another `db` command is running.
    """
    if database.dialect == "sqlite" and database.url.database:
        path = Path(database.url.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    try:
        with database.transaction() as tx:
            tx.allow_long_statement()
            _lock(tx.connection)
            before = MigrationContext.configure(tx.connection).get_current_revision()
            command.upgrade(_config(tx.connection), "head")
    except OperationalError as error:
        raise NoDatabase(
            f"the database {database.name} does not answer: {type(error.orig).__name__}",
            hint="start it, or mend DESPENSA_DATABASE_URL; then: despensa db upgrade",
        ) from None
    return before, head_revision()


def _refuse_absent(database: Database) -> None:
    if database.dialect == "sqlite" and not Path(str(database.url.database)).exists():
        raise NoDatabase(f"there is no database at {database.url.database}", hint="despensa db upgrade")


def _lock(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return  # BEGIN IMMEDIATE is SQLite's lock
    if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": DB_COMMAND_LOCK}).scalar_one():
        raise AnotherCommandAtWork("another db command is at work on this database", hint="wait for it, then repeat")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

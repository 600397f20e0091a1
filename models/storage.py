"""The database: one engine, transactions, named queries, and the database's own clock.

A transaction is short, and no network call is made inside one. On SQLite it begins IMMEDIATE, so a writer waits
its turn instead of failing half-way; on PostgreSQL it is READ COMMITTED with explicit row locks.
"""

import getpass
import hashlib
import os
import pwd
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Row, bindparam, create_engine, event, select
from sqlalchemy import text as sql_text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import TextClause

from models import deadlines
from models.columns import UtcInstant
from models.errors import NotFound
from models.tables import Table

T = TypeVar("T", bound=Table)


class Query:
    """A named SQL statement with a purpose line, the same on both databases unless `sqlite` says otherwise.

    Instants are recognised by name, in parameters and results: `now`, and whatever ends in `_at` or `_until`.
    SQLite has one writer and no row locks: `FOR UPDATE …` is taken off there.
    """

    _NAME = re.compile(r"\s*--\s*(?P<name>[a-z_]+):\s*(?P<purpose>.+)")
    _LOCK = re.compile(r"\bFOR (UPDATE|SHARE|NO KEY UPDATE)( OF \w+)?( SKIP LOCKED| NOWAIT)?")
    _INSTANT = re.compile(r"\b(\w+_(?:at|until))\b")
    _PARAMETER = re.compile(r"(?<!:):(now|\w+_(?:at|until))\b")

    def __init__(self, postgresql: str, *, sqlite: str | None = None) -> None:
        found = self._NAME.match(postgresql)
        if found is None:
            raise ValueError("a query begins with `-- name: purpose`")
        self.name = found["name"]
        self.purpose = found["purpose"]
        self._texts = {
            "postgresql": self._typed(postgresql),
            "sqlite": self._typed(self._unlocked(sqlite or postgresql)),
        }

    def on(self, dialect: str) -> Any:
        """The statement for this dialect."""
        return self._texts[dialect]

    @classmethod
    def _unlocked(cls, statement: str) -> str:
        return cls._LOCK.sub("", statement)

    @classmethod
    def _typed(cls, statement: str) -> Any:
        # A purpose line may speak of :parameters; they are text there.
        statement = re.sub(r"--[^\n]*", lambda comment: comment[0].replace(":", r"\:"), statement)
        clause: TextClause = sql_text(statement)
        names = sorted(set(cls._PARAMETER.findall(statement)))
        if names:
            clause = clause.bindparams(*(bindparam(name, type_=UtcInstant()) for name in names))
        if not re.search(r"\bRETURNING\b|^\s*(?:--[^\n]*\n|\s)*(?:SELECT|WITH)\b", statement, re.IGNORECASE):
            return clause
        instants = sorted(set(cls._INSTANT.findall(statement)))
        return clause.columns(**{name: UtcInstant() for name in instants}) if instants else clause


class Tx:
    """One transaction. Everything read or written in it goes through here."""

    def __init__(self, connection: Connection, *, now: Callable[[], datetime]) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self._host_now = now
        self._now: datetime | None = None

    @property
    def now(self) -> datetime:
        """The database's clock, read once per transaction; the host's on SQLite. For leases, stamps and back-off."""
        if self._now is None:
            if self.dialect == "sqlite":
                self._now = self._host_now()
            else:
                self._now = self.connection.execute(sql_text("SELECT clock_timestamp()")).scalar_one().astimezone(UTC)
        return self._now

    @property
    def operator(self) -> str:
        """Who acts: `session_user` on PostgreSQL, the login of the operating system on SQLite. Nobody can set it."""
        if self.dialect == "sqlite":
            return os_login()
        return str(self.connection.execute(sql_text("SELECT session_user")).scalar_one())

    def execute(self, query: Query, **parameters: object) -> int:
        """Run a statement and return how many rows it changed."""
        return self._run(query, parameters).rowcount

    def execute_many(self, query: Query, rows: Sequence[dict[str, object]]) -> None:
        """Run a statement once for each row."""
        if rows:
            self.connection.execute(query.on(self.dialect), rows)

    def copy(self, query: Query, rows: Sequence[tuple[int | str, ...]]) -> None:
        """Insert rows, for a tenth of what `execute_many` costs: `COPY … FROM STDIN (FORMAT binary)` on PostgreSQL.

        A row's values stand in the order of the statement's columns. Each column is BIGINT or TEXT, as the first row's
        value is a number or text: the binary format converts nothing. It is what keeps rows out of the server's log,
        which quotes the line of the text format at which a COPY failed or was cancelled.
        """
        statement = str(query.on(self.dialect).compile(self.connection))
        if rows and self.dialect == "postgresql":
            # models.postgresql does it, called by SQLAlchemy: so an error is translated like any other statement's.
            self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True, "copied": rows})
        elif rows:
            self.connection.exec_driver_sql(statement, list(rows))

    def all(self, query: Query, **parameters: object) -> Sequence[Row[Any]]:
        """The rows. The query itself has a LIMIT, or a bound that its purpose line states."""
        return self._run(query, parameters).all()

    def stream(self, query: Query, *, size: int = 10_000, **parameters: object) -> Iterator[Row[Any]]:
        """The rows, fetched `size` at a time, for results that do not fit in memory."""
        with self.connection.execution_options(yield_per=size).execute(query.on(self.dialect), parameters) as result:
            yield from result

    def one(self, query: Query, **parameters: object) -> Row[Any]:
        """The only row."""
        return self._run(query, parameters).one()

    def first(self, query: Query, **parameters: object) -> Row[Any] | None:
        """The only row, or None."""
        return self._run(query, parameters).one_or_none()

    def scalar(self, query: Query, **parameters: object) -> Any:
        """The first column of the only row, or None without a row."""
        return self._run(query, parameters).scalar_one_or_none()

    def find(self, table: type[T], *where: Any, lock: bool = False) -> T | None:
        """The one row of `table` that matches, or None. `lock` holds it until the transaction ends (PostgreSQL)."""
        rows = self.list(table, *where, limit=2, lock=lock)
        if len(rows) > 1:
            raise LookupError(f"more than one row of {table.__name__} matches")
        return rows[0] if rows else None

    def get(self, table: type[T], *where: Any, lock: bool = False) -> T:
        """As `find`. Raises NotFound where there is no such row."""
        row = self.find(table, *where, lock=lock)
        if row is None:
            raise NotFound(f"no such {table.__name__.lower()}")
        return row

    def list(self, table: type[T], *where: Any, order: Any = None, limit: int = 10_000, lock: bool = False) -> list[T]:
        """Up to `limit` rows of `table`, by `order` or else by key, detached from the database."""
        columns: Any = table.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
        statement = select(columns).where(*where).limit(limit)
        statement = statement.order_by(*(order if order is not None else columns.primary_key.columns))
        if lock:
            # Not the full lock: a credit's transfer refers to run and fund, and its foreign keys must not wait for
            # whoever changes their state; with it, a pause and a credit deadlock.
            statement = statement.with_for_update(key_share=True)
        return [table(**row._mapping) for row in self.connection.execute(statement)]

    def add(self, row: T) -> T:
        """Insert one row, and fill its key if the database counts it."""
        columns: Any = row.__table__  # type: ignore[attr-defined]
        values = {name: getattr(row, name) for name in columns.columns.keys()}  # noqa: SIM118  # a SQLAlchemy collection
        counted = columns.primary_key.columns.keys()
        if len(counted) == 1 and values[counted[0]] is None:
            values.pop(counted[0])
            result = self.connection.execute(columns.insert().values(**values).returning(columns.c[counted[0]]))
            setattr(row, counted[0], result.scalar_one())
        else:
            self.connection.execute(columns.insert().values(**values))
        return row

    def add_all(self, rows: Sequence[T]) -> Sequence[T]:
        """Insert rows of one table in one statement or few, and fill their keys if the database counts them."""
        if not rows:
            return rows
        columns: Any = rows[0].__table__  # type: ignore[attr-defined]
        key = columns.primary_key.columns.keys()
        counted = len(key) == 1 and getattr(rows[0], key[0]) is None
        names = [name for name in columns.columns.keys() if not (counted and name == key[0])]  # noqa: SIM118
        values = [{name: getattr(row, name) for name in names} for row in rows]
        if not counted:
            self.connection.execute(columns.insert(), values)
            return rows
        keys = self.connection.execute(
            columns.insert().returning(columns.c[key[0]], sort_by_parameter_order=True), values
        )
        for row, value in zip(rows, keys.scalars(), strict=True):
            setattr(row, key[0], value)
        return rows

    def update(self, row: Table, columns: Sequence[str]) -> None:
        """Write some columns of a row that is there, by its key."""
        table: Any = row.__table__  # type: ignore[attr-defined]
        where = [column == getattr(row, column.name) for column in table.primary_key.columns]
        values = {name: getattr(row, name) for name in columns}
        if self.connection.execute(table.update().where(*where).values(**values)).rowcount != 1:
            raise NotFound(f"no such {type(row).__name__.lower()}")

    def allow_long_statement(self, seconds: int = deadlines.LONG_STATEMENT_S) -> None:
        """For the statements that handle a whole location at once, or look through all families."""
        if self.dialect == "postgresql":
            self.connection.execute(sql_text(f"SET LOCAL statement_timeout = '{seconds}s'"))
            self.connection.execute(sql_text(f"SET LOCAL idle_in_transaction_session_timeout = '{seconds}s'"))
            driver: Any = self.connection.connection.driver_connection  # models.postgresql's
            driver.deadline_s += seconds  # until it goes back to the pool

    def refresh_statistics(self, *tables: Literal["household", "enrolment", "disbursement"]) -> None:
        """After many rows were written: a planner that believes a table empty compares every row with every other.

        PostgreSQL's own collector comes within a minute or so; a month is planned, or the next city, before that. By a
        function of whoever owns the tables: nobody else may.
        """
        if self.dialect == "postgresql":
            statement = sql_text("SELECT refresh_statistics(CAST(:tables AS TEXT[]))")
            self.connection.execute(statement, {"tables": list(tables)})

    def commit_asynchronously(self) -> None:
        """Let this commit be lost by a crash of the database: only for facts that cost seconds, never money."""
        if self.dialect == "postgresql":
            self.connection.execute(sql_text("SET LOCAL synchronous_commit = off"))

    def _run(self, query: Query, parameters: dict[str, object]) -> CursorResult[Any]:
        return self.connection.execute(query.on(self.dialect), parameters)


class Database:
    """One engine, made in an entry point and passed down."""

    def __init__(
        self, url: str, *, now: Callable[[], datetime] | None = None, deadline_s: float = deadlines.DATABASE_S
    ) -> None:
        """`deadline_s` is how long PostgreSQL may take to answer one statement before its connection is given up."""
        self.url: URL = make_url(url)
        self.dialect = self.url.get_backend_name()
        self._now = now or (lambda: datetime.now(UTC))
        sqlite = self.dialect == "sqlite"
        self.engine = _sqlite_engine(self.url) if sqlite else _postgresql_engine(self.url, deadline_s=deadline_s)
        # Of this process: who waits for it goes on at once, where SQLite itself would sleep up to a tenth of a second.
        # Another process's writer is waited for behind it, each thread in its turn.
        self._writer: AbstractContextManager[object] = threading.RLock() if sqlite else nullcontext()
        # What reads sees one instant: on SQLite by itself, if it does not begin as a writer.
        one_instant = {"reading": True} if sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**one_instant)

    @property
    def name(self) -> str:
        """What to call this database on a screen: without its password."""
        secret = {name: "***" for name in self.url.query if "password" in name.lower()}  # it may stand there as well
        return self.url.update_query_dict(secret).render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """Begin, yield, commit; roll back on any exception. On SQLite it waits for the single writer."""
        with self._writer, self.engine.begin() as connection:
            yield Tx(connection, now=self._now)

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """A transaction that only reads, and sees one instant however many statements it asks.

        So that what a command shows adds up while workers write. On SQLite it does not wait for the writer.
        """
        with self._reading.connect() as connection:
            yield Tx(connection, now=self._now)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def os_login() -> str:
    """The login of the operating system, from its user table: the environment cannot change it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else getpass.getuser()


def describe(error: BaseException) -> tuple[str, str]:
    """Constraint and SQLSTATE of a database error, empty for others. Its text may carry a family: never use it."""
    original = error.orig if isinstance(error, DBAPIError) else None
    diagnosis = getattr(original, "diag", None)
    sqlstate = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or ""
    return str(getattr(diagnosis, "constraint_name", None) or ""), str(sqlstate)


def seconds(number: float) -> timedelta:
    """A duration, for arithmetic on `tx.now`."""
    return timedelta(seconds=number)


def _postgresql_engine(url: URL, *, deadline_s: float) -> Engine:
    from models import postgresql  # its driver takes a tenth of a second to import, which SQLite need not wait for

    return postgresql.engine(url, deadline_s=deadline_s)


def _sqlite_engine(url: URL) -> Engine:
    # timeout is the busy timeout: how long a writer waits for the one before it.
    engine = create_engine(
        url,
        hide_parameters=True,  # as below: not even a traceback carries a family
        connect_args={"timeout": deadlines.SQLITE_BUSY_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin ourselves: the driver's deferred begin fails half-way
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_aggregate("digest_lines", 3, _DigestLines)
        connection.create_aggregate("digest_batches", 3, _DigestBatches)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


class _DigestLines:
    """SQLite's twin of the SQL in scheduler.plan: SHA-256 over `id:household:amount` lines in id order."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int]] = []

    def step(self, line_id: int, household_id: int, amount_minor: int) -> None:
        """One line."""
        self._rows.append((line_id, household_id, amount_minor))

    def finalize(self) -> str:
        """The digest, in hexadecimal."""
        text = "\n".join(":".join(map(str, row)) for row in sorted(self._rows))
        return hashlib.sha256(text.encode()).hexdigest()


class _DigestBatches:
    """SQLite's twin: SHA-256 over a run's salt and the digests of its batches in order of their first ids."""

    def __init__(self) -> None:
        self._salt = ""
        self._rows: list[tuple[int, str]] = []

    def step(self, salt: str, first_id: int, digest: str) -> None:
        """One batch."""
        self._salt = salt
        self._rows.append((first_id, digest))

    def finalize(self) -> str:
        """The digest, in hexadecimal."""
        text = self._salt + "\n".join(digest for _, digest in sorted(self._rows))
        return hashlib.sha256(text.encode()).hexdigest()


def sqlite_url(path: Path) -> str:
    """The URL of an embedded database."""
    return f"sqlite:///{path}"

"""Embedded: crediting and the whole month in one process on SQLite, against SQLite's own bulk insert."""

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models import schema
from models.columns import INSTANT_FORMAT
from models.settings import Settings
from models.storage import Database, sqlite_url
from tests.benchmarks.limits import LINES, VOUCHERS
from tests.benchmarks.month import Tell, enrol, release_all
from tests.benchmarks.samples import Sample, alternate, table
from tests.benchmarks.site import ENDS_WITHIN_S, Site, verify
from tests.commands import despensa
from tests.fakes import HERE_NAMED, FakeStore

FILE = "despensa.sqlite3"
#: As the product has it; the limit commits as many rows at a time.
BATCH_LINES = Settings().batch_lines
CREDITS = "SELECT MIN(stamped_at), MAX(credited_at) FROM batch"
MONTH = "SELECT (SELECT MIN(planned_at) FROM run), (SELECT MAX(delivered_at) FROM notice)"
#: Of a connection, as models.storage has it: the limit keeps the same promises.
DURABLE = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

Row = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """One comparison: where both begin, the rows that both make, and from when to when despensa is timed."""

    name: str
    home: Path
    rows: dict[tuple[str, str], list[Row]]  #: of tables, each with its columns; in the order of the batches
    lasting: str
    families: int


def embedded(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """`despensa run start`, which brings its own workers: on released runs, and on a month that nobody has planned.

    PostgreSQL has no part in it, and its columns say 0. The start-up of the command is in *our* processor time, not in
    the rate.
    """
    enrolled, released = site.folder / "enrolled", site.folder / "released"
    with FakeStore.open() as store:
        with _opened(enrolled) as database:
            schema.upgrade(database)
            enrol(database, store, families)
        shutil.copytree(enrolled, released)
        with _opened(released) as database:
            release_all(database)
        for name, home, tables, lasting in (
            ("credit", released, [VOUCHERS], CREDITS),
            ("month", enrolled, [LINES, VOUCHERS], MONTH),
        ):
            rows = _finish(site, home, tables, families=families)
            _compare(site, Measure(name, home, rows, lasting, families), rounds=rounds, tell=tell)


def _compare(site: Site, measure: Measure, *, rounds: int, tell: Tell) -> None:
    limit = f"limit: executemany, {measure.name}"
    candidates = {
        limit: lambda: _inserted(site, measure),
        f"despensa, {measure.name}": lambda: _worked(site, measure),
    }
    for line in table(alternate(candidates, rounds=rounds, tell=tell), against=limit):
        tell(line)


def _finish(
    site: Site, home: Path, tables: Sequence[tuple[str, str]], *, families: int
) -> dict[tuple[str, str], list[Row]]:
    """Work the month off once, which also warms everything up, and return its rows."""
    with _copied(site, home) as path:
        _start(site, path, families=families)
        with closing(_connected(path)) as connection:
            return {
                (name, columns): connection.execute(f"SELECT {columns} FROM {name} ORDER BY id").fetchall()
                for name, columns in tables
            }


def _inserted(site: Site, measure: Measure) -> Sample:
    with _copied(site, measure.home) as path, closing(_connected(path)) as connection:
        # Lines come with a plan, and vouchers are of a released run: what is only inserted has neither.
        for trigger in ("disbursement_comes_with_a_plan", "voucher_requires_release"):
            connection.execute(f"DROP TRIGGER {trigger}")
        cpu, began = time.process_time(), time.perf_counter()
        for first in range(0, measure.families, BATCH_LINES):
            connection.execute("BEGIN IMMEDIATE")
            for (name, columns), rows in measure.rows.items():
                places = ", ".join("?" for _ in columns.split(", "))
                statement = f"INSERT INTO {name} ({columns}) VALUES ({places})"
                connection.executemany(statement, rows[first : first + BATCH_LINES])
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
        made = connection.execute("SELECT COUNT(*) FROM voucher").fetchone()
    assert made == (measure.families,), f"{measure.families} families, {made} vouchers"
    return Sample(measure.families, seconds, 0.0, cpu, 0)


def _worked(site: Site, measure: Measure) -> Sample:
    with _copied(site, measure.home) as path:
        cpu_s = _start(site, path, families=measure.families)
        with closing(_connected(path)) as connection:
            begun, ended = (
                datetime.strptime(instant, INSTANT_FORMAT).replace(tzinfo=UTC)
                for instant in connection.execute(measure.lasting).fetchone()
            )
    return Sample(measure.families, (ended - begun).total_seconds(), 0.0, cpu_s, 0)


def _start(site: Site, path: Path, *, families: int) -> float:
    """The command, from its start to its end. Returns its processor time; its start-up is in it."""
    environment = {
        "DESPENSA_HOME": str(path.parent), "DESPENSA_KEYS_DIR": str(site.folder / "home" / "keys"),
        "DESPENSA_OUTGOING_NETWORKS": HERE_NAMED,
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = despensa("run", "start", environment=environment, within_s=ENDS_WITHIN_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.code == 0, ended.err
    with _opened(path.parent) as database:
        verify(database, families=families)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def _opened(home: Path) -> Iterator[Database]:
    """The database in a home folder, made if need be. It is one file again when the context ends."""
    home.mkdir(exist_ok=True)
    database = Database(sqlite_url(home / FILE))
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _copied(site: Site, home: Path) -> Iterator[Path]:
    """A copy of a home folder's database, on the disk already, so that each begins with the same work ahead."""
    copy = site.folder / "copy"
    shutil.copytree(home, copy)
    with (copy / FILE).open("rb+") as file:
        os.fsync(file.fileno())
    try:
        yield copy / FILE
    finally:
        shutil.rmtree(copy)


def _connected(path: Path) -> sqlite3.Connection:
    """As durable as the product's own connections."""
    connection = sqlite3.connect(path, isolation_level=None)
    for name, wanted in DURABLE.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        assert connection.execute(f"PRAGMA {name}").fetchone() == (wanted,), name
    return connection

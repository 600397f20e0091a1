"""Where benchmarks run: PostgreSQL as durable as in production, Redis, and despensa's own processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import psycopg

from models import schema
from models.keys import init_keys
from models.storage import Database
from tests import servers
from tests.conftest import url_of
from tests.copies import create_copy, drop_copy
from tests.fakes import HERE_NAMED
from tests.ledger import assert_books_agree, count, count_credited
from tests.processes import children_of, end, peak_bytes_of, start_python, stat_of
from tests.waiting import until

#: Beyond its defaults: enough that no checkpoint is forced in mid-month. The rest, fsync above all, as it comes.
POSTGRESQL_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
ENDS_WITHIN_S = 3_600
#: Rates are by the database's clock: whoever waits for the end must not take the processors from who works.
LOOK_S = 0.5
Connection: TypeAlias = "psycopg.Connection[tuple[object, ...]]"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Site:
    """Servers, and databases on them."""

    folder: Path
    postgresql: servers.Postgresql
    redis_url: str
    _made: int = 0

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, servers_from: str) -> Iterator["Site"]:
        """Both servers, and a migrated database to copy; all is gone when the context ends."""
        with servers.postgresql(servers_from) as postgresql, servers.redis_server(servers_from, folder) as redis_url:
            site = cls(folder, postgresql, redis_url)
            with site.connect() as connection:
                for name, value in POSTGRESQL_SETTINGS.items():
                    connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            servers.stop_postgresql(postgresql, signal.SIGINT)  # shared_buffers is read at the start
            postgresql.start()
            with site.connect() as connection:
                for name in ("fsync", "synchronous_commit", "full_page_writes"):
                    row = connection.execute(f"SHOW {name}").fetchone()
                    assert row == ("on",), f"{name} is {row}: what is measured here is durable"
                connection.execute("CREATE DATABASE migrated")
            database = Database(url_of(postgresql.url, "migrated"))
            schema.upgrade(database)
            database.close()
            init_keys(folder / "home" / "keys")
            yield site

    def connect(self, name: str = "postgres") -> Connection:
        """To speak to the server directly."""
        return psycopg.connect(url_of(self.postgresql.url, name), autocommit=True)

    @contextmanager
    def database(self, *, template: str = "migrated") -> Iterator[tuple[str, Database]]:
        """A copy of a database, by its name; after a checkpoint, so that each begins with the same work ahead."""
        self._made += 1
        name = f"bench_{self._made}"
        url = create_copy(self.postgresql.url, name, template=template)
        with self.connect() as connection:
            connection.execute("CHECKPOINT")
        database = Database(url)
        try:
            yield name, database
        finally:
            database.close()
            drop_copy(self.postgresql.url, name)

    def cpu_s(self) -> float:
        """Processor time of PostgreSQL so far, in all its processes, ended ones too."""
        master, *others = servers.postgresql_processes(self.postgresql)
        return cpu_of(master, waited_for=True) + sum(map(cpu_of, others))

    def wal_bytes(self) -> int:
        """How much PostgreSQL has written ahead so far."""
        with self.connect() as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
            assert row is not None
            return int(str(row[0]))


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command cost that has come to its end."""

    seconds: float
    cpu_s: float
    peak_bytes: int  #: the most memory that it had resident


@dataclass
class Crew:
    """Processes at work on one database: despensa's own, unless a benchmark brings others."""

    environment: dict[str, str]
    processes: list[tuple[str, "subprocess.Popen[bytes]"]]  #: each with its role

    @classmethod
    @contextmanager
    def open(cls, site: Site, name: str) -> Iterator["Crew"]:
        """Nobody at work yet; all are ended when the context ends."""
        crew = cls(
            {
                "DESPENSA_HOME": str(site.folder / "home"),
                "DESPENSA_OUTGOING_NETWORKS": HERE_NAMED,
                "DESPENSA_DATABASE_URL": url_of(site.postgresql.url, name),
                "DESPENSA_REDIS_URL": site.redis_url,
                "DESPENSA_NAMESPACE": name.replace("_", "-"),
                # Of this database alone: the next one in this home folder has not forgotten its journal.
                "DESPENSA_HEAD_FILE": str(site.folder / "home" / f"{name}.journal-head"),
            },
            [],
        )
        try:
            yield crew
        finally:
            for _, process in crew.processes:
                end(process)

    def start(self, role: str, *words: str) -> None:
        """A service of despensa."""
        self.start_python(role, "-m", "console.main", role, *words)

    def start_python(self, role: str, *words: str) -> None:
        """A program that goes on until the context ends, and whose log goes where it costs what a file costs."""
        log = Path(self.environment["DESPENSA_HOME"]) / f"{role}-{len(self.processes)}.log"
        self.processes.append((role, start_python(*words, environment=self.environment, log=log)))

    def run(self, *words: str) -> Ended:
        """A command of despensa, to its end. It is looked at so often that its last look saw nearly all it had."""
        log = Path(self.environment["DESPENSA_HOME"]) / f"{words[0]}.log"
        before = os.times()
        process = start_python("-m", "console.main", *words, environment=self.environment, log=log)
        peaks = [0]

        def ended() -> bool:
            peaks.append(peak_bytes_of(process.pid))
            return process.poll() is not None

        try:
            until(ended, what=f"the end of {words[0]}", within_s=ENDS_WITHIN_S)
        finally:
            end(process)
        after = os.times()
        assert process.returncode == 0, f"{words[0]} ended with {process.returncode}"
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        return Ended(after.elapsed - before.elapsed, cpu_s, max(peaks))

    def start_workers(self, database: Database, number: int) -> None:
        """Returns once so many have been seen: their start is not what is measured."""
        for _ in range(number):
            self.start("worker")
        seen = "SELECT COUNT(*) FROM sighting WHERE role = 'worker'"
        until(lambda: count(database, seen) >= number, what="workers")

    def cpu_s(self) -> float:
        """Processor time so far, of the services and the processes that they started."""
        return sum(cpu_of(pid) for _, pid in self._pids())

    def peak_bytes(self) -> dict[str, int]:
        """The most memory that one process of each role had resident so far, or one that it started."""
        peaks: dict[str, int] = {}
        for role, pid in self._pids():
            peaks[role] = max(peaks.get(role, 0), peak_bytes_of(pid))
        return peaks

    def _pids(self) -> list[tuple[str, int]]:
        pids = [(role, process.pid) for role, process in self.processes]
        for role, pid in list(pids):
            with suppress(OSError):
                pids += [(role, child) for child in children_of(pid)]
        return pids


def wait_for_month(database: Database, *, runs: int) -> None:
    """Until so many runs are completed, their stores told and their events in the log."""
    left = (
        f"SELECT {runs} - (SELECT COUNT(*) FROM run WHERE state = 'completed') "
        "+ (SELECT COUNT(*) FROM notice WHERE state <> 'delivered') "
        "+ (SELECT COUNT(*) FROM journal) - (SELECT emitted_seq FROM journal_head)"
    )
    until(lambda: count(database, left) == 0, what="the end of the month", within_s=ENDS_WITHIN_S, poll_s=LOOK_S)


def verify(database: Database, *, families: int) -> None:
    """A fast wrong number is worthless: every book agrees, and every family has one voucher."""
    assert_books_agree(database)
    credited = count_credited(database)
    vouchers = count(database, "SELECT COUNT(*) FROM voucher")
    assert credited == vouchers == families, f"{families} families, {credited} credited, {vouchers} vouchers"


def seconds_between(database: Database, statement: str) -> float:
    """A duration by the database's clock."""
    with database.reading() as tx:
        tx.allow_long_statement()
        return float(tx.connection.exec_driver_sql(f"SELECT EXTRACT(EPOCH FROM ({statement}))").scalar_one())


def cpu_of(pid: int, *, waited_for: bool = False) -> float:
    """Processor time of a process so far, with that of its ended children if asked for; 0 where it is gone."""
    with suppress(OSError):
        return sum(map(int, stat_of(pid)[11 : 15 if waited_for else 13])) / _TICKS
    return 0.0

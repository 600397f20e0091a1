"""A month at work in real processes over servers of its own, which a test may kill, wipe, stop or freeze."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psycopg
import redis
from sqlalchemy import text, update

from models import schema
from models.keys import init_keys, token_path
from models.storage import Database
from models.tables import Programme
from tests import servers
from tests.builders import a_programme, an_issuer, families_due
from tests.commands import ROOT
from tests.fakes import FakeStore
from tests.faults.proxy import Proxy, postgresql_socket, proxied_postgresql, proxied_redis, redis_socket
from tests.faults.report import Row
from tests.ledger import assert_books_agree
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

TOKEN = "rehearsal"

#: Enough that a month is still at work when its fault comes.
FAMILIES = 1_000
BATCH_LINES = 2
BEGUN = 60
ENDS_WITHIN_S = 150


@dataclass
class Fleet:
    """Two workers and a scheduler over PostgreSQL and Redis, with stores and, where asked for, an issuer."""

    folder: Path
    servers_from: str
    postgresql: servers.Postgresql
    database: Database
    environment: dict[str, str]
    redis_process: "subprocess.Popen[bytes]"
    families: int
    store: FakeStore
    issuer: SimulatedIssuer | None
    links: dict[str, Proxy]  #: what stands in front of each server, where asked for
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, *, servers_from: str, count: int = FAMILIES, stores: int = 0,
        issuer_faults: Mapping[str, str] | None = None, proxied: bool = False,
    ) -> Iterator["Fleet"]:  # fmt: skip
        """Everything set up, nobody at work yet; all that was started is gone when the context ends.

        With `issuer_faults`, be it none, an outside issuer credits. With `proxied` everybody is reached through links.
        """
        with ExitStack() as stack:
            postgresql = stack.enter_context(servers.postgresql(servers_from))
            database = Database(postgresql.url)
            stack.callback(database.close)
            schema.upgrade(database)
            store = stack.enter_context(FakeStore.open())
            issuer = None
            if issuer_faults is not None:
                issuer = stack.enter_context(SimulatedIssuer(issuer_faults, token=TOKEN))
            process = servers.start_redis(servers_from, folder)
            stack.callback(end, process)
            links: dict[str, Proxy] = {}
            if proxied:
                targets: dict[str, str | int] = {
                    "postgresql": postgresql_socket(postgresql.url), "redis": redis_socket(servers.redis_url(folder)),
                    "store": port_of(store.url), **({"issuer": issuer.port} if issuer else {}),
                }  # fmt: skip
                links = {name: stack.enter_context(Proxy(target)) for name, target in targets.items()}
            environment = {
                "DESPENSA_HOME": str(folder / "home"),
                "DESPENSA_DATABASE_URL": (
                    proxied_postgresql(postgresql.url, links["postgresql"]) if links else postgresql.url
                ),
                "DESPENSA_REDIS_URL": proxied_redis(links["redis"]) if links else servers.redis_url(folder),
                "DESPENSA_BATCH_LINES": str(BATCH_LINES),
            }
            fleet = cls(folder, servers_from, postgresql, database, environment, process, count, store, issuer, links)
            fleet._enrol(stores=stores)
            try:
                yield fleet
            finally:
                for each in [*fleet.processes, fleet.redis_process]:
                    end(each)

    def begin(self) -> None:
        """Workers and a scheduler; returns when some vouchers exist and most do not."""
        self.start("scheduler")
        self.start("worker", "--threads", "2")
        self.start("worker", "--threads", "2")
        until(lambda: self.credited() >= BEGUN, what="the first vouchers", within_s=60)
        assert self.credited() < self.families, "the month was over before its fault"

    def go_on(self) -> None:
        """Until more was credited than now, so that something is under way again."""
        before = self.credited()
        until(lambda: self.credited() >= min(before + BEGUN, self.families), what="more vouchers", within_s=60)
        assert self.credited() < self.families, "the month was over before its fault"

    def start(self, *words: str, python_path: str = "") -> "subprocess.Popen[bytes]":
        """A service, its log in a file of its own. What lies on `python_path` comes before the program."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
        with (self.folder / f"{words[0]}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "console.main", *words], cwd=ROOT,
                env={**inherited, **self.environment, "PYTHONPATH": python_path},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def workers(self) -> list["subprocess.Popen[bytes]"]:
        """The masters of the two workers, in the order in which they were started."""
        return self.processes[1:3]

    def supervise(self) -> None:
        """As systemd would: a service that has ended is started again."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                words = ("scheduler",) if number == 0 else ("worker", "--threads", "2")
                self.start(*words)
                self.processes[number] = self.processes.pop()

    def restart_redis(self) -> None:
        """SIGKILL, and an empty one in its place."""
        end(self.redis_process)
        self.redis_process = servers.start_redis(self.servers_from, self.folder)

    def redis(self) -> "redis.Redis":
        """To speak to it directly."""
        return redis.Redis(unix_socket_path=str(self.folder / "redis.sock"))

    def crash_postgresql(self) -> None:
        """SIGKILL of a backend: the server ends all the others at once, throws its memory away, and recovers."""
        with psycopg.connect(self.postgresql.url, autocommit=True) as connection:
            row = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").fetchone()
            assert row is not None
            os.kill(int(row[0]), signal.SIGKILL)

    def restart_postgresql(self) -> None:
        """Stopped immediately, whatever is being committed, and started again once it is gone."""
        master = self.postgresql_processes()[0]
        os.kill(master, signal.SIGQUIT)
        until(lambda: not Path(f"/proc/{master}").exists() or _is_zombie(master), what="the end of PostgreSQL")
        self.postgresql.start()

    def postgresql_processes(self) -> list[int]:
        """The server's own, and every session's."""
        with psycopg.connect(self.postgresql.url) as connection:
            backend = int(Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{backend}/task/{backend}/children").read_text().split()
        return [backend, *(int(child) for child in children)]

    def credited(self) -> int:
        """Vouchers so far; as before where the database is away."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(self.postgresql.url, autocommit=True, connect_timeout=5) as connection,
        ):
            row = connection.execute("SELECT COUNT(*) FROM voucher").fetchone()
            assert row is not None
            self._credited = int(row[0])
        return self._credited

    _credited: int = 0

    def under_way(self) -> list[int]:
        """The batches that were sent, or are held by a worker, and are not done."""
        statement = text(
            "SELECT id FROM batch WHERE state = 'open' AND (stamped_at IS NOT NULL OR lease_until >= now())"
        )
        with self.database.reading() as tx:
            return [int(row.id) for row in tx.connection.execute(statement)]

    def recovery_s(self, batches: list[int], *, since: float) -> float:
        """How long it took, from `since` on the monotonic clock, until all of these were credited."""
        statement = "SELECT COUNT(*) FROM batch WHERE id = ANY(%s) AND state <> 'done'"

        def recovered() -> bool:
            self.supervise()
            with suppress(psycopg.Error), psycopg.connect(self.postgresql.url, connect_timeout=5) as connection:
                row = connection.execute(statement, (batches,)).fetchone()
                return row is not None and row[0] == 0
            return False

        until(recovered, what="the end of what was under way", within_s=90)
        return time.monotonic() - since

    def finish(self) -> None:
        """The month ends."""
        with self.database.engine.connect() as connection:
            over = text("SELECT COUNT(*) = 0 FROM run WHERE state <> 'completed'")

            def ended() -> bool:
                self.supervise()
                with suppress(Exception):
                    found = bool(connection.execute(over).scalar_one())
                    connection.rollback()
                    return found
                connection.invalidate()
                return False

            within_s = ENDS_WITHIN_S + self.families / 50
            until(lambda: self.credited() >= self.families, what="every voucher", within_s=within_s)
            until(ended, what="the end of the month", within_s=ENDS_WITHIN_S)

    def found(self, fault: str, *, recovery_s: tuple[float, ...] = ()) -> Row:
        """Doubled and lost vouchers, and what the log tells otherwise. Asserts that the books agree."""
        assert_books_agree(self.database)
        with self.database.reading() as tx:
            each = text("SELECT COUNT(*) FROM (SELECT household_id FROM disbursement d JOIN voucher v ON v.id = d.id "
                        "GROUP BY household_id, cycle) paid")  # fmt: skip
            paid = int(tx.connection.execute(each).scalar_one())
            unwritten = text("SELECT (SELECT COUNT(*) FROM journal) - (SELECT emitted_seq FROM journal_head)")
            until(lambda: self._scalar(str(unwritten)) == 0, what="the whole log")
        vouchers = self.credited()
        theirs = len(self.issuer.book()) if self.issuer else vouchers
        doubled_there = self.issuer.doubled() if self.issuer else 0
        return Row(
            fault=fault, runs=max(1, len(recovery_s)), doubled=vouchers - paid + doubled_there,
            lost=self.families - paid, recovery_s=recovery_s,
            surplus=abs(self._told() - vouchers) + abs(theirs - doubled_there - vouchers),
        )  # fmt: skip

    def count(self, statement: str) -> int:
        """A number from the database."""
        return self._scalar(statement)

    def _scalar(self, statement: str) -> int:
        with self.database.reading() as tx:
            return int(tx.connection.execute(text(statement)).scalar_one())

    def _told(self) -> int:
        """Vouchers that the schedulers' logs tell of, each line once."""
        told: dict[int, int] = {}
        for path in self.folder.glob("scheduler-*.log"):
            for line in path.read_bytes().splitlines():
                with suppress(orjson.JSONDecodeError):  # the last line of a scheduler that was killed
                    parsed = orjson.loads(line)
                    if parsed["event"] == "batch.credited":
                        told[parsed["seq"]] = parsed["credited"]
        return sum(told.values())

    def _enrol(self, *, stores: int) -> None:
        store_url = self.store.url
        if self.links:
            store_url = store_url.replace(str(port_of(store_url)), str(self.links["store"].port))
        init_keys(self.folder / "home" / "keys")
        programme = a_programme(self.database, stores=stores, store_url=store_url)
        if self.issuer is not None:
            port = self.links["issuer"].port if self.links else self.issuer.port
            an_issuer(self.database, programme, f"http://127.0.0.1:{port}")
            token = token_path(self.folder / "home" / "keys", programme.code)
            token.touch(mode=0o600)
            token.write_text(TOKEN)
        with self.database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        families_due(self.database, programme, self.families, now=datetime.now(UTC))


def port_of(url: str) -> int:
    """Of a server of this host."""
    port = urlsplit(url).port
    assert port is not None
    return port


def _is_zombie(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to a process that the test started, and to its group if it leads one."""
    with suppress(ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    """A signal to a service and all its processes."""
    os.killpg(process.pid, number)

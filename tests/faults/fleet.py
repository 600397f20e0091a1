"""A month at work in real processes over servers of its own, which a test may kill, wipe, stop or freeze."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import redis
from sqlalchemy import text, update

from models import schema
from models.calendar import local_cycle, zone
from models.keys import init_keys
from models.storage import Database
from models.tables import Programme
from tests import servers
from tests.builders import a_programme, families
from tests.commands import ROOT
from tests.faults.report import Row
from tests.ledger import assert_books_agree
from tests.waiting import until

#: Enough that a month is still at work when its fault comes.
FAMILIES = 1_000
BATCH_LINES = 2
BEGUN = 60
ENDS_WITHIN_S = 150


@dataclass
class Fleet:
    """Two workers and a scheduler over PostgreSQL and Redis."""

    folder: Path
    servers: str
    server_url: str
    database: Database
    environment: dict[str, str]
    redis_process: "subprocess.Popen[bytes]"
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, servers_from: str) -> Iterator["Fleet"]:
        """Everything set up, nobody at work yet; all that was started is gone when the context ends."""
        with servers.postgresql(servers_from) as url:
            database = Database(url)
            schema.upgrade(database)
            init_keys(folder / "home" / "keys")
            environment = {
                "DESPENSA_HOME": str(folder / "home"),
                "DESPENSA_DATABASE_URL": url,
                "DESPENSA_REDIS_URL": servers.redis_url(folder),
                "DESPENSA_BATCH_LINES": str(BATCH_LINES),
            }
            process = servers.start_redis(servers_from, folder)
            fleet = cls(folder, servers_from, url, database, environment, process)
            fleet._enrol()
            try:
                yield fleet
            finally:
                for each in [*fleet.processes, fleet.redis_process]:
                    end(each)
                database.close()

    def begin(self) -> None:
        """Workers and a scheduler; returns when some vouchers exist and most do not."""
        self.start("scheduler")
        self.start("worker", "--threads", "2")
        self.start("worker", "--threads", "2")
        until(lambda: self.credited() >= BEGUN, what="the first vouchers", within_s=60)
        assert self.credited() < FAMILIES, "the month was over before its fault"

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
        self.redis_process = servers.start_redis(self.servers, self.folder)

    def redis(self) -> "redis.Redis":
        """To speak to it directly."""
        return redis.Redis(unix_socket_path=str(self.folder / "redis.sock"))

    def crash_postgresql(self) -> None:
        """SIGKILL of a backend: the server ends all the others at once, throws its memory away, and recovers."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            row = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").fetchone()
            assert row is not None
            os.kill(int(row[0]), signal.SIGKILL)

    def postgresql_processes(self) -> list[int]:
        """The server's own, and every session's."""
        with psycopg.connect(self.server_url) as connection:
            backend = int(Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{backend}/task/{backend}/children").read_text().split()
        return [backend, *(int(child) for child in children)]

    def credited(self) -> int:
        """Vouchers so far; as before where the database is away."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(self.server_url, autocommit=True, connect_timeout=5) as connection,
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
            with suppress(psycopg.Error), psycopg.connect(self.server_url, connect_timeout=5) as connection:
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

            until(lambda: self.credited() >= FAMILIES, what="every voucher", within_s=ENDS_WITHIN_S)
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
        return Row(
            fault=fault, runs=1, doubled=vouchers - paid, lost=FAMILIES - paid,
            surplus=abs(self._told() - vouchers), recovery_s=recovery_s,
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

    def _enrol(self) -> None:
        programme = a_programme(self.database, stores=0)
        with self.database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        cycle = local_cycle(datetime.now(UTC), zone("America/Tijuana"))
        families(self.database, programme, FAMILIES, first_cycle=cycle)


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

"""A month at work in real processes over servers of its own, which a test may kill, wipe, stop or freeze."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
import redis
from sqlalchemy import text, update

from models import schema
from models.keys import init_keys, token_path
from models.messages import CREDIT_QUEUE
from models.storage import Database
from models.tables import Programme
from tests import servers
from tests.builders import a_programme, an_issuer, families_due
from tests.fakes import HERE_NAMED, FakeStore
from tests.faults.proxy import Proxy, postgresql_socket, proxied_postgresql, proxied_redis, redis_socket
from tests.faults.report import Row
from tests.ledger import assert_books_agree, count, count_credited, credits_by_reference, vouchers_by_batch
from tests.processes import end, start_service
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

TOKEN = "rehearsal"

#: Enough that a month is still at work when its fault comes.
FAMILIES = 1_000
BATCH_LINES = 2
BEGUN = 60
#: Batches that two workers of two threads have in hand, or have fetched ahead: twice as many as threads, each.
FETCHED_MAX = 12
ENDS_WITHIN_S = 150
#: What the issuer's fault `slow` takes: within every deadline.
SLOW_S = 0.1
#: More than any test allows.
RECOVERED_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Attempt:
    """A line of a worker's log."""

    message_id: str
    batch_id: int
    outcome: str  #: or the type of the error


@dataclass(frozen=True, slots=True)
class Stretch:
    """Lines of one run, by their first and last id."""

    first_id: int
    last_id: int


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
    logs: dict[int, Path] = field(default_factory=dict)  #: of every service that was ever started, by process id

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, *, servers_from: str, count: int = FAMILIES, stores: int = 0,
        issuer_faults: Mapping[str, str] | None = None, calls_max: int = 64, proxied: bool = False,
        batch_lines: int | None = BATCH_LINES,
    ) -> Iterator["Fleet"]:  # fmt: skip
        """Everything set up, nobody at work yet; all that was started is gone when the context ends.

        With `issuer_faults`, be it none, an outside issuer credits, which takes `calls_max` calls at once. With
        `proxied` everybody is reached through links. None for `batch_lines` leaves every setting as it comes.
        """
        with ExitStack() as stack:
            postgresql = stack.enter_context(servers.postgresql(servers_from))
            database = Database(postgresql.url)
            stack.callback(database.close)
            schema.upgrade(database)
            store = stack.enter_context(FakeStore.open())
            issuer = None
            if issuer_faults is not None:
                issuer = stack.enter_context(SimulatedIssuer(issuer_faults, token=TOKEN, slow_s=SLOW_S))
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
                "DESPENSA_OUTGOING_NETWORKS": HERE_NAMED,
                "DESPENSA_DATABASE_URL": (
                    proxied_postgresql(postgresql.url, links["postgresql"]) if links else postgresql.url
                ),
                "DESPENSA_REDIS_URL": proxied_redis(links["redis"]) if links else servers.redis_url(folder),
            }
            if batch_lines is not None:
                environment |= {"DESPENSA_BATCH_LINES": str(batch_lines), "DESPENSA_WORKER_THREADS": "2"}
            fleet = cls(folder, servers_from, postgresql, database, environment, process, count, store, issuer, links)
            fleet._enrol(stores=stores, calls_max=calls_max)
            try:
                yield fleet
            finally:
                for each in [*fleet.processes, fleet.redis_process]:
                    end(each)

    def begin(self) -> None:
        """Workers and a scheduler; returns when some vouchers exist and most do not."""
        self.start("scheduler")
        self.start("worker")
        self.start("worker")
        until(lambda: self.credited() >= BEGUN, what="the first vouchers", within_s=60 + self.families / 5_000)
        assert self.credited() < self.families, "the month was over before its fault"

    def go_on(self) -> None:
        """Until more was credited than now, so that something is under way again."""
        before = self.credited()
        until(lambda: self.credited() >= min(before + BEGUN, self.families), what="more vouchers", within_s=60)
        assert self.credited() < self.families, "the month was over before its fault"

    def start(self, *words: str, python_path: str = "") -> "subprocess.Popen[bytes]":
        """A service, its log in a file of its own. What lies on `python_path` comes before the program."""
        path = self.folder / f"{words[0]}-{len(self.logs)}.log"
        process = start_service(*words, environment=self.environment, log=path, python_path=python_path)
        self.processes.append(process)
        self.logs[process.pid] = path
        return process

    @property
    def workers(self) -> list["subprocess.Popen[bytes]"]:
        """The masters of the two workers, in the order in which they were started."""
        return self.processes[1:3]

    def supervise(self) -> None:
        """As systemd would: a service that has ended is started again."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.start("scheduler" if number == 0 else "worker")
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
        self.stop_postgresql()
        self.postgresql.start()

    def stop_postgresql(self) -> None:
        """Immediately; returns once it is gone."""
        servers.stop_postgresql(self.postgresql, signal.SIGQUIT)

    def postgresql_processes(self) -> list[int]:
        """The server's own, and every session's."""
        return servers.postgresql_processes(self.postgresql)

    def credited(self) -> int:
        """Vouchers so far; as before where the database is away."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(self.postgresql.url, autocommit=True, connect_timeout=5) as connection,
        ):
            # By batch: millions of vouchers are not counted again and again beside those who add to them.
            row = connection.execute("SELECT COALESCE(SUM(credited), 0) FROM batch").fetchone()
            assert row is not None
            self._credited = int(row[0])
        return self._credited

    _credited: int = 0

    def under_way(self, *, at_least: int = 1) -> list[Stretch]:
        """The lines that were sent, are held by a worker, or wait as cases, in a batch that has no end yet.

        Waits until there are so many stretches of them: a fault that meets nothing shows nothing.
        """
        statement = text(
            "SELECT first_id, last_id FROM batch "
            "WHERE state = 'open' AND (stamped_at IS NOT NULL OR token IS NOT NULL OR lease_until >= now()) "
            "UNION ALL SELECT disbursement_id, disbursement_id FROM cases WHERE state = 'open'"
        )
        found: list[Stretch] = []

        def enough_found() -> bool:
            with self.database.reading() as tx:
                found[:] = [Stretch(*row) for row in tx.connection.execute(statement)]
            return len(found) >= at_least

        until(enough_found, what=f"{at_least} batches to be under way")
        return found

    def takes(self) -> set[tuple[int, str]]:
        """The batches that somebody took and neither finished nor gave back, each with the token of its take."""
        with self.database.reading() as tx:
            rows = tx.connection.execute(text("SELECT id, token FROM batch WHERE state = 'open' AND token IS NOT NULL"))
            return {(int(row.id), str(row.token)) for row in rows}

    def left_behind(self) -> set[tuple[int, str]]:
        """Of the takes of now, those that do not end while the other workers go on: of whoever is dead or frozen."""
        takes = self.takes()
        self.go_on()
        return takes & self.takes()

    def takes_in_mid_call(self) -> set[tuple[int, str]]:
        """Of the takes of now, those whose sends have all reached the issuer, and none of which was answered here."""
        assert self.issuer is not None
        arrived = {made.reference for made in self.issuer.book()}
        statement = text(
            "SELECT b.id, b.token, i.reference FROM batch b JOIN intent i ON i.batch_id = b.id WHERE b.state = 'open' "
            "AND b.token IS NOT NULL AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.intent_id = i.id)"
        )
        with self.database.reading() as tx:
            calls = [((row.id, row.token), row.reference in arrived) for row in tx.connection.execute(statement)]
        return {take for take, _ in calls} - {take for take, has_arrived in calls if not has_arrived}

    def attempts(self, process: "subprocess.Popen[bytes]") -> list[Attempt]:
        """What a worker's log tells of its attempts so far."""
        return [
            Attempt(line["message_id"], line["subject_id"], line.get("outcome") or line["error"])
            for line in _lines(self.logs[process.pid])
            if line["event"] in ("attempt.finished", "attempt.failed")
        ]

    def messages(self) -> set[bytes]:
        """The ids of the messages that wait for a worker."""
        with self.redis() as client:
            return set(client.lrange(f"despensa:{CREDIT_QUEUE}", 0, -1))

    def complaints(self) -> "Counter[str]":
        """How many warnings and errors the services logged so far, by event."""
        lines = (line for log in self.logs.values() for line in _lines(log))
        return Counter(line["event"] for line in lines if line["level"] in ("warning", "error"))

    def pause_s(self, since: datetime) -> float:
        """The longest time without a credit that ended after this instant."""
        statement = text(
            "SELECT COALESCE(EXTRACT(epoch FROM MAX(pause)), 0) FROM (SELECT credited_at, "
            "credited_at - LAG(credited_at) OVER (ORDER BY credited_at) AS pause FROM batch WHERE state = 'done') "
            "AS credit WHERE credited_at >= :since"
        )
        with self.database.reading() as tx:
            return float(tx.connection.execute(statement, {"since": since}).scalar_one())

    def recovery_s(self, under_way: Sequence[Stretch], *, since: float) -> float:
        """How long it took, from `since` on the monotonic clock, until each of these lines had its voucher.

        Asserts that the fault left some of them without. After a long time it says how long that was, and `found` what
        is missing.
        """
        statement = (
            "SELECT NOT EXISTS (SELECT 1 FROM unnest(%s::bigint[], %s::bigint[]) AS sent (first_id, last_id) "
            "WHERE last_id - first_id + 1 > (SELECT COUNT(*) FROM voucher WHERE id BETWEEN first_id AND last_id))"
        )
        stretches = ([each.first_id for each in under_way], [each.last_id for each in under_way])

        def recovered() -> bool:
            self.supervise()
            with suppress(psycopg.Error), psycopg.connect(self.postgresql.url, connect_timeout=5) as connection:
                return connection.execute(statement, stretches).fetchone() == (True,)
            return False

        assert not recovered(), "nothing was under way any more when the fault was over"
        with suppress(TimeoutError):
            until(recovered, what="the end of what was under way", within_s=RECOVERED_WITHIN_S)
        return time.monotonic() - since

    def finish(self) -> None:
        """The month ends; or time is up, and `found` tells what is missing."""
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
            with suppress(TimeoutError):
                until(lambda: self.credited() >= self.families, what="every voucher", within_s=within_s)
            if self.credited() >= self.families:
                until(ended, what="the end of the month", within_s=ENDS_WITHIN_S)

    def found(self, fault: str, *, recovery_s: tuple[float, ...] = ()) -> Row:
        """Doubled and lost vouchers, and what the issuer or the log tells otherwise. Asserts that the books agree.

        A family that waits as a case counts as lost: none of these faults is a family's.
        """
        assert_books_agree(self.database)
        unwritten = "SELECT (SELECT COUNT(*) FROM journal) - (SELECT emitted_seq FROM journal_head)"
        until(lambda: self.count(unwritten) == 0, what="the whole log")
        told = self._told()
        by_batch = vouchers_by_batch(self.database)
        credited = count_credited(self.database)
        # In a closed loop nobody else keeps a book; and references by the million are not derived for nothing.
        ours = credits_by_reference(self.database, self.folder / "home" / "keys") if self.issuer else {}
        theirs = {made.reference: made.amount_minor for made in self.issuer.book()} if self.issuer else {}
        return Row(
            fault=fault, runs=max(1, len(recovery_s)), recovery_s=recovery_s,
            doubled=by_batch.total() - credited + (self.issuer.doubled() if self.issuer else 0),
            lost=self.families - credited + len(ours.items() - theirs.items()),
            surplus=len(theirs.items() - ours.items()) + (told - by_batch).total() + (by_batch - told).total(),
        )  # fmt: skip

    def count(self, statement: str) -> int:
        """A number from the database."""
        return count(self.database, statement)

    def _told(self) -> "Counter[int]":
        """How many vouchers the schedulers' logs tell of, by batch; each line of the journal once."""
        lines = {line["seq"]: line for log in self.logs.values() for line in _lines(log) if "seq" in line}
        told: Counter[int] = Counter()
        for line in lines.values():
            if line["event"] == "batch.credited":
                told[line["batch_id"]] += line["credited"]
        return told

    def _enrol(self, *, stores: int, calls_max: int) -> None:
        store_url = self.store.url
        if self.links:
            store_url = store_url.replace(str(port_of(store_url)), str(self.links["store"].port))
        init_keys(self.folder / "home" / "keys")
        programme = a_programme(self.database, stores=stores, store_url=store_url)
        if self.issuer is not None:
            port = self.links["issuer"].port if self.links else self.issuer.port
            an_issuer(self.database, programme, f"http://127.0.0.1:{port}", calls_max=calls_max)
            token = token_path(self.folder / "home" / "keys", programme.code)
            token.touch(mode=0o600)
            token.write_text(TOKEN)
        with self.database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        families_due(self.database, programme, self.families, now=datetime.now(UTC))


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_bytes().splitlines():
        with suppress(orjson.JSONDecodeError):  # the last line, which is being written, or whose writer was killed
            yield orjson.loads(line)


def port_of(url: str) -> int:
    """Of a server of this host."""
    port = urlsplit(url).port
    assert port is not None
    return port

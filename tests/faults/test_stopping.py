"""A worker that is told to stop, or that nobody answers, ends in time, takes nothing more, and says what is wrong."""

import asyncio
import hashlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dramatiq
import orjson
import pytest
import redis
from dramatiq.broker import MessageProxy
from dramatiq.errors import ConnectionClosed
from sqlalchemy import event, update
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from models import deadlines
from models.broker import SafeRedisBroker, embedded_client, make_broker, redis_client, send
from models.calendar import local_cycle, zone
from models.deadlines import ISSUER_CALL_S, LEASE_S, REDIS_S, SHUTDOWN_S, STOP_S, STORE_CALL_S, steady_s
from models.log import Log
from models.messages import CREDIT_QUEUE, NOTIFY_QUEUE, CreditBatch, SendNotice
from models.sightings import seen_lately
from models.storage import Database
from models.tables import Batch, Programme, Run
from tests import servers
from tests.builders import (
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    families,
    notices_of,
    vouchers_of,
)
from tests.commands import end, kill, start
from tests.fakes import HERE, FakeStore
from tests.faults.fleet import Fleet
from tests.faults.report import Row
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.processes import signal_group
from tests.waiting import pass_really, until
from workers import serve, watchdog
from workers.credit import NotTaken, return_batch, take_batch
from workers.guard import guarded_connector
from workers.issuers.answers import Credit, TryLater
from workers.issuers.http import IssuerClient
from workers.issuers.simulated import SimulatedIssuer
from workers.serve import be_seen_once
from workers.stores import webhook
from workers.stores.webhook import Envelope, deliver
from workers.watchdog import Watchdog

#: For a machine that is busy with other tests.
SLACK_S = 1.5
#: A name server is silent for longer than any call may take.
SILENT_S = 20
HOST = "store.invalid"
PERSON = "Juana Núñez"
SECRET = "whsec_" + "c2VjcmV0" * 4


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """A server whose settings, and whose process, a test may change."""

    process: "subprocess.Popen[bytes]"
    url: str

    def freeze(self) -> None:
        """It accepts connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)


@pytest.fixture
def own_redis(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OwnRedis]:
    """A server of the test's own."""
    process = servers.start_redis(request.config.getoption("--servers"), tmp_path)
    yield OwnRedis(process, servers.redis_url(tmp_path))
    process.kill()
    process.wait()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done in the context ends in time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began <= seconds + SLACK_S


@contextmanager
def closing(broker: SafeRedisBroker) -> Iterator[SafeRedisBroker]:
    """Its connections are closed with the context."""
    yield broker
    broker.client.connection_pool.disconnect(inuse_connections=True)
    broker.client.close()


def test_worker_told_to_stop_while_redis_is_frozen_ends_in_time(
    own_redis: OwnRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_fault: Callable[[Row], None]
) -> None:
    """Its master is told to wait so long; with the start of a process around it, that must fit into STOP_S."""
    monkeypatch.setattr(watchdog, "CHECK_EVERY_S", 60)  # it would end the process that runs this
    go, done = threading.Event(), list[int]()
    with (
        Log.to_file(tmp_path / "log.jsonl", "test") as log,
        closing(
            make_broker(redis_client(own_redis.url, repeats=False), namespace="bench", middleware=[Watchdog(log)])
        ) as broker,
    ):
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
        _declare_actors(broker, go, done)
        for number in range(1, 7):
            send(broker, CreditBatch(number))
        send(broker, SendNotice(1))  # one consumer has all that it may fetch, the other one goes on fetching
        worker.start()
        until(lambda: worker.work_queue.qsize() >= 3, what="messages in hand, and more in memory")
        own_redis.freeze()
        go.set()
        until(lambda: len(done) >= 2, what="work whose acknowledgement fails")

        began = time.monotonic()
        worker.stop(timeout=LEASE_S * 1000)  # as serve has it
        took_s = time.monotonic() - began

    record_fault(Row(fault="worker told to stop while Redis is frozen", runs=1))
    # Measured: 3 to 6 s, a time-out of Redis and the pause before a new consumer; over 20 s where acks are repeated.
    assert took_s < SHUTDOWN_S / 2 + SLACK_S
    assert broker.lost


FREEZABLE: dict[str, Callable[[Fleet], list[int]]] = {
    "postgresql": Fleet.postgresql_processes,
    "redis": lambda fleet: [fleet.redis_process.pid],
}


@pytest.mark.parametrize("server", FREEZABLE)
def test_services_told_to_stop_while_a_server_is_frozen_end_in_time(
    servers_from: str, tmp_path: Path, server: str
) -> None:
    """What is under way is given up by its deadlines, or left, and nothing further begins."""
    with Fleet.open(tmp_path, servers_from=servers_from) as fleet:
        fleet.begin()
        frozen = FREEZABLE[server](fleet)
        _signal(frozen, signal.SIGSTOP)
        try:
            services = {"scheduler": fleet.processes[0], "worker": fleet.workers[0]}
            took_s = _stop(services, kubernetes)
        finally:
            _signal(frozen, signal.SIGCONT)

    assert {name: service.returncode for name, service in services.items()} == {"scheduler": 0, "worker": 0}
    assert max(took_s.values()) < SHUTDOWN_S + SLACK_S, took_s


def kubernetes(service: "subprocess.Popen[bytes]") -> None:
    """Tells the first process; a worker's tells its own."""
    service.terminate()


def systemd(service: "subprocess.Popen[bytes]") -> None:
    """Tells every process (KillMode=control-group); a worker's first one tells the others once more."""
    signal_group(service, signal.SIGTERM)


@pytest.mark.parametrize("tell", [kubernetes, systemd], ids=lambda tell: tell.__name__)
def test_busy_services_told_to_stop_leave_nothing_in_hand(
    servers_from: str,
    tmp_path: Path,
    tell: Callable[["subprocess.Popen[bytes]"], None],
    record_fault: Callable[[Row], None],
) -> None:
    """At an issuer that takes its time: what is called for is settled, and the rest is left to others."""
    with Fleet.open(
        tmp_path, servers_from=servers_from, count=240, issuer_faults={"slow": "all"}, calls_max=8, batch_lines=40
    ) as fleet:
        assert fleet.issuer is not None
        services = {"scheduler": fleet.start("scheduler"), "worker": fleet.start("worker", "--threads", "4")}
        until(lambda: fleet.credited() > 0 and fleet.takes(), what="a month at work", within_s=60)
        took_s = _stop(services, tell)
        in_hand, left = fleet.takes(), fleet.families - fleet.credited()
        fleet.supervise()  # by others
        fleet.finish()
        row = fleet.found(f"busy services told to stop as by {tell.__name__}")
        calls = fleet.issuer.requests

    record_fault(row)
    assert took_s.keys() == services.keys()
    assert max(took_s.values()) < SHUTDOWN_S + SLACK_S, took_s
    assert {name: service.returncode for name, service in services.items()} == {"scheduler": 0, "worker": 0}
    assert in_hand == set()
    assert left > 0
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert calls == fleet.families  # no call was broken off: nobody had to ask


@pytest.mark.parametrize("profile", ["embedded"])
def test_embedded_scheduler_told_to_stop_while_sqlite_is_busy_ends_in_time(installation: Installation) -> None:
    """Its statements wait in C for the other writer, where no signal is handled."""
    process = start("scheduler", environment=installation.environment)
    try:
        until(lambda: seen_lately(installation.database, "scheduler"), what="its first tick", within_s=60)
        with closing_sqlite(installation.database) as other:
            other.execute("BEGIN IMMEDIATE")
            pass_really(2)  # it ticks every second: the next one waits
            began = time.monotonic()
            process.terminate()
            until(lambda: process.poll() is not None, what="its end", within_s=STOP_S)
            took_s = time.monotonic() - began
    finally:
        kill(process)

    assert process.returncode == 0
    assert took_s < SHUTDOWN_S + SLACK_S


@contextmanager
def closing_sqlite(database: Database) -> Iterator[sqlite3.Connection]:
    """Another writer of an embedded installation's database."""
    connection = sqlite3.connect(str(database.url.database), isolation_level=None)
    yield connection
    connection.close()


def _stop(
    services: Mapping[str, "subprocess.Popen[bytes]"], tell: Callable[["subprocess.Popen[bytes]"], None]
) -> dict[str, float]:
    """Tell all of them, and wait as long as an operator would. How long each took that ended."""
    took_s: dict[str, float] = {}
    began = time.monotonic()
    for service in services.values():
        tell(service)

    def ended() -> bool:
        for name, service in services.items():
            if service.poll() is not None:
                took_s.setdefault(name, time.monotonic() - began)
        return took_s.keys() == services.keys()

    with suppress(TimeoutError):
        until(ended, what="their end", within_s=STOP_S)
    return took_s


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a session that ended after it was listed
            os.kill(pid, number)


def test_redis_lost_while_stopping_is_waited_for_once(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "REDIS_S", 1)
    message = _a_message()
    with closing(make_broker(redis_client(own_redis.url, repeats=False), namespace="bench", middleware=[])) as broker:
        consumer = broker.consume(CREDIT_QUEUE)
        own_redis.freeze()
        with pytest.raises(ConnectionClosed):
            consumer.ack(message)
        broker.stopping.set()

        with within(deadlines.REDIS_S):
            consumer.ack(message)
            for _ in range(3):
                consumer.requeue([message])


def test_message_handed_on_after_the_stop_takes_no_batch(installation: Installation) -> None:
    run = _a_run(installation.database)
    batch = batches_of(installation.database, run)[0]
    installation.broker.stopping.set()

    installation.receive(CreditBatch(batch.id))

    assert [line["outcome"] for line in _lines(installation, "attempt.finished")] == ["stopping"]
    assert _batch(installation.database, batch).attempts == 0
    assert vouchers_of(installation.database, run) == []


def test_message_handed_on_after_the_stop_sends_no_notice(installation: Installation) -> None:
    with FakeStore.open() as store:
        run = _a_run(installation.database, store_url=store.url, stores=1)
        for batch in batches_of(installation.database, run):
            installation.receive(CreditBatch(batch.id))
        installation.ticker().work()
        notice = notices_of(installation.database, run)[0]
        installation.broker.stopping.set()

        installation.receive(SendNotice(notice.id))

    assert _lines(installation, "attempt.finished")[-1]["outcome"] == "stopping"
    assert notices_of(installation.database, run)[0].attempts == 0
    assert store.received == []


def test_dead_thread_ends_the_process_where_the_log_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(watchdog, "CHECK_EVERY_S", 0.05)
    broker = make_broker(embedded_client(), namespace="watched", middleware=[])
    broker.declare_queue(CREDIT_QUEUE)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    worker.consumers[CREDIT_QUEUE].running = False

    with Log.to_file(Path("/dev/full"), "test") as log, pytest.raises(SystemExit) as ended:
        Watchdog(log)._watch(worker, broker.stopping)

    worker.stop(timeout=5_000)
    assert ended.value.code == 1


def test_forged_message_that_names_another_is_gone_once_a_consumer_starts_anew(redis_url: str) -> None:
    """Its acknowledgement goes to the other; given back, it would come again for as long as Redis lives."""
    held = str(uuid4())
    with closing(make_broker(redis_client(redis_url, repeats=False), namespace="forged", middleware=[])) as broker:
        _put(broker, held, _forged(redis_message_id=str(uuid4())))
        message = _fetch(broker)
        assert message is not None
        broker.consume(CREDIT_QUEUE).ack(message)
        assert len(_in_redis(broker)) > 0

        again = _fetch(broker)

        assert again is None
        assert _in_redis(broker) == []


@pytest.mark.parametrize("field", ["message_id", "redis_message_id"])
def test_message_with_a_person_for_an_id_is_quarantined_and_not_named_in_the_log(
    installation: Installation, field: str
) -> None:
    """The rest of it is well formed. A plain hash of a short text would tell what the text was."""
    ids = {"redis_message_id": str(uuid4()), field: PERSON}
    forged = _forged(**ids)
    with installation.workers():
        _put(installation.broker, ids["redis_message_id"], forged)
        until(lambda: _in_redis(installation.broker) == [], what="the end of the message")

    assert [line["rule"] for line in _lines(installation, "message.quarantined")] == ["a name that is no id"]
    log = installation.settings.log.read_bytes()
    assert PERSON.encode() not in log
    assert b"Juana" not in log
    assert hashlib.sha256(forged).hexdigest().encode() not in log


@pytest.fixture
def silent_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that says nothing about one host; nothing of the look-ups is left in the end."""
    answered = threading.Event()
    others = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **named: Any) -> Any:
        if host != HOST:
            return others(host, *rest, **named)
        answered.wait(SILENT_S)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    answered.set()
    until(lambda: "names" not in _thread_names(), what="the end of the look-ups")


@pytest.mark.usefixtures("silent_names")
def test_store_whose_name_server_is_silent_is_given_up_in_time() -> None:
    """The event loop ends within the call's time, too: a lease rests on it."""
    with within(STORE_CALL_S):
        answer = deliver(Envelope(f"http://{HOST}/hook", "msg_1", b"{}", [SECRET]), HERE)

    assert answer == webhook.TryLater("timeout")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "names")


@pytest.mark.usefixtures("silent_names")
def test_issuer_whose_name_server_is_silent_was_sent_nothing_and_is_given_up_in_time() -> None:
    async def call() -> object:
        async with IssuerClient.open(f"http://{HOST}", "rehearsal", calls=1, outgoing=HERE) as client:
            return await client.send(Credit("a1" * 32, 1, "MXN"), until=steady_s() + 60)

    with within(ISSUER_CALL_S):
        answer = asyncio.run(call())

    assert answer == TryLater("not connected in time")


def test_request_that_was_given_up_is_not_sent_for_minutes_by_the_kernel() -> None:
    """It could arrive after its issuer's last word."""

    async def user_timeout_ms() -> int:
        connector = guarded_connector(HERE, limit=1, call_s=ISSUER_CALL_S)
        made = connector._socket_factory((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))  # type: ignore[misc]
        with made:
            await connector.close()
            return int(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    assert asyncio.run(user_timeout_ms()) == ISSUER_CALL_S * 1000


def test_second_try_of_a_store_has_only_what_the_first_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """First its name is not found, which takes a while; then it is connected to, and does not answer."""
    tries: list[str] = []
    others = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **named: Any) -> Any:
        tries.append(host)
        if len(tries) == 1:
            threading.Event().wait(1.5)
            raise socket.gaierror(socket.EAI_AGAIN, "not now")
        return others("127.0.0.1", *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(webhook, "STORE_CALL_S", 2.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # never accepts: the kernel takes the request
        began = time.monotonic()
        answer = deliver(Envelope(f"http://{HOST}:{server.getsockname()[1]}/", "msg_1", b"{}", [SECRET]), HERE)
        took_s = time.monotonic() - began

    assert answer == webhook.TryLater("timeout")
    assert tries == [HOST, HOST]
    assert took_s < 1.5 + 2.5  # a time-out of its own would have begun with the second try


@pytest.mark.parametrize("option", ["socket_timeout", "socket_connect_timeout"])
def test_url_of_redis_cannot_lift_the_deadline(option: str) -> None:
    client = redis_client(f"redis://127.0.0.1:6379/0?{option}=60")

    connection = client.connection_pool.make_connection()

    assert getattr(connection, option) == REDIS_S


def test_deadline_of_redis_holds_against_its_url(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "REDIS_S", 0.2)
    client = redis_client(f"{own_redis.url}?socket_timeout=8", repeats=False)
    own_redis.freeze()

    with within(0.2), pytest.raises(redis.TimeoutError):
        client.ping()

    client.close()


def seen_once(database: Database, url: str, log: Path) -> dict[str, object]:
    """One pass of a worker's loop beside its consumer. Returns the line that it logged."""
    broker = make_broker(redis_client(url, repeats=False), namespace="seen", middleware=[])
    broker.declare_queue(CREDIT_QUEUE)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    try:
        with Log.to_file(log, "test") as writer:
            be_seen_once(database, broker, writer, None)
    finally:
        broker.stopping.set()
        worker.stop(timeout=5_000)
        broker.close()
    line: dict[str, object] = orjson.loads(log.read_bytes().splitlines()[-1])
    return line


def password_changed(client: "redis.Redis") -> Callable[[], object]:
    """Whoever connects is refused."""
    client.config_set("requirepass", "changed")
    return lambda: client.config_set("requirepass", "")


def right_taken_away(client: "redis.Redis") -> Callable[[], object]:
    """It may still ask whether Redis is there, and fetch nothing."""
    client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all", "-@scripting"])
    return lambda: client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"])


def memory_full(client: "redis.Redis") -> Callable[[], object]:
    """As noeviction has it."""
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("refuse", "errors"),
    [
        (password_changed, ["AuthenticationError"]),
        (right_taken_away, ["NoPermissionError"]),
        (memory_full, ["OutOfMemoryError", "ResponseError"]),  # Redis 7, and 6, of a script
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_worker_that_redis_refuses_is_not_seen_and_says_so(
    database: Database,
    own_redis: OwnRedis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[["redis.Redis"], Callable[[], object]],
    errors: list[str],
) -> None:
    """It looked healthy for ever, and got no message."""
    monkeypatch.setattr(serve, "ANSWERED_WITHIN_S", 2)
    with redis.Redis(unix_socket_path=own_redis.url.removeprefix("unix://")) as direct:
        mend = refuse(direct)
        refused = seen_once(database, own_redis.url, tmp_path / "log.jsonl")
        seen = seen_lately(database, "worker")
        mend()
        accepted = seen_once(database, own_redis.url, tmp_path / "log.jsonl")

    assert (refused["event"], seen) == ("broker.unreachable", 0)
    assert refused["error"] in errors
    assert (accepted["event"], seen_lately(database, "worker")) == ("worker.seen", 1)


def test_worker_whose_redis_is_away_is_not_seen_and_says_so(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "ANSWERED_WITHIN_S", 2)

    line = seen_once(database, f"unix://{tmp_path / 'nobody.sock'}", tmp_path / "log.jsonl")

    assert (line["event"], line["error"]) == ("broker.unreachable", "ConnectionError")
    assert seen_lately(database, "worker") == 0


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_sigterm_ends_run_start_like_ctrl_c_and_leaves_no_lease(installation: Installation) -> None:
    """An issuer that takes its time keeps batches under way when it comes."""
    database = installation.database
    with SimulatedIssuer({"slow": "all"}, slow_s=1) as issuer:
        programme = a_programme(database, stores=0)
        an_issuer(database, programme, issuer.url)
        installation.write_token(programme.code)
        with database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        cycle = local_cycle(datetime.now(UTC), zone("America/Tijuana"))
        families(database, programme, 400, location=TIJUANA, first_cycle=cycle)
        process = start("run", "start", environment=installation.environment)
        try:
            until(lambda: issuer.requests > 0, what="a call under way")
            assert _live_leases(database) > 0
            process.terminate()
            ended = end(process)
        finally:
            kill(process)

    assert ended.code == 130, ended.err
    assert _live_leases(database) == 0
    assert len(vouchers_of(database)) < 400
    assert_books_agree(database)


@pytest.mark.parametrize("made", [True, False], ids=["made", "not made"])
def test_take_whose_commit_is_not_heard_of_gives_its_attempt_back(database: Database, made: bool) -> None:
    batch = batches_of(database, _a_run(database))[0]
    _lose_the_answer_of_the_commit(database, made=made)

    with pytest.raises(NotTaken) as unheard:
        take_batch(database, batch.id)

    assert unheard.value.failure.given_back
    left = _batch(database, batch)
    assert (left.attempts, left.lease_until, left.token) == (0, None, None)


def test_take_of_a_database_that_is_away_ends_with_its_worker() -> None:
    """Its attempt may be counted, and is not given up for a minute, unless the worker is told to stop."""
    database = Database("postgresql://nobody@127.0.0.1:1/nowhere")
    stopping = threading.Event()
    began = time.monotonic()
    threading.Timer(0.5, stopping.set).start()

    with pytest.raises(NotTaken) as away:
        take_batch(database, 1, stopping=stopping)

    assert 0.5 <= time.monotonic() - began < 0.5 + 3 + SLACK_S
    assert not away.value.failure.given_back
    database.close()


def test_attempt_whose_take_was_not_heard_of_is_logged_as_given_back(installation: Installation) -> None:
    batch = batches_of(installation.database, _a_run(installation.database))[0]
    _lose_the_answer_of_the_commit(installation.database, made=True)

    installation.receive(CreditBatch(batch.id))

    failed = [line for line in installation.lines() if line["event"] == "attempt.failed"]
    assert [line["given_back"] for line in failed] == [True]


@pytest.mark.parametrize("error", [NoConnectionFree("none free"), MemoryError()], ids=["no connection", "no memory"])
def test_trouble_of_the_place_gives_the_attempt_back(database: Database, error: Exception) -> None:
    batch = batches_of(database, _a_run(database))[0]
    lease = take_batch(database, batch.id)
    assert lease is not None

    failure = return_batch(database, lease, error)

    assert failure.given_back is True
    assert (_batch(database, batch).attempts, _batch(database, batch).lease_until) == (0, None)


def test_defect_of_ours_keeps_the_attempt(database: Database) -> None:
    batch = batches_of(database, _a_run(database))[0]
    lease = take_batch(database, batch.id)
    assert lease is not None

    failure = return_batch(database, lease, RuntimeError())

    assert failure.given_back is False
    assert _batch(database, batch).attempts == 1


def test_steady_clock_goes_forward_and_goes_on_in_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    readings = [steady_s() for _ in range(1_000)]
    after = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert [before, *readings, after] == sorted([before, *readings, after])
    assert deadlines._STEADY == time.CLOCK_BOOTTIME


def test_lease_begins_by_the_steady_clock_before_it_is_taken(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was ever suspended, another clock would show the same: so it is set to the wall clock here."""
    monkeypatch.setattr(deadlines, "_STEADY", time.CLOCK_REALTIME)
    batch = batches_of(database, _a_run(database))[0]
    taken_at: list[float] = []
    event.listen(database.engine, "begin", lambda _connection: taken_at.append(steady_s()))

    told_at = steady_s()
    lease = take_batch(database, batch.id)

    assert lease is not None
    assert told_at <= lease.began <= taken_at[0]


def _a_run(database: Database, *, store_url: str = "", stores: int = 0) -> Run:
    programme = a_programme(database, store_url=store_url, stores=stores)
    families(database, programme, 3, location=TIJUANA)
    return a_released_run(database, programme)


def _batch(database: Database, batch: Batch) -> Batch:
    with database.reading() as tx:
        return tx.get(Batch, Batch.id == batch.id)


def _live_leases(database: Database) -> int:
    with database.reading() as tx:
        now = tx.now
        return len([each for each in tx.list(Batch) if each.lease_until is not None and each.lease_until >= now])


def _lines(installation: Installation, event: str) -> list[dict[str, object]]:
    return [line for line in installation.lines() if line["event"] == event]


def _thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def _declare_actors(broker: SafeRedisBroker, go: threading.Event, done: list[int]) -> None:
    @dramatiq.actor(broker=broker, actor_name=CreditBatch.ACTOR, queue_name=CREDIT_QUEUE)
    def credit_batch(batch_id: int) -> None:
        assert go.wait(SHUTDOWN_S)
        done.append(batch_id)

    @dramatiq.actor(broker=broker, actor_name=SendNotice.ACTOR, queue_name=NOTIFY_QUEUE)
    def send_notice(notice_id: int) -> None:
        assert go.wait(SHUTDOWN_S)
        done.append(notice_id)


def _a_message() -> MessageProxy:
    return MessageProxy(dramatiq.Message.decode(_forged()))


def _forged(**named: str) -> bytes:
    """A message that nothing is wrong with but what is named."""
    ids = {"message_id": str(uuid4()), "redis_message_id": str(uuid4())} | named
    return orjson.dumps(
        {
            "queue_name": CREDIT_QUEUE, "actor_name": CreditBatch.ACTOR, "args": [], "kwargs": {"batch_id": 1},
            "options": {"version": 1, "redis_message_id": ids["redis_message_id"]},
            "message_id": ids["message_id"], "message_timestamp": 1,
        }
    )  # fmt: skip


def _put(broker: SafeRedisBroker, held_as: str, content: bytes) -> None:
    queue = f"{broker.namespace}:{CREDIT_QUEUE}"
    broker.client.hset(f"{queue}.msgs", held_as, content)
    broker.client.rpush(queue, held_as)


def _fetch(broker: SafeRedisBroker) -> MessageProxy | None:
    """What a new consumer is given first."""
    found: MessageProxy | None = next(broker.consume(CREDIT_QUEUE, prefetch=4, timeout=50))
    return found


def _in_redis(broker: SafeRedisBroker) -> list[str]:
    """What stands under the broker's name: queues, messages, and who has them in hand."""
    keys = [key.decode() for key in broker.client.scan_iter(f"{broker.namespace}:*")]
    return [key for key in keys if not key.endswith("__heartbeats__")]


def _lose_the_answer_of_the_commit(database: Database, *, made: bool) -> None:
    """The next one only."""
    dialect: Any = database.engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: object) -> None:
        dialect.__dict__.pop("do_commit")
        if made:
            commit(connection)
        raise dialect.loaded_dbapi.OperationalError("the answer is lost")

    dialect.do_commit = do_commit

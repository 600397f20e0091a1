"""The holes of Dramatiq on Redis, each caused on a real server: no message stays behind, and no thread dies unseen."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dramatiq
import orjson
import pytest
import redis
from sqlalchemy import text

from models.broker import SafeRedisBroker, make_broker, redis_client, send
from models.deadlines import SHUTDOWN_S
from models.log import Log
from models.messages import CREDIT_QUEUE, NOTIFY_QUEUE, QUARANTINE_ACTOR, CreditBatch
from models.states import RunState
from models.storage import Database
from tests import servers
from tests.builders import TIJUANA, a_programme, a_released_run, families, run_again, vouchers_of
from tests.commands import end, kill, start
from tests.faults.proxy import Proxy, proxied_redis, redis_socket
from tests.faults.report import Row
from tests.installation import Installation
from tests.ledger import assert_books_agree, expire_stamps, of_vouchers, pass_time
from tests.processes import children_of, is_running
from tests.races import failing_at
from tests.waiting import until
from workers import watchdog
from workers.credit import INSERT_VOUCHERS
from workers.serve import BOOT_S
from workers.watchdog import Watchdog, dead_threads

MESSAGES = 6
NO_ID = "00000000-0000-0000-0000-000000000000"
IN_A_CENTURY_MS = 4_900_000_000_000
#: Where Dramatiq keeps what has to wait. We never have it wait; its consumer is there all the same.
DELAY_QUEUE = f"{CREDIT_QUEUE}.DQ"
#: As long as Dramatiq waits before it makes a new consumer, and then some.
RECOVERS_WITHIN_S = 30


@dataclass
class Bench:
    """A real worker over a real Redis, whose actors only remember what they were told."""

    url: str
    direct: "redis.Redis"  #: past any proxy
    broker: SafeRedisBroker
    worker: dramatiq.Worker
    done: list[int] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def held(self, queue: str = "*") -> int:
        """Messages that Redis believes this worker to have in hand."""
        return sum(int(self.direct.scard(key)) for key in self.direct.scan_iter(f"bench:__acks__.*.{queue}"))

    def known(self) -> int:
        """Messages that Redis knows of in any queue, waiting, in hand or dead."""
        return sum(int(self.direct.hlen(key)) for key in self.direct.scan_iter("bench:*.msgs"))

    def until_all_done(self) -> None:
        """Every message was done, none stayed behind, and every thread lives."""
        until(
            lambda: set(self.done) >= set(range(1, MESSAGES + 1)) and self.held() == self.known() == 0,
            what=f"all messages: {sorted(set(self.done))} done", within_s=RECOVERS_WITHIN_S,
        )  # fmt: skip
        assert dead_threads(self.worker) == []


@contextmanager
def bench(url: str, *, proxy: Proxy | None = None) -> Iterator[Bench]:
    """Six messages, and a worker that waits with each until it may go on."""
    client = redis_client(proxied_redis(proxy) if proxy else url, repeats=False)
    broker = make_broker(client, namespace="bench", middleware=[])
    direct = redis.Redis(unix_socket_path=redis_socket(url))
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    made = Bench(url, direct, broker, worker)

    @dramatiq.actor(broker=broker, actor_name=CreditBatch.ACTOR, queue_name=CREDIT_QUEUE)
    def credit_batch(batch_id: int) -> None:
        assert made.go.wait(RECOVERS_WITHIN_S)
        made.done.append(batch_id)

    @dramatiq.actor(broker=broker, actor_name=QUARANTINE_ACTOR, queue_name=CREDIT_QUEUE)
    def quarantine(digest: str, rule: str) -> None:
        made.quarantined.append(rule)

    broker.declare_queue(NOTIFY_QUEUE)
    for number in range(1, MESSAGES + 1):
        send(broker, CreditBatch(number))
    worker.start()
    try:
        yield made
    finally:
        made.go.set()
        worker.stop(timeout=5_000)
        with suppress(redis.RedisError):
            broker.close()
        client.connection_pool.disconnect(inuse_connections=True)
        direct.close()


@pytest.fixture
def own_redis(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of the test's own: its settings are changed."""
    with servers.redis_server(request.config.getoption("--servers"), tmp_path) as url:
        yield url


def out_of_memory(client: "redis.Redis") -> Callable[[], object]:
    """Every command that writes fails, acknowledgements too. Returns what ends it."""
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


def read_only(client: "redis.Redis") -> Callable[[], object]:
    """As after a failover."""
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


def silent(client: "redis.Redis") -> Callable[[], object]:
    """Longer than a client waits."""
    client.client_pause(4_000, all=True)
    return client.ping


@pytest.mark.parametrize("fault", [out_of_memory, read_only, silent], ids=lambda fault: fault.__name__)
def test_redis_that_fails_while_messages_are_in_hand_strands_none(
    own_redis: str,
    record_fault: Callable[[Row], None],
    fault: Callable[["redis.Redis"], Callable[[], object]],
) -> None:
    """L3 and L5: any error of Redis, at a fetch or at an acknowledgement, once ended a thread or lost an ack."""
    with bench(own_redis) as made:
        until(lambda: made.held() >= 2, what="messages in hand")
        mend = fault(made.direct)
        record_fault(Row(fault=f"Redis {fault.__name__.replace('_', ' ')} while workers hold messages", runs=1))
        made.go.set()
        until(lambda: len(made.done) >= 2, what="work whose acknowledgement fails")
        mend()
        made.until_all_done()


def test_fetch_whose_answer_is_lost_strands_nothing(own_redis: str, record_fault: Callable[[Row], None]) -> None:
    """L4: Redis has moved the messages into the worker's name, and the worker never heard of them."""
    with Proxy(redis_socket(own_redis)) as proxy, bench(own_redis, proxy=proxy) as made:
        made.go.set()
        made.until_all_done()
        proxy.hold_replies_from(b'"batch_id":77')
        other = make_broker(redis_client(own_redis), namespace="bench", middleware=[])
        other.declare_queue(CREDIT_QUEUE)
        send(other, CreditBatch(77))
        other.close()
        until(lambda: proxy.swallowed > 0, what="a fetch whose answer is held back")
        record_fault(Row(fault="answer to a fetch lost", runs=1))
        assert made.held() == 1
        proxy.cut()
        proxy.pass_on()
        until(lambda: 77 in made.done, what="the message that was given back", within_s=RECOVERS_WITHIN_S)
        made.until_all_done()


@pytest.mark.parametrize("queue", [CREDIT_QUEUE, NOTIFY_QUEUE, DELAY_QUEUE])
def test_bad_messages_harm_no_others_and_leave_nothing_behind(
    own_redis: str, record_fault: Callable[[Row], None], queue: str
) -> None:
    """Malformed, forged, of another actor, another version: all quarantined, all good ones done.

    Whatever queue they are in, which most of them do not name; nor does the good one that lies behind them.
    """
    bad, behind = _bad_messages(), MESSAGES + 1
    with bench(own_redis) as made:
        until(lambda: all(each.consumer for each in made.worker.consumers.values()), what="the consumers")
        first = {name: each.consumer for name, each in made.worker.consumers.items()}
        _put(made.direct, f"bench:{queue}", bad)
        record_fault(Row(fault="malformed and forged messages among good ones", runs=len(bad)))
        _put_good(made.direct, f"bench:{queue}", behind)
        made.go.set()
        until(lambda: len(made.quarantined) >= len(bad) and behind in made.done, what="the quarantine")
        made.until_all_done()

        assert {name: each.consumer for name, each in made.worker.consumers.items()} == first
        assert len(made.quarantined) == len(bad)
        assert sorted(made.done) == list(range(1, behind + 1))


def test_message_that_asks_for_a_delay_is_quarantined_also_across_a_restart_of_redis(
    servers_from: str, own_redis: str, tmp_path: Path
) -> None:
    """L2: Dramatiq forgets in an outage what it delays. We delay nothing: whatever asks for it is not ours."""
    options = {"version": 1, "redis_message_id": NO_ID, "eta": IN_A_CENTURY_MS}
    delayed = _forged(queue_name=DELAY_QUEUE, options=options)
    with ExitStack() as restarted, bench(own_redis) as made:
        until(lambda: made.worker.work_queue.qsize() >= 2, what="work for both threads, before the message comes")
        _put(made.direct, f"bench:{DELAY_QUEUE}", [delayed])
        until(lambda: made.held(DELAY_QUEUE), what="the message in hand")
        made.direct.shutdown(save=True)
        restarted.enter_context(servers.redis_server(servers_from, tmp_path))
        made.go.set()
        until(lambda: made.quarantined, what="the quarantine of what was in hand")
        _put(made.direct, f"bench:{DELAY_QUEUE}", [delayed])
        until(lambda: len(made.quarantined) >= 2, what="the quarantine after the restart")
        made.until_all_done()

        assert made.quarantined == ["unknown options"] * 2


@pytest.mark.parametrize("profile", ["distributed"])
def test_real_worker_names_nobody_whatever_it_is_sent_and_whoever_fails(installation: Installation) -> None:
    """In nothing that it prints: the messages name a person, and so does the database, of a family that it refuses."""
    database = installation.database
    programme = a_programme(database, stores=0)
    families(database, programme, 20, location=TIJUANA, prefix="Juana")
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        tx.connection.execute(text(REFUSES_THE_FIRST_FAMILY))
    bad = _bad_messages()
    queue = f"{installation.broker.namespace}:{CREDIT_QUEUE}"
    _put(installation.broker.client, queue, bad)
    installation.ticker().work()

    process = start("worker", environment=installation.environment)
    try:
        until(lambda: not installation.broker.client.hlen(f"{queue}.msgs"), what="the end of all messages")
        process.terminate()
        ended = end(process)
    finally:
        kill(process)

    told = [orjson.loads(line) for line in ended.out.splitlines()]
    assert [line["event"] for line in told].count("message.quarantined") == len(bad)
    assert [line["constraint"] for line in told if line["event"] == "attempt.failed"] == ["no_first_family"]
    assert len(vouchers_of(database, run)) == 10  # of the other batch
    everything = (ended.out + ended.err + installation.settings.log.read_text()).lower().replace("tijuana", "")
    for name in ("juana", "núñez", "n\\u00fa", "calle"):
        assert name not in everything


REFUSES_THE_FIRST_FAMILY = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE name text;
BEGIN
  SELECT h.registration_id INTO name FROM disbursement d JOIN household h ON h.id = d.household_id WHERE d.id = NEW.id;
  RAISE EXCEPTION 'not %', name USING CONSTRAINT = 'no_first_family', DETAIL = name, ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER refuses BEFORE INSERT ON voucher FOR EACH ROW WHEN (NEW.id % 10000000 = 1) EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_foreign_messages_among_a_month_change_nothing_and_name_nobody(
    installation: Installation, record_fault: Callable[[Row], None]
) -> None:
    """Forged, replayed, of an older version, under keys that are no text: the month is credited once all the same."""
    programme = a_programme(installation.database, stores=0)
    families(installation.database, programme, 60, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    installation.ticker().work()
    broker = installation.broker
    key = f"{broker.namespace}:{CREDIT_QUEUE}"
    ours: list[Any] = broker.client.hvals(f"{key}.msgs")
    older = [content.replace(b'"version":1', b'"version":0') for content in ours]
    foreign: list[tuple[bytes | str, bytes]] = [
        *((f"replayed-{number}", content) for number, content in enumerate([*ours, *older])),
        (b"\xff\xfe", ours[0]),
        ("named", _forged(message_id="Juana Núñez, Calle 5")),
        ("other", _forged(kwargs={"batch_id": 999_999})),
        ("newer", ours[0].replace(b'"version":1', b'"version":2')),
    ]
    for message_id, content in foreign:
        broker.client.hset(f"{key}.msgs", message_id, content)
        broker.client.lpush(key, message_id)

    for _ in range(2):  # a consumer of its own each time: the second tidies up what the first could not name
        with installation.workers():
            until(lambda: len(vouchers_of(installation.database, run)) == 60, what="every voucher")
            until(lambda: not broker.client.llen(key), what="an empty queue")
    installation.ticker().work()

    what = "foreign messages among a month's own"
    record_fault(of_vouchers(what, installation.database, families=60, runs=len(foreign)))
    assert_books_agree(installation.database)
    assert len(vouchers_of(installation.database, run)) == 60
    assert broker.client.hlen(f"{key}.msgs") == 0
    log = installation.settings.log.read_text()
    assert "Juana" not in log
    assert log.count('"message.quarantined"') == 2


@pytest.mark.parametrize("fault", [out_of_memory, read_only, silent], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("profile", ["distributed"])
def test_actor_that_raises_while_redis_refuses_loses_nothing(
    own_redis: str,
    database: Database,
    database_url: str,
    tmp_path: Path,
    fault: Callable[["redis.Redis"], Callable[[], object]],
) -> None:
    """L1: Dramatiq's own retry would be lost. Nobody relies on one: the message comes again from the database."""
    with (
        Installation.open(
            tmp_path / "home", database, database_url=database_url, redis_url=own_redis, namespace="raises"
        ) as installation,
        redis.Redis(unix_socket_path=redis_socket(own_redis)) as direct,
    ):
        programme = a_programme(database, stores=0)
        families(database, programme, 30, location=TIJUANA)
        run = a_released_run(database, programme, batch_lines=30)  # one message, one failure
        ticker = installation.ticker()
        mend: list[Callable[[], object]] = []

        def refuse_and_raise() -> BaseException:
            mend.append(fault(direct))
            return KeyboardInterrupt()  # which no actor catches: what one does catch, it gives back itself

        ticker.work()
        with ExitStack() as stack:
            with failing_at(database, INSERT_VOUCHERS, refuse_and_raise):
                stack.enter_context(installation.workers())
                until(lambda: _failed(installation), what="an actor that raises")
            mend[0]()
            pass_time(database)

            def credited() -> bool:
                expire_stamps(database)
                ticker.work()
                return run_again(database, run).state == RunState.COMPLETED

            until(credited, what="every voucher")
            until(lambda: not direct.hlen(f"raises:{CREDIT_QUEUE}.msgs"), what="the last acknowledgement")

        assert _failed(installation) == ["KeyboardInterrupt"]
        assert len(vouchers_of(database, run)) == 30
        assert_books_agree(database)


THREADS: dict[str, Callable[[dramatiq.Worker], Any]] = {
    "consumer": lambda worker: worker.consumers[CREDIT_QUEUE],
    "delay consumer": lambda worker: worker.consumers[f"{CREDIT_QUEUE}.DQ"],
    "worker": lambda worker: worker.workers[0],
}


@pytest.mark.parametrize("thread", THREADS)
def test_dead_thread_ends_the_process_loudly(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(watchdog, "CHECK_EVERY_S", 0.05)
    with Log.to_file(tmp_path / "log.jsonl", "test") as log:
        guard = Watchdog(log)
        client = redis_client(redis_url)
        broker = make_broker(client, namespace="watched", middleware=[guard])
        broker.declare_queue(CREDIT_QUEUE)
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
        worker.start()
        assert dead_threads(worker) == []

        THREADS[thread](worker).running = False
        until(lambda: ended, what="the end of the process")
        worker.stop(timeout=5_000)
        broker.close()
        client.connection_pool.disconnect(inuse_connections=True)

    assert ended[0] == 1
    told = [orjson.loads(line) for line in (tmp_path / "log.jsonl").read_bytes().splitlines()]
    assert (told[0]["event"], told[0]["thread"]) == ("worker.failed", thread.removeprefix("delay "))


@pytest.mark.parametrize("thread", ["consumer", "worker"])
@pytest.mark.parametrize("profile", ["distributed"])
def test_real_worker_whose_threads_are_dead_ends_with_all_its_processes(
    installation: Installation, tmp_path: Path, thread: str
) -> None:
    """Dead as after an exception that nothing caught; the other kind lives."""
    dies = f"import dramatiq.worker\ndramatiq.worker.{thread.title()}Thread.run = lambda self: None\n"
    (tmp_path / "sitecustomize.py").write_text(dies)

    process = start("worker", "--processes", "2", environment=installation.environment | {"PYTHONPATH": str(tmp_path)})
    try:
        until(lambda: process.poll() is not None, what="its end")
        ended = end(process)
    finally:
        kill(process)

    assert ended.code == 1
    told = [orjson.loads(line) for line in ended.out.splitlines()]
    assert {line["thread"] for line in told if line["event"] == "worker.failed"} == {thread}


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_orphans_of_a_killed_master_end_themselves(installation: Installation) -> None:
    process = start("worker", "--processes", "2", environment=installation.environment)
    try:
        until(lambda: _booted(process.pid, 2), what="two workers")
        family = _descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)

        until(
            lambda: not [pid for pid in family if is_running(pid)], what="the end of the orphans", within_s=SHUTDOWN_S
        )
    finally:
        kill(process)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_death_of_one_worker_process_ends_them_all_for_the_supervisor(installation: Installation) -> None:
    process = start("worker", "--processes", "2", environment=installation.environment)
    try:
        until(lambda: _booted(process.pid, 2), what="two workers")
        family = _descendants(process.pid)
        os.kill(max(family), signal.SIGKILL)
        ended = end(process)

        assert ended.code == 1
        until(lambda: not [pid for pid in family if is_running(pid)], what="the end of the others", within_s=SHUTDOWN_S)
    finally:
        kill(process)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_death_of_a_worker_process_that_boots_ends_them_all_soon(installation: Installation) -> None:
    process = start("worker", "--processes", "2", environment=installation.environment)
    try:
        until(lambda: len(_descendants(process.pid)) == 2, what="two processes")
        os.kill(min(_descendants(process.pid)), signal.SIGKILL)
        until(lambda: process.poll() is not None, what="the end of the master", within_s=BOOT_S + 10)

        assert end(process).code == 1
    finally:
        kill(process)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_worker_told_to_stop_ends_in_time(installation: Installation) -> None:
    process = start("worker", "--processes", "2", environment=installation.environment)
    try:
        until(lambda: _booted(process.pid, 2), what="two workers")
        family = _descendants(process.pid)
        process.terminate()
        until(lambda: process.poll() is not None, what="the end of the master", within_s=SHUTDOWN_S + 5)

        assert end(process).code == 0
        assert not [pid for pid in family if is_running(pid)]
    finally:
        kill(process)


def _failed(installation: Installation) -> list[object]:
    """Of attempts that failed: their errors."""
    return [line["error"] for line in installation.lines() if line["event"] == "attempt.failed"]


def _put(client: "redis.Redis", queue: str, messages: Sequence[bytes]) -> None:
    for number, content in enumerate(messages):
        client.hset(f"{queue}.msgs", f"bad-{number}", content)
        client.rpush(queue, f"bad-{number}")


def _put_good(client: "redis.Redis", queue: str, batch_id: int) -> None:
    """One that is accepted, at the end of a queue that it need not name."""
    message_id = f"{batch_id:08}{NO_ID[8:]}"
    options = {"version": 1, "redis_message_id": message_id}
    content = _forged(kwargs={"batch_id": batch_id}, options=options, message_id=message_id)
    client.hset(f"{queue}.msgs", message_id, content)
    client.rpush(queue, message_id)


def _bad_messages() -> list[bytes]:
    """Each breaks another rule; some name somebody."""
    ours = {"version": 1, "redis_message_id": NO_ID}
    return [
        b"", b"\xff\x00", b"[]", b"null", b'{"actor_name":"credit_batch"}', b"x" * 5_000,
        _forged(actor_name="discard"), _forged(actor_name="quarantine", kwargs={"digest": "Juana", "rule": "Juana"}),
        _forged(options=ours | {"version": 99}), _forged(options=ours | {"version": -1}),
        _forged(options=ours | {"version": True}), _forged(options=ours | {"on_success": "pay"}),
        _forged(options=ours | {"redis_message_id": "Juana"}), _forged(message_id="Juana Núñez, Calle 5"),
        _forged(kwargs={"batch_id": "Juana"}), _forged(kwargs={"batch_id": 1, "name": "Juana"}),
        _forged(kwargs={"batch_id": -1}), _forged(kwargs={"batch_id": 2**63}), _forged(args=["Juana"]),
        _forged(queue_name="notify"), _forged(message_timestamp="Juana"), _forged(Juana=1),
    ]  # fmt: skip


def _forged(**changed: object) -> bytes:
    good: dict[str, object] = {
        "queue_name": CREDIT_QUEUE, "actor_name": CreditBatch.ACTOR, "args": [], "kwargs": {"batch_id": 1},
        "options": {"version": 1, "redis_message_id": NO_ID}, "message_id": NO_ID, "message_timestamp": 1,
    }  # fmt: skip
    return orjson.dumps(good | changed)


def _descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    found = children_of(pid)
    return found + [grandchild for child in found for grandchild in _descendants(child)]


def _booted(pid: int, processes: int) -> bool:
    """Whether the master has its workers, and each of them its threads."""
    with suppress(FileNotFoundError):
        busy = [child for child in _descendants(pid) if len(list(Path(f"/proc/{child}/task").iterdir())) >= 4]
        return len(busy) >= processes
    return False

"""Every link has a deadline, tried against a black hole: everything is acknowledged, and nothing ever answers."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models import deadlines
from models.broker import redis_client
from models.deadlines import DATABASE_CONNECT_S, DATABASE_S, ISSUER_CALL_S, REDIS_S, STORE_CALL_S, steady_s
from models.intake.households import CREATE_STAGE, STAGE_ROWS
from models.postgresql import KEEPALIVES, BoundedConnection
from models.storage import Database, Tx
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.fakes import HERE
from tests.faults.proxy import Proxy, postgresql_socket, proxied_postgresql, proxied_redis, redis_socket
from tests.faults.report import Row
from tests.ledger import assert_books_agree, of_vouchers, pass_time
from tests.waiting import until
from workers.credit import credit_batch, return_batch, take_batch
from workers.issuers.answers import Credit, TryLater, Unknown
from workers.issuers.http import CONNECT_TIMEOUT_S, IssuerClient
from workers.stores.webhook import Envelope, deliver
from workers.stores.webhook import TryLater as StoreTryLater

#: For a machine that is busy with other tests.
SLACK_S = 2.5
#: Beyond a deadline that is exact.
NOISE_S = 1.5
SECRET = "whsec_" + "c2VjcmV0" * 4


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done in the context ends in time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began <= seconds + SLACK_S


@pytest.fixture
def proxy(postgresql: str) -> Iterator[Proxy]:
    """In front of PostgreSQL."""
    with Proxy(postgresql_socket(postgresql)) as proxy:
        yield proxy


@pytest.fixture
def through_proxy(postgresql_database: Database, proxy: Proxy) -> Iterator[Database]:
    """The same database, seen through the proxy, with a deadline of a second."""
    url = postgresql_database.url.render_as_string(hide_password=False)
    database = Database(proxied_postgresql(url, proxy), deadline_s=1)
    yield database
    proxy.pass_on()
    database.close()


def ask(database: Database) -> int:
    """One statement."""
    with database.reading() as tx:
        return int(tx.connection.execute(text("SELECT 1")).scalar_one())


def test_statement_into_a_black_hole_is_given_up_and_the_next_one_works(
    through_proxy: Database, proxy: Proxy, record_fault: Callable[[Row], None]
) -> None:
    assert ask(through_proxy) == 1
    proxy.black_hole()
    record_fault(Row(fault="black hole in front of PostgreSQL", runs=1))

    with within(1 + DATABASE_CONNECT_S), pytest.raises(OperationalError):
        ask(through_proxy)  # the pool asks the connection first, then makes a new one

    proxy.pass_on()
    assert ask(through_proxy) == 1


def test_transaction_that_falls_into_a_black_hole_half_way_is_given_up(through_proxy: Database, proxy: Proxy) -> None:
    with within(1), pytest.raises(OperationalError), through_proxy.transaction() as tx:
        tx.connection.execute(text("SELECT 1"))
        proxy.black_hole()
        tx.connection.execute(text("SELECT 1"))

    proxy.pass_on()
    assert ask(through_proxy) == 1


def test_copy_that_falls_into_a_black_hole_is_given_up(through_proxy: Database, proxy: Proxy) -> None:
    """The driver waits for it in other places than for a statement."""
    with within(1), pytest.raises(OperationalError), through_proxy.transaction() as tx:
        tx.execute(CREATE_STAGE)
        proxy.black_hole()
        tx.copy(STAGE_ROWS, [(2, "R-1", "02004", 1, "pregnant", "2026-12", "2026-12", "active", "")])

    proxy.pass_on()
    assert ask(through_proxy) == 1


def test_long_statement_has_a_longer_deadline_and_only_in_its_transaction(
    through_proxy: Database, proxy: Proxy
) -> None:
    with through_proxy.transaction() as tx:
        tx.allow_long_statement()
        tx.connection.execute(text("SELECT pg_sleep(1.5)"))

    with within(1), pytest.raises(OperationalError), through_proxy.transaction() as tx:
        tx.connection.execute(text("SELECT pg_sleep(5)"))


def test_every_connection_has_the_deadline_of_all_unless_told_otherwise(postgresql_database: Database) -> None:
    """The tests around this one wait for a second: a default that is another, or none, is seen here only."""
    with postgresql_database.transaction() as tx:
        first = connection_of(tx)
        assert first.deadline_s == DATABASE_S
        tx.allow_long_statement()
        assert first.deadline_s == DATABASE_S + deadlines.LONG_STATEMENT_S
        with postgresql_database.reading() as other:
            assert connection_of(other).deadline_s == DATABASE_S

    with postgresql_database.transaction() as tx, postgresql_database.reading() as other:
        again = [connection_of(tx), connection_of(other)]
    assert first in again
    assert [each.deadline_s for each in again] == [DATABASE_S] * 2


def connection_of(tx: Tx) -> BoundedConnection:
    """What the pool gave to this transaction."""
    connection = tx.connection.connection.driver_connection
    assert isinstance(connection, BoundedConnection)
    return connection


def test_commit_whose_answer_is_lost_is_credited_once(
    postgresql_database: Database, through_proxy: Database, proxy: Proxy, record_fault: Callable[[Row], None]
) -> None:
    """The ambiguous commit: the worker hears an error, and the vouchers are there."""
    programme = a_programme(postgresql_database)
    families(postgresql_database, programme, 10, location=TIJUANA)
    run = a_released_run(postgresql_database, programme)
    batch = batches_of(postgresql_database, run)[0]
    lease = take_batch(through_proxy, batch.id)
    assert lease is not None
    _hold_the_answer_of_the_commit(through_proxy, proxy)

    with pytest.raises(OperationalError) as unheard:
        credit_batch(through_proxy, lease, key_version=1)
    until(lambda: len(vouchers_of(postgresql_database, run)) == 10, what="the commit that nobody heard of")
    proxy.pass_on()
    failure = return_batch(through_proxy, lease, unheard.value)
    pass_time(postgresql_database)
    again = take_batch(through_proxy, batch.id)

    record_fault(of_vouchers("commit whose answer is lost", postgresql_database, families=10))
    assert failure.given_back
    assert again is None
    assert len(vouchers_of(postgresql_database, run)) == 10
    assert_books_agree(postgresql_database)


def test_redis_that_swallows_commands_is_given_up(redis_url: str, record_fault: Callable[[Row], None]) -> None:
    with Proxy(redis_socket(redis_url)) as proxy:
        for repeats, tries in ((True, 2), (False, 1)):
            client = redis_client(proxied_redis(proxy), repeats=repeats)
            proxy.pass_on()
            client.ping()
            proxy.black_hole()
            record_fault(Row(fault="black hole in front of Redis", runs=1))
            with within(tries * (REDIS_S + 1)), pytest.raises(redis.RedisError):
                client.llen("queue")
            client.close()


def test_issuer_and_store_that_swallow_requests_are_given_up(record_fault: Callable[[Row], None]) -> None:
    """What was sent and not answered is unknown; a store is simply tried later."""
    with _silent_server() as port:
        url = f"http://127.0.0.1:{port}"
        record_fault(Row(fault="black hole in front of issuer and store", runs=2))
        with within(ISSUER_CALL_S):
            answer = asyncio.run(_send(url))
        with within(STORE_CALL_S):
            store_answer = deliver(Envelope(url, "msg_1", b"{}", [SECRET]), HERE)

    assert answer == Unknown("no answer in time")
    assert store_answer == StoreTryLater("timeout")


def test_issuer_that_was_never_reached_was_sent_nothing() -> None:
    with _silent_server() as port:
        pass
    with within(ISSUER_CALL_S):
        assert asyncio.run(_send(f"http://127.0.0.1:{port}")) == TryLater("not connected")


def test_issuer_that_cannot_be_connected_to_was_sent_nothing_after_one_call_s_time() -> None:
    with _full_server() as server:
        began = time.monotonic()
        answer = asyncio.run(_send(f"http://127.0.0.1:{server.getsockname()[1]}"))
        took_s = time.monotonic() - began

    assert answer == TryLater("not connected in time")
    assert CONNECT_TIMEOUT_S * 2 < took_s < ISSUER_CALL_S + NOISE_S  # there was a second try, and no third


def test_issuer_that_is_reached_at_the_second_try_has_what_the_first_left_of_the_time() -> None:
    """A time-out of its own for each try let a call last for nine seconds of a lease of fifteen."""
    with _full_server() as server, ExitStack() as taken:
        began = time.monotonic()
        freeing = threading.Timer(CONNECT_TIMEOUT_S + 0.1, lambda: taken.enter_context(server.accept()[0]))
        freeing.start()
        answer = asyncio.run(_send(f"http://127.0.0.1:{server.getsockname()[1]}"))
        took_s = time.monotonic() - began
        freeing.join()

    assert answer == Unknown("no answer in time")
    assert took_s < ISSUER_CALL_S + NOISE_S


def test_time_outs_lie_in_the_order_that_they_rest_on() -> None:
    assert deadlines.LOCK_S < deadlines.STATEMENT_S < DATABASE_S < deadlines.LEASE_S
    assert deadlines.IDLE_S < deadlines.STATEMENT_S
    assert max(ISSUER_CALL_S, STORE_CALL_S) < deadlines.LEASE_S
    assert deadlines.LEASE_S + 2 * REDIS_S - 1 <= deadlines.SHUTDOWN_S < deadlines.STOP_S
    assert DATABASE_CONNECT_S < DATABASE_S
    asked_for_s = KEEPALIVES["idle"] + KEEPALIVES["interval"] * KEEPALIVES["count"]
    assert asked_for_s <= deadlines.SILENCE_S <= deadlines.LEASE_S


async def _send(url: str) -> object:
    async with IssuerClient.open(url, "rehearsal", calls=1, outgoing=HERE) as client:
        return await client.send(Credit("a1" * 32, 1, "MXN"), until=steady_s() + 60)


@contextmanager
def _full_server() -> Iterator[socket.socket]:
    """As many wait as it has room for: the kernel drops who else would connect. It never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.create_connection(server.getsockname()):
        yield server


@contextmanager
def _silent_server() -> Iterator[int]:
    """Accepts, reads, and never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for each in taken:
        each.close()


def _hold_the_answer_of_the_commit(database: Database, proxy: Proxy) -> None:
    commit = database.engine.dialect.do_commit

    def do_commit(connection: object) -> None:
        database.engine.dialect.__dict__.pop("do_commit")  # this one only
        proxy.hold_replies()
        commit(connection)  # type: ignore[arg-type]

    setattr(database.engine.dialect, "do_commit", do_commit)  # noqa: B010  # for the type checker

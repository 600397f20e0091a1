"""The scheduler's loop: workers have what to do whatever is being planned, and no half of it goes on alone."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text, update

from models import books
from models.errors import RefusedByState
from models.sightings import seen_lately
from models.storage import Database
from models.tables import Fund, Journal, Programme, Run
from scheduler import loop, tick
from scheduler.loop import tick_until_stopped
from scheduler.plan import NothingToPlan, Planned, claim_slot, plan_slot
from scheduler.tick import LOOK_EVERY, Ticker, TickResult
from tests.builders import (
    CITIES,
    CYCLE,
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_programme,
    a_released_run,
    families,
    families_due,
    vouchers_of,
)
from tests.commands import kill, start
from tests.installation import Installation
from tests.waiting import until

#: Of one member: 500.00 and 100.00 for it.
ONE_FAMILY_MINOR = 60_000


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_plan_that_takes_long_holds_no_released_run_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 60, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    planned = threading.Event()

    def decide(_self: Ticker) -> TickResult:
        planned.wait()
        return TickResult()

    monkeypatch.setattr(Ticker, "decide", decide)
    ticker = installation.ticker()
    with installation.workers(), ThreadPoolExecutor(1) as scheduler:
        ticking = scheduler.submit(tick_until_stopped, ticker, side_by_side=True)
        try:
            until(lambda: len(vouchers_of(installation.database, run)) == 60, what="the vouchers of the released run")
        finally:
            ticker.stopping.set()
            planned.set()
        assert ticking.exception() is None


def test_each_city_is_released_before_the_next_one_is_planned(installation: Installation) -> None:
    """Otherwise workers stand still while a million families of the other cities are planned."""
    families(installation.database, a_programme(installation.database), 2 * len(CITIES))

    installation.ticker().decide()

    with installation.database.reading() as tx:
        events = [each.event for each in tx.list(Journal)]
    assert [each for each in events if each in ("run.planned", "run.released")] == (
        ["run.planned", "run.released"] * len(CITIES)
    )


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_two_cities_are_planned_at_a_time(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session's plan leaves half of two processors idle."""
    database = installation.database
    families(database, a_programme(database), 2 * len(CITIES))
    both = threading.Barrier(2)
    cities = iter(CITIES)

    def plan_beside(*arguments: Any, **named: Any) -> Planned:
        if next(cities, CITIES[-1]) != CITIES[-1]:  # the seventh has no other beside it
            both.wait(timeout=10)
        return plan_slot(*arguments, **named)

    monkeypatch.setattr(tick, "plan_slot", plan_beside)

    result = installation.ticker(planners=2).decide()

    assert (result.planned, result.released, result.errors) == (len(CITIES), len(CITIES), [])
    with database.reading() as tx:
        assert {run.state for run in tx.list(Run)} == {"released"}
    assert installation.ticker(planners=2).decide().planned == 0


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_planner_leaves_a_city_to_whoever_is_at_it(installation: Installation) -> None:
    """Two schedulers share the cities; before, each waited for the other one's, city after city."""
    database = installation.database
    families(database, a_programme(database), 2 * len(CITIES))

    with database.transaction() as other:
        programme = other.get(Programme)
        plan_slot(other, programme, location_code=TIJUANA, cycle=CYCLE, now=PAYDAY, batch_lines=10)
        claimed = claim_slot(other, programme_id=programme.id, location_code=TIJUANA, cycle=CYCLE, part=None)
        assert claimed
        with database.transaction() as tx:
            tx.connection.execute(text("SET lock_timeout = '1ms'"))
            assert not claim_slot(tx, programme_id=programme.id, location_code=TIJUANA, cycle=CYCLE, part=1)
        result = installation.ticker().decide()
    assert (result.planned, result.errors) == (len(CITIES) - 1, [])
    with database.transaction() as tx:  # the other one has made it
        assert not claim_slot(tx, programme_id=programme.id, location_code=TIJUANA, cycle=CYCLE, part=1)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_city_that_cannot_be_planned_holds_up_none_beside_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installation.database
    families(database, a_programme(database), 2 * len(CITIES))

    def plan_others(*arguments: Any, location_code: str, **named: Any) -> Planned:
        if location_code == TIJUANA:
            raise RefusedByState("not this one")
        return plan_slot(*arguments, location_code=location_code, **named)

    monkeypatch.setattr(tick, "plan_slot", plan_others)

    result = installation.ticker(planners=2).decide()

    assert (result.planned, result.released) == (len(CITIES) - 1, len(CITIES) - 1)
    assert {str(error) for error in result.errors} == {"not this one"}


def test_command_plans_in_the_thread_that_a_signal_interrupts(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise Ctrl-C would wait for the city at hand, and that one be released afterwards."""
    families(installation.database, a_programme(installation.database), len(CITIES))

    def interrupt(*_: Any, **__: Any) -> Planned:
        assert threading.current_thread() is threading.main_thread()
        raise KeyboardInterrupt

    monkeypatch.setattr(tick, "plan_slot", interrupt)
    with pytest.raises(KeyboardInterrupt):
        installation.ticker().decide()


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_fault_of_one_planner_is_told_while_the_other_one_is_at_work(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installation.database
    families(database, a_programme(database), 2 * len(CITIES))
    goes_on = threading.Event()
    numbers = count(1)
    begun: list[int] = []

    def plan_or_fail(*_: Any, **__: Any) -> Planned:
        begun.append(number := next(numbers))
        if number == 2:
            raise TypeError
        goes_on.wait(timeout=30)
        raise NothingToPlan("nobody")

    monkeypatch.setattr(tick, "plan_slot", plan_or_fail)
    with ThreadPoolExecutor(1) as scheduler:
        deciding = scheduler.submit(installation.ticker(planners=2).decide)
        try:
            until(lambda: "tick.failed" in installation.settings.log.read_text(), what="the event")
        finally:
            goes_on.set()
        with pytest.raises(TypeError):
            deciding.result()
    assert len(begun) <= 3  # one may have been taken up before the fault was seen


def test_run_that_waits_for_money_comes_before_newer_ones(installation: Installation) -> None:
    database, ticker = installation.database, installation.ticker()
    programme = a_programme(database, funds_minor=(ONE_FAMILY_MINOR - 1,))
    families(database, programme, 1, location=TIJUANA)
    ticker.decide()
    families(database, programme, 1, location=NOGALES)
    with database.transaction() as tx:
        books.deposit(tx, fund_id=tx.get(Fund).id, amount_minor=1, currency="MXN")
    installation.clock.now += LOOK_EVERY

    ticker.decide()

    with database.reading() as tx:
        states = {run.location_code: (run.state, run.blocked) for run in tx.list(Run)}
    assert states == {TIJUANA: ("released", ""), NOGALES: ("approved", "funds: fund-1 balance")}


def test_city_without_families_is_looked_through_once_a_minute(installation: Installation) -> None:
    """Not at each tick: to find nobody takes a look at each family of the city."""
    database, ticker = installation.database, installation.ticker()
    programme = a_programme(database)
    ticker.decide()
    families(database, programme, 1, location=TIJUANA)

    assert ticker.decide().planned == 0
    installation.clock.now += LOOK_EVERY
    assert ticker.decide().planned == 1


def test_scheduler_is_seen_by_the_half_that_follows_runs(installation: Installation) -> None:
    """`run start --no-wait` relies on it: one that plans for an hour is there, one that sends nothing is not."""
    ticker = installation.ticker()
    ticker.decide()
    assert seen_lately(installation.database, "scheduler") == 0
    ticker.work()
    assert seen_lately(installation.database, "scheduler") == 1


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_scheduler_service_sends_what_is_released_while_it_plans_for_hours(installation: Installation) -> None:
    """The command itself: one half stands in a plan that does not end, the other one goes on."""
    database = installation.database
    now = installation.clock.now = datetime.now(UTC)
    released, planned = (a_programme(database, code=code) for code in ("northern-mexico", "later"))
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    cycle = families_due(database, released, 20, now=now)
    installation.ticker().decide()
    families(database, planned, 20, location=TIJUANA, first_cycle=cycle, prefix="L")
    with database.transaction() as tx:
        tx.connection.execute(text(PLANS_FOR_HOURS))

    process = start("scheduler", environment=installation.environment)
    try:
        until(lambda: _plans(database), what="the plan")
        until(lambda: _unsent(database) == 0, what="messages for every batch")
        assert _plans(database)
    finally:
        kill(process)


PLANS_FOR_HOURS = """
CREATE FUNCTION plan_for_hours() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(7200); RETURN NULL; END';
CREATE TRIGGER plans_for_hours BEFORE INSERT ON disbursement EXECUTE FUNCTION plan_for_hours();
"""


def _plans(database: Database) -> int:
    return _count(
        database,
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
    )


def _unsent(database: Database) -> int:
    assert _count(database, "SELECT COUNT(*) FROM batch") > 0
    return _count(database, "SELECT COUNT(*) FROM batch WHERE stamped_at IS NULL")


def _count(database: Database, statement: str) -> int:
    with database.reading() as tx:
        return int(tx.connection.execute(text(statement)).scalar_one())


def test_half_that_fails_while_the_other_is_stuck_ends_the_process(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so at once, and does not wait for an hour's plan."""
    planned = threading.Event()
    exits: list[int] = []

    def decide(_self: Ticker) -> TickResult:
        planned.wait()
        return TickResult()

    def broken(*_: object) -> TickResult:
        raise ZeroDivisionError

    def leave(code: int) -> None:
        exits.append(code)
        planned.set()

    monkeypatch.setattr(Ticker, "decide", decide)
    monkeypatch.setattr(Ticker, "work", broken)
    monkeypatch.setattr(loop, "LEASE_S", 0.1)
    monkeypatch.setattr("os._exit", leave)

    with pytest.raises(ZeroDivisionError):
        loop.tick_until_stopped(installation.ticker(), side_by_side=True)

    assert exits == [1]
    assert [(line["event"], line["error"]) for line in installation.lines()] == [("tick.failed", "ZeroDivisionError")]


@pytest.mark.parametrize("half", ["decide", "work"])
@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.timeout(60)
def test_fault_of_the_program_ends_the_whole_loop(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, *, half: str, side_by_side: bool
) -> None:
    def broken(*_: object) -> TickResult:
        raise ZeroDivisionError

    monkeypatch.setattr(Ticker, half, broken)

    with pytest.raises(ZeroDivisionError):
        tick_until_stopped(installation.ticker(), side_by_side=side_by_side)


@pytest.mark.timeout(30)
def test_signal_that_does_not_wake_the_waiting_thread_ends_the_loop_all_the_same(installation: Installation) -> None:
    """It came just before that fell asleep, or another one caught it: otherwise the service waits to be killed."""
    ticker = installation.ticker()
    before = signal.signal(signal.SIGUSR1, lambda *_: ticker.stopping.set())

    def catch() -> None:
        until(lambda: seen_lately(installation.database, "scheduler"), what="a tick")
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    try:
        with ThreadPoolExecutor(1) as other:
            other.submit(catch)
            tick_until_stopped(ticker, side_by_side=False)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert ticker.stopping.is_set()

"""Races on PostgreSQL, with two sessions stopped at named points. SQLite has one writer: there is nothing to race."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models import books
from models.errors import FundTooSmall, NotFound, RefusedByState
from models.intake.funding import SUM_DEPOSITS
from models.intake.load import load
from models.states import BatchState, RunState
from models.storage import Database, Tx
from models.tables import Case, Fund, FundLocation, Run, Transfer
from scheduler.approve import approve_by_policy
from scheduler.cancel import LIVE_LEASES, STOP_BATCHES, cancel, settle_cancelled
from scheduler.close import COUNT_UNFINISHED, close
from scheduler.discard import DELETE_BATCHES, discard
from scheduler.pause import PAUSE_BATCHES, pause
from scheduler.plan import INSERT_RUN, plan_slot
from scheduler.release import OPEN_BATCHES, release
from scheduler.resolve import INSERT_VOUCHER, resolve_paid
from scheduler.retry import CLOSE_CASES, Choice, Retry, retry
from scheduler.seal import LOCK_HEAD, seal
from scheduler.sweep import END_BATCH, sweep_exhausted
from tests.builders import (
    CYCLE,
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    fund_balance_minor,
    run_again,
    transferred_minor,
    vouchers_of,
)
from tests.ledger import assert_books_agree, exhaust, make_dead_case
from tests.races import Racer, in_transaction, until_blocked
from workers.credit import LOCK_BATCH, credit_batch, take_batch


@pytest.fixture
def url(postgresql_database: Database) -> str:
    """Where both sessions connect."""
    return postgresql_database.url.render_as_string(hide_password=False)


@pytest.fixture
def database(postgresql_database: Database) -> Database:
    """PostgreSQL only."""
    return postgresql_database


def _approved(database: Database, run: Run) -> Run:
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
    return run


def _releasing(run: Run) -> Callable[[Database], Run]:
    return in_transaction(lambda tx: release(tx, run.id, now=PAYDAY))


def _retrying(run: Run) -> Callable[[Database], Retry]:
    return in_transaction(lambda tx: retry(tx, run.id, Choice()))


def test_two_plans_of_a_slot_make_one_run(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)

    def planning(tx: Tx) -> tuple[int, bool]:
        planned = plan_slot(tx, programme, location_code=TIJUANA, cycle=CYCLE, now=PAYDAY, batch_lines=10, part=1)
        return planned.run.id, planned.created

    first = Racer(url, in_transaction(planning), stop_after=INSERT_RUN).start()
    second = Racer(url, in_transaction(planning)).start()
    until_blocked(database)
    first_id, first_created = first.finish()
    second_id, second_created = second.finish()

    assert (first_created, second_created) == (True, False)
    assert first_id == second_id
    assert sum(batch.lines for batch in batches_of(database, run_again_by_id(database, first_id))) == 30


def test_two_releases_on_one_fund_never_overdraw_it(database: Database, url: str) -> None:
    programme = a_programme(database, funds_minor=[2_000_000])
    families(database, programme, 14, location=TIJUANA, prefix="T")
    families(database, programme, 14, location=NOGALES, prefix="N")
    first_run = _approved(database, a_planned_run(database, programme, location=TIJUANA))
    second_run = _approved(database, a_planned_run(database, programme, location=NOGALES))

    first = Racer(url, _releasing(first_run), stop_after=OPEN_BATCHES).start()
    second = Racer(url, _releasing(second_run)).start()
    until_blocked(database)
    first.finish()
    with pytest.raises(FundTooSmall) as refused:
        second.finish()

    left_minor = 2_000_000 - first_run.planned_minor
    assert (refused.value.required_minor, refused.value.available_minor) == (second_run.planned_minor, left_minor)
    assert refused.value.shortfall_minor == second_run.planned_minor - left_minor
    assert fund_balance_minor(database, programme) == left_minor
    assert run_again(database, second_run).state == RunState.APPROVED
    assert_books_agree(database)


def test_two_releases_never_pass_the_cap_of_their_fund_together(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 14, location=TIJUANA, prefix="T")
    families(database, programme, 14, location=NOGALES, prefix="N")
    first_run = _approved(database, a_planned_run(database, programme, location=TIJUANA))
    second_run = _approved(database, a_planned_run(database, programme, location=NOGALES))
    _cap(database, "fund", 2 * first_run.planned_minor - 1)

    first = Racer(url, _releasing(first_run), stop_after=OPEN_BATCHES).start()
    second = Racer(url, _releasing(second_run)).start()
    until_blocked(database)
    first.finish()
    with pytest.raises(FundTooSmall, match="fund-1 cap"):
        second.finish()

    assert transferred_minor(database, "reserve") == first_run.planned_minor
    assert_books_agree(database)


def test_two_releases_on_two_funds_never_pass_the_programmes_cap_together(database: Database, url: str) -> None:
    programme = a_programme(database, funds_minor=[10**9, 10**9])
    _pay_only_for(database, "fund-1", TIJUANA)
    _pay_only_for(database, "fund-2", NOGALES)
    families(database, programme, 14, location=TIJUANA, prefix="T")
    families(database, programme, 14, location=NOGALES, prefix="N")
    first_run = _approved(database, a_planned_run(database, programme, location=TIJUANA))
    second_run = _approved(database, a_planned_run(database, programme, location=NOGALES))
    _cap(database, "programme", 2 * first_run.planned_minor - 1)

    first = Racer(url, _releasing(first_run), stop_after=OPEN_BATCHES).start()
    second = Racer(url, _releasing(second_run)).start()
    until_blocked(database)
    first.finish()
    with pytest.raises(FundTooSmall, match="the programme's cap"):
        second.finish()

    assert transferred_minor(database, "reserve") == first_run.planned_minor
    assert_books_agree(database)


def test_two_retries_on_two_funds_never_pass_the_programmes_cap_together(database: Database, url: str) -> None:
    """They hold a fund each, and no other's: their month is what they wait for."""
    programme = a_programme(database, funds_minor=[10**9, 10**9])
    _pay_only_for(database, "fund-1", TIJUANA)
    _pay_only_for(database, "fund-2", NOGALES)
    runs = []
    for place in (TIJUANA, NOGALES):
        families(database, programme, 14, location=place)
        runs.append(a_released_run(database, programme, location=place))
        with database.transaction() as tx:
            cancel(tx, runs[-1].id)
            settle_cancelled(tx, runs[-1].id)
    _cap(database, "programme", 2 * runs[0].planned_minor - 1)

    first_racer = Racer(url, _retrying(runs[0]), stop_after=CLOSE_CASES).start()
    second_racer = Racer(url, _retrying(runs[1])).start()
    until_blocked(database)
    first_racer.finish()
    with pytest.raises(RefusedByState, match="the cap of programme northern-mexico"):
        second_racer.finish()

    assert_books_agree(database)


def test_two_cases_found_paid_never_pass_the_cap_of_their_fund_together(database: Database, url: str) -> None:
    """The second is refused in words: it looks at what is reserved when the first has reserved."""
    programme = a_programme(database)
    cases = []
    for place in (TIJUANA, NOGALES):
        families(database, programme, 1, location=place)
        run = a_released_run(database, programme, location=place)
        with database.transaction() as tx:
            cancel(tx, run.id)
            settle_cancelled(tx, run.id)
        cases += cases_of(database, run)
    _cap(database, "fund", 2 * run.planned_minor - 1)

    def resolving(case: Case) -> Callable[[Database], Case]:
        return in_transaction(lambda tx: resolve_paid(tx, case.id, evidence="receipt 7", key_version=1))

    first = Racer(url, resolving(cases[0]), stop_after=INSERT_VOUCHER).start()
    second = Racer(url, resolving(cases[1])).start()
    until_blocked(database)
    first.finish()
    with pytest.raises(RefusedByState, match="the cap of fund fund-1"):
        second.finish()

    assert_books_agree(database)


@pytest.mark.parametrize("whose", ["fund", "programme"])
def test_cap_is_kept_by_the_database_whoever_reserves_at_the_same_time(
    database: Database, url: str, whose: str
) -> None:
    """Without a word of our code: two sessions insert, of two runs, on one fund and, for the programme, on two."""
    programme = a_programme(database, funds_minor=[10**9, 10**9])
    runs = []
    for place in (TIJUANA, NOGALES):
        families(database, programme, 14, location=place)
        runs.append(a_released_run(database, programme, location=place))
        with database.transaction() as tx:  # so that it is not the plan that leaves no room
            books.unreserve(tx, fund_id=1, run_id=runs[-1].id, amount_minor=60, currency="MXN")
    reserved_minor = transferred_minor(database, "reserve")
    _cap(database, whose, reserved_minor - 120 + 100)

    def reserving(run: Run, fund_id: int) -> Callable[[Database], None]:
        def reserve(tx: Tx) -> None:
            tx.execute(
                books.INSERT_TRANSFER, kind="reserve", fund_id=fund_id, run_id=run.id, batch_id=None, case_id=None,
                amount_minor=60, currency="MXN", transferred_at=tx.now,
            )  # fmt: skip

        return in_transaction(reserve)

    first = Racer(url, reserving(runs[0], 1), stop_after=books.INSERT_TRANSFER).start()
    second = Racer(url, reserving(runs[1], 1 if whose == "fund" else 2)).start()
    until_blocked(database)
    first.finish()
    with pytest.raises(DBAPIError, match="a month reserves no more than its cap"):
        second.finish()

    assert transferred_minor(database, "reserve") == reserved_minor + 60


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_session_that_does_not_see_what_others_reserved_reserves_nothing(database: Database, level: str) -> None:
    programme = a_programme(database)
    families(database, programme, 14, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:  # so that it is not the plan that leaves no room
        books.unreserve(tx, fund_id=1, run_id=run.id, amount_minor=1, currency="MXN")
    _cap(database, "fund", run.planned_minor + 100)

    with pytest.raises(DBAPIError, match="reserved by READ COMMITTED"), database.transaction() as tx:
        tx.connection.execute(text("ROLLBACK"))
        tx.connection.execute(text(f"BEGIN ISOLATION LEVEL {level}"))
        books.reserve(tx, fund_id=1, run_id=run.id, amount_minor=1, currency="MXN")


def test_rules_of_a_fund_come_before_a_release_or_after_it(database: Database, url: str, tmp_path: Path) -> None:
    """An import waits for a release under way, and what that reserved is not judged by the new rules."""
    programme = a_programme(database)
    families(database, programme, 14, location=TIJUANA)
    run = _approved(database, a_planned_run(database, programme, location=TIJUANA))
    file = tmp_path / "funds.csv"
    file.write_text(f"code,donor,currency,amount,locations,cycle_max\nfund-1,Donor 1,MXN,{10**10}.00,{NOGALES},1.00\n")

    releasing = Racer(url, _releasing(run), stop_after=OPEN_BATCHES).start()
    importing = Racer(url, lambda db: load(db, file, programme=None, dry_run=False, show=lambda _: None)).start()
    until_blocked(database)
    releasing.finish()
    importing.finish()

    assert_books_agree(database)
    with database.reading() as tx:
        assert tx.get(Fund).rules_after_id == tx.list(Transfer, Transfer.kind == "reserve")[0].id


def test_import_that_begins_with_a_donors_name_waits_for_a_release(
    database: Database, url: str, tmp_path: Path
) -> None:
    """It held one fund by then, and the release the others: each would have waited for the other."""
    programme = a_programme(database, funds_minor=[10**9, 10**9])
    families(database, programme, 14, location=TIJUANA)
    run = _approved(database, a_planned_run(database, programme, location=TIJUANA))
    file = tmp_path / "funds.csv"
    file.write_text("code,donor,currency,amount\nfund-2,Donor B,MXN,10000000\nfund-1,Donor 1,MXN,20000000\n")

    importing = Racer(
        url, lambda db: load(db, file, programme=None, dry_run=False, show=lambda _: None), stop_after=SUM_DEPOSITS
    ).start()
    releasing = Racer(url, _releasing(run)).start()
    until_blocked(database)
    importing.finish()
    releasing.finish()

    assert run_again(database, run).state == RunState.RELEASED
    assert_books_agree(database)


def _cap(database: Database, table: str, cap: int) -> None:
    with database.transaction() as tx:
        tx.connection.execute(text(f"UPDATE {table} SET cycle_max_minor = :cap"), {"cap": cap})


def _pay_only_for(database: Database, fund: str, location: str) -> None:
    with database.transaction() as tx:
        tx.add(FundLocation(fund_id=tx.get(Fund, Fund.code == fund).id, location_code=location))


def test_cancel_waits_for_a_release_and_stops_what_it_opened(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = _approved(database, a_planned_run(database, programme))

    releasing = Racer(url, _releasing(run), stop_after=OPEN_BATCHES).start()
    cancelling = Racer(url, in_transaction(lambda tx: cancel(tx, run.id))).start()
    until_blocked(database)
    releasing.finish()
    cancelling.finish()

    assert run_again(database, run).state == RunState.CANCELLED
    assert {batch.state for batch in batches_of(database, run)} == {BatchState.STOPPED}
    assert_books_agree(database)


def test_release_waits_for_a_discard_and_finds_no_run(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = _approved(database, a_planned_run(database, programme))

    discarding = Racer(url, in_transaction(lambda tx: discard(tx, run.id)), stop_after=DELETE_BATCHES).start()
    releasing = Racer(url, _releasing(run)).start()
    until_blocked(database)
    discarding.finish()
    with pytest.raises(NotFound):
        releasing.finish()

    assert fund_balance_minor(database, programme) == transferred_minor(database, "deposit")
    assert_books_agree(database)


def test_pause_waits_for_a_credit_that_has_begun(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None

    crediting = Racer(url, lambda db: credit_batch(db, lease, key_version=1), stop_after=LOCK_BATCH).start()
    pausing = Racer(url, in_transaction(lambda tx: pause(tx, run.id, reason="test"))).start()
    until_blocked(database)
    assert crediting.finish() is not None
    pausing.finish()

    assert [batch.state for batch in batches_of(database, run)] == [BatchState.DONE, BatchState.PAUSED]
    assert len(vouchers_of(database, run)) == 10


def test_credit_that_meets_a_pause_credits_nothing(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None

    action = in_transaction(lambda tx: pause(tx, run.id, reason="test"))
    pausing = Racer(url, action, stop_after=PAUSE_BATCHES).start()
    crediting = Racer(url, lambda db: credit_batch(db, lease, key_version=1)).start()
    until_blocked(database)
    pausing.finish()

    assert crediting.finish() is None
    assert vouchers_of(database, run) == []


def test_credit_that_meets_a_cancel_credits_nothing(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None

    cancelling = Racer(url, in_transaction(lambda tx: cancel(tx, run.id)), stop_after=STOP_BATCHES).start()
    crediting = Racer(url, lambda db: credit_batch(db, lease, key_version=1)).start()
    until_blocked(database)
    cancelling.finish()

    assert crediting.finish() is None
    assert vouchers_of(database, run) == []
    with database.transaction() as tx:
        assert not settle_cancelled(tx, run.id), "a live lease may still be at work"


def test_two_settlements_of_a_cancelled_run_give_its_reserve_back_once(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        cancel(tx, run.id)

    action = in_transaction(lambda tx: settle_cancelled(tx, run.id))
    first = Racer(url, action, stop_after=LIVE_LEASES).start()
    second = Racer(url, action).start()
    until_blocked(database)

    assert (first.finish(), second.finish()) == (True, False)
    assert transferred_minor(database, "unreserve") == run.planned_minor
    assert_books_agree(database)


def test_retry_waits_for_a_close_and_opens_the_run_again(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    make_dead_case(database, run)

    closing = Racer(url, in_transaction(lambda tx: close(tx, run.id)), stop_after=COUNT_UNFINISHED).start()
    retrying = Racer(url, in_transaction(lambda tx: retry(tx, run.id, Choice()))).start()
    until_blocked(database)

    assert closing.finish() is True
    assert retrying.finish().cases == 1
    assert run_again(database, run).state == RunState.RELEASED
    assert batches_of(database, run)[-1].state == BatchState.OPEN


def test_close_that_meets_a_retry_leaves_the_run_open(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    make_dead_case(database, run)

    action = in_transaction(lambda tx: retry(tx, run.id, Choice()))
    retrying = Racer(url, action, stop_after=CLOSE_CASES).start()
    closing = Racer(url, in_transaction(lambda tx: close(tx, run.id))).start()
    until_blocked(database)
    retrying.finish()

    assert closing.finish() is False
    assert run_again(database, run).state == RunState.RELEASED


def test_split_waits_for_a_slow_worker_that_finishes(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = exhaust(database, batches_of(database, run)[0])

    crediting = Racer(url, lambda db: credit_batch(db, lease, key_version=1), stop_after=LOCK_BATCH).start()
    splitting = Racer(url, in_transaction(lambda tx: sweep_exhausted(tx, run.id))).start()
    until_blocked(database)

    assert crediting.finish() is not None
    assert splitting.finish() == 0
    assert [batch.state for batch in batches_of(database, run)] == [BatchState.DONE]
    assert_books_agree(database)


def test_slow_worker_that_meets_a_split_credits_nothing(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = exhaust(database, batches_of(database, run)[0])

    splitting = Racer(url, in_transaction(lambda tx: sweep_exhausted(tx, run.id)), stop_after=END_BATCH).start()
    crediting = Racer(url, lambda db: credit_batch(db, lease, key_version=1)).start()
    until_blocked(database)

    assert splitting.finish() == 1
    assert crediting.finish() is None
    assert vouchers_of(database, run) == []
    assert sum(batch.lines for batch in batches_of(database, run) if batch.state == BatchState.OPEN) == 10


def test_two_sealers_make_one_chain(database: Database, url: str) -> None:
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    a_released_run(database, programme)

    first = Racer(url, lambda db: seal(db, limit=2), stop_after=LOCK_HEAD).start()
    second = Racer(url, lambda db: seal(db, limit=2)).start()
    until_blocked(database)

    assert (first.finish(), second.finish()) == (2, 2)
    assert_books_agree(database)


def run_again_by_id(database: Database, run_id: int) -> Run:
    """The run of this id."""
    with database.reading() as tx:
        return tx.get(Run, Run.id == run_id)

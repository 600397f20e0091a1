"""Cases, cancels and retries: nothing owed is forgotten, and nothing is paid twice on the way back."""

import pytest

from models.errors import RefusedByState, RefusedInput
from models.states import BatchState, CaseState, RunState
from models.storage import Database
from models.tables import Batch, Run
from scheduler.cancel import cancel, settle_cancelled
from scheduler.close import close
from scheduler.pause import pause, resume
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.retry import Choice, forecast_retry, retry
from tests.builders import (
    PLENTY_MINOR,
    TIJUANA,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    fund_balance_minor,
    notices_of,
    run_again,
    vouchers_of,
)
from tests.ledger import assert_books_agree, expire_lease, make_dead_case
from workers.credit import credit_batch, take_batch


def credit(database: Database, batch: Batch) -> None:
    """What a worker does with a batch."""
    lease = take_batch(database, batch.id)
    if lease is not None:
        credit_batch(database, lease, key_version=1)


def cancelled_half_way(database: Database) -> Run:
    """A run of thirty lines, of which ten were credited before it was cancelled."""
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    credit(database, batches_of(database, run)[0])
    with database.transaction() as tx:
        cancel(tx, run.id)
    with database.transaction() as tx:
        assert settle_cancelled(tx, run.id)
    return run


def test_cancelled_run_ends_with_every_line_credited_or_a_case(database: Database) -> None:
    run = cancelled_half_way(database)

    assert len(vouchers_of(database, run)) == 10
    assert [case.reason for case in cases_of(database, run)] == ["stopped"] * 20
    assert run_again(database, run).state == RunState.CANCELLED
    assert_books_agree(database)


def test_cancelled_run_waits_for_the_lease_of_a_worker(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    batch = batches_of(database, run)[0]
    assert take_batch(database, batch.id) is not None

    with database.transaction() as tx:
        cancel(tx, run.id)
        assert not settle_cancelled(tx, run.id)
    expire_lease(database, batch)
    with database.transaction() as tx:
        assert settle_cancelled(tx, run.id)

    assert len(cases_of(database, run)) == 10
    assert_books_agree(database)


def test_retry_of_a_cancelled_run_pays_the_rest_once(database: Database) -> None:
    run = cancelled_half_way(database)
    with database.transaction() as tx:
        forecast = forecast_retry(tx, run.id, Choice())
        retried = retry(tx, run.id, Choice())
    assert forecast == retried
    assert (retried.cases, retried.to_reserve_minor) == (20, retried.amount_minor)

    for batch in batches_of(database, run):
        credit(database, batch)
    with database.transaction() as tx:
        assert close(tx, run.id)

    assert len(vouchers_of(database, run)) == 30
    assert run_again(database, run).state == RunState.COMPLETED
    assert {case.state for case in cases_of(database, run)} == {CaseState.CLOSED}
    assert_books_agree(database)


def test_retry_twice_covers_each_line_once(database: Database) -> None:
    run = cancelled_half_way(database)

    with database.transaction() as tx:
        retry(tx, run.id, Choice())
    with database.transaction() as tx:
        assert retry(tx, run.id, Choice()).cases == 0

    open_lines = [batch.lines for batch in batches_of(database, run) if batch.state == BatchState.OPEN]
    assert sum(open_lines) == 20
    assert_books_agree(database)


def test_retried_lines_of_a_gap_are_covered_without_their_neighbours(database: Database) -> None:
    """A single case between credited lines gets a batch of its own."""
    programme = a_programme(database)
    families(database, programme, 3, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    first, middle, last = batches_of(database, run)
    credit(database, first)
    credit(database, last)
    make_dead_case(database, run)

    with database.transaction() as tx:
        retry(tx, run.id, Choice())

    again = batches_of(database, run)[-1] if batches_of(database, run)[-1].state == "open" else None
    covering = [batch for batch in batches_of(database, run) if batch.state == BatchState.OPEN]
    assert [(batch.first_id, batch.last_id, batch.lines) for batch in covering] == [
        (middle.first_id, middle.first_id, 1)
    ]
    assert again is None or again.id == covering[0].id
    assert_books_agree(database)


def test_dead_case_that_is_retried_completes_the_run(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    make_dead_case(database, run)
    with database.transaction() as tx:
        assert close(tx, run.id)
    assert run_again(database, run).state == RunState.COMPLETED_WITH_CASES
    assert [notice.vouchers for notice in notices_of(database, run)] == [0]

    with database.transaction() as tx:
        retry(tx, run.id, Choice())
    credit(database, batches_of(database, run)[-1])
    with database.transaction() as tx:
        assert close(tx, run.id)

    assert run_again(database, run).state == RunState.COMPLETED
    assert [(notice.number, notice.vouchers) for notice in notices_of(database, run)] == [(1, 0), (2, 1)]
    assert_books_agree(database)


def test_case_found_not_owed_gives_its_reserve_back_and_is_never_credited(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    make_dead_case(database, run)
    with database.transaction() as tx:
        close(tx, run.id)

    with database.transaction() as tx:
        resolve_not_owed(tx, cases_of(database, run)[0].id)

    assert fund_balance_minor(database, programme) == PLENTY_MINOR
    assert run_again(database, run).state == RunState.COMPLETED
    assert vouchers_of(database, run) == []
    with pytest.raises(RefusedByState), database.transaction() as tx:
        resolve_not_owed(tx, cases_of(database, run)[0].id)
    assert_books_agree(database)


@pytest.mark.parametrize("reserve_went_back", [False, True])
def test_case_shown_to_be_paid_gets_its_voucher(database: Database, reserve_went_back: bool) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    if reserve_went_back:
        with database.transaction() as tx:
            cancel(tx, run.id)
        with database.transaction() as tx:
            settle_cancelled(tx, run.id)
    else:
        make_dead_case(database, run)
    case = cases_of(database, run)[0]

    with database.transaction() as tx:
        resolve_paid(tx, case.id, evidence="receipt 17", key_version=1)

    assert vouchers_of(database, run) == [case.disbursement_id]
    with pytest.raises(RefusedByState), database.transaction() as tx:
        resolve_paid(tx, case.id, evidence="receipt 17", key_version=1)
    assert_books_agree(database)


def test_paid_needs_evidence(database: Database) -> None:
    with pytest.raises(RefusedInput, match="evidence"), database.transaction() as tx:
        resolve_paid(tx, 1, evidence="  ", key_version=1)


def test_paused_run_is_not_credited_until_it_is_resumed(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        pause(tx, run.id, reason="test")
    credit(database, batches_of(database, run)[0])
    assert vouchers_of(database, run) == []

    with database.transaction() as tx:
        resume(tx, run.id)
    credit(database, batches_of(database, run)[0])

    assert len(vouchers_of(database, run)) == 10


@pytest.mark.parametrize("action", [pause, resume, cancel])
def test_completed_run_refuses(database: Database, action: object) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    credit(database, batches_of(database, run)[0])
    with database.transaction() as tx:
        close(tx, run.id)

    with pytest.raises(RefusedByState, match="completed"), database.transaction() as tx:
        action(tx, run.id, reason="test") if action is pause else action(tx, run.id)  # type: ignore[operator]


def test_closing_twice_tells_each_store_once(database: Database) -> None:
    programme = a_programme(database, stores=3)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    credit(database, batches_of(database, run)[0])

    with database.transaction() as tx:
        assert close(tx, run.id)
    with database.transaction() as tx:
        assert not close(tx, run.id)

    assert len(notices_of(database, run)) == 3

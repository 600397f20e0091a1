"""Crediting a batch: exactly once, whatever is delivered, lost, doubled or killed."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import col

from models.broker import waiting
from models.messages import CREDIT_QUEUE, CreditBatch
from models.reconcile import reconcile
from models.states import BatchState, RunState
from models.storage import Database
from models.tables import Batch, Case
from scheduler import dispatch as dispatch_module
from scheduler.dispatch import WAITING_MAX, dispatch, issuer_window, share_of, stamp_batches
from scheduler.sweep import EXHAUSTED_MAX, sweep_exhausted
from tests.builders import (
    NOGALES,
    TIJUANA,
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
from tests.installation import Installation
from tests.ledger import assert_books_agree, exhaust, expire_lease, expire_stamps
from tests.races import failing_at
from tests.waiting import until
from workers import credit
from workers.credit import FINISH_BATCH, INSERT_VOUCHERS, TAKES_MAX, credit_batch, return_batch, take_batch


def test_same_message_twice_credits_once(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 10, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    batch = batches_of(installation.database, run)[0]

    installation.receive(CreditBatch(batch.id))
    installation.receive(CreditBatch(batch.id))

    assert len(vouchers_of(installation.database, run)) == 10
    assert transferred_minor(installation.database, "credit") == run.planned_minor
    assert_books_agree(installation.database)


def test_same_message_ten_times_in_parallel_credits_once(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 10, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    batch = batches_of(installation.database, run)[0]
    start = threading.Barrier(10)

    def deliver() -> None:
        start.wait()
        installation.receive(CreditBatch(batch.id))

    threads = [threading.Thread(target=deliver) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    done = batches_of(installation.database, run)[0]
    assert (done.state, done.attempts, done.credited) == (BatchState.DONE, 1, 10)
    assert len(vouchers_of(installation.database, run)) == 10
    assert_books_agree(installation.database)


def test_message_about_no_batch_does_nothing(installation: Installation) -> None:
    installation.receive(CreditBatch(404))

    assert vouchers_of(installation.database) == []


def test_crash_after_the_vouchers_and_before_the_record_leaves_nothing(database: Database) -> None:
    """The vouchers, the transfer, the counts and the event are one transaction."""
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None

    with failing_at(database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        credit_batch(database, lease, key_version=1)

    assert vouchers_of(database, run) == []
    assert transferred_minor(database, "credit") == 0
    assert_books_agree(database)


def test_lease_that_ran_out_is_taken_over_and_its_owner_credits_nothing(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    batch = batches_of(database, run)[0]
    slow = take_batch(database, batch.id)
    expire_lease(database, batch)
    quick = take_batch(database, batch.id)
    assert slow is not None
    assert quick is not None

    assert credit_batch(database, slow, key_version=1) is None
    credited = credit_batch(database, quick, key_version=1)

    assert credited is not None
    assert credited.vouchers == 10
    assert_books_agree(database)


def test_live_lease_is_not_taken_and_counts_nothing(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    batch = batches_of(database, run)[0]
    assert take_batch(database, batch.id) is not None

    assert take_batch(database, batch.id) is None

    assert batches_of(database, run)[0].attempts == 1


def test_all_messages_lost_are_sent_again(installation: Installation) -> None:
    """Redis is a hint: the batches of a run whose messages vanished are stamped again ten seconds later."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 40, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    ticker = installation.ticker()
    ticker.work()
    installation.broker.client.flushall() if not installation.distributed else _forget(installation)

    expire_stamps(installation.database)
    with installation.workers():
        until(lambda: (ticker.work(), run_again(installation.database, run).state == RunState.COMPLETED)[1], what="run")

    assert len(vouchers_of(installation.database, run)) == 40
    assert_books_agree(installation.database)


def test_stamped_batch_is_not_sent_twice_within_ten_seconds(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 40, location=TIJUANA)
    a_released_run(database, programme)

    with database.transaction() as tx:
        first = stamp_batches(tx)
    with database.transaction() as tx:
        second = stamp_batches(tx)

    assert (len(first), second) == (4, [])


def test_window_is_a_few_seconds_of_work_whatever_the_size_of_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent again waits behind it."""
    monkeypatch.setattr(dispatch_module, "WINDOW_LINES", 25)
    programme = a_programme(database)
    families(database, programme, 60, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=10)

    with database.transaction() as tx:
        sent = stamp_batches(tx)
    assert sent == [batch.id for batch in batches_of(database, run)[:2]]
    with database.transaction() as tx:
        assert stamp_batches(tx) == []


def test_runs_that_only_wait_take_no_share_of_the_window(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_module, "WINDOW_LINES", 20)
    programme = a_programme(database)
    families(database, programme, 40, location=TIJUANA)
    families(database, programme, 10, location=NOGALES)
    run = a_released_run(database, programme)
    waiting_run = a_released_run(database, programme, location=NOGALES)
    with database.transaction() as tx:
        later = update(Batch).where(col(Batch.run_id) == waiting_run.id)
        tx.connection.execute(later.values(next_attempt_at=tx.now + timedelta(hours=1)))

    with database.transaction() as tx:
        sent = stamp_batches(tx)

    assert sent == [batch.id for batch in batches_of(database, run)[:2]]


@pytest.mark.parametrize(
    ("runs", "lines_max", "batches"), [(1, 5_000, 40), (7, 5_000, 5), (1, 10, 500), (1, 10_000, 20), (40, 10_000, 1)]
)
def test_share_of_the_window(runs: int, lines_max: int, batches: int) -> None:
    assert share_of(runs, lines_max=lines_max) == batches


@pytest.mark.parametrize(("calls_max", "batches"), [(1, 2), (16, 2), (31, 2), (64, 8)])
def test_issuer_has_twice_as_many_batches_as_slots(calls_max: int, batches: int) -> None:
    assert issuer_window(calls_max) == batches


def test_queue_that_no_worker_empties_does_not_grow_without_end(installation: Installation) -> None:
    """The workers are down for a night: every batch is due again every ten seconds."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 60, location=TIJUANA)
    a_released_run(installation.database, programme, batch_lines=1)

    for _ in range(40):
        expire_stamps(installation.database)
        dispatch(installation.database, installation.broker)

    assert WAITING_MAX <= waiting(installation.broker, CREDIT_QUEUE) < WAITING_MAX + 60


def test_trouble_of_the_place_gives_the_attempt_back(database: Database) -> None:
    """A database that restarts must not split a batch."""
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None

    failure = return_batch(database, lease, OperationalError("x", {}, Exception("gone")))

    batch = batches_of(database, run)[0]
    assert failure.given_back
    assert (batch.attempts, batch.token, batch.state) == (0, None, BatchState.OPEN)


def test_batch_that_the_database_left_keeps_its_place_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a restart struck is sent before a million other families, but not again and again."""
    monkeypatch.setattr(dispatch_module, "WINDOW", 1)
    programme = a_programme(database)
    families(database, programme, 40, location=TIJUANA)
    run = a_released_run(database, programme)
    struck = batches_of(database, run)[0]

    def sent_after_a_strike() -> bool:
        lease = take_batch(database, struck.id)
        assert lease is not None
        return_batch(database, lease, OperationalError("x", {}, Exception("gone")))
        expire_stamps(database)
        with database.transaction() as tx:
            return stamp_batches(tx) == [struck.id]

    assert [sent_after_a_strike(), sent_after_a_strike()] == [True, False]


def test_error_of_the_data_keeps_the_attempt(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 10, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    batch = batches_of(installation.database, run)[0]

    with failing_at(installation.database, FINISH_BATCH, lambda: ValueError("a secret name")):
        installation.receive(CreditBatch(batch.id))

    failed = batches_of(installation.database, run)[0]
    assert (failed.attempts, failed.last_error, failed.token) == (1, "ValueError", None)
    lines = installation.settings.log.read_text()
    assert '"attempt.failed"' in lines
    assert "secret" not in lines


def test_poison_line_becomes_a_case_and_its_mates_are_credited(database: Database) -> None:
    """Batches are split until the one line that cannot be credited stands alone."""
    programme = a_programme(database)
    families(database, programme, 40, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=40)
    poison = batches_of(database, run)[0].first_id + 17

    for _ in range(10):
        _credit_all_but(database, poison)
        with database.transaction() as tx:
            if sweep_exhausted(tx, run.id) == 0:
                break

    assert len(vouchers_of(database, run)) == 39
    assert poison not in vouchers_of(database, run)
    assert [(case.disbursement_id, case.reason) for case in cases_of(database, run)] == [(poison, "dead")]
    assert_books_agree(database)


def test_three_exhausted_batches_pause_the_run_and_split_nothing(database: Database) -> None:
    """What fails everywhere is not poison."""
    programme = a_programme(database)
    families(database, programme, 40, location=TIJUANA)
    run = a_released_run(database, programme)
    for batch in batches_of(database, run)[:EXHAUSTED_MAX]:
        exhaust(database, batch)

    with database.transaction() as tx:
        assert sweep_exhausted(tx, run.id) == 0

    assert run_again(database, run).state == RunState.PAUSED
    assert {batch.state for batch in batches_of(database, run)} == {BatchState.PAUSED}


def test_dispatch_and_workers_agree_on_how_often_a_batch_is_taken() -> None:
    """The two packages are strangers, so that each states the number."""
    from scheduler import dispatch

    assert dispatch.TAKES_MAX == credit.TAKES_MAX


def test_second_voucher_for_a_line_is_refused_by_the_database(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    batch = batches_of(database, run)[0]
    lease = take_batch(database, batch.id)
    assert lease is not None
    credit_batch(database, lease, key_version=1)

    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.connection.execute(text("INSERT INTO voucher (id, key_version) VALUES (:id, 1)"), {"id": batch.first_id})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE disbursement SET amount_minor = amount_minor + 1",
        "DELETE FROM disbursement",
        "UPDATE voucher SET key_version = 2",
        "DELETE FROM voucher",
        "UPDATE transfer SET amount_minor = amount_minor + 1",
        "DELETE FROM transfer",
        "UPDATE journal SET fields = '{}'",
        "DELETE FROM journal",
        "UPDATE fund SET balance_minor = -1",
    ],
)
def test_database_refuses_to_rewrite_what_happened(database: Database, statement: str) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme)
    lease = take_batch(database, batches_of(database, run)[0].id)
    assert lease is not None
    credit_batch(database, lease, key_version=1)

    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.connection.execute(text(statement))

    assert_books_agree(database)


def test_credit_event_speaks_of_what_was_inserted(database: Database) -> None:
    """A batch over lines of which some are cases counts only its own vouchers."""
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    batch = batches_of(database, run)[0]
    with database.transaction() as tx:
        assert batch.fund_id is not None
        tx.add(
            Case(
                disbursement_id=batch.first_id, run_id=run.id, fund_id=batch.fund_id, reason="dead", reserved=True,
                attempts=2, opened_at=tx.now,
            )
        )  # fmt: skip
    lease = take_batch(database, batch.id)
    assert lease is not None

    credited = credit_batch(database, lease, key_version=1)

    assert credited is not None
    assert credited.vouchers == 9
    with database.reading() as tx:
        assert [each.check for each in reconcile(tx)] == [f"journal_cases {run.id}"]  # of which nothing was journalled


def test_fund_is_never_overdrawn_by_a_release(database: Database) -> None:
    """The condition stands in the UPDATE, and a CHECK behind it."""
    programme = a_programme(database, funds_minor=[100])

    from models import books
    from models.errors import RefusedByState

    with pytest.raises(RefusedByState), database.transaction() as tx:
        books.reserve(tx, fund_id=1, run_id=1, amount_minor=101, currency="MXN")

    assert fund_balance_minor(database, programme) == 100


def _credit_all_but(database: Database, poison: int) -> None:
    """Work on every open batch as often as it may be taken; the one with the poison line fails every time."""
    with database.reading() as tx:
        open_batches = tx.list(Batch, Batch.state == "open")
    for batch in open_batches:
        for _ in range(TAKES_MAX):
            lease = take_batch(database, batch.id)
            if lease is None:
                break
            if batch.first_id <= poison <= batch.last_id:
                with failing_at(database, INSERT_VOUCHERS, _poisoned):
                    try:
                        credit_batch(database, lease, key_version=1)
                    except ValueError as error:
                        return_batch(database, lease, error)
                expire_lease(database, batch)
            else:
                credit_batch(database, lease, key_version=1)


def _poisoned() -> Exception:
    return ValueError("poison")


def _forget(installation: Installation) -> None:
    client = installation.broker.client
    for key in client.scan_iter(f"{installation.settings.namespace}:*"):
        client.delete(key)

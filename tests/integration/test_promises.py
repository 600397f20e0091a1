"""The seven promises of the design, one test named after each. Others look closer; these say whether they hold."""

import threading

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.messages import CreditBatch, SendNotice
from models.runs import list_summaries
from models.states import RunState
from models.storage import Database
from models.tables import Batch, Disbursement, Fund, Household, Run, Voucher
from scheduler.close import close
from tests.builders import (
    CYCLE,
    TIJUANA,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    notices_of,
    run_again,
    vouchers_of,
)
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import assert_books_agree, expire_stamps
from tests.races import failing_at
from tests.waiting import until
from workers.credit import FINISH_BATCH, INSERT_VOUCHERS


def test_promise_1_at_most_one_credit_per_family_programme_and_month(database: Database) -> None:
    """Unique keys say so, not code: whoever inserts them, a second line is refused, and a second voucher of a line."""
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    a_released_run(database, programme)
    with database.reading() as tx:
        line, batch = tx.list(Disbursement)[0], tx.list(Batch)[0]
    voucher = insert(Voucher).values(id=line.id, batch_id=batch.id, key_version=1)
    with database.transaction() as tx:
        tx.connection.execute(voucher)

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(voucher)
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(
            insert(Disbursement).values(
                id=line.id + 1, programme_id=programme.id, household_id=line.household_id, cycle=str(CYCLE),
                amount_minor=1,
            )
        )  # fmt: skip


def test_promise_2_nothing_owed_is_forgotten(installation: Installation) -> None:
    """Crashes at every step, and messages that never come: each line ends credited, or as a case with its reason."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 30, location=TIJUANA)
    run = a_released_run(installation.database, programme, batch_lines=1)
    poisoned = batches_of(installation.database, run)[0].id

    def work() -> bool:
        expire_stamps(installation.database)
        for batch in batches_of(installation.database, run):
            if batch.id == poisoned:
                with failing_at(installation.database, INSERT_VOUCHERS, lambda: ValueError("poison")):
                    installation.receive(CreditBatch(batch.id))
            else:
                installation.receive(CreditBatch(batch.id))
        installation.ticker().work()
        return run_again(installation.database, run).state == RunState.COMPLETED_WITH_CASES

    until(work, what="the run to end")

    cases = cases_of(installation.database, run)
    assert len(vouchers_of(installation.database, run)) == 29
    assert [(case.reason, case.state, case.attempts) for case in cases] == [("dead", "open", 2)]
    assert_books_agree(installation.database)


def test_promise_3_redis_is_a_wake_up_hint(installation: Installation) -> None:
    """Wiped over and over while a run is at work: it costs seconds, never a voucher."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 200, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    client = installation.broker.client
    ended = threading.Event()

    def wipe() -> None:
        while not ended.wait(0.01):
            for key in client.scan_iter(f"{installation.settings.namespace}:*"):
                client.delete(key)

    wiping = threading.Thread(target=wipe)
    wiping.start()
    ticker = installation.ticker()
    with installation.workers():

        def work() -> bool:
            expire_stamps(installation.database)
            ticker.work()
            return run_again(installation.database, run).state == RunState.COMPLETED

        until(work, what="the run to end", within_s=60)
        ended.set()
        wiping.join()

    assert len(vouchers_of(installation.database, run)) == 200
    assert_books_agree(installation.database)


def test_promise_4_the_books_always_balance(installation: Installation) -> None:
    """After every single step of a month, and after a crash in the middle of one; and no fund goes below zero."""
    database = installation.database
    programme = a_programme(database, funds_minor=[3_000_000, 3_000_000])
    families(database, programme, 30, location=TIJUANA)
    assert_books_agree(database)
    run = a_released_run(database, programme)
    assert_books_agree(database)
    for batch in batches_of(database, run):
        with failing_at(database, FINISH_BATCH, lambda: OSError("gone")):
            installation.receive(CreditBatch(batch.id))
        assert_books_agree(database)
    ticker = installation.ticker()

    def work() -> bool:
        _due_now(database)
        ticker.work()
        return _completed(database, run)

    with installation.workers():
        until(work, what="the run to end")
    assert_books_agree(database)

    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor - 10000000000"))
    with database.reading() as tx:
        assert all(fund.balance_minor >= 0 for fund in tx.list(Fund))


def test_promise_5_an_answer_that_did_not_come_is_not_a_no(installation: Installation) -> None:
    """A store whose answer says nothing is told again under the same id, by which it can tell.

    No money rests on that. Of issuers, whose answers are money: test_outside.py, test_doubts.py, and the campaign.
    """
    with FakeStore.open() as store:
        store.answers = [500]
        programme = a_programme(installation.database, store_url=store.url)
        families(installation.database, programme, 1, location=TIJUANA)
        run = a_released_run(installation.database, programme)
        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))
        with installation.database.transaction() as tx:
            close(tx, run.id)
        for _ in range(2):
            expire_stamps(installation.database)
            installation.receive(SendNotice(notices_of(installation.database, run)[0].id))

        assert len(store.webhook_ids) == 2
        assert len(set(store.webhook_ids)) == 1


def test_promise_6_the_log_tells_the_whole_truth(installation: Installation) -> None:
    """Totals from the log alone equal totals from the database, to the centavo."""
    from console.log_totals import read_totals

    programme = a_programme(installation.database)
    families(installation.database, programme, 100)
    installation.ticker().tick()
    with installation.workers():
        until(lambda: (installation.ticker().work(), _all_completed(installation.database))[1], what="the month to end")
    installation.ticker().work()

    with installation.database.reading() as tx:
        summaries = list_summaries(tx, [run.id for run in tx.list(Run)])
    told = read_totals([installation.settings.log])

    assert [run.as_json() for run in told.summaries] == [run.as_json() for run in summaries]
    assert sum(run.counts.credited for run in told.summaries) == 100


def test_promise_7_no_family_is_exposed(installation: Installation) -> None:
    """Nothing of a family is in the log, in Redis, or in what stores receive: not even of one whose credit fails."""
    with FakeStore.open() as store:
        database = installation.database
        programme = a_programme(database, store_url=store.url)
        ids = families(database, programme, 20, location=TIJUANA, prefix="SECRET")
        run = a_released_run(database, programme)
        installation.ticker().work()
        client = installation.broker.client
        keys = list(client.scan_iter(f"{installation.settings.namespace}:*"))
        in_redis = str([client.hvals(key) for key in keys if client.type(key) == b"hash"])
        with failing_at(database, INSERT_VOUCHERS, lambda: IntegrityError("x", {"id": ids[0]}, Exception(ids[0]))):
            for _ in range(2):  # then the sweep splits it, and tells why
                _due_now(database)
                installation.receive(CreditBatch(batches_of(database, run)[0].id))
        installation.ticker().work()
        for batch in batches_of(database, run):
            _due_now(database)
            installation.receive(CreditBatch(batch.id))
        installation.ticker().work()
        for notice in notices_of(database):
            _due_now(database)
            installation.receive(SendNotice(notice.id))
        installation.ticker().work()

        told = installation.settings.log.read_text() + in_redis + str(store.received)
        assert "credit_batch" in in_redis
        assert "batch.credited" in told
        assert "attempt.failed" in told
        assert "batch.split" in told
        assert len(store.received) == 1
        with database.reading() as tx:
            assert len(tx.list(Household)) == 20
        for secret in ("SECRET", "household", "registration", "mpp_asylum_seeker", "victim_of_crime"):
            assert secret not in told


def _completed(database: Database, run: Run) -> bool:
    return run_again(database, run).state == RunState.COMPLETED


def _all_completed(database: Database) -> bool:
    with database.reading() as tx:
        runs = tx.list(Run)
    return bool(runs) and all(run.state == RunState.COMPLETED for run in runs)


def _due_now(database: Database) -> None:
    """As if every wait were over."""
    expire_stamps(database)
    with database.transaction() as tx:
        past = "2020-01-01T00:00:00.000000Z"
        tx.connection.execute(text("UPDATE batch SET next_attempt_at = :past WHERE state = 'open'"), {"past": past})

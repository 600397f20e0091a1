"""What the log says beside its totals: which cases are open, which stores fail, and who should be heard of."""

from collections.abc import Iterator

import pytest

from models.messages import CreditBatch, SendNotice
from models.sightings import instance, see
from scheduler.close import close
from scheduler.retry import Choice, retry
from scheduler.seal import emit, seal
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, cases_of, families, notices_of
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.integration.test_notify import a_completed_run, try_all
from tests.ledger import make_dead_case
from workers.notify import BREAKER_FAILURES


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """A store that answers 200 unless told otherwise."""
    with FakeStore.open() as store:
        yield store


def told(installation: Installation, event: str) -> list[dict[str, object]]:
    """The lines of one event, with all that is sealed so far."""
    while seal(installation.database):
        pass
    emit(installation.database, installation.log)
    return [line for line in installation.lines() if line["event"] == event]


def open_cases_told(installation: Installation) -> list[object]:
    """The lines with an open case, from the log alone."""
    opened = {line["disbursement_id"] for line in told(installation, "case.opened")}
    closed = {
        line
        for batch in told(installation, "batch.retried")
        for line in opened
        if int(str(batch["first_id"])) <= int(str(line)) <= int(str(batch["last_id"]))
    }
    return sorted(opened - closed, key=str)


def test_retried_cases_are_told_line_by_line(installation: Installation) -> None:
    """Whoever reads the log must know which cases are open, though a retry may choose among them."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 6, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    for _ in range(2):  # a third would pause the run
        make_dead_case(database, run)
    assert open_cases_told(installation) == [case.disbursement_id for case in cases_of(database, run)]
    chosen = cases_of(database, run)[1]

    with database.transaction() as tx:
        retry(tx, run.id, Choice(case_id=chosen.id))

    still_open = [case.disbursement_id for case in cases_of(database, run) if case.state == "open"]
    assert len(still_open) == 1
    assert open_cases_told(installation) == still_open
    batch = told(installation, "batch.retried")[0]
    assert (batch["first_id"], batch["last_id"], batch["cases"]) == (chosen.disbursement_id, chosen.disbursement_id, 1)


def test_notice_is_told_when_it_is_made(installation: Installation, store: FakeStore) -> None:
    """What a store was not told yet is seen before anybody tried."""
    run = a_completed_run(installation.database, store)

    line = told(installation, "notice.created")[0]

    notice = notices_of(installation.database, run)[0]
    assert (line["notice_id"], line["store"], line["number"]) == (notice.id, notice.store_id, 1)
    assert (line["vouchers"], line["amount_minor"]) == (notice.vouchers, notice.amount_minor)


def test_store_that_fails_is_told_with_its_error_and_breaker(installation: Installation, store: FakeStore) -> None:
    store.answers = [500] * BREAKER_FAILURES
    run = a_completed_run(installation.database, store)

    for _ in range(BREAKER_FAILURES + 1):
        try_all(installation)

    notice = notices_of(installation.database, run)[0]
    failed = told(installation, "store.failed")
    assert [(line["store"], line["attempts"]) for line in failed] == [
        (notice.store_id, 1),
        (notice.store_id, 2),
        (notice.store_id, 3),
    ]
    assert {line["error"] for line in failed} == {"http 500"}
    assert [line["failures"] for line in told(installation, "store.suspended")] == [BREAKER_FAILURES]
    assert [line["store"] for line in told(installation, "store.resumed")] == [notice.store_id]


def test_store_that_answers_again_before_its_breaker_opens_is_no_news(
    installation: Installation, store: FakeStore
) -> None:
    store.answers = [500]
    run = a_completed_run(installation.database, store)

    try_all(installation)
    installation.receive(SendNotice(notices_of(installation.database, run)[0].id))

    assert told(installation, "store.suspended") == []
    assert told(installation, "store.resumed") == []


def test_scheduler_calls_the_roll(installation: Installation) -> None:
    """A host whose lines are nowhere is found by the schedulers' having seen it."""
    see(installation.database, "worker")

    installation.ticker().tick()

    line = told(installation, "scheduler.seen")[0]
    assert (line["schedulers"], line["workers"]) == (instance(), instance())
    assert line["service.instance.id"] == instance()


def test_attempt_is_told_with_its_run(installation: Installation, store: FakeStore) -> None:
    """What fails again and again is seen on its run, though no batch of it was ever credited."""
    programme = a_programme(installation.database, store_url=store.url)
    families(installation.database, programme, 4, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    batch = batches_of(installation.database, run)[0]

    installation.receive(CreditBatch(batch.id))
    installation.receive(CreditBatch(batch.id))
    with installation.database.transaction() as tx:
        assert close(tx, run.id)
    installation.receive(SendNotice(notices_of(installation.database, run)[0].id))

    lines = told(installation, "attempt.finished")
    assert [(line["outcome"], line["run_id"]) for line in lines] == [
        ("credited", run.id), ("nothing", 0), ("delivered", run.id),
    ]  # fmt: skip

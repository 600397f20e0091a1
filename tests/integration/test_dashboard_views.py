"""What the dashboard shows is what the log says: of a month, a case, a store, a host that is missing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import update

from console import run as run_commands
from console.dashboard.board import Board
from console.dashboard.show import show_head
from console.dashboard.show_months import show_months
from console.dashboard.show_run import show_find, show_run
from console.dashboard.show_work import show_all_cases, show_stores, show_workers
from console.dashboard.views import City
from models.events import SchedulerSeen, SlotExpected, WorkerSeen
from models.journal import Writer, append, observed_line
from models.keys import voucher_number
from models.messages import CreditBatch
from models.storage import Database
from models.tables import Fund, Run, run_code
from scheduler.cancel import cancel, settle_cancelled
from scheduler.close import close
from scheduler.seal import emit, seal
from tests.builders import TIJUANA, a_planned_run, a_programme, a_released_run, batches_of, cases_of, families
from tests.builders import notices_of as notices_in
from tests.command_line import CommandLine
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.integration.test_notify import a_completed_run, try_all
from tests.ledger import make_dead_case
from workers.notify import BREAKER_FAILURES

PAYDAY = datetime(2026, 12, 1, 17, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """A store that answers 200 unless told otherwise."""
    with FakeStore.open() as store:
        yield store


def read(installation: Installation) -> Board:
    """The board over all that happened."""
    while seal(installation.database):
        pass
    emit(installation.database, installation.log)
    board = Board([installation.settings.log])
    board.catch_up()
    return board


def now() -> datetime:
    """The events were written now."""
    return datetime.now(UTC)


def a_slot(database: Database) -> None:
    """Tijuana's December is expected."""
    with database.transaction() as tx:
        append(
            tx,
            SlotExpected(
                programme="northern-mexico", location="02004", location_name="Tijuana", time_zone="America/Tijuana",
                cycle="2026-12", opens_at="2026-12-01T17:00:00.000000Z", opens_local="2026-12-01T09:00-08:00",
                families=4, amount_minor=320_000, currency="MXN", blocked="",
            ),
        )  # fmt: skip


def the_city(board: Board, *, at: datetime) -> City:
    """Of the only month."""
    (month,) = show_months(board, now=at).months
    (city,) = month.cities
    return city


@pytest.mark.parametrize(
    ("after", "state", "missing"),
    [(timedelta(seconds=-1), "expected", 0), (timedelta(hours=1), "due", 0), (timedelta(hours=3), "missing", 1)],
)
def test_slot_without_its_run_is_missing_once_its_payday_is_over(
    installation: Installation, after: timedelta, state: str, missing: int
) -> None:
    """A month that never starts is seen."""
    a_slot(installation.database)
    board = read(installation)

    city = the_city(board, at=PAYDAY + after)

    assert (city.state, city.families, city.difference_minor) == (state, 4, 320_000)
    assert show_head(board, now=PAYDAY + after).slots_missing == missing


def test_slot_with_its_run_is_not_missing(installation: Installation) -> None:
    a_slot(installation.database)
    programme = a_programme(installation.database)
    families(installation.database, programme, 4, location=TIJUANA)
    run = a_planned_run(installation.database, programme)
    board = read(installation)

    city = the_city(board, at=PAYDAY + timedelta(hours=3))

    assert (city.state, city.expected_minor, city.time_zone) == ("blocked", run.planned_minor, "America/Tijuana")
    assert show_head(board, now=PAYDAY + timedelta(days=3)).slots_missing == 0


def test_run_in_progress_says_how_long_it_will_take(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 40, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    for batch in batches_of(installation.database, run)[:2]:
        installation.receive(CreditBatch(batch.id))
    board = read(installation)

    city = the_city(board, at=now() + timedelta(seconds=10))
    shown = show_run(board, str(run.id), now=now() + timedelta(seconds=10))

    assert (city.state, city.families, city.credited) == ("running", 40, 20)
    assert city.remaining_s is not None
    assert 9 <= city.remaining_s <= 40
    assert shown is not None
    assert (shown.batches, shown.batches_done, shown.batches_open, shown.attempts) == (4, 2, 2, 2)
    assert sum(shown.course.values) == 20
    assert shown.row.remaining_s == city.remaining_s


def test_cases_are_grouped_with_the_commands_that_mend_them(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 6, location=TIJUANA)
    run = a_released_run(installation.database, programme, batch_lines=1)
    make_dead_case(installation.database, run)
    make_dead_case(installation.database, run)
    first, second = cases_of(installation.database, run)
    board = read(installation)

    (group,) = show_all_cases(board).groups

    assert (group.reason, group.waits_for, group.count, group.name) == ("dead", "person", 2, "Tijuana")
    assert [row.disbursement_id for row in group.cases] == [first.disbursement_id, second.disbursement_id]
    assert group.amount_minor == sum(row.amount_minor for row in group.cases)
    assert f"despensa run retry {run_code(run)} --reason dead" in group.commands
    assert f"despensa run resolve {first.id} --paid EVIDENCE" in group.commands
    assert show_head(board, now=now()).cases_waiting == 2


def test_stopped_lines_are_one_group_with_their_sum(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 30, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    with installation.database.transaction() as tx:
        cancel(tx, run.id)
    with installation.database.transaction() as tx:
        assert settle_cancelled(tx, run.id)
    board = read(installation)

    (group,) = show_all_cases(board).groups

    assert (group.reason, group.count, group.amount_minor) == ("stopped", 30, run.planned_minor)
    assert the_city(board, at=now()).state == "cancelled"


def test_failing_store_is_shown_until_it_answers(installation: Installation, store: FakeStore) -> None:
    store.answers = [503] * BREAKER_FAILURES
    run = a_completed_run(installation.database, store)
    for _ in range(BREAKER_FAILURES):
        try_all(installation)
    board = read(installation)
    (row,) = show_stores(board, now=now()).stores
    notice = notices_in(installation.database, run)[0]
    assert (row.state, row.failures, row.due, row.last_error) == ("suspended", BREAKER_FAILURES, 1, "http 503")
    assert row.oldest_waiting_at != ""
    assert (row.notices[0].notice_id, row.notices[0].attempts) == (notice.id, BREAKER_FAILURES)
    assert row.latency_p50_ms is not None
    assert show_head(board, now=now()).stores_failing == 1
    assert show_stores(board, now=now() + timedelta(minutes=5)).stores[0].state == "failing"

    try_all(installation)

    (row,) = show_stores(read(installation), now=now()).stores
    assert (row.state, row.failures, row.due, row.delivered, row.notices) == ("ok", 0, 0, 1, [])


def test_host_whose_lines_are_missing_is_named(installation: Installation) -> None:
    at = datetime(2026, 12, 1, 20, tzinfo=UTC)

    def hear(event: SchedulerSeen | WorkerSeen, instance: str, minute: int) -> bytes:
        writer = Writer("despensa", "0.1.0", instance)
        return orjson.dumps(observed_line(event, now=at + timedelta(minutes=minute), writer=writer)) + b"\n"

    roll = SchedulerSeen(schedulers="here:1", workers="here:2 there:3 gone:4")
    lines = [hear(WorkerSeen(), "here:2", minute) for minute in range(10)]
    lines += [hear(WorkerSeen(), "gone:4", minute) for minute in range(3)]
    lines += [hear(roll, "here:1", minute) for minute in range(10)]
    installation.settings.log.write_bytes(b"".join(lines))
    board = Board([installation.settings.log])
    board.catch_up()

    head = show_head(board, now=at + timedelta(minutes=10))

    assert [(each.instance, each.role, each.since) for each in head.missing] == [
        ("gone:4", "worker", "2026-12-01T20:02:00.000000Z"), ("there:3", "worker", ""),
    ]  # fmt: skip
    states = {row.instance: row.state for row in show_workers(board, now=at + timedelta(minutes=10)).instances}
    assert states == {"here:1": "seen", "here:2": "seen", "there:3": "missing", "gone:4": "missing"}
    silent = {row.instance: row.state for row in show_workers(board, now=at + timedelta(minutes=12)).instances}
    assert silent["here:1"] == "silent"


def credited_run(installation: Installation, store: FakeStore) -> Run:
    """Ten families in two batches, all told."""
    programme = a_programme(installation.database, store_url=store.url)
    families(installation.database, programme, 20, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    for batch in batches_of(installation.database, run):
        installation.receive(CreditBatch(batch.id))
    with installation.database.transaction() as tx:
        assert close(tx, run.id)
    return run


def test_voucher_is_found_by_its_number(installation: Installation, store: FakeStore) -> None:
    """Every event of one, by the range of its batch; none of the other batch."""
    run = credited_run(installation, store)
    batch, _other = batches_of(installation.database, run)
    board = read(installation)

    found = show_find(board, f" {voucher_number(batch.last_id)} ")

    assert (found.kind, found.run, found.first_id) == ("voucher", run_code(run), batch.last_id)
    assert [line.event for line in found.events] == [
        "run.planned", "run.approved", "run.released", "batch.credited", "attempt.finished", "run.completed",
    ]  # fmt: skip
    assert [line.fields["batch_id"] for line in found.events if line.event == "batch.credited"] == [batch.id]


def test_batch_run_and_disbursement_are_found(installation: Installation, store: FakeStore) -> None:
    run = credited_run(installation, store)
    batch = batches_of(installation.database, run)[0]
    board = read(installation)

    of_batch = show_find(board, f"batch {batch.id}")
    of_run = show_find(board, run_code(run))
    of_line = show_find(board, f"disbursement {batch.first_id}")

    assert [line.event for line in of_batch.events] == ["batch.credited", "attempt.finished"]
    assert (of_batch.first_id, of_batch.last_id) == (batch.first_id, batch.last_id)
    assert [line.event for line in of_run.events].count("batch.credited") == 2
    assert of_line.kind == "voucher"


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [("", "not_a_number"), ("Maria", "not_a_number"), ("10000013", "check_digit"), ("batch 99", "unknown"),
     ("2027-01/02004", "unknown"), ("9" * 40, "not_a_number"), ("disbursement 1", "unknown"), ("<b>1", "not_a_number")],
)  # fmt: skip
def test_what_cannot_be_found_is_said(installation: Installation, asked: str, refusal: str) -> None:
    assert show_find(read(installation), asked).refusal == refusal


def test_store_of_a_plan_that_was_discarded_is_shown(installation: Installation, store: FakeStore) -> None:
    """A line that says so may be anybody's; the other stores are shown all the same."""
    run = credited_run(installation, store)
    board = read(installation)
    del board.told.runs[run.id]

    assert [row.location for row in show_stores(board, now=now()).stores] == [""]


def test_command_for_an_operator_holds_no_word_of_a_hostile_line(installation: Installation, store: FakeStore) -> None:
    """What is copied from the page is run by a person who trusts it."""
    run = credited_run(installation, store)
    board = read(installation)
    board.told.runs[run.id].run = "2026-12/02004; curl evil"
    board.told.notices["x; reboot"] = [board.told.notices.popitem()[1][0]]

    shown = show_run(board, str(run.id), now=now())
    (row,) = show_stores(board, now=now()).stores

    assert shown is not None
    assert [command for command in (*shown.commands, *row.commands) if ";" in command] == []


def test_books_are_as_they_were_last_compared(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a person's `run reconcile` as by a scheduler: nobody having looked is not the same as their agreeing."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 4, location=TIJUANA)
    a_released_run(installation.database, programme)
    assert show_head(read(installation), now=now()).books == "unknown"

    CommandLine(monkeypatch, installation.environment).run(run_commands.app, "reconcile")
    assert show_head(read(installation), now=now()).books == "agree"

    with installation.database.transaction() as tx:
        tx.connection.execute(update(Fund).values(balance_minor=Fund.balance_minor + 1))
    CommandLine(monkeypatch, installation.environment).run(run_commands.app, "reconcile")
    head = show_head(read(installation), now=now())
    assert (head.books, head.books_differences) == ("differ", 2)

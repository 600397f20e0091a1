"""Planning, approving, releasing, discarding: every entitled family one line, and money only what a fund has."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from console import run as run_commands
from models.calendar import Cycle
from models.errors import BooksDisagree, FundTooSmall, Misconfigured, RefusedByState
from models.states import RunState
from models.storage import Database
from models.tables import Disbursement, Household, Journal, Programme, Run
from scheduler.approve import approve_by_person, approve_by_policy
from scheduler.discard import discard
from scheduler.due import list_due, list_places
from scheduler.plan import NothingToPlan, plan_slot
from scheduler.preview import preview
from scheduler.release import release
from tests.builders import (
    CYCLE,
    NOGALES,
    PAYDAY,
    PLENTY_MINOR,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_rate,
    a_released_run,
    batches_of,
    families,
    families_due,
    fund_balance_minor,
    run_again,
    vouchers_of,
    without_guards,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.ledger import assert_books_agree


def lines_of(database: Database, cycle: Cycle = CYCLE) -> list[Disbursement]:
    """Every line of a cycle."""
    with database.reading() as tx:
        return tx.list(Disbursement, Disbursement.cycle == str(cycle))


def move(database: Database, registration_id: str, location: str) -> None:
    """A family moved to another city; the next import says so."""
    with database.transaction() as tx:
        tx.connection.execute(
            update(Household)
            .where(Household.registration_id == registration_id)  # type: ignore[arg-type]
            .values(location_code=location)
        )


def test_planner_of_the_database_knows_at_once_how_many_lines_there_are(postgresql_database: Database) -> None:
    """It believed the table empty, and compared each family of the next city with every line of the first."""
    programme = a_programme(postgresql_database)
    families(postgresql_database, programme, 300, location=TIJUANA)

    a_planned_run(postgresql_database, programme)

    with postgresql_database.reading() as tx:
        believed = tx.connection.execute(text("SELECT reltuples FROM pg_class WHERE relname = 'disbursement'")).scalar()
    assert believed == 300


def test_planning_again_changes_nothing(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 25, location=TIJUANA)
    first = a_planned_run(database, programme)

    second = a_planned_run(database, programme)

    assert second == first
    assert len(lines_of(database)) == 25
    assert [batch.lines for batch in batches_of(database, first)] == [10, 10, 5]


@pytest.mark.parametrize("planned_before_the_move", [True, False])
def test_family_that_moved_within_the_month_gets_exactly_one_line(
    database: Database, planned_before_the_move: bool
) -> None:
    """The first plan to insert a family's line owns it, wherever the family is later."""
    programme = a_programme(database)
    moved, *_ = families(database, programme, 3, location=TIJUANA, prefix="T")
    families(database, programme, 3, location=NOGALES, prefix="N")
    if planned_before_the_move:
        tijuana = a_planned_run(database, programme, location=TIJUANA)
        move(database, moved, NOGALES)
    else:
        move(database, moved, NOGALES)
        tijuana = a_planned_run(database, programme, location=TIJUANA)

    nogales = a_planned_run(database, programme, location=NOGALES)

    assert tijuana.lines + nogales.lines == 6
    assert len({line.household_id for line in lines_of(database)}) == 6
    assert nogales.lines == (3 if planned_before_the_move else 4)


def test_family_that_moved_to_a_planned_city_is_found_by_the_sweep(installation: Installation) -> None:
    """It left a city before that was planned, and came to one that had been: nobody else would come back to it."""
    database = installation.database
    programme = a_programme(database)
    moved, *_ = families(database, programme, 3, location=TIJUANA, prefix="T")
    families(database, programme, 3, location=NOGALES, prefix="N")
    a_planned_run(database, programme, location=NOGALES)
    move(database, moved, NOGALES)
    installation.clock.now = PAYDAY + timedelta(days=1, hours=1)

    installation.ticker().tick()

    with database.reading() as tx:
        parts = [(run.location_code, run.part, run.lines) for run in tx.list(Run)]
    assert sorted(parts) == [(TIJUANA, 1, 2), (NOGALES, 1, 3), (NOGALES, 2, 1)]


def test_family_imported_after_the_plan_becomes_the_next_part_at_most_once_a_day(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 3, location=TIJUANA)
    installation.ticker().tick()
    families(database, programme, 2, location=TIJUANA, prefix="LATE")
    installation.clock.now = PAYDAY + timedelta(hours=2)
    installation.ticker().tick()
    with database.reading() as tx:
        assert [run.part for run in tx.list(Run)] == [1]

    installation.clock.now = PAYDAY + timedelta(days=1, hours=1)
    installation.ticker().tick()
    installation.ticker().tick()

    with database.reading() as tx:
        assert [(run.part, run.lines, run.state) for run in tx.list(Run)] == [
            (1, 3, RunState.RELEASED),
            (2, 2, RunState.RELEASED),
        ]


def test_family_imported_late_is_paid_an_older_month_that_was_planned(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catch-up does not reach it; a person names the cycle, and its next part is planned."""
    database = installation.database
    programme = a_programme(database)
    old = CYCLE.plus(-2)
    families(database, programme, 1, location=TIJUANA, first_cycle=old)
    a_planned_run(database, programme, cycle=old, now=PAYDAY - timedelta(days=60))
    families(database, programme, 1, location=TIJUANA, first_cycle=old, prefix="LATE")
    installation.ticker().tick()
    assert len(lines_of(database, cycle=old)) == 1
    commands = CommandLine(monkeypatch, installation.environment)

    for _ in range(2):
        commands.run(run_commands.app, "plan", "--cycle", old, "--location", TIJUANA)

        assert len(lines_of(database, cycle=old)) == 2
    with database.reading() as tx:
        assert [run.part for run in tx.list(Run, Run.cycle == str(old))] == [1, 2]


def test_entitlement_is_a_window_and_the_month_after_it_is_refused(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA, first_cycle=CYCLE, cycles=3)
    for months in range(3):
        a_planned_run(database, programme, cycle=CYCLE.plus(months))

    with pytest.raises(NothingToPlan):
        a_planned_run(database, programme, cycle=CYCLE.plus(3))
    with pytest.raises(NothingToPlan):
        a_planned_run(database, programme, cycle=CYCLE.previous())


@pytest.mark.parametrize("status", ["held", "stopped"])
def test_held_and_stopped_families_get_no_line(database: Database, status: str) -> None:
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    families(database, programme, 5, location=TIJUANA, status=status, prefix="X")

    assert a_planned_run(database, programme).lines == 2
    with database.reading() as tx:
        shown = preview(tx, programme, cycle=CYCLE.next(), location_code=TIJUANA)
    assert getattr(shown.left_out[0], status) == 5


def test_missing_rate_refuses_the_plan_and_names_the_file(database: Database) -> None:
    programme = a_programme(database)
    _convert(database, programme)
    families(database, programme, 2, location=TIJUANA)

    with pytest.raises(Misconfigured, match=r"no rate USD to MXN for 2026-12") as refused:
        a_planned_run(database, programme)

    assert "rates.csv" in str(refused.value.hint)
    assert lines_of(database) == []


def test_amounts_are_converted_once_per_line_at_the_frozen_rate(database: Database) -> None:
    programme = a_programme(database)
    _convert(database, programme)
    with database.transaction() as tx:
        a_rate(tx, programme, millionths=17_512_345)
        programme = tx.get(Programme, Programme.id == programme.id)
    families(database, programme, 1, location=TIJUANA)

    run = a_planned_run(database, programme)

    # 600.00 USD × 17.512345 = 10,507.407 MXN, to a whole peso, half even.
    assert [line.amount_minor for line in lines_of(database)] == [1_050_700]
    assert (run.planned_minor, run.rate_millionths, run.rate_source) == (1_050_700, 17_512_345, "test")


def test_discarded_plan_is_gone_and_planned_anew(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 15, location=TIJUANA)
    wrong = a_planned_run(database, programme)
    with database.transaction() as tx:
        discard(tx, wrong.id)
    assert lines_of(database) == []
    families(database, programme, 1, location=TIJUANA, prefix="FORGOTTEN")

    run = a_planned_run(database, programme)

    assert run.id > wrong.id, "ids are never used again"
    assert run.lines == 16
    with database.reading() as tx:
        events = [row.event for row in tx.list(Journal)]
    assert events == ["fund.deposited", "run.planned", "run.discarded", "run.planned"]


def test_released_run_cannot_be_discarded(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_released_run(database, programme)

    with pytest.raises(RefusedByState, match="released"), database.transaction() as tx:
        discard(tx, run.id)


def test_planner_may_not_approve(database: Database) -> None:
    programme = a_programme(database, approval="person")
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)

    with pytest.raises(RefusedByState, match="somebody else approves"), database.transaction() as tx:
        approve_by_person(tx, run.id)

    assert run_again(database, run).state == RunState.PLANNED


def test_database_refuses_that_planner_and_approver_are_one(database: Database) -> None:
    programme = a_programme(database, approval="person")
    families(database, programme, 5, location=TIJUANA)
    a_planned_run(database, programme)

    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.connection.execute(text("UPDATE run SET state = 'approved', approval = 'person', approved_by = planned_by"))


def test_policy_leaves_large_and_old_runs_to_a_person(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA, first_cycle=Cycle(2026, 10), cycles=3)
    large = a_planned_run(database, programme)
    old = a_planned_run(database, programme, cycle=Cycle(2026, 10))
    with database.transaction() as tx, without_guards(tx, "programme"):
        tx.connection.execute(update(Programme).values(policy_run_max_minor=large.planned_minor - 1))

    with database.transaction() as tx:
        assert "above the policy's limit" in approve_by_policy(tx, large.id, now=PAYDAY)
        assert "older" in approve_by_policy(tx, old.id, now=PAYDAY)


@pytest.mark.parametrize("hour", [5, 6, 7, 8], ids=lambda hour: f"{hour}:30 UTC")
def test_families_due_get_one_line_also_between_the_midnights(database: Database, hour: int) -> None:
    """On the first, midnight comes to Matamoros at 6:00 UTC and to Tijuana at 8:00; tests run then, too."""
    now = datetime(2026, 12, 1, hour, 30, tzinfo=UTC)
    programme = a_programme(database)
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))

    cycle = families_due(database, programme, 14, now=now)

    with database.reading() as tx:
        due = [each.slot for each in list_due(tx, list_places(tx), now=now)]
    for slot in due:
        with suppress(NothingToPlan):
            run = a_planned_run(database, programme, location=slot.location_code, cycle=slot.cycle, now=now)
            with database.transaction() as tx:
                assert approve_by_policy(tx, run.id, now=now) == ""
    assert len(lines_of(database, cycle)) == 14
    assert len(lines_of(database, cycle.next())) == 0


def test_release_before_payday_is_refused(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    early = datetime(2026, 12, 1, 16, 59, 59, tzinfo=UTC)  # 08:59:59 in Tijuana
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=early)

    with pytest.raises(RefusedByState, match="opens at"), database.transaction() as tx:
        release(tx, run.id, now=early)

    with database.transaction() as tx:
        release(tx, run.id, now=early + timedelta(seconds=1))


def test_release_refuses_lines_that_are_not_those_approved(database: Database) -> None:
    """Someone with rights on the database took a family out after the approval."""
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
        with without_guards(tx, "disbursement"):
            tx.connection.execute(text("DELETE FROM disbursement WHERE id = :id"), {"id": run.id * 10_000_000 + 3})

    with pytest.raises(BooksDisagree), database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)

    assert fund_balance_minor(database, programme) == PLENTY_MINOR


def test_fund_too_small_refuses_the_release_with_the_shortfall(database: Database) -> None:
    programme = a_programme(database, funds_minor=[100_000])
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)

    with pytest.raises(FundTooSmall) as refused, database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)

    assert refused.value.required_minor == run.planned_minor
    assert refused.value.available_minor == 100_000
    assert refused.value.shortfall_minor == run.planned_minor - 100_000
    assert fund_balance_minor(database, programme) == 100_000
    assert_books_agree(database)


def test_funds_too_small_for_a_batch_each_are_refused_with_a_true_shortfall(database: Database) -> None:
    """Together they would do; but a batch draws on one fund."""
    programme = a_programme(database, funds_minor=[400_000, 400_000])
    families(database, programme, 6, location=TIJUANA)
    run = a_planned_run(database, programme)
    assert 400_000 < run.planned_minor < 800_000
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)

    with pytest.raises(FundTooSmall) as refused, database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)

    assert (refused.value.available_minor, refused.value.shortfall_minor) == (0, run.planned_minor)
    assert_books_agree(database)


def test_tick_that_meets_a_small_fund_goes_on_with_the_other_cities(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database, funds_minor=[700_000])
    families(database, programme, 5, location=TIJUANA, prefix="T")
    families(database, programme, 5, location=NOGALES, prefix="N")

    result = installation.ticker().tick()

    with database.reading() as tx:
        states = sorted((run.state, run.blocked) for run in tx.list(Run))
        blocked = [row for row in tx.list(Journal) if row.event == "run.blocked"]
    assert states == [(RunState.APPROVED, "funds: fund-1 balance"), (RunState.RELEASED, "")]
    assert [type(error) for error in result.errors] == [FundTooSmall]
    installation.ticker().tick()
    with database.reading() as tx:
        assert [row for row in tx.list(Journal) if row.event == "run.blocked"] == blocked, "journalled once"
    assert_books_agree(database)


def test_every_batch_draws_on_one_fund(database: Database) -> None:
    programme = a_programme(database, funds_minor=[1_200_000, PLENTY_MINOR])
    families(database, programme, 30, location=TIJUANA)

    run = a_released_run(database, programme)

    funds = [batch.fund_id for batch in batches_of(database, run)]
    assert funds == sorted(funds, key=lambda fund: fund or 0)
    assert len(set(funds)) == 2
    assert_books_agree(database)


def test_location_is_planned_for_each_programme_apart(database: Database) -> None:
    first = a_programme(database)
    second = a_programme(database, code="southern-mexico")
    registered = families(database, first, 3, location=TIJUANA)
    families(database, second, 2, location=TIJUANA, prefix="S")

    a_planned_run(database, first)
    a_planned_run(database, second)

    assert len(registered) == 3
    with database.reading() as tx:
        assert sorted((run.programme_id, run.lines) for run in tx.list(Run)) == [(first.id, 3), (second.id, 2)]


def test_nothing_is_planned_where_the_programme_does_not_run(database: Database) -> None:
    programme = a_programme(database, cities=[("02004", "Tijuana", "America/Tijuana")])

    with pytest.raises(RefusedByState, match="does not run"), database.transaction() as tx:
        plan_slot(tx, programme, location_code="99999", cycle=CYCLE, now=PAYDAY, batch_lines=10, part=1)
    with pytest.raises(RefusedByState, match="before it"), database.transaction() as tx:
        plan_slot(tx, programme, location_code=TIJUANA, cycle=Cycle(2026, 9), now=PAYDAY, batch_lines=10, part=1)


def test_slot_is_expected_once_a_week_ahead_with_what_blocks_it(installation: Installation) -> None:
    """A month that never starts is seen in the log, not only its absence."""
    database = installation.database
    programme = a_programme(database, cities=[("02004", "Tijuana", "America/Tijuana")], funds_minor=[100])
    families(database, programme, 3, location=TIJUANA)
    installation.clock.now = datetime(2026, 11, 25, 20, tzinfo=UTC)

    installation.ticker().tick()
    assert installation.ticker().tick().errors == []

    expected = [line for line in installation.lines() if line["event"] == "slot.expected"]
    assert len(expected) == 1
    assert expected[0]["blocked"] == "funds"
    assert expected[0]["families"] == 3
    assert expected[0]["opens_at"] == "2026-12-01T17:00:00.000000Z"
    assert expected[0]["opens_local"] == "2026-12-01T09:00-08:00"


def test_scheduler_down_from_the_first_to_the_third_catches_up_once_and_says_late(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 14)
    installation.clock.now = datetime(2026, 12, 3, 12, tzinfo=UTC)

    installation.ticker().tick()
    installation.clock.now = datetime(2026, 12, 3, 11, tzinfo=UTC)  # a clock that steps back
    installation.ticker().tick()

    with database.reading() as tx:
        runs = tx.list(Run)
    assert len(runs) == 7
    assert all(run.late and run.cycle == "2026-12" for run in runs)


def test_last_evening_of_a_month_in_tijuana_belongs_to_that_month(installation: Installation) -> None:
    """At 23:30 on 30 November in Tijuana it is December in UTC; December is not due yet."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 7)
    installation.clock.now = datetime(2026, 12, 1, 7, 30, tzinfo=UTC)

    installation.ticker().tick()

    with database.reading() as tx:
        assert tx.list(Run) == []
    assert vouchers_of(database) == []


def _convert(database: Database, programme: Programme) -> None:
    """Make the transfer value one in USD."""
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(value_currency="USD"))
    programme.value_currency = "USD"


@pytest.mark.parametrize(("funds", "batches"), [(1, 1), (2, 2)])
def test_batches_are_small_where_several_donors_pay(database: Database, funds: int, batches: int) -> None:
    """A batch draws on one fund: what cannot pay a whole one stays in its fund."""
    programme = a_programme(database, funds_minor=[10**11] * funds)
    families(database, programme, 1_001, location=TIJUANA)

    run = a_planned_run(database, programme, location=TIJUANA, batch_lines=5_000)

    assert len(batches_of(database, run)) == batches


def test_digest_of_equal_lines_differs_by_a_salt_that_nobody_is_told(database: Database) -> None:
    """Otherwise whoever reads the log tries the numbers of households, and knows whose line a run of one family is."""
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    digests, salts = [], []
    for _ in range(2):
        run = a_planned_run(database, programme)
        line = lines_of(database)[0]
        batch = f"{line.id}:{line.household_id}:{line.amount_minor}"
        digest = sha256(f"{run.salt}{sha256(batch.encode()).hexdigest()}".encode()).hexdigest()
        assert run.digest == digest
        digests.append(run.digest)
        salts.append(run.salt)
        with database.transaction() as tx:
            assert run.salt not in "".join(each.fields for each in tx.list(Journal))
            discard(tx, run.id)

    assert len(set(digests)) == len(set(salts)) == 2
    assert all(len(salt) == 64 for salt in salts)

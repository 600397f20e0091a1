"""Funds with an order, restrictions and caps: every peso goes where its donor said, or the run waits and says why."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from console import fund as fund_commands
from models import books
from models.case_groups import CaseChoice
from models.errors import Exit, FundTooSmall, RefusedByState
from models.funds import list_sources
from models.intake.load import load
from models.intake.rows import BadFile
from models.reconcile import Difference, reconcile, reconcile_run
from models.states import GROUPS, BatchState, RunState
from models.storage import Database
from models.tables import BatchGroup, Case, Fund, FundGroup, FundLocation, Household, Programme, Run
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.discard import discard
from scheduler.due import forecast_slot
from scheduler.plan import INSERT_LINES_BY_CLASS
from scheduler.preview import preview
from scheduler.release import release
from scheduler.resolve import resolve_paid
from scheduler.retry import Choice, retry
from scheduler.retry_forecast import forecast_retries
from tests.builders import (
    CYCLE,
    NOGALES,
    PAYDAY,
    PLENTY_MINOR,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_rate,
    batches_of,
    cases_of,
    families,
    fund_balance_minor,
    run_again,
    without_guards,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.ledger import assert_books_agree, count, events
from tests.races import Racer
from workers.credit import credit_batch, take_batch

#: 10 families of Tijuana and their groups, as tests.builders spreads them: two of each.
TEN_MINOR = sum(50_000 + 10_000 * (number % 9 + 1) for number in range(10))


def rules(
    database: Database,
    fund: str,
    *,
    locations: Sequence[str] = (),
    groups: Sequence[str] = (),
    cap: int | None = None,
) -> None:
    """As an import would say it."""
    with database.transaction() as tx:
        row = tx.get(Fund, Fund.code == fund)
        tx.add_all([FundLocation(fund_id=row.id, location_code=code) for code in locations])
        tx.add_all([FundGroup(fund_id=row.id, group_code=code) for code in groups])
        row.cycle_max_minor = cap
        tx.update(row, ["cycle_max_minor"])


def cap_programme(database: Database, cap: int | None) -> None:
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE programme SET cycle_max_minor = :cap"), {"cap": cap})


def approved(database: Database, programme: Programme, *, location: str = TIJUANA, part: int | None = 1) -> Run:
    run = a_planned_run(database, programme, location=location, part=part)
    with database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == ""
    return run


def released(database: Database, run: Run) -> Run:
    with database.transaction() as tx:
        return release(tx, run.id, now=PAYDAY)


def refusal(database: Database, run: Run) -> FundTooSmall:
    with pytest.raises(FundTooSmall) as caught:
        released(database, run)
    assert run_again(database, run).state == RunState.APPROVED
    return caught.value


def paid_by(database: Database, run: Run) -> list[str]:
    """The fund of each batch, in order."""
    with database.reading() as tx:
        codes = {fund.id: fund.code for fund in tx.list(Fund)}
    return [codes[batch.fund_id or 0] for batch in batches_of(database, run)]


def groups_paid_by(database: Database, fund: str) -> set[str]:
    """Of which groups families have a line that this fund pays."""
    with database.reading() as tx:
        rows = tx.connection.execute(
            text("SELECT DISTINCT h.group_code FROM batch b JOIN fund f ON f.id = b.fund_id "
                 "JOIN disbursement d ON d.id BETWEEN b.first_id AND b.last_id "
                 "JOIN household h ON h.id = d.household_id WHERE f.code = :fund"),
            {"fund": fund},
        )  # fmt: skip
        return set(rows.scalars())


def credit_all(database: Database, run: Run) -> None:
    for batch in batches_of(database, run):
        lease = take_batch(database, batch.id)
        assert lease is not None
        assert credit_batch(database, lease, key_version=1)


#: Without a word of our code.
TRANSFER = """
INSERT INTO transfer (kind, fund_id, run_id, batch_id, case_id, amount_minor, currency, transferred_at)
SELECT :kind, :fund, :run, CAST(:batch AS BIGINT), CAST(:case AS BIGINT), :amount, 'MXN', MAX(transferred_at)
FROM transfer
"""


def refused_by_the_database(database: Database, statement: str, *, match: str, **parameters: object) -> None:
    with pytest.raises(DBAPIError, match=match), database.transaction() as tx:
        tx.connection.execute(text(statement), {"batch": None, "case": None, **parameters})


# Locations.


def test_release_draws_only_on_funds_that_may_pay_for_its_location(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", locations=[NOGALES])
    families(database, programme, 10, location=TIJUANA, prefix="T")
    families(database, programme, 10, location=NOGALES, prefix="N")

    tijuana = released(database, approved(database, programme))
    nogales = released(database, approved(database, programme, location=NOGALES))

    assert paid_by(database, tijuana) == ["fund-2"]
    assert paid_by(database, nogales) == ["fund-1"]
    assert_books_agree(database)


def test_release_draws_on_the_lowest_position_first_whenever_the_fund_came(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    with database.transaction() as tx:
        for position in (-1, 3):  # a key over positions is looked at row by row
            tx.connection.execute(text("UPDATE fund SET position = :at WHERE code = 'fund-1'"), {"at": position})
    families(database, programme, 10, location=TIJUANA)

    assert paid_by(database, released(database, approved(database, programme))) == ["fund-2"]


def test_money_of_another_city_does_not_help(database: Database) -> None:
    """It is not said to be available either: whoever reads that would look for another trouble."""
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, 100_000])
    rules(database, "fund-1", locations=[NOGALES])
    families(database, programme, 10, location=TIJUANA)

    found = refusal(database, approved(database, programme))

    assert (found.required_minor, found.available_minor, found.why) == (TEN_MINOR, 100_000, "fund-2 balance")
    assert fund_balance_minor(database, programme) == PLENTY_MINOR + 100_000


def test_no_fund_for_a_city(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    rules(database, "fund-1", locations=[NOGALES])
    families(database, programme, 1, location=TIJUANA)

    (error,) = installation.ticker().tick().errors

    assert error.exit_code == Exit.FAILED
    with database.reading() as tx:
        assert tx.get(Run).blocked == f"funds: no fund may pay for {TIJUANA}"


# Groups.


def test_batch_holds_families_that_the_same_funds_may_pay_for(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant", "disability"])
    families(database, programme, 30, location=TIJUANA)

    run = released(database, approved(database, programme))

    assert groups_paid_by(database, "fund-1") == {"pregnant", "disability"}
    assert groups_paid_by(database, "fund-2") == set(GROUPS) - {"pregnant", "disability"}
    batches = batches_of(database, run)
    assert [batch.lines for batch in batches] == [10, 8, 10, 2]
    assert [batch.first_id for batch in batches[1:]] == [batch.last_id + 1 for batch in batches[:-1]]
    credit_all(database, run)
    assert_books_agree(database)


def test_groups_of_a_batch_are_those_of_its_plan(database: Database) -> None:
    """A family's group is changed by a later import: what its batch may draw on is not."""
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    run = approved(database, programme)
    with database.transaction() as tx:
        tx.connection.execute(update(Household).values(group_code="pregnant"))

    released(database, run)

    assert paid_by(database, run) == ["fund-2", "fund-1"]
    with database.reading() as tx:
        assert len(tx.list(BatchGroup)) == 5


def test_without_a_fund_for_some_groups_nobody_is_told_from_anybody(database: Database) -> None:
    """Nor where the fund is of another city: numbers lie as families came, in batches of any group."""
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-2", groups=["pregnant"], locations=[NOGALES])
    families(database, programme, 10, location=TIJUANA)

    run = released(database, approved(database, programme))

    assert [batch.lines for batch in batches_of(database, run)] == [10]
    assert count(database, "SELECT COUNT(*) FROM batch_group") == 0
    assert count(database, "SELECT COUNT(*) FROM disbursement a JOIN disbursement b ON a.id < b.id "
                           "AND a.household_id > b.household_id") == 0  # fmt: skip


def test_group_without_money_is_refused_without_its_name(installation: Installation) -> None:
    """It may be of two families: neither log nor screen says which."""
    database = installation.database
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, 5_000])
    rules(database, "fund-1", groups=["single_caregiver", "pregnant", "disability", "victim_of_crime"])
    families(database, programme, 10, location=TIJUANA)

    installation.ticker().tick()

    (blocked,) = events(database, "run.blocked")
    assert blocked["blocked"] == "funds: fund-1 restriction, fund-2 balance"
    assert blocked["available_minor"] == TEN_MINOR - blocked["shortfall_minor"]
    log = installation.settings.log.read_text()
    assert "fund-1 restriction" in log
    assert not [group for group in GROUPS if group in log]


def test_plan_that_meets_another_programmes_import_is_refused(postgresql_database: Database) -> None:
    """It changes a family's group between the numbering of lines and their batches: no batch of two classes."""
    database = postgresql_database
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    url = database.url.render_as_string(hide_password=False)

    planning = Racer(url, lambda db: a_planned_run(db, programme), stop_after=INSERT_LINES_BY_CLASS).start()
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE household SET group_code = 'pregnant' WHERE id = 1"))

    with pytest.raises(RefusedByState, match="group of a family was changed"):
        planning.finish()
    assert a_planned_run(database, programme).lines == 10


def test_restriction_that_came_after_the_plan_holds_at_release(database: Database) -> None:
    """Its batches hold families of all groups: the restricted fund pays none of them, and a new plan parts them."""
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, 400_000])
    families(database, programme, 10, location=TIJUANA)
    run = approved(database, programme)
    rules(database, "fund-1", groups=["single_caregiver", "pregnant", "disability", "victim_of_crime"])

    assert refusal(database, run).why == "fund-1 restriction, fund-2 balance"
    with database.transaction() as tx:
        discard(tx, run.id)
    again = released(database, approved(database, programme))

    assert sorted(paid_by(database, again)) == ["fund-1", "fund-2"]


def test_discard_takes_the_groups_along(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    run = a_planned_run(database, programme)

    with database.transaction() as tx:
        discard(tx, run.id)

    assert count(database, "SELECT COUNT(*) FROM batch_group") == 0


# Caps.


def test_cap_of_a_fund_counts_all_parts_and_cities_of_a_month(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", cap=2 * TEN_MINOR)
    families(database, programme, 10, location=TIJUANA, prefix="T", cycles=3)
    families(database, programme, 10, location=NOGALES, prefix="N", cycles=3)
    released(database, approved(database, programme))
    released(database, approved(database, programme, location=NOGALES))
    families(database, programme, 1, location=TIJUANA, prefix="LATE", cycles=1)

    later = a_planned_run(database, programme, part=2)
    with database.transaction() as tx:
        approve_by_policy(tx, later.id, now=PAYDAY)
    released(database, later)
    january = a_planned_run(database, programme, cycle=CYCLE.next(), now=PAYDAY)

    assert paid_by(database, later) == ["fund-2"]
    with database.reading() as tx:
        sources = list_sources(tx, programme, cycle=january.cycle)
    assert sources.funds[0].cap_left_minor == 2 * TEN_MINOR
    assert_books_agree(database)


def test_cap_of_a_programme_counts_all_its_funds(database: Database) -> None:
    programme = a_programme(database, funds_minor=[TEN_MINOR, PLENTY_MINOR])
    cap_programme(database, 2 * TEN_MINOR - 1)
    families(database, programme, 10, location=TIJUANA, prefix="T")
    families(database, programme, 10, location=NOGALES, prefix="N")
    released(database, approved(database, programme))

    found = refusal(database, approved(database, programme, location=NOGALES))

    assert (found.why, found.available_minor) == ("the programme's cap", TEN_MINOR - 1)


@pytest.mark.parametrize("whose", ["fund", "programme"])
def test_database_refuses_what_passes_a_cap(database: Database, whose: str) -> None:
    """Whoever writes a transfer: code asks before, and is not what it rests on."""
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = released(database, approved(database, programme))
    with database.transaction() as tx:
        fund = tx.get(Fund)
        books.unreserve(tx, fund_id=fund.id, run_id=run.id, amount_minor=2, currency="MXN")
    rules(database, "fund-1", cap=TEN_MINOR - 1 if whose == "fund" else None)
    cap_programme(database, TEN_MINOR - 1 if whose == "programme" else None)
    again = {"kind": "reserve", "fund": fund.id, "run": run.id, "amount": 2}

    refused_by_the_database(database, TRANSFER, match="a month reserves no more than its cap", **again)

    cap_programme(database, None)
    rules(database, "fund-1", cap=TEN_MINOR)
    with database.transaction() as tx:
        tx.connection.execute(text(TRANSFER), {"batch": None, "case": None, **again})


def test_cap_set_below_what_is_reserved_changes_nothing_of_it(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    run = released(database, approved(database, programme))
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET cycle_max_minor = 1, rules_after_id = "
                                   "(SELECT MAX(id) FROM transfer)"))  # fmt: skip

    credit_all(database, run)

    assert_books_agree(database)
    with database.reading() as tx:
        assert list_sources(tx, programme, cycle=str(CYCLE)).left_minor == 0


# What went back, and comes again.


def cancelled(database: Database, programme: Programme, *, location: str = TIJUANA) -> Run:
    run = released(database, approved(database, programme, location=location))
    with database.transaction() as tx:
        cancel(tx, run.id)
    with database.transaction() as tx:
        assert settle_cancelled(tx, run.id)
    return run


def balances(database: Database) -> list[int]:
    with database.reading() as tx:
        return [fund.balance_minor for fund in tx.list(Fund, order=[Fund.position])]


def test_money_goes_back_to_the_fund_that_reserved_it_and_is_reserved_there_again(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    before = balances(database)

    run = cancelled(database, programme)
    assert balances(database) == before
    with database.transaction() as tx:
        retry(tx, run.id, Choice())

    covering = [batch for batch in batches_of(database, run) if batch.state == BatchState.OPEN]
    drawn = [was - now for was, now in zip(before, balances(database), strict=True)]
    with database.reading() as tx:
        funds = [fund.id for fund in tx.list(Fund, order=[Fund.position])]
    assert drawn == [sum(batch.amount_minor for batch in covering if batch.fund_id == fund) for fund in funds]
    assert all(drawn)
    assert_books_agree(database)


def test_retry_is_refused_by_a_cap_that_others_have_used_meanwhile(database: Database) -> None:
    """In words, with nothing changed; the forecast says so before."""
    programme = a_programme(database)
    rules(database, "fund-1", cap=TEN_MINOR)
    families(database, programme, 10, location=TIJUANA, prefix="T")
    families(database, programme, 10, location=NOGALES, prefix="N")
    run = cancelled(database, programme)
    released(database, approved(database, programme, location=NOGALES))

    with database.reading() as tx:
        (forecast,) = forecast_retries(tx, CaseChoice(run_id=run.id))
    with pytest.raises(RefusedByState, match="the cap of fund fund-1 is too small"), database.transaction() as tx:
        retry(tx, run.id, Choice())
    with pytest.raises(RefusedByState, match="the cap of fund fund-1"), database.transaction() as tx:
        resolve_paid(tx, cases_of(database, run)[0].id, evidence="receipt 7", key_version=1)

    assert forecast.refusal.startswith("the cap of fund fund-1 is too small")
    assert "raise the cap" in forecast.hint
    assert {case.state for case in cases_of(database, run)} == {"open"}
    assert_books_agree(database)


def test_what_was_released_is_tried_again_on_its_fund_whatever_that_may_pay_now(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    families(database, programme, 10, location=TIJUANA)
    run = cancelled(database, programme)
    rules(database, "fund-1", locations=[NOGALES])
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET rules_after_id = (SELECT MAX(id) FROM transfer)"))

    with database.transaction() as tx:
        retry(tx, run.id, Choice())

    assert set(paid_by(database, run)) == {"fund-1"}
    assert_books_agree(database)


def test_what_a_run_did_not_reserve_of_a_fund_is_not_given_to_it(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    families(database, programme, 10, location=TIJUANA)
    run = released(database, approved(database, programme))
    with database.reading() as tx:
        other = tx.get(Fund, Fund.code == "fund-2")

    for kind in (books.unreserve, books.credit):
        with pytest.raises(DBAPIError), database.transaction() as tx:
            kind(tx, fund_id=other.id, run_id=run.id, amount_minor=1, currency="MXN")

    assert_books_agree(database)


# What the database keeps.


def test_batch_keeps_its_fund_and_gets_none_that_may_not_pay(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-2", locations=[NOGALES])
    rules(database, "fund-3", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    run = a_planned_run(database, programme)
    with database.reading() as tx:
        one, two, three = (fund.id for fund in tx.list(Fund, order=[Fund.position]))
    set_fund = "UPDATE batch SET fund_id = :fund WHERE id = :id"
    rest, pregnant = (batch.id for batch in batches_of(database, run))

    refused_by_the_database(database, set_fund, match="a fund pays for what it may", fund=two, id=rest)
    refused_by_the_database(database, set_fund, match="a fund pays for what it may", fund=three, id=rest)
    with database.transaction() as tx:
        for fund, batch in ((three, pregnant), (one, rest)):
            tx.connection.execute(text(set_fund), {"fund": fund, "id": batch})
    refused_by_the_database(database, set_fund, match="a batch keeps its fund", fund=one, id=pregnant)
    refused_by_the_database(database, set_fund, match="a batch keeps its fund", fund=None, id=pregnant)
    for statement, says in (
        ("UPDATE batch_group SET group_code = 'other' WHERE batch_id = :id", "never changed"),
        ("DELETE FROM batch_group WHERE batch_id = :id", "the groups of a batch go with it"),
        ("INSERT INTO batch_group VALUES (:id, 'disability')", "the groups of a batch come with its plan"),
    ):
        refused_by_the_database(database, statement, match=says, id=pregnant)


COVER = """
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, fund_id, state, attempts, last_error)
SELECT run_id, first_id, first_id, 1, amount_minor, '', CAST(:fund AS BIGINT), 'open', 0, '' FROM batch WHERE id = :id
"""


def of_two_funds(database: Database) -> tuple[Run, int, int]:
    """A released run; its batch of families for whom one fund is kept, and its batch of the others, on another."""
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, PLENTY_MINOR])
    rules(database, "fund-1", groups=["pregnant"])
    families(database, programme, 10, location=TIJUANA)
    run = released(database, approved(database, programme))
    assert paid_by(database, run) == ["fund-2", "fund-1"]
    others, kept_for = (batch.id for batch in batches_of(database, run))
    return run, kept_for, others


def test_line_is_covered_again_on_its_own_fund_alone(database: Database) -> None:
    """Or a fund that may not pay for a family pays it, and another donor's family is paid by that family's fund."""
    run, _, others = of_two_funds(database)
    own, kept = (batch.fund_id for batch in batches_of(database, run))

    for fund in (kept, None):
        refused_by_the_database(database, COVER, match="a line keeps its fund", id=others, fund=fund)

    with database.transaction() as tx:
        tx.connection.execute(text(COVER), {"id": others, "fund": own})


def test_planned_batch_has_no_fund(database: Database) -> None:
    """It would be one that nobody has asked whether it may pay."""
    run, _, others = of_two_funds(database)

    refused_by_the_database(
        database, COVER.replace("'open'", "'planned'"), match="rows are never changed|fixed at release", id=others,
        fund=batches_of(database, run)[0].fund_id,
    )  # fmt: skip


def test_credit_is_of_the_fund_of_its_batch_or_of_the_line_of_its_case(database: Database) -> None:
    """Although the run has reserved enough of the other fund: two such credits would hide each other from all sums."""
    run, _, others = of_two_funds(database)
    own, kept = (batch.fund_id for batch in batches_of(database, run))
    with database.transaction() as tx:
        cancel(tx, run.id)
        settle_cancelled(tx, run.id)
        retry(tx, run.id, Choice())
        case = tx.list(Case, Case.fund_id == own)[0]

    for kind, batch, of_case in (("credit", others, None), ("credit", None, case.id), ("unreserve", None, case.id)):
        refused_by_the_database(
            database, TRANSFER, match="is of the fund of its lines", kind=kind, fund=kept, batch=batch, case=of_case,
            run=run.id, amount=1,
        )  # fmt: skip

    right = {"kind": "credit", "fund": own, "batch": None, "case": case.id, "run": run.id, "amount": 1}
    with database.transaction() as tx:
        tx.connection.execute(text(TRANSFER), right)


# Forecasts.


def test_forecasts_count_what_the_eligible_funds_can_pay(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, 2 * TEN_MINOR])
    rules(database, "fund-1", locations=[NOGALES])
    rules(database, "fund-2", cap=TEN_MINOR - 1)
    families(database, programme, 10, location=TIJUANA, prefix="T")
    families(database, programme, 10, location=NOGALES, prefix="N")

    with database.reading() as tx:
        tijuana = forecast_slot(tx, programme, location_code=TIJUANA, cycle=CYCLE)
        nogales = forecast_slot(tx, programme, location_code=NOGALES, cycle=CYCLE)
        shown = preview(tx, programme, cycle=CYCLE, location_code=TIJUANA)
        both = preview(tx, programme, cycle=CYCLE)

    assert (tijuana.blocked, nogales.blocked) == ("funds", "")
    assert (shown.blocked, shown.fund_available_minor) == ("funds", TEN_MINOR - 1)
    assert (both.blocked, both.fund_available_minor) == ("funds", PLENTY_MINOR + TEN_MINOR - 1)
    rules(database, "fund-2", cap=TEN_MINOR)
    with database.reading() as tx:
        assert forecast_slot(tx, programme, location_code=TIJUANA, cycle=CYCLE).blocked == ""


def test_forecast_by_group_is_what_release_comes_to(database: Database) -> None:
    programme = a_programme(database, funds_minor=[PLENTY_MINOR, 5_000])
    rules(database, "fund-1", groups=["single_caregiver", "pregnant", "disability", "victim_of_crime"])
    families(database, programme, 10, location=TIJUANA)

    with database.reading() as tx:
        assert forecast_slot(tx, programme, location_code=TIJUANA, cycle=CYCLE).blocked == "funds"
        shown = preview(tx, programme, cycle=CYCLE, location_code=TIJUANA)

    assert shown.blocked == "funds"
    refusal(database, approved(database, programme))


# The file.

HEADER = "code,donor,currency,amount,position,locations,groups,cycle_max"


def import_funds(database: Database, folder: Path, *lines: str, header: str = HEADER) -> list[str]:
    path = folder / "funds.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    (report,) = load(database, path, programme=None, dry_run=False, show=lambda _: None)
    return [change.fields for change in report.changes]


def funds_of(database: Database) -> list[tuple[str, int, int | None]]:
    with database.reading() as tx:
        return [(fund.code, fund.position, fund.cycle_max_minor) for fund in tx.list(Fund, order=[Fund.position])]


def test_file_says_order_restrictions_and_caps_and_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    a_programme(database, funds_minor=[])
    lines = (
        "a,A,MXN,10.00,2,,,", f"b,B,MXN,10.00,1,{TIJUANA};{NOGALES},pregnant disability,5.00",
        f"c,C,MXN,0,,,{' '.join(GROUPS)},",
    )  # fmt: skip

    assert import_funds(database, tmp_path, *lines) == []
    told = events(database, "fund.restricted")
    assert import_funds(database, tmp_path, *lines) == []

    assert funds_of(database) == [("b", 1, 500), ("a", 2, None), ("c", 3, None)]
    with database.reading() as tx:
        assert {row.location_code for row in tx.list(FundLocation)} == {TIJUANA, NOGALES}
        assert {row.group_code for row in tx.list(FundGroup)} == {"pregnant", "disability"}
    (event,) = told
    assert (event["fund"], event["locations"], event["groups"]) == ("b", f"{TIJUANA} {NOGALES}", 2)
    assert events(database, "fund.restricted") == told


def test_rules_change_for_later_and_a_file_without_a_column_leaves_it(database: Database, tmp_path: Path) -> None:
    a_programme(database, funds_minor=[])
    import_funds(database, tmp_path, "a,A,MXN,10.00,1,,,", f"b,B,MXN,10.00,2,{TIJUANA},,5.00")

    exchanged = import_funds(database, tmp_path, "a,A,MXN,10.00,2,,,", f"b,B,MXN,10.00,1,{TIJUANA} {NOGALES},pregnant,")
    import_funds(database, tmp_path, "b,B,MXN,11.00", header="code,donor,currency,amount")

    assert exchanged == ["position", "position, locations, groups, cycle_max"]
    assert funds_of(database) == [("b", 1, None), ("a", 2, None)]
    with database.reading() as tx:
        assert len(tx.list(FundLocation)) == 2
        newest = count(database, "SELECT MAX(rules_after_id) FROM fund")
    assert newest == 2, "the transfers of before are not judged by these rules"


@pytest.mark.parametrize(
    ("line", "field", "rule"),
    [
        ("b,B,MXN,1,x,,,", "position", "must be a whole number from 1 to 10000"),
        ("b,B,MXN,1,1,,,", "position", "is another fund's, too"),
        ("b,B,MXN,1,,2004,,", "locations", "five-digit INEGI code"),
        (f"b,B,MXN,1,,{TIJUANA} {TIJUANA},,", "locations", "names one of them twice"),
        ("b,B,MXN,1,,99999,,", "locations", "in which the programme runs"),
        ("b,B,MXN,1,,,pregnant;nobody,", "groups", "must be one of"),
        ("b,B,MXN,1,,,,-1", "cycle_max", "an amount is written like"),
    ],
)
def test_bad_rule_is_refused_by_line_and_field(
    database: Database, tmp_path: Path, line: str, field: str, rule: str
) -> None:
    a_programme(database, funds_minor=[])

    with pytest.raises(BadFile, match=rule) as refused:
        import_funds(database, tmp_path, "a,A,MXN,10.00,1,,,", line)

    assert (refused.value.line, refused.value.field) == (3, field)
    assert funds_of(database) == []


# The statement, and the comparison of all books.


@pytest.fixture
def command(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(monkeypatch, installation.environment)


def a_month_of_two_donors(database: Database) -> Programme:
    """In dollars: one city credited, one released, one cancelled."""
    programme = a_programme(database, funds_minor=[10**9, 10**9])
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE programme SET value_currency = 'USD'"))
        a_rate(tx, programme)
        programme = tx.get(Programme)
    rules(database, "fund-1", groups=["pregnant"], cap=10**8)
    for place in (TIJUANA, NOGALES, "02002"):
        families(database, programme, 10, location=place)
    credit_all(database, released(database, approved(database, programme)))
    released(database, approved(database, programme, location=NOGALES))
    cancelled(database, programme, location="02002")
    return programme


def test_statement_adds_up_by_fund_donor_and_month(installation: Installation, command: CommandLine) -> None:
    database = installation.database
    a_month_of_two_donors(database)

    outcome = command.run(fund_commands.app, "statement", "--json")

    rows = outcome.json["rows"]
    assert isinstance(rows, list)
    assert (outcome.code, outcome.json["adds_up"]) == (Exit.DONE, True)
    assert [row["row"] for row in rows] == ["fund", "fund", "donor", "donor", "month", "month"]
    for row in rows:
        minor = {name: int(str(row[name]).replace(".", "") or 0) for name in ("funded", "free", "drawn", "reserved",
                                                                             "outstanding")}  # fmt: skip
        assert minor["drawn"] == minor["reserved"] + minor["outstanding"] > 0
        if row["row"] != "month":
            assert minor["funded"] == 10**9 == minor["free"] + minor["drawn"]
    assert [row["vouchers"] for row in rows[:2]] == [2, 8]
    month = rows[4]
    assert (month["cycle"], month["cap"], month["rate"]) == ("2026-12", "1000000.00", "17.500000")
    assert (month["outstanding_value"], month["value_currency"]) == ("2100.00", "USD")
    assert rows[0]["outstanding_value"] == ""


def test_statement_of_one_fund_one_donor_one_month(installation: Installation, command: CommandLine) -> None:
    a_month_of_two_donors(installation.database)

    def shown(*words: str) -> list[str]:
        lines = command.run(fund_commands.app, "statement", "--csv", *words).stdout.splitlines()
        return [line.partition(",")[0] for line in lines[1:]]

    assert shown("--fund", "fund-1") == ["fund", "donor", "month"]
    assert shown("--donor", "Donor 2", "--cycle", "2026-11") == ["fund", "donor"]
    assert command.run(fund_commands.app, "statement", "--fund", "nobody's").code == Exit.MISUSED


def test_name_of_a_donor_is_no_formula(installation: Installation, command: CommandLine) -> None:
    database = installation.database
    a_programme(database)
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET donor = '=cmd()'"))

    outcome = command.run(fund_commands.app, "statement", "--csv")

    assert "fund,'=cmd(),fund-1" in outcome.stdout


@pytest.mark.parametrize(
    "wrong",
    ["UPDATE fund SET balance_minor = balance_minor - 1 WHERE code = 'fund-1'",
     "UPDATE batch SET credited_minor = credited_minor - 1 WHERE credited > 0 AND id = (SELECT MIN(id) FROM batch)"],
    ids=["balance", "vouchers"],
)  # fmt: skip
def test_statement_that_does_not_add_up_says_so(installation: Installation, command: CommandLine, wrong: str) -> None:
    database = installation.database
    a_month_of_two_donors(database)
    with database.transaction() as tx, without_guards(tx, "fund", "batch"):
        tx.connection.execute(text(wrong))

    outcome = command.run(fund_commands.app, "statement")

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert "fund fund-" in str(outcome.error)


def found_by(database: Database) -> tuple[set[str], set[str]]:
    """What is found in all books, and in the books of any one run."""
    with database.reading() as tx:
        runs = [run.id for run in tx.list(Run)]
        found = reconcile(tx)
    found_of_runs: list[Difference] = []
    for run_id in runs:
        with database.reading() as tx:
            found_of_runs += reconcile_run(tx, run_id)
    return checks_of(found), checks_of(found_of_runs)


def checks_of(differences: Sequence[Difference]) -> set[str]:
    return {each.check.partition(" ")[0] for each in differences}


MOVE_BACK = """
INSERT INTO transfer (kind, fund_id, run_id, amount_minor, currency, transferred_at)
SELECT 'unreserve', f.id, t.run_id, 1, t.currency, t.transferred_at FROM transfer t, fund f
WHERE t.id = (SELECT MAX(id) FROM transfer WHERE kind = 'reserve') AND f.id <> t.fund_id
"""
#: Written by somebody whom no trigger keeps, and what finds it.
WRONG = {
    "fund_reserves": (MOVE_BACK + ";UPDATE fund SET balance_minor = balance_minor + 1 WHERE code = 'fund-1'"),
    "fund_of_transfers": "UPDATE transfer SET fund_id = 3 - fund_id WHERE kind = 'credit' AND batch_id IS NOT NULL",
    "fund_equation": "UPDATE fund SET balance_minor = balance_minor - 1 WHERE code = 'fund-1'",
    "fund_locations": "INSERT INTO fund_location VALUES (1, '28022')",
    "fund_caps": "UPDATE fund SET cycle_max_minor = 1 WHERE code = 'fund-1'",
    "programme_caps": "UPDATE programme SET cycle_max_minor = 1",
}


@pytest.mark.parametrize("check", WRONG)
def test_comparison_finds_what_no_trigger_kept(database: Database, check: str) -> None:
    a_month_of_two_donors(database)
    assert found_by(database) == (set(), set())

    with database.transaction() as tx, without_guards(tx, "transfer", "fund", "batch"):
        for statement in WRONG[check].split(";"):
            tx.connection.execute(text(statement))

    of_all, of_runs = found_by(database)
    assert check in of_all & of_runs


def test_funds_of_two_programmes_that_are_called_alike_have_each_its_own_cap(database: Database) -> None:
    for code in ("north", "south"):
        programme = a_programme(database, code=code)
        families(database, programme, 10, location=TIJUANA, prefix=code)
        released(database, approved(database, programme))
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET cycle_max_minor = :cap"), {"cap": TEN_MINOR})

    assert found_by(database) == (set(), set())

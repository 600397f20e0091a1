"""`despensa report`: what donors and auditors are told adds up to the books, and points at no family."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from console.report import app
from console.sheets import SUPPRESSED
from models.calendar import Cycle
from models.errors import RefusedInput
from models.messages import CreditBatch
from models.report import month, others
from models.report.by import By
from models.report.month import value_minor
from models.states import GROUPS, CaseReason
from models.storage import Database
from models.tables import Location, Programme, Run
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.close import close
from scheduler.release import release
from scheduler.resolve import resolve_paid
from tests.builders import (
    CYCLE,
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_rate,
    a_released_run,
    batches_of,
    cases_of,
    families,
    vouchers_of,
)
from tests.command_line import CommandLine, Outcome
from tests.fakes import FakeStore
from tests.installation import Installation

pytestmark = pytest.mark.long


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    with FakeStore.open() as store:
        yield store


def credit(installation: Installation, run: Run, *, but: int = 0) -> None:
    """All batches of a run but the last ones, of which it is cancelled."""
    batches = batches_of(installation.database, run)
    for batch in batches[: len(batches) - but]:
        installation.receive(CreditBatch(batch.id))
    with installation.database.transaction() as tx:
        if but:
            cancel(tx, run.id)
            assert settle_cancelled(tx, run.id)
        else:
            assert close(tx, run.id)


def in_dollars(database: Database, programme: Programme, *, millionths: int = 17_500_000) -> None:
    """The transfer value is in USD from now on."""
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(value_currency="USD", base_minor=20_000, per_member_minor=0))
        a_rate(tx, programme, millionths=millionths)
        a_rate(tx, programme, cycle=CYCLE.plus(1), millionths=millionths)


def rows(outcome: Outcome) -> list[dict[str, object]]:
    found = outcome.json["rows"]
    assert isinstance(found, list)
    return found


def figures(found: list[dict[str, object]], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in found]


@pytest.mark.parametrize("credited", [37, 4], ids=["three were not", "four were"])
def test_what_was_credited_of_few_no_report_tells(installation: Installation, credited: int) -> None:
    """Nor what was not: a donor's report beside that of the month would tell it otherwise."""
    database = installation.database
    programme = a_programme(database)
    for city, lines in ((TIJUANA, 40), (NOGALES, credited), ("02002", 40)):
        families(database, programme, 40, location=city)
        run = a_released_run(database, programme, location=city, batch_lines=lines)
        credit(installation, run, but=len(batches_of(database, run)) - 1)

    with database.reading() as tx:
        months, donors, stores = (
            report(tx, programme, first_cycle=str(CYCLE), last_cycle=str(CYCLE), outside=True, **more).as_json()["rows"]
            for report, more in ((month.month_report, {"by": By.LOCATION}), (others.donor_report, {}),
                                 (others.store_report, {}))
        )  # fmt: skip

    for found, name in ((months, "credited"), (donors, "vouchers"), (stores, "vouchers")):
        hidden = [row["location"] for row in found if row[name] is None]  # type: ignore[attr-defined]
        assert NOGALES in hidden, name
        assert len(set(hidden)) > 1 or name == "vouchers", name


def test_family_completes_once_although_its_city_has_two_rows(installation: Installation) -> None:
    """Of one rate, from two sources."""
    database = installation.database
    programme = a_programme(database)
    in_dollars(database, programme)
    for part, count in ((1, 20), (None, 15)):
        families(database, programme, count, location=TIJUANA, cycles=1, prefix=f"of-{count}")
        now = PAYDAY if part else PAYDAY + timedelta(days=2)
        run = a_planned_run(database, programme, now=now, part=part)
        with database.transaction() as tx:
            assert approve_by_policy(tx, run.id, now=now) == ""
            run = release(tx, run.id, now=now)
        credit(installation, run)
        with database.transaction() as tx:
            tx.connection.execute(text("UPDATE exchange_rate SET source = 'corrected'"))

    with database.reading() as tx:
        found = month.month_report(
            tx, programme, first_cycle=str(CYCLE), last_cycle=str(CYCLE), by=By.LOCATION, outside=False
        )

    assert sorted(row[found.columns.index("completed")] for row in found.rows) == [15, 20]  # type: ignore[type-var]


def test_month_tells_planned_against_credited_in_both_currencies(
    installation: Installation, commands: CommandLine
) -> None:
    """One city lost a batch of ten; the other has all. USD 200 at 17.50 are 3,500 pesos."""
    database = installation.database
    programme = a_programme(database)
    in_dollars(database, programme)
    for city in (TIJUANA, NOGALES):
        families(database, programme, 30, location=city)
    credit(installation, a_released_run(database, programme, location=TIJUANA), but=1)
    credit(installation, a_released_run(database, programme, location=NOGALES))

    found = rows(commands.run(app, "month", "--json"))

    assert figures(found, "location", "planned", "credited", "planned_amount", "credited_amount", "currency") == [
        (TIJUANA, 30, 20, "105000.00", "70000.00", "MXN"), (NOGALES, 30, 30, "105000.00", "105000.00", "MXN"),
    ]  # fmt: skip
    assert figures(found, "rate", "rate_source", "rate_date", "planned_value", "credited_value", "value_currency") == [
        ("17.500000", "test", "2026-11-30", "6000.00", "4000.00", "USD"),
        ("17.500000", "test", "2026-11-30", "6000.00", "6000.00", "USD"),
    ]  # fmt: skip


@pytest.mark.parametrize("by", list(By))
def test_every_breakdown_adds_up_to_the_vouchers(installation: Installation, commands: CommandLine, by: By) -> None:
    """Also where a family's group has changed since its plan: the line that waits has none of its own."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 25, location=TIJUANA)
    families(database, programme, 15, location=TIJUANA, first_cycle=CYCLE.plus(-1), prefix="BEFORE")
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE household SET group_code = 'pregnant'"))
    credit(installation, run, but=2)

    found = rows(commands.run(app, "month", "--by", by, "--json"))

    assert sum(int(str(row["credited"])) for row in found) == len(vouchers_of(database)) == 20
    assert sum(int(str(row["planned"])) for row in found) == 40
    with database.reading() as tx:
        credited = tx.connection.execute(text("SELECT SUM(amount_minor) FROM transfer WHERE kind = 'credit'")).scalar()
    assert sum(int(str(row["credited_amount"]).replace(".", "")) for row in found) == credited
    parts = {By.LOCATION: [""], By.GROUP: sorted(GROUPS), By.SUPPORT: ["1", "2"]}
    assert [row["part_of"] for row in found] == parts[by]


def test_families_completed_are_those_credited_in_each_of_their_months(
    installation: Installation, commands: CommandLine
) -> None:
    """Two months of thirty families; of ten of them the first month was never credited."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA, cycles=2)
    credit(installation, a_released_run(database, programme), but=1)
    second = a_planned_run(database, programme, cycle=CYCLE.plus(1), now=PAYDAY.replace(year=2027, month=1))
    with database.transaction() as tx:
        assert approve_by_policy(tx, second.id, now=PAYDAY.replace(year=2027, month=1)) == ""
        release(tx, second.id, now=PAYDAY.replace(year=2027, month=1))
    credit(installation, second)

    found = rows(commands.run(app, "month", "--from", "2026-12", "--to", "2027-01", "--json"))
    by_support = rows(commands.run(app, "month", "--by", "support", "--json"))

    assert figures(found, "cycle", "credited", "completed") == [("2026-12", 20, 0), ("2027-01", 30, 20)]
    assert figures(by_support, "cycle", "part_of", "completed") == [("2027-01", "2", 20)]


def test_what_is_meant_for_outside_shows_no_cell_of_under_ten(
    installation: Installation, commands: CommandLine
) -> None:
    """Nine families in one city hide a second city, too: the sum of the month is what donors are told."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 9, location=NOGALES)
    families(database, programme, 60, location=TIJUANA)
    with database.transaction() as tx:
        third = tx.get(Location, Location.name == "Matamoros")
    families(database, programme, 40, location=third.code)
    for city in (NOGALES, TIJUANA, third.code):
        credit(installation, a_released_run(database, programme, location=city))

    by_city = {str(row["location"]): row for row in rows(commands.run(app, "month", "--outside", "--json"))}
    by_group = rows(commands.run(app, "month", "--by", "group", "--outside", "--json"))
    inside = rows(commands.run(app, "month", "--by", "group", "--json"))
    shown = commands.run(app, "month", "--by", "group", "--outside", "--csv").stdout

    hidden = {name for name, value in by_city[NOGALES].items() if value is None}
    assert hidden == {
        "planned", "credited", "planned_amount", "credited_amount", "planned_value", "credited_value", "completed",
    }  # fmt: skip
    assert by_city[third.code]["planned"] is None
    assert by_city[TIJUANA]["planned"] == 60
    assert {row["location"] for row in by_group if row["planned"] is not None} == {TIJUANA}
    assert all(row["planned"] is not None for row in inside)
    assert shown.count(f",{SUPPRESSED},{SUPPRESSED},{SUPPRESSED},{SUPPRESSED},") > 0
    for command in ("store", "donor", "cases"):
        told = rows(commands.run(app, command, "--outside", "--json"))
        assert all(row.get("vouchers") is None for row in told if row["location"] != TIJUANA)


def test_donors_and_stores_are_told_what_was_credited(
    installation: Installation, commands: CommandLine, store: FakeStore
) -> None:
    """A voucher that a person entered is one donor's, too; of a run's two notices the later one counts."""
    database = installation.database
    programme = a_programme(database, store_url=store.url, funds_minor=(10**8, 10**8))
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    credit(installation, run, but=1)
    case = cases_of(database, run)[0]
    with database.transaction() as tx:
        resolve_paid(tx, case.id, evidence="receipt 1", key_version=1)

    by_donor = rows(commands.run(app, "donor", "--json"))
    by_store = rows(commands.run(app, "store", "--json"))
    of_cases = rows(commands.run(app, "cases", "--json"))

    assert sum(int(str(row["vouchers"])) for row in by_donor) == 21
    assert figures(by_donor, "donor", "fund", "currency", "value_currency") == [("Donor 1", "fund-1", "MXN", "MXN")]
    assert figures(by_store, "store", "runs", "vouchers", "delivered", "due") == [("nor-02004-1", 1, 21, 0, 1)]
    assert figures(of_cases, "reason", "outcome", "waits_for", "cases") == [
        (CaseReason.STOPPED, "open", "person", 9), (CaseReason.STOPPED, "paid", "", 1),
    ]  # fmt: skip


def test_approvals_tell_who_decided_about_what(installation: Installation, commands: CommandLine) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)

    (row,) = rows(commands.run(app, "approvals", "--json"))

    assert (row["run"], row["families"], row["approval"], row["approved_by"]) == (
        "2026-12/02004",
        20,
        "policy",
        "policy",
    )
    assert (row["planned_by"], row["released_by"], row["digest"]) == (run.planned_by, run.released_by, run.digest)
    assert "outside" not in str(row)


#: What spreadsheets and programs of others rest on.
HEADERS = {
    "month": month.COLUMNS, "store": others.STORE_COLUMNS, "donor": others.DONOR_COLUMNS, "cases": others.CASE_COLUMNS,
    "approvals": others.APPROVAL_COLUMNS,
}  # fmt: skip
STABLE = {
    "month": (
        "cycle,location,location_name,part_of,planned,credited,planned_amount,credited_amount,currency,rate,"
        "rate_source,rate_date,planned_value,credited_value,value_currency,completed"
    ),
    "store": "cycle,location,store,store_name,runs,vouchers,amount,currency,delivered,undelivered,due",
    "donor": "cycle,location,donor,fund,vouchers,amount,currency,rate,value,value_currency",
    "cases": "cycle,location,part,reason,outcome,waits_for,cases,amount,currency,oldest",
    "approvals": (
        "run,programme,state,families,amount,currency,rate,digest,planned_by,planned_at,approval,approved_by,"
        "approved_at,released_at,completed_at"
    ),
}


def test_headers_stay(installation: Installation, commands: CommandLine) -> None:
    """A later column stands at the end."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 1, location=TIJUANA)
    a_planned_run(installation.database, programme)

    for report, headers in STABLE.items():
        shown = commands.run(app, report, "--csv").stdout
        assert shown.splitlines()[0].startswith(headers), report
        assert ",".join(HEADERS[report]).startswith(headers), report


def test_no_cell_of_csv_is_a_formula(installation: Installation, commands: CommandLine) -> None:
    """A store's name is somebody else's text; a spreadsheet would run it."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    with database.transaction() as tx:
        tx.connection.execute(text('UPDATE store SET name = \'=HYPERLINK("http://x","y")\''))
        tx.connection.execute(text("UPDATE fund SET donor = '@SUM(1)'"))
    credit(installation, a_released_run(database, programme))

    cells = [
        cell
        for report in ("store", "donor")
        for row in csv.reader(io.StringIO(commands.run(app, report, "--csv").stdout))
        for cell in row
    ]

    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "'@SUM(1)" in cells


def test_what_cannot_be_reported_is_refused(installation: Installation, commands: CommandLine) -> None:
    for words, rule in (
        (("--from", "2026-13"), "a cycle"), (("--to", "2026-12"), "--from"), (("--json", "--csv"), "two forms"),
        (("--from", "2027-01", "--to", "2026-12"), "before the first"),
    ):  # fmt: skip
        outcome = commands.run(app, "month", *words)
        assert isinstance(outcome.error, RefusedInput)
        assert rule in f"{outcome.error} {outcome.error.hint}"


def test_nothing_to_report_is_said(installation: Installation, commands: CommandLine) -> None:
    a_programme(installation.database)

    assert "no run yet" in str(commands.run(app, "month").error)


def test_report_by_location_is_for_people_too(installation: Installation, commands: CommandLine) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 9, location=TIJUANA, first_cycle=Cycle(2026, 12))
    a_planned_run(database, programme)

    shown = commands.run(app, "month", "--outside")

    assert "Tijuana" in shown.stdout and SUPPRESSED in shown.stdout
    assert "could be worked out" in shown.stderr


@pytest.mark.parametrize(
    ("amount_minor", "rate_millionths", "value"),
    [(350_000, 17_500_000, 20_000), (1, 20_000_000, 0), (10, 20_000_000, 0), (30, 20_000_000, 2), (7, None, 7)],
)
def test_value_is_rounded_half_even(amount_minor: int, rate_millionths: int | None, value: int) -> None:
    assert value_minor(amount_minor, rate_millionths) == value

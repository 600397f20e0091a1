"""After the stated time nobody can say whose a voucher was, or of which group and city a family is. Totals stay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from models.calendar import Cycle
from models.certify import create_certificate
from models.errors import RefusedByState, RefusedInput
from models.handover import export_run
from models.intake.load import load
from models.keys import load_keys
from models.messages import CreditBatch
from models.report.by import By
from models.report.month import month_report
from models.report.sheet import Sheet
from models.retention import NOWHERE, REDUCED, kept_from
from models.storage import Database, Query
from models.tables import (
    Case,
    Enrolment,
    EnrolmentConflict,
    Household,
    Journal,
    Location,
    Programme,
    ProgrammeLocation,
    ReducedGroup,
    Run,
    run_code,
)
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.release import release
from scheduler.resolve import resolve_not_owed
from scheduler.retention import reduce_over
from scheduler.seal import seal
from tests.builders import (
    TIJUANA,
    a_planned_run,
    a_programme,
    batches_of,
    cases_of,
    families,
    without_guards,
)
from tests.commands import ROOT
from tests.installation import Installation
from tests.ledger import assert_books_agree

pytestmark = pytest.mark.long

#: Longer ago than any stated time.
LONG_AGO = Cycle(2004, 1)
PAYDAY = datetime(2004, 1, 1, 18, tzinfo=UTC)
FAMILIES, UNCREDITED = 40, 10
HASH = "a" * 64


def kept_for(database: Database, months: int | None) -> None:
    """What `[retention]` in programme.toml does to the programmes that there are."""
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(retention_months=months))
        if tx.find(Location, Location.code == NOWHERE) is None:
            tx.add(Location(code=NOWHERE, name="reduced", state="-", time_zone="UTC"))


def a_month_of_long_ago(installation: Installation) -> tuple[Programme, Run]:
    """Over for long, and settled: of 40 families, each of one month, ten were found not owed."""
    database = installation.database
    programme = a_programme(database)
    with database.transaction() as tx:
        tx.connection.execute(update(ProgrammeLocation).values(first_cycle=str(LONG_AGO)))
    families(database, programme, FAMILIES, location=TIJUANA, first_cycle=LONG_AGO, cycles=1)
    run = a_planned_run(database, programme, cycle=LONG_AGO, now=PAYDAY)
    with database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == ""
        run = release(tx, run.id, now=PAYDAY)
    for batch in batches_of(database, run)[:-1]:
        installation.receive(CreditBatch(batch.id))
    with database.transaction() as tx:
        cancel(tx, run.id)
        assert settle_cancelled(tx, run.id)
    for case in cases_of(database, run):
        with database.transaction() as tx:
            resolve_not_owed(tx, case.id)
    with database.transaction() as tx:
        tx.connection.execute(update(Enrolment).values(person_hash=None, person_key_version=None))
        first = tx.list(Enrolment, order=[Enrolment.household_id], limit=1)[0]
        first.person_hash, first.person_key_version = HASH, 1
        tx.update(first, ["person_hash", "person_key_version"])
        with without_guards(tx, "run", "cases"):
            tx.connection.execute(update(Run).values(completed_at=PAYDAY + timedelta(days=1)))
            tx.connection.execute(update(Case).values(closed_at=PAYDAY + timedelta(days=2)))
    while seal(database):
        pass
    return programme, run


def reports(database: Database, programme: Programme) -> list[Sheet]:
    month = str(LONG_AGO)
    with database.reading() as tx:
        return [
            month_report(tx, programme, first_cycle=month, last_cycle=month, by=by, outside=outside)
            for by in By
            for outside in (False, True)
        ]


def reduced(database: Database) -> int:
    with database.reading() as tx:
        return len(tx.list(Household, Household.group_code == REDUCED))


def test_family_is_nowhere_and_every_total_stays(installation: Installation) -> None:
    """By city, group and month of support; credited, not credited and completed; inside and for outside."""
    database = installation.database
    programme, run = a_month_of_long_ago(installation)
    kept_for(database, 12)
    before = reports(database, programme)

    assert reduce_over(database) == FAMILIES

    assert reports(database, programme) == before
    with database.reading() as tx:
        households = tx.list(Household)
        assert {(each.registration_id, each.location_code, each.group_code) for each in households} == {
            (f"reduced:{each.id}", NOWHERE, REDUCED) for each in households
        }
        assert [each.household_id for each in tx.list(Enrolment) if each.person_hash] == []
        sums = tx.list(ReducedGroup)
        assert sum(each.uncredited for each in sums) == UNCREDITED
        assert sum(each.completed for each in sums) == FAMILIES - UNCREDITED
        assert {each.run_id for each in sums} == {run.id}
    assert_books_agree(database)


def test_log_has_a_count_and_no_family(installation: Installation) -> None:
    database = installation.database
    programme, _ = a_month_of_long_ago(installation)
    kept_for(database, 12)

    reduce_over(database)

    with database.reading() as tx:
        told = [orjson.loads(each.fields) for each in tx.list(Journal, Journal.event == "household.reduced")]
    assert told == [{"programme": programme.code, "households": FAMILIES}]


def test_a_scheduler_does_it_by_itself_and_once(installation: Installation) -> None:
    database = installation.database
    a_month_of_long_ago(installation)
    kept_for(database, 12)
    ticker = installation.ticker()

    assert ticker.tick().errors == []
    done = reduced(database)
    installation.clock.now += timedelta(days=2)
    assert ticker.tick().errors == []

    assert done == FAMILIES
    with database.reading() as tx:
        assert len(tx.list(Journal, Journal.event == "household.reduced")) == 1


FIND_OF_CASE = Query("""
-- find_of_case: a family that has a case
SELECT MIN(d.household_id) FROM cases c JOIN disbursement d ON d.id = c.disbursement_id
""")
KEEPS = {
    "no time is stated": "UPDATE programme SET retention_months = NULL",
    "a month of it is not so long ago": "UPDATE enrolment SET last_cycle = '{kept_from}'",
    "a run of it is not over": "UPDATE run SET completed_at = NULL",
    "a run of it was closed lately": "UPDATE run SET completed_at = '{lately}'",
    "a case of it is open": "UPDATE cases SET closed_at = NULL",
    "a case of it was closed lately": "UPDATE cases SET closed_at = '{lately}'",
}


@pytest.mark.parametrize("why", [*KEEPS, "two people still decide about it", "another programme keeps it"])
def test_family_is_kept_while(installation: Installation, why: str) -> None:
    """And whoever reduces it by hand is refused: the rule is the database's, too."""
    database = installation.database
    programme, _ = a_month_of_long_ago(installation)
    kept_for(database, 12)
    beside = a_programme(database, code="beside")  # which states no time
    with database.transaction() as tx:
        of_case = int(tx.scalar(FIND_OF_CASE))
        if why == "two people still decide about it":
            tx.add(
                EnrolmentConflict(
                    programme_id=programme.id, household_id=of_case, other_household_id=of_case + 1, found_at=tx.now
                )
            )
        elif why == "another programme keeps it":
            tx.add(
                Enrolment(
                    programme_id=beside.id, household_id=of_case, first_cycle=str(LONG_AGO), last_cycle=str(LONG_AGO),
                    status="active",
                )
            )  # fmt: skip
        else:
            month = kept_from(tx.now, 12)
            lately = f"{(tx.now - timedelta(days=300)).date()}T00:00:00.000000Z"
            with without_guards(tx, "run", "cases"):
                tx.connection.execute(text(KEEPS[why].format(kept_from=month, lately=lately)))

    reduce_over(database)

    with database.reading() as tx:
        assert tx.get(Household, Household.id == of_case).group_code != REDUCED
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(f"{BY_HAND} WHERE id = {of_case}"))


BY_HAND = "UPDATE household SET registration_id = 'reduced:' || id, location_code = '00000', group_code = 'reduced'"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE household SET registration_id = 'R-OTHER'",
        "UPDATE household SET registration_id = 'reduced:' || id",
        "UPDATE household SET group_code = 'reduced'",
        "UPDATE household SET location_code = '00000'",
        BY_HAND.replace("'reduced:' || id", "'reduced:1'"),
    ],
)
def test_reduction_by_halves_is_refused(installation: Installation, statement: str) -> None:
    database = installation.database
    a_month_of_long_ago(installation)
    kept_for(database, 12)

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(f"{statement} WHERE id = 2"))

    assert reduced(database) == 0


def test_what_was_reduced_stays_so(installation: Installation) -> None:
    database = installation.database
    a_month_of_long_ago(installation)
    kept_for(database, 12)
    reduce_over(database)

    for statement in ("registration_id = 'R-1'", f"location_code = '{TIJUANA}'", "group_code = 'pregnant'"):
        with pytest.raises(IntegrityError), database.transaction() as tx:
            tx.connection.execute(text(f"UPDATE household SET {statement} WHERE id = 1"))


def test_nothing_is_written_any_more_that_would_name_its_families(installation: Installation, tmp_path: Path) -> None:
    database = installation.database
    _, run = a_month_of_long_ago(installation)
    kept_for(database, 12)
    reduce_over(database)
    while seal(database):
        pass
    keys = installation.settings.keys

    with pytest.raises(RefusedByState, match="reduced to sums"):
        export_run(database, run, keys=load_keys(keys, "pin"), path=tmp_path / "out.csv")
    with pytest.raises(RefusedByState, match="reduced to sums"):
        create_certificate(database, run_code(run), keys=load_keys(keys, "certificate"), path=tmp_path / "out.cert")

    assert list(tmp_path.glob("out*")) == []


HEADER = "registration_id,location,members,group,first_cycle,cycles,status\n"


def test_file_does_not_bring_back_whom_the_time_is_over_of(database: Database, tmp_path: Path) -> None:
    """Unless it is known: whoever is still there may be named, so that nothing of it changes unseen."""
    programme = a_programme(database)
    kept_for(database, 12)
    known = families(database, programme, 1, location=TIJUANA, first_cycle=LONG_AGO, cycles=1)[0]
    path = tmp_path / "households.csv"
    rows = (f"{each},{TIJUANA},1,pregnant,{LONG_AGO},1,active\n" for each in (known, "R-2"))
    path.write_text(HEADER + "".join(rows))

    with pytest.raises(RefusedInput, match="line 3, first_cycle: its months ended more than 12 months ago"):
        load(database, path, programme=None, dry_run=False, show=lambda _: None)

    with database.reading() as tx:
        assert len(tx.list(Household)) == 1


def test_no_file_names_the_place_of_the_nameless(database: Database, tmp_path: Path) -> None:
    a_programme(database)
    path = tmp_path / "households.csv"
    path.write_text(f"{HEADER}R-2,{NOWHERE},1,pregnant,2026-12,1,active\n")

    with pytest.raises(RefusedInput, match="location: must be a five-digit INEGI code"):
        load(database, path, programme=None, dry_run=False, show=lambda _: None)


@pytest.mark.parametrize(
    ("months", "rule"),
    [("11", "must be a whole number from 12 to 120"), ("12", "must not end while a voucher is valid"), ("24", "")],
)
def test_programme_states_the_time(database: Database, tmp_path: Path, months: str, rule: str) -> None:
    sample = (ROOT / "deploy" / "programmes" / "northern-mexico" / "programme.toml").read_text()
    path = tmp_path / "programme.toml"
    valid = sample.replace("validity_days = 60", "validity_days = 365")
    path.write_text(valid.replace("months = 24", f"months = {months}"))

    if rule:
        with pytest.raises(RefusedInput, match=rf"retention\.months: {rule}"):
            load(database, path, programme=None, dry_run=False, show=lambda _: None)
        return
    load(database, path, programme=None, dry_run=False, show=lambda _: None)
    with database.reading() as tx:
        assert [each.retention_months for each in tx.list(Programme)] == [24]
        assert tx.find(Location, Location.code == NOWHERE) is not None

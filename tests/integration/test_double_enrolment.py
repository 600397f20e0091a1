"""One person under two registration ids: held, listed, decided by two operators; the rest of the file goes on.

What a table of these tests says of a family: `active`, or status and reason.
"""

from pathlib import Path

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.conflicts import Decided, decide, list_conflicts
from models.errors import Misconfigured, RefusedByState, RefusedInput
from models.intake.load import load
from models.intake.report import FileReport
from models.keys import init_keys, key_path
from models.person_keys import count_by_person_key_version
from models.states import ConflictDecision
from models.storage import Database
from models.tables import Disbursement, Enrolment, EnrolmentConflict, Household, Journal, Programme
from scheduler.discard import discard
from scheduler.plan import NothingToPlan
from tests.builders import NOGALES, TIJUANA, a_planned_run, a_programme
from tests.operators import ANA, BRUNO, CARLA, acting_as

pytestmark = pytest.mark.long

SAME, DIFFERENT = ConflictDecision.SAME, ConflictDecision.DIFFERENT
HEADER = "registration_id,location,members,group,first_cycle,cycles,status,person_key"
DOUBLE = "held:double_enrolment"
STOPPED = "stopped:double_enrolment"
PERSON, SOMEBODY = "HND-0501-1990-01234", "SLV 03456789-0"


@pytest.fixture
def programme(database: Database) -> Programme:
    return a_programme(database)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of key files."""
    init_keys(tmp_path / "keys")
    return tmp_path / "keys"


def row(name: str, person: str = "", *, location: str = TIJUANA, status: str = "active", first: str = "2026-12") -> str:
    return f"{name},{location},3,pregnant,{first},3,{status},{person}"


def import_(database: Database, keys: Path | None, *rows: str, dry_run: bool = False, keyed: bool = True) -> FileReport:
    """A file of these rows, with the column or without it."""
    folder = Path(str(keys)).parent
    lines = [HEADER, *rows] if keyed else [line.rpartition(",")[0] for line in (HEADER, *rows)]
    (folder / "households.csv").write_text("\n".join(lines) + "\n")
    path = folder / "households.csv"
    return load(database, path, programme=None, dry_run=dry_run, show=lambda _: None, keys=keys)[0]


def statuses(database: Database) -> dict[str, str]:
    with database.reading() as tx:
        households = {each.id: each.registration_id for each in tx.list(Household)}
        return {
            households[each.household_id]: ":".join(part for part in (each.status, each.reason_code) if part)
            for each in tx.list(Enrolment)
        }


def pairs(database: Database, *, decided_too: bool = False) -> list[tuple[str, str]]:
    """Newcomer and other of each conflict that is listed."""
    with database.reading() as tx:
        return [
            (each.newcomer.registration_id, each.other.registration_id)
            for each in list_conflicts(tx, decided_too=decided_too)
        ]


def one_says(database: Database, operator: str, decision: ConflictDecision, conflict: int = 0) -> Decided:
    with acting_as(operator, database) as own, own.transaction() as tx:
        return decide(tx, conflict or list_conflicts(tx)[0].conflict, decision)


def two_say(database: Database, decision: ConflictDecision) -> Decided:
    """About the oldest conflict that waits."""
    with database.reading() as tx:
        conflict = list_conflicts(tx)[0].conflict
    one_says(database, ANA, decision, conflict)
    return one_says(database, BRUNO, decision, conflict)


def everything(database: Database) -> list[object]:
    with database.reading() as tx:
        return [tx.list(table) for table in (Household, Enrolment, EnrolmentConflict, Journal)]


def rotate(keys: Path) -> None:
    """A second version of the person key."""
    path = key_path(keys, "person")
    path.write_text(f"{path.read_text()}2 {bytes(range(32)).hex()}\n")


# Found.


@pytest.mark.parametrize("said", [True, False], ids=["and is named", "and is not named"])
def test_whoever_gets_other_months_is_looked_at_again(database: Database, keys: Path, said: bool) -> None:
    """Who is active, and took over from somebody of the same person, for later months than were paid."""
    programme = a_programme(database)
    import_(database, keys, row("A", PERSON, first="2026-12"))
    a_planned_run(database, programme)
    import_(database, keys, row("A", PERSON, status="stopped:moved"), row("B", PERSON, first="2027-03"))
    before = statuses(database)

    import_(database, keys, row("B", PERSON if said else "", first="2026-12"))

    assert before["B"] == "active"
    assert statuses(database)["B"] == "held:double_enrolment"
    assert len(pairs(database)) == 1


def test_person_of_a_second_city_is_held_and_the_rest_of_the_file_goes_on(
    database: Database, programme: Programme, keys: Path
) -> None:
    import_(database, keys, row("T-1", PERSON), row("T-2", SOMEBODY))

    report = import_(
        database, keys, row("N-1", PERSON, location=NOGALES), row("N-2", "HND 777777", location=NOGALES),
        row("N-3", location=NOGALES),
    )  # fmt: skip

    assert statuses(database) == {"T-1": "active", "T-2": "active", "N-1": DOUBLE, "N-2": "active", "N-3": "active"}
    assert pairs(database) == [("N-1", "T-1")]
    assert (report.added, report.conflicts) == (3, 1)
    assert "1 families are held" in report.notes[0] and "despensa enrolment conflicts" in report.notes[0]


def test_second_of_a_file_is_held(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", SOMEBODY), row("C", PERSON), row("D", PERSON))

    assert statuses(database) == {"A": "active", "B": "active", "C": DOUBLE, "D": DOUBLE}
    assert pairs(database) == [("C", "A"), ("D", "A")]


def test_spelling_of_a_number_does_not_matter(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON.lower().replace("-", " ")), row("C", "0" + SOMEBODY[4:]))

    assert statuses(database) == {"A": "active", "B": DOUBLE, "C": "active"}


def test_same_file_again_changes_nothing(database: Database, programme: Programme, keys: Path) -> None:
    rows = (row("A", PERSON), row("B", PERSON), row("C", SOMEBODY), row("D"))
    import_(database, keys, *rows)
    before = everything(database)

    report = import_(database, keys, *rows)

    assert not report.changes_anything
    assert (report.unchanged, report.conflicts) == (4, 0)
    assert everything(database) == before


def test_dry_run_tells_conflicts_and_opens_none(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON))
    before = everything(database)

    report = import_(database, keys, row("B", PERSON), dry_run=True)

    assert report.conflicts == 1 and "held" in report.notes[0]
    assert everything(database) == before


def test_each_programme_has_its_own_persons(database: Database, programme: Programme, keys: Path) -> None:
    """In both active, and their hashes differ: whoever has the tables cannot join the two."""
    import_(database, keys, row("A", PERSON))
    a_programme(database, code="winter")
    path = keys.parent / "households.csv"
    path.write_text(f"{HEADER}\n{row('B', PERSON)}\n")
    load(database, path, programme="winter", dry_run=False, show=lambda _: None, keys=keys)

    with database.reading() as tx:
        enrolments = tx.list(Enrolment)
    assert [each.status for each in enrolments] == ["active", "active"]
    assert len({each.person_hash for each in enrolments}) == 2


def test_conflict_that_is_found_after_a_plan_is_told(database: Database, programme: Programme, keys: Path) -> None:
    """Both are in the plan, and only then do files say who they are: the plan must be dropped before it is released."""
    import_(database, keys, row("A"), row("B"))
    run = a_planned_run(database, programme)
    assert run.lines == 2

    report = import_(database, keys, row("A", PERSON), row("B", PERSON))

    assert statuses(database) == {"A": "active", "B": DOUBLE}
    assert "run 2026-12/02004 is planned with 1 lines of families that this file holds" in " ".join(report.notes)
    with database.transaction() as tx:
        discard(tx, run.id)
    assert a_planned_run(database, programme).lines == 1


def test_event_has_counts_and_conflicts_and_nothing_of_a_family(
    database: Database, programme: Programme, keys: Path
) -> None:
    import_(database, keys, row("REG-A", PERSON), row("REG-B", PERSON), row("REG-C", PERSON))
    two_say(database, SAME)

    with database.reading() as tx:
        events = {each.event: each.fields for each in tx.list(Journal)}
        hashes = {str(each.person_hash) for each in tx.list(Enrolment)}
    told = events["conflict.found"] + events["conflict.decided"]
    assert '"conflicts":2' in events["conflict.found"]
    for private in ("REG", TIJUANA, "household", *hashes):
        assert private not in told


# Orders of files.


def test_held_family_whose_row_comes_again_stays_held(database: Database, programme: Programme, keys: Path) -> None:
    """With the column or without it, and whatever else changes."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    import_(database, keys, row("B", PERSON, location=NOGALES))
    assert statuses(database)["B"] == DOUBLE
    import_(database, keys, row("B", location=NOGALES), keyed=False)

    assert statuses(database)["B"] == DOUBLE
    assert pairs(database) == [("B", "A")]


def test_withdrawn_newcomer_is_stopped_and_listed_no_more(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    import_(database, keys, row("B", status="stopped:withdrawn"), keyed=False)

    assert statuses(database) == {"A": "active", "B": "stopped:withdrawn"}
    assert pairs(database) == []
    import_(database, keys, row("B"), keyed=False)
    assert statuses(database)["B"] == DOUBLE
    assert pairs(database) == [("B", "A")]


def test_newcomer_stays_held_when_the_original_is_stopped(database: Database, programme: Programme, keys: Path) -> None:
    """Otherwise whoever imports could decide alone what two are asked for."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    import_(database, keys, row("A", PERSON, status="stopped:left"), row("B", PERSON))

    assert statuses(database) == {"A": "stopped:left", "B": DOUBLE}
    assert two_say(database, DIFFERENT).newcomer_status == "active"


def test_place_that_a_file_frees_can_be_taken_by_the_same_file(
    database: Database, programme: Programme, keys: Path
) -> None:
    """In either order of the lines: a file is looked at as a whole."""
    import_(database, keys, row("A", PERSON), row("C", SOMEBODY))

    import_(database, keys, row("B", PERSON), row("A", status="stopped:left"))
    import_(database, keys, row("C", status="stopped:left"), row("D", SOMEBODY))

    assert statuses(database) == {"A": "stopped:left", "B": "active", "C": "stopped:left", "D": "active"}
    import_(database, keys, row("A"), keyed=False)
    assert statuses(database)["A"] == DOUBLE
    assert pairs(database) == [("A", "B")]


def test_two_families_can_change_persons_in_one_file(database: Database, programme: Programme, keys: Path) -> None:
    """Two rows whose numbers had been mixed up."""
    import_(database, keys, row("A", PERSON), row("B", SOMEBODY))

    report = import_(database, keys, row("A", SOMEBODY), row("B", PERSON))

    assert statuses(database) == {"A": "active", "B": "active"}
    assert [each.fields for each in report.changes] == ["person_key", "person_key"]
    import_(database, keys, row("C", PERSON))
    assert pairs(database) == [("C", "B")]


def test_corrected_number_of_the_newcomer_waits_for_two_all_the_same(
    database: Database, programme: Programme, keys: Path
) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    import_(database, keys, row("B", SOMEBODY))

    assert statuses(database)["B"] == DOUBLE
    assert two_say(database, DIFFERENT).newcomer_status == "active"


def test_corrected_number_can_be_somebody_elses(database: Database, programme: Programme, keys: Path) -> None:
    """An active family whose number turns out to be that of another one comes second."""
    import_(database, keys, row("A", PERSON), row("B", SOMEBODY))

    import_(database, keys, row("A", SOMEBODY))

    assert statuses(database) == {"A": DOUBLE, "B": "active"}
    assert pairs(database) == [("A", "B")]
    import_(database, keys, row("C", PERSON))
    assert statuses(database)["C"] == "active"


def test_number_that_comes_later_is_compared(database: Database, programme: Programme, keys: Path) -> None:
    """Families that were there come before new ones, wherever they stand in the file."""
    import_(database, keys, row("A"), row("B"))

    import_(database, keys, row("C", PERSON), row("B", PERSON), row("A", SOMEBODY))

    assert statuses(database) == {"A": "active", "B": "active", "C": DOUBLE}
    assert pairs(database) == [("C", "B")]


def test_row_without_a_number_keeps_the_one_it_had(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON))

    import_(database, keys, row("A"), row("B", SOMEBODY))
    import_(database, keys, row("A"), keyed=False)
    import_(database, keys, row("C", PERSON))

    assert pairs(database) == [("C", "A")]


def test_family_that_was_held_for_another_reason_is_compared_when_it_comes_back(
    database: Database, programme: Programme, keys: Path
) -> None:
    import_(database, keys, row("A", PERSON))
    import_(database, keys, row("A", status="held:documents"), keyed=False)
    import_(database, keys, row("B", PERSON))
    assert statuses(database) == {"A": "held:documents", "B": "active"}

    import_(database, keys, row("A"), keyed=False)

    assert statuses(database) == {"A": DOUBLE, "B": "active"}
    assert pairs(database) == [("A", "B")]


def test_file_that_holds_a_newcomer_for_another_reason_is_obeyed(
    database: Database, programme: Programme, keys: Path
) -> None:
    """What two operators decide meanwhile counts once that reason is gone, and not before."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    import_(database, keys, row("B", status="held:documents"), keyed=False)
    assert pairs(database) == [("B", "A")]

    assert two_say(database, DIFFERENT).newcomer_status == "held:documents"
    import_(database, keys, row("B"), keyed=False)

    assert statuses(database) == {"A": "active", "B": "active"}


def test_no_file_may_give_the_reason_that_operators_decide_about(
    database: Database, programme: Programme, keys: Path
) -> None:
    with pytest.raises(RefusedInput, match="line 2, status: double_enrolment is what two operators decide"):
        import_(database, keys, row("A", status="held:double_enrolment"))


def test_month_that_a_stopped_registration_was_paid_for_is_not_paid_again(
    database: Database, programme: Programme, keys: Path
) -> None:
    """Stopped here and enrolled there under a new id, a person would have two lines of one month."""
    import_(database, keys, row("A", PERSON))
    a_planned_run(database, programme)
    import_(database, keys, row("A", status="stopped:moved"), keyed=False)

    import_(database, keys, row("B", PERSON, location=NOGALES), row("C", PERSON, location=NOGALES, first="2027-01"))

    assert statuses(database) == {"A": "stopped:moved", "B": DOUBLE, "C": "active"}
    assert pairs(database) == [("B", "A")]


# Decided.


def test_one_person_the_newcomer_is_stopped_for_good(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    first = one_says(database, ANA, SAME)
    assert (first.outcome, statuses(database)["B"]) == ("", DOUBLE)
    second = one_says(database, BRUNO, SAME)

    assert (second.outcome, second.newcomer_status) == ("same", STOPPED)
    import_(database, keys, row("B", PERSON), row("A", PERSON, status="stopped:left"))
    import_(database, keys, row("B"), keyed=False)
    assert statuses(database) == {"A": "stopped:left", "B": STOPPED}
    assert pairs(database) == []


def test_two_people_are_both_active_and_never_asked_about_again(
    database: Database, programme: Programme, keys: Path
) -> None:
    rows = (row("A", PERSON), row("B", PERSON))
    import_(database, keys, *rows)

    assert two_say(database, DIFFERENT).newcomer_status == "active"
    assert import_(database, keys, *rows).changes_anything is False
    for name in ("A", "B"):
        import_(database, keys, row(name, status="held:documents"), keyed=False)
        import_(database, keys, row(name), keyed=False)

    assert statuses(database) == {"A": "active", "B": "active"}
    assert pairs(database) == []
    assert a_planned_run(database, programme).lines == 2


def test_third_of_a_number_is_compared_with_each(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    two_say(database, DIFFERENT)

    import_(database, keys, row("C", PERSON))

    assert pairs(database) == [("C", "A"), ("C", "B")]
    assert two_say(database, DIFFERENT).newcomer_status == DOUBLE
    assert two_say(database, DIFFERENT).newcomer_status == "active"


def test_newcomers_of_one_file_are_compared_with_each_other_once_one_is_active(
    database: Database, programme: Programme, keys: Path
) -> None:
    """In the file each was compared with the first alone."""
    import_(database, keys, row("A", PERSON), row("B", PERSON), row("C", PERSON))
    assert two_say(database, DIFFERENT).newcomer_status == "active"
    with database.reading() as tx:
        (waiting,) = list_conflicts(tx)
    one_says(database, ANA, DIFFERENT, waiting.conflict)

    assert one_says(database, BRUNO, DIFFERENT, waiting.conflict).newcomer_status == DOUBLE

    assert pairs(database) == [("C", "B")]
    assert two_say(database, SAME).newcomer_status == STOPPED
    assert statuses(database) == {"A": "active", "B": "active", "C": STOPPED}


def test_nobody_agrees_with_himself(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    one_says(database, ANA, SAME)

    with pytest.raises(RefusedByState, match="somebody else must find it as well"):
        one_says(database, ANA, SAME)

    assert statuses(database)["B"] == DOUBLE


def test_two_who_disagree_leave_it_open(database: Database, programme: Programme, keys: Path) -> None:
    """The last word stands until somebody else says the same."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    one_says(database, ANA, SAME)

    dissent = one_says(database, BRUNO, DIFFERENT)

    assert (dissent.outcome, dissent.disagrees_with) == ("", ANA)
    assert statuses(database)["B"] == DOUBLE
    third = one_says(database, CARLA, DIFFERENT)
    assert (third.outcome, third.newcomer_status) == ("different", "active")


def test_operator_may_think_again_alone(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    one_says(database, ANA, SAME)

    again = one_says(database, ANA, DIFFERENT)

    assert (again.outcome, again.disagrees_with) == ("", "")
    assert one_says(database, BRUNO, DIFFERENT).outcome == "different"


def test_one_person_can_be_decided_anew_by_two(database: Database, programme: Programme, keys: Path) -> None:
    """A family that was stopped by mistake has a way back, which no single operator opens."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    two_say(database, SAME)

    one_says(database, BRUNO, DIFFERENT, 1)
    assert statuses(database)["B"] == STOPPED
    import_(database, keys, row("B"), keyed=False)
    assert statuses(database)["B"] == DOUBLE

    assert one_says(database, CARLA, DIFFERENT, 1).newcomer_status == "active"


@pytest.mark.parametrize("decision", [SAME, DIFFERENT])
def test_two_people_stay_two_people(
    database: Database, programme: Programme, keys: Path, decision: ConflictDecision
) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    two_say(database, DIFFERENT)

    with pytest.raises(RefusedByState, match="is decided: two people"):
        one_says(database, CARLA, decision, 1)


# The database says so.


def test_database_refuses_a_person_who_is_active_twice(database: Database, programme: Programme, keys: Path) -> None:
    """Whoever writes, and by whatever code."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(sql("UPDATE enrolment SET status = 'active'"))


def test_database_refuses_a_seat_that_nobody_decided(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    one_says(database, ANA, DIFFERENT)

    for seat, name in ((1, "B"), (1, "A"), (2, "B")):  # what one operator found; another's; none
        with pytest.raises(DBAPIError), database.transaction() as tx:
            of_one = f"household_id = (SELECT id FROM household WHERE registration_id = '{name}')"
            tx.connection.execute(sql(f"UPDATE enrolment SET person_seat = {seat} WHERE {of_one}"))


FORGED = [
    "outcome = 'same', decided_by = '{ana}', decided_at = found_at",
    "outcome = 'different', decided_by = '{bruno}', decided_at = found_at",
    "outcome = 'same', decided_at = found_at",
]


@pytest.mark.parametrize("values", FORGED)
def test_database_refuses_an_outcome_that_two_did_not_find(
    database: Database, programme: Programme, keys: Path, values: str
) -> None:
    """By whoever found it first, another than the first, by nobody."""
    import_(database, keys, row("A", PERSON), row("B", PERSON))
    one_says(database, ANA, SAME)

    statement = f"UPDATE enrolment_conflict SET {values.format(ana=ANA, bruno=BRUNO)}"
    with acting_as(ANA, database) as own, pytest.raises(DBAPIError), own.transaction() as tx:
        tx.connection.execute(sql(statement))


FORGED_NAMES = [
    "outcome = 'same', decided_by = 'operator_bruno', decided_at = found_at",
    "first_decision = 'different', first_decided_by = 'operator_bruno', first_decided_at = found_at",
    "first_decision = NULL, first_decided_by = NULL, first_decided_at = NULL",
    "outcome = 'different', first_decision = 'different', decided_by = 'operator_carla', decided_at = found_at",
    "household_id = other_household_id + 10",
    "found_at = found_at + interval '1 day'",
]


@pytest.mark.parametrize("values", FORGED_NAMES)
def test_name_in_a_decision_is_the_sessions_own(postgresql_database: Database, tmp_path: Path, values: str) -> None:
    """Carla has the tables, and can write no other name than hers, nor change what Ana found while agreeing with it."""
    a_programme(postgresql_database)
    init_keys(tmp_path / "keys")
    import_(postgresql_database, tmp_path / "keys", row("A", PERSON), row("B", PERSON))
    one_says(postgresql_database, ANA, SAME)

    with acting_as(CARLA, postgresql_database) as own, pytest.raises(DBAPIError), own.transaction() as tx:
        tx.connection.execute(sql(f"UPDATE enrolment_conflict SET {values}"))


def test_conflict_is_never_deleted(database: Database, programme: Programme, keys: Path) -> None:
    import_(database, keys, row("A", PERSON), row("B", PERSON))

    with pytest.raises(DBAPIError), database.transaction() as tx:
        tx.connection.execute(sql("DELETE FROM enrolment_conflict"))


# A household that moves keeps its months.


@pytest.mark.parametrize("order", ["old city first", "new city first"])
def test_household_that_moves_keeps_its_months_and_its_line(
    database: Database, programme: Programme, keys: Path, order: str
) -> None:
    """Both cities' files have it, with its number; the month that the old one planned is not planned by the new one."""
    import_(database, keys, row("A", PERSON), row("B"), row("C", location=NOGALES))
    planned = a_planned_run(database, programme)
    files = [row("A", PERSON), row("A", PERSON, location=NOGALES)]

    for each in files if order == "old city first" else files[::-1]:
        report = import_(database, keys, each)
        assert report.conflicts == 0

    with database.reading() as tx:
        (family,) = tx.list(Household, Household.registration_id == "A")
        (window,) = tx.list(Enrolment, Enrolment.household_id == family.id)
    assert (window.first_cycle, window.last_cycle, window.status) == ("2026-12", "2027-02", "active")
    assert family.location_code == (NOGALES if order == "old city first" else TIJUANA)
    assert pairs(database) == []
    assert a_planned_run(database, programme, location=NOGALES).lines == 1
    with pytest.raises(NothingToPlan):
        a_planned_run(database, programme, part=None, now=planned.planned_at.replace(day=3))
    with database.reading() as tx:
        assert len(tx.list(Disbursement, Disbursement.household_id == family.id)) == 1


# Keys.


def test_hash_follows_the_key_when_its_row_comes_again(database: Database, programme: Programme, keys: Path) -> None:
    rows = (row("A", PERSON), row("B", SOMEBODY), row("C"))
    import_(database, keys, *rows)
    rotate(keys)

    report = import_(database, keys, rows[0])

    assert (report.rehashed, report.changed, report.changes_anything) == (1, 0, True)
    with database.reading() as tx:
        assert count_by_person_key_version(tx) == {1: 1, 2: 1}
    import_(database, keys, *rows)
    with database.reading() as tx:
        assert count_by_person_key_version(tx) == {2: 2}
    assert not import_(database, keys, *rows).changes_anything


def test_person_who_was_hashed_under_an_earlier_version_is_found(
    database: Database, programme: Programme, keys: Path
) -> None:
    import_(database, keys, row("A", PERSON))
    rotate(keys)

    import_(database, keys, row("B", PERSON))

    assert pairs(database) == [("B", "A")]
    with database.reading() as tx:
        assert count_by_person_key_version(tx) == {2: 2}


def test_family_that_comes_back_without_its_number_is_compared_across_versions(
    database: Database, programme: Programme, keys: Path
) -> None:
    """Its row cannot be hashed anew then: whoever came with the number meanwhile has done it."""
    import_(database, keys, row("A", PERSON, status="held:documents"))
    rotate(keys)
    import_(database, keys, row("B", PERSON))

    import_(database, keys, row("A"), keyed=False)

    assert statuses(database) == {"A": DOUBLE, "B": "active"}


def test_version_that_enrolments_rest_on_must_be_there(database: Database, programme: Programme, keys: Path) -> None:
    """Also where they are stopped: they may come back."""
    import_(database, keys, row("A", PERSON, status="stopped:left"))
    before = everything(database)
    key_path(keys, "person").write_text(f"2 {bytes(range(32)).hex()}\n")

    with pytest.raises(Misconfigured, match="version 1 of the person key is missing, and 1 enrolments rest on it"):
        import_(database, keys, row("B", SOMEBODY))

    assert everything(database) == before
    import_(database, keys, row("B"), keyed=False)


def test_file_without_the_column_needs_no_key(database: Database, programme: Programme, keys: Path) -> None:
    key_path(keys, "person").unlink()

    assert import_(database, keys, row("A"), keyed=False).added == 1
    with pytest.raises(Misconfigured, match="person key"):
        import_(database, keys, row("B"))
    with pytest.raises(RefusedInput, match="line 1, person_key"):
        load(database, keys.parent / "households.csv", programme=None, dry_run=False, show=lambda _: None)


def test_what_is_no_number_is_refused_and_not_repeated(database: Database, programme: Programme, keys: Path) -> None:
    before = everything(database)

    with pytest.raises(RefusedInput) as refused:
        import_(database, keys, row("A", PERSON), row("B", "María Pérez"))

    message = str(refused.value)
    assert message.startswith("households.csv line 3, person_key: must be the number of a document")
    assert "Pérez" not in message
    assert everything(database) == before

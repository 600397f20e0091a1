"""What the database refuses whoever asks: rows that stand for nothing, and taking away what they rest on.

On SQLite by foreign keys, on PostgreSQL by triggers that look at a whole statement.
"""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.storage import Database, describe
from models.tables import Run
from scheduler.plan import line_range
from tests.builders import PAYDAY, TIJUANA, a_planned_run, a_programme, a_released_run, families
from tests.ledger import count

INSERT_VOUCHER = "INSERT INTO voucher (id, key_version) VALUES (:id, 1)"
INSERT_VOUCHERS_OF_ALL = "INSERT INTO voucher (id, key_version) SELECT id, 1 FROM disbursement"
INSERT_LINE = """
INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor) VALUES (:id, 1, :household, :cycle, 1)
"""


def _refused(database: Database, statement: str, **parameters: object) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught, database.transaction() as tx:
        tx.connection.execute(text(statement), parameters)
    return caught.value


def _run_with_two_lines(database: Database, *, released: bool) -> Run:
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    return a_released_run(database, programme) if released else a_planned_run(database, programme, location=TIJUANA)


def test_voucher_without_its_line(database: Database) -> None:
    run = _run_with_two_lines(database, released=True)
    first_id, _ = line_range(run.id)

    error = _refused(database, INSERT_VOUCHER, id=first_id + 2)

    assert isinstance(error, IntegrityError)
    if database.dialect == "postgresql":
        assert describe(error) == ("fk_voucher_id", "23503")
    assert count(database, "SELECT COUNT(*) FROM voucher") == 0


def test_voucher_without_its_line_among_others(database: Database) -> None:
    """The statement as a whole is refused, wherever in it the stray one stands."""
    run = _run_with_two_lines(database, released=True)
    first_id, _ = line_range(run.id)

    for stray in (first_id - 1, first_id + 2, first_id + 9_000_000):
        _refused(database, f"{INSERT_VOUCHERS_OF_ALL} UNION ALL SELECT :stray, 1", stray=stray)

    assert count(database, "SELECT COUNT(*) FROM voucher") == 0


def test_voucher_before_the_release(database: Database) -> None:
    run = _run_with_two_lines(database, released=False)

    _refused(database, INSERT_VOUCHER, id=line_range(run.id)[0])


def test_vouchers_of_two_runs_of_which_one_is_not_released(database: Database) -> None:
    released = _run_with_two_lines(database, released=True)
    programme = a_programme(database, code="other")
    families(database, programme, 2, location=TIJUANA, prefix="O")
    planned = a_planned_run(database, programme, location=TIJUANA)
    assert planned.id > released.id

    _refused(database, INSERT_VOUCHERS_OF_ALL)

    with database.transaction() as tx:  # a run between them that is not asked for stands in nobody's way
        tx.connection.execute(text(INSERT_VOUCHERS_OF_ALL + " WHERE id <= :last"), {"last": line_range(released.id)[1]})
    assert count(database, "SELECT COUNT(*) FROM voucher") == 2


def test_line_without_its_household(database: Database) -> None:
    programme = a_programme(database)
    with database.transaction() as tx:
        run = tx.add(
            Run(
                programme_id=programme.id, location_code=TIJUANA, cycle="2027-01", part=1, opens_at=PAYDAY,
                currency="MXN", value_currency="MXN", round_to_minor=100, validity_days=60, batch_lines_max=10,
                planned_by=tx.operator, planned_at=PAYDAY,
            )
        )  # fmt: skip

    error = _refused(database, INSERT_LINE, id=line_range(run.id)[0], household=999, cycle="2027-01")

    assert isinstance(error, IntegrityError)
    if database.dialect == "postgresql":
        assert describe(error) == ("fk_disbursement_household_id", "23503")


INSERT_HOUSEHOLDS = "INSERT INTO household (registration_id, location_code, members, group_code)"
INSERT_ENROLMENTS = "INSERT INTO enrolment (programme_id, household_id, first_cycle, last_cycle, status, reason_code)"
WINDOW = "first_cycle, last_cycle, status, reason_code FROM enrolment"
#: Statements that leave a row pointing at nothing, alone and among others, and the constraint that refuses each.
RESTING_ON_NOTHING = [
    (f"{INSERT_HOUSEHOLDS} VALUES ('N', '99999', 1, 'pregnant')", "fk_household_location_code"),
    (f"{INSERT_HOUSEHOLDS} VALUES ('N', '02004', 1, 'pregnant'), ('O', '99999', 1, 'pregnant')",
     "fk_household_location_code"),
    ("UPDATE household SET location_code = '99999' WHERE id = 2", "fk_household_location_code"),
    ("UPDATE household SET location_code = CASE WHEN id = 1 THEN '99999' ELSE location_code END",
     "fk_household_location_code"),
    (f"{INSERT_ENROLMENTS} SELECT programme_id, household_id + 2, {WINDOW}", "fk_enrolment_household_id"),
    (f"{INSERT_ENROLMENTS} SELECT programme_id, 0, {WINDOW} WHERE household_id = 1", "fk_enrolment_household_id"),
    (f"{INSERT_ENROLMENTS} SELECT programme_id + 1, household_id, {WINDOW}", "fk_enrolment_programme_id"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "constraint"), RESTING_ON_NOTHING)
def test_family_that_rests_on_nothing(database: Database, statement: str, constraint: str) -> None:
    _run_with_two_lines(database, released=False)

    error = _refused(database, statement)

    assert isinstance(error, IntegrityError)
    if database.dialect == "postgresql":
        assert describe(error) == (constraint, "23503")
    assert count(database, "SELECT COUNT(*) FROM household") == count(database, "SELECT COUNT(*) FROM enrolment") == 2


def test_enrolment_without_its_household_between_others(database: Database) -> None:
    """The check looks from the lowest to the highest of them; what is missing in between counts."""
    families(database, a_programme(database), 1, location=TIJUANA)
    with database.transaction() as tx:
        tx.connection.execute(text("INSERT INTO household VALUES (3, 'N', '02004', 1, 'pregnant')"))
    other = a_programme(database, code="other")
    insert = f"{INSERT_ENROLMENTS} SELECT :other, id, '2026-12', '2026-12', 'active', '' FROM household"

    _refused(database, f"{insert} UNION ALL SELECT :other, 2, '2026-12', '2026-12', 'active', ''", other=other.id)

    with database.transaction() as tx:
        tx.connection.execute(text(insert), {"other": other.id})
    assert count(database, f"SELECT COUNT(*) FROM enrolment WHERE programme_id = {other.id}") == 2


#: What families rest on, and how it could go away.
TAKING_AWAY = [
    "DELETE FROM location",
    "DELETE FROM location WHERE code = '02004'",
    "UPDATE location SET code = '99999' WHERE code = '02004'",
    "DELETE FROM programme",
    "UPDATE programme SET id = id + 1000",
    "UPDATE enrolment SET household_id = household_id + 1000",
    "UPDATE enrolment SET programme_id = programme_id + 1000",
]


@pytest.mark.parametrize("statement", TAKING_AWAY)
def test_what_families_rest_on_stays(database: Database, statement: str) -> None:
    """Whatever else may still point at it."""
    _run_with_two_lines(database, released=False)

    error = _refused(database, statement)

    if database.dialect == "postgresql":
        assert describe(error)[1] == "23001"


@pytest.mark.parametrize("table", ["location", "programme", "household"])
def test_what_families_rest_on_is_not_emptied(postgresql_database: Database, table: str) -> None:
    _run_with_two_lines(postgresql_database, released=False)

    error = _refused(postgresql_database, f"TRUNCATE {table} CASCADE")

    assert describe(error)[1] == "23001"


def test_released_run_is_never_unreleased(postgresql_database: Database) -> None:
    """Its lines could be deleted then, under their vouchers."""
    _run_with_two_lines(postgresql_database, released=True)

    _refused(postgresql_database, "UPDATE run SET state = 'planned'")


def test_household_keeps_its_id(postgresql_database: Database) -> None:
    _run_with_two_lines(postgresql_database, released=False)
    with postgresql_database.transaction() as tx:
        tx.connection.execute(text("DELETE FROM enrolment"))

    _refused(postgresql_database, "UPDATE household SET id = id + 1000")


def test_household_with_a_line_is_not_deleted(database: Database) -> None:
    _run_with_two_lines(database, released=False)
    with database.transaction() as tx:
        tx.connection.execute(text("DELETE FROM enrolment"))

    _refused(database, "DELETE FROM household")


def test_lines_go_with_their_run_alone(database: Database) -> None:
    """A discard deletes the run first, and so holds it: nobody releases what is losing its lines."""
    _run_with_two_lines(database, released=False)

    _refused(database, "DELETE FROM disbursement")
    if database.dialect == "postgresql":
        _refused(database, "DELETE FROM batch; DELETE FROM run_group; DELETE FROM run_amount; DELETE FROM run")

    assert count(database, "SELECT COUNT(*) FROM disbursement") == 2

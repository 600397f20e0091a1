"""What the database refuses whoever asks: vouchers and lines that stand for nothing, and taking away what they rest on.

On SQLite by foreign keys, on PostgreSQL by triggers that look at a whole statement.
"""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from models.storage import Database, describe
from models.tables import Run
from scheduler.plan import line_range
from tests.builders import TIJUANA, a_planned_run, a_programme, a_released_run, families
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
    run = _run_with_two_lines(database, released=False)

    error = _refused(database, INSERT_LINE, id=line_range(run.id)[0] + 2, household=999, cycle="2027-01")

    assert isinstance(error, IntegrityError)
    if database.dialect == "postgresql":
        assert describe(error) == ("fk_disbursement_household_id", "23503")


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


def test_lines_under_delete_are_not_released_meanwhile(postgresql_database: Database) -> None:
    """As the foreign key had it: who deletes lines holds their run until it is over."""
    database = postgresql_database
    run = _run_with_two_lines(database, released=False)

    with database.transaction() as deleting:
        deleting.connection.execute(text("DELETE FROM disbursement"))
        error = _refused(database, "SELECT id FROM run WHERE id = :run_id FOR NO KEY UPDATE NOWAIT", run_id=run.id)

    assert describe(error)[1] == "55P03"

"""What is done for a batch must not grow with the vouchers that there are, nor for a city with all other cities."""

import pytest
from sqlalchemy import text

from models.cases import LIST_CALLED
from models.storage import Database, Query
from scheduler.due import COUNT_ENTITLED, EXISTS_ENTITLED
from scheduler.plan import COUNT_HELD_ELSEWHERE, INSERT_LINES
from scheduler.preview import COUNT_BY_GROUP, COUNT_LEFT_OUT
from scheduler.sweep import LIST_UNSETTLED
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families
from workers.credit import INSERT_VOUCHERS, SUM_VOUCHERS
from workers.issuers.calls import LIST_LINES
from workers.outside import INSERT_CREDITED

FAMILIES, BATCH_LINES = 20_000, 1_000


@pytest.mark.parametrize(
    "query",
    [INSERT_VOUCHERS, SUM_VOUCHERS, INSERT_CREDITED, LIST_LINES, LIST_UNSETTLED, LIST_CALLED],
    ids=lambda query: query.name,
)
def test_a_batch_does_not_read_all_vouchers(query: Query, postgresql_database: Database) -> None:
    database = postgresql_database
    programme = a_programme(database)
    families(database, programme, FAMILIES, location=TIJUANA)
    batch = batches_of(database, a_released_run(database, programme, batch_lines=BATCH_LINES))[-1]
    with database.transaction() as tx:
        credited = "INSERT INTO voucher SELECT id, 1, 1 FROM disbursement WHERE id < :first_id"
        tx.connection.execute(text(credited), {"first_id": batch.first_id})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE voucher, disbursement"))
        plan = connection.execute(
            text(f"EXPLAIN {query.on('postgresql')}"),
            {
                "first_id": batch.first_id, "last_id": batch.last_id, "batch_id": batch.id, "run_id": batch.run_id,
                "key_version": 1, "not_called": "",
            },
        ).scalars()  # fmt: skip
        lines = list(plan)

    assert any("pk_voucher" in line for line in lines), lines
    assert not any("Seq Scan on voucher" in line for line in lines), lines


@pytest.mark.parametrize("query", [INSERT_VOUCHERS, INSERT_CREDITED, LIST_UNSETTLED, LIST_CALLED], ids=lambda q: q.name)
def test_a_batch_is_not_read_once_for_each_of_its_lines(query: Query, postgresql_database: Database) -> None:
    """Also where PostgreSQL knows nothing of the tables, and takes a batch for a line or two."""
    database = postgresql_database
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    batch = batches_of(database, a_released_run(database, programme))[-1]

    with database.reading() as tx:
        plan = tx.connection.execute(
            text(f"EXPLAIN {query.on('postgresql')}"),
            {"first_id": batch.first_id, "last_id": batch.last_id, "batch_id": batch.id, "run_id": batch.run_id,
             "key_version": 1},
        ).scalars()  # fmt: skip
        lines = list(plan)

    assert any("hashed SubPlan" in line for line in lines), lines


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "query",
    [INSERT_LINES, COUNT_ENTITLED, EXISTS_ENTITLED, COUNT_HELD_ELSEWHERE, COUNT_BY_GROUP, COUNT_LEFT_OUT],
    ids=lambda query: query.name,
)
def test_a_city_is_found_by_its_place_on_sqlite(query: Query, database: Database) -> None:
    """Not among the families of all cities: SQLite counts no rows, and takes whichever index comes first."""
    with database.reading() as tx:
        steps = tx.connection.execute(
            text(f"EXPLAIN QUERY PLAN {query.on('sqlite')}"),
            {"programme_id": 1, "location_code": TIJUANA, "cycle": "2026-10", "run_id": 1, "first_id": 1},
        ).all()

    searches = [step.detail for step in steps if "SEARCH" in step.detail]
    assert "ix_household_location_code" in searches[0], searches
    scans = [step.detail for step in steps if step.detail.startswith(("SCAN h", "SCAN e", "SCAN d"))]
    assert scans == []

"""What is done for a batch must not grow with the vouchers that there are, nor for a city with all other cities."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from models.cases import LIST_CALLED
from models.states import GROUPS
from models.storage import Database, Query
from scheduler import measures
from scheduler.batches import places_of
from scheduler.due import COUNT_ENTITLED, EXISTS_ENTITLED
from scheduler.plan import COUNT_HELD_ELSEWHERE, INSERT_LINES, INSERT_LINES_BY_CLASS
from scheduler.preview import COUNT_LEFT_OUT
from scheduler.sweep import LIST_UNSETTLED
from tests.builders import PAYDAY, TIJUANA, a_programme, a_released_run, batches_of, families
from tests.conftest import url_of
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
                "key_version": 1, "not_called": "", "forgotten_cycle": "",
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
             "key_version": 1, "forgotten_cycle": ""},
        ).scalars()  # fmt: skip
        lines = list(plan)

    assert any("hashed SubPlan" in line for line in lines), lines


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "query",
    [INSERT_LINES, INSERT_LINES_BY_CLASS, COUNT_ENTITLED, EXISTS_ENTITLED, COUNT_HELD_ELSEWHERE, COUNT_LEFT_OUT],
    ids=lambda query: query.name,
)
def test_a_city_is_found_by_its_place_on_sqlite(query: Query, database: Database) -> None:
    """Not among the families of all cities: SQLite counts no rows, and takes whichever index comes first."""
    with database.reading() as tx:
        steps = tx.connection.execute(
            text(f"EXPLAIN QUERY PLAN {query.on('sqlite')}"),
            {
                "programme_id": 1,
                "location_code": TIJUANA,
                "cycle": "2026-10",
                "run_id": 1,
                "first_id": 1,
                **places_of([frozenset(GROUPS)]),
            },
        ).all()

    searches = [step.detail for step in steps if "SEARCH" in step.detail]
    assert "ix_household_location_code" in searches[0], searches
    scans = [step.detail for step in steps if step.detail.startswith(("SCAN h", "SCAN e", "SCAN d"))]
    assert scans == []


#: What grows with the months: no figure for a dashboard may go through it once a minute.
GROWING = ("batch", "cases", "notice", "disbursement", "voucher", "journal", "seal", "transfer", "household", "run")
A_YEAR = """
SET LOCAL session_replication_role = replica;
INSERT INTO location SELECT lpad(n::text, 5, '0'), 'city', '-', 'America/Tijuana' FROM generate_series(50001, 50060) n;
INSERT INTO programme_location SELECT 1, lpad(n::text, 5, '0'), '2021-01' FROM generate_series(50001, 50060) n;
INSERT INTO store (id, name, location_code, url, active, secret_version, failures)
SELECT n::text, '-', n::text, '-', true, 1, 0 FROM generate_series(50001, 50060) n;
INSERT INTO run (programme_id, location_code, cycle, part, state, late, opens_at, lines, planned_minor, digest,
                 currency, value_currency, rate_source, rate_date, round_to_minor, validity_days, batch_lines_max,
                 planned_by, planned_at, completed_at, blocked)
SELECT 1, n::text, to_char(month, 'YYYY-MM'), 1, 'completed', false, month, 0, 0, '', 'MXN', 'MXN', '', '', 1, 60, 10,
       'x', month, month, ''
FROM generate_series(50001, 50060) n, generate_series('2022-01-01'::timestamptz, '2026-12-01', '1 month') month;
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error, credited,
                   credited_minor, credited_at)
SELECT id, id * 10000000 + 10 * n, id * 10000000 + 10 * n + 9, 10, 10, '', 'done', 1, '', 10, 10, planned_at
FROM run, generate_series(1, 20) n;
INSERT INTO notice (run_id, store_id, number, webhook_id, vouchers, amount_minor, state, attempts, made_at,
                    next_attempt_at, last_error)
SELECT id, location_code, n, id || '-' || n, 1, 1, 'delivered', 1, planned_at, planned_at, ''
FROM run, generate_series(1, 5) n;
INSERT INTO journal (event, level, run_id, recorded_at, fields)
SELECT 'run.planned', 'info', 1, now(), '{}' FROM generate_series(1, 100000);
INSERT INTO seal SELECT id, id, id::text, id::text FROM journal;
"""


@pytest.fixture(scope="module")
def years(postgresql: str) -> Iterator[Database]:
    """Sixty cities over five years."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE years TEMPLATE migrated")
        database = Database(url_of(postgresql, "years"))
        a_programme(database, cities=())
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
            session.exec_driver_sql(A_YEAR)
            session.exec_driver_sql("VACUUM ANALYZE")
        yield database
        database.close()
        connection.execute("DROP DATABASE years WITH (FORCE)")


@pytest.mark.parametrize(
    "query",
    [value for name, value in vars(measures).items() if name.startswith("MEASURE_")],
    ids=lambda query: query.name,
)
def test_what_metrics_say_is_not_looked_for_in_all_months(query: Query, years: Database) -> None:
    """An index leads to it. While tables are small PostgreSQL may rightly go through them: here it is told not to."""
    with years.reading() as tx:
        tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = tx.connection.execute(
            text(f"EXPLAIN {query.on('postgresql')}"),
            {"since_cycle": "2026-11", "now": PAYDAY, "payday_at": PAYDAY, "since_at": PAYDAY, "yes": True,
             "after_id": 90_000},
        ).scalars()  # fmt: skip
        lines = list(plan)

    assert not [line for line in lines for table in GROWING if f"Seq Scan on {table} " in line], lines
    if query is measures.MEASURE_UNSEALED:  # an index can be gone through from its first entry, too
        conditions = [line for line in lines if "Index Cond: " in line and "> 90000" in line]
        assert len(conditions) == 2, lines

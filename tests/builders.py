"""Programmes, families and runs for tests, written straight into the tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import text as sql

from models import books
from models.calendar import Cycle, local_cycle, zone
from models.events import FundDeposited
from models.journal import append
from models.states import GROUPS
from models.storage import Database, Tx
from models.tables import (
    Batch,
    Case,
    ExchangeRate,
    Fund,
    Issuer,
    Location,
    Notice,
    Programme,
    ProgrammeLocation,
    Run,
    Store,
    Transfer,
    Voucher,
)
from scheduler.approve import approve_by_policy
from scheduler.plan import plan_slot
from scheduler.release import release

#: The cities of the programme, with their time zones.
CITIES = (
    ("02004", "Tijuana", "America/Tijuana"),
    ("02002", "Mexicali", "America/Tijuana"),
    ("26043", "Nogales", "America/Hermosillo"),
    ("08037", "Juárez", "America/Ciudad_Juarez"),
    ("05025", "Piedras Negras", "America/Matamoros"),
    ("28027", "Nuevo Laredo", "America/Matamoros"),
    ("28022", "Matamoros", "America/Matamoros"),
)
TIJUANA = "02004"
NOGALES = "26043"
CYCLE = Cycle(2026, 12)
#: 20:00 UTC on the first of the cycle: the payday has come in every city.
PAYDAY = datetime(2026, 12, 1, 20, tzinfo=UTC)
PLENTY_MINOR = 10**12


def a_programme(
    database: Database,
    *,
    cities: Sequence[tuple[str, str, str]] = CITIES,
    approval: str = "policy",
    funds_minor: Sequence[int] = (PLENTY_MINOR,),
    store_url: str = "http://127.0.0.1:9/{store}",
    stores: int = 1,
    code: str = "northern-mexico",
) -> Programme:
    """A programme in MXN without conversion: 500.00 a family and 100.00 a member, up to 1,500.00."""
    with database.transaction() as tx:
        programme = tx.add(
            Programme(
                code=code, name=code, currency="MXN", value_currency="MXN", base_minor=50_000, per_member_minor=10_000,
                cap_minor=150_000, round_to_minor=100, cycles=3, validity_days=60, payday_day=1, payday_time="09:00",
                approval=approval, policy_run_max_minor=10**12, permitted_goods='["food"]',
                excluded_goods='["alcohol"]',
            )
        )  # fmt: skip
        for location_code, name, zone in cities:
            if tx.find(Location, Location.code == location_code) is None:
                tx.add(Location(code=location_code, name=name, state="-", time_zone=zone))
            tx.add(ProgrammeLocation(programme_id=programme.id, location_code=location_code, first_cycle="2026-10"))
            for number in range(1, stores + 1):
                store = f"{code[:3]}-{location_code}-{number}"
                url = store_url.format(store=store)
                tx.add(Store(id=store, name=store, location_code=location_code, url=url, active=True, secret_version=1))
        for position, amount_minor in enumerate(funds_minor, start=1):
            fund = tx.add(
                Fund(
                    programme_id=programme.id, code=f"fund-{position}", donor=f"Donor {position}", currency="MXN",
                    position=position, balance_minor=0,
                )
            )  # fmt: skip
            give(tx, programme, fund, amount_minor)
    return programme


def give(tx: Tx, programme: Programme, fund: Fund, amount_minor: int) -> None:
    """A deposit, with its event, as an import has it."""
    books.deposit(tx, fund_id=fund.id, amount_minor=amount_minor, currency="MXN")
    append(
        tx,
        FundDeposited(
            programme=programme.code, fund=fund.code, amount_minor=amount_minor,
            balance_minor=fund.balance_minor + amount_minor, currency="MXN", operator="builder",
        ),
    )  # fmt: skip


def an_issuer(
    database: Database, programme: Programme, url: str, *, calls_max: int = 64, key_window_hours: int = 168
) -> None:
    """From now on the programme's vouchers are credited by an outside issuer."""
    with database.transaction() as tx:
        tx.add(Issuer(programme_id=programme.id, url=url, calls_max=calls_max, key_window_hours=key_window_hours))


def families(
    database: Database,
    programme: Programme,
    count: int,
    *,
    location: str | None = None,
    first_cycle: Cycle = CYCLE,
    cycles: int = 3,
    status: str = "active",
    prefix: str = "R",
) -> list[str]:
    """Enrolled families, in one location or spread over the cities. Returns their registration ids."""
    cities = [location] if location else [code for code, _, _ in CITIES]
    prefix = f"{prefix}-{location or 'ALL'}"
    values: dict[str, object] = {
        "prefix": prefix, "count": count, "programme_id": programme.id, "first_cycle": str(first_cycle),
        "last_cycle": str(first_cycle.plus(cycles - 1)), "status": status,
        "reason_code": "" if status == "active" else "moved",
    }  # fmt: skip
    with database.transaction() as tx:
        tx.allow_long_statement()
        for statement in (_HOUSEHOLDS.format(cities=_numbered(cities), groups=_numbered(GROUPS)), _ENROLMENTS):
            tx.connection.execute(sql(statement), values)
    return [f"{prefix}-{number:07}" for number in range(count)]


#: Families by the million, too: the bigger campaigns need them.
_HOUSEHOLDS = """
WITH RECURSIVE counted(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM counted WHERE i + 1 < :count),
     city(number, code) AS (VALUES {cities}), community(number, code) AS (VALUES {groups})
INSERT INTO household (registration_id, location_code, members, group_code)
SELECT :prefix || '-' || substr(CAST(10000000 + i AS TEXT), 2), city.code, i % 9 + 1, community.code
FROM counted JOIN city ON city.number = i % (SELECT COUNT(*) FROM city)
             JOIN community ON community.number = i % (SELECT COUNT(*) FROM community)
WHERE i < :count ORDER BY i
"""
_ENROLMENTS = """
INSERT INTO enrolment (programme_id, household_id, first_cycle, last_cycle, status, reason_code)
SELECT :programme_id, id, :first_cycle, :last_cycle, :status, :reason_code FROM household
WHERE registration_id LIKE :prefix || '-%' ORDER BY id
"""


def _numbered(codes: Sequence[str]) -> str:
    return ", ".join(f"({number}, '{code}')" for number, code in enumerate(codes))


def cycle_due(now: datetime) -> Cycle:
    """The month whose payday has come in all cities, where it is early on the first.

    It is that of the city whose midnight comes last: further east it may be the month before, which is caught up.
    """
    return local_cycle(now, zone("America/Tijuana"))


def families_due(database: Database, programme: Programme, count: int, *, now: datetime) -> Cycle:
    """Families in all cities, with one month each, whose payday has come everywhere where it is early on the first.

    A second month would be paid in the east during the hours between the midnights.
    """
    cycle = cycle_due(now)
    families(database, programme, count, first_cycle=cycle, cycles=1)
    return cycle


def a_planned_run(
    database: Database,
    programme: Programme,
    *,
    location: str = TIJUANA,
    cycle: Cycle = CYCLE,
    batch_lines: int = 10,
    now: datetime = PAYDAY,
    part: int | None = 1,
) -> Run:
    """The run of a slot, planned now."""
    with database.transaction() as tx:
        return plan_slot(
            tx, programme, location_code=location, cycle=cycle, now=now, batch_lines=batch_lines, part=part
        ).run


def a_released_run(
    database: Database, programme: Programme, *, location: str = TIJUANA, batch_lines: int = 10, now: datetime = PAYDAY
) -> Run:
    """A run whose batches are open."""
    run = a_planned_run(database, programme, location=location, batch_lines=batch_lines, now=now)
    with database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=now) == ""
        return release(tx, run.id, now=now)


def batches_of(database: Database, run: Run) -> list[Batch]:
    """A run's batches, in order."""
    with database.reading() as tx:
        return tx.list(Batch, Batch.run_id == run.id, order=[Batch.first_id])


def vouchers_of(database: Database, run: Run | None = None) -> list[int]:
    """The ids of the vouchers of a run, or of all runs."""
    with database.reading() as tx:
        vouchers = tx.list(Voucher, limit=1_000_000)
    return [each.id for each in vouchers if run is None or each.id // 10_000_000 == run.id]


def cases_of(database: Database, run: Run) -> list[Case]:
    """A run's cases, open and closed."""
    with database.reading() as tx:
        return tx.list(Case, Case.run_id == run.id)


def notices_of(database: Database, run: Run | None = None) -> list[Notice]:
    """The notices of a run, or of all runs."""
    with database.reading() as tx:
        return tx.list(Notice, *([] if run is None else [Notice.run_id == run.id]))


def run_again(database: Database, run: Run) -> Run:
    """The run as it is now."""
    with database.reading() as tx:
        return tx.get(Run, Run.id == run.id)


def fund_balance_minor(database: Database, programme: Programme) -> int:
    """The free money of a programme."""
    with database.reading() as tx:
        return sum(fund.balance_minor for fund in tx.list(Fund, Fund.programme_id == programme.id))


def transferred_minor(database: Database, kind: str) -> int:
    """The sum of all transfers of a kind."""
    with database.reading() as tx:
        return sum(each.amount_minor for each in tx.list(Transfer, Transfer.kind == kind, limit=1_000_000))


def a_rate(tx: Tx, programme: Programme, *, cycle: Cycle = CYCLE, millionths: int = 17_500_000) -> ExchangeRate:
    """A rate from USD to MXN."""
    return tx.add(
        ExchangeRate(
            programme_id=programme.id, cycle=str(cycle), from_currency="USD", to_currency="MXN",
            rate_millionths=millionths, source="test", rate_date="2026-11-30",
        )
    )  # fmt: skip


@contextmanager
def without_guards(tx: Tx, *tables: str) -> Iterator[None]:
    """Lets a test write what the database refuses to everybody: a fault, or what another login would have done."""
    if tx.dialect == "postgresql":
        tx.connection.execute(sql("SET LOCAL session_replication_role = replica"))
        yield
        tx.connection.execute(sql("SET LOCAL session_replication_role = origin"))
        return
    triggers = [
        row
        for row in tx.connection.execute(sql("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'trigger'"))
        if row.tbl_name in tables
    ]
    for trigger in triggers:
        tx.connection.execute(sql(f"DROP TRIGGER {trigger.name}"))
    yield
    for trigger in triggers:
        tx.connection.exec_driver_sql(trigger.sql)


def as_if_planned_by_another(database: Database, run: Run | None = None) -> None:
    """A run, or all of them: so that who runs the tests may approve."""
    with database.transaction() as tx, without_guards(tx, "run"):
        runs = tx.list(Run, *([] if run is None else [Run.id == run.id]))
        for each in runs:
            each.planned_by = "planner"
            tx.update(each, ["planned_by"])

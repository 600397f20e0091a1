"""Crediting released runs, and the whole month from plan to last notice, against the limit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import update

from models.calendar import Cycle
from models.settings import Settings
from models.storage import Database
from models.tables import Programme, ProgrammeLocation
from scheduler.approve import approve_by_policy
from scheduler.plan import plan_slot
from scheduler.release import release
from tests.benchmarks.limits import Rows, copy, read_rows
from tests.benchmarks.samples import Sample, alternate, table
from tests.benchmarks.site import Crew, Site, seconds_between, verify, wait_for_month
from tests.builders import CITIES, a_programme, cycle_due, families_due
from tests.fakes import FakeStore

WORKERS = 2
#: From the first plan to the last store that was told.
MONTH = "(SELECT MAX(delivered_at) FROM notice) - (SELECT MIN(planned_at) FROM run)"
#: From the first message to the last batch.
CREDITS = "(SELECT MAX(credited_at) FROM batch) - (SELECT MIN(stamped_at) FROM batch)"

Tell = Callable[[str], None]


def credit(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """Two workers on released runs, against COPY of the same vouchers."""
    with FakeStore.open() as store, released(site, store, families) as template:
        rows = _finish(site, template, families=families, lines=False)
        _compare(site, rows, template=template, families=families, rounds=rounds, tell=tell, lasting=CREDITS)


def month(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """Plan to last notice, against COPY of the same lines and vouchers."""
    with FakeStore.open() as store, enrolled(site, store, families) as template:
        rows = _finish(site, template, families=families, lines=True)
        _compare(site, rows, template=template, families=families, rounds=rounds, tell=tell, lasting=MONTH)


def _finish(site: Site, template: str, *, families: int, lines: bool) -> Rows:
    """Work the month off once, which also warms everything up, and return its rows."""
    with site.database(template=template) as (name, database):
        work_month(site, name, database, families=families, lasting=MONTH)
        return read_rows(site, name, lines=lines)


def _compare(site: Site, rows: Rows, *, template: str, families: int, rounds: int, tell: Tell, lasting: str) -> None:
    def copied(clients: int) -> Sample:
        with site.database(template=template) as (name, _):
            return copy(site, name, rows, clients=clients, families=families)

    def worked() -> Sample:
        with site.database(template=template) as (name, database):
            return work_month(site, name, database, families=families, lasting=lasting)

    samples = alternate(
        {"limit: COPY, one client": lambda: copied(1), "limit: COPY, two clients": lambda: copied(2),
         f"despensa, {WORKERS} workers": worked},
        rounds=rounds, tell=tell,
    )  # fmt: skip
    for line in table(samples, against="limit: COPY, two clients"):
        tell(line)


def work_month(
    site: Site, name: str, database: Database, *, families: int, lasting: str, workers: int = WORKERS,
    schedulers: int = 1,
) -> Sample:  # fmt: skip
    """Have a database's month worked off, and its books verified. `lasting` is what its duration is, in SQL."""
    with Crew.open(site, name) as crew:
        crew.start_workers(database, workers)
        wal, cpu, ours = site.wal_bytes(), site.cpu_s(), crew.cpu_s()
        for _ in range(schedulers):
            crew.start("scheduler")
        wait_for_month(database, runs=len(CITIES))
        sample = Sample(
            families, seconds_between(database, lasting), site.cpu_s() - cpu, crew.cpu_s() - ours,
            site.wal_bytes() - wal,
        )  # fmt: skip
    verify(database, families=families)
    return sample


@contextmanager
def enrolled(site: Site, store: FakeStore, families: int) -> Iterator[str]:
    """The name of a database with families in seven cities, whose payday has come; with no session on it."""
    with site.database() as (name, database):
        enrol(database, store, families)
        database.close()  # a database is copied only while nobody is connected to it
        yield name


def enrol(database: Database, store: FakeStore, families: int) -> None:
    """Families in seven cities, whose payday has come."""
    families_due(database, programme_due(database, store), families, now=datetime.now(UTC))
    with database.transaction() as tx:
        tx.refresh_statistics("household", "enrolment")


@contextmanager
def released(site: Site, store: FakeStore, families: int) -> Iterator[str]:
    """As `enrolled`, with every city's run released."""
    with enrolled(site, store, families) as template, site.database(template=template) as (name, database):
        release_all(database)
        database.close()
        yield name


def programme_due(database: Database, store: FakeStore) -> Programme:
    """The programme in seven cities, a store in each, that begins with this month and whose payday has come.

    Lately: on the last days before the next one, a scheduler counts next month's families. Earlier months would be
    looked through for families, too.
    """
    now = datetime.now(UTC)
    programme = a_programme(database, stores=1, store_url=store.url)
    with database.transaction() as tx:
        # The day before, so that it has come in every time zone; a payday is one of the days that each month has.
        tx.connection.execute(update(Programme).values(payday_day=max(1, min(now.day - 1, 28)), payday_time="00:00"))
        tx.connection.execute(update(ProgrammeLocation).values(first_cycle=str(cycle_due(now))))
    return programme


def release_all(database: Database) -> None:
    """Every city's run, as one scheduler makes them with the settings as they come."""
    now = datetime.now(UTC)
    with database.reading() as tx:
        programme = tx.get(Programme)
        cycle = Cycle.parse(str(tx.connection.exec_driver_sql("SELECT MIN(first_cycle) FROM enrolment").scalar_one()))
    for location_code, _, _ in CITIES:
        with database.transaction() as tx:
            run = plan_slot(
                tx, programme, location_code=location_code, cycle=cycle, now=now, batch_lines=Settings().batch_lines
            ).run
            assert approve_by_policy(tx, run.id, now=now) == ""
            release(tx, run.id, now=now)

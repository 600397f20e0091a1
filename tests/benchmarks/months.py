"""Month after month in the same database: whether the last of three years is as fast as the first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from models.calendar import Cycle
from models.storage import Database
from models.tables import AMOUNT_MINOR_MAX
from tests.benchmarks.ahead import set_ahead
from tests.benchmarks.month import WORKERS, Tell
from tests.benchmarks.samples import Sample, spread
from tests.benchmarks.site import Crew, Site, seconds_between, verify, wait_for_month
from tests.builders import CITIES, CYCLE, a_programme
from tests.builders import families as enrol
from tests.fakes import FakeStore
from tests.ledger import count

MONTHS = 36
#: So that months 2 to 4 are there. The first finds every table empty, and stands alone.
MONTHS_MIN = 4
SHOWN_EVERY = 6
TABLES_SHOWN = 8

SIZES = """
SELECT relname, reltuples::bigint, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY pg_total_relation_size(oid) DESC LIMIT %s
"""


def months(site: Site, *, families: int, rounds: int, tell: Tell, number: int = MONTHS) -> None:
    """The same families in so many months, one straight after the other; the same workers and scheduler for all.

    The scheduler's clock is moved on to the next payday as soon as a month's stores are told, so that autovacuum, left
    as PostgreSQL has it, comes for one month while the next is at work. A month lasts from its first plan to the last
    store told, as in `month`. After each, all families have one voucher more; after the first and the last every book
    is verified.
    """
    samples: list[list[Sample]] = []
    sizes: list[str] = []
    with FakeStore.open() as store:
        for each in range(rounds):
            with site.database() as (name, database):
                samples.append(_work(site, name, database, store, families=families, number=number))
                sizes = _sizes(site, name, families=families * number)
            for line in _compare(samples[-1:], head=f"round {each + 1}: "):
                tell(line)
    for line in [*_table(samples), "", *_compare(samples, head=""), "", *sizes]:
        tell(line)


def _work(site: Site, name: str, database: Database, store: FakeStore, *, families: int, number: int) -> list[Sample]:
    programme = a_programme(database, stores=1, store_url=store.url, funds_minor=[AMOUNT_MINOR_MAX])
    enrol(database, programme, families, cycles=number)
    with database.transaction() as tx:
        tx.refresh_statistics("household", "enrolment")
    samples: list[Sample] = []
    ahead = site.folder / f"{name}.ahead"
    with Crew.open(site, name) as crew:
        crew.start_workers(database, WORKERS)
        for month in range(number):
            cycle = CYCLE.plus(month)
            wal, cpu, ours = site.wal_bytes(), site.cpu_s(), crew.cpu_s()
            ahead_s = _ahead_s(cycle)
            set_ahead(ahead, ahead_s)
            if month == 0:
                crew.start_python("scheduler", "-m", "tests.benchmarks.ahead", str(ahead))
            wait_for_month(database, runs=len(CITIES) * (month + 1))
            samples.append(
                Sample(
                    families, seconds_between(database, _lasting(cycle, ahead_s)), site.cpu_s() - cpu,
                    crew.cpu_s() - ours, site.wal_bytes() - wal,
                )
            )  # fmt: skip
            credited = count(database, "SELECT SUM(credited) FROM batch")
            assert credited == families * (month + 1), f"{families} families, {credited} credited by {cycle}"
            if month in (0, number - 1):
                verify(database, families=credited)
    return samples


def _ahead_s(cycle: Cycle) -> int:
    """To an hour at which the payday has come in every city, and it is still the same day."""
    return round((datetime(cycle.year, cycle.month, 1, 20, tzinfo=UTC) - datetime.now(UTC)).total_seconds())


def _lasting(cycle: Cycle, ahead_s: int) -> str:
    """Host and database are on one machine here: planned_at, by the clock that is ahead, is set back."""
    of_cycle = f"FROM run r LEFT JOIN notice n ON n.run_id = r.id WHERE r.cycle = '{cycle}'"
    return f"SELECT MAX(n.delivered_at) - MIN(r.planned_at) + make_interval(secs => {ahead_s}) {of_cycle}"


def _shown(number: int) -> list[int]:
    """The first three, every sixth, and the last three, counted from one."""
    return [month for month in range(1, number + 1) if month <= 3 or month % SHOWN_EVERY == 0 or month > number - 3]


def _table(samples: Sequence[Sequence[Sample]]) -> list[str]:
    head = f"{'month':>5}  {'families/s (range)':>28}  {'time / month 1 (range)':>22}  {'CPU µs':>9}  {'WAL B':>6}"
    lines = [head, "-" * len(head)]
    for month in _shown(len(samples[0])):
        runs = [of_round[month - 1] for of_round in samples]
        times = [run.seconds / of_round[0].seconds for run, of_round in zip(runs, samples, strict=True)]
        server, ours, wal = (
            median(part / runs[0].families for part in parts)
            for parts in (
                [run.postgresql_cpu_s * 1e6 for run in runs], [run.worker_cpu_s * 1e6 for run in runs],
                [run.wal_bytes for run in runs],
            )
        )  # fmt: skip
        lines.append(
            f"{month:>5}  {spread([run.rate for run in runs]):>28}  {spread(times, '.3f'):>22}"
            f"  {f'{server:,.0f} + {ours:,.0f}':>9}  {wal:>6,.0f}"
        )
    return lines


def _compare(samples: Sequence[Sequence[Sample]], *, head: str) -> list[str]:
    """What the last three months took, in time and in PostgreSQL's processor time, against the first ones."""
    number = len(samples[0])
    lines = []
    for what, of in (("time", "seconds"), ("PostgreSQL's processor time", "postgresql_cpu_s")):
        last, early, first = (
            [median(getattr(run, of) for run in of_round[begin:end]) for of_round in samples]
            for begin, end in ((-3, None), (1, 4), (0, 1))
        )
        to_early, to_first = (
            spread([mine / other for mine, other in zip(last, others, strict=True)], ".3f") for others in (early, first)
        )
        lines.append(
            f"{head}{what}, months {number - 2} to {number}: {to_early} of months 2 to 4, {to_first} of month 1"
        )
    return lines


def _sizes(site: Site, name: str, *, families: int) -> list[str]:
    head = f"{'table':<16}  {'rows':>11}  {'MB':>9}  {'indexes MB':>10}  {'B a voucher':>11}"
    lines = [head, "-" * len(head)]
    with site.connect(name) as connection:
        connection.execute("ANALYZE")  # its estimates of rows are what is shown
        rows = connection.execute(SIZES, [TABLES_SHOWN]).fetchall()
    for table, tuples, table_bytes, index_bytes in rows:
        held, indexed = int(str(table_bytes)), int(str(index_bytes))
        lines.append(
            f"{table:<16}  {int(str(tuples)):>11,}  {held / 1e6:>9,.1f}  {indexed / 1e6:>10,.1f}"
            f"  {(held + indexed) / families:>11,.0f}"
        )
    return lines

"""One month at several sizes, import included: what a family costs where there are thirty times as many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

from models.calendar import Cycle
from models.states import GROUPS
from tests.benchmarks.month import MONTH, WORKERS, Tell, programme_due
from tests.benchmarks.samples import Sample, alternate, spread
from tests.benchmarks.site import Crew, Site, seconds_between, verify, wait_for_month
from tests.benchmarks.watch import RedisWatch
from tests.builders import CITIES, cycle_due
from tests.fakes import FakeStore
from tests.ledger import count

#: Of three million families: ten thousand, a hundred thousand, a million, and all.
PARTS = (300, 30, 3, 1)
#: Ratios are to this one.
BASE_PART = 30
#: Fewer are not measured: nothing of their month is for a family.
SIZE_MIN = 200
HEAD = "registration_id,location,members,group,first_cycle,cycles,status\n"


@dataclass(frozen=True, slots=True)
class Growth(Sample):
    """A month with its import. `seconds` is both; from the first plan to the last store told it was the rest."""

    import_s: float
    peak_bytes: dict[str, int]  #: resident, of the largest process of each role
    redis: RedisWatch
    batches: int

    @property
    def month_s(self) -> float:
        """Plan to last notice."""
        return self.seconds - self.import_s

    @property
    def family_us(self) -> float:
        """What one family took."""
        return self.seconds / self.families * 1e6


@dataclass(frozen=True, slots=True)
class Files:
    """Households to import: the first one alone, and all others."""

    first: Path
    rest: Path


def growth(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """From households.csv to the last store told, at a three-hundredth, a thirtieth, a third, and all of the families.

    Python's start is not what grows, and would make small sizes look dear: a first import, of one family, is timed
    too, and taken off the second one. What every month waits for, up to two seconds until a scheduler looks again,
    stays in, and flatters large sizes; what each further family costs, beyond the size before, is free of it.
    """
    cycle = cycle_due(datetime.now(UTC))
    sizes = [families // part for part in PARTS if families // part >= SIZE_MIN]
    base = families // BASE_PART if families // BASE_PART in sizes else sizes[0]
    with FakeStore.open() as store:
        files = {size: _write(site.folder, size, cycle) for size in sizes}
        samples = alternate(
            {f"{size:,} families": partial(_grow, site, store, files[size], families=size) for size in sizes},
            rounds=rounds, tell=tell,
        )  # fmt: skip
    for line in _table(dict(zip(sizes, samples.values(), strict=True)), base=base):
        tell(line)


def _grow(site: Site, store: FakeStore, files: Files, *, families: int) -> Growth:
    with site.database() as (name, database), Crew.open(site, name) as crew:
        programme_due(database, store)
        wal, cpu = site.wal_bytes(), site.cpu_s()
        first = crew.run("import", str(files.first))
        rest = crew.run("import", str(files.rest))
        import_s = max(0.0, rest.seconds - first.seconds)
        crew.start_workers(database, WORKERS)
        idle_cpu = crew.cpu_s()
        with RedisWatch.open(site.redis_url, crew.environment["DESPENSA_NAMESPACE"]) as watch:
            crew.start("scheduler")
            wait_for_month(database, runs=len(CITIES))
        seconds, cpu_s = import_s + seconds_between(database, MONTH), site.cpu_s() - cpu
        ours_s = rest.cpu_s - first.cpu_s + crew.cpu_s() - idle_cpu
        sample = Growth(
            families, seconds, cpu_s, ours_s, site.wal_bytes() - wal, import_s=import_s,
            peak_bytes={"import": rest.peak_bytes, **crew.peak_bytes()}, redis=watch,
            batches=count(database, "SELECT COUNT(*) FROM batch"),
        )  # fmt: skip
        verify(database, families=families)
        return sample


def _write(folder: Path, families: int, cycle: Cycle) -> Files:
    files = Files(folder / f"households-{families}-first.csv", folder / f"households-{families}-rest.csv")
    with files.first.open("w") as first, files.rest.open("w") as rest:
        first.write(HEAD)
        rest.write(HEAD)
        for number in range(families):
            city, group = CITIES[number % len(CITIES)][0], GROUPS[number % len(GROUPS)]
            row = f"R-{number:07},{city},{number % 9 + 1},{group},{cycle},1,active\n"
            (rest if number else first).write(row)
    return files


def _table(samples: Mapping[int, Sequence[Growth]], *, base: int) -> list[str]:
    head = (
        f"{'families':>9}  {'import':>6} + {'month':>7} = {'µs a family (range)':>24}"
        f"  {f'ratio to {base:,} (range)':>26}  {'each further':>12}  {'CPU µs':>9}  {'WAL B':>6}"
    )
    lines = [head, "-" * len(head)]
    before: Sequence[Growth] = ()
    for size, runs in samples.items():
        importing, month, server, ours, wal = (
            median(part / run.families for part, run in zip(parts, runs, strict=True))
            for parts in (
                [run.import_s * 1e6 for run in runs], [run.month_s * 1e6 for run in runs],
                [run.postgresql_cpu_s * 1e6 for run in runs], [run.worker_cpu_s * 1e6 for run in runs],
                [run.wal_bytes for run in runs],
            )
        )  # fmt: skip
        total = spread([run.family_us for run in runs], ",.1f")
        ratio = spread([run.family_us / other.family_us for run, other in zip(runs, samples[base], strict=True)], ".3f")
        further = f"{median(map(_further_us, runs, before)):.1f}" if before else ""
        lines.append(
            f"{size:>9,}  {importing:>6.1f} + {month:>7.1f} = {total:>24}  {ratio:>26}  {further:>12}"
            f"  {f'{server:,.0f} + {ours:,.0f}':>9}  {wal:>6,.0f}"
        )
        before = runs
    return [*lines, "", *_memory(samples)]


def _further_us(larger: Growth, smaller: Growth) -> float:
    return (larger.seconds - smaller.seconds) / (larger.families - smaller.families) * 1e6


def _memory(samples: Mapping[int, Sequence[Growth]]) -> list[str]:
    """The most of all rounds: of memory a median says nothing."""
    head = (
        f"{'families':>9}  {'batches':>7}  {'MB resident at most: import, scheduler, worker':>46}"
        f"  {'in Redis at once':>16}  {'B a batch: keys':>15}  {'kB of the server':>16}"
    )
    lines = [head, "-" * len(head)]
    for size, runs in samples.items():
        resident = ", ".join(
            f"{max(run.peak_bytes[role] for run in runs) / 1e6:.0f}" for role in ("import", "scheduler", "worker")
        )
        lines.append(
            f"{size:>9,}  {runs[0].batches:>7,}  {resident:>46}  {max(run.redis.batches_max for run in runs):>16,}"
            f"  {max(run.redis.batch_bytes for run in runs):>15,.0f}"
            f"  {max(run.redis.grown_bytes for run in runs) / 1e3:>16,.0f}"
        )
    return lines

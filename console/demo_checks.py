"""What the demo checks, from three sides: the database, the log alone, and the stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from console import demo_programme as replay
from console.entry import Entry

if TYPE_CHECKING:
    from models.runs import Counts, RunSummary
    from workers.stores.simulated import SimulatedStores

#: The mean value of a voucher, in cents of a dollar, and how far it may be off. Source: design.md, the programme.
MEAN_USD_MINOR = 40_000
MEAN_OFF_PERCENT = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One statement, and what was found where it does not speak for itself."""

    what: str
    passed: bool
    found: str = ""


@dataclass(frozen=True, slots=True)
class City:
    """One city over all months."""

    name: str
    runs: int
    families: int
    credited: int
    amount_minor: int
    notices: int
    notices_delivered: int


@dataclass(slots=True)
class Outcome:
    """What the replay came to."""

    cycles: int
    runs: int
    locations: int
    households: int
    planned: int
    credited: int
    cases: int
    duplicates: int
    notices_due: int  #: all that stores were to be told
    notices_delivered: int
    amount_minor: int
    currency: str
    difference_minor: int  #: credited in the books, less credited in the log
    rows: tuple[int, ...]  #: how many rows there are of everything that must not double
    cities: list[City] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every check."""
        return all(each.passed for each in self.checks)

    def as_json(self, *, seconds: int) -> dict[str, object]:
        """The object of the contract for scripts."""
        names = (
            "cycles", "runs", "locations", "households", "planned", "credited", "cases", "duplicates", "notices_due",
            "notices_delivered", "amount_minor", "currency", "difference_minor",
        )  # fmt: skip
        checks = [{"check": each.what, "passed": each.passed} for each in self.checks]
        return {**{name: getattr(self, name) for name in names}, "seconds": seconds, "checks": checks}


def check(
    desk: Entry, stores: SimulatedStores, *, households: int, cycles: int, before: Outcome | None = None
) -> Outcome:
    """Look at everything from all sides. `before` is what was found before everything was run again."""
    from console.log_totals import read_totals
    from models.reconcile import reconcile
    from models.runs import list_summaries, total
    from models.tables import Run

    with desk.database.reading() as tx:
        summaries = list_summaries(tx, [run.id for run in tx.list(Run)])
        differences = reconcile(tx)
    counts = total(summaries)
    log = read_totals([desk.settings.log])
    outcome = _outcome(desk, summaries, counts, households=households, cycles=cycles)
    outcome.difference_minor = counts.credited_minor - total(log.summaries).credited_minor
    mean_minor = _mean_usd_minor(desk, summaries)
    off_minor = MEAN_USD_MINOR * MEAN_OFF_PERCENT // 100
    wanted = replay.VOUCHERS if cycles == replay.CYCLES else households
    outcome.checks = [
        Check(f"{wanted:,} vouchers planned and credited", counts.planned == counts.credited == wanted),
        Check("no family has two vouchers of a month", outcome.duplicates == 0),
        Check("no case is open", counts.cases == 0),
        Check(f"a voucher is worth {MEAN_USD_MINOR // 100} dollars on average, ±{MEAN_OFF_PERCENT} %",
              abs(mean_minor - MEAN_USD_MINOR) <= off_minor or households < 100,
              f"{mean_minor // 100}.{mean_minor % 100:02} USD"),
        Check("every notice was delivered", outcome.notices_due == outcome.notices_delivered > 0),
        Check("stores hold each notice once by its id", _stores_agree(stores, outcome.notices_due),
              f"{stores.duplicates()} repeated, under the same id"),
        Check("the books agree", not differences),
        Check("the log alone gives the same runs", _as_json(log.summaries) == _as_json(summaries),
              f"as of seq {log.as_of_seq}"),
        Check("the log's chain is unbroken from its first line", _chain_holds(desk)),
    ]  # fmt: skip
    if before is not None:
        outcome.checks.append(Check("everything run again changed nothing", before.rows == outcome.rows))
    return outcome


def _outcome(desk: Entry, summaries: list[RunSummary], counts: Counts, *, households: int, cycles: int) -> Outcome:
    from models.tables import Disbursement, Journal, Notice, Transfer, Voucher

    with desk.database.reading() as tx:
        vouchers = {each.id for each in tx.list(Voucher, limit=10_000_000)}
        lines = tx.list(Disbursement, limit=10_000_000)
        paid = [(line.household_id, line.cycle) for line in lines if line.id in vouchers]
        rows = tuple(
            len(tx.list(table, limit=10_000_000)) for table in (Voucher, Disbursement, Transfer, Notice, Journal)
        )
    made = counts.notices_due + counts.notices_delivered + counts.notices_undelivered
    return Outcome(
        cycles=cycles, runs=len(summaries), locations=len({each.location for each in summaries}),
        households=households, planned=counts.planned, credited=counts.credited, cases=counts.cases,
        duplicates=len(paid) - len(set(paid)), notices_due=made, notices_delivered=counts.notices_delivered,
        amount_minor=counts.credited_minor, currency="MXN", difference_minor=0, rows=rows,
        cities=_cities(desk, summaries),
    )  # fmt: skip


def _cities(desk: Entry, summaries: list[RunSummary]) -> list[City]:
    from models.runs import total
    from models.tables import Household

    cities = []
    for code, name, *_ in replay.CITIES:
        runs = [each for each in summaries if each.location == code]
        counts = total(runs)
        with desk.database.reading() as tx:
            families = len(tx.list(Household, Household.location_code == code, limit=10_000_000))
        notices = counts.notices_due + counts.notices_delivered + counts.notices_undelivered
        cities.append(
            City(name, len(runs), families, counts.credited, counts.credited_minor, notices, counts.notices_delivered)
        )
    return cities


def _mean_usd_minor(desk: Entry, summaries: list[RunSummary]) -> int:
    """What a voucher was worth at its own run's rate: a report, never a posting."""
    from models.money import RATE_SCALE
    from models.tables import Run

    with desk.database.reading() as tx:
        runs = tx.list(Run)
    usd_minor = sum(run.planned_minor * RATE_SCALE // run.rate_millionths for run in runs if run.rate_millionths)
    return usd_minor // max(1, sum(each.counts.planned for each in summaries))


def _stores_agree(stores: SimulatedStores, notices: int) -> bool:
    return len({accepted.webhook_id for accepted in stores.accepted()}) == notices


def _chain_holds(desk: Entry) -> bool:
    from console.log_verify import verify

    found = verify([desk.settings.log])
    return found.from_genesis and not found.faults


def _as_json(summaries: list[RunSummary]) -> list[dict[str, object]]:
    return sorted((each.as_json() for each in summaries), key=lambda run: str(run["run"]))

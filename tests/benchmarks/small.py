"""What one waits for at a terminal: a small month, the help, and the state of a big month."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from sqlalchemy import text

from models.storage import Database
from tests.benchmarks.month import MONTH, WORKERS, Tell, enrolled, work_month
from tests.benchmarks.samples import alternate_s, spread, table_s, turns
from tests.benchmarks.site import ENDS_WITHIN_S, Crew, Site, seconds_between, verify, wait_for_month
from tests.builders import CITIES, a_programme
from tests.commands import ROOT, despensa
from tests.fakes import FakeStore
from tests.ledger import count
from tests.waiting import until

SMALL = 250
#: Of the month whose state is shown, three million families where the other benchmarks have 350,000.
BIG_TIMES = Fraction(60, 7)
#: Commands are short: each is run so often a round.
TIMES_A_ROUND = 4
WITH_SCHEDULER = f"a scheduler and {WORKERS} workers are up"
#: Then the command itself has to plan, release, send and close.
WITHOUT_SCHEDULER = f"{WORKERS} workers are up, and no scheduler"


@dataclass(frozen=True, slots=True)
class Month:
    """One small month, in seconds."""

    command_s: float  #: `run start`, from its call to its end
    voucher_s: float  #: from the call to the last voucher, by the database's clock
    nothing_due_s: float  #: `run start` before anything was due
    start_up_s: float  #: of `run list`, which finds nothing


def small(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """Wall time of commands, each in a process of its own, by Python itself: the wrapper's own start is not in it."""
    times = TIMES_A_ROUND * rounds
    with FakeStore.open() as store:
        _tell_months(_small_months(site, store, rounds=rounds), tell)
        tell(f"the help, {times} times:")
        seconds = alternate_s(
            {
                "despensa --help": lambda: _ran_s("-m", "console.main", "--help"),
                "import typer": lambda: _ran_s("-c", "import typer"),
            },
            rounds=times,
        )
        for line in table_s(seconds, against="import typer"):
            tell("  " + line)
        big = int(families * BIG_TIMES)
        tell(f"the state of a month of {big:,} families, {times} times:")
        for line in _status(site, store, families=big, rounds=times):
            tell("  " + line)


def _small_months(site: Site, store: FakeStore, *, rounds: int) -> dict[str, list[Month]]:
    """Nothing is due until the moment of the call: whoever is up has not begun. Then whoever looks first plans."""
    months: dict[str, list[Month]] = {WITH_SCHEDULER: [], WITHOUT_SCHEDULER: []}
    with (
        enrolled(site, store, SMALL) as waiting,
        site.database(template=waiting) as (template, database),
    ):
        _set_status(database, "held")
        database.close()
        for _, candidate in turns(months, rounds=rounds):
            with site.database(template=template) as (name, fresh), Crew.open(site, name) as crew:
                crew.start_workers(fresh, WORKERS)
                if candidate == WITH_SCHEDULER:
                    _start_scheduler(crew, fresh)
                months[candidate].append(_small_month(fresh, crew.environment, scheduled=candidate == WITH_SCHEDULER))
                verify(fresh, families=SMALL)
    return months


def _start_scheduler(crew: Crew, database: Database) -> None:
    crew.start("scheduler")
    seen = "SELECT COUNT(*) FROM sighting WHERE role = 'scheduler'"
    until(lambda: count(database, seen) == 1, what="the scheduler")


def _small_month(database: Database, environment: Mapping[str, str], *, scheduled: bool) -> Month:
    start_up_s = median(_commanded_s("run", "list", environment=environment) for _ in range(2))
    nothing_due_s = _commanded_s("run", "start", environment=environment)
    assert count(database, "SELECT COUNT(*) FROM run") == 0, "something was due before its time"
    _set_status(database, "active")
    with database.reading() as tx:
        called_at = tx.now
    command_s = _commanded_s("run", "start", environment=environment)
    if scheduled:  # it may have been the one that closed a run, and be at the log still
        wait_for_month(database, runs=len(CITIES))
    voucher_s = seconds_between(database, f"(SELECT MAX(credited_at) FROM batch) - TIMESTAMPTZ '{called_at}'")
    return Month(command_s, voucher_s, nothing_due_s, start_up_s)


def _tell_months(months: Mapping[str, list[Month]], tell: Tell) -> None:
    for candidate, runs in months.items():
        tell(f"run start for {SMALL} families in {len(CITIES)} cities, while {candidate}:")
        for what, seconds in (
            ("wall time of the command", [run.command_s for run in runs]),
            ("  beyond start-up", [run.command_s - run.start_up_s for run in runs]),
            ("from its call to the last voucher", [run.voucher_s for run in runs]),
            ("  beyond start-up", [run.voucher_s - run.start_up_s for run in runs]),
            ("start-up: run list, nothing there", [run.start_up_s for run in runs]),
            ("run start, nothing due", [run.nothing_due_s for run in runs]),
        ):
            tell(f"  {what:<34} {spread(seconds, '.2f')} s")


def _status(site: Site, store: FakeStore, *, families: int, rounds: int) -> list[str]:
    with (
        enrolled(site, store, families) as waiting,
        site.database(template=waiting) as (big, database),
        site.database() as (empty, nothing),
    ):
        work_month(site, big, database, families=families, lasting=MONTH)
        a_programme(nothing)
        for name in (big, empty):
            with site.connect(name) as connection:  # as PostgreSQL itself does within minutes of a month
                connection.execute("VACUUM (ANALYZE)")

        def shown_s(name: str) -> Callable[[], float]:
            with Crew.open(site, name) as crew:
                return lambda: _commanded_s("run", "status", environment=crew.environment)

        against = "run status: a programme, no run"
        candidates = {f"run status: {families:,} families": shown_s(big), against: shown_s(empty)}
        return table_s(alternate_s(candidates, rounds=rounds), against=against)


def _set_status(database: Database, status: str) -> None:
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE enrolment SET status = :status"), {"status": status})


def _commanded_s(*words: str, environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    ended = despensa(*words, environment=environment, within_s=ENDS_WITHIN_S)
    seconds = time.perf_counter() - began
    assert ended.code == 0, ended.err
    return seconds


def _ran_s(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began

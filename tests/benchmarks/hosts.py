"""The month with more workers and more schedulers, and what PostgreSQL's sessions wait for meanwhile."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from tests.benchmarks.month import MONTH, Tell, enrolled, work_month
from tests.benchmarks.samples import Sample, alternate, spread, table
from tests.benchmarks.site import Connection, Site
from tests.fakes import FakeStore

ONE = "1 worker, 1 scheduler"
#: Worker processes and schedulers. On one machine they share its processors: what shows is who waits for whom.
CANDIDATES = {
    ONE: (1, 1),
    "2 workers, 1 scheduler": (2, 1),
    "4 workers, 1 scheduler": (4, 1),
    "2 workers, 2 schedulers": (2, 2),
}  # fmt: skip
LOOK_S = 0.1
#: A session that waits for nothing is on a processor, or in the queue for one.
LOOK = """
SELECT COALESCE(wait_event_type || ':' || wait_event, 'CPU') FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction', 'fastpath function call')
"""
SPAN = "SELECT MIN(planned_at), (SELECT MAX(delivered_at) FROM notice) FROM run"


@dataclass(frozen=True, slots=True)
class Watched(Sample):
    """A month, and how often a session within a transaction was seen waiting for what."""

    looks: int
    waits: "Counter[str]"

    def sessions(self, kind: str = "") -> float:
        """How many at once on average, of those that waited for a kind of thing, such as `Lock`."""
        return sum(seen for event, seen in self.waits.items() if event.startswith(kind)) / max(self.looks, 1)


def hosts(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """The whole month by each crew. Every session of its database is looked at ten times a second.

    Those of this program, which asks twice a second whether the month is over, are among them.
    """
    with FakeStore.open() as store, enrolled(site, store, families) as template:
        samples = alternate(
            {
                name: _worked(site, template, families=families, workers=workers, schedulers=schedulers)
                for name, (workers, schedulers) in CANDIDATES.items()
            },
            rounds=rounds, tell=tell,
        )  # fmt: skip
    for line in table(samples, against=ONE):
        tell(line)
    for name, runs in samples.items():
        wal = spread([run.wal_bytes / run.seconds / 1e6 for run in runs], ".1f")
        tell(f"{name}: WAL {wal} MB/s; {spread([run.sessions() for run in runs], '.1f')} sessions in a transaction")
        tell(f"  of them waiting for another's lock: {spread([run.sessions('Lock:') for run in runs], '.3f')}")
        tell(f"  of {sum(run.looks for run in runs):,} looks: {_shares(runs)}")


def _worked(site: Site, template: str, *, families: int, workers: int, schedulers: int) -> Callable[[], Watched]:
    def worked() -> Watched:
        with site.database(template=template) as (name, database):
            with _watching(site, name) as looks:
                sample = work_month(
                    site, name, database, families=families, lasting=MONTH, workers=workers, schedulers=schedulers
                )
            with site.connect(name) as connection:
                begun, ended = _instants(connection, SPAN)
            # Of the month alone: not the start of the services, nor the look through the books after it.
            within = [events for at, events in looks if begun <= at <= ended]
            return Watched(**asdict(sample), looks=len(within), waits=sum(within, Counter[str]()))

    return worked


@contextmanager
def _watching(site: Site, name: str) -> Iterator[list[tuple[datetime, "Counter[str]"]]]:
    """What the sessions of a database are seen waiting for while the context lasts, look by look."""
    looks: list[tuple[datetime, Counter[str]]] = []
    over = threading.Event()

    def watch() -> None:
        with site.connect() as connection:
            while not over.wait(LOOK_S):
                at = _instants(connection, "SELECT clock_timestamp()")[0]
                looks.append((at, Counter(str(event) for (event,) in connection.execute(LOOK, (name,)))))

    with ThreadPoolExecutor(1) as threads:
        watched = threads.submit(watch)
        try:
            yield looks
        finally:
            over.set()
        watched.result()


def _instants(connection: Connection, statement: str) -> list[datetime]:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return [each for each in row if isinstance(each, datetime)]


def _shares(runs: list[Watched]) -> str:
    waits: Counter[str] = sum((run.waits for run in runs), Counter())
    return ", ".join(f"{event} {seen / waits.total():.1%}" for event, seen in waits.most_common()) or "nobody was seen"

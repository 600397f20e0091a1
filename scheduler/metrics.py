"""What a scheduler exposes to Prometheus: what the database says, what it sent itself, and whether the books agree.

The database is read once a minute in a thread of its own; a scrape shows what was read and asks the database nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from models.deadlines import steady_s
from models.storage import Database
from scheduler.books_watch import BooksWatch
from scheduler.dispatch import Tally
from scheduler.measures import Family, Measurer, Reading, Values

#: After so long without an answer of the database nothing is said any more of what it held: alerts see its absence.
FORGET_S = 300
#: Each is 0 from the start, so that the first failure is seen as an increase.
STEPS = (
    "advance", "cancel", "close", "dispatch", "due", "heads", "latecomers", "metrics", "plan", "reconcile", "release",
    "retry", "seal", "see", "send", "sweep",
)  # fmt: skip


@dataclass(slots=True, eq=False)  # the registry keeps it by identity
class SchedulerMetrics:
    """A collector for Prometheus' registry. `read` is called once a minute, `collect` by each scrape."""

    database: Database
    measurer: Measurer
    tally: Tally
    books: BooksWatch
    steady_s: Callable[[], float] = steady_s
    _reading: Reading | None = None
    _read_s: float = 0  #: of the steady clock
    _read_at: float = 0  #: Unix time of the last reading, for people
    _failures: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> None:
        """Look at the database. Whatever goes wrong, the next minute looks again."""
        try:
            with self.database.reading() as tx:
                reading = self.measurer.read(tx)
        except Exception:
            self._failures += 1
            raise
        with self._lock:
            self._reading, self._read_s, self._read_at = reading, self.steady_s(), time.time()

    def collect(self) -> Iterator[Metric]:
        """What was read, older by the time since."""
        with self._lock:
            reading, read_s, read_at = self._reading, self._read_s, self._read_at
        age_s = self.steady_s() - read_s
        if reading is not None and age_s < FORGET_S:
            for family, samples in reading.samples.items():
                yield _gauge(family, samples, age_s=age_s)
        yield from self._own(read_at)

    def _own(self, read_at: float) -> Iterator[Metric]:
        if read_at:
            yield GaugeMetricFamily(
                "despensa_database_read_timestamp_seconds", "When the figures from the database were read.", read_at
            )
        yield CounterMetricFamily(
            "despensa_database_read_failures_total", "Readings of the database for metrics that failed.", self._failures
        )
        for name, says, count in (
            ("despensa_batches_sent_total", "Batches that this scheduler sent to workers.", self.tally.batches),
            (
                "despensa_batches_resent_total",
                "Of these, batches that had been sent before and that no worker finished in time.",
                self.tally.resent,
            ),
            ("despensa_notices_sent_total", "Notices that this scheduler sent to workers.", self.tally.notices),
        ):
            yield CounterMetricFamily(name, says, count)
        failed = CounterMetricFamily("despensa_tick_failures_total", "Steps of ticks that failed.", labels=("step",))
        for step in sorted({*STEPS, *self.tally.failures}):
            failed.add_metric((step,), self.tally.failures[step])
        yield failed
        if self.books.differences is not None:
            yield GaugeMetricFamily(
                "despensa_books_differences", "What did not agree when the books were last compared with their rows.",
                self.books.differences,
            )  # fmt: skip
            yield GaugeMetricFamily(
                "despensa_books_reconciled_timestamp_seconds", "When the books were last compared with their rows.",
                self.books.reconciled_at,
            )  # fmt: skip


def _gauge(family: Family, samples: Values, *, age_s: float) -> Metric:
    gauge = GaugeMetricFamily(family.name, family.says, labels=family.labels)
    # A scheduler reads in one thread, and what was read does not change.
    for labels, value in samples.items():
        gauge.add_metric(labels, value + age_s if family.grows and value > 0 else value)
    return gauge

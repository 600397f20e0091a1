"""What a long-lived scheduler does beside its ticks: compare the books and, where a port is set, expose metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.entry import Entry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from models.exposition import Endpoint
    from scheduler.tick import Ticker
    from workers.metrics import WorkerMetrics

#: A look at the database for metrics; and a look whether the books may be compared.
LOOK_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class Exposure:
    """The port for metrics, and what will be told there."""

    endpoint: Endpoint
    registry: CollectorRegistry
    worker_metrics: WorkerMetrics | None  #: of an embedded scheduler's own worker threads


def open_exposure(desk: Entry) -> Exposure | None:
    """Take the port; None where none is set. Raises Misconfigured where it is taken."""
    if desk.settings.metrics_port is None:
        return None  # and nothing of Prometheus is imported
    from prometheus_client import CollectorRegistry

    from models.exposition import BuildInfo, open_endpoint
    from workers.metrics import WorkerMetrics

    endpoint = open_endpoint(desk.settings.metrics_host, desk.settings.metrics_port)
    registry = CollectorRegistry()
    registry.register(BuildInfo(desk.log))
    return Exposure(endpoint, registry, None if desk.settings.distributed else WorkerMetrics(registry))


def begin_watching(desk: Entry, ticker: Ticker, exposure: Exposure | None) -> None:
    """Begin, in threads that delay no tick and no end."""
    from scheduler.aside import begin_aside
    from scheduler.books_watch import BooksWatch

    books = BooksWatch(desk.database, desk.log, desk.settings.heads)
    begin_aside(ticker, "reconcile", books.reconcile_if_due, every_s=LOOK_EVERY_S)
    if exposure is not None:
        from scheduler.measures import Measurer
        from scheduler.metrics import SchedulerMetrics

        measurer = Measurer(ticker.clock, distributed=desk.settings.distributed)
        metrics = SchedulerMetrics(desk.database, measurer, ticker.tally, books)
        exposure.registry.register(metrics)
        begin_aside(ticker, "metrics", metrics.read, every_s=LOOK_EVERY_S)
        exposure.endpoint.serve_aside(exposure.registry)

"""What a command that ticks works with: the broker of this profile and, embedded, worker threads beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from console.entry import Entry

if TYPE_CHECKING:
    from scheduler.tick import Ticker
    from workers.metrics import WorkerMetrics


@contextmanager
def ticking(
    entry: Entry, *, clock: Callable[[], datetime], workers: bool, planners: int = 1, seals: bool = True,
    metrics: WorkerMetrics | None = None,
) -> Iterator[Ticker]:  # fmt: skip
    """A ticker. `workers` starts worker threads in this process where the profile is embedded; `metrics` counts theirs.

    `seals` is False for a command that a scheduler goes on from: the log is then the scheduler's.

    Raises BrokerUnreachable where Redis does not answer, Misconfigured where a key is missing.
    """
    from models.broker import embedded_client, redis_client, require_answer
    from models.heads_file import HeadsFile
    from models.kept_head import KeptHead
    from scheduler.heads import ClosedHeads
    from scheduler.tick import Ticker
    from workers.actors import declare
    from workers.serve import embedded_workers, worker_broker, workplace

    settings = entry.settings
    client = redis_client(settings.redis_url) if settings.distributed else embedded_client()
    require_answer(client)
    broker = worker_broker(client, settings, entry.log, metrics)
    with ExitStack() as stack:
        stack.callback(broker.close)
        if not settings.distributed:
            declare(broker, workplace(settings, entry.database, entry.log, broker))
            if workers:
                stack.enter_context(embedded_workers(broker))
        yield Ticker(
            entry.database, broker, entry.log, clock, batch_lines=settings.batch_lines, planners=planners,
            kept=KeptHead.of(settings, client), heads=ClosedHeads(HeadsFile(settings.heads)), seals=seals,
        )  # fmt: skip

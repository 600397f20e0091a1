"""A worker process whose thread died looks healthy and does nothing: it ends, loudly, to be restarted."""

import os
import threading
from typing import TYPE_CHECKING, Any

import dramatiq

from models.errors import Exit
from models.events import WorkerFailed
from models.log import Log

if TYPE_CHECKING:
    from workers.metrics import WorkerMetrics

CHECK_EVERY_S = 2


class Watchdog(dramatiq.Middleware):
    """Looks after the threads of this process's worker, and says when it is told to stop."""

    def __init__(self, log: Log, metrics: "WorkerMetrics | None" = None) -> None:
        self._log = log
        self._metrics = metrics

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        """Begin to look."""
        threading.Thread(target=self._watch, args=(worker, broker.stopping), daemon=True, name="watchdog").start()

    def before_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """From here on nothing new is begun, and threads end because they should."""
        broker.stopping.set()

    def _watch(self, worker: Any, stopping: threading.Event) -> None:
        self._count(worker)
        while not stopping.wait(CHECK_EVERY_S):
            dead = dead_threads(worker)
            self._count(worker)
            if dead and not stopping.is_set():
                try:
                    self._log.observe(WorkerFailed(thread=dead[0]))
                finally:  # a log that cannot be written is no reason to stay
                    # No clean-up: whatever this process held is taken over when its leases run out.
                    os._exit(int(Exit.FAILED))

    def _count(self, worker: Any) -> None:
        if self._metrics is not None:
            self._metrics.count_threads(sum(thread.is_alive() for thread in worker.workers))


def dead_threads(worker: Any) -> list[str]:
    """Of a Dramatiq worker: which kinds of threads have ended although it has not been told to stop."""
    threads = [("consumer", thread) for thread in worker.consumers.values()]
    threads += [("worker", thread) for thread in worker.workers]
    return [kind for kind, thread in threads if not thread.is_alive()]

"""A worker process whose thread died looks healthy and does nothing: it ends, loudly, to be restarted."""

import os
import threading
from typing import Any

import dramatiq

from models.errors import Exit
from models.events import WorkerFailed
from models.log import Log

CHECK_EVERY_S = 2


class Watchdog(dramatiq.Middleware):
    """Looks after the threads of this process's worker, and says when it is told to stop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.stopping = threading.Event()  #: set once the worker is told to stop: nothing new is begun

    def after_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        """Begin to look."""
        threading.Thread(target=self._watch, args=(worker,), daemon=True, name="watchdog").start()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        """From here on threads end because they should."""
        self.stopping.set()

    def _watch(self, worker: Any) -> None:
        while not self.stopping.wait(CHECK_EVERY_S):
            dead = dead_threads(worker)
            if dead and not self.stopping.is_set():
                self._log.observe(WorkerFailed(thread=dead[0]))
                # No clean-up: whatever this process held is taken over when its leases run out.
                os._exit(int(Exit.FAILED))


def dead_threads(worker: Any) -> list[str]:
    """Of a Dramatiq worker: which kinds of threads have ended although it has not been told to stop."""
    threads = [("consumer", thread) for thread in worker.consumers.values()]
    threads += [("worker", thread) for thread in worker.workers]
    return [kind for kind, thread in threads if not thread.is_alive()]

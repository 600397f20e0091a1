"""What workers count for Prometheus, and the files in which the processes of one master keep it.

Dramatiq's own middleware for this is not used. Its address and the folder of its files are read from the environment
when it is imported, and one folder serves all masters of a host; a port that is taken ends only the process that
exposes, unseen; that process outlives a master that was killed, and keeps its port; worker threads of an embedded
scheduler are not counted; and durations are in milliseconds. Here are the same figures, by Prometheus' conventions.

prometheus_client decides at its import whether values are kept in files: so it is imported in functions, after a
master's `kept_in_files`.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

PREFIX = "despensa-metrics-"
LOCK = "lock"
#: Upper bounds in seconds, up to the lease, after which a batch is another worker's.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
#: What an attempt can come to, by actor: each is 0 from the start, so that the first one is seen as an increase.
RESULTS = {
    "credit_batch": ("credited", "nothing", "put off", "lease lost", "stopping", "failed", "given back"),
    "send_notice": ("delivered", "nothing", "later", "undelivered", "lease lost", "stopping", "failed", "given back"),
    "quarantine": ("quarantined",),
}


class WorkerMetrics:
    """Attempts, their durations, and threads; of this process or, kept in files, of all that share the folder."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._attempts = Counter(
            "despensa_attempts_total", "Attempts at messages that have ended, by what they came to.",
            ("actor", "outcome"), registry=registry,
        )  # fmt: skip
        self._durations = Histogram(
            "despensa_attempt_duration_seconds", "How long attempts at messages took.",
            ("actor",), buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self._under_way = Gauge(
            "despensa_attempts_under_way", "Attempts at messages that have begun and not ended.",
            ("actor",), registry=registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._threads = Gauge(
            "despensa_worker_threads", "Threads of workers that are alive.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        for actor, outcomes in RESULTS.items():
            self._under_way.labels(actor)
            self._durations.labels(actor)
            for outcome in outcomes:
                self._attempts.labels(actor, outcome)

    def begin(self, actor: str) -> None:
        """An attempt begins."""
        self._under_way.labels(actor).inc()

    def end(self, actor: str, outcome: str, duration_s: float) -> None:
        """An attempt has ended."""
        self._under_way.labels(actor).dec()
        self._attempts.labels(actor, outcome).inc()
        self._durations.labels(actor).observe(duration_s)

    def count_threads(self, living: int) -> None:
        """So many threads of this process work."""
        self._threads.set(living)


class KeptFiles:
    """Keeps a folder of figures from being tidied away: what lies about for ten days is, on many systems.

    For a registry: at each scrape, before its files are read. It has no figure of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator["Metric"]:
        """Nothing."""
        for path in (self._folder, *self._folder.iterdir()):
            with suppress(OSError):
                os.utime(path)
        return iter(())


@contextmanager
def kept_in_files() -> Iterator[Path]:
    """A folder for the figures of all processes forked while the context lasts; removed afterwards.

    prometheus_client knows it by the environment alone, and looks there when it is imported.
    """
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    # Locked before it has its name: a lock without an owner marks a leftover.
    lock = os.open(folder / "new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "new").rename(folder / LOCK)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Of masters that were killed. The kernel gave their locks back."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or just being made, or at work
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)

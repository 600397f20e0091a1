"""Running workers: as processes of Dramatiq's command line, or as threads of this one (embedded)."""

import ctypes
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import dramatiq
import redis
from dramatiq import cli

from models import health
from models.broker import SafeRedisBroker, make_broker, redis_client, require_answer
from models.deadlines import LEASE_S, SHUTDOWN_S
from models.errors import Exit
from models.events import BrokerUnreachable, WorkerSeen
from models.keys import load_keys
from models.log import Log
from models.schema import require_current
from models.settings import Settings, read_settings
from models.sightings import see
from models.storage import Database
from workers.actors import Workplace, declare
from workers.attempts import AttemptLog
from workers.metrics import KeptFiles, WorkerMetrics, kept_in_files
from workers.watchdog import Watchdog

if TYPE_CHECKING:
    from models.exposition import Endpoint

SERVICE = "despensa-worker"
SEEN_EVERY_S = 60
#: A consumer asks many times in it; a Redis that is away is noticed within seconds.
ANSWERED_WITHIN_S = 10
#: How often an idle embedded worker looks for messages: they come from the same process.
EMBEDDED_POLL_MS = 50
#: The master looks after its processes once all have booted, or after this; Dramatiq's own is half a minute.
BOOT_S = 5
#: SQLite has one writer; a second thread posts notices meanwhile.
EMBEDDED_THREADS = 4
_PR_SET_PDEATHSIG = 1
#: Process id of the master; set by serve, before it forks.
_master = 0
#: The port for metrics, taken by serve before it forks; None where none is set.
_endpoint: "Endpoint | None" = None
#: Where the figures of all processes lie meanwhile.
_folder: Path | None = None
#: The log of all processes; None is standard output.
_log_file: Path | None = None


def workplace(settings: Settings, database: Database, log: Log, broker: SafeRedisBroker) -> Workplace:
    """What this broker's actors work with. Raises Misconfigured where a key is missing, short or readable by others."""
    return Workplace(
        database,
        log,
        pin_keys=load_keys(settings.keys, "pin"),
        webhook_keys=load_keys(settings.keys, "webhook"),
        reference_keys=load_keys(settings.keys, "reference"),
        stopping=broker.stopping,
        keys_folder=settings.keys,
        outgoing=settings.outgoing,
    )


def worker_broker(
    client: "redis.Redis", settings: Settings, log: Log, metrics: WorkerMetrics | None = None
) -> SafeRedisBroker:
    """The broker that workers consume from."""
    middleware: list[dramatiq.Middleware] = [Watchdog(log, metrics), AttemptLog(log, metrics)]
    return make_broker(client, namespace=settings.namespace, middleware=middleware)


def serve(settings: Settings, *, processes: int, threads: int, log_file: Path | None) -> int:
    """Run Dramatiq's command line with our time-outs until a signal. Returns an exit code of design.md.

    Raises BrokerUnreachable where Redis does not answer at the start; later on, workers wait for it. Raises
    Misconfigured where the port for metrics is taken or the health file cannot be touched. `log_file` can be opened.
    """
    health.begin(settings.health_file)
    require_answer(redis_client(settings.redis_url))
    global _master, _endpoint, _folder, _log_file  # noqa: PLW0603  # forked into each worker, which must know whose child it is
    _master, _log_file = os.getpid(), log_file
    if settings.metrics_port is None:
        return _run(processes, threads)
    with kept_in_files() as _folder:
        from models.exposition import open_endpoint

        _endpoint = open_endpoint(settings.metrics_host, settings.metrics_port)
        return _run(processes, threads, "--fork-function", "workers.serve:expose")


def _run(processes: int, threads: int, *more: str) -> int:
    options = [
        "workers.serve:start",
        *("--processes", str(processes), "--threads", str(threads)),
        *("--worker-shutdown-timeout", str(LEASE_S * 1000), "--skip-logging"),  # then messages are put back
        *("--worker-fork-timeout", str(BOOT_S * 1000)),
        *more,
    ]
    code = cli.main(cli.make_argument_parser().parse_args(options))
    translated = {cli.RET_OK: Exit.DONE, cli.RET_IMPORT: Exit.MISUSED, cli.RET_CONNECT: Exit.NO_BROKER}
    return int(translated.get(code, Exit.FAILED))


def start() -> None:
    """In each worker process: build everything, and set the broker that Dramatiq then consumes from."""
    _die_with_parent()
    _end_once()
    _silence_dramatiq()
    settings = read_settings()
    database = Database(settings.database)
    require_current(database)
    log = Log.of_service(SERVICE, file=_log_file)
    metrics = None
    if _endpoint is not None:
        from prometheus_client import CollectorRegistry

        _endpoint.close()  # it is `expose` that answers there
        metrics = WorkerMetrics(CollectorRegistry())
    broker = worker_broker(redis_client(settings.redis_url, repeats=False), settings, log, metrics)
    declare(broker, workplace(settings, database, log, broker))
    dramatiq.set_broker(broker)
    seen = (database, broker, log, settings.health_file)
    threading.Thread(target=_be_seen, args=seen, daemon=True, name="seen").start()


def expose() -> None:
    """In a process beside the workers: answer Prometheus with what all of them have counted, until the master ends."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from models.exposition import BuildInfo

    _die_with_parent()
    assert _endpoint is not None and _folder is not None
    registry = CollectorRegistry()
    registry.register(KeptFiles(_folder))
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(BuildInfo(Log.of_service(SERVICE, file=_log_file)))
    _endpoint.serve(registry)


@contextmanager
def embedded_workers(broker: SafeRedisBroker) -> Iterator[None]:
    """Worker threads in this process while the context lasts; they finish what they hold before it ends.

    The actors are declared already: a scheduler's broker and the workers' are one here.
    """
    _silence_dramatiq()
    worker = dramatiq.Worker(broker, worker_timeout=EMBEDDED_POLL_MS, worker_threads=EMBEDDED_THREADS)
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=SHUTDOWN_S * 1000)


def _be_seen(database: Database, broker: SafeRedisBroker, log: Log, health_file: Path | None) -> None:
    pause = threading.Event()
    while True:
        with suppress(Exception):  # the database, or the log, is away: crediting reports its own failures
            be_seen_once(database, broker, log, health_file)
        pause.wait(SEEN_EVERY_S)


def be_seen_once(database: Database, broker: SafeRedisBroker, log: Log, health_file: Path | None) -> None:
    """A worker that cannot fetch, whatever else Redis answers it, is neither seen nor well, and says so."""
    if broker.answered.wait(ANSWERED_WITHIN_S):
        broker.answered.clear()
        see(database, "worker")
        health.mark(health_file)
        log.observe(WorkerSeen())
    else:
        log.observe(BrokerUnreachable(error=broker.refusal or "no answer"))


def _die_with_parent() -> None:
    """An orphan of a killed master would go on consuming unseen: the kernel ends it (Linux).

    By SIGKILL: a master that dies while its workers boot takes a lock with it that they wait for, so that no handler
    of a milder signal ends them. What they held is taken over when its lease runs out.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _master:  # it died before this could be told
        os._exit(int(Exit.FAILED))


def _end_once() -> None:
    """systemd tells each process of a service to end, and the master tells its workers once more.

    By the second signal Dramatiq breaks off what the first lets it finish.
    """
    end = signal.getsignal(signal.SIGTERM)  # Dramatiq's
    assert callable(end)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        end(number, frame)

    signal.signal(signal.SIGTERM, stop)


def _silence_dramatiq() -> None:
    """Dramatiq logs arguments and exceptions as text; the log speaks in events of the catalogue only."""
    logger = logging.getLogger("dramatiq")
    logger.handlers = [logging.NullHandler()]
    logger.propagate = False

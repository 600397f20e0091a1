"""`run start`, `scheduler` and `worker`: what cron and services call."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from console.entry import Entry, echo_json, entry, kept_head, note
from models.deadlines import LEASE_S
from models.errors import Exit, Misconfigured, RefusedByState

if TYPE_CHECKING:
    from models.storage import Database
    from scheduler.follow import Chosen
    from scheduler.tick import Ticker

#: Six hours: a month of the whole programme takes minutes. Source: design.md, Exit codes.
TIMEOUT_S = 21_600
LOG_FILE = typer.Option(None, help="Log to this file instead; it may be renamed at any time, and is made again.")


def start(
    cycle: str = typer.Option("", help="Plan this cycle, YYYY-MM, even if it is out of reach of catch-up."),
    location: str = typer.Option("", help="Only this location: its code, or an unambiguous name."),
    wait: bool = typer.Option(True, help="Follow the runs until they are settled."),
    timeout: float = typer.Option(TIMEOUT_S, help="End waiting after so many seconds, resumable."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Start what is due, and follow it. Cron calls this every hour; nothing due is silent."""
    from console.follow import follow
    from console.tables import echo_runs, runs_as_json
    from console.ticking import ticking
    from scheduler.follow import look

    since = datetime.now(UTC)
    with entry() as desk:
        chosen = _chosen(desk, cycle, location)
        _refuse_unfollowed(desk, wait=wait)
        # Without waiting, a scheduler goes on, and its log is the one that tells.
        seals = wait or not desk.settings.distributed
        with ticking(desk, clock=_now, workers=wait, seals=seals) as ticker:
            _plan_chosen(desk, ticker, chosen)
            if wait:
                sight, code = follow(desk, ticker, chosen, since=since, timeout_s=timeout, now=_now)
            else:
                ticker.tick()
                embedded = not desk.settings.distributed
                sight, code = look(desk.database, chosen, since=since, now=_now(), embedded=embedded), Exit.DONE
        if as_json:
            echo_json(runs_as_json(sight.runs))
        elif sight.runs:
            note(f"database: {desk.database.name}")
            echo_runs(sight.runs)
        if sight.lost:
            note(f"{sight.lost} runs were lost by a restore; their programmes wait for a person: despensa run lost")
        return code


def scheduler(
    once: bool = typer.Option(False, help="Do all that is due once, and end: for a timer."),
    log_file: Path | None = LOG_FILE,
) -> int:
    """The long-lived loop: plan, release, dispatch, sweep, close and seal whatever is due. Logs to standard output."""
    from console.exposure import begin_watching, open_exposure
    from console.follow import follow
    from console.ticking import ticking
    from models import health
    from scheduler.follow import Chosen
    from scheduler.loop import tick_until_stopped
    from scheduler.tick import PLANNERS

    since = datetime.now(UTC)
    with entry(service="despensa-scheduler", to_stdout=True, log_file=log_file) as desk:
        embedded = not desk.settings.distributed
        planners = 1 if once or embedded else PLANNERS
        exposure = None if once else open_exposure(desk)
        counted = exposure.worker_metrics if exposure and embedded else None
        with ticking(desk, clock=_now, workers=embedded, planners=planners, metrics=counted) as ticker:
            if once and embedded:
                return follow(desk, ticker, Chosen(), since=since, timeout_s=TIMEOUT_S, now=_now)[1]
            if once:
                from scheduler.follow import exit_of

                return exit_of(ticker.tick().errors)
            ticker.health_file = desk.settings.health_file
            health.begin(ticker.health_file)
            _stop_when_told(ticker)
            begin_watching(desk, ticker, exposure)
            tick_until_stopped(ticker, side_by_side=not embedded)
    return Exit.DONE


def worker(
    processes: int = typer.Option(1, min=1, max=64, help="Processes of this host."),
    threads: int = typer.Option(0, max=64, help="Threads of each process; default DESPENSA_WORKER_THREADS."),
    log_file: Path | None = LOG_FILE,
) -> int:
    """Credit vouchers and tell stores until SIGTERM. Any number, on any number of hosts. Logs to standard output."""
    from models.custody import require_whole
    from models.keys import SERVICE_KINDS, load_keys
    from models.log import Log
    from models.schema import require_current
    from models.settings import read_settings
    from models.storage import Database
    from workers.serve import SERVICE, serve

    settings = read_settings()
    if not settings.distributed:
        raise Misconfigured(
            "an embedded installation has no worker processes: `run start` brings its own",
            hint="set DESPENSA_DATABASE_URL to PostgreSQL and DESPENSA_REDIS_URL",
        )
    database = Database(settings.database)
    require_current(database)
    _tell_excess(database)
    # Opened here, once: a file that cannot be written is refused before there is any process.
    with Log.opened(SERVICE, file=log_file) as log, kept_head(settings) as kept:
        require_whole(database, kept, tell=log.observe)
    database.close()  # each process opens its own
    for kind in SERVICE_KINDS:
        load_keys(settings.keys, kind)
    return serve(settings, processes=processes, threads=threads or settings.worker_threads, log_file=log_file)


def _tell_excess(database: Database) -> None:
    """A worker's host is the one that calls others, and so the likeliest to be broken into."""
    from models.server import login

    with database.reading() as tx:
        found = login(tx)
    more = found.roles - {"despensa_work"} if found is not None and not found.owns else frozenset()
    if found is not None and more:
        note(
            f"warning: {found.name} is a member of {', '.join(sorted(more))}, which no worker needs\n"
            "hint: a login of its own, a member of despensa_work alone: deploy/SECURITY.md"
        )


def _stop_when_told(ticker: Ticker) -> None:
    """On SIGTERM or SIGINT no further step begins; the one at work is left after as long as a worker's lease.

    A tick may be killed at any moment: whatever it had not committed is left to the next one, of whomever.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not ticker.stopping.is_set():  # armed first, and once: setting may have to wait for whoever is waiting
            signal.signal(signal.SIGALRM, lambda _signal, _frame: os._exit(int(Exit.DONE)))
            signal.alarm(LEASE_S)
        ticker.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _chosen(desk: Entry, cycle: str, location: str) -> Chosen:
    from models.runs import find_location, parse_cycle
    from models.tables import Programme
    from scheduler.follow import Chosen

    with desk.database.reading() as tx:
        if not tx.list(Programme, limit=1):
            raise Misconfigured(
                f"there is no programme in {desk.database.name}",
                hint="despensa import deploy/programmes/northern-mexico",
            )
        code = find_location(tx, location).code if location else ""
    return Chosen(parse_cycle(cycle) if cycle else None, code)


def _refuse_unfollowed(desk: Entry, *, wait: bool) -> None:
    from models.sightings import seen_lately

    if wait or not desk.settings.distributed or seen_lately(desk.database, "scheduler"):
        return
    raise RefusedByState(
        "--no-wait needs a scheduler that goes on, and none was seen lately", hint="start one: despensa scheduler"
    )


def _plan_chosen(desk: Entry, ticker: Ticker, chosen: Chosen) -> None:
    """A cycle named on the command line is planned even where catch-up does not reach; approval guards it."""
    from console.planning import plan_cycle

    if chosen.cycle is not None:
        plan_cycle(desk, chosen.cycle, location_code=chosen.location_code, now=ticker.clock())


def _now() -> datetime:
    return datetime.now(UTC)

"""Ticking until the followed runs are settled, with progress on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from console.entry import Entry, note
from console.interrupt import require_untold
from models.errors import Exit

if TYPE_CHECKING:
    from models.runs import RunSummary
    from scheduler.follow import Chosen, Sight
    from scheduler.tick import Ticker

#: Pause between ticks that found nothing to do.
IDLE_S = 0.1
#: A full tick looks for what is due, too; between two of them only the released runs are followed.
FULL_TICK_EVERY_S = 1.0
#: So long without a worker before a waiting command says so.
WORKER_MISSED_AFTER_S = 60


def follow(
    entry: Entry, ticker: Ticker, chosen: Chosen, *, since: datetime, timeout_s: float, now: Callable[[], datetime]
) -> tuple[Sight, Exit]:
    """Tick until the followed runs are settled. Returns what was seen last and the command's exit code.

    After `timeout_s` the code is FAILED; nothing is lost, and the same command goes on.
    """
    from scheduler.follow import exit_of, first_of, look

    embedded = not entry.settings.distributed
    deadline = time.monotonic() + timeout_s
    watch = _WorkerWatch(entry)
    pause = threading.Event()
    result, full_at = ticker.tick(), time.monotonic()
    with _progress() as show:
        while True:
            require_untold()
            sight = look(entry.database, chosen, since=since, now=now(), embedded=embedded)
            show(sight.runs)
            if sight.settled and not result.busy:
                break
            if time.monotonic() > deadline:
                note("the time-out has passed; nothing is lost: repeat the command to go on")
                return sight, Exit.FAILED
            watch.warn_if_missed()
            if not result.busy:
                pause.wait(IDLE_S)
            if time.monotonic() > full_at + FULL_TICK_EVERY_S:
                result, full_at = ticker.tick(), time.monotonic()
            else:
                result = ticker.work()
    result = ticker.tick()  # what the last steps journalled is sealed and emitted
    for error in result.errors:
        note(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
    # Looked at again: another ticker may have closed a run just before, and its books were compared only now.
    ended = look(entry.database, chosen, since=since, now=now(), embedded=embedded).runs
    disagreeing = [run.run for run in ended if run.differences]
    for name in disagreeing:
        note(f"error: the books of run {name} do not agree: stop releasing\nhint: despensa run reconcile")
    books = [Exit.BOOKS_DISAGREE for _ in disagreeing]
    return sight, first_of([sight.exit_code, exit_of(result.errors), *books])


class _WorkerWatch:
    """Says once that no worker was seen for a minute."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._next = time.monotonic() + WORKER_MISSED_AFTER_S
        self._told = not entry.settings.distributed

    def warn_if_missed(self) -> None:
        """On standard error."""
        from models.sightings import seen_lately

        if self._told or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + WORKER_MISSED_AFTER_S
        if seen_lately(self._entry.database, "worker") == 0:
            self._told = True
            note("warning: no worker was seen for a minute; start one: despensa worker")


@contextmanager
def _progress() -> Iterator[Callable[[list[RunSummary]], None]]:
    """A bar per location on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _runs: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def show(runs: list[RunSummary]) -> None:
            for run in runs:
                if run.run not in bars:
                    bars[run.run] = progress.add_task(run.run, total=run.counts.planned, state=run.state)
                progress.update(bars[run.run], completed=run.counts.credited, state=run.blocked or run.state)

        yield show

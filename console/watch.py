"""`run status --watch`: runs as they go, on any terminal: a slow line gets only what has changed."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from console.entry import Entry, note
from models.errors import Exit

if TYPE_CHECKING:
    from models.runs import RunSummary
    from models.storage import Tx
    from models.tables import Run

#: A rate is that of so many seconds: shorter and it jumps, longer and it tells of what was.
RATE_OVER_S = 30


@dataclass(slots=True)
class Pace:
    """How fast a count grows."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, at_s: float, count: int) -> None:
        """A look. What lies longer back than RATE_OVER_S is forgotten, but for the last look before it."""
        self.seen.append((at_s, count))
        while len(self.seen) > 2 and self.seen[1][0] <= at_s - RATE_OVER_S:
            self.seen.popleft()

    @property
    def per_s(self) -> float:
        """Of the last half minute."""
        (first_s, first), (last_s, last) = self.seen[0], self.seen[-1]
        return max(0, last - first) / (last_s - first_s) if last_s > first_s else 0

    def left(self, count: int) -> timedelta | None:
        """Until so many more have come; None where nothing moves."""
        return timedelta(seconds=count / self.per_s) if self.per_s > 0 and count > 0 else None


class Screen:
    """Lines on a terminal that are written over, by moving the cursor up and nothing else; or lines after lines."""

    def __init__(self, write: Callable[[str], object], *, terminal: bool, size: Callable[[], tuple[int, ...]]) -> None:
        self._write = write
        self._terminal = terminal
        self._size = size  #: columns and rows
        self._shown: list[str] = []

    def show(self, lines: Sequence[str], *, news: Sequence[str]) -> None:
        """`lines` are all there is to see, `news` those that a log of it lacks. Nothing is written without a change."""
        if not self._terminal:
            self._write("".join(f"{line}\n" for line in news))
            return
        columns, rows = self._size()
        fitting = self._fitting(lines, rows - 1)
        drawn = [line[: columns - 1] for line in fitting]
        if drawn == self._shown:
            return
        drawn += [""] * (len(self._shown) - len(drawn))
        before = self._shown + [""] * (len(drawn) - len(self._shown))
        up = f"\x1b[{len(self._shown)}A" if self._shown else ""
        # A line that is the same is passed over; a shorter one covers the longer one before it with spaces.
        new = ("" if line == old else line.ljust(len(old)) for line, old in zip(drawn, before, strict=True))
        self._write(up + "".join(f"{line}\n" for line in new))
        self._shown = drawn

    @staticmethod
    def _fitting(lines: Sequence[str], rows: int) -> list[str]:
        """The cursor cannot move above the first row: what does not fit is counted. The last line is the sum."""
        if len(lines) <= rows:
            return list(lines)
        kept = max(1, rows - 2)
        return [*lines[:kept], f"and {len(lines) - kept - 1} more: name a run, or enlarge the window", lines[-1]]


def watch(desk: Entry, find: Callable[[Tx], list[Run]], *, every_s: float) -> Exit:
    """Show the runs that `find` finds until all are over, at most every so many seconds."""
    from models.tables import Location

    with desk.database.reading() as tx:
        cities = {place.code: place.name for place in tx.list(Location)}
    terminal = sys.stdout.isatty()
    screen = Screen(_write, terminal=terminal, size=lambda: tuple(shutil.get_terminal_size()))
    paces: dict[str, Pace] = {}
    facts: dict[str, tuple[object, ...]] = {}
    while True:
        runs, summaries, now = _look(desk, find)
        if not runs:
            note("there is no run to follow: despensa run list")
            return Exit.DONE
        lines, news = [], []
        for summary in summaries:
            pace = paces.setdefault(f"{summary.programme}/{summary.run}", Pace())
            pace.add(time.monotonic(), summary.counts.credited)
            line = _line(summary, cities.get(summary.location, ""), pace)
            lines.append(line)
            fact = (summary.state, summary.blocked, summary.counts)
            if facts.get(f"{summary.programme}/{summary.run}") != fact:
                facts[f"{summary.programme}/{summary.run}"] = fact
                news.append(f"{now:%Y-%m-%dT%H:%M:%SZ}  {line}")
        screen.show([*lines, _sum_line(summaries, paces)], news=news)
        if all(run.completed_at is not None for run in runs):
            return Exit.DONE
        wait(every_s)


def wait(seconds: float) -> None:
    """Until the next look."""
    threading.Event().wait(seconds)


def _look(desk: Entry, find: Callable[[Tx], list[Run]]) -> tuple[list[Run], list[RunSummary], datetime]:
    from models.runs import list_summaries

    with desk.database.reading() as tx:
        runs = find(tx)
        return runs, list_summaries(tx, [run.id for run in runs]), tx.now


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


def _line(summary: RunSummary, city: str, pace: Pace) -> str:
    counts = summary.counts
    notices = counts.notices_due + counts.notices_delivered + counts.notices_undelivered
    state = summary.state + (f" ({summary.blocked})" if summary.blocked else "")
    return (
        f"{summary.run:<15} {city:<14.14} {state:<12} {counts.credited:>7,}/{counts.planned:<7,} "
        f"cases {counts.cases:<4,} notices {counts.notices_delivered}/{notices:<3} "
        f"{_speed(pace, counts.planned - counts.credited - counts.cases - counts.not_owed)}"
    ).rstrip()


def _sum_line(summaries: Sequence[RunSummary], paces: dict[str, Pace]) -> str:
    from models.runs import total

    counts = total(summaries)
    latest = max((pace.seen[-1][0] for pace in paces.values()), default=0.0)
    per_s = sum(pace.per_s for pace in paces.values() if pace.seen[-1][0] >= latest - 1)
    rest = counts.planned - counts.credited - counts.cases - counts.not_owed
    return (
        f"{f'{len(summaries)} runs':<15} {'':<14} {'':<12} {counts.credited:>7,}/{counts.planned:<7,} "
        f"cases {counts.cases:<4,} {f'{per_s:,.0f}/s, {rest:,} to go' if per_s > 0 else ''}"
    ).rstrip()


def _speed(pace: Pace, rest: int) -> str:
    """`120/s, 3 min to go`, where something moves."""
    from console.tables import age_text

    left = pace.left(rest)
    return "" if left is None else f"{pace.per_s:,.0f}/s, {age_text(left)} to go"

"""Whose lines are missing: the roll-call in `scheduler.seen` against the lines that these files have.

Schedulers and workers write a line every minute, and every minute each scheduler names those that the database has seen
within the last two minutes and a half. Only operational lines count: a sealed one is written by whoever emits it, for
a fact of any age. No proof, but a hint at the files of which host to add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.columns import instant_text
from models.events import SchedulerSeen
from models.sightings import SEEN_WITHIN_S

Line = dict[str, int | str | bool | None]
Span = tuple[int, int]

#: A roll-call is answered by a line that is not farther from it: clocks of hosts differ, and the end is told late.
ANSWERED_WITHIN_S = 300
#: Which field of a roll-call names whom.
ROLES = {"schedulers": "scheduler", "workers": "worker"}


@dataclass(frozen=True, slots=True)
class Absence:
    """A scheduler or worker of which there is no line in a period, though a scheduler saw it."""

    role: str
    instance: str  #: host and process
    after: str  #: its last line before, or the first roll-call that names it
    before: str  #: its next line, or the last roll-call that names it

    def __str__(self) -> str:
        return (
            f"no line of {self.role} {self.instance} between {self.after} and {self.before}, though a scheduler saw it"
        )

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"role": self.role, "instance": self.instance, "after": self.after, "before": self.before}


@dataclass(slots=True)
class Spans:
    """Seconds at which something was, as spans without a hole longer than `hole_s`."""

    hole_s: int
    spans: list[Span] = field(default_factory=list)

    def add(self, second: int) -> None:
        """In any order; cheapest in the order of time."""
        if self.spans:
            start, end = self.spans[-1]
            if start <= second <= end + self.hole_s:
                self.spans[-1] = (start, max(end, second))
                return
        self.spans.append((second, second))

    def joined(self) -> list[Span]:
        """In order, and none that another touches."""
        found: list[Span] = []
        for start, end in sorted(self.spans):
            if found and start <= found[-1][1] + self.hole_s:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((start, end))
        return found


@dataclass(slots=True)
class RollCall:
    """Collects who was named, and who wrote."""

    _named: dict[tuple[str, str], Spans] = field(default_factory=dict)
    _wrote: dict[str, Spans] = field(default_factory=dict)

    def hear(self, line: Line) -> None:
        """An operational line."""
        try:
            second = int(datetime.fromisoformat(str(line["timestamp"])).timestamp())
        except (KeyError, ValueError):
            return  # none of ours
        writer = str(line.get("service.instance.id"))
        self._wrote.setdefault(writer, Spans(2 * ANSWERED_WITHIN_S)).add(second)
        if line["event"] == SchedulerSeen.NAME:
            for name, role in ROLES.items():
                for instance in str(line.get(name) or "").split():
                    self._named.setdefault((role, instance), Spans(SEEN_WITHIN_S)).add(second)

    def absences(self) -> list[Absence]:
        """Who was named and did not answer, and when."""
        return [
            Absence(role, instance, _instant(after), _instant(before))
            for (role, instance), named in sorted(self._named.items())
            for after, before in _unanswered(named.joined(), self._answers(instance))
        ]

    def _answers(self, instance: str) -> list[Span]:
        return self._wrote[instance].joined() if instance in self._wrote else []


def _unanswered(named: list[Span], wrote: list[Span]) -> Iterator[Span]:
    """The parts of the roll-calls that no line is near, each as far as the lines around it."""
    for first, last in named:
        at = first
        after = first
        for start, end in wrote:
            if start - ANSWERED_WITHIN_S > last:
                break
            if at < start - ANSWERED_WITHIN_S:
                yield after, start
            if end + ANSWERED_WITHIN_S >= at:
                at, after = end + ANSWERED_WITHIN_S, end
        if at < last or at == first == last == after:
            yield after, last


def _instant(second: int) -> str:
    return instant_text(datetime.fromtimestamp(second, UTC))

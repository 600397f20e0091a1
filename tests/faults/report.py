"""The campaign's table: what each fault came to, counted by the tests themselves and printed when they have ended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

#: The name under which a test's rows travel from pytest-xdist's workers to the process that prints.
PROPERTY = "fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault: how often it was caused, and what was found wrong afterwards.

    A zero is what was promised; None, which prints blank, is what nobody counted.
    """

    fault: str
    runs: int
    doubled: int | None = None  #: credited twice, in our books or in the issuer's
    lost: int | None = None  #: owed, and neither credited nor a case
    surplus: int | None = None  #: in the issuer's book and not in ours, or against what the log says
    points: int = 0  #: at how many a month was killed in one round, or may have been; 0 where none were counted
    rounds: int = 0  #: over those points
    recovery_s: tuple[float, ...] = ()  #: one a run, where the fault is something to recover from

    def as_json(self) -> dict[str, object]:
        """What travels."""
        return asdict(self)


def table(rows: Sequence[dict[str, object]]) -> list[str]:
    """The lines to print: rows of one fault, from several tests or profiles, are added up."""
    merged: dict[str, Row] = {}
    for each in rows:
        row = Row(**each)  # type: ignore[arg-type]  # as as_json wrote it
        before = merged.get(row.fault, Row(fault=row.fault, runs=0))
        merged[row.fault] = Row(
            fault=row.fault, runs=before.runs + row.runs, doubled=_sum(before.doubled, row.doubled),
            lost=_sum(before.lost, row.lost), surplus=_sum(before.surplus, row.surplus),
            points=max(before.points, row.points), rounds=before.rounds + row.rounds,
            recovery_s=(*before.recovery_s, *row.recovery_s),
        )  # fmt: skip
    width = max((len(fault) for fault in merged), default=5)
    head = (
        f"{'fault':<{width}}  {'runs':>6}  {'points × rounds':>15}  {'doubled':>7}  {'lost':>4}  {'surplus':>7}"
        f"  {'median':>7}  {'worst':>7}"
    )
    lines = [head, "-" * len(head)]
    for row in sorted(merged.values(), key=lambda each: each.fault):
        middle, worst = (f"{of(row.recovery_s):.1f} s" if row.recovery_s else "" for of in (median, max))
        killed_at = f"{row.points} × {row.rounds}" if row.points else ""
        doubled, lost, surplus = ("" if each is None else each for each in (row.doubled, row.lost, row.surplus))
        lines.append(
            f"{row.fault:<{width}}  {row.runs:>6}  {killed_at:>15}  {doubled:>7}  {lost:>4}  {surplus:>7}"
            f"  {middle:>7}  {worst:>7}"
        )
    return lines


def _sum(before: int | None, more: int | None) -> int | None:
    """Of those that were counted."""
    counted = [each for each in (before, more) if each is not None]
    return sum(counted) if counted else None

"""Tables for people: runs, cases, previews. Scripts take `--json`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.runs import RunSummary

#: Where standard output is no terminal: wide enough that no line is folded.
WIDTH_WITHOUT_TERMINAL = 240


def echo_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = "") -> None:
    """A table on standard output. `right` has an `r` at the place of each column that is aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header, side in zip(headers, right.ljust(len(headers)), strict=True):
        table.add_column(header, justify="right" if side == "r" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    Console(width=width, highlight=False, markup=False).print(table)


def echo_runs(runs: Sequence[RunSummary]) -> None:
    """Runs with their counts."""
    from models.money import format_amount

    rows = [
        (
            run.run, _state(run), run.counts.planned, run.counts.credited,
            run.counts.cases, run.counts.not_owed, format_amount(run.counts.credited_minor, run.currency),
            f"{run.counts.notices_delivered}/{_notices(run)}", run.blocked,
        )
        for run in runs
    ]  # fmt: skip
    headers = ("run", "state", "planned", "credited", "cases", "not owed", "amount credited", "notices", "waits for")
    echo_table(headers, rows, right="  rrrrrr ")


def age_text(age: timedelta) -> str:
    """How long something has lasted, in the unit that tells: 40 s, 12 min, 30 h, 5 d."""
    whole_s = max(0, int(age.total_seconds()))
    if whole_s < 120:
        return f"{whole_s} s"
    if whole_s < 7_200:
        return f"{whole_s // 60} min"
    return f"{whole_s // 3_600} h" if whole_s < 172_800 else f"{whole_s // 86_400} d"


def runs_as_json(runs: Sequence[RunSummary]) -> dict[str, object]:
    """`runs` and `totals` of the contract for scripts."""
    from dataclasses import asdict

    from models.runs import total

    return {"runs": [run.as_json() for run in runs], "totals": asdict(total(runs))}


def _state(run: RunSummary) -> str:
    late = " (late)" if run.late else ""
    return f"{run.state}{late}" + (f": {run.differences} differences in its books" if run.differences else "")


def _notices(run: RunSummary) -> int:
    counts = run.counts
    return counts.notices_due + counts.notices_delivered + counts.notices_undelivered

"""Doing one thing to several runs: each in its own transaction, and what one refuses does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from console.entry import Entry, note, translated
from models.errors import DespensaError, Exit, NoDatabase

if TYPE_CHECKING:
    from models.storage import Tx


def for_each_run(
    desk: Entry, runs: Sequence[tuple[int, str]], act: Callable[[Tx, int], object]
) -> dict[int, DespensaError]:
    """Call `act` for each run, given by its id and as it is typed. Returns and tells what was refused, by run.

    One run alone is no list: what it refuses is raised. Where the database does not answer, the runs after that one are
    not tried, and are refused, too: they would wait for the same.
    """
    from sqlalchemy.exc import DBAPIError

    refused: dict[int, DespensaError] = {}
    for place, (run_id, typed) in enumerate(runs, start=1):
        try:
            with desk.database.transaction() as tx:
                act(tx, run_id)
        except (DespensaError, DBAPIError) as error:
            if len(runs) == 1:
                raise
            refused[run_id] = told = translated(error)
            away = isinstance(told, NoDatabase)
            # The answer to a commit may be what did not come.
            fact = "it is not known whether it was changed" if away else "nothing was changed"
            note(f"run {typed}: {fact}: {told}" + (f"\nhint: {told.hint}" if told.hint else ""))
            if away:
                for other_id, other in runs[place:]:
                    refused[other_id] = told
                    note(f"run {other}: it was not tried")
                break
    return refused


def exit_of_refusals(refused: Sequence[DespensaError]) -> Exit:
    """Of several, the first of design.md's order."""
    from scheduler.follow import exit_of

    return exit_of(refused)

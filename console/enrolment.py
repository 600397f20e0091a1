"""`despensa enrolment`: persons who are enrolled twice, for two operators to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from console.entry import confirm, echo, echo_json, entry, note
from models.errors import RefusedInput

if TYPE_CHECKING:
    from models.conflicts import ConflictView, Decided, Side

app = typer.Typer(no_args_is_help=True, help="Persons who are enrolled twice: list them, decide.")


@app.command()
def conflicts(
    all_: bool = typer.Option(False, "--all", help="Decided ones, too."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Families that are held, since their person is enrolled already, beside that other enrolment.

    What is shown is of families: for this screen alone. The oldest come first, up to 200.
    """
    from models.conflicts import count_waiting, list_conflicts

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        views = list_conflicts(tx, decided_too=all_)
        waiting = count_waiting(tx)
    if as_json:
        echo_json({"waiting": waiting, "conflicts": [view.as_json() for view in views]})
        return
    _echo(views)
    if waiting:
        note(f"{waiting} wait for two operators: despensa enrolment decide CONFLICT --same | --different")


@app.command()
def decide(
    conflict: int = typer.Argument(help="The number of the conflict."),
    same: bool = typer.Option(False, "--same", help="One person: the newcomer is stopped, the other goes on."),
    different: bool = typer.Option(False, "--different", help="Two people: the newcomer becomes active as well."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Say whether the two are one person. It is decided once another operator has said the same.

    Where two disagree it stays open. What was found to be one person can be decided anew by two.
    """
    from models.conflicts import decide as decide_conflict
    from models.conflicts import view_conflict
    from models.states import ConflictDecision

    if same == different:
        raise RefusedInput("say either --same or --different")
    decision = ConflictDecision.SAME if same else ConflictDecision.DIFFERENT
    with entry() as desk:
        with desk.database.reading() as tx:
            view = view_conflict(tx, conflict)
        _echo([view])
        confirm(f"Conflict {conflict}: {'one person' if same else 'two people'}?", yes=yes)
        with desk.database.transaction() as tx:
            decided = decide_conflict(tx, conflict, decision)
    _tell(conflict, decision, decided)


def _tell(conflict: int, decision: str, decided: Decided) -> None:
    if decided.outcome:
        note(f"conflict {conflict} is decided: {decided.outcome}; the newcomer is {decided.newcomer_status}")
        if decided.outcome == "different" and decided.newcomer_status == "held:double_enrolment":
            note("it waits for another conflict of its own: despensa enrolment conflicts")
        return
    if decided.disagrees_with:
        note(f"{decided.disagrees_with} found otherwise: conflict {conflict} stays open, with your decision")
    note(f"another operator must find the same: despensa enrolment decide {conflict} --{decision}")


def _echo(views: list[ConflictView]) -> None:
    from console.tables import echo_table
    from models.columns import instant_text

    rows: list[tuple[object, ...]] = []
    for view in views:
        said = f"{view.outcome or view.decision}: {', '.join(view.decided_by)}" if view.decided_by else "-"
        first = (view.conflict, view.programme, instant_text(view.found_at)[:10], "newcomer")
        rows.append((*first, *_cells(view.newcomer), said))
        rows.append(("", "", "", "other", *_cells(view.other), ""))
    headers = (
        "conflict", "programme", "found", "", "registration", "location", "members", "months of support", "with a line",
        "status", "decided",
    )  # fmt: skip
    if rows:
        echo_table(headers, rows, right="r     r    ")
    else:
        echo("no conflict")


def _cells(side: Side) -> tuple[object, ...]:
    return (
        side.registration_id, side.location_code, side.members, f"{side.first_cycle} to {side.last_cycle}",
        " ".join(side.months) or "-", side.status,
    )  # fmt: skip

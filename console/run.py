"""`despensa run`: look at runs, and decide about them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.cases import cases, resolve, retry
from console.entry import confirm, echo, echo_json, entry, note
from console.halt import cancel, pause, resume
from console.planning import plan
from console.recover import lost, recover
from console.start import start
from models.errors import Exit, RefusedInput

if TYPE_CHECKING:
    from models.runs import RunSummary
    from models.storage import Tx
    from models.tables import Run

app = typer.Typer(no_args_is_help=True, help="The monthly runs: start, look, approve, release, repair.")

RUN = typer.Argument(help="Such as 2026-12/02004, with .2 for part 2.")
YES = typer.Option(False, "--yes", help="Do not ask.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")


def list_(
    cycle: str = typer.Option("", help="Only this cycle."),
    location: str = typer.Option("", help="Only this location."),
    as_json: bool = JSON,
) -> None:
    """Every run, newest cycle last."""
    from models.runs import find_location, parse_cycle

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        code = find_location(tx, location).code if location else ""
        summaries = _summaries(tx, cycle=str(parse_cycle(cycle)) if cycle else "", location_code=code)
    _show(summaries, as_json=as_json)


def status(
    run: str = typer.Argument("", help="One run; without it, those of the newest cycle and all that are not over."),
    watch: bool = typer.Option(False, "--watch", help="Go on as they go, until all are over. Ctrl-C ends with 130."),
    every: float = typer.Option(1.0, min=1.0, help="With --watch, look again after so many seconds."),
    as_json: bool = JSON,
) -> int:
    """Counts, cases and notices; with --watch as they go, with the rate and how long it will still take."""
    from models.runs import find_run, list_summaries

    def find(tx: Tx) -> list[Run]:
        return [find_run(tx, run)] if run else _current(tx)

    if watch and as_json:
        raise RefusedInput("--watch is for people", hint="without it, --json says how things are")
    with entry(while_held=True) as desk:
        if watch:
            from console.watch import watch as watch_runs

            return watch_runs(desk, find, every_s=every)
        with desk.database.reading() as tx:
            summaries = list_summaries(tx, [each.id for each in find(tx)])
    _show(summaries, as_json=as_json)
    return Exit.DONE


def approve(run: str = RUN, yes: bool = YES) -> None:
    """Approve a planned run, as a person who did not plan it; above the programme's threshold as one of two.

    The next tick releases it once its payday has come.
    """
    from models.runs import find_run
    from scheduler.approve import approve_by_person, list_refusals

    with entry() as desk:
        with desk.database.reading() as tx:
            tx.allow_long_statement()
            found = find_run(tx, run)
            refusals = list_refusals(tx, found, now=datetime.now(UTC))
        for reason in refusals:
            echo(f"the policy leaves it to a person: {reason.removeprefix('approval: ')}")
        if found.first_approved_by:
            echo(f"approved a first time by {found.first_approved_by}")
        _confirm_run(found, "Approve", yes=yes)
        with desk.database.transaction() as tx:
            approved = approve_by_person(tx, found.id)
    if not approved.complete:
        note(f"run {run} is approved by the first of two persons; it waits for another: despensa run approve {run}")
        return
    by = f" by {approved.levels} persons" if approved.levels > 1 else ""
    note(f"run {run} is approved{by}; the next tick goes on: despensa run start")


def release(run: str = RUN, yes: bool = YES) -> None:
    """Reserve an approved run's total and open its batches, without waiting for the next tick."""
    from models.runs import find_run
    from scheduler.release import release as release_run

    with entry() as desk:
        with desk.database.reading() as tx:
            found = find_run(tx, run)
        _confirm_run(found, "Release", yes=yes)
        with desk.database.transaction() as tx:
            release_run(tx, found.id, now=datetime.now(UTC))
    note(f"run {run} is released; the next tick sends its batches: despensa run start")


def discard(run: str = RUN, yes: bool = YES) -> None:
    """Drop a plan that was not released. The slot can then be planned anew."""
    from models.runs import find_run
    from scheduler.discard import discard as discard_plan

    with entry(while_held=True) as desk:
        with desk.database.reading() as tx:
            found = find_run(tx, run)
        _confirm_run(found, "Discard the plan of", yes=yes)
        with desk.database.transaction() as tx:
            discard_plan(tx, found.id)
    note(f"the plan of run {run} is discarded")


def reconcile(
    heads: list[Path] = typer.Option(
        [],
        "--heads",
        help="A file of the journal's heads that was kept elsewhere; that of this host is always compared.",
    ),
    as_json: bool = JSON,
) -> int:
    """Whether every balance agrees with its rows, the journal with kept heads, issuers' statements with us. Else 13."""
    from console.tables import echo_table
    from models.heads_file import read_heads
    from models.reconcile import names_of_checks, stated_differences
    from scheduler.books_watch import read_kept, reconcile_and_tell

    given = [head for path in heads for head in read_heads(path)]
    with entry(while_held=True) as desk, desk.database.reading() as tx:
        differences = reconcile_and_tell(tx, desk.log, kept=sorted({*given, *read_kept(desk.settings.heads)}))
        # Not of our books, and so no `books.disagreed`: what an issuer says. It has its own event, and its next step.
        differences += stated_differences(tx)
    if as_json:
        echo_json({"agrees": not differences, "differences": [each.as_json() for each in differences]})
    elif differences:
        echo_table(("check", "expected", "found"), [(each.check, each.expected, each.found) for each in differences])
    else:
        for check in names_of_checks():
            echo(f"ok  {check}")
        echo("the books agree")
    return Exit.BOOKS_DISAGREE if differences else Exit.DONE


def _summaries(tx: Tx, *, cycle: str, location_code: str) -> list[RunSummary]:
    from models.runs import list_summaries
    from models.tables import Run

    where = [Run.cycle == cycle] if cycle else []
    where += [Run.location_code == location_code] if location_code else []
    return list_summaries(tx, [run.id for run in tx.list(Run, *where)])


def _current(tx: Tx) -> list[Run]:
    """The runs of the newest cycle, and all that are not over."""
    from models.tables import Run

    runs = tx.list(Run, order=[Run.cycle, Run.location_code, Run.part])
    newest = max((each.cycle for each in runs), default="")
    over = ("completed", "completed_with_cases", "cancelled")
    return [each for each in runs if each.cycle == newest or each.state not in over]


def _show(summaries: list[RunSummary], *, as_json: bool) -> None:
    from console.tables import echo_runs, runs_as_json

    if as_json:
        echo_json(runs_as_json(summaries))
    else:
        echo_runs(summaries)


def _confirm_run(run: Run, verb: str, *, yes: bool) -> None:
    from models.money import format_amount
    from models.tables import run_code

    amount = format_amount(run.planned_minor, run.currency)
    echo(f"run {run_code(run)}: {run.state}, {run.lines} families, {amount}")
    confirm(f"{verb} run {run_code(run)}?", yes=yes)


for _name, _command in (
    ("start", start), ("list", list_), ("plan", plan), ("approve", approve), ("release", release), ("status", status),
    ("cases", cases), ("retry", retry), ("resolve", resolve), ("pause", pause), ("resume", resume),
    ("discard", discard), ("cancel", cancel), ("reconcile", reconcile), ("lost", lost),
    ("recover", recover),
):  # fmt: skip
    app.command(_name)(_command)

"""`run pause`, `run resume` and `run cancel`: of a run, a location or all, and when they have taken effect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import typer

from console.each_run import exit_of_refusals, for_each_run
from console.entry import Entry, confirm, echo, entry, note
from models.deadlines import LEASE_S
from models.errors import Exit, Misconfigured

if TYPE_CHECKING:
    from models.states import RunState
    from models.tables import Run

RUN = typer.Argument("", help="One run, such as 2026-12/02004, with .2 for part 2.")
LOCATION = typer.Option("", help="The runs of this location: its code, or an unambiguous name.")
ALL = typer.Option(False, "--all", help="The runs of all locations.")
YES = typer.Option(False, "--yes", help="Do not ask.")

#: What was taken before a pause is over with its lease; and the database's answer takes its time.
STILL_WITHIN_S = LEASE_S + 5
#: A scheduler that was seen lately sends what was resumed within this, unless something is wrong with it.
SENT_WITHIN_S = 15
POLL_S = 0.2


def pause(
    run: str = RUN,
    location: str = LOCATION,
    all_: bool = ALL,
    reason: str = typer.Option("asked by an operator", help="For the log and the dashboard; it names nobody."),
) -> int:
    """Take no more batches of a released run, of a location's, or of all, and say when nothing is under way any more.

    It does not ask: run resume goes on. Runs that are released afterwards are not paused. Exit 1 where a run refuses,
    or a batch is still under way after 20 s.
    """
    from models.states import RunState
    from scheduler.pause import pause as pause_run

    with entry(while_held=True) as desk:
        runs = _choose(desk, run=run, location=location, all_=all_, states=(RunState.RELEASED,))
        refused = for_each_run(desk, runs, lambda tx, run_id: pause_run(tx, run_id, reason=reason))
        paused = _without(runs, refused)
        still = _wait_until_still(desk, paused, told="is paused: no batch of it is begun any more")
        for _, typed in _without(paused, still):
            note(f"run {typed} is paused, and nothing of it is under way; it goes on with: despensa run resume {typed}")
        if not run:
            _tell_of_unreleased(desk, location=location)
    return Exit.FAILED if still else exit_of_refusals(list(refused.values()))


def resume(run: str = RUN, location: str = LOCATION, all_: bool = ALL) -> int:
    """Go on with a paused run, with those of a location, or with all, and say when their batches are sent."""
    from models.states import RunState
    from scheduler.pause import resume as resume_run

    with entry() as desk:
        runs = _choose(desk, run=run, location=location, all_=all_, states=(RunState.PAUSED,))
        refused = for_each_run(desk, runs, resume_run)
        _tell_of_resumed(desk, _without(runs, refused))
    return exit_of_refusals(list(refused.values()))


def cancel(run: str = RUN, location: str = LOCATION, all_: bool = ALL, yes: bool = YES) -> int:
    """Stop a released run, those of a location, or all, for good. What is not credited becomes cases.

    Their reserve goes back to the funds; run retry reserves it again. Says when that is done: once nothing is under way
    any more, and an outside issuer was asked about each line in doubt. Runs that are released afterwards are not
    cancelled.
    """
    from models.states import RunState
    from scheduler.cancel import cancel as cancel_run
    from scheduler.cancel import settle_cancelled

    states = (RunState.RELEASED, RunState.PAUSED)
    with entry() as desk:
        runs = _choose(desk, run=run, location=location, all_=all_, states=states)
        if not runs:
            return Exit.DONE
        _show_to_cancel(desk, runs)
        confirm(f"Cancel {f'run {runs[0][1]}' if len(runs) == 1 else f'these {len(runs)} runs'}?", yes=yes)
        refused = for_each_run(desk, runs, cancel_run)
        cancelled = _without(runs, refused)
        still = _wait_until_still(desk, cancelled, told="is cancelled: no batch of it is begun any more")
        unsettled = for_each_run(desk, _without(cancelled, still), settle_cancelled)
        _tell_of_cancelled(desk, _without(cancelled, still))
        if not run:
            _tell_of_unreleased(desk, location=location)
    return Exit.FAILED if still else exit_of_refusals([*refused.values(), *unsettled.values()])


def wait(seconds: float) -> None:
    """Until the next look."""
    threading.Event().wait(seconds)


def _choose(desk: Entry, *, run: str, location: str, all_: bool, states: Sequence[RunState]) -> list[tuple[int, str]]:
    """The runs, each with its id and as it is typed. One that is named is chosen whatever its state: it may refuse."""
    from models.runs import find_location, find_run
    from models.tables import Programme, Run

    if sum((bool(run), bool(location), all_)) != 1:
        raise Misconfigured("say which runs: one RUN, --location or --all", hint="despensa run status")
    with desk.database.reading() as tx:
        if run:
            return [(find_run(tx, run).id, run)]
        where = [Run.state.in_(states)]  # type: ignore[attr-defined]
        place = find_location(tx, location) if location else None
        where += [Run.location_code == place.code] if place else []
        codes = {programme.id: programme.code for programme in tx.list(Programme)}
        runs = [
            (each.id, f"{codes[each.programme_id]}/{typed}" if len(codes) > 1 else typed)
            for each in tx.list(Run, *where, order=[Run.cycle, Run.location_code, Run.part])
            for typed in [_code(each)]
        ]
    if not runs:
        note(f"no run{f' of {place.name}' if place else ''} is {' or '.join(states)}: nothing was changed")
    return runs


def _code(run: Run) -> str:
    from models.tables import run_code

    return run_code(run)


def _without(runs: Sequence[tuple[int, str]], others: Collection[int]) -> list[tuple[int, str]]:
    return [(run_id, typed) for run_id, typed in runs if run_id not in others]


def _wait_until_still(desk: Entry, runs: Sequence[tuple[int, str]], *, told: str) -> dict[int, int]:
    """Until no lease of these runs is live. Says what is under way meanwhile; returns what still is at the end."""
    from scheduler.pause import count_under_way

    typed = dict(runs)
    left: dict[int, int] = dict.fromkeys(typed, -1)

    def look() -> bool:
        with desk.database.reading() as tx:
            found = {run_id: count_under_way(tx, run_id) for run_id in left}
        for run_id, count in found.items():
            if count and count != left[run_id]:
                note(f"run {typed[run_id]} {told}; still under way: {count} taken before, for {LEASE_S} s at most")
        left.clear()
        left.update({run_id: count for run_id, count in found.items() if count})
        return not left

    if not _wait_for(look, within_s=STILL_WITHIN_S):
        for run_id, count in left.items():
            note(
                f"run {typed[run_id]} {told}; {count} batches are still under way after {STILL_WITHIN_S} s"
                f"\nhint: is the database slow? despensa doctor; then: despensa run status {typed[run_id]}"
            )
    return left


def _wait_for(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        wait(POLL_S)
    return True


def _tell_of_unreleased(desk: Entry, *, location: str) -> None:
    """What a command for a location or for all does not hold back."""
    from models.runs import find_location
    from models.states import UNRELEASED
    from models.tables import Run

    with desk.database.reading() as tx:
        where = [Run.state.in_(UNRELEASED)]  # type: ignore[attr-defined]
        where += [Run.location_code == find_location(tx, location).code] if location else []
        count = len(tx.list(Run, *where))
    there = f": {count} are planned or approved" if count else ""
    note(f"runs that are released from now on go on{there}; to hold those back, too, stop schedulers and cron")


def _tell_of_resumed(desk: Entry, runs: Sequence[tuple[int, str]]) -> None:
    from models.sightings import seen_lately
    from scheduler.pause import is_sent

    if not runs:
        return
    if not desk.settings.distributed or not seen_lately(desk.database, "scheduler"):
        said = "no scheduler was seen lately: it goes on" if desk.settings.distributed else "it goes on"
        for _, typed in runs:
            note(f"run {typed} is resumed; {said} with the next tick: despensa run start")
        return
    left = dict(runs)

    def look() -> bool:
        with desk.database.reading() as tx:
            sent = [run_id for run_id in left if is_sent(tx, run_id)]
        for run_id in sent:
            note(f"run {left.pop(run_id)} is resumed, and its batches are sent")
        return not left

    if not _wait_for(look, within_s=SENT_WITHIN_S):
        for typed in left.values():
            note(f"warning: run {typed} is resumed; nothing of it was sent for {SENT_WITHIN_S} s: despensa doctor")


def _show_to_cancel(desk: Entry, runs: Sequence[tuple[int, str]]) -> None:
    """Count and amount of what would not be credited any more."""
    from models.money import format_amount
    from models.runs import summarise

    with desk.database.reading() as tx:
        for run_id, typed in runs:
            summary = summarise(tx, run_id)
            counts = summary.counts
            left = counts.planned - counts.credited
            amount = format_amount(counts.planned_minor - counts.credited_minor, summary.currency)
            planned = format_amount(counts.planned_minor, summary.currency)
            echo(f"run {typed}: {summary.state}, {counts.planned} families, {planned}; not credited: {left}, {amount}")


def _tell_of_cancelled(desk: Entry, runs: Sequence[tuple[int, str]]) -> None:
    """A scheduler may have settled a run before this command could: what counts is how it is now."""
    from models.tables import Run

    with desk.database.reading() as tx:
        for run_id, typed in runs:
            if tx.get(Run, Run.id == run_id).completed_at is None:
                note(
                    f"run {typed} takes no more batches; its issuer is asked about lines in doubt first, the rest "
                    "becomes cases with a later tick: despensa run start"
                )
            else:
                note(f"run {typed} is cancelled; its open lines are cases: despensa run cases {typed}")

"""`run lost` and `run recover`: runs that a restored backup does not have, and what a person decides of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import Entry, confirm, echo, echo_json, entry, note
from models.errors import Exit, RefusedInput

if TYPE_CHECKING:
    from models.handed_over import Files
    from models.lost import Before
    from models.tables import LostRun


def lost(
    all_: bool = typer.Option(False, "--all", help="Those that are decided, too."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Runs that the logs know and this restored database does not, until a person has decided. Exit 14 while one waits.

    Until then their programmes plan and release nothing.
    """
    from console.restored import lost_as_json
    from console.tables import echo_table
    from models.lost import before, list_lost
    from models.money import format_amount
    from models.tables import run_code

    with entry() as desk, desk.database.reading() as tx:
        found = list_lost(tx, undecided=not all_)
        said = {each.run_id: before(tx, each) for each in found}
    if as_json:
        echo_json({"lost_runs": [lost_as_json(each, said[each.run_id]) for each in found]})
    elif found:
        rows = [
            (
                run_code(each), each.run_id, each.planned, each.credited,
                format_amount(each.credited_minor, each.currency), each.exported,
                str(said[each.run_id]), each.outcome or "waits", each.decided_by or "", each.evidence,
            )
            for each in found
        ]  # fmt: skip
        headers = ("run", "run id", "planned", "credited", "amount", "files", "before", "decision", "by", "evidence")
        echo_table(headers, rows, right=" rrrrr    ")
    else:
        note("no run is lost" if all_ else "no lost run waits for a person")
    return Exit.WAITING_FOR_APPROVAL if any(each.outcome is None for each in found) else Exit.DONE


def recover(
    run: str = typer.Argument(help="A lost run, such as 2026-12/02004, or its run id."),
    handed_over: list[Path] = typer.Option(
        [], "--handed-over", metavar="FILE", help="A hand-over file of the run, as it was written; several for several."
    ),
    not_handed_over: str = typer.Option(
        "", metavar="EVIDENCE", help="Nothing was handed over, or nothing but the files: a reference to the proof."
    ),
    count: int = typer.Option(None, help="Without files, where some were written: how many vouchers they held."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> int:
    """A person's decision about a lost run: enter it again from its hand-over files, or plan its families anew.

    With files, the run comes back under its old numbers, credited and drawn on the funds; families that are not in them
    become the next part. Without, the slot is planned anew, under other numbers: only where nobody holds a voucher.
    """
    from models.handed_over import read_handed_over
    from models.keys import load_keys
    from models.lost import before, find_lost
    from scheduler.recover import disown
    from scheduler.recover import recover as recover_run

    if not handed_over and not not_handed_over:
        raise RefusedInput("say --handed-over FILE, or --not-handed-over EVIDENCE", hint="despensa run lost")
    with entry() as desk:
        with desk.database.reading() as tx:
            found = find_lost(tx, run)
            said = before(tx, found)
        _show(found, said)
        if not handed_over:
            confirm(f"Was nothing of run {run} handed over, so that all is planned anew?", yes=yes)
            with desk.database.transaction() as tx:
                disown(tx, found.run_id, evidence=not_handed_over, count=count)
            note(f"run {run} is given up; its families are planned anew with the next tick: despensa run start")
            return Exit.DONE
        keys = load_keys(desk.settings.keys, "pin")
        files = read_handed_over(handed_over, run_id=found.run_id, currency=found.currency, keys=keys)
        _show_files(desk, found, files)
        confirm(f"Enter these {len(files.vouchers):,} vouchers as handed over?", yes=yes)
        with desk.database.transaction() as tx:
            recover_run(tx, found.run_id, files, evidence=not_handed_over)
    note(f"run {run} is entered again; compare: despensa run reconcile; then: despensa run start")
    return Exit.DONE


def _show(lost: LostRun, said: Before) -> None:
    from console.restored import lost_text

    echo(f"lost      {lost_text(lost, said)}")
    if said.halted:
        note("warning: whatever is released of its city and month later is paused first, until a person resumes it")


def _show_files(desk: Entry, lost: LostRun, files: Files) -> None:
    """What they hold, and where that is not what the logs say."""
    from models.money import format_amount
    from scheduler.recover import get_digests

    with desk.database.reading() as tx:
        known = get_digests(tx, lost)
    echo(f"files     {len(files.vouchers):,} vouchers, {format_amount(files.amount_minor, lost.currency)}")
    strange = sum(digest not in known for digest in files.digests)
    if strange:
        note(f"warning: {strange} of these files are none that the logs know by their digest; every row proves itself")
    missing = len(set(known) - set(files.digests))
    if missing:
        note(f"warning: the logs know of {missing} more files of this run")
    if len(files.vouchers) > lost.credited:
        note(f"warning: by the logs only {lost.credited:,} were credited; their last lines may never have been shipped")

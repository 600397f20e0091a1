"""`despensa voucher`: the life of one voucher, and the hand-over file of a run."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import confirm, echo, echo_json, entry, note
from models.errors import NotFound

if TYPE_CHECKING:
    from models.handover import Life

app = typer.Typer(no_args_is_help=True, help="Vouchers: look at one, hand those of a run over.")


@app.command()
def show(
    number: str = typer.Argument(help="The number on the voucher, with its check digit."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """The life of one voucher: run, batch, fund, credit, validity, its event in the log, its cases. No family."""
    from models.handover import find_life
    from models.keys import parse_voucher_number

    disbursement_id = parse_voucher_number(number)
    with entry(while_held=True) as desk, desk.database.reading() as tx:
        life = find_life(tx, disbursement_id)
    if life is None:
        raise NotFound(f"there is no voucher {number} in {desk.database.name}", hint="despensa run list")
    if as_json:
        echo_json(_as_json(life))
    else:
        _echo_life(life)


@app.command()
def export(
    run: str = typer.Argument(help="Such as 2026-12/02004, with .2 for part 2."),
    out: Path = typer.Option(..., "--out", help="The file to write; it must not exist."),  # typer's way
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Write the vouchers of a run, with registration ids and PINs, for the partner who hands them to the families.

    Journalled each time, with the digest of the file. Columns are text: a spreadsheet must import them as such, or
    PINs lose their leading zeros.
    """
    from models.handover import count_vouchers, export_run
    from models.key_rotation import require_same
    from models.keys import load_keys
    from models.runs import find_run
    from models.tables import run_code

    with entry() as desk:
        keys = load_keys(desk.settings.keys, "pin")
        with desk.database.reading() as tx:
            require_same(tx, keys)  # another key under one of the versions would print PINs that nobody else has
            found = find_run(tx, run)
            count = count_vouchers(tx, found)
        if count < found.lines:
            note(f"run {run_code(found)} is {found.state}: {count:,} of {found.lines:,} lines have a voucher so far")
        confirm(f"Write {count:,} vouchers with registration ids and PINs to {out}?", yes=yes)
        written = export_run(desk.database, found, keys=keys, path=out)
    echo(f"{written.digest}  {written.path}")
    note(f"{written.vouchers:,} vouchers, journalled. Hand the file over encrypted, then delete it: shred -u {out}")


def _as_json(life: Life) -> dict[str, object]:
    values: dict[str, object] = {**asdict(life), "credited_at": _instant(life.credited_at)}
    values["valid_until"] = life.valid_until.isoformat() if life.valid_until else None
    values["cases"] = [
        {**asdict(case), "opened_at": _instant(case.opened_at), "closed_at": _instant(case.closed_at)}
        for case in life.cases
    ]
    return values


def _echo_life(life: Life) -> None:
    from models.money import format_amount

    credited = _instant(life.credited_at) or "not credited"
    by = f"batch {life.batch}" if life.batch is not None else "a person's decision about its case"
    lines = {
        "voucher": life.number,
        "disbursement": life.disbursement,
        "run": f"{life.run} of {life.programme}, {life.run_state}",
        "amount": format_amount(life.amount_minor, life.currency),
        "credited": f"{credited}, by {by}" if life.credited else credited,
        "fund": life.fund or "-",
        "valid until": life.valid_until or "-",
        "PIN key": f"version {life.key_version}" if life.key_version else "-",
        "log": f"seq {life.seq}" if life.seq else "not sealed yet" if life.credited else "-",
    }
    for name, value in lines.items():
        echo(f"{name:<13} {value}")
    for case in life.cases:
        echo(
            f"{'case':<13} {case.case}: {case.reason}, {case.outcome}, {case.attempts} attempts, "
            f"opened {_instant(case.opened_at)}" + (f", closed {_instant(case.closed_at)}" if case.closed_at else "")
        )


def _instant(instant: datetime | None) -> str | None:
    from models.columns import instant_text

    return None if instant is None else instant_text(instant)

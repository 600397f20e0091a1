"""`despensa fund`: where every peso of a donor is. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from console.entry import echo_json, entry, note
from models.errors import BooksDisagree, NotFound, RefusedInput

if TYPE_CHECKING:
    from models.report.fund import Statement

app = typer.Typer(no_args_is_help=True, help="Funds: what of each is free, reserved, and outstanding as vouchers.")


@app.callback()
def _group() -> None:
    """Typer makes a group of one command only where there is a callback."""


@app.command()
def statement(
    fund: str = typer.Option("", help="Only this fund: its code, as in funds.csv."),
    donor: str = typer.Option("", help="Only the funds of this donor, by its name as in funds.csv."),
    cycle: str = typer.Option("", help="Of the months only this one, YYYY-MM."),
    programme: str = typer.Option("", help="The programme, where there are several."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
    as_csv: bool = typer.Option(False, "--csv", help="CSV on standard output, with headers that stay."),
) -> None:
    """By fund, donor and month: funded = free + reserved + outstanding. Exit 13 where that does not add up.

    Amounts are in the vouchers' currency. What stands in the donor's is a report, at the rate of the runs.
    """
    from console.sheets import echo_csv, echo_sheet
    from models.report.fund import fund_statement
    from models.runs import only_programme, parse_cycle

    if as_json and as_csv:
        raise RefusedInput("--json and --csv are two forms of the same", hint="leave one of them out")
    month = str(parse_cycle(cycle)) if cycle else ""
    with entry(while_held=True) as desk, desk.database.reading() as tx:
        chosen = only_programme(tx, programme or None)
        found = fund_statement(tx, chosen, fund=fund, donor=donor, cycle=month)
    if not found.funds:
        raise NotFound("no fund is called so, or is of that donor", hint="despensa fund statement")
    if as_json:
        echo_json({**found.sheet().as_json(), "adds_up": found.adds_up})
    elif as_csv:
        echo_csv(found.sheet())
    else:
        echo_sheet(found.sheet())
        note("outstanding value: a report at the rate of the runs, no posting")
    _require_sums(found)


def _require_sums(found: Statement) -> None:
    wrong = [f"{line.kind} {line.fund or line.donor} {line.cycle}".strip() for line in found.lines
             if line.difference_minor]  # fmt: skip
    if wrong:
        raise BooksDisagree(
            f"what was given is not what is free, reserved and outstanding: {', '.join(wrong[:10])}",
            hint="stop releasing, then: despensa run reconcile",
        )

"""`despensa report`: what donors and auditors are told, as a table, CSV or JSON. Reads only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from console.entry import echo_json, entry, note
from models.errors import RefusedInput
from models.report.by import By

if TYPE_CHECKING:
    from models.report.sheet import Sheet
    from models.storage import Tx
    from models.tables import Programme

app = typer.Typer(
    no_args_is_help=True, help="Reports for donors and auditors: months, stores, donors, cases, approvals."
)

FROM = typer.Option("", "--from", help="The first month, YYYY-MM; default: the last one that has a run.")
TO = typer.Option("", "--to", help="The last month; default: the first one.")
PROGRAMME = typer.Option("", help="The programme, where there are several.")
OUTSIDE = typer.Option(False, "--outside", help="For whoever is not of the organisation: small cells are suppressed.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
CSV = typer.Option(False, "--csv", help="CSV on standard output, with headers that stay.")


@app.command()
def month(
    by: By = typer.Option(
        By.LOCATION, help="What a city's row is parted by; support: the family's first month, second…"
    ),
    first: str = FROM,
    last: str = TO,
    programme: str = PROGRAMME,
    outside: bool = OUTSIDE,
    as_json: bool = JSON,
    as_csv: bool = CSV,
) -> None:
    """Planned against credited by city and month, in both currencies, with the rate, and families that completed."""
    from models.report.month import month_report

    _report(
        lambda tx, chosen, first, last: month_report(
            tx, chosen, first_cycle=first, last_cycle=last, by=by, outside=outside
        ),
        first=first, last=last, programme=programme, as_json=as_json, as_csv=as_csv,
    )  # fmt: skip


@app.command()
def store(
    first: str = FROM,
    last: str = TO,
    programme: str = PROGRAMME,
    outside: bool = OUTSIDE,
    as_json: bool = JSON,
    as_csv: bool = CSV,
) -> None:
    """What each store was told of each month: runs, vouchers, sums, and which notices arrived."""
    from models.report.others import store_report

    _report(
        lambda tx, chosen, first, last: store_report(tx, chosen, first_cycle=first, last_cycle=last, outside=outside),
        first=first, last=last, programme=programme, as_json=as_json, as_csv=as_csv,
    )  # fmt: skip


@app.command()
def donor(
    first: str = FROM,
    last: str = TO,
    programme: str = PROGRAMME,
    outside: bool = OUTSIDE,
    as_json: bool = JSON,
    as_csv: bool = CSV,
) -> None:
    """What each donor's money became: vouchers and sums by fund, city and month."""
    from models.report.others import donor_report

    _report(
        lambda tx, chosen, first, last: donor_report(tx, chosen, first_cycle=first, last_cycle=last, outside=outside),
        first=first, last=last, programme=programme, as_json=as_json, as_csv=as_csv,
    )  # fmt: skip


@app.command()
def cases(
    first: str = FROM,
    last: str = TO,
    programme: str = PROGRAMME,
    outside: bool = OUTSIDE,
    as_json: bool = JSON,
    as_csv: bool = CSV,
) -> None:
    """Every case there was, open or closed: by run, reason and how it ended."""
    from models.report.others import case_report

    _report(
        lambda tx, chosen, first, last: case_report(tx, chosen, first_cycle=first, last_cycle=last, outside=outside),
        first=first, last=last, programme=programme, as_json=as_json, as_csv=as_csv,
    )  # fmt: skip


@app.command()
def approvals(
    first: str = FROM,
    last: str = TO,
    programme: str = PROGRAMME,
    as_json: bool = JSON,
    as_csv: bool = CSV,
) -> None:
    """Who planned and approved each run, and for what: families, sum, rate and digest. It names operators."""
    from models.report.others import approval_report

    _report(
        lambda tx, chosen, first, last: approval_report(tx, chosen, first_cycle=first, last_cycle=last),
        first=first, last=last, programme=programme, as_json=as_json, as_csv=as_csv,
    )  # fmt: skip


def _report(
    make: Callable[[Tx, Programme, str, str], Sheet],
    *,
    first: str,
    last: str,
    programme: str,
    as_json: bool,
    as_csv: bool,
) -> None:
    from models.runs import only_programme, parse_cycle

    if as_json and as_csv:
        raise RefusedInput("--json and --csv are two forms of the same", hint="leave one of them out")
    if last and not first:
        raise RefusedInput("--to needs --from", hint="name the first month, too")
    months = [str(parse_cycle(each)) for each in (first, last or first) if each]
    if months and months[1] < months[0]:
        raise RefusedInput("the last month is before the first", hint="exchange --from and --to")
    with entry(while_held=True) as desk, desk.database.reading() as tx:
        chosen = only_programme(tx, programme or None)
        months = months or [_last_cycle(tx, chosen)] * 2
        sheet = make(tx, chosen, *months)
    _echo(sheet, as_json=as_json, as_csv=as_csv)


def _last_cycle(tx: Tx, programme: Programme) -> str:
    from models.tables import Run

    found = tx.list(Run, Run.programme_id == programme.id, order=[Run.cycle.desc()], limit=1)  # type: ignore[attr-defined]
    if not found:
        raise RefusedInput(f"programme {programme.code} has no run yet: there is nothing to report")
    return found[0].cycle


def _echo(sheet: Sheet, *, as_json: bool, as_csv: bool) -> None:
    from console.sheets import echo_csv, echo_sheet

    if as_json:
        echo_json(sheet.as_json())
    elif as_csv:
        echo_csv(sheet)
    else:
        echo_sheet(sheet)
        if not sheet.rows:
            note("there is nothing to report of these months")

"""`despensa statement`: what an outside issuer says it credited, against our books."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import Entry, confirm, echo, echo_json, entry, note
from models.errors import Exit, RefusedInput
from models.states import DifferenceReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from models.differences import DifferenceView
    from models.intake.statement import Period
    from models.statements import StatementReport

app = typer.Typer(no_args_is_help=True, help="An outside issuer's statement, against our books.")

#: More than anybody reads in a table; --json and --csv give all.
DIFFERENCES_SHOWN = 1_000
PROGRAMME = typer.Option("", help="The programme, where there are several.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")
INSTANT = "a day, which begins at midnight UTC, or an instant such as 2026-12-01T00:00:00-06:00"


@app.command("import")
def import_(
    path: Path | None = typer.Argument(None, help="The issuer's file; or --fetch.", show_default=False),
    start: str = typer.Option(..., "--from", help=f"The begin of the time that it covers: {INSTANT}."),
    end: str = typer.Option(..., "--to", help="Its end, which is not included."),
    programme: str = PROGRAMME,
    fetch: bool = typer.Option(False, "--fetch", help="Ask the issuer for it, by the protocol, instead of a file."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would change, and change nothing."),
    as_json: bool = JSON,
) -> int:
    """Hold an issuer's statement against our books, line by line. The same file again changes nothing.

    Exit 13 where anything of the programme differs, now or since before. Nothing is paid by a statement.
    """
    from models.statements import import_statement

    if (path is None) == (not fetch):
        raise RefusedInput("say either a file or --fetch")
    period = _period(start, end)
    # A held database may learn what was paid, which is what it needs to know.
    with entry(while_held=True) as desk, _file(desk, path, period, programme=programme) as file:
        report = import_statement(desk.database, file, period, programme=programme or None, dry_run=dry_run)
    if as_json:
        echo_json({"applied": not (dry_run or report.known), **report.as_json()})
    else:
        _show(report, dry_run=dry_run)
    return Exit.DONE if report.agrees else Exit.BOOKS_DISAGREE


@app.command()
def differences(
    programme: str = PROGRAMME,
    reason: DifferenceReason | None = typer.Option(None, help="Only of this reason."),
    all_: bool = typer.Option(False, "--all", help="Closed ones, too."),
    as_json: bool = JSON,
    as_csv: bool = typer.Option(False, "--csv", help="CSV on standard output, with headers that stay."),
) -> None:
    """Where issuers' statements and our books do not agree, each line with its reason and a next step."""
    from models.differences import list_differences
    from models.runs import only_programme

    if as_json and as_csv:
        raise RefusedInput("say either --json or --csv")
    with entry(while_held=True) as desk, desk.database.reading() as tx:
        programme_id = only_programme(tx, programme).id if programme else 0
        views = list_differences(tx, programme_id=programme_id, reason=str(reason or ""), closed_too=all_)
        if as_json:
            echo_json({"differences": [view.as_json() for view in views]})
        elif as_csv:
            _write(views)
        else:
            _echo(list(islice(views, DIFFERENCES_SHOWN)), more=sum(1 for _ in views))


@app.command()
def close(
    difference: int = typer.Argument(help="The number of the difference."),
    evidence: str = typer.Option(..., help="A reference to the proof. It must name nobody."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Say why a difference matters no more. It is not opened again while the issuer says the same."""
    from models.differences import close_by_person

    with entry(while_held=True) as desk:
        confirm(f"Close difference {difference}?", yes=yes)
        with desk.database.transaction() as tx:
            close_by_person(tx, difference, evidence=evidence)
    note(f"difference {difference} is closed")


def _period(start: str, end: str) -> Period:
    from models.intake.statement import Period

    period = Period(_instant("--from", start), _instant("--to", end))
    if period.from_at >= period.to_at:
        raise RefusedInput("--from must lie before --to")
    return period


def _instant(option: str, text: str) -> datetime:
    from models.intake import fields

    try:
        return fields.instant(f"{fields.day(text)}T00:00:00Z" if len(text) == len("2026-12-01") else text)
    except ValueError:
        raise RefusedInput(f"{option} must be {INSTANT}") from None


@contextmanager
def _file(desk: Entry, path: Path | None, period: Period, *, programme: str) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    from tempfile import TemporaryDirectory

    from console.statement_fetch import fetch

    with TemporaryDirectory(prefix="despensa-") as folder:  # for its owner alone
        yield fetch(desk, Path(folder), period, programme=programme)


def _show(report: StatementReport, *, dry_run: bool) -> None:
    from console.tables import echo_table
    from models.money import format_amount

    sums = report.sums
    echo_table(
        ("lines", "credits", "credited", "reversals", "reversed", "new", "said otherwise", "taken back"),
        [
            (
                sums.lines, sums.credits, format_amount(sums.credited_minor, report.currency), sums.reversals,
                format_amount(sums.reversed_minor, report.currency), report.added, report.restated, report.dropped,
            )
        ],
        right="rrrrrrrr",
    )  # fmt: skip
    if report.known:
        note("this file was imported before, for the same time: nothing was changed")
    elif dry_run:
        note("nothing was changed")
    for changed, verb in ((report.closed, "agree now"), (report.opened, "differ")):
        for each in changed:
            note(f"{each.differences} {verb}: {each.reason}")
    if not report.agrees:
        total = sum(report.open.values())
        note(f"{total} differences are open: despensa statement differences")


def _write(views: Iterator[DifferenceView]) -> None:
    import csv
    from dataclasses import fields

    from console.sheets import formula_safe
    from models.differences import DifferenceView

    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [each.name for each in fields(DifferenceView)]
    writer.writerow(names)
    for view in views:
        plain = view.as_json()
        writer.writerow([formula_safe(str("" if plain[name] is None else plain[name])) for name in names])


def _echo(views: list[DifferenceView], *, more: int) -> None:
    from console.tables import echo_table
    from models.columns import instant_text
    from models.money import format_amount

    if not views:
        echo("no difference")
        return
    rows = [
        (
            view.difference, view.programme, instant_text(view.opened_at)[:10], view.reason, view.run,
            view.disbursement or "-", view.credit_id or "-",
            "-" if view.expected_minor is None else format_amount(view.expected_minor, view.expected_currency),
            "-" if view.found_minor is None else format_amount(view.found_minor, view.found_currency),
            view.next_step or f"closed: {view.evidence}",
        )
        for view in views
    ]  # fmt: skip
    headers = (
        "difference", "programme", "found", "reason", "run", "disbursement", "issuer's entry", "ours",
        "the issuer's", "next step",
    )  # fmt: skip
    echo_table(headers, rows, right="r      rr ")
    if more:
        note(f"{more} more: --json or --csv has them all")

"""`despensa import`: load a programme's folder, or one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import echo_json, entry, note

if TYPE_CHECKING:
    from models.intake.report import FileReport


def import_(
    path: Path = typer.Argument(help="A folder, or one of its files."),
    programme: str = typer.Option("", help="Whose file it is, where there are several programmes."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would change, and change nothing."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Load programme, locations, stores, funds, rates and households: all or nothing; again, it changes nothing."""
    from models.intake.load import load

    def show(reports: list[FileReport]) -> None:
        if not as_json:
            _show(reports)

    # A held database takes imports, which pay nobody: `db restored` may need a programme that the backup does not have.
    with entry(while_held=True) as desk:
        reports = load(
            desk.database, path, programme=programme or None, dry_run=dry_run, show=show, keys=desk.settings.keys,
            outgoing=desk.settings.outgoing,
        )  # fmt: skip
    applied = not dry_run and any(report.changes_anything for report in reports)
    if as_json:
        echo_json({"applied": applied, "files": [_as_json(report) for report in reports]})
    else:
        note("applied" if applied else "nothing was changed")


def _show(reports: list[FileReport]) -> None:
    from console.tables import echo_table

    rows = [(each.file, each.rows, each.added, each.changed, each.unchanged) for each in reports]
    echo_table(("file", "rows", "new", "changed", "unchanged"), rows, right=" rrrr")
    for report in reports:
        for change in report.changes:
            note(f"{report.file} line {change.line}: changes {change.fields}")
        if report.changed > len(report.changes):
            note(f"{report.file}: {report.changed - len(report.changes)} more changes")
        for text in report.notes:
            note(f"note: {text}")


def _as_json(report: FileReport) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(report), "rows": report.rows}

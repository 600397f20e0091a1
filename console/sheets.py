"""Showing a sheet: a table for people, CSV for spreadsheets, which must take no cell for a formula."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

from console.entry import note, shown

if TYPE_CHECKING:
    from models.report.sheet import Sheet, Value

#: What stands in a table and in CSV in the place of a cell that is not published; in JSON it is null.
SUPPRESSED = "suppressed"
#: A spreadsheet takes what begins so for a formula. Source: OWASP, CSV injection.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def echo_csv(sheet: Sheet) -> None:
    """On standard output, with its headers."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows([formula_safe(_cell(value)) for value in row] for row in sheet.rows)


def echo_sheet(sheet: Sheet) -> None:
    """A table on standard output; figures are aligned right."""
    from console.tables import echo_table

    rows = [[_cell(value) for value in row] for row in sheet.rows]
    right = "".join("r" if _is_figure(column) else " " for column in zip(*rows, strict=True))
    echo_table([name.replace("_", " ") for name in sheet.columns], rows, right=right)
    if any(value is None for row in sheet.rows for value in row):
        note("suppressed: a cell of under ten families, or one from which such a cell could be worked out")


def _cell(value: Value) -> str:
    """Names are of files that others wrote: what would paint on a terminal stands as its escape."""
    return SUPPRESSED if value is None else shown(str(value))


def formula_safe(cell: str) -> str:
    """Text that a spreadsheet shows as it is."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _is_figure(column: tuple[str, ...]) -> bool:
    return all(cell in ("", SUPPRESSED) or cell.removeprefix("-").replace(".", "").isdigit() for cell in column)

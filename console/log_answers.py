"""An answer of `logs query` on standard output: a table for people, JSON or CSV for programs, as it comes."""

from __future__ import annotations

import csv
import sys
from itertools import islice

import orjson

from console.entry import JSON_SCHEMA, note, shown
from console.log_query import Answer
from console.tables import echo_table

#: What a table shows: it must be known whole before its first line.
TABLE_ROWS_MAX = 1_000


def echo_rows(answer: Answer) -> None:
    """The first rows as a table."""
    rows = list(islice(answer.rows, TABLE_ROWS_MAX))
    cells = [[_cell(value) for value in row] for row in rows]
    right = "".join("r" if _is_number(column) else " " for column in zip(*rows, strict=True))
    echo_table([shown(name) for name in answer.columns], cells, right=right)
    if next(answer.rows, None) is not None:
        note(f"only the first {TABLE_ROWS_MAX:,} rows are shown; --csv and --json give all")


def echo_json_rows(answer: Answer) -> None:
    """One object with all rows, written as they come."""
    out = sys.stdout
    out.write(f'{{"schema":{JSON_SCHEMA},"columns":{_json(answer.columns)},"rows":[')
    for place, row in enumerate(answer.rows):
        out.write((",\n" if place else "\n") + _json(dict(zip(answer.columns, row, strict=True))))
    out.write("\n]}\n")


def echo_csv(answer: Answer) -> None:
    """All rows, written as they come."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([shown(name) for name in answer.columns])
    writer.writerows([_cell(value) for value in row] for row in answer.rows)


def _cell(value: object) -> str:
    """What would paint on a terminal as its escape; nothing where there is nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown(value if isinstance(value, str) else _json(value))


def _is_number(column: tuple[object, ...]) -> bool:
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in column)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()

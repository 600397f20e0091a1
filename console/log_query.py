"""Questions to log files in SQL, through DuckDB: a table `log` with a column for every field of the catalogue.

The lines are read first; then DuckDB is shut off from files and network, its settings are locked, and the question is
asked in a transaction that only reads: whoever asks can neither change a file nor read another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb

from console.log_files import read_files
from console.log_reference import HEAD, SEAL, fields_of
from console.log_verify import Place
from models.columns import INSTANT_FORMAT, instant_text
from models.errors import BooksDisagree, RefusedInput
from models.events import CATALOGUE

ROWS_AT_ONCE = 1_000
#: What DuckDB may hold; the rest of the lines, and of sorts and groups, goes to its folder. About a million lines.
MEMORY_MAX = "1GB"
INTEGER_MAX = 2**63 - 1

SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN"}
#: How a column's value is made of what was read. Numbers are read as JSON: DuckDB would round 1.5 to 2.
VALUES = {
    "VARCHAR": "{name}",
    "BIGINT": "whole({name})",
    "BOOLEAN": "CASE CAST({name} AS VARCHAR) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END",
    "TIMESTAMP": f"TRY_STRPTIME({{name}}, '{INSTANT_FORMAT}')",
}
#: Who wrote a line: the same sealed line may be there twice, from two writers.
WRITER = ("service.name", "service.version", "service.instance.id")

COUNT_REPEATED = """
-- count_repeated: sealed lines that say again what another says
SELECT COUNT(seq) - COUNT(DISTINCT seq) FROM log
"""
FIND_CONFLICT = f"""
-- find_conflict: the first place that two lines fill differently
SELECT seq FROM (SELECT DISTINCT * EXCLUDE ({", ".join(f'"{name}"' for name in WRITER)}) FROM log WHERE seq IS NOT NULL)
GROUP BY seq HAVING COUNT(*) > 1 ORDER BY seq LIMIT 1
"""  # noqa: S608  # of constants, of no input
DROP_REPEATED = """
-- drop_repeated: each sealed line counts once
DELETE FROM log WHERE seq IS NOT NULL AND rowid NOT IN (SELECT MIN(rowid) FROM log WHERE seq IS NOT NULL GROUP BY seq)
"""
DROP_VOID = """
-- drop_void: what restored backups have forgotten counts nowhere, wherever the line that says so stands
DELETE FROM log WHERE seq IS NOT NULL AND EXISTS (
    FROM (SELECT kept_seq, forgotten_seq FROM log WHERE event = 'database.restored' AND seq IS NOT NULL) r
    WHERE log.seq > r.kept_seq AND log.seq <= r.forgotten_seq)
"""
#: In this order: what is locked cannot be opened again.
SHUT = (
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
    "BEGIN TRANSACTION READ ONLY",
)


@dataclass(slots=True)
class Answer:
    """What a question came to."""

    columns: list[str]
    rows: Iterator[tuple[object, ...]]
    repeated: int  #: sealed lines that were there more than once and count once
    torn: list[Place] = field(default_factory=list)
    void: int = 0  #: sealed lines that restored backups have forgotten: they are left out


def columns() -> dict[str, str]:
    """The columns of `log` with their types, in order: what every line has, then each event's own fields."""
    types = {name: str(schema.get("type", "integer")) for name, schema in {**HEAD, **SEAL}.items()}
    for kind in CATALOGUE.values():
        types |= {each.name: each.types[0] for each in fields_of(kind)}
    return {name: "TIMESTAMP" if name == "timestamp" else SQL_TYPES[kind] for name, kind in types.items()}


def ask(connection: duckdb.DuckDBPyConnection, sql: str, paths: Sequence[Path]) -> Answer:
    """Read these files, plain or packed, in any order, and ask. The connection answers nothing else afterwards.

    Raises RefusedInput for what is no single SELECT or fails, BooksDisagree where two lines fill one place differently.
    """
    types = columns()
    connection.execute(f"SET memory_limit = '{MEMORY_MAX}'")
    connection.execute(
        "SET preserve_insertion_order = false"
    )  # to keep it takes twice as long; ORDER BY says it anyway
    connection.execute("CREATE TABLE log (" + ", ".join(f'"{name}" {kind}' for name, kind in types.items()) + ")")
    torn = read_files(connection, _insert(types), paths, _read_as(types))
    repeated = _drop_repeated(connection)
    (void,) = connection.execute(DROP_VOID).fetchall()[0]
    for statement in SHUT:
        connection.execute(statement)
    try:
        cursor = connection.execute(_only_select(connection, sql))
        names = [str(column[0]) for column in cursor.description or ()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise RefusedInput(f"two columns are called {twice!r}", hint="name them apart: … AS another_name")
        first = connection.fetchmany(ROWS_AT_ONCE)  # what fails, fails before anything is printed
    except duckdb.Error as error:
        raise _refused(error) from None
    return Answer(names, _rows(connection, first), repeated, torn, int(void))


def plain(value: Any) -> object:
    """A value as JSON can have it; an instant as lines have theirs."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= INTEGER_MAX else str(value)
    if isinstance(value, datetime):
        return instant_text(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return value if isinstance(value, str | float) else str(value)


def _insert(types: dict[str, str]) -> str:
    values = ", ".join(VALUES[kind].format(name=f'"{name}"') for name, kind in types.items())
    return f"""
    -- insert_lines: of some files, typed; what is of another type than its field is missing
    INSERT INTO log SELECT {values}
    FROM read_json($files, format = 'newline_delimited', columns = $columns, compression = $compression,
                   ignore_errors = $ignore_errors)
    WHERE event IS NOT NULL
    """  # noqa: S608  # of the catalogue, of no input


def _read_as(types: dict[str, str]) -> dict[str, str]:
    return {name: "JSON" if kind in ("BIGINT", "BOOLEAN") else "VARCHAR" for name, kind in types.items()}


def _drop_repeated(connection: duckdb.DuckDBPyConnection) -> int:
    (repeated,) = connection.execute(COUNT_REPEATED).fetchall()[0]
    if repeated:
        for (seq,) in connection.execute(FIND_CONFLICT).fetchall():
            raise BooksDisagree(f"seq {seq} is there twice, and differs", hint="despensa logs verify FILE…")
        connection.execute(DROP_REPEATED)
    return int(repeated)


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise RefusedInput("a question is one SELECT", hint="despensa logs query 'SELECT …' FILE…")
    return statements[0]


def _rows(connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]]) -> Iterator[tuple[object, ...]]:
    while rows:
        for row in rows:
            yield tuple(plain(value) for value in row)
        try:
            rows = connection.fetchmany(ROWS_AT_ONCE)
        except duckdb.Error as error:
            raise _refused(error) from None


def _refused(error: duckdb.Error) -> RefusedInput:
    """In one line, without the picture of where in the question it was."""
    if "pytz" in str(error):
        return RefusedInput("the answer has an instant with a time zone", hint="CAST(… AS TIMESTAMP), or AS VARCHAR")
    told, _, _ = str(error).partition("\n\n")
    return RefusedInput("the question was refused: " + " ".join(told.split()))

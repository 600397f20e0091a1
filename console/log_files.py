"""Log files through DuckDB: plain and packed ones, torn lines passed over, in bounded memory."""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from console.log_verify import Place, is_packed, read_lines
from models.errors import RefusedInput

MACROS = """
-- macros: a whole number or nothing; nothing where JSON has a fraction, text or null. A cast alone would round
CREATE MACRO whole(value) AS
    CASE WHEN CAST(TRY_CAST(CAST(value AS VARCHAR) AS BIGINT) AS VARCHAR) = CAST(value AS VARCHAR)
         THEN TRY_CAST(CAST(value AS VARCHAR) AS BIGINT) END;
"""


@contextmanager
def working() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, in memory; what does not fit goes to a folder that is removed. Nothing is fetched from the network.

    No progress bar: DuckDB prints one to stdout, terminal or not, once a statement takes two seconds.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(config={"autoinstall_known_extensions": "false", "temp_directory": folder}) as connection,
    ):
        connection.execute("SET enable_progress_bar = false")
        connection.execute(MACROS)
        yield connection


def read_files(
    connection: duckdb.DuckDBPyConnection, statement: str, paths: Sequence[Path], columns: dict[str, str]
) -> list[Place]:
    """Let the statement read every file, as often as there are kinds of files. Returns where lines are torn.

    Its parameters: `files`, `columns`, `compression`, `ignore_errors`. Raises RefusedInput naming the line for one
    that is no log line and was not torn.
    """
    torn: list[Place] = []
    by_compression: dict[str, list[Path]] = {"gzip": [], "none": []}
    for path in dict.fromkeys(paths):
        by_compression["gzip" if is_packed(path) else "none"].append(path)
    for compression, files in by_compression.items():
        if files:
            # A name may hold what DuckDB takes for a pattern.
            names = [glob.escape(str(path)) for path in files]
            parameters: dict[str, object] = {"files": names, "columns": columns, "compression": compression}
            try:
                connection.execute(statement, {**parameters, "ignore_errors": False})
            except duckdb.Error as error:
                _refuse_broken(files, torn, error)
                connection.execute(statement, {**parameters, "ignore_errors": True})
    return torn


def _refuse_broken(files: Sequence[Path], torn: list[Place], error: duckdb.Error) -> None:
    """Read the files line by line to name the broken one. Returns if there are only torn ones."""
    before = len(torn)
    for file in files:
        for _ in read_lines(file, torn):
            pass
    if len(torn) == before:
        raise RefusedInput(f"the log files cannot be read: {str(error).splitlines()[0]}") from None

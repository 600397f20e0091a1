"""Rows that are copied arrive as they were, and an error about them looks like any other statement's."""

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from models.storage import Database, Query, Tx, describe

CREATE_COPIED = Query("""
-- create_copied: for these tests
CREATE TEMPORARY TABLE copied (number BIGINT PRIMARY KEY CHECK (number <> 13), name TEXT NOT NULL)
""")
COPY_ROWS = Query(
    "-- copy_rows: for these tests\nCOPY copied (number, name) FROM STDIN (FORMAT binary)",
    sqlite="-- copy_rows: for these tests\nINSERT INTO copied (number, name) VALUES (?, ?)",
)
LIST_COPIED = Query("-- list_copied: all of these tests\nSELECT number, name FROM copied ORDER BY number")
NAMES = (
    "", " ", "\t", "\n", "\r\n", "\\", "\\N", "\\.", "NULL", '"', "'", "%s", ":name", "ñ", "👪", "Cd. Juárez\u2028",
    "x" * 100_000,
)  # fmt: skip


def _copied(tx: Tx, rows: list[tuple[int | str, ...]]) -> list[tuple[int, str]]:
    tx.execute(CREATE_COPIED)
    tx.copy(COPY_ROWS, rows)
    return [(row.number, row.name) for row in tx.all(LIST_COPIED)]


def test_text_arrives_as_it_was(database: Database) -> None:
    rows: list[tuple[int | str, ...]] = list(enumerate(NAMES, start=100))

    with database.transaction() as tx:
        assert _copied(tx, rows) == rows


@pytest.mark.parametrize("count", [0, 1, 2, 20_000])
def test_no_row_is_lost(database: Database, count: int) -> None:
    rows: list[tuple[int | str, ...]] = [(number, f"R-{number}") for number in range(100, 100 + count)]

    with database.transaction() as tx:
        assert _copied(tx, rows) == rows


def test_numbers_of_64_bits(database: Database) -> None:
    rows: list[tuple[int | str, ...]] = [
        (-(2**63), "least"),
        (0, "none"),
        (2**31, "more than 32 bits"),
        (2**63 - 1, "most"),
    ]

    with database.transaction() as tx:
        assert _copied(tx, rows) == rows


def test_refused_row_is_a_database_error_and_undoes_the_others(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught, database.transaction() as tx:
        _copied(tx, [(1, "R-1"), (2, "R-2"), (1, "R-SECRET")])

    assert "R-SECRET" not in str(caught.value)
    if database.dialect == "postgresql":
        assert describe(caught.value) == ("copied_pkey", "23505")


def test_server_is_not_told_to_quote_a_row(postgresql_database: Database) -> None:
    """Its log holds the context of an error: with COPY's text format, the line at which it stopped."""
    with pytest.raises(DBAPIError) as caught, postgresql_database.transaction() as tx:
        _copied(tx, [(12, "R-12"), (13, "R-SECRET")])

    assert isinstance(caught.value.orig, psycopg.Error)
    context = str(caught.value.orig.diag.context)
    assert context.startswith("COPY copied, line 2")
    assert "R-SECRET" not in context

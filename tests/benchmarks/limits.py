"""The limit: the same rows into the same tables, with their indexes, constraints and triggers, by COPY."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import psycopg

from tests.benchmarks.samples import Sample
from tests.benchmarks.site import Connection, Site

#: Rows of a table in one transaction. Larger ones gain nothing.
CHUNK = 10_000
#: Tables, each with the names of its columns.
LINES = ("disbursement", "id, programme_id, household_id, cycle, amount_minor")
VOUCHERS = ("voucher", "id, batch_id, key_version")

#: Whose vouchers and lines they are: they stand before the clock starts.
RUNS = "run"

#: What one transaction copies: tables, each with its rows in COPY's text form.
Chunk = Sequence[tuple[tuple[str, str], bytes]]


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished month."""

    runs: bytes  #: loaded before the clock starts; empty where they stand in the database already
    chunks: Sequence[Chunk]


def read_rows(site: Site, name: str, *, lines: bool) -> Rows:
    """The rows that a finished month has in a database, in the order in which they were made."""
    chunks: list[Chunk] = []
    with site.connect(name) as connection:
        ids = [int(str(row[0])) for row in connection.execute("SELECT id FROM disbursement ORDER BY id")]
        for first in range(0, len(ids), CHUNK):
            span = f"id BETWEEN {ids[first]} AND {ids[min(first + CHUNK, len(ids)) - 1]} ORDER BY id"
            tables = (LINES, VOUCHERS) if lines else (VOUCHERS,)
            chunks.append([(table, _copied(connection, table, span)) for table in tables])
        return Rows(_copied(connection, (RUNS, "*"), "true") if lines else b"", chunks)


def copy(site: Site, name: str, rows: Rows, *, clients: int, families: int) -> Sample:
    """Load the chunks, each in one transaction, by so many clients at once."""
    rest, turn = list(reversed(rows.chunks)), Lock()
    if rows.runs:
        with site.connect(name) as connection, connection.cursor() as cursor:
            # A run begins as a plan, and lines come with one: what is only copied has none, and is not asked.
            cursor.execute("ALTER TABLE run DISABLE TRIGGER USER")
            cursor.execute("ALTER TABLE disbursement DISABLE TRIGGER disbursement_require_households_at_insert")
            _copy(cursor, RUNS, rows.runs)

    def load() -> None:
        with site.connect(name) as connection:
            while True:
                with turn:
                    chunk = rest.pop() if rest else None
                if chunk is None:
                    return
                with connection.transaction(), connection.cursor() as cursor:
                    for (table, columns), text in chunk:
                        _copy(cursor, f"{table} ({columns})", text)

    wal, cpu, began = site.wal_bytes(), site.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        for loaded in [threads.submit(load) for _ in range(clients)]:
            loaded.result()
    seconds = time.perf_counter() - began
    with site.connect(name) as connection:
        row = connection.execute("SELECT COUNT(*) FROM voucher").fetchone()
    assert row == (families,), f"{families} families, {row} vouchers"
    return Sample(families, seconds, site.cpu_s() - cpu, 0.0, site.wal_bytes() - wal)


def _copy(cursor: "psycopg.Cursor[tuple[object, ...]]", into: str, text: bytes) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN") as copying:
        copying.write(text)


def _copied(connection: Connection, table: tuple[str, str], span: str) -> bytes:
    name, columns = table
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {columns} FROM {name} WHERE {span}) TO STDOUT") as copying,
    ):
        return b"".join(bytes(part) for part in copying)

"""A statement of any length is imported in flat memory, also where every line of it differs."""

import tracemalloc
from pathlib import Path

import pytest

from models.storage import Database
from tests.ledger import count
from tests.statements import JANUARY, Books, entry


def garbage(lines: int) -> list[str]:
    """Credits of references that nobody sent, each of them another one."""
    return [entry(f"g{number}", f"{number:064x}") for number in range(lines)]


@pytest.mark.long
def test_memory_does_not_grow_with_the_statement(database: Database, tmp_path: Path) -> None:
    """Each line of it is kept, and a difference; the journal has one event for all of them."""
    books = Books.open(database, tmp_path)
    peaks = []
    for lines in (20_000, 100_000):
        path = books.write(*garbage(lines))
        tracemalloc.start()
        report = books.import_file(path, period=JANUARY)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.open == {"unknown_to_us": lines}

    assert peaks[1] < peaks[0] * 1.3
    assert count(database, "SELECT COUNT(*) FROM journal WHERE event = 'difference.opened'") == 2

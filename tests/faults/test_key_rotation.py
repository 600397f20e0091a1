"""A command that changes a key file is killed before each line that it comes to, and repeated.

Without a whole key file no PIN could be made again; with a second version 2 a voucher would have two.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.key_files import staged_path
from models.key_rotation import recorded
from models.keys import Key, KeyRing, fingerprint, init_keys, key_path, load_keys
from models.storage import Database, Query
from tests.faults import report
from tests.faults.rotations import Change, Changes

pytestmark = pytest.mark.long

KIND = "certificate"
POINTS_MIN, POINTS_MAX = 50, 500
#: Files are the same with both databases; a process that begins and ends a connection to PostgreSQL takes its time.
EVERY = {"embedded": 1, "distributed": 6}

INSERT_CERTIFICATE = Query("""
-- insert_certificate_signed: so that something rests on a version
INSERT INTO journal (event, level, recorded_at, fields) VALUES ('certificate.created', 'info', :now, :fields)
""")


@pytest.fixture
def changes() -> Iterator[Changes]:
    """A server of processes; of each test its own, so that none reads what another one was told."""
    with Changes() as changes:
        yield changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Key files, each with its first version."""
    init_keys(tmp_path / "keys")
    return tmp_path / "keys"


Record = Callable[[report.Row], None]


def note(record_fault: Record, profile: str, command: str, number: int) -> None:
    """A row of the campaign's table."""
    name = {"embedded": "SQLite", "distributed": "PostgreSQL"}[profile]
    record_fault(report.Row(fault=f"keys {command} killed at a line, {name}", runs=number, points=number, rounds=1))


def whole(folder: Path, kind: str) -> tuple[Key, ...]:
    """The keys of a file, which has to be a good one."""
    return load_keys(folder, kind).keys


def assert_recorded(database: Database, folder: Path, kind: str, *, retired: int = 0) -> None:
    """The journal knows each version that there is, once, by what is in the file."""
    with database.reading() as tx:
        known = recorded(tx, kind)
    ring = KeyRing(kind, whole(folder, kind))
    assert known.at_work == set(ring.versions)
    assert len(known.retired) == retired
    assert {version: known.made[version] for version in ring.versions} == {
        key.version: fingerprint(kind, key) for key in ring.keys
    }
    assert not staged_path(key_path(folder, kind)).exists()


def test_rotation_goes_on_with_the_same_key_wherever_it_was_killed(
    changes: Changes, database: Database, database_url: str, folder: Path, profile: str, record_fault: Record
) -> None:
    for number, point in enumerate(range(1, POINTS_MAX, EVERY[profile]), start=1):
        before = whole(folder, KIND)
        change = Change(database_url, str(folder), "rotate", KIND)

        ended = changes.make(replace(change, kill_at=point))
        killed = whole(folder, KIND)
        changes.make(change)
        after = whole(folder, KIND)
        changes.make(change)

        assert killed in (before, after), point
        assert whole(folder, KIND) == after, point
        assert after[:-1] == before, point
        assert after[-1].version == before[-1].version + 1 == number + 1, point
        assert_recorded(database, folder, KIND)
        with database.transaction() as tx:
            tx.execute(INSERT_CERTIFICATE, now=tx.now, fields=f'{{"key_version":{after[-1].version}}}')
        if ended:
            break

    note(record_fault, profile, "rotate", number)
    assert ended
    assert point > POINTS_MIN


def test_retired_version_is_gone_wherever_it_was_killed(
    changes: Changes, database: Database, database_url: str, folder: Path, profile: str, record_fault: Record
) -> None:
    """And the one that stays is there at every moment."""
    for number, point in enumerate(range(1, POINTS_MAX, EVERY[profile]), start=1):
        changes.make(Change(database_url, str(folder), "rotate", "webhook"))
        old, new = whole(folder, "webhook")
        change = Change(database_url, str(folder), "retire", "webhook", old.version)

        ended = changes.make(replace(change, kill_at=point))
        killed = whole(folder, "webhook")
        changes.make(change)
        changes.make(change)

        assert killed in ((old, new), (new,)), point
        assert whole(folder, "webhook") == (new,), point
        assert_recorded(database, folder, "webhook", retired=number)
        if ended:
            break

    note(record_fault, profile, "retire", number)
    assert ended
    assert point > POINTS_MIN


def test_first_key_is_made_once_wherever_it_was_killed(
    changes: Changes, database: Database, database_url: str, folder: Path, profile: str, record_fault: Record
) -> None:
    """A host that recorded a key and lost it would wait for a copy that nobody has."""
    for number, point in enumerate(range(1, POINTS_MAX, EVERY[profile]), start=1):
        key_path(folder, "person").unlink()
        change = Change(database_url, str(folder), "init", "person")

        ended = changes.make(replace(change, kill_at=point))
        changes.make(change)
        (made,) = whole(folder, "person")
        changes.make(change)

        assert whole(folder, "person") == (made,), point
        assert made.version == number, point
        assert_recorded(database, folder, "person", retired=number - 1)
        if ended:
            break
        key_path(folder, "person").rename(folder / "lost")
        changes.make(Change(database_url, str(folder), "retire", "person", made.version))
        (folder / "lost").rename(key_path(folder, "person"))

    note(record_fault, profile, "init", number)
    assert ended
    assert point > POINTS_MIN

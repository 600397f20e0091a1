"""Log files are read once each, whatever rotation does to them."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from console.dashboard import follow
from console.dashboard.follow import LINE_MAX, Follower


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three lines."""
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(b"a1\na2\na3\n")
    return path


def new_lines(follower: Follower) -> list[bytes]:
    """What came since the last reading."""
    return [line for _, line in follower.read()]


def append(path: Path, data: bytes) -> None:
    """As a writer does."""
    with path.open("ab") as file:
        file.write(data)


def test_lines_are_read_once_as_they_come(log: Path) -> None:
    follower = Follower([log])

    assert new_lines(follower) == [b"a1\n", b"a2\n", b"a3\n"]
    assert new_lines(follower) == []
    append(log, b"a4\n")
    assert new_lines(follower) == [b"a4\n"]


def test_line_that_is_still_being_written_waits_for_its_end(log: Path) -> None:
    follower = Follower([log])
    append(log, b"a4 begins")
    new_lines(follower)

    append(log, b" and ends\n")

    assert new_lines(follower) == [b"a4 begins and ends\n"]


def test_file_without_a_whole_line_yet_is_read_once_it_has_one(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(b"half")
    follower = Follower([path])
    assert new_lines(follower) == []

    append(path, b"\n")

    assert new_lines(follower) == [b"half\n"]


def test_rotated_file_is_read_to_its_end_and_the_new_one_from_its_start(log: Path) -> None:
    follower = Follower([log])
    new_lines(follower)
    rotated = log.with_name("despensa.jsonl.1")

    log.rename(rotated)
    append(rotated, b"a4\n")  # the writer has not opened the new one yet
    append(log, b"b1\nb2\n")

    assert new_lines(follower) == [b"a4\n", b"b1\n", b"b2\n"]
    append(log, b"b3\n")
    assert new_lines(follower) == [b"b3\n"]


@pytest.mark.parametrize("name", ["despensa.jsonl.1.gz", "despensa.jsonl-20261201.gz"])
def test_packed_file_is_not_read_again(log: Path, name: str) -> None:
    follower = Follower([log])
    new_lines(follower)
    append(log, b"a4\n")

    log.with_name(name).write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()

    assert new_lines(follower) == [b"a4\n"]
    assert [(source.path.name, source.state) for source in follower.sources] == [(name, "packed")]


def test_file_that_is_cut_and_begun_anew_is_read_from_its_start(log: Path) -> None:
    """As `copytruncate` does it: the copy is the old one."""
    follower = Follower([log])
    new_lines(follower)

    shutil.copy(log, log.with_name("despensa.jsonl.1"))
    os.truncate(log, 0)
    append(log, b"c1\nc2\nc3\nc4\n")

    assert new_lines(follower) == [b"c1\n", b"c2\n", b"c3\n", b"c4\n"]


def test_restart_reads_all_files_oldest_first(log: Path) -> None:
    rotated = log.with_name("despensa.jsonl.1")
    log.rename(rotated)
    log.write_bytes(b"b1\n")
    packed = log.with_name("despensa.jsonl.2.gz")
    packed.write_bytes(gzip.compress(b"z1\nz2\n"))
    for age, path in enumerate((log, rotated, packed)):
        os.utime(path, (1_000_000 - age, 1_000_000 - age))

    assert new_lines(Follower([log])) == [b"z1\n", b"z2\n", b"a1\n", b"a2\n", b"a3\n", b"b1\n"]


def test_damaged_file_is_said_and_keeps_nobody_from_reading_the_others(log: Path) -> None:
    log.with_name("despensa.jsonl.1.gz").write_bytes(gzip.compress(b"z1\nz2\n")[:-9])
    follower = Follower([log])

    lines = new_lines(follower)

    assert {b"a1\n", b"a2\n", b"a3\n"} <= set(lines)
    states = {source.path.name: source.state for source in follower.sources}
    assert states == {"despensa.jsonl": "followed", "despensa.jsonl.1.gz": "unreadable"}


def test_file_that_is_gone_is_said(log: Path) -> None:
    follower = Follower([log])
    new_lines(follower)

    log.unlink()

    assert new_lines(follower) == []
    assert [source.state for source in follower.sources] == ["gone"]


def test_folder_is_read_with_what_comes_into_it(log: Path) -> None:
    follower = Follower([log.parent])
    new_lines(follower)

    log.with_name("host-b.jsonl").write_bytes(b"h1\n")

    assert new_lines(follower) == [b"h1\n"]


def test_line_without_an_end_is_read_in_pieces_and_passed_over(log: Path) -> None:
    """Whoever writes it must not fill the memory: its beginning is handed on, to be refused."""
    log.write_bytes(b"a1\n" + b"x" * 1_000_000 + b"\n" + b"a2\n")

    lines = new_lines(Follower([log]))

    assert [len(line) for line in lines] == [3, LINE_MAX, 3]


def test_long_line_that_is_not_over_waits_for_its_end(log: Path) -> None:
    log.write_bytes(b"a1\n" + b"x" * 200_000)
    follower = Follower([log])
    assert new_lines(follower) == [b"a1\n"]

    append(log, b"\na2\n")

    assert [len(line) for line in new_lines(follower)] == [LINE_MAX, 3]


def test_damaged_file_is_not_unpacked_again_until_it_changes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be, four times a second."""
    packed = log.with_name("despensa.jsonl.1.gz")
    packed.write_bytes(gzip.compress(b"z1\nz2\n" * 10_000)[:-9])
    follower = Follower([log])
    new_lines(follower)
    monkeypatch.setattr(follow, "_lines", lambda *_, **__: pytest.fail("it was read again"))

    assert new_lines(follower) == []

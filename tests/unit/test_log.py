"""Writing the log where its file is rotated, or its disk is full."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from models.events import BrokerUnreachable
from models.log import Log


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond it: as on a disk that fills in mid-line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def instances(path: Path) -> list[str]:
    """Who says in a log that it was seen; a line that is cut off is passed over."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(orjson.loads(line)["error"])
        except orjson.JSONDecodeError:
            continue
    return found


def test_line_cut_short_on_standard_output_in_a_file_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's output may be a file, as under systemd's `append:`, and all its processes write there."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setattr(os, "dup", lambda _descriptor: os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    log, other = Log.of_service("test", file=None), Log.of_service("other", file=None)
    log.observe(BrokerUnreachable(error="a"))
    for each in (log, other):
        with room_for(path.stat().st_size + 50), pytest.raises(OSError, match="too large"):
            each.observe(BrokerUnreachable(error="torn"))
        log.observe(BrokerUnreachable(error="b"))
    log.sync()

    assert instances(path) == ["a", "b", "b"]


def test_log_may_be_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with Log.to_file(path, "test") as log:
        log.observe(BrokerUnreachable(error="a"))
        log.observe(BrokerUnreachable(error="b"))
        log.sync()
        said = os.read(reading, 65_536)
    os.close(reading)

    assert [orjson.loads(line)["error"] for line in said.splitlines()] == ["a", "b"]


def test_rotation_that_fails_closes_no_file_of_others(tmp_path: Path) -> None:
    """Its descriptor's number is free for SQLite, or a socket, only once the log has another."""
    folder = tmp_path / "log"
    with Log.to_file(folder / "despensa.jsonl", "test") as log:
        log.observe(BrokerUnreachable(error="a"))
        folder.rename(tmp_path / "rotated")
        with pytest.raises(FileNotFoundError):
            log.observe(BrokerUnreachable(error="b"))
        other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        folder.mkdir()
        log.observe(BrokerUnreachable(error="c"))
        os.write(other, b"a row")
        os.close(other)

    assert (tmp_path / "other").read_bytes() == b"a row"
    assert instances(folder / "despensa.jsonl") == ["c"]


def test_disk_that_fills_in_mid_line_spoils_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"
    with Log.to_file(path, "test") as log:
        log.observe(BrokerUnreachable(error="a"))
        with room_for(path.stat().st_size + 50), pytest.raises(OSError, match="too large"):
            log.observe(BrokerUnreachable(error="b"))
        log.observe(BrokerUnreachable(error="c"))

    assert instances(path) == ["a", "c"]
    assert len(path.read_bytes().splitlines()) == 3


def test_line_that_a_crash_has_cut_short_spoils_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(b'{"event":"worker.se')
    with Log.to_file(path, "test") as log:
        log.observe(BrokerUnreachable(error="a"))

    assert instances(path) == ["a"]


def test_line_that_another_process_has_cut_short_spoils_no_other_line(tmp_path: Path) -> None:
    """An installation without a scheduler has one file for all its commands."""
    path = tmp_path / "despensa.jsonl"
    with Log.to_file(path, "test") as log, Log.to_file(path, "other") as other:
        log.observe(BrokerUnreachable(error="a"))
        with room_for(path.stat().st_size + 50), pytest.raises(OSError, match="too large"):
            other.observe(BrokerUnreachable(error="torn"))
        log.observe(BrokerUnreachable(error="b"))
        other.observe(BrokerUnreachable(error="c"))

    assert instances(path) == ["a", "b", "c"]

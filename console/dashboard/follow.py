"""Reading log files as they grow: rotated, packed, cut, copied or moved to and from, each line once.

A file is known by its first line, not by its name: no two files of a log begin with the same one. So what logrotate
renames, packs or copies is read on where it was left, and what it cuts and begins anew is read from its start.
"""

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from console.log_verify import GZIP_MAGIC

#: A line that is longer is none of ours; so much of it is read at a time.
LINE_MAX = 65_537
#: What rotation appends to a log's name: `.1`, `.2.gz`, `-20261201`.
ROTATED = (".*", "-*")


@dataclass(slots=True)
class Source:
    """A file that is read."""

    path: Path
    first_line: bytes
    offset: int = 0  #: in what it holds, unpacked; all before it was read
    state: str = "followed"  #: or packed, gone, unreadable
    torn: int = 0
    foreign: int = 0
    stamp: tuple[int, ...] = ()  #: inode, size and times at the last reading: unchanged, nothing is new


class Follower:
    """The files of a log: those given, and what rotation made of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.sources: list[Source] = []

    def read(self) -> Iterator[tuple[Source, bytes]]:
        """The whole lines that came since the last reading, with where they stand. Oldest file first."""
        found = self._find()
        for path in found:
            yield from self._read_file(path)
        for source in self.sources:
            if source.path not in found:
                source.state = "gone"

    def _find(self) -> list[Path]:
        found: dict[Path, int] = {}
        for given in self._paths:
            is_folder = os.path.isdir(given)  # Path's own raises where a folder above may not be looked into
            folder = given if is_folder else given.parent
            patterns = ("*.jsonl*",) if is_folder else (given.name, *(given.name + end for end in ROTATED))
            for pattern in patterns:
                for path in folder.glob(pattern):
                    try:
                        if path.is_file():
                            found[path] = path.stat().st_mtime_ns
                    except OSError:  # rotated away at this moment
                        continue
        return sorted(found, key=lambda path: (found[path], path.name))

    def _read_file(self, path: Path) -> Iterator[tuple[Source, bytes]]:
        source = next((each for each in reversed(self.sources) if each.path == path), None)
        stamp: tuple[int, ...] = ()
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if source is not None and source.stamp == stamp and source.state != "gone":
                return
            with path.open("rb") as raw:
                packed = raw.read(2) == GZIP_MAGIC
                raw.seek(0)
                stream: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]  # it reads as one
                source = self._source_of(path, stream)
                if source is None:
                    return  # its first line is still being written
                yield from _lines(source, stream, whole=packed)
                source.state, source.stamp = ("packed" if packed else "followed"), stamp
        except (OSError, EOFError, zlib.error):  # no permission, or damaged, or still being packed: once it has changed
            if source is None:
                source = Source(path, b"")
                self.sources.append(source)
            source.state, source.stamp = "unreadable", stamp

    def _source_of(self, path: Path, stream: BinaryIO) -> Source | None:
        """Which file this is, by its first line; None while it has none."""
        first_line = stream.readline(LINE_MAX)
        if not first_line.endswith(b"\n") and len(first_line) < LINE_MAX:
            return None
        source = next((each for each in self.sources if each.first_line == first_line), None)
        if source is None:
            source = Source(path, first_line)
            self.sources = [each for each in self.sources if (each.path, each.first_line) != (path, b"")]
            self.sources.append(source)
        for each in self.sources:
            if each.path == path and each is not source:
                each.state = "gone"
        source.path = path
        return source


def _lines(source: Source, stream: BinaryIO, *, whole: bool) -> Iterator[tuple[Source, bytes]]:
    """From where it was left. A last line without an end is left for the next time, unless the file is `whole`."""
    stream.seek(source.offset)
    while line := stream.readline(LINE_MAX):
        length = len(line)
        while not line.endswith(b"\n") and (more := stream.readline(LINE_MAX)):
            length += len(more)
            if more.endswith(b"\n"):
                break
        else:
            if not line.endswith(b"\n") and not whole:
                return
        source.offset += length
        if line.strip():
            yield source, line  # of a longer one its beginning: whoever reads it refuses it

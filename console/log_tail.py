"""Reading log files to look at: the last lines of several, merged by time, or followed as lines come.

A line that is none of ours is counted and passed over: a torn one, or somebody else's.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from console.entry import shown
from console.log_choice import TEACHING, Chooser, Line
from console.log_verify import Place, read_texts

#: How often a followed file is looked at.
POLL_S = 0.25
#: On every line and of no use to a reader at a terminal.
UNSHOWN = frozenset(
    {"timestamp", "level", "event", "schema", "service.name", "service.version", "service.instance.id", "seq", "hash"}
)
#: What the field `run` says already.
IN_RUN = frozenset({"run_id", "location", "cycle", "part"})
#: SGR codes by level. Source: ECMA-48.
COLOURS = {"info": "32", "warning": "33", "error": "31;1"}

Text = tuple[Place, bytes]


@dataclass(frozen=True, slots=True)
class Row:
    """A log line, parsed and as it stands in its file."""

    line: Line
    text: str


@dataclass(slots=True)
class Broken:
    """Lines that were passed over."""

    count: int = 0
    first: Place | None = None

    def __str__(self) -> str:
        lines = "1 line is no log line and was" if self.count == 1 else f"{self.count} lines are no log lines and were"
        return f"{lines} passed over; the first: {self.first}"

    def add(self, place: Place) -> None:
        """One more."""
        self.count += 1
        self.first = self.first or place


def pause(seconds: float) -> None:
    """Until the next look."""
    threading.Event().wait(seconds)


def last_rows(paths: Sequence[Path], chooser: Chooser, *, count: int | None, broken: Broken) -> Iterator[Row]:
    """The last rows that are meant, of all files together in the order of time; all of them without a `count`."""
    teach(chooser, (text for path in paths for text in read_texts(path)))
    return _chosen([read_texts(path) for path in paths], chooser, count=count, broken=broken)


def follow(
    paths: Sequence[Path], chooser: Chooser, *, count: int | None, broken: Broken, wait: Callable[[float], object]
) -> Iterator[Row]:
    """As `last_rows`, then rows as they come, also after a file was rotated or cut. Files need not be there yet.

    Has no end. `wait` is called between two looks.
    """
    teach(chooser, (text for path in paths if path.exists() for text in read_texts(path)))
    with ExitStack() as opened:
        followed = [opened.enter_context(closing(Followed(path))) for path in paths]
        yield from _chosen([each.begin() for each in followed], chooser, count=count, broken=broken)
        while True:
            for each in followed:
                for row in _rows(each.look(), broken):
                    chooser.learn(row.line)
                    if chooser.takes(row.line):
                        yield row
            wait(POLL_S)


def teach(chooser: Chooser, texts: Iterable[Text]) -> None:
    """Let it learn from these lines, if it must."""
    if chooser.must_learn:
        for row in _rows(((place, text) for place, text in texts if any(each in text for each in TEACHING)), Broken()):
            chooser.learn(row.line)
        chooser.settle()


class Followed:
    """One file that is looked at again and again, across rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self._number = 0
        self._rest = b""

    def begin(self) -> Iterator[Text]:
        """The lines that are there, but for one that is still being written."""
        if not self._path.exists():
            return
        self._stream = stream = self._path.open("rb")
        start = 0
        for text in stream:
            if not text.endswith(b"\n"):
                stream.seek(start)
                return
            start += len(text)
            yield self._placed(text)

    def look(self) -> list[Text]:
        """The lines that have come since the last look."""
        found: list[Text] = []
        while True:
            if self._stream is None:
                if not self._path.exists():
                    return found
                self._stream, self._number, self._rest = self._path.open("rb"), 0, b""
            gone = self._is_replaced(self._stream)  # asked before reading: what was written until then is read
            *lines, self._rest = (self._rest + self._stream.read()).split(b"\n")
            found += [self._placed(text) for text in lines]
            if not gone:
                return found
            if self._rest:
                found.append(self._placed(self._rest))
            self.close()

    def close(self) -> None:
        """Until the next look, which opens the file again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _placed(self, text: bytes) -> Text:
        self._number += 1
        return Place(self._path, self._number), text

    def _is_replaced(self, stream: IO[bytes]) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(stream.fileno())
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or here.st_size < stream.tell()


def readable(line: Line, *, colour: bool) -> str:
    """A log line for people."""
    place = f"#{line['seq']} " if "seq" in line else ""
    unshown = UNSHOWN | IN_RUN if "run" in line else UNSHOWN
    fields = " ".join(f"{name}={_value(value)}" for name, value in line.items() if name not in unshown)
    level = str(line["level"])
    head = shown(f"{level:<7} {line['event']}")
    if colour:
        head = f"\x1b[{COLOURS.get(level, '0')}m{head}\x1b[0m"
    return f"{shown(str(line['timestamp']))} {head} {shown(place + fields)}".rstrip()


def as_it_is(text: str) -> str:
    """A line for programs; what would paint on a terminal as JSON's own escape, which says the same."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(each: str) -> str:
    if each < " ":
        return " "  # between values: inside text JSON has it escaped already
    units = each.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _chosen(files: list[Iterator[Text]], chooser: Chooser, *, count: int | None, broken: Broken) -> Iterator[Row]:
    if count is not None and len(files) == 1 and not chooser.chooses:
        return _rows(deque(files[0], maxlen=count), broken)  # the lines before need not be parsed
    parsed = [_rows(texts, broken) for texts in files]
    # A file's own order is kept: a sealed line stands after operational ones that are younger than its fact.
    rows = heapq.merge(*parsed, key=lambda row: str(row.line["timestamp"]))
    chosen = (row for row in rows if chooser.takes(row.line))
    return chosen if count is None else iter(deque(chosen, maxlen=count))


def _rows(texts: Iterable[Text], broken: Broken) -> Iterator[Row]:
    for place, text in texts:
        if not text.strip():
            continue
        try:
            line = orjson.loads(text)
            ours = isinstance(line, dict) and all(
                isinstance(line[name], str) for name in ("timestamp", "level", "event")
            )
        except (orjson.JSONDecodeError, KeyError):
            ours = False
        if ours:
            yield Row(line, text.decode("utf-8", errors="replace").rstrip("\r\n"))
        else:
            broken.add(place)


def _value(value: object) -> str:
    """Text in quotes where it would not read as one word."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "-"}[value]
    text = str(value)
    return text if text and " " not in text and "=" not in text else f'"{text}"'

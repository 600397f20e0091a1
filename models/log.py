"""Writing log lines: one flat JSON object a line, to standard output or to a file that may be rotated.

structlog renders and writes; the catalogue decides what can be said. Nothing else in the project writes a log.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import structlog

from models.events import Observed
from models.journal import Writer, observed_line
from models.sightings import instance

Line = dict[str, int | str | bool | None]


class Log:
    """A place where lines go. Safe to share between threads; a line is written with one system call."""

    def __init__(self, sink: Sink, service: str) -> None:
        self.writer = Writer(service, installed_version(), instance())
        self._logger = structlog.wrap_logger(
            structlog.BytesLogger(cast(BinaryIO, sink)), processors=[_render], cache_logger_on_first_use=True
        )
        self._sink = sink

    @classmethod
    @contextmanager
    def to_file(cls, path: Path, service: str) -> Iterator[Log]:
        """Append to `path`, made with its folder if need be (0600), and opened again when it was rotated."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sink = Sink(path)
        try:
            yield cls(sink, service)
        finally:
            sink.close()

    @classmethod
    @contextmanager
    def opened(cls, service: str, *, file: Path | None) -> Iterator[Log]:
        """To `file`, as `to_file` does; without one to standard output, as `of_service` does."""
        if file is None:
            yield cls.of_service(service, file=None)
            return
        with cls.to_file(file, service) as log:
            yield log

    @classmethod
    def of_service(cls, service: str, *, file: Path | None) -> Log:
        """For the worker and the scheduler, until the process ends: to `file`, as `to_file` does, where one is given.

        Without one to standard output, which whoever runs them collects.
        """
        if file is not None:
            return cls(Sink(file), service)
        sys.stdout.flush()
        # Its own descriptor: Dramatiq replaces sys.stdout in a worker by a pipe without a buffer.
        return cls(Sink(None), service)

    def observe(self, event: Observed) -> None:
        """Write an operational event, stamped with the host's clock."""
        self.write(observed_line(event, now=datetime.now(UTC), writer=self.writer))

    def write(self, line: Line) -> None:
        """Write one line as it is. Raises OSError if it cannot be written."""
        self._logger.info(**line)

    def sync(self) -> None:
        """Return when what was written is on the disk: a sealed line is marked emitted only after this."""
        self._sink.sync()


class Sink:
    """An append-only file that is opened again when it was rotated; None is standard output."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = self._open()
        self._torn = False
        self._end = 0

    def write(self, data: bytes) -> int:
        """All of `data`, in one system call where the system allows."""
        with self._lock:
            self._reopen_if_rotated()
            # A line that a full disk, or a crash, has cut short is ended first: it must not spoil the next one.
            rest = memoryview(b"\n" + data if self._is_torn() else data)
            self._torn = True
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._torn = False
            with suppress(OSError):  # a pipe has no place
                self._end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def sync(self) -> None:
        """To the disk; a pipe has none."""
        with self._lock:
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor. A later write fails: the number may by then be another file's, or a socket's."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _open(self) -> int:
        if self._path is None:
            return os.dup(1)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _reopen_if_rotated(self) -> None:
        if self._path is None:
            return
        try:
            same = os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            same = False
        if not same:
            # Opened before the old one is closed: should that fail, its number must not become another file's.
            old, self._descriptor = self._descriptor, self._open()
            self._torn, self._end = False, 0
            try:
                os.fdatasync(old)  # what is synced from now on is the new file
            finally:
                os.close(old)

    def _is_torn(self) -> bool:
        """Whether the last line was cut short: ours or, in a file, anybody's."""
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            return self._torn
        if status.st_size == self._end:  # nobody wrote since our last line
            return False
        try:
            with Path(f"/proc/self/fd/{self._descriptor}").open("rb") as file:  # its name may be another's by now
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # it is empty, or may not be read
            return self._torn


def _render(_logger: Any, _method: str, line: Any) -> bytes:
    # structlog puts `event` last; a line begins as models.journal.line has it.
    return orjson.dumps({name: line[name] for name in ("timestamp", "level", "event")} | line)


def installed_version() -> str:
    """Of despensa, as each line says it."""
    try:
        return version("despensa")
    except PackageNotFoundError:
        return "0.1.0"

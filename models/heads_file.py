"""Heads of the journal, one for each run that was closed, in a file of their own: to be kept where nobody can reach it.

Whoever holds a head can prove the journal up to there: whoever owns the database may rewrite it, and chain it anew, but
not so that it has the old hash at the old place. The file is only ever added to.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import NotFound, RefusedInput
from models.kept_head import Head
from models.whole_files import sync_folder

#: Read from the end of the file to find out up to where it goes: some hundred lines.
TAIL_BYTES = 65_536
#: More than all closes of a century; a setting that names another file by mistake ends here.
FILE_BYTES_MAX = 256_000_000
_LINE = re.compile(
    rb"(?P<at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{15}Z) (?P<seq>[1-9][0-9]{0,17}) (?P<hash>[0-9a-f]{64}) (?P<run>[!-~]+)"
)


@dataclass(frozen=True, slots=True)
class ClosedHead:
    """The place in the journal that says that a run is over, and the hash there."""

    at: str  #: when it was recorded, UTC
    head: Head
    run: str  #: with its programme in front

    def line(self) -> bytes:
        """As it is written."""
        return f"{self.at} {self.head.seq} {self.head.hash} {self.run}\n".encode()


class HeadsFile:
    """The file of one host. Two schedulers of a host may both add a head: the same line twice does no harm."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last_seq(self) -> int:
        """Up to which place it goes; 0 where there is none. Raises OSError."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
                return max((found.head.seq for found in _parse(stream.read().split(b"\n")[:-1])), default=0)
        except FileNotFoundError:
            return 0

    def append(self, heads: Iterable[ClosedHead]) -> None:
        """Add lines, and have them on the disk. Raises OSError; what is torn then is passed over, and added again."""
        content = b"".join(each.line() for each in heads)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_new = not self._path.exists()
        # Read, too, for its last byte; nobody is waited for at the other end of a pipe.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        with open(descriptor, "r+b", buffering=0) as stream:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a line was cut off: it ends here
                content = b"\n" + content
            if stream.write(content) != len(content):
                raise OSError(28, "No space left on device", str(self._path))
            os.fsync(descriptor)
        if is_new:
            sync_folder(self._path.parent)


def read_heads(path: Path) -> list[Head]:
    """Every head in a file, each once, by place. What is torn, or is no such line, is passed over.

    Raises NotFound, and RefusedInput for a file that holds none.
    """
    try:
        with path.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise RefusedInput(f"{path} is no file")
            heads = {found.head for found in _parse(stream.read(FILE_BYTES_MAX).split(b"\n"))}
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None
    if not heads:
        raise RefusedInput(f"{path} holds no head of a journal", hint="lines of it are: TIMESTAMP SEQ HASH RUN")
    return sorted(heads)


def _parse(lines: Iterable[bytes]) -> Iterator[ClosedHead]:
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is not None:
            head = Head(int(found["seq"]), found["hash"].decode())
            yield ClosedHead(found["at"].decode(), head, found["run"].decode())

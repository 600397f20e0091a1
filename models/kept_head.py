"""The kept head: how far the journal had come, kept outside the database, so that one that was restored is noticed.

Whoever seals keeps it, after the seal's commit: in a file beside the process and, distributed, in Redis. Each of them
alone is enough; where neither is there, nothing is compared, and nothing is refused.
"""

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.settings import Settings

if TYPE_CHECKING:
    import redis

#: Of the Redis key, after the namespace.
KEY = "journal-head"
_FORM = re.compile(rb"(?P<seq>[1-9][0-9]{0,17}) (?P<hash>[0-9a-f]{64})\n?")


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """A place in the journal, and the hash of its seal."""

    seq: int
    hash: str


class KeptHead:
    """The head as it was kept: by this process, in the file, and in Redis. Safe to share between threads."""

    def __init__(self, path: Path, client: "redis.Redis | None" = None, *, key: str = "") -> None:
        self._path = path
        self._client = client
        self._key = key
        self._kept: Head | None = None

    @classmethod
    def of(cls, settings: Settings, client: "redis.Redis") -> "KeptHead":
        """Of an installation, with a client of its Redis; of an embedded one the file alone."""
        if not settings.distributed:
            return cls.in_file(settings)
        return cls(settings.head, client, key=f"{settings.namespace}:{KEY}")

    @classmethod
    def in_file(cls, settings: Settings) -> "KeptHead":
        """Without asking Redis: for commands that only show."""
        return cls(settings.head)

    def heads(self) -> list[Head]:
        """Every head that was kept, the furthest first.

        To be read before the database: what is kept is committed there, but not the other way round.
        """
        kept = {head for head in (self._kept, self._in_file(), self._in_redis()) if head is not None}
        return sorted(kept, key=lambda head: (head.seq, head.hash), reverse=True)

    def keep(self, head: Head) -> None:
        """Keep it, unless as much was kept: never backwards. Raises OSError where the file cannot be written."""
        if head.seq == 0 or (self._kept is not None and head.seq <= self._kept.seq):
            return
        self._kept = head
        in_redis, in_file = self._in_redis(), self._in_file()
        if in_redis is None or in_redis.seq < head.seq:
            self._write_redis(head)
        if in_file is None or in_file.seq < head.seq:
            self._write_file(head)

    def replace(self, head: Head) -> None:
        """Keep this one whatever was kept: for `db restored`, once it knows what the database has forgotten."""
        self._kept = head
        self._write_redis(head)
        self._write_file(head)

    def _in_file(self) -> Head | None:
        try:
            return _parse(self._path.read_bytes())
        except OSError:  # there is none, or it is another login's
            return None

    def _in_redis(self) -> Head | None:
        if self._client is None:
            return None
        from redis import RedisError  # a tenth of a second, which an embedded command need not wait for

        try:
            found = self._client.get(self._key)
        except RedisError:
            return None
        return _parse(found) if isinstance(found, bytes) else None

    def _write_redis(self, head: Head) -> None:
        if self._client is None:
            return
        from redis import RedisError

        with suppress(RedisError):  # the file has it, and the next head comes
            self._client.set(self._key, _text(head))

    def _write_file(self, head: Head) -> None:
        """Whole or not at all, whenever the machine stops; readable by its owner."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "wb") as part:
                part.write(_text(head))
                part.flush()
                os.fsync(part.fileno())
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _text(head: Head) -> bytes:
    return f"{head.seq} {head.hash}\n".encode()


def _parse(content: bytes) -> Head | None:
    """What is torn, or was never a head, counts as absent."""
    found = _FORM.fullmatch(content)
    return Head(int(found["seq"]), found["hash"].decode()) if found else None

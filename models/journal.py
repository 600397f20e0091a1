"""The journal: business events in the transaction of their fact, and the chain that seals them.

`append` is the last statement of a transaction. Sealing (scheduler.seal) gives committed events their place, `seq`,
and a hash over the hash before it: whoever holds the last hash can prove that no line was changed, dropped or added.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from models.columns import instant_text
from models.events import SCHEMA, Event, Journalled
from models.storage import Query, Tx

#: The hash before the first seal.
GENESIS = "0" * 64

INSERT_EVENT = Query("""
-- insert_event: append one business event
INSERT INTO journal (event, level, run_id, recorded_at, fields) VALUES (:event, :level, :run_id, :recorded_at, :fields)
""")


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal row as its line shows it."""

    event: str
    recorded_at: datetime
    fields: dict[str, int | str | bool | None]


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes a line: not what it says, so no part of its hash."""

    service: str
    version: str
    instance: str  #: host and process


def append(tx: Tx, event: Journalled) -> None:
    """Record a business event: it is true if and only if this transaction commits."""
    tx.execute(INSERT_EVENT, **_row(event, now=tx.now))


def append_all(tx: Tx, events: Sequence[Journalled]) -> None:
    """Record many in one statement."""
    tx.execute_many(INSERT_EVENT, [_row(event, now=tx.now) for event in events])


def canonical(values: dict[str, int | str | bool | None]) -> bytes:
    """The one way to write these values as JSON: sorted keys, no spaces. Hashes are taken over it."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


def chain_hash(
    prev_hash: str, *, seq: int, event: str, timestamp: str, fields: dict[str, int | str | bool | None]
) -> str:
    """The hash of a sealed event, from nothing but the hash before it and what its line shows."""
    body = canonical({**fields, "seq": seq, "event": event, "timestamp": timestamp, "schema": SCHEMA})
    return hashlib.sha256(prev_hash.encode() + b"\n" + body).hexdigest()


def line(event: str, *, timestamp: str, level: str, writer: Writer) -> dict[str, int | str | bool | None]:
    """The fields that every line has, in the order in which they are written."""
    return {
        "timestamp": timestamp,
        "level": level,
        "event": event,
        "schema": SCHEMA,
        "service.name": writer.service,
        "service.version": writer.version,
        "service.instance.id": writer.instance,
    }


#: On a line, but not in its hash: who wrote it and how loud, the seal itself.
NOT_HASHED = frozenset({"level", "service.name", "service.version", "service.instance.id", "hash"})


def hash_of_line(prev_hash: str, parsed: dict[str, int | str | bool | None]) -> str:
    """The hash that a parsed line ought to carry, after the line whose hash is `prev_hash`."""
    body = canonical({name: value for name, value in parsed.items() if name not in NOT_HASHED})
    return hashlib.sha256(prev_hash.encode() + b"\n" + body).hexdigest()


def observed_line(event: Event, *, now: datetime, writer: Writer) -> dict[str, int | str | bool | None]:
    """An operational event as its line shows it."""
    return {**line(event.NAME, timestamp=instant_text(now), level=event.LEVEL, writer=writer), **event.values()}


def _row(event: Journalled, *, now: datetime) -> dict[str, object]:
    values = event.values()
    return {
        "event": event.NAME,
        "level": event.LEVEL,
        "run_id": values.get("run_id"),
        "recorded_at": now,
        "fields": canonical(values).decode(),
    }

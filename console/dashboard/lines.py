"""A line of the log as the dashboard takes it: parsed, and whole by the catalogue. Anybody may have written it."""

import types
import typing
from dataclasses import MISSING, dataclass, fields
from typing import Any

import orjson

from console.dashboard.views import EventLine
from console.log_reference import HEAD, SEAL
from models.columns import parse_instant
from models.events import CATALOGUE, Event

#: Longer ones are none of ours.
LINE_BYTES_MAX = 65_536
#: Nor are larger numbers: a page could not show them exactly, and sums of them would not fit into JSON.
NUMBER_MAX = 2**53 - 1
#: The types that a field may have.
KINDS: dict[object, tuple[type, ...]] = {int: (int,), str: (str,), bool: (bool,), types.NoneType: (type(None),)}


@dataclass(frozen=True, slots=True)
class Line:
    """A line with what every line has. `event` is known exactly where its fields are all there and of their types."""

    event: str
    timestamp: str
    at: float  #: the same, in seconds of Unix time
    level: str
    instance: str
    seq: int  #: 0 for an operational event
    hash: str
    fields: dict[str, Any]  #: the whole object; a field that its event had not yet when it was written has its default
    written: dict[str, Any]  #: as it was written: what its hash is of
    raw: bytes

    def shown(self) -> EventLine:
        """For a list of events."""
        own = {name: value for name, value in self.fields.items() if name not in HEAD and name not in SEAL}
        return EventLine(self.seq, self.timestamp, self.level, self.event, self.instance, own)


class Torn(ValueError):
    """No JSON: cut off, or still being written."""


class Foreign(ValueError):
    """JSON, but no line of this log."""


def parse(raw: bytes) -> Line:
    """Raises Torn or Foreign. A line of an event that the catalogue does not have is one of a newer despensa."""
    if len(raw) > LINE_BYTES_MAX:
        raise Foreign
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Torn from None
    if not isinstance(values, dict):
        raise Foreign
    texts = [values.get(name) for name in ("event", "timestamp", "level")]
    seq, digest = values.get("seq", 0), values.get("hash", "")
    if not all(isinstance(text, str) for text in texts) or type(seq) is not int or not isinstance(digest, str):
        raise Foreign
    event, timestamp, level = (str(text) for text in texts)
    if not 0 <= seq <= NUMBER_MAX or (seq > 0) != bool(digest) or not _is_flat(values):
        raise Foreign
    whole = _DEFAULTS.get(event, {}) | values
    if not _is_whole(event, whole):
        raise Foreign
    try:
        at = parse_instant(timestamp).timestamp()
    except ValueError:
        raise Foreign from None
    instance = values.get("service.instance.id", "")
    return Line(event, timestamp, at, level, str(instance), seq, digest, whole, values, raw)


def _expected(kind: type[Event]) -> list[tuple[str, tuple[type, ...]]]:
    hints = typing.get_type_hints(kind)
    found = []
    for each in fields(kind):
        parts = typing.get_args(hints[each.name]) or (hints[each.name],)
        found.append((each.name, tuple(kind for part in parts for kind in KINDS[part])))
    return found


_EXPECTED = {name: _expected(kind) for name, kind in CATALOGUE.items()}
#: Of fields that were added to an event after a release.
_DEFAULTS = {
    name: {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    for name, kind in CATALOGUE.items()
}


def _is_whole(event: str, values: dict[str, Any]) -> bool:
    nothing = _EXPECTED  # an object that no line can hold
    return all(
        type(value := values.get(name, nothing)) in kinds and not (type(value) is int and abs(value) > NUMBER_MAX)
        for name, kinds in _EXPECTED.get(event, ())
    )


def _is_flat(values: dict[str, Any]) -> bool:
    """Ours are; what is nested a thousand deep cannot even be hashed."""
    return all(isinstance(value, int | str | float | None) for value in values.values())

"""The version rule of the log: what may change while `schema` stays, held against the last released catalogue.

`deploy/log-events.released.json` is the catalogue as of the last release; a test compares. Written anew at a release,
and only then: `python -m console.log_versions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from console.log_reference import HEAD, PATTERNS, SEAL, fields_of
from models.events import CATALOGUE, SCHEMA, Event, Journalled
from models.log import installed_version

RELEASED = Path(__file__).parents[1] / "deploy" / "log-events.released.json"
#: What stands for the fields that are on every line, and on every business event's.
EVERY_LINE, EVERY_SEALED_LINE = "every line", "every business event's line"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is promised of one event."""

    kind: str  #: business or operational
    level: str
    fields: dict[str, str]  #: type, unit and form by name, in order


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is promised of all."""

    version: str
    schema: int
    events: dict[str, Kind]


def catalogue_now() -> Catalogue:
    """As the code has it."""
    lines = {
        EVERY_LINE: Kind("", "", {name: _typed(each) for name, each in HEAD.items()}),
        EVERY_SEALED_LINE: Kind("business", "", {name: _typed(each) for name, each in SEAL.items()}),
    }
    events = {name: _kind(CATALOGUE[name]) for name in sorted(CATALOGUE)}
    return Catalogue(installed_version(), SCHEMA, {**lines, **events})


def catalogue_text(catalogue: Catalogue) -> str:
    """As in the file."""
    return orjson.dumps(catalogue, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def read_catalogue(path: Path = RELEASED) -> Catalogue:
    """The released one."""
    read = orjson.loads(path.read_bytes())
    return Catalogue(read["version"], read["schema"], {name: Kind(**each) for name, each in read["events"].items()})


def broken_rules(released: Catalogue, now: Catalogue) -> list[str]:
    """What was changed that `schema` does not allow, a sentence each. Nothing where `schema` was raised."""
    if now.schema < released.schema:
        return [f"schema is {now.schema}, and {released.schema} in the released catalogue: it never goes back"]
    if now.schema > released.schema:
        return []
    found: list[str] = []
    for name, before in released.events.items():
        after = now.events.get(name)
        if after is None:
            found.append(f"{name}: the event is gone, or has another name; {_NEEDS}")
        else:
            found += _of_event(name, before, after)
    return found


_NEEDS = "this needs a higher `schema` in models/events.py, and an entry in the changelog"


def _of_event(name: str, before: Kind, after: Kind) -> list[str]:
    found = []
    if after.kind != before.kind:
        found.append(f"{name}: it was {before.kind} and is {after.kind}; {_NEEDS}")
    if after.level != before.level:
        found.append(f"{name}: its level was {before.level} and is {after.level}; {_NEEDS}")
    for field, typed in before.fields.items():
        if field not in after.fields:
            found.append(f"{name}.{field}: the field is gone, or has another name; {_NEEDS}")
        elif after.fields[field] != typed:
            found.append(f"{name}.{field}: it was {typed} and is {after.fields[field]}; {_NEEDS}")
    kept = [field for field in after.fields if field in before.fields]
    for field, expected in zip(kept, [field for field in before.fields if field in after.fields], strict=True):
        if field != expected:
            found.append(f"{name}.{field}: it has another place, where {expected} was; fields keep their order")
            break
    last = max((place for place, field in enumerate(after.fields) if field in before.fields), default=-1)
    for place, field in enumerate(after.fields):
        if place < last and field not in before.fields:
            found.append(f"{name}.{field}: a new field stands at the end, after {list(after.fields)[last]}")
    return found


def _kind(kind: type[Event]) -> Kind:
    written = "business" if issubclass(kind, Journalled) else "operational"
    forms = {each.name: _form(PATTERNS.get(each.name, "")) for each in fields_of(kind)}
    return Kind(written, kind.LEVEL, {each.name: each.typed() + forms[each.name] for each in fields_of(kind)})


def _typed(schema: dict[str, object]) -> str:
    return str(schema.get("type", "integer")) + _form(str(schema.get("pattern", "")))


def _form(pattern: str) -> str:
    return f", like {pattern}" if pattern else ""


if __name__ == "__main__":
    RELEASED.write_text(catalogue_text(catalogue_now()), encoding="utf-8")

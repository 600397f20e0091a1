"""The JSON Schema of a log line and the reference page, both from the catalogue in models.events.

`deploy/log-events.schema.json` and `deploy/LOG-EVENTS.md` are what this module makes: a test fails on drift.
"""

import ast
import functools
import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields

import orjson

from console import log_mappings, log_recipes
from console.log_examples import example_of
from models import events
from models.events import CATALOGUE, SCHEMA, Event, Journalled

TIMESTAMP_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"

#: JSON's names of the types that a field may have.
JSON_TYPES: dict[type, str] = {int: "integer", str: "string", bool: "boolean", types.NoneType: "null"}

#: What every line begins with.
HEAD: dict[str, dict[str, object]] = {
    "timestamp": {"type": "string", "pattern": TIMESTAMP_PATTERN},
    "level": {"type": "string"},
    "event": {"type": "string"},
    "schema": {"const": SCHEMA},
    "service.name": {"type": "string", "minLength": 1},
    "service.version": {"type": "string", "minLength": 1},
    "service.instance.id": {"type": "string", "minLength": 1},
}
#: What a business event's line ends with.
SEAL: dict[str, dict[str, object]] = {
    "seq": {"type": "integer", "minimum": 1},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
#: What these mean, for the reference page.
COMMON_MEANINGS = {
    "timestamp": "when it was recorded, UTC, always six decimal places and `Z`",
    "level": "`info`, `warning` or `error`: fixed for each event",
    "event": "its name",
    "schema": f"{SCHEMA}; raised when a field changes its meaning or goes away",
    "service.name": "which program wrote the line",
    "service.version": "and which version of it",
    "service.instance.id": "where: host and process id",
    "seq": "only business events: its place in the log, from 1 without a gap",
    "hash": "only business events: SHA-256 over the hash before it and this line's fields; see `despensa logs verify`",
}
#: Formats of fields, by name: the same word means the same everywhere.
PATTERNS = {
    "run": r"^[0-9]{4}-[0-9]{2}/[0-9]{5}(\.[0-9]+)?$",
    "cycle": r"^[0-9]{4}-[0-9]{2}$",
    "location": r"^[0-9]{5}$",
    "currency": r"^[A-Z]{3}$",
}
#: Units, by the end of a field's name.
UNITS = {"_minor": "minor units", "_ms": "milliseconds", "_at": "UTC", "_until": "UTC"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event."""

    name: str
    types: tuple[str, ...]  #: of JSON; two where it may be null
    meaning: str  #: from the `#:` comment beside it

    def schema(self) -> dict[str, object]:
        """Its part of the JSON Schema."""
        kind: object = self.types[0] if len(self.types) == 1 else list(self.types)
        pattern = {"pattern": PATTERNS[self.name]} if self.name in PATTERNS else {}
        meaning = {"description": self.meaning} if self.meaning else {}
        return {"type": kind, **pattern, **meaning}

    def typed(self) -> str:
        """Its type and unit, for people."""
        unit = next((unit for ending, unit in UNITS.items() if self.name.endswith(ending)), "")
        return " or ".join(self.types) + (f", {unit}" if unit else "")


def fields_of(kind: type[Event]) -> list[Field]:
    """The fields of an event, in the order of its class."""
    hints = typing.get_type_hints(kind)
    meanings = _meanings(kind)
    return [Field(each.name, _json_types(hints[each.name]), meanings.get(each.name, "")) for each in fields(kind)]


def json_schema() -> dict[str, object]:
    """The JSON Schema of a line: one of the events, each with all of its fields and no other."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of despensa's log",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in sorted(CATALOGUE)],
        "$defs": {name: _event_schema(CATALOGUE[name]) for name in sorted(CATALOGUE)},
    }


def json_schema_text() -> str:
    """As in `deploy/log-events.schema.json`."""
    return orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def reference_page() -> str:
    """As in `deploy/LOG-EVENTS.md`."""
    blocks = [_PREFACE, _table(("field", "type", "meaning"), _common_rows()), "## All events"]
    rows = [
        (f"[`{name}`](#{_anchor(name)})", CATALOGUE[name].LEVEL, _when(CATALOGUE[name])) for name in sorted(CATALOGUE)
    ]
    blocks.append(_table(("event", "level", "written"), rows))
    blocks += [_event_page(CATALOGUE[name]) for name in sorted(CATALOGUE)]
    table = _table(("field", "Elastic Common Schema", "OpenTelemetry"), log_mappings.rows())
    blocks += [*log_recipes.section(), _RULES, log_mappings.PREFACE, table, log_mappings.AFTERWORD]
    return "\n\n".join(blocks) + "\n"


_PREFACE = """\
# Log events

<!-- Generated: despensa logs schema --markdown > deploy/LOG-EVENTS.md -->

The log is one flat JSON object a line. This is the closed catalogue of what it can say; its JSON Schema is
`log-events.schema.json`. Every line carries all the fields of its event and no other, and none of them is about a
family: ids of disbursements, counts and sums only.

A *business* event is recorded in the transaction of its fact, and sealed and written after the commit, at least
once: drop a line whose `seq` and `hash` you have seen, and stop if a `seq` comes with another hash. An *operational*
event is written at once, and has neither.

Each event has an example line: a month of Tijuana. Together, in the order of their `seq`, the business events among
them are a log of their own, whose chain holds from its first line.

## Fields of every line"""


_RULES = f"""\
## What may change

`schema` is the promise to whoever reads the log. While it stays {SCHEMA}:

- An event may be added, and a field at the end of an event: readers pass over what they do not know. A line that was
  written, or whose event was recorded, before a field was added does not have it.
- A field may come to say more (a further reason, a further outcome), if this page and the changelog say so.
- Nothing else: no event or field goes away or gets another name, no field another type, unit or form, none changes its
  place among the others; an event keeps its level, and a business event stays one. Any of these raises `schema`, with
  an entry in the changelog that says what readers must change.

A test holds the catalogue against the released one, `log-events.released.json`, and names event, field and rule. It is
written anew at each release: `python -m console.log_versions`."""


def _event_schema(kind: type[Event]) -> dict[str, object]:
    properties: dict[str, object] = {**HEAD, "level": {"const": kind.LEVEL}, "event": {"const": kind.NAME}}
    properties |= {each.name: each.schema() for each in fields_of(kind)}
    properties |= SEAL if issubclass(kind, Journalled) else {}
    return {
        "description": _when_it_fires(kind),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "examples": [example_of(kind)],
    }


def _event_page(kind: type[Event]) -> str:
    rows = [(f"`{each.name}`", each.typed(), each.meaning) for each in fields_of(kind)]
    head = f"## {kind.NAME}\n\nLevel `{kind.LEVEL}`, {_when(kind)}. {_when_it_fires(kind)}"
    table = [_table(("field", "type", "meaning"), rows)] if rows else []
    return "\n\n".join([head, *table, f"```json\n{orjson.dumps(example_of(kind)).decode()}\n```"])


def _common_rows() -> list[tuple[str, str, str]]:
    rows = []
    for name, schema in {**HEAD, **SEAL}.items():
        kind = str(schema.get("type", "integer"))
        rows.append((f"`{name}`", kind, COMMON_MEANINGS[name]))
    return rows


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _anchor(name: str) -> str:
    """As GitHub makes it from a heading."""
    return name.replace(".", "")


def _when(kind: type[Event]) -> str:
    return "business: after the commit" if issubclass(kind, Journalled) else "operational: at once"


def _when_it_fires(kind: type[Event]) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _json_types(hint: object) -> tuple[str, ...]:
    """Raises KeyError for a type that a log line cannot hold."""
    kinds = typing.get_args(hint) or (hint,)
    return tuple(JSON_TYPES[typing.cast(type, kind)] for kind in kinds)


def _meanings(kind: type[Event]) -> dict[str, str]:
    """The `#:` comments beside the fields of a class and of those it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _comments().get(each.__name__, {})
    return found


@functools.cache
def _comments() -> dict[str, dict[str, str]]:
    """The `#:` comments in models.events, by class and field."""
    source = inspect.getsource(events)
    lines = source.splitlines()
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                _, marked, meaning = lines[each.lineno - 1].partition("#:")
                if marked and isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    found.setdefault(node.name, {})[each.target.id] = meaning.strip()
    return found

"""The format file for lnav, a log viewer for the terminal: `deploy/lnav/despensa_log.json`, from the catalogue."""

from __future__ import annotations

import orjson

from console.log_reference import HEAD, SEAL, fields_of
from models.events import CATALOGUE

FORMAT = "despensa_log"
#: lnav's words for JSON's types.
KINDS = {"string": "string", "integer": "integer", "boolean": "boolean"}
#: What lnav itself makes of a line: log_time, log_level and log_body.
OWN = ("timestamp", "level", "event")
#: Names of things, which lnav colours alike wherever they stand.
IDENTIFIERS = frozenset(
    {"run", "location", "store", "programme", "batch_id", "case_id", "notice_id", "disbursement_id", "first_id",
     "last_id", "service.instance.id", "operator"}
)  # fmt: skip
#: What a line shows behind time and level, and how wide; every other field is in lnav's tables and in its details (p).
SHOWN = {
    "run": 15, "service.instance.id": 15, "event": 0, "store": 0, "disbursement_id": 0, "reason": 0, "outcome": 0,
    "blocked": 0, "error": 0,
}  # fmt: skip
#: Words of SQL: with a column called so, lnav 0.11.1 has no table at all, and says nothing.
RESERVED = frozenset({"constraint"})


def lnav_format() -> dict[str, object]:
    """As lnav reads it: every field is a column of its table."""
    types = {name: str(schema.get("type", "integer")) for name, schema in {**HEAD, **SEAL}.items()}
    for kind in CATALOGUE.values():
        types |= {each.name: each.types[0] for each in fields_of(kind)}
    values: dict[str, object] = {
        name: {"kind": KINDS[kind], "identifier": name in IDENTIFIERS, "hidden": name not in SHOWN}
        for name, kind in types.items()
        if name not in OWN and name not in RESERVED
    }
    parts: list[object] = [{"field": "__timestamp__"}, " ", {"field": "__level__", "min-width": 7}]
    for name, width in SHOWN.items():
        parts += [" ", {"field": name, "min-width": width, "default-value": ""}]
    return {
        "$schema": "https://lnav.org/schemas/format-v1.schema.json",
        FORMAT: {
            "title": "despensa",
            "description": "The log of despensa. Generated: despensa logs schema --lnav",
            "json": True,
            "hide-extra": True,
            "timestamp-field": "timestamp",
            "level-field": "level",
            "level": {level: f"^{level}$" for level in ("info", "warning", "error")},
            "body-field": "event",
            "opid-field": "run",
            "value": values,
            "line-format": parts,
        },
    }


def lnav_format_text() -> str:
    """As in the file."""
    return orjson.dumps(lnav_format(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()

"""What may change in the log while its `schema` stays: every kind of change is planted, and named or let through."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from console.log_reference import reference_page
from console.log_versions import (
    EVERY_LINE,
    RELEASED,
    Catalogue,
    Kind,
    broken_rules,
    catalogue_now,
    catalogue_text,
    read_catalogue,
)
from models.events import CATALOGUE, SCHEMA

RELEASE = Catalogue(
    "0.1.0",
    1,
    {
        EVERY_LINE: Kind("", "", {"timestamp": "string", "level": "string"}),
        "batch.credited": Kind("business", "info", {"batch_id": "integer", "credited": "integer", "note": "string"}),
        "worker.seen": Kind("operational", "info", {}),
    },
)


def changed(name: str = "batch.credited", **values: object) -> Catalogue:
    """The released catalogue with something else of one event."""
    return replace(RELEASE, events=RELEASE.events | {name: replace(RELEASE.events[name], **values)})  # type: ignore[arg-type]


def with_fields(fields: dict[str, str], name: str = "batch.credited") -> Catalogue:
    return changed(name, fields=fields)


def without_event() -> Catalogue:
    return replace(RELEASE, events={name: each for name, each in RELEASE.events.items() if name != "worker.seen"})


FIELDS = RELEASE.events["batch.credited"].fields


def test_the_catalogue_is_one_that_readers_of_the_last_release_understand() -> None:
    """Raise `schema` in models/events.py, or undo the change that is named."""
    assert broken_rules(read_catalogue(), catalogue_now()) == []


def test_the_released_catalogue_is_whole_and_can_be_written_again() -> None:
    released = read_catalogue()

    assert catalogue_text(released) == RELEASED.read_text(encoding="utf-8")
    assert released.schema <= SCHEMA
    assert {"run.planned", "batch.credited", "worker.seen"} < set(released.events) & set(CATALOGUE)
    assert list(released.events["batch.retried"].fields)[-3:] == ["cases", "amount_minor", "currency"]
    assert released.events["batch.retried"].fields["amount_minor"] == "integer, minor units"
    assert released.events["run.paused"].fields["cycle"] == "string, like ^[0-9]{4}-[0-9]{2}$"
    assert released.events[EVERY_LINE].fields["timestamp"].startswith("string, like ^")


@pytest.mark.parametrize(
    ("change", "named", "rule"),
    [
        (without_event, "worker.seen:", "the event is gone, or has another name"),
        (lambda: changed(level="warning"), "batch.credited:", "its level was info and is warning"),
        (lambda: changed(kind="operational"), "batch.credited:", "it was business and is operational"),
        (lambda: changed("worker.seen", kind="business"), "worker.seen:", "it was operational and is business"),
        (
            lambda: with_fields({"batch_id": "integer", "credited": "integer"}),
            "batch.credited.note:",
            "the field is gone, or has another name",
        ),
        (
            lambda: with_fields({"batch_id": "integer", "credited": "integer", "remark": "string"}),
            "batch.credited.note:",
            "the field is gone, or has another name",
        ),
        (lambda: with_fields(FIELDS | {"credited": "string"}), "batch.credited.credited:", "was integer and is string"),
        (
            lambda: with_fields(FIELDS | {"credited": "integer, minor units"}),
            "batch.credited.credited:",
            "was integer and is integer, minor units",
        ),
        (
            lambda: with_fields(FIELDS | {"note": "string, like ^[a-z]$"}),
            "batch.credited.note:",
            "was string and is string, like ^[a-z]$",
        ),
        (
            lambda: with_fields(FIELDS | {"credited": "integer or null"}),
            "batch.credited.credited:",
            "was integer and is integer or null",
        ),
        (
            lambda: with_fields({"batch_id": "integer", "note": "string", "credited": "integer"}),
            "batch.credited.note:",
            "it has another place, where credited was",
        ),
        (
            lambda: with_fields({"batch_id": "integer", "new": "integer", "credited": "integer", "note": "string"}),
            "batch.credited.new:",
            "a new field stands at the end, after note",
        ),
        (lambda: with_fields({"level": "string"}, EVERY_LINE), "every line.timestamp:", "the field is gone"),
        (lambda: replace(RELEASE, schema=0), "schema is 0", "never goes back"),
    ],
)
def test_what_readers_would_stumble_over_is_named(change: Callable[[], Catalogue], named: str, rule: str) -> None:
    (told,) = broken_rules(RELEASE, change())

    assert told.startswith(named)
    assert rule in told


@pytest.mark.parametrize(
    "change",
    [
        lambda: RELEASE,
        lambda: with_fields(FIELDS | {"new": "integer"}),
        lambda: replace(RELEASE, events=RELEASE.events | {"run.invented": Kind("business", "error", {"a": "string"})}),
    ],
    ids=["nothing", "field at the end", "event"],
)
def test_what_readers_pass_over_is_allowed(change: Callable[[], Catalogue]) -> None:
    assert broken_rules(RELEASE, change()) == []


def test_a_higher_schema_allows_everything() -> None:
    assert broken_rules(RELEASE, replace(without_event(), schema=2)) == []


def test_a_broken_rule_says_what_to_do() -> None:
    (told,) = broken_rules(RELEASE, without_event())

    assert "a higher `schema` in models/events.py, and an entry in the changelog" in told


def test_the_page_has_the_rule() -> None:
    assert f"While it stays {SCHEMA}:" in reference_page()


def test_a_field_of_one_name_has_one_type_in_all_events() -> None:
    """Whoever collects lines in one table gives each field one column."""
    types: dict[str, set[str]] = {}
    for kind in catalogue_now().events.values():
        for name, typed in kind.fields.items():
            types.setdefault(name, set()).add(typed)

    assert {name: found for name, found in types.items() if len(found) > 1} == {}

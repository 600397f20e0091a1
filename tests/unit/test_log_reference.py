"""The catalogue, its JSON Schema and its reference page say the same."""

import typing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest

from console import log_examples, logs
from console.log_examples import STORY, example_of, examples
from console.log_lnav import lnav_format_text
from console.log_reference import fields_of, json_schema, json_schema_text, reference_page
from models.columns import instant_text
from models.errors import RefusedInput
from models.events import CATALOGUE, Event, Journalled, Observed
from models.journal import GENESIS, Writer, chain_hash, hash_of_line, line, observed_line
from models.log import Log
from tests.command_line import CommandLine

DEPLOY = Path(__file__).parents[2] / "deploy"
NOW = datetime(2026, 12, 1, 15, tzinfo=UTC)
WRITER = Writer("despensa", "0.1.0", "host:1")
#: Where any text would not do.
TEXTS = {"run": "2026-12/02004.2", "cycle": "2026-12", "location": "02004", "currency": "MXN"}
VALUES = {int: 7, str: "text", bool: True}
NAMES = sorted(CATALOGUE)

Line = dict[str, int | str | bool | None]


def a_line(kind: type[Event]) -> Line:
    """A line of this event, made as the sealer and the log make it."""
    hints = typing.get_type_hints(kind)
    event = kind(**{each.name: TEXTS.get(each.name, VALUES[hints[each.name]]) for each in fields(kind)})
    if isinstance(event, Observed):
        return observed_line(event, now=NOW, writer=WRITER)
    timestamp = instant_text(NOW)
    digest = chain_hash(GENESIS, seq=1, event=kind.NAME, timestamp=timestamp, fields=event.values())
    head = line(kind.NAME, timestamp=timestamp, level=kind.LEVEL, writer=WRITER)
    return {**head, **event.values(), "seq": 1, "hash": digest}


SCHEMA = json_schema()
DEFINITIONS = typing.cast(dict[str, dict[str, typing.Any]], SCHEMA["$defs"])


def is_valid(values: Line, *, name: str) -> bool:
    """By the part of the schema for the event of this name: the rest refuses the line by its `event`."""
    return bool(jsonschema.Draft202012Validator(DEFINITIONS[name]).is_valid(values))


@pytest.mark.parametrize(
    ("name", "generated"),
    [
        ("log-events.schema.json", json_schema_text()),
        ("LOG-EVENTS.md", reference_page()),
        ("lnav/despensa_log.json", lnav_format_text()),
    ],
)
def test_the_file_in_deploy_is_the_generated_one(name: str, generated: str) -> None:
    """Mend it with `despensa logs schema`, or with `--markdown` or `--lnav`."""
    assert (DEPLOY / name).read_text(encoding="utf-8") == generated


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_every_event_is_valid(name: str) -> None:
    whole = jsonschema.Draft202012Validator(SCHEMA)

    assert whole.is_valid(a_line(CATALOGUE[name]))
    assert not whole.is_valid({**a_line(CATALOGUE[name]), "event": "run.invented"})


@pytest.mark.parametrize("name", NAMES)
def test_a_further_field_is_refused(name: str) -> None:
    """The allow-list: nothing can slip into a line beside what its class declares."""
    assert not is_valid({**a_line(CATALOGUE[name]), "registration_id": "R-1"}, name=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_line_without_one_of_its_fields_is_refused(name: str) -> None:
    whole = a_line(CATALOGUE[name])

    accepted = [field for field in whole if is_valid({key: whole[key] for key in whole if key != field}, name=name)]

    assert accepted == []


@pytest.mark.parametrize("name", NAMES)
def test_a_field_of_another_type_is_refused(name: str) -> None:
    """No field of today may be null, none is a number with a fraction, none a list."""
    whole = a_line(CATALOGUE[name])

    wrongs: tuple[typing.Any, ...] = (None, 1.5, [])
    accepted = [field for field in whole for wrong in wrongs if is_valid({**whole, field: wrong}, name=name)]

    assert accepted == []


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("timestamp", "2026-12-01T15:00:00.000000+00:00"),
        ("timestamp", "2026-12-01T15:00:00Z"),
        ("level", "debug"),
        ("event", "run.invented"),
        ("schema", 2),
        ("seq", 0),
        ("hash", "x" * 64),
        ("run", "Tijuana"),
        ("cycle", "2026-12-01"),
        ("location", "2004"),
        ("currency", "pesos"),
    ],
)
def test_a_field_of_another_form_is_refused(field: str, wrong: int | str) -> None:
    assert not is_valid({**a_line(CATALOGUE["run.planned"]), field: wrong}, name="run.planned")


def test_only_business_events_have_a_place_and_a_hash() -> None:
    sealed = {name for name, each in DEFINITIONS.items() if "seq" in each["properties"]}

    assert sealed == {name for name, kind in CATALOGUE.items() if issubclass(kind, Journalled)}


def test_a_type_that_a_line_cannot_hold_is_refused() -> None:
    """A float, or a list, must not come into the catalogue unseen."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wrong(Event):
        ratio: float

    with pytest.raises(KeyError):
        fields_of(Wrong)


def test_the_page_tells_each_field_of_each_event_and_its_meaning() -> None:
    page = reference_page()

    for name, kind in CATALOGUE.items():
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        assert all(f"| `{each.name}` |" in section for each in fields(kind))
    assert "as operators type it: 2026-12/02004" in page
    assert "integer, minor units" in page


@pytest.mark.parametrize("name", NAMES)
def test_every_event_has_an_example_that_is_valid_and_on_the_page(name: str) -> None:
    example = example_of(CATALOGUE[name])

    jsonschema.Draft202012Validator(SCHEMA).validate(example)
    assert DEFINITIONS[name]["examples"] == [example]
    section = reference_page().split(f"## {name}\n")[1].split("\n## ")[0]
    assert [orjson.loads(text) for text in section.splitlines() if text.startswith("{")] == [example]


def test_hashes_of_the_examples_are_those_of_their_fields() -> None:
    """Whoever writes a reader can try its chain on the page."""
    prev_hash = GENESIS
    for seq, example in enumerate((each for each in examples().values() if "seq" in each), start=1):
        assert (example["seq"], example["hash"]) == (seq, hash_of_line(prev_hash, example))
        prev_hash = str(example["hash"])


def test_examples_are_of_one_time_and_of_what_there_is() -> None:
    """A table that still has an event which is gone, or tells the story backwards, would mislead."""
    assert set(STORY) == set(CATALOGUE)
    sealed = [str(each["timestamp"]) for each in examples().values() if "seq" in each]
    assert sealed == sorted(sealed)


def test_a_new_event_without_an_example_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_examples, "STORY", {name: row for name, row in STORY.items() if name != "run.paused"})

    with pytest.raises(LookupError, match=r"run\.paused has no example"):
        example_of(CATALOGUE["run.paused"])


def test_a_new_field_without_an_example_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(log_examples.VALUES, "held_elsewhere")

    with pytest.raises(LookupError, match=r"run\.planned\.held_elsewhere has no example value"):
        examples()


def test_a_value_for_a_field_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    timestamp, writer, own = STORY["run.paused"]
    monkeypatch.setattr(log_examples, "STORY", STORY | {"run.paused": (timestamp, writer, {**own, "gone": 1})})

    with pytest.raises(LookupError, match=r"run\.paused has no field `gone`"):
        examples()


def test_a_written_line_has_the_fields_in_the_order_of_the_design(tmp_path: Path) -> None:
    whole = a_line(CATALOGUE["run.paused"])

    with Log.to_file(tmp_path / "log.jsonl", "despensa") as log:
        log.write(whole)

    written = orjson.loads((tmp_path / "log.jsonl").read_bytes())
    assert list(written) == list(whole)
    assert list(written)[:6] == ["timestamp", "level", "event", "schema", "service.name", "service.version"]


def test_command_prints_one_of_the_three_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})

    assert command_line.run(logs.app, "schema").stdout == json_schema_text()
    assert command_line.run(logs.app, "schema", "--markdown").stdout == reference_page()
    assert command_line.run(logs.app, "schema", "--lnav").stdout == lnav_format_text()
    assert isinstance(command_line.run(logs.app, "schema", "--lnav", "--markdown").error, RefusedInput)

"""The page's table of other schemas names fields that there are, and its sample is what it says."""

import re
from typing import Any

from ruamel.yaml import YAML

from console.log_mappings import COLLECTOR, FIELDS, rows
from console.log_reference import HEAD, SEAL, reference_page
from models.events import CATALOGUE

FIELD_NAMES = {name for kind in CATALOGUE.values() for name in kind.__dataclass_fields__}
#: OpenTelemetry's numbers of our levels. Source: its logs data model, field SeverityNumber.
SEVERITY_NUMBERS = {"info": 9, "warning": 13, "error": 17}


def collector() -> dict[str, Any]:
    """The sample, read as the Collector reads it."""
    return dict(YAML(typ="safe").load(COLLECTOR))


def test_every_field_of_every_line_is_mapped_and_no_field_that_is_gone() -> None:
    mapped = [name for name, _, _ in FIELDS]

    assert len(mapped) == len(set(mapped))
    assert {*HEAD, *SEAL} <= set(mapped)
    assert set(mapped) <= {*HEAD, *SEAL, *FIELD_NAMES}


def test_levels_have_their_numbers() -> None:
    levels = {kind.LEVEL for kind in CATALOGUE.values()}
    told = next(otel for name, _, otel in FIELDS if name == "level")

    assert {level: int(number) for number, level in re.findall(r"(\d+) \((\w+)\)", told)} == SEVERITY_NUMBERS
    assert levels == set(SEVERITY_NUMBERS)


def test_the_sample_reads_fields_that_there_are() -> None:
    known = {*HEAD, *SEAL, *FIELD_NAMES}

    named = set(re.findall(r'attributes\.despensa(?:\.(\w+)|\["([\w.]+)"\])', COLLECTOR))
    named |= {("", name) for name in re.findall(r'attributes\["despensa"\](?:\["|, ")([\w.]+)"', COLLECTOR)}
    used = {plain or quoted for plain, quoted in named}

    assert used == {"timestamp", "level", "service.name", "service.version", "service.instance.id", "event", "error",
                    "operator", "message_id"}  # fmt: skip
    assert used <= known


def test_the_sample_renames_what_the_table_says() -> None:
    operators = collector()["receivers"]["file_log"]["operators"]
    parser = operators[0]

    assert parser["severity"]["mapping"] == {"warn": "warning"}  # `warning` is none of the receiver's own words
    moved = {each["to"] for each in operators if each["type"] == "move"}
    told = {name for name, _, otel in FIELDS if otel.startswith("resource attribute")}
    assert moved == {f'resource["{name}"]' for name in told}
    statements = " ".join(collector()["processors"]["transform"]["log_statements"])
    for name in ("error.type", "user.name", "messaging.message.id"):
        assert f'set(log.attributes["{name}"]' in statements
        assert any(f"attribute `{name}`" in otel for _, _, otel in FIELDS)


def test_the_page_has_the_table_and_the_sample() -> None:
    page = reference_page()

    assert all(f"| {' | '.join(row)} |" in page for row in rows())
    assert COLLECTOR in page

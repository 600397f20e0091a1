"""deploy/SETTINGS.md is generated."""

import re
from pathlib import Path

import pytest

from console.environment import environment_check
from console.settings_reference import settings_reference
from models import deadlines
from models.settings import Settings, about, secret_settings, variable

PAGE = Path(__file__).parents[2] / "deploy" / "SETTINGS.md"


def test_settings_page_is_what_the_settings_say() -> None:
    """Mend it with: despensa config show --reference > deploy/SETTINGS.md."""
    assert PAGE.read_text() == settings_reference()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_and_who_reads_it(name: str) -> None:
    row = row_of(variable(name))

    what, kind, _unit, _rule, default, read_by, secret = row
    assert what == Settings.model_fields[name].description
    assert what
    assert kind in {"text", "number", "path"}
    assert default
    assert read_by == about(name).matters_to
    assert (secret == "yes") == about(name).secret


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is int])
def test_every_number_has_a_unit_and_bounds(name: str) -> None:
    _what, _kind, unit, rule, *_ = row_of(variable(name))

    assert unit
    assert re.fullmatch(r"\d+ to \d+", rule)


def test_every_secret_has_a_row_for_its_file() -> None:
    assert secret_settings() == ["database_url", "redis_url"]
    for name in secret_settings():
        assert row_of(variable(name) + "_FILE")[1] == "path"


@pytest.mark.parametrize("name", deadlines.TO_MATCH)
def test_time_that_must_be_matched_is_told_with_its_seconds(name: str) -> None:
    assert row_of(name)[0] == str(getattr(deadlines, name))


def row_of(name: str) -> list[str]:
    """The cells beside a name."""
    found = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].split("|")[2:-1]]


@pytest.mark.parametrize(
    ("environment", "distributed", "state", "said"),
    [
        pytest.param({"PATH": "/bin"}, True, "ok", "nothing is set", id="nothing"),
        pytest.param({"PGPASSFILE": "/p", "SSL_CERT_FILE": "/c"}, True, "ok", "PGPASSFILE, SSL_CERT_FILE", id="tested"),
        pytest.param(
            {"PGOPTIONS": "-c x=y"}, True, "warning", "PGOPTIONS: PostgreSQL's client reads it", id="untested"
        ),
        pytest.param({"PGOPTIONS": "-c x=y"}, False, "ok", "nothing is set", id="untested, without PostgreSQL"),
        pytest.param({"PGDATA": "/srv"}, True, "ok", "nothing is set", id="the server's own"),
        pytest.param({"SSLKEYLOGFILE": "/k"}, True, "warning", "set: SSLKEYLOGFILE", id="TLS laid open"),
        pytest.param({"dramatiq_queue_prefetch": "9"}, False, "warning", "set: dramatiq_queue_prefetch", id="prefetch"),
    ],
)
def test_what_is_set_beside_the_settings_is_named(
    environment: dict[str, str], distributed: bool, state: str, said: str
) -> None:
    check = environment_check(environment, distributed=distributed)

    assert check.state == state
    assert said in check.detail

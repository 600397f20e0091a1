"""`doctor`: what it finds, and what it says to do about it. It changes nothing."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from sqlalchemy import text

from console import doctor as doctor_module
from console.doctor import CHECKS, redis_checks, skew_check
from models.errors import Exit
from models.keys import KEY_BYTES, key_path
from models.schema import server_major
from models.sightings import see
from models.storage import Database
from tests.builders import a_programme, families
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.integration.test_outside import a_month, work
from workers.issuers.simulated import SimulatedIssuer

TIJUANA = ("02004", "Tijuana", "America/Tijuana")

app = typer.Typer()
app.command("doctor")(doctor_module.doctor)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation) -> CommandLine:
    """Of the installation, its home closed to others."""
    installation.settings.home.chmod(0o700)
    return CommandLine(monkeypatch, installation.environment)


def found(command_line: CommandLine) -> dict[str, dict[str, str]]:
    """Every check by its name."""
    checks = command_line.run(app, "--json").json["checks"]
    assert isinstance(checks, list)
    return {each["check"]: each for each in checks}


def test_first_line_names_what_is_looked_at(command_line: CommandLine) -> None:
    first = command_line.run(app).stdout.splitlines()[0]

    assert first == f"doctor looks at: {', '.join(CHECKS)}"


def test_whole_installation_has_no_failure(command_line: CommandLine, installation: Installation) -> None:
    a_programme(installation.database, cities=[TIJUANA])

    outcome = command_line.run(app, "--json")

    assert outcome.code == Exit.DONE
    assert not [each for each in found(command_line).values() if each["state"] == "failed"]


def test_what_was_not_seen_lately_is_a_warning_until_it_is_seen(
    command_line: CommandLine, installation: Installation, profile: str
) -> None:
    before = found(command_line)
    for role in ("scheduler", "worker"):
        see(installation.database, role)
    after = found(command_line)

    if profile == "embedded":
        assert "workers" not in before
        return
    for name, command in (("schedulers", "despensa scheduler"), ("workers", "despensa worker")):
        assert (before[name]["state"], before[name]["hint"]) == ("warning", command)
        assert after[name]["state"] == "ok"


def test_unknown_zone_is_named_with_its_location(command_line: CommandLine, database: Database) -> None:
    a_programme(database, cities=[TIJUANA])
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE location SET time_zone = 'America/Aztlan'"))

    outcome = command_line.run(app)

    assert outcome.code == Exit.MISUSED
    assert "Tijuana (America/Aztlan)" in outcome.stdout
    assert "pip install --upgrade tzdata" in outcome.stdout


def test_late_slot_is_named_where_a_family_waits_for_it(database: Database) -> None:
    programme = a_programme(database, cities=[TIJUANA])
    assert doctor_module._late_slots(database, now=datetime(2026, 12, 3, tzinfo=UTC)).state == "ok"
    families(database, programme, 1, location="02004")

    check = doctor_module._late_slots(database, now=datetime(2026, 12, 3, tzinfo=UTC))

    assert check.state == "warning"
    assert "2026-12/02004" in check.detail
    assert check.hint == "despensa run start"


def test_without_a_database_it_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path / "none")})

    outcome = command_line.run(app)

    assert outcome.code == Exit.NO_DATABASE
    assert "mended by: despensa db upgrade" in outcome.stdout
    assert not (tmp_path / "none").exists()


def test_home_that_others_can_look_into_is_a_warning(command_line: CommandLine, installation: Installation) -> None:
    installation.settings.home.chmod(0o755)

    assert found(command_line)["home folder"]["hint"] == f"chmod 700 {installation.settings.home}"


def test_redis_policy_of_the_tests_is_seen(command_line: CommandLine, profile: str) -> None:
    """Their server has no append-only file."""
    checks = found(command_line)

    if profile == "embedded":
        assert "Redis policy" not in checks
        return
    assert checks["Redis policy"]["detail"] == "appendonly is no, not yes"


@pytest.mark.parametrize(
    ("version", "policy", "states"),
    [
        ("7.2.4", {"maxmemory-policy": "noeviction", "appendonly": "yes"}, ["ok", "ok"]),
        ("8.2.0", {"maxmemory-policy": "noeviction", "appendonly": "yes"}, ["ok", "ok"]),
        ("6.0.16", {"maxmemory-policy": "noeviction", "appendonly": "yes"}, ["warning", "ok"]),
        ("9.0.0", {"maxmemory-policy": "noeviction", "appendonly": "yes"}, ["warning", "ok"]),
        ("7.2.4", {"maxmemory-policy": "allkeys-lru", "appendonly": "yes"}, ["ok", "warning"]),
        ("7.2.4", {}, ["ok", "warning"]),
    ],
)
def test_redis_version_and_policy(version: str, policy: dict[str, str], states: list[str]) -> None:
    assert [check.state for check in redis_checks(version, policy)] == states


@pytest.mark.parametrize(("skew_s", "state"), [(0.2, "ok"), (-6, "warning"), (6, "warning"), (-90, "failed")])
def test_clock_skew(skew_s: float, state: str) -> None:
    assert skew_check(skew_s).state == state


def test_server_version_is_read(database: Database, profile: str) -> None:
    major = server_major(database)

    assert (major is None) == (profile == "embedded")


def test_host_that_made_a_reference_key_of_its_own_is_told_before_it_is_stuck(
    command_line: CommandLine, installation: Installation
) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        work(installation, run)
        before = found(command_line)["reference key"]
        key_path(installation.settings.keys, "reference").write_text(f"1 {'5a' * KEY_BYTES}\n")

        after = found(command_line)["reference key"]

    assert before["state"] == "ok"
    assert after["state"] == "failed"
    assert "copy the key files" in after["hint"]

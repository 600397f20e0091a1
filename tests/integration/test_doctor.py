"""`doctor`: what it finds, and what it says to do about it. It changes nothing."""

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from redis.exceptions import RedisError
from sqlalchemy import text

from console import doctor as doctor_module
from console import doctor_links
from console.doctor import CHECKS
from console.doctor_database import connections_check, durability_check, skew_check, zone_data_check
from console.doctor_links import Reached, issuer_check, reach, round_trip_check, stores_check
from console.doctor_redis import RedisFacts, redis_checks, redis_skew_check
from models.errors import Exit
from models.keys import KEY_BYTES, key_path
from models.outgoing import Destination
from models.schema import server_major
from models.server import Connections, durability
from models.sightings import see
from models.storage import Database
from tests.builders import a_programme, an_issuer, families
from tests.command_line import CommandLine
from tests.fakes import HERE
from tests.installation import Installation
from tests.integration.test_outside import a_month, work
from workers.issuers.simulated import SimulatedIssuer

pytestmark = pytest.mark.long

TIJUANA = ("02004", "Tijuana", "America/Tijuana")

#: What is misused ends with 2, unless something fails besides, as the tests' PostgreSQL does.
MISUSED_IN = {"embedded": Exit.MISUSED, "distributed": Exit.FAILED}

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


def test_whole_installation_has_no_failure(command_line: CommandLine, installation: Installation, profile: str) -> None:
    """But that the tests' PostgreSQL, which nobody unplugs, does not wait for its disk."""
    a_programme(installation.database, cities=[TIJUANA])

    failed = {name: each["detail"] for name, each in found(command_line).items() if each["state"] == "failed"}

    assert failed == ({} if profile == "embedded" else {"database durability": "fsync is off"})
    assert command_line.run(app, "--json").code == (Exit.DONE if profile == "embedded" else Exit.FAILED)


def test_every_line_is_one_that_the_first_line_names(command_line: CommandLine, installation: Installation) -> None:
    a_programme(installation.database, cities=[TIJUANA])

    for name in found(command_line):
        known = "Redis" if name == "redis" else "keys" if name.startswith("key ") else name
        assert ("links" if known.startswith("link ") else known) in CHECKS, name


def test_settings_are_shown_with_passwords_masked(
    command_line: CommandLine, installation: Installation, profile: str
) -> None:
    if profile == "distributed":
        url = installation.settings.redis_url.replace("unix://", "unix://somebody:SECRET@")
        command_line.set({"DESPENSA_REDIS_URL": url})

    shown, told = command_line.run(app), command_line.run(app, "--json")

    settings = told.json["settings"]
    assert isinstance(settings, list)
    assert {each["name"] for each in settings} >= {"DESPENSA_HOME", "DESPENSA_DATABASE_URL", "DESPENSA_REDIS_URL"}
    assert "DESPENSA_HOME" in shown.stdout
    assert "SECRET" not in shown.stdout + shown.stderr + told.stdout + told.stderr


def test_commits_are_as_durable_as_the_profile_asks(database: Database, profile: str) -> None:
    with database.reading() as tx:
        settings = durability(tx)

    expected = {
        "embedded": {"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"},
        "distributed": {"synchronous_commit": "on", "fsync": "off", "full_page_writes": "on"},
    }
    assert settings == expected[profile]


@pytest.mark.parametrize(
    ("dialect", "setting", "value", "state"),
    [
        ("postgresql", "synchronous_commit", "remote_apply", "ok"),
        ("postgresql", "synchronous_commit", "off", "failed"),
        ("postgresql", "fsync", "off", "failed"),
        ("postgresql", "full_page_writes", "off", "failed"),
        ("sqlite", "journal_mode", "delete", "failed"),
        ("sqlite", "synchronous", "1", "failed"),
        ("sqlite", "foreign_keys", "0", "failed"),
    ],
)
def test_a_setting_that_could_lose_a_commit_is_a_failure(dialect: str, setting: str, value: str, state: str) -> None:
    durable = {
        "postgresql": {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"},
        "sqlite": {"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"},
    }[dialect]
    assert durability_check(durable, dialect=dialect).state == "ok"

    check = durability_check({**durable, setting: value}, dialect=dialect)

    assert check.state == state
    assert state == "ok" or f"{setting} is {value}" in check.detail


def test_room_for_another_worker(command_line: CommandLine, profile: str) -> None:
    checks = found(command_line)

    assert connections_check(Connections(used=85, usable=97)).state == "ok"
    assert connections_check(Connections(used=90, usable=97)).state == "warning"
    assert ("database connections" in checks) == (profile == "distributed")
    assert profile == "embedded" or checks["database connections"]["state"] == "ok"


@pytest.mark.parametrize(
    ("version", "place", "state"),
    [("2025b", "/usr/share/zoneinfo", "ok"), ("2022f", "/usr/share/zoneinfo", "failed"), ("2022g", "there", "ok"),
     ("", "/usr/share/zoneinfo", "ok"), ("", "nowhere", "failed")],
)  # fmt: skip
def test_zone_data_from_before_mexico_gave_daylight_saving_up(version: str, place: str, state: str) -> None:
    assert zone_data_check(version, place).state == state


def test_log_folder_that_cannot_be_one_is_a_failure(command_line: CommandLine, tmp_path: Path, profile: str) -> None:
    (tmp_path / "file").touch()
    command_line.set({"DESPENSA_LOG_FILE": str(tmp_path / "file" / "despensa.jsonl")})

    outcome = command_line.run(app)

    assert outcome.code == MISUSED_IN[profile]
    assert f"{tmp_path / 'file'} cannot be written" in outcome.stdout


def test_log_that_goes_to_a_pipe_needs_no_folder(command_line: CommandLine, tmp_path: Path) -> None:
    """In a pod every command's log is the pod's output."""
    os.mkfifo(tmp_path / "output")
    command_line.set({"DESPENSA_LOG_FILE": str(tmp_path / "output")})

    check = found(command_line)["log folder"]

    assert (check["state"], check["detail"]) == (
        "ok",
        f"{tmp_path / 'output'} is a pipe: whoever reads it keeps the log",
    )


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
        assert "none was ever seen" in before[name]["detail"]
        assert after[name]["state"] == "ok"
        assert after[name]["detail"].endswith(" s ago")


def test_unknown_zone_is_named_with_its_location(command_line: CommandLine, database: Database, profile: str) -> None:
    a_programme(database, cities=[TIJUANA])
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE location SET time_zone = 'America/Aztlan'"))

    outcome = command_line.run(app)

    assert outcome.code == MISUSED_IN[profile]
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


def test_redis_of_the_tests_is_seen(command_line: CommandLine, profile: str) -> None:
    """Their server has no append-only file."""
    checks = found(command_line)

    if profile == "embedded":
        assert not [name for name in checks if name.startswith("Redis")]
        return
    assert checks["Redis policy"]["state"] == "ok"
    assert checks["Redis persistence"]["detail"] == "there is no append-only file"
    assert checks["Redis memory"]["detail"].endswith("no limit")
    assert checks["Redis clock skew"]["state"] == "ok"
    assert "from the database" in checks["Redis clock skew"]["detail"]


WHOLE = RedisFacts(
    version="7.2.4", policy="noeviction", append_only=True, last_write="ok", used_bytes=10, limit_bytes=100
)


@pytest.mark.parametrize(
    ("found_redis", "states"),
    [
        (WHOLE, ["ok", "ok", "ok", "ok"]),
        (replace(WHOLE, version="8.2.0"), ["ok", "ok", "ok", "ok"]),
        (replace(WHOLE, version="6.0.16"), ["warning", "ok", "ok", "ok"]),
        (replace(WHOLE, version="9.0.0"), ["warning", "ok", "ok", "ok"]),
        (replace(WHOLE, policy="allkeys-lru"), ["ok", "warning", "ok", "ok"]),
        (replace(WHOLE, append_only=False), ["ok", "ok", "warning", "ok"]),
        (replace(WHOLE, last_write="err"), ["ok", "ok", "failed", "ok"]),
        (replace(WHOLE, used_bytes=80), ["ok", "ok", "ok", "warning"]),
        (replace(WHOLE, used_bytes=95), ["ok", "ok", "ok", "failed"]),
        (replace(WHOLE, used_bytes=10**9, limit_bytes=0), ["ok", "ok", "ok", "ok"]),
    ],
)
def test_version_policy_persistence_and_memory_of_redis(found_redis: RedisFacts, states: list[str]) -> None:
    checks = list(redis_checks(found_redis))

    assert [check.state for check in checks] == states
    assert all(bool(check.hint) == (check.state != "ok") for check in checks)


@pytest.mark.parametrize(("skew_s", "state"), [(0.2, "ok"), (-6, "warning"), (6, "warning"), (-90, "failed")])
def test_clock_skew(skew_s: float, state: str) -> None:
    skew = timedelta(seconds=skew_s)

    check = redis_skew_check(skew, database_skew=timedelta(seconds=1))

    assert skew_check(skew).state == check.state == state
    assert f"{abs(skew_s - 1):.1f} s from the database" in check.detail


def test_links_are_measured(command_line: CommandLine, installation: Installation, profile: str) -> None:
    checks = found(command_line)

    for name in ("link database", *(["link Redis"] if profile == "distributed" else [])):
        assert checks[name]["state"] == "ok"
        assert float(checks[name]["latency_ms"]) >= 0
    assert ("link Redis" in checks) == (profile == "distributed")


def test_link_that_is_lost_or_slow_is_told() -> None:
    def lost() -> None:
        raise RedisError("SECRET")

    check = round_trip_check("link Redis", lost)

    assert (check.state, check.detail) == ("failed", "does not answer any more: RedisError")


def test_issuer_and_stores_are_connected_to_and_sent_nothing(
    command_line: CommandLine, installation: Installation
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        programme = a_programme(installation.database, cities=[TIJUANA], store_url=url + "/{store}", stores=2)
        an_issuer(installation.database, programme, url)
        installation.write_token("northern-mexico")

        checks = found(command_line)

        server.settimeout(5)
        said = []
        for _ in range(2):
            connection, _ = server.accept()
            said.append(connection.recv(100))
            connection.close()
    assert checks["link issuer northern-mexico"]["state"] == "ok"
    assert checks["link stores"]["detail"].startswith("2 of 2 active stores can be reached, at 1 addresses")
    assert said == [b"", b""]


def test_issuer_that_cannot_be_reached_is_a_failure_a_store_a_warning(
    command_line: CommandLine, installation: Installation
) -> None:
    programme = a_programme(installation.database, cities=[TIJUANA])
    an_issuer(installation.database, programme, "http://127.0.0.1:9")

    checks = found(command_line)

    issuer, stores = checks["link issuer northern-mexico"], checks["link stores"]
    assert (issuer["state"], issuer["detail"]) == ("failed", "127.0.0.1:9: ConnectionRefusedError")
    assert stores["state"] == "warning"
    assert stores["detail"].endswith("not nor-02004-1 (ConnectionRefusedError)")


def test_address_that_speaks_no_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_links, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = Destination("127.0.0.1", server.getsockname()[1], tls=True)

        assert reach(to, HERE).trouble == "TimeoutError"


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (10, "warning")])
def test_certificate_that_ends_soon_is_told(days: int, state: str) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)

    check = issuer_check("p", "issuer:443", Reached("", 12, now + timedelta(days=days)), now=now)

    assert check.state == state
    assert "issuer:443, 12 ms, certificate until 20" in check.detail


def test_stores_of_too_many_addresses_are_not_left_out_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_links, "HOSTS_MAX", 3)
    stores = [(f"s{number}", Destination(f"h{number}", 80, tls=False)) for number in range(5)]

    check = stores_check(stores, refused=[], try_one=lambda address: Reached("", 7))

    assert check.detail == (
        "3 of 3 active stores can be reached, at 3 addresses, the slowest in 7 ms; 2 more addresses were not tried"
    )


def test_server_version_is_read(database: Database, profile: str) -> None:
    major = server_major(database)

    assert (major is None) == (profile == "embedded")


def test_host_that_made_a_reference_key_of_its_own_is_told_before_it_is_stuck(
    command_line: CommandLine, installation: Installation
) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        work(installation, run)
        before = found(command_line)["reference key"]
        key_path(installation.settings.keys, "reference").write_text(f"1 {bytes(range(KEY_BYTES)).hex()}\n")

        after = found(command_line)["reference key"]

    assert before["state"] == "ok"
    assert after["state"] == "failed"
    assert "copy the key files" in after["hint"]

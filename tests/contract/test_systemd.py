"""The units under deploy/systemd, by systemd's own programs: every line is known, no service is weak, no hour is lost.

That they really run is shown in test_systemd_machine.py.
"""

import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from console.main import app
from console.start import TIMEOUT_S
from models.deadlines import LEASE_S, SHUTDOWN_S, STOP_S
from models.errors import Exit
from models.keys import SERVICE_KINDS
from models.settings import PREFIX, Settings
from tests.units import COMMON, FOLDER, PROGRAM, SERVICES, TIMERS, parse, read_unit, started, unit_root

pytestmark = pytest.mark.debian

#: Ten times systemd's score: 0 is a locked room, 100 an open field. Below the 15 that we may have, so that no
#: protection is lost unseen.
EXPOSURE_MAX = 13
LONG_LIVED = ("despensa-dashboard.service", "despensa-scheduler.service", "despensa-worker@.service")
#: Of border cities that keep the clock of the United States.
ZONES = ("America/Tijuana", "America/Ciudad_Juarez", "America/Matamoros", "America/Mexico_City")
#: Of a command's outcome, what is no failure of whoever started it. Source: design.md, Exit codes.
NO_FAILURE = {Exit.WITH_CASES, Exit.WAITING_FOR_APPROVAL, Exit.PAUSED_OR_CANCELLED, Exit.INTERRUPTED}
NEEDS_A_PERSON = {Exit.MISUSED, Exit.BOOKS_DISAGREE}
SECONDS = {"h": 3_600, "min": 60, "": 1}


def systemd_analyze(*words: object, zone: str = "UTC") -> "subprocess.CompletedProcess[str]":
    """There must be one: a missing program is no reason to skip."""
    program = shutil.which("systemd-analyze")
    assert program, "apt-get install -y --no-install-recommends systemd"
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": zone, "LANG": "C.UTF-8"}
    return subprocess.run(
        [program, *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip


def complaints(root: Path) -> str:
    """What systemd says of our units. An unknown setting is a warning and no failure: whatever it says counts."""
    units = [started(path.name) for path in (root / "etc/systemd/system").iterdir() if path.is_file()]
    found = systemd_analyze("verify", "--man=no", f"--root={root}", *sorted(units))
    return found.stdout + ("" if found.returncode == 0 else f"exit {found.returncode}")


def exposure(root: Path, service: str) -> "subprocess.CompletedProcess[str]":
    """How open a service is; it fails beyond the limit."""
    return systemd_analyze(
        "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", "--no-pager", f"--root={root}", started(service)
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host on which README.md was followed."""
    return unit_root(tmp_path / "root")


def test_systemd_knows_every_line(root: Path) -> None:
    assert complaints(root) == ""


@pytest.mark.parametrize(
    ("name", "was", "becomes", "said"),
    [
        ("despensa-worker@.service", "RestartSec=", "RestartSecs=", "Unknown key 'RestartSecs'"),
        ("despensa-run.service", "Type=oneshot", "Type=onehsot", "onehsot"),
        ("despensa-.service.d/50-sandbox.conf", "ProcSubset=pid", "ProcSubset=pit", "pit"),
        ("despensa-scheduler.service", "bin/despensa ", "bin/despense ", "is not executable"),
        ("despensa-run.timer", "OnCalendar=", "OnCalendar=every ", "calendar"),
    ],
)
def test_slip_of_the_pen_is_found(tmp_path: Path, name: str, was: str, becomes: str, said: str) -> None:
    """The test above can fail."""
    folder = _changed(tmp_path, name, was, becomes)

    assert said in complaints(unit_root(tmp_path / "root", folder))


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_exposed_little(root: Path, service: str) -> None:
    found = exposure(root, service)

    assert found.returncode == 0, found.stdout[-200:]


@pytest.mark.parametrize("setting", ["NoNewPrivileges", "SystemCallFilter", "ProtectSystem", "User"])
def test_weaker_service_is_found(tmp_path: Path, setting: str) -> None:
    """The test above can fail, already where one protection is taken away."""
    text = "".join(line for line in COMMON.read_text().splitlines(True) if not line.startswith(f"{setting}="))
    folder = _changed(tmp_path, str(COMMON.relative_to(FOLDER)), COMMON.read_text(), text)

    found = exposure(unit_root(tmp_path / "root", folder), "despensa-worker@.service")

    assert found.returncode == 1, found.stdout[-200:]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("year", [2026, 2028])
def test_timer_fires_every_hour_of_a_year_once(zone: str, year: int) -> None:
    """Over both changes of the clock, and in a leap year."""
    (calendar,) = read_unit("despensa-run.timer").all("OnCalendar")

    fired = elapses(calendar, zone=zone, year=year)

    hours = (datetime(year + 1, 1, 1, tzinfo=UTC) - datetime(year, 1, 1, tzinfo=UTC)) // timedelta(hours=1)
    assert hours == (8784 if year % 4 == 0 else 8760)
    assert fired == [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(hours)]


def test_timer_by_the_local_clock_would_lose_an_hour() -> None:
    """Why the timer names UTC, and proof that the test above can fail."""
    fired = elapses("hourly", zone="America/Tijuana", year=2026)

    assert datetime(2026, 11, 1, 9, tzinfo=UTC) not in fired  # 01:00, for the second time


@pytest.mark.parametrize("zone", ZONES)
def test_backup_is_made_every_day_once(zone: str) -> None:
    (calendar,) = read_unit("despensa-backup.timer").all("OnCalendar")

    fired = elapses(calendar, zone=zone, year=2026, times=365)

    assert [each.date().toordinal() for each in fired] == list(
        range(datetime(2026, 1, 1).toordinal(), datetime(2027, 1, 1).toordinal())  # noqa: DTZ001  # days have no zone
    )


@pytest.mark.parametrize("timer", TIMERS)
def test_timer_makes_up_for_what_it_missed(timer: str) -> None:
    unit = read_unit(timer)

    assert unit.get("Persistent") == "true"
    assert 0 < int(unit.get("RandomizedDelaySec")) <= 600
    assert timer.replace(".timer", ".service") in SERVICES


@pytest.mark.parametrize("service", SERVICES)
def test_command_is_one_of_ours(service: str) -> None:
    """Parsed as it would be, with its options; nothing is run."""
    name, *arguments = shlex.split(read_unit(service).get("ExecStart"))
    if service == "despensa-failed@.service":
        assert (FOLDER.parents[1] / Path(name).relative_to("/opt/despensa")).stat().st_mode & 0o111
        return
    command: Any = get_command(app)
    context = command.make_context("despensa", arguments)
    while getattr(command, "commands", None):
        under, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(under, _without_files(arguments), parent=context)

    assert name == PROGRAM


def _without_files(arguments: list[str]) -> list[str]:
    """Folders of a host need not be on this one."""
    return ["." if each.startswith("/var/") else each for each in arguments]


def test_settings_are_real_and_hold_no_secret() -> None:
    """A misspelt one would end a service with exit 2."""
    units = [parse(path.read_text()) for path in FOLDER.rglob("*") if path.suffix in {".service", ".conf"}]
    words = [word for unit in units for value in unit.all("Environment") for word in value.split()]
    words += (FOLDER / "despensa.env").read_text().split("\n")
    given = dict(word.split("=", 1) for word in words if word.startswith(PREFIX))

    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert {name for name in given if name.removesuffix("_FILE") not in known and name not in known} == set()
    assert {f"{PREFIX}DATABASE_URL_FILE", f"{PREFIX}REDIS_URL_FILE", f"{PREFIX}HOME"} <= given.keys()
    assert not any("://" in value for value in given.values())


def test_keys_are_shown_to_workers_alone(root: Path) -> None:
    """Nobody else derives a PIN or a signature; whoever breaks into a scheduler finds none."""
    holders = {path.parent.name for path in (root / "etc/systemd/system").rglob("*") if ".key" in _text(path)}

    assert holders == {"despensa-worker@.service.d"}


def test_workers_are_shown_no_key_of_desks() -> None:
    """Whoever breaks into one can tell who nobody is, and sign no certificate."""
    shown = re.findall(r"LoadCredential=(\w+)\.key:/etc/despensa/keys/\1\.key", (FOLDER / "worker.conf").read_text())

    assert tuple(shown) == SERVICE_KINDS


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def test_run_start_fails_by_its_failures_alone() -> None:
    assert read_unit("despensa-run.service").codes("SuccessExitStatus") == NO_FAILURE
    assert not read_unit("despensa-run.service").all("Restart")  # the timer comes again


@pytest.mark.parametrize("service", LONG_LIVED)
def test_service_is_restarted_until_a_person_is_needed(service: str) -> None:
    """A database that is away for a night must not end a service for good."""
    unit = read_unit(service)

    books = set() if "dashboard" in service else {Exit.BOOKS_DISAGREE}  # it opens none
    assert unit.get("Restart") == "always"
    assert unit.codes("RestartPreventExitStatus") == {Exit.MISUSED} | books <= NEEDS_A_PERSON
    assert unit.codes("SuccessExitStatus") == {Exit.INTERRUPTED} <= NO_FAILURE
    assert unit.get("StartLimitIntervalSec") == "0"
    assert int(unit.get("RestartSec")) >= 5


@pytest.mark.parametrize("service", SERVICES)
def test_failure_is_told(service: str) -> None:
    """But not the failure to tell: that would go on for ever."""
    told = [] if service == "despensa-failed@.service" else ["despensa-failed@%n.service"]

    assert read_unit(service).all("OnFailure") == told


@pytest.mark.parametrize("service", sorted({*SERVICES} - {"despensa-failed@.service"}))
def test_whoever_is_told_to_stop_has_its_time(service: str) -> None:
    """And its processes hear it from their own first one."""
    unit = read_unit(service)

    assert LEASE_S < SHUTDOWN_S < int(unit.get("TimeoutStopSec")) == STOP_S
    assert unit.get("KillMode") == "mixed"


def test_systemd_waits_longer_than_run_start_does() -> None:
    assert _seconds(read_unit("despensa-run.service").get("TimeoutStartSec")) > TIMEOUT_S


def elapses(calendar: str, *, zone: str, year: int, times: int = 8_784) -> list[datetime]:
    """When a timer fires in a year."""
    said = systemd_analyze(
        "calendar", f"--base-time={year - 1}-12-31 23:59:59 UTC", f"--iterations={times}", calendar, zone=zone
    )
    # Where the zone is UTC already it is not said again; none of ours is.
    found = re.findall(r"\(in UTC\): \w{3} (\S+ \S+) UTC", said.stdout)
    assert len(found) == times, said.stdout[:500]
    instants = [datetime.strptime(each, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for each in found]
    return [each for each in instants if each.year == year]


def _changed(tmp_path: Path, name: str, was: str, becomes: str) -> Path:
    """Our units with a mistake."""
    folder = tmp_path / "changed"
    shutil.copytree(FOLDER, folder)
    text = (folder / name).read_text()
    assert was in text
    (folder / name).write_text(text.replace(was, becomes))
    return folder


def _seconds(span: str) -> int:
    found = re.fullmatch(r"(\d+)(h|min|)", span)
    assert found
    return int(found[1]) * SECONDS[found[2]]

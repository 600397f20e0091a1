"""The health file and its probe: well is only what was touched lately, and nothing that it names is harmed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models import health
from models.errors import Exit, Misconfigured
from models.sightings import SEEN_WITHIN_S

PROBE = Path(__file__).parents[2] / "deploy" / "container" / "healthy.py"


def probe(*words: object) -> "subprocess.CompletedProcess[str]":
    """As a container calls it: no checkout to import from, no environment."""
    command = [sys.executable, "-I", "-S", str(PROBE), *(str(word) for word in words)]
    return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("age_s", "more", "code"),
    [
        pytest.param(0, (), 0, id="just now"),
        pytest.param(SEEN_WITHIN_S - 10, (), 0, id="within the limit"),
        pytest.param(SEEN_WITHIN_S + 1, (), 1, id="too old"),
        pytest.param(100, ("--age-limit", 90), 1, id="too old for this limit"),
        pytest.param(-3600, (), 1, id="from the future"),
    ],
)
def test_probe_tells_by_age(tmp_path: Path, age_s: int, more: tuple[object, ...], code: int) -> None:
    file = tmp_path / "health"
    file.touch()
    os.utime(file, (0, time.time() - age_s))

    told = probe(file, *more)

    assert told.returncode == code
    assert told.stderr.startswith("unwell: ") == bool(code)


def test_probe_of_a_file_that_is_not_there_is_unwell(tmp_path: Path) -> None:
    told = probe(tmp_path / "none")

    assert (told.returncode, told.stderr) == (1, f"unwell: {tmp_path}/none: No such file or directory\n")


def test_service_is_unwell_until_it_has_done_its_part(tmp_path: Path) -> None:
    """Also where the file of the process before it is still young."""
    file = tmp_path / "health"
    file.touch()

    health.begin(file)
    before = probe(file).returncode
    health.mark(file)

    assert (before, probe(file).returncode) == (1, 0)


def _folder(place: Path) -> Path:
    return place


def _link(place: Path) -> Path:
    (place / "secret").write_text("")
    (place / "link").symlink_to(place / "secret")
    return place / "link"


def _pipe(place: Path) -> Path:
    os.mkfifo(place / "pipe")
    return place / "pipe"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda place: place / "none" / "health", id="no folder"),
        pytest.param(_folder, id="a folder"),
        pytest.param(_link, id="a link"),
        pytest.param(_pipe, id="a pipe"),
        pytest.param(lambda _place: Path("/dev/null"), id="a device"),
        pytest.param(lambda _place: Path("/proc/health"), id="a folder that cannot be written to"),
    ],
)
def test_what_cannot_be_touched_is_refused_at_the_start_and_stops_nothing_later(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    file = make(tmp_path)

    with pytest.raises(Misconfigured, match=f"the health file {file} cannot be touched: ") as refused:
        health.begin(file)
    health.mark(file)

    assert refused.value.exit_code == Exit.MISUSED
    assert "DESPENSA_HEALTH_FILE" in str(refused.value.hint)


def test_file_that_is_named_by_mistake_keeps_its_content(tmp_path: Path) -> None:
    file = tmp_path / "pin.key"
    file.write_text("1 abcd\n")

    health.begin(file)
    health.mark(file)

    assert file.read_text() == "1 abcd\n"

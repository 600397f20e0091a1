"""lnav takes the format file, and shows and counts our lines by it: an example of every event, and a torn line."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from console.log_examples import examples
from console.log_lnav import FORMAT, RESERVED, lnav_format

pytestmark = pytest.mark.debian

FORMAT_FILE = Path(__file__).parents[2] / "deploy" / "lnav" / f"{FORMAT}.json"
MONTH = sorted(examples().values(), key=lambda line: str(line["timestamp"]))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of an operator who has installed the format."""
    home = tmp_path / "home"
    home.mkdir()
    install(home, FORMAT_FILE)
    return home


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in MONTH))
    return path


def lnav(home: Path, *words: object, code: int = 0) -> str:
    """What lnav prints without its screen. There must be one: a missing program is no reason to skip."""
    tool = shutil.which("lnav")
    assert tool, "apt-get install -y --no-install-recommends lnav"
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TZ": "America/Tijuana", "LANG": "C.UTF-8"}
    done = subprocess.run([tool, *map(str, words)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def install(home: Path, path: Path) -> None:
    lnav(home, "-i", path)
    assert (home / ".lnav" / "formats" / "installed" / f"{FORMAT}.json").exists()


def asked(home: Path, log: Path, sql: str) -> list[dict[str, str]]:
    """The rows of an answer."""
    return list(csv.DictReader(io.StringIO(lnav(home, "-n", "-q", "-c", f";{sql}", "-c", ":write-csv-to -", log))))


def test_lnav_accepts_the_format(home: Path) -> None:
    assert lnav(home, "-C") == ""


def test_lnav_would_refuse_a_broken_format(home: Path, tmp_path: Path) -> None:
    """The check above can fail."""
    broken = lnav_format()
    broken[FORMAT] = {**broken[FORMAT], "value": {"run": {"kind": "nonsense"}}}  # type: ignore[dict-item]
    installed = home / ".lnav" / "formats" / "installed" / f"{FORMAT}.json"
    installed.write_bytes(orjson.dumps(broken))

    assert "nonsense" in lnav(home, "-C", code=1)


def test_every_event_has_its_time_level_and_body(home: Path, log: Path) -> None:
    rows = asked(home, log, f"SELECT log_time, log_level, log_body FROM {FORMAT}")

    assert [(row["log_time"], row["log_level"], row["log_body"]) for row in rows] == [
        (str(line["timestamp"])[:23].replace("T", " "), line["level"], line["event"]) for line in MONTH
    ]


def test_every_field_is_a_column_with_its_value(home: Path, log: Path) -> None:
    """Also those with dots in their names; a word of SQL among them would silently take the whole table away."""
    names = list(dict.fromkeys(name for line in MONTH for name in line))
    columns = [name for name in names if name not in {"timestamp", "level", "event", *RESERVED}]

    quoted = ", ".join('"' + name + '"' for name in columns)
    rows = asked(home, log, f"SELECT {quoted} FROM {FORMAT}")

    assert len(rows) == len(MONTH)
    for row, line in zip(rows, MONTH, strict=True):
        assert row == {name: _told(line[name]) if name in line else "<NULL>" for name in columns}


def test_lines_can_be_counted_by_level_and_summed(home: Path, log: Path) -> None:
    errors = asked(home, log, f"SELECT count(*) AS n FROM {FORMAT} WHERE log_level = 'error'")
    credited = asked(home, log, f"SELECT sum(credited_minor) AS minor FROM {FORMAT} WHERE log_body = 'batch.credited'")

    assert errors == [{"n": str(sum(line["level"] == "error" for line in MONTH))}]
    assert credited == [{"minor": str(examples()["batch.credited"]["credited_minor"])}]


def test_a_line_is_shown_as_one_line(home: Path, log: Path) -> None:
    shown = lnav(home, "-n", log).splitlines()

    assert len(shown) == len(MONTH)
    paused = next(line for line in shown if "run.paused" in line)
    assert paused.split() == [
        "2026-12-01T17:09:30.412", "warning", "2026-12/02004", "host-a:1204", "run.paused",
        "the", "database's", "disk", "is", "full",
    ]  # fmt: skip


def test_torn_line_hides_no_other(home: Path, log: Path) -> None:
    content = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*content[:9], b'{"timestamp":"2026-12\n', *content[9:]]))

    rows = asked(home, log, f"SELECT log_body FROM {FORMAT} WHERE log_body <> ''")

    assert [row["log_body"] for row in rows if row["log_body"] in examples()] == [line["event"] for line in MONTH]


def _told(value: object) -> str:
    """As lnav writes it to CSV."""
    return str(int(value)) if isinstance(value, bool) else str(value)

"""Wrong settings: each is refused with its exit code and the command that mends it, and no password is shown."""

from pathlib import Path

import pytest

from console.config import app, mask
from console.database import app as db_app
from console.keys import app as keys_app
from models.errors import Exit
from models.storage import Database
from tests.command_line import CommandLine

#: What is set, the exit code of `config check`, what it must say. In precedence order.
POSTGRESQL = "postgresql://despensa:hunter2@127.0.0.1:1/despensa"
REFUSALS = [
    pytest.param({"DESPENSA_DATABASE": "x"}, Exit.MISUSED, "unknown setting: DESPENSA_DATABASE", id="unknown name"),
    pytest.param({"DESPENSA_HOME": "data"}, Exit.MISUSED, "must be an absolute path", id="relative home"),
    pytest.param({"DESPENSA_DATABASE_URL": "mysql://u:hunter2@h/db"}, Exit.MISUSED, "must begin with", id="MySQL"),
    pytest.param({"DESPENSA_DATABASE_URL": "sqlite:///x"}, Exit.MISUSED, "must begin with", id="relative SQLite"),
    pytest.param({"DESPENSA_DATABASE_URL": POSTGRESQL}, Exit.MISUSED, "needs DESPENSA_REDIS_URL", id="no Redis"),
    pytest.param({"DESPENSA_REDIS_URL": "redis://h"}, Exit.MISUSED, "needs DESPENSA_DATABASE_URL", id="Redis alone"),
    pytest.param({"DESPENSA_BATCH_LINES": "0"}, Exit.MISUSED, "DESPENSA_BATCH_LINES", id="number too small"),
    pytest.param({"DESPENSA_WORKER_THREADS": "many"}, Exit.MISUSED, "DESPENSA_WORKER_THREADS", id="no number"),
    pytest.param(
        {"DESPENSA_DATABASE_URL": "postgresql://u:hunter2@h:port/db", "DESPENSA_REDIS_URL": "redis://h"},
        Exit.MISUSED, "DESPENSA_DATABASE_URL", id="bad port",
    ),
    pytest.param(
        {"DESPENSA_DATABASE_URL": POSTGRESQL, "DESPENSA_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"},
        Exit.NO_DATABASE, "does not answer", id="no server",
    ),
]  # fmt: skip


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """An embedded installation that does not exist yet."""
    return CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize(("environment", "code", "said"), REFUSALS)
def test_wrong_setting_is_refused_with_its_code(
    command_line: CommandLine, environment: dict[str, str], code: Exit, said: str
) -> None:
    command_line.run(keys_app, "init")
    command_line.set(environment)

    outcome = command_line.run(app, "check")

    assert outcome.code == code
    assert said in outcome.stdout
    assert "mended by: " in outcome.stdout
    assert "hunter2" not in outcome.stdout + outcome.stderr


def test_fresh_host_is_told_what_to_do_until_nothing_is_wrong(command_line: CommandLine) -> None:
    before = command_line.run(app, "check")

    assert before.code == Exit.NO_DATABASE
    assert "mended by: despensa keys init" in before.stdout
    assert "mended by: despensa db upgrade" in before.stdout

    command_line.run(keys_app, "init")
    command_line.run(db_app, "upgrade")
    after = command_line.run(app, "check", "--json")

    assert after.code == Exit.DONE
    assert after.json["ok"] is True


@pytest.mark.parametrize("damage", ["missing", "short", "readable by others", "twice", "empty"])
def test_damaged_key_is_misused(command_line: CommandLine, tmp_path: Path, damage: str) -> None:
    command_line.run(keys_app, "init")
    command_line.run(db_app, "upgrade")
    key = tmp_path / "home" / "keys" / "pin.key"
    if damage == "missing":
        key.unlink()
    elif damage == "readable by others":
        key.chmod(0o644)
    else:
        key.write_text({"short": "1 abcd\n", "twice": key.read_text() * 2, "empty": ""}[damage])

    outcome = command_line.run(app, "check")

    assert outcome.code == Exit.MISUSED
    assert "FAILED   key pin" in outcome.stdout
    assert "mended by: " in outcome.stdout


def test_redis_that_does_not_answer_is_exit_11(
    monkeypatch: pytest.MonkeyPatch, postgresql_database: Database, tmp_path: Path
) -> None:
    """The database stands: what is missing is the broker, and the code says so."""
    url = postgresql_database.url.render_as_string(hide_password=False)
    settings = {"DESPENSA_HOME": str(tmp_path), "DESPENSA_DATABASE_URL": url}
    command_line = CommandLine(monkeypatch, {**settings, "DESPENSA_REDIS_URL": f"unix://{tmp_path}/none.sock"})
    command_line.run(keys_app, "init")

    outcome = command_line.run(app, "check")

    assert outcome.code == Exit.NO_BROKER
    assert "mended by: nothing is lost; start Redis, or mend DESPENSA_REDIS_URL" in outcome.stdout


def test_show_tells_where_each_setting_comes_from(command_line: CommandLine, tmp_path: Path) -> None:
    settings = command_line.run(app, "show", "--json").json["settings"]

    assert isinstance(settings, list)
    by_name = {each["name"]: each for each in settings}
    assert by_name["DESPENSA_HOME"]["source"] == "environment"
    assert by_name["DESPENSA_BATCH_LINES"] == {
        "name": "DESPENSA_BATCH_LINES",
        "value": "5000",
        "source": "default",
        "description": "Lines of a batch, fixed at plan.",
    }
    assert by_name["DESPENSA_DATABASE_URL"]["value"] == f"{tmp_path}/home/despensa.sqlite3"


def test_show_prints_the_settings_that_are_refused(command_line: CommandLine) -> None:
    """It is what the refusal tells an operator to look at."""
    command_line.set({"DESPENSA_REDIS": "redis://:hunter2@h"})

    outcome = command_line.run(app, "show")

    assert outcome.code == Exit.MISUSED
    assert "DESPENSA_REDIS " in outcome.stdout
    assert "hunter2" not in outcome.stdout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:sec@ret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:sec/r?et@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@h/db?sslmode=require&password=secret", "postgresql://u@h/db?sslmode=require&password=***"),
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock?password=***"),
        ("/srv/despensa", "/srv/despensa"),
    ],
)
def test_password_of_a_url_is_masked(url: str, shown: str) -> None:
    assert mask(url) == shown

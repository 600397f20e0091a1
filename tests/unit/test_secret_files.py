"""Secrets from files: only who may read them does, and what is wrong is said without what is in them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from typer.main import get_command

from console.config import app
from console.main import app as tree
from models.backup import _run
from models.errors import Exit, Misconfigured
from models.secret_files import SECRET_BYTES_MAX, is_exposed, read_secret
from models.settings import read_settings
from tests.command_line import CommandLine

ROOT, US, SOMEBODY = 0, 10001, 1000
URL = "postgresql://work:hunter2@db.example/despensa"
REDIS = "redis://work:hunter3@redis.example/0"


@pytest.mark.parametrize(
    ("mode", "owner", "reader", "exposed"),
    [
        pytest.param(0o600, US, US, False, id="ours"),
        pytest.param(0o400, US, US, False, id="ours, read-only"),
        pytest.param(0o600, ROOT, ROOT, False, id="root's own"),
        pytest.param(0o440, ROOT, US, False, id="mounted: a credential of systemd, a secret of Kubernetes"),
        pytest.param(0o640, ROOT, US, False, id="mounted, root may write"),
        pytest.param(0o640, US, US, True, id="ours, and our group's"),
        pytest.param(0o440, US, US, True, id="ours, and our group's, read-only"),
        pytest.param(0o440, ROOT, ROOT, True, id="root's own, and its group's"),
        pytest.param(0o440, SOMEBODY, US, True, id="another login's"),
        pytest.param(0o660, ROOT, US, True, id="mounted, and the group may write"),
        pytest.param(0o450, ROOT, US, True, id="mounted, and the group may run it"),
        pytest.param(0o444, ROOT, US, True, id="mounted, and everybody's"),
        pytest.param(0o604, US, US, True, id="ours, and everybody's"),
        pytest.param(0o602, US, US, True, id="ours, and everybody may write"),
    ],
)
def test_secret_is_exposed_where_others_may_read_or_write_it(mode: int, owner: int, reader: int, exposed: bool) -> None:
    assert is_exposed(0o100000 | mode, owner=owner, reader=reader) is exposed


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """A file of this mode."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_file_that_others_may_read_is_refused_with_what_mends_it(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "secret", "hunter2", mode)

    with pytest.raises(Misconfigured, match=r"the key .* can be read by others") as refused:
        read_secret(path, what="the key", hint="make it")

    assert refused.value.hint == f"chmod 600 {path}"


def test_secret_that_is_mounted_by_links_is_read(tmp_path: Path) -> None:
    """As Kubernetes does, to change all of them at once."""
    (tmp_path / "..data").mkdir()
    written(tmp_path / "..data" / "secret", "hunter2\n")
    (tmp_path / "secret").symlink_to("..data/secret")

    assert read_secret(tmp_path / "secret", what="the key", hint="make it") == "hunter2\n"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    for path in (tmp_path / "pipe", tmp_path, written(tmp_path / "long", b"x" * (SECRET_BYTES_MAX + 1))):
        with pytest.raises(Misconfigured, match=r"the key .*(is no file|cannot be read)"):
            read_secret(path, what="the key", hint="make it")


def test_url_is_read_from_its_file(tmp_path: Path) -> None:
    database = written(tmp_path / "database_url", f"  {URL}\r\n")
    redis = written(tmp_path / "redis_url", REDIS)

    settings = read_settings({"DESPENSA_DATABASE_URL_FILE": str(database), "DESPENSA_REDIS_URL_FILE": str(redis)})

    assert (settings.database_url, settings.redis_url) == (URL, REDIS)


def test_empty_name_of_a_file_counts_as_not_set() -> None:
    """Compose sets it so, where a variable of its own is missing."""
    assert read_settings({"DESPENSA_DATABASE_URL_FILE": "", "DESPENSA_REDIS_URL_FILE": ""}).database_url == ""


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        pytest.param(None, 0o600, "is missing or cannot be read", id="missing"),
        pytest.param(URL, 0o644, "can be read by others", id="readable by others"),
        pytest.param("", 0o600, "is empty", id="empty"),
        pytest.param(" \n", 0o600, "is empty", id="blank"),
        pytest.param(f"{URL}\n{URL}\n", 0o600, "holds more than one line", id="two lines"),
        pytest.param(f"{URL}\x00", 0o600, "holds more than one line", id="a byte that is no text"),
        pytest.param(b"\xff\xfe", 0o600, "is missing or cannot be read", id="no text"),
        pytest.param("hunter2", 0o600, "must begin with postgresql://", id="the bare password"),
        pytest.param("postgresql://u:hunter2@h:port/x", 0o600, "a port that cannot be read", id="a bad port"),
    ],
)
def test_file_of_a_url_is_refused_by_variable_and_path_without_its_content(
    tmp_path: Path, content: str | bytes | None, mode: int, said: str
) -> None:
    path = tmp_path / "database_url"
    if content is not None:
        written(path, content, mode)

    with pytest.raises(Misconfigured) as refused:
        read_settings({"DESPENSA_DATABASE_URL_FILE": str(path), "DESPENSA_REDIS_URL": REDIS})

    told = f"{refused.value} {refused.value.hint}"
    assert refused.value.exit_code == Exit.MISUSED
    assert "DESPENSA_DATABASE_URL_FILE" in told
    assert str(path) in told
    assert said in told
    assert "hunter" not in told


def test_variable_and_file_at_once_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "redis_url", REDIS)

    with pytest.raises(Misconfigured, match="both DESPENSA_REDIS_URL and DESPENSA_REDIS_URL_FILE are set"):
        read_settings({"DESPENSA_REDIS_URL_FILE": str(path), "DESPENSA_REDIS_URL": REDIS, "DESPENSA_DATABASE_URL": URL})


def test_relative_path_is_refused() -> None:
    with pytest.raises(Misconfigured, match="DESPENSA_DATABASE_URL_FILE: the file url is not an absolute path"):
        read_settings({"DESPENSA_DATABASE_URL_FILE": "url"})


def test_only_what_is_secret_has_a_file() -> None:
    with pytest.raises(Misconfigured, match="unknown setting: DESPENSA_HOME_FILE"):
        read_settings({"DESPENSA_HOME_FILE": "/etc/despensa/home"})


def test_show_tells_that_a_url_is_from_a_file_and_masks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database = written(tmp_path / "database_url", URL)
    redis = written(tmp_path / "redis_url", "hunter3")
    command_line = CommandLine(
        monkeypatch, {"DESPENSA_DATABASE_URL_FILE": str(database), "DESPENSA_REDIS_URL_FILE": str(redis)}
    )

    outcome = command_line.run(app, "show")

    rows = {line.split()[0]: line.split()[1:] for line in outcome.stdout.splitlines() if "DESPENSA" in line}
    assert rows["DESPENSA_DATABASE_URL"] == ["postgresql://work:***@db.example/despensa", "file"]
    assert rows["DESPENSA_DATABASE_URL_FILE"] == [str(database), "environment"]
    assert rows["DESPENSA_REDIS_URL"] == ["***", "file"]
    assert outcome.code == Exit.MISUSED  # by the second, which is no URL
    assert "hunter" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"DESPENSA_DASHBOARD_SERVICE_HOST": "10.0.0.7"},
        {"DESPENSA_DASHBOARD_SERVICE_PORT_HTTP": "8080"},
        {"DESPENSA_DASHBOARD_PORT": "tcp://10.0.0.7:8080"},
        {"DESPENSA_PORT_8080_TCP": "tcp://10.0.0.7:8080"},
        {"DESPENSA_PORT_8080_TCP_ADDR": "10.0.0.7"},
        # Of a Service despensa-metrics: it has the name of a setting.
        {"DESPENSA_METRICS_PORT": "tcp://10.0.0.7:9100"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_what_kubernetes_injects_is_refused_with_what_turns_it_off(variables: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=f"Kubernetes set {next(iter(variables))} ") as refused:
        read_settings(variables)

    assert "enableServiceLinks: false" in str(refused.value.hint)


def test_name_that_is_misspelt_is_no_injected_one() -> None:
    with pytest.raises(Misconfigured, match="unknown setting: DESPENSA_METRIC_PORT") as refused:
        read_settings({"DESPENSA_METRIC_PORT": "9100"})

    assert "config show" in str(refused.value.hint)


def words_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every option and argument of the tree, by its command."""
    yield from ((" ".join(path), str(word.name)) for word in command.params)
    for name, each in getattr(command, "commands", {}).items():
        yield from words_of(each, (*path, name))


def test_no_command_takes_a_secret_as_a_word() -> None:
    """Whoever may list processes would read it. A file that holds one may be named, and a public key is no secret."""
    found = list(words_of(get_command(tree)))

    secret = re.compile(r"pass|secret|token|url|dsn|credential|(?<!reference_)key")
    assert len(found) > 100
    told = [word for word in found if secret.search(word[1]) and not word[1].endswith("_file")]
    assert told == [("certificate verify", "keys")]


def test_program_that_backs_up_is_given_no_password_as_a_word(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nprintf %s "$PGPASSWORD" > {tmp_path}/given\n'
    )
    program.chmod(0o700)

    _run(make_url(f"{URL}?sslmode=verify-full&sslpassword=hunter3"), program, "--format=custom")

    words = (tmp_path / "words").read_text()
    assert "sslmode=verify-full" in words
    assert "hunter" not in words
    assert (tmp_path / "given").read_text() == "hunter2"

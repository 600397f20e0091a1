"""What is wrong with a key file is refused by path and rule, and nothing of it is shown."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from console.config import app as config_app
from console.keys import app as keys_app
from models.errors import Exit, Misconfigured
from models.keys import DESK_KINDS, KINDS, SERVICE_KINDS, fingerprint, init_keys, key_path, load_keys
from tests.command_line import CommandLine

SECRET = secrets.token_hex(32)
OTHER = secrets.token_hex(32)


def is_text(content: str | bytes) -> Callable[[Path], None]:
    """A file with this in it."""

    def write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def has_mode(mode: int) -> Callable[[Path], None]:
    """The good file, with this mode."""
    return lambda path: path.chmod(mode)


def is_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def is_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def is_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def is_that_of_another_kind(path: Path) -> None:
    kind = next(each for each in KINDS if each != path.stem)
    path.write_bytes(path.with_name(f"{kind}.key").read_bytes())


def holds_an_earlier_one_of_another_kind(path: Path) -> None:
    kind = next(each for each in KINDS if each != path.stem)
    other = path.with_name(f"{kind}.key").read_text().split()[1]
    path.write_text(f"1 {other}\n2 {SECRET}\n")


#: What is done to the file, and the rule by which it is refused.
REFUSED = [
    pytest.param(Path.unlink, "is missing or cannot be read", id="missing"),
    pytest.param(is_loop, "is missing or cannot be read", id="a link to itself"),
    pytest.param(is_folder, "is missing or cannot be read", id="a folder"),
    pytest.param(is_pipe, "is no file", id="a pipe"),
    pytest.param(is_text(b"1 " + b"ab" * 40_000), "too long", id="too long"),
    pytest.param(is_text(b"\xff\xfe\x00"), "is missing or cannot be read", id="no text"),
    pytest.param(has_mode(0o640), "can be read by others", id="readable by the group"),
    pytest.param(has_mode(0o604), "can be read by others", id="readable by everybody"),
    pytest.param(has_mode(0o620), "can be read by others", id="writable by the group"),
    pytest.param(is_text(""), "is empty", id="empty"),
    pytest.param(is_text("\n \n"), "is empty", id="blank"),
    pytest.param(is_text(SECRET), "line 1 is not `VERSION HEX`", id="no version"),
    pytest.param(is_text(f"1 {SECRET}\n\n"), "line 2 is not `VERSION HEX`", id="a blank line"),
    pytest.param(is_text(f"1 {SECRET}\n2"), "line 2 is not `VERSION HEX`", id="torn after the version"),
    pytest.param(is_text(f"1 {SECRET}\n2 {OTHER[:63]}"), "line 2 is not `VERSION HEX`", id="torn in a byte"),
    pytest.param(is_text(f"0 {SECRET}\n"), "line 1 is not `VERSION HEX`", id="version 0"),
    pytest.param(is_text(f"-1 {SECRET}\n"), "line 1 is not `VERSION HEX`", id="negative version"),
    pytest.param(is_text(f"01 {SECRET}\n"), "line 1 is not `VERSION HEX`", id="version with a zero before it"),
    pytest.param(is_text(f"1_0 {SECRET}\n"), "line 1 is not `VERSION HEX`", id="what Python takes for a number"),
    pytest.param(is_text(f"٣ {SECRET}\n"), "line 1 is not `VERSION HEX`", id="Arabic digits"),
    pytest.param(is_text(f"9999999999 {SECRET}\n"), "line 1 is not `VERSION HEX`", id="version beyond 32 bits"),
    pytest.param(is_text(f"1  {SECRET}\n"), "line 1 is not `VERSION HEX`", id="two spaces"),
    pytest.param(is_text(f"1 {SECRET} x\n"), "line 1 is not `VERSION HEX`", id="a third word"),
    pytest.param(is_text(f"1 {SECRET[:31]} {SECRET[32:]}\n"), "line 1 is not `VERSION HEX`", id="hex with a space"),
    pytest.param(is_text(f"1 {'zz' * 32}\n"), "line 1 is not `VERSION HEX`", id="no hex"),
    pytest.param(is_text("1 abcd\n"), "a key has 32 bytes", id="short"),
    pytest.param(is_text(f"1 {SECRET[:62]}\n"), "a key has 32 bytes", id="short by a byte"),
    pytest.param(is_text(f"1 {SECRET}{SECRET}\n"), "a key has 32 bytes", id="long"),
    pytest.param(is_text(f"1 {'00' * 32}\n"), "repeats itself", id="all zero"),
    pytest.param(is_text(f"1 {'5a' * 32}\n"), "repeats itself", id="all bytes equal"),
    pytest.param(is_text(f"1 {'deadbeef' * 8}\n"), "repeats itself", id="four bytes again and again"),
    pytest.param(is_text(f"1 {SECRET[:32] * 2}\n"), "repeats itself", id="half a key, twice"),
    pytest.param(is_text(f"1 {SECRET}\n1 {OTHER}\n"), "a version or a key twice", id="a version twice"),
    pytest.param(is_text(f"1 {SECRET}\n2 {SECRET.upper()}\n"), "a version or a key twice", id="a key twice"),
    pytest.param(is_that_of_another_kind, "holds the same key as", id="the key of another kind"),
    pytest.param(holds_an_earlier_one_of_another_kind, "holds the same key as", id="one key of another kind"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("damage", "rule"), REFUSED)
def test_damaged_key_is_refused_by_path_and_rule(
    tmp_path: Path, kind: str, damage: Callable[[Path], None], rule: str
) -> None:
    init_keys(tmp_path)
    path = key_path(tmp_path, kind)
    damage(path)

    with pytest.raises(Misconfigured) as refused:
        load_keys(tmp_path, kind)

    told = f"{refused.value} {refused.value.hint}"
    assert refused.value.exit_code == Exit.MISUSED
    assert rule in told
    assert str(path) in told
    assert not any(secret[:8] in told.lower() for secret in (SECRET, OTHER, "5a5a5a5a", "deadbeef"))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=["none", "usual", "of Windows"])
def test_good_key_is_read_whatever_its_line_ends_with(tmp_path: Path, ending: str) -> None:
    """An editor may have been at it."""
    init_keys(tmp_path)
    key_path(tmp_path, "pin").write_text(f"1 {SECRET}\n2 {OTHER.upper()}{ending}", newline="")

    assert load_keys(tmp_path, "pin").versions == [1, 2]


def test_damaged_key_of_one_kind_does_not_stop_the_others(tmp_path: Path) -> None:
    """A worker has no use for the person key, and says nothing of it."""
    init_keys(tmp_path)
    key_path(tmp_path, "person").write_text("1 abcd\n")

    assert [load_keys(tmp_path, kind).versions for kind in SERVICE_KINDS] == [[1]] * 3


def test_fingerprint_is_another_for_each_kind_version_and_key(tmp_path: Path) -> None:
    init_keys(tmp_path)
    key_path(tmp_path, "pin").write_text(f"1 {SECRET}\n2 {OTHER}\n")
    one, two = load_keys(tmp_path, "pin").keys

    told = {fingerprint("pin", one), fingerprint("pin", two), fingerprint("person", one)}

    assert len(told) == 3
    assert all(len(each) == 16 for each in told)
    assert not any(each in SECRET + OTHER for each in told)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """An embedded installation that does not exist yet."""
    return CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path / "home")})


def test_host_with_the_keys_of_services_alone_is_a_whole_one(command_line: CommandLine, tmp_path: Path) -> None:
    """A worker host: desks' keys are not there, and nothing is wrong."""
    command_line.run(keys_app, "init")
    for kind in DESK_KINDS:
        (tmp_path / "home" / "keys" / f"{kind}.key").unlink()

    rows = command_line.run(config_app, "check", "--json").json["checks"]

    assert isinstance(rows, list)
    keys = {each["check"]: (each["state"], each["detail"]) for each in rows if each["check"].startswith("key ")}
    assert keys == {
        **{f"key {kind}": ("ok", "version 1") for kind in SERVICE_KINDS},
        **{f"key {kind}": ("ok", "not on this host: desks have it") for kind in DESK_KINDS},
    }


@pytest.mark.parametrize("kind", DESK_KINDS)
def test_desk_key_that_is_there_must_be_a_good_one(command_line: CommandLine, tmp_path: Path, kind: str) -> None:
    command_line.run(keys_app, "init")
    (tmp_path / "home" / "keys" / f"{kind}.key").chmod(0o644)

    outcome = command_line.run(config_app, "check")

    assert f"FAILED   key {kind}" in outcome.stdout
    assert "can be read by others" in outcome.stdout

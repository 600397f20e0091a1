"""Where `rehearse` works: in a folder that nobody else could have laid anything into."""

import os
import tempfile
from pathlib import Path

import pytest

from console.main import app
from models.errors import Exit, RefusedInput
from tests.command_line import CommandLine


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """With a temporary folder of its own, which everybody may write."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return CommandLine(monkeypatch, {})


def test_each_user_has_a_folder_of_their_own(command_line: CommandLine, tmp_path: Path) -> None:
    outcome = command_line.run(app, "rehearse", "rate", "--check")

    (folder,) = (tmp_path / "tmp").iterdir()
    assert outcome.code == Exit.MISUSED
    assert f"was not begun in {folder}/rate" in str(outcome.error)
    assert (folder.name, folder.stat().st_mode & 0o777) == (f"despensa-rehearsal-{os.geteuid()}", 0o700)


@pytest.mark.parametrize("laid", ["a link to a real home", "open to others", "another user's", "a file"])
def test_folder_that_is_not_the_users_alone_is_refused(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, laid: str
) -> None:
    """Whoever makes it first could lead a rehearsal to the database of a real installation."""
    folder, real = tmp_path / "tmp" / f"despensa-rehearsal-{os.geteuid()}", tmp_path / "real" / "rate"
    real.mkdir(parents=True, mode=0o700)
    real.parent.chmod(0o700)
    (real / "despensa.sqlite3").touch()
    match laid:
        case "a link to a real home":
            folder.symlink_to(real.parent)
        case "a file":
            folder.touch(mode=0o600)
        case _:
            folder.mkdir(mode=0o700)
            (folder / "rate").symlink_to(real)
            folder.chmod(0o755 if laid == "open to others" else 0o700)
    if laid == "another user's":
        uid = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        folder.rename(folder.with_name(f"despensa-rehearsal-{uid + 1}"))

    outcome = command_line.run(app, "rehearse", "rate", "--check")

    assert isinstance(outcome.error, RefusedInput)
    assert "is no folder of yours alone" in str(outcome.error)

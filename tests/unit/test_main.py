"""The command's last line of defence: no traceback, no text of an error that may hold a family. And its help."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from typer.main import get_command
from typer.testing import CliRunner

from console.entry import translated
from console.main import Group, app
from models.errors import Exit


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperationalError("SELECT 'SECRET'", {}, Exception("SECRET")), Exit.NO_DATABASE, "does not answer: Exception"),
        (IntegrityError("INSERT", {"id": "SECRET"}, Exception("SECRET")), Exit.FAILED, "the database refused"),
        (OSError(28, "No space left on device", "log"), Exit.FAILED, "No space left on device: log"),
        (KeyError("SECRET"), Exit.FAILED, "a defect: KeyError"),
    ],
)
def test_unexpected_error_is_told_by_its_type(error: Exception, code: Exit, said: str) -> None:
    told = translated(error)

    assert told.exit_code == code
    assert said in str(told)
    assert "SECRET" not in f"{told} {told.hint}"


@pytest.mark.parametrize("group", ["", "config", "db", "keys", "run", "voucher", "store", "simulate", "logs"])
def test_help_of_a_group_cuts_no_command_short(group: str) -> None:
    """Typer's own list ends with "..." where a line does."""
    tree = get_command(app)
    assert isinstance(tree, Group)
    listed = tree.commands[group] if group else tree
    assert isinstance(listed, Group)

    said = " ".join(CliRunner().invoke(app, [*group.split(), "--help"]).stdout.split()).replace("- ", "-")

    for name, command in listed.commands.items():
        first = " ".join((command.help or "").split("\n\n")[0].split())
        assert f"{name} {first}" in said


def test_wrong_option_is_told_with_where_to_look() -> None:
    result = CliRunner().invoke(app, ["run", "start", "--nonsense"])

    assert result.exit_code == Exit.MISUSED
    assert result.stdout == ""
    assert "Try 'root run start --help' for help." in result.stderr
    assert result.stderr.endswith("Error: No such option: --nonsense\n")

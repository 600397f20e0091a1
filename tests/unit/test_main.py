"""The command's last line of defence: no traceback, no text of an error that may hold a family. And its help."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from typer.main import get_command
from typer.testing import CliRunner

from console.entry import translated
from console.examples import EXAMPLES
from console.main import Group, Root, app
from models.errors import Exit
from tests.command_line import parsed_by
from tests.commands import ROOT


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperationalError("SELECT 'SECRET'", {}, Exception("SECRET")), Exit.NO_DATABASE, "does not answer: Exception"),
        (IntegrityError("INSERT", {"id": "SECRET"}, Exception("SECRET")), Exit.FAILED, "the database refused"),
        (ProgrammingError("SELECT 'SECRET'", {}, InsufficientPrivilege("SECRET")), Exit.FAILED, "this login may not"),
        (OSError(28, "No space left on device", "log"), Exit.FAILED, "No space left on device: log"),
        (KeyError("SECRET"), Exit.FAILED, "a defect: KeyError"),
    ],
)
def test_unexpected_error_is_told_by_its_type(error: Exception, code: Exit, said: str) -> None:
    told = translated(error)

    assert told.exit_code == code
    assert said in str(told)
    assert "SECRET" not in f"{told} {told.hint}"


#: Begun where whoever starts it allows core dumps.
DUMPING = """
import resource, sys
from console.main import main
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
sys.argv = ["despensa", "--help"]
try:
    main()
finally:
    print("core", resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_no_core_of_a_command_is_dumped() -> None:
    """It would hold keys and families, on whatever disk it lands."""
    ended = subprocess.run([sys.executable, "-c", DUMPING], cwd=ROOT, check=True, capture_output=True, text=True)

    assert ended.stdout.splitlines()[-1] == "core (0, 0)"


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


def every_command() -> Iterator[tuple[str, Any]]:
    """Of the tree, with its groups and its root: its words, and the command."""
    root: Any = get_command(app)
    yield "", root
    for name, command in root.commands.items():
        yield name, command
        yield from ((f"{name} {under}", each) for under, each in getattr(command, "commands", {}).items())


@pytest.mark.parametrize("words", [words for words, _ in every_command()])
def test_every_help_has_one_to_three_examples(words: str) -> None:
    said = CliRunner().invoke(app, [*words.split(), "--help"]).stdout

    shown = said.partition("Examples:\n")[2].split("\n")
    assert [line.strip() for line in shown if line.strip()] == list(EXAMPLES[words])
    assert 1 <= len(EXAMPLES[words]) <= 3


def test_no_example_is_of_a_command_that_is_gone() -> None:
    assert set(EXAMPLES) == {words for words, _ in every_command()}


@pytest.mark.parametrize(
    ("words", "example"), [(words, example) for words, examples in EXAMPLES.items() for example in examples]
)
def test_example_is_parsed_by_the_command_it_is_of(words: str, example: str) -> None:
    name, *arguments = shlex.split(example)

    parsed = parsed_by(arguments)

    assert name == "despensa"
    assert parsed.startswith(words)


def test_help_lists_commands_by_what_they_are_for() -> None:
    said = CliRunner().invoke(app, ["--help"]).stdout

    root = get_command(app)
    assert isinstance(root, Root)
    panels = root.panels()
    assert "Commands" not in panels, f"commands without a panel in console/examples.py: {panels['Commands']}"
    assert sorted(name for names in panels.values() for name in names) == sorted(root.commands)
    headings = [line.removesuffix(":") for line in said.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == ["Options", *panels]

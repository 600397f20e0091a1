"""Running a command of the tree in this process, with settings of the test's own, as `console.main` would."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from console.main import app as despensa
from models.errors import DespensaError, Exit


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str
    error: DespensaError | None

    @property
    def json(self) -> dict[str, object]:
        """The one object on standard output."""
        parsed = orjson.loads(self.stdout)
        assert parsed["schema"] == 1
        return dict(parsed)


class CommandLine:
    """Runs commands with these settings and no others; standard input is no terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("DESPENSA_")]:
            monkeypatch.delenv(name)
        self.set(environment)

    def set(self, environment: dict[str, str]) -> None:
        """Change settings."""
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)

    def run(self, app: typer.Typer, *words: object) -> Outcome:
        """One command. Errors that mean something to an operator are part of the outcome; others are raised."""
        result = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
        error = result.exception
        if error is not None and not isinstance(error, DespensaError):
            raise error
        code = int(error.exit_code) if error else int(result.return_value or Exit.DONE)
        return Outcome(code, result.stdout, result.stderr, error)


def parsed_by(arguments: Sequence[str]) -> str:
    """The words of the command that these are of, such as `run start`. Raises where one of them means nothing to it."""
    command: Any = get_command(despensa)
    context = command.make_context("despensa", list(arguments))
    path = []
    while getattr(command, "commands", None):
        under, command, more = command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(under)
        context = command.make_context(under, more, parent=context)
    return " ".join(path)

"""What every command does first and last: settings, database, log, output. Heavy imports wait inside functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from models.errors import Misconfigured, RefusedInput

if TYPE_CHECKING:
    from models.log import Log
    from models.settings import Settings
    from models.storage import Database

#: Of every `--json` object.
JSON_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command works with."""

    settings: Settings
    database: Database
    log: Log


@contextmanager
def entry(*, service: str = "despensa", to_stdout: bool = False) -> Iterator[Entry]:
    """Settings read, database there and at this code's schema, log open. Closes them again.

    Raises Misconfigured (exit 2) and NoDatabase (exit 10). `to_stdout` is for worker and scheduler, whose log is
    their standard output.
    """
    from models.log import Log
    from models.schema import require_current
    from models.settings import read_settings
    from models.storage import Database

    settings = read_settings()
    database = Database(settings.database)
    try:
        require_current(database)
        with nullcontext(Log.to_stdout(service)) if to_stdout else Log.to_file(settings.log, service) as log:
            yield Entry(settings, database, log)
    finally:
        database.close()


def echo(text: str = "") -> None:
    """Data, on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """Everything that is not data, on standard error."""
    typer.echo(text, err=True)


def echo_json(values: dict[str, object]) -> None:
    """One object on standard output, with its schema."""
    import orjson

    typer.echo(orjson.dumps({"schema": JSON_SCHEMA, **values}, option=orjson.OPT_INDENT_2).decode())


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; without one, `--yes` must have been given. Raises RefusedInput if not confirmed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(f"{question} Without a terminal this needs --yes", hint="repeat the command with --yes")
    if not typer.confirm(question, err=True):
        raise RefusedInput("not confirmed; nothing was changed")

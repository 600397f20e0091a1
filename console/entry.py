"""What every command does first and last: settings, database, log, output. Heavy imports wait inside functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from models.errors import (
    INSUFFICIENT_PRIVILEGE,
    LOCK_NOT_AVAILABLE,
    DespensaError,
    Misconfigured,
    NoDatabase,
    RefusedByState,
    RefusedInput,
)

if TYPE_CHECKING:
    from pathlib import Path

    from models.kept_head import KeptHead
    from models.log import Log
    from models.settings import Settings
    from models.storage import Database

#: Of every `--json` object.
JSON_SCHEMA = 1


#: PostgreSQL's SQLSTATEs of a transaction that was rolled back for others' sake, or for taking too long.
BROKEN_OFF = ("40", "57014")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command works with."""

    settings: Settings
    database: Database
    log: Log


@contextmanager
def entry(
    *, service: str = "despensa", to_stdout: bool = False, log_file: Path | None = None, while_held: bool = False
) -> Iterator[Entry]:
    """Settings read, database there, at this code's schema and whole, log open. Closes them again.

    Raises Misconfigured (exit 2), NoDatabase (exit 10), and Restored (exit 13). `to_stdout` is for services, whose log
    is their standard output; `log_file` comes before that and before the settings. `while_held` is for what neither
    pays nor plans nor changes what will be: it goes on with a database that was restored, and says so.
    """
    from models.custody import require_whole
    from models.log import Log
    from models.schema import require_current
    from models.settings import read_settings
    from models.storage import Database

    settings = read_settings()
    database = Database(settings.database)
    try:
        require_current(database)
        in_file = log_file or (None if to_stdout else settings.log)
        with Log.opened(service, file=in_file) as log:
            with kept_head(settings, with_redis=not while_held) as kept:
                _tell_if_held(database, kept) if while_held else require_whole(database, kept, tell=log.observe)
            yield Entry(settings, database, log)
    finally:
        database.close()


@contextmanager
def kept_head(settings: Settings, *, with_redis: bool = True) -> Iterator[KeptHead]:
    """The kept head of an installation. Redis is asked only where it matters: it may be away, which takes seconds."""
    from models.kept_head import KeptHead

    if not (with_redis and settings.distributed):
        yield KeptHead.in_file(settings)
        return
    from console.config import redis_of

    with closing(redis_of(settings)) as client:
        yield KeptHead.of(settings, client)


def _tell_if_held(database: Database, kept: KeptHead) -> None:
    from models.custody import COMPARE, find_reason

    reason = find_reason(database, kept)
    if reason:
        note(f"warning: nothing is paid from {database.name}: {reason}\nhint: {COMPARE}")


def echo(text: str = "") -> None:
    """Data, on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """Everything that is not data, on standard error."""
    typer.echo(text, err=True)


def shown(text: str) -> str:
    """Control characters as their escapes: what others wrote must not be able to paint on the terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


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


def translated(error: Exception) -> DespensaError:
    """One of ours as it is; an error that no command expected by its type alone: its text may hold a family."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if isinstance(error, DespensaError):
        return error
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
        return RefusedByState("another command holds what this one needs", hint="nothing was changed; repeat it")
    if isinstance(error, DBAPIError):
        sqlstate = str(getattr(error.orig, "sqlstate", None) or "")
        name = f"{type(error.orig).__name__} {sqlstate}".strip()
        if sqlstate.startswith(BROKEN_OFF):
            return RefusedByState(f"the database broke it off: {name}", hint="nothing was changed; repeat it")
        if sqlstate == INSUFFICIENT_PRIVILEGE:
            return RefusedByState(
                f"this login may not do that in the database: {name}",
                hint="which role a command needs: deploy/SECURITY.md",
            )
        if isinstance(error, OperationalError | InterfaceError):
            return NoDatabase(f"the database does not answer: {name}", hint="nothing is lost; despensa doctor")
        return DespensaError(f"the database refused: {name}", hint="repeat with --debug, and report it")
    if isinstance(error, OSError):
        return DespensaError(f"{error.strerror or type(error).__name__}: {error.filename or 'a file'}")
    return DespensaError(f"a defect: {type(error).__name__}", hint="repeat with --debug, and report it")

"""`despensa logs`: read the log, count from it, prove it, write it again."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from console.entry import echo, echo_json, entry, note
from models.errors import BooksDisagree, DespensaError, NotFound, RefusedInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.log_verify import Place, Verification

app = typer.Typer(no_args_is_help=True, help="The log: read it, count from it, prove it, write it again.")

FILE = typer.Argument(None, metavar="FILE", help="A log file; without it, the one in the settings.")
FILES = typer.Argument(metavar="FILE", help="Log files in any order, plain or packed with gzip.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")

#: How often a followed file is looked at.
POLL_S = 0.25
#: On every line and of no use to a reader at a terminal.
UNSHOWN = frozenset(
    {"timestamp", "level", "event", "schema", "service.name", "service.version", "service.instance.id", "seq", "hash"}
)
#: What the field `run` says already.
IN_RUN = frozenset({"run_id", "location", "cycle", "part"})
#: SGR codes by level. Source: ECMA-48.
COLOURS = {"info": "32", "warning": "33", "error": "31;1"}


@app.command()
def tail(
    file: Path | None = FILE,
    lines: int = typer.Option(20, "--lines", "-n", min=0, help="How many of the last lines."),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on as lines come, across rotations."),
    as_json: bool = typer.Option(False, "--json", help="The lines as they are."),
) -> None:
    """The last lines of a log, readable."""
    from console.log_verify import is_packed
    from models.settings import read_settings

    path = file or read_settings().log
    if not follow and not path.exists():
        raise NotFound(f"there is no log at {path}", hint="name a file: despensa logs tail FILE")
    if follow and path.exists() and is_packed(path):
        raise RefusedInput(f"{path} is packed: nothing comes to it any more", hint=f"despensa logs tail {path}")
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with suppress(KeyboardInterrupt), _ending_quietly():
        for text in last_lines(path, count=lines, follow=follow):
            echo(text if as_json else readable(text, colour=colour))


@app.command()
def totals(files: list[Path] = FILES, as_json: bool = JSON) -> None:
    """Runs with their counts as `run status` has them, from log lines alone."""
    from console.log_totals import read_totals
    from console.tables import echo_runs, runs_as_json

    found = read_totals(files)
    _note_torn(found.torn)
    if found.from_seq > 1:
        note(f"these files begin at seq {found.from_seq}: runs that were over before it are not shown")
    if as_json:
        echo_json({**runs_as_json(found.summaries), "from_seq": found.from_seq, "as_of_seq": found.as_of_seq})
        return
    echo_runs(found.summaries)
    note(f"as of seq {found.as_of_seq}; that nothing was changed is shown by: despensa logs verify FILE…")


@app.command()
def verify(
    files: list[Path] = FILES,
    database: bool = typer.Option(False, "--database", help="Hold them against the seals in the database, too."),
    as_json: bool = JSON,
) -> None:
    """Prove that no sealed line was changed, dropped, exchanged or added. Exit code 13 if one was."""
    from console.log_verify import verify as verify_files

    found = verify_files(files)
    behind = _compare(found) if database else None
    _note_torn(found.torn)
    if as_json:
        echo_json({**found.as_json(), **({} if behind is None else {"behind": behind})})
    elif not found.faults:
        _tell(found)
    if found.faults:
        raise BooksDisagree(
            "the log does not hold:\n  " + "\n  ".join(str(fault) for fault in found.faults),
            hint="keep the files; write the same part again and compare: despensa logs emit --from SEQ --to SEQ",
        )
    if behind:
        raise DespensaError(
            f"{behind} lines were written since seq {found.last_seq} that these files do not have",
            hint=f"add the files that have them, or: despensa logs emit --from {found.last_seq + 1} > FILE",
        )


@app.command()
def emit(
    from_seq: int = typer.Option(..., "--from", min=1, help="The first place to write."),
    to_seq: int | None = typer.Option(None, "--to", min=1, help="The last; without it, to the end."),
) -> None:
    """Write sealed lines again, from the database to standard output. Changes nothing."""
    from scheduler.seal import emit_again

    if to_seq is not None and to_seq < from_seq:
        raise RefusedInput(f"--to {to_seq} is before --from {from_seq}")
    with entry(to_stdout=True) as desk, _ending_quietly():
        if emit_again(desk.database, desk.log, from_seq=from_seq, to_seq=to_seq) == 0:
            note(f"nothing is sealed from seq {from_seq} on")


@app.command()
def schema(
    markdown: bool = typer.Option(False, "--markdown", help="The reference page instead of the JSON Schema."),
) -> None:
    """The JSON Schema of a line, or the page that explains every event."""
    from console.log_reference import json_schema_text, reference_page

    typer.echo(reference_page() if markdown else json_schema_text(), nl=False)


def readable(text: str, *, colour: bool) -> str:
    """A log line for people; one that is none of ours as it is, but for characters that would move the cursor."""
    import orjson

    try:
        line = orjson.loads(text)
        instant, level, event = str(line["timestamp"]), str(line["level"]), str(line["event"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _shown(text)
    place = f"#{line['seq']} " if "seq" in line else ""
    unshown = UNSHOWN | IN_RUN if "run" in line else UNSHOWN
    fields = " ".join(f"{name}={_value(value)}" for name, value in line.items() if name not in unshown)
    head = f"{level:<7} {event}"
    if colour:
        head = f"\x1b[{COLOURS.get(level, '0')}m{_shown(head)}\x1b[0m"
    return f"{_shown(instant)} {head if colour else _shown(head)} {_shown(place + fields)}".rstrip()


def pause(seconds: float) -> None:
    """Until the next look."""
    threading.Event().wait(seconds)


def last_lines(path: Path, *, count: int, follow: bool, wait: Callable[[float], object] = pause) -> Iterator[str]:
    """The last lines of a file, and with `follow` those that come, also after it was rotated or cut.

    Without a file, `follow` waits for one. `wait` is called between two looks.
    """
    if path.exists():
        with _open(path) as stream:
            yield from _last(stream, count, whole=follow)
            if follow:
                yield from _coming(stream, path, wait)
    while follow:
        while not path.exists():
            wait(POLL_S)
        with path.open("rb") as stream:
            yield from _coming(stream, path, wait)


def _last(stream: IO[bytes], count: int, *, whole: bool) -> list[str]:
    """The last lines. With `whole` not one that is still being written: the stream then stands before it."""
    kept: deque[bytes] = deque(maxlen=count)
    start = 0
    for line in stream:
        if whole and not line.endswith(b"\n"):
            stream.seek(start)
            break
        start += len(line)
        kept.append(line)
    return [_text(line) for line in kept]


def _coming(stream: IO[bytes], path: Path, wait: Callable[[float], object]) -> Iterator[str]:
    """Lines as they come, until the path leads to another file, or this one was cut."""
    rest = b""
    while True:
        gone = _is_replaced(stream, path)  # asked before reading: what was written until then is read
        *lines, rest = (rest + stream.read()).split(b"\n")
        yield from (_text(line) for line in lines)
        if gone:
            if rest:
                yield _text(rest)
            return
        wait(POLL_S)


def _is_replaced(stream: IO[bytes], path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return True
    here = os.fstat(stream.fileno())
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or here.st_size < stream.tell()


def _open(path: Path) -> IO[bytes]:
    from console.log_verify import is_packed

    if not is_packed(path):
        return path.open("rb")
    import gzip

    return gzip.open(path, "rb")  # type: ignore[return-value]  # it reads as one


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r\n")


def _value(value: object) -> str:
    """Text in quotes where it would not read as one word."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "-"}[value]
    text = str(value)
    return text if text and " " not in text and "=" not in text else f'"{text}"'


def _shown(text: str) -> str:
    """Control characters as their escapes: a line must not be able to paint on the terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _compare(found: Verification) -> int:
    from console.log_verify import compare

    with entry() as desk, desk.database.reading() as tx:
        return compare(tx, found)


def _tell(found: Verification) -> None:
    echo(f"lines     {found.lines}, seq {found.first_seq} to {found.last_seq}; {found.repeated} repeated")
    echo(f"unsealed  {found.unsealed} operational lines, which nothing proves")
    echo(f"hash      {found.hash}")
    echo("proven    " + ("from the first line of the log" if found.from_genesis else _anchor(found)))


def _anchor(found: Verification) -> str:
    if not found.lines:
        return "nothing: there is no sealed line"
    return f"from seq {found.first_seq + 1}; seq {found.first_seq} only with the line before it, or --database"


def _note_torn(torn: Sequence[Place]) -> None:
    for place in torn:
        note(f"{place}: this line is cut off and was passed over")


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """Whoever reads our output may have enough, as `head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""`despensa logs`: read the log, count from it, prove it, write it again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import echo, echo_json, entry, note, shown
from models.errors import BooksDisagree, DespensaError, NotFound, RefusedInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.log_verify import Place, Verification

app = typer.Typer(no_args_is_help=True, help="The log: read it, count from it, prove it, write it again.")

FILES = typer.Argument(metavar="FILE", help="Log files in any order, plain or packed with gzip.")
JSON = typer.Option(False, "--json", help="One JSON object on standard output.")

#: How many lines `tail` shows of itself.
LINES = 20
#: How many gaps an error names; --json has them all.
GAPS_TOLD = 20


@app.command()
def tail(
    files: list[Path] = typer.Argument(
        None, metavar="FILE", help="Log files in any order, plain or packed with gzip; without, that of the settings."
    ),
    lines: int = typer.Option(
        None, "--lines", "-n", min=0,
        help="How many of the last lines: 20, or all with --since, --voucher or --disbursement.",
    ),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on as lines come, across rotations."),
    run: str = typer.Option("", "--run", help="Of this run, such as 2026-12/02004, with .2 for part 2."),
    location: str = typer.Option("", "--location", help="Of this location: its code, or a name that the lines have."),
    event: str = typer.Option("", "--event", help="Only these events, such as 'case.*'."),
    level: str = typer.Option("", "--level", help="At least this loud: info, warning or error."),
    voucher: str = typer.Option("", "--voucher", help="All that happened to a voucher, by its number."),
    disbursement: int = typer.Option(None, "--disbursement", min=1, help="The same, by the disbursement's id."),
    since: str = typer.Option("", "--since", help="From an instant or a date on, or for the last 15m, 2h, 3d."),
    as_json: bool = typer.Option(False, "--json", help="The lines as they are."),
) -> None:  # fmt: skip
    """The last lines of a log, readable, and chosen; of several files together in the order of time."""
    from console import log_tail
    from console.log_choice import chooser
    from models.events import CATALOGUE
    from models.settings import read_settings

    choice = chooser(
        run=run, location=location, event=event, level=level, voucher=voucher, disbursement=disbursement, since=since,
        events=CATALOGUE, now=datetime.now(UTC),
    )  # fmt: skip
    paths = list(dict.fromkeys(files or [read_settings().log]))
    _require_readable(paths, follow=follow)
    count = lines if lines is not None else None if since or choice.disbursement_id is not None else LINES
    broken = log_tail.Broken()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with suppress(KeyboardInterrupt), _ending_quietly():
        if follow:
            rows = log_tail.follow(paths, choice, count=count, broken=broken, wait=log_tail.pause)
        else:
            rows = log_tail.last_rows(paths, choice, count=count, broken=broken)
        for row in rows:
            echo(log_tail.as_it_is(row.text) if as_json else log_tail.readable(row.line, colour=colour))
    if broken.count:
        note(str(broken))


@app.command()
def totals(files: list[Path] = FILES, as_json: bool = JSON) -> None:
    """Runs with their counts as `run status` has them, from log lines alone."""
    from console.log_totals import read_totals
    from console.tables import echo_runs, runs_as_json

    found = read_totals(files)
    _note_torn(found.torn)
    if found.from_seq > 1:
        note(f"these files begin at seq {found.from_seq}: runs that were over before it are not shown")
    if found.void:
        note(f"{found.void} lines were forgotten by a restored backup: they do not count")
    if as_json:
        echo_json({**runs_as_json(found.summaries), "from_seq": found.from_seq, "as_of_seq": found.as_of_seq})
        return
    echo_runs(found.summaries)
    note(f"as of seq {found.as_of_seq}; that nothing was changed is shown by: despensa logs verify FILE…")


@app.command()
def query(
    sql: str = typer.Argument(help="One SELECT over `log`, which has a column for every field."),
    files: list[Path] = FILES,
    as_json: bool = JSON,
    as_csv: bool = typer.Option(False, "--csv", help="Comma-separated, with a line of names."),
) -> None:
    """Ask the log in SQL: a table `log` of these files, each sealed line once. Reads nothing else and changes nothing.

    Fields that an event does not have are NULL; `timestamp` is a TIMESTAMP, UTC. Names with dots need quotes, such as
    "service.name". Questions to begin with are in deploy/LOG-EVENTS.md.
    """
    from console.log_answers import echo_csv, echo_json_rows, echo_rows
    from console.log_files import working
    from console.log_query import ask

    if as_json and as_csv:
        raise RefusedInput("--json and --csv are two forms of one answer: give one of them")
    with working() as connection, _ending_quietly():
        answer = ask(connection, sql, files)
        _note_torn(answer.torn)
        if answer.repeated:
            note(f"{answer.repeated} sealed lines are repeated; each counts once")
        if answer.void:
            note(f"{answer.void} sealed lines were forgotten by a restored backup, and are left out")
        (echo_json_rows if as_json else echo_csv if as_csv else echo_rows)(answer)


@app.command()
def verify(
    files: list[Path] = FILES,
    database: bool = typer.Option(False, "--database", help="Hold them against the seals in the database, too."),
    heads: list[str] = typer.Option([], "--head", help="A hash that was kept: the log must still have its line."),
    heads_files: list[Path] = typer.Option(
        [],
        "--heads",
        help="A file of heads that was kept, DESPENSA_HEADS_FILE of a scheduler: each must still be there.",
    ),
    as_json: bool = JSON,
) -> None:
    """Prove that no sealed line was changed, dropped, exchanged or added. Exit code 13 if one was.

    Says which places are missing and who wrote around them. Of operational lines, which nothing proves, it says whose
    are missing: a scheduler saw a process in the database of which these files have no line. That is no failure.
    """
    from console.log_verify import verify as verify_files
    from models.heads_file import read_heads

    kept = sorted({head for path in heads_files for head in read_heads(path)})
    found = verify_files(files, heads=heads, kept=kept)
    behind = _compare(found) if database else None
    _note_torn(found.torn)
    for absence in found.roll_call.absences():
        note(f"{shown(str(absence))}: add that host's files")
    if as_json:
        echo_json({**found.as_json(), **({} if behind is None else {"behind": behind})})
    elif found.agrees:
        _tell(found)
    if not found.agrees:
        raise BooksDisagree("the log does not hold:" + _told(found), hint=_mend(found))
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
    with entry(to_stdout=True, while_held=True) as desk, _ending_quietly():
        if emit_again(desk.database, desk.log, from_seq=from_seq, to_seq=to_seq) == 0:
            note(f"nothing is sealed from seq {from_seq} on")


@app.command()
def schema(
    markdown: bool = typer.Option(False, "--markdown", help="The reference page instead of the JSON Schema."),
    lnav: bool = typer.Option(False, "--lnav", help="The format file for lnav, a log viewer, instead."),
) -> None:
    """The JSON Schema of a line, or the page that explains every event, or the format file for lnav."""
    from console.log_lnav import lnav_format_text
    from console.log_reference import json_schema_text, reference_page

    if markdown and lnav:
        raise RefusedInput("--markdown and --lnav are two files: give one of them")
    typer.echo(reference_page() if markdown else lnav_format_text() if lnav else json_schema_text(), nl=False)


def _require_readable(paths: list[Path], *, follow: bool) -> None:
    """Raises NotFound for a file that is not there; a followed one may come, and must not be packed."""
    from console.log_verify import is_packed

    for path in paths:
        if not follow and not path.exists():
            raise NotFound(f"there is no log at {path}", hint="name a file: despensa logs tail FILE")
        if follow and path.exists() and is_packed(path):
            raise RefusedInput(f"{path} is packed: nothing comes to it any more", hint=f"despensa logs tail {path}")


def _compare(found: Verification) -> int:
    from console.log_verify import compare

    with entry(while_held=True) as desk, desk.database.reading() as tx:
        return compare(tx, found)


def _tell(found: Verification) -> None:
    echo(f"lines     {found.lines}, seq {found.first_seq} to {found.last_seq}; {found.repeated} repeated")
    echo(f"unsealed  {found.unsealed} operational lines, which nothing proves")
    for restore in found.restores:
        void = restore.forgotten_seq - restore.kept_seq
        echo(f"restored  after seq {restore.kept_seq}; {void} lines up to {restore.forgotten_seq} do not count")
    if found.kept_heads:
        echo(f"heads     {found.kept_heads} that were kept are where they were")
    if found.earlier_heads:
        echo(f"heads     {found.earlier_heads} that were kept are of places before these lines: not looked at")
    echo(f"hash      {found.hash}")
    echo("proven    " + ("from the first line of the log" if found.from_genesis else _anchor(found)))


def _anchor(found: Verification) -> str:
    if not found.lines:
        return "nothing: there is no sealed line"
    return f"from seq {found.first_seq + 1}; seq {found.first_seq} only with the line before it, or --database"


def _told(found: Verification) -> str:
    gaps = [f"{gap}" for gap in found.gaps[:GAPS_TOLD]]
    more = len(found.gaps) - len(gaps)
    lines = [*(str(fault) for fault in found.faults), *gaps, *([f"and {more} more gaps"] if more > 0 else [])]
    lines += [
        f"no line has the hash {head} that was kept: the log was cut off, or is another"
        for head in found.lost_heads[:GAPS_TOLD]
    ]
    return "".join(f"\n  {shown(line)}" for line in lines)


def _mend(found: Verification) -> str:
    if found.gaps:
        gap = found.gaps[0]
        emit_again = f"despensa logs emit --from {gap.first_seq} --to {gap.last_seq} > FILE"
        return f"add the files of the hosts that wrote around the gaps, or: {emit_again}"
    return "keep the files; write the same part again and compare: despensa logs emit --from SEQ --to SEQ"


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

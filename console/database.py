"""`despensa db`: make the database, bring it to this code's schema, look whether it is whole."""

from __future__ import annotations

from pathlib import Path

import typer

from console.backup import backup
from console.entry import echo, echo_json, note
from models.errors import Exit

app = typer.Typer(no_args_is_help=True, help="The database: create, upgrade, check, back up, go on after a restore.")


@app.command()
def upgrade(
    contract: bool = typer.Option(
        False, "--contract", help="Also what the release before cannot work with, once nobody of it is at work."
    ),
) -> None:
    """Create the database if there is none, and bring it to this code's schema. Repeating it changes nothing.

    The release before goes on working meanwhile and afterwards, until --contract.
    """
    from console.config import open_database
    from models import schema
    from models.settings import read_settings

    settings = read_settings()
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_database(settings) as database:
        before, after = schema.upgrade(database, contract=contract)
        found, name = schema.look_at(database), database.name
    if before == after:
        note(f"database {name} is at {after} already; nothing was changed")
    else:
        note(f"database {name} went from {before or 'empty'} to {after}")
    if found.hint:
        note(found.fact)
        note(f"hint: {found.hint}")


@app.command()
def check(as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output.")) -> int:
    """Whether this code works on the schema, and the database is whole. Exit 10 where it does not, or there is none."""
    from console.config import open_database
    from models import schema
    from models.settings import read_settings

    with open_database(read_settings()) as database:
        found, needed = schema.look_at(database), schema.head_revision()
        findings = schema.find_damage(database)
        warnings = _version_warnings(schema.server_major(database))
        name = database.name
    for warning in warnings:
        note(f"warning: {warning}")
    if as_json:
        echo_json(
            {
                "database": name, "revision": found.current, "revision_needed": needed, "usable": found.usable,
                "current": found.current == needed, "schema_fact": found.fact, "schema_hint": found.hint,
                "findings": findings, "warnings": warnings,
            }
        )  # fmt: skip
    else:
        echo(f"database  {name}")
        echo(f"schema    {found.current or 'empty'}, this code has {needed}: {found.fact}")
        echo(f"whole     {'yes' if not findings else '; '.join(findings)}")
    if found.hint:
        note(f"hint: {found.hint}")
    if not found.usable:
        return Exit.NO_DATABASE
    if findings:
        note("hint: stop all commands, and restore the last backup")
        return Exit.FAILED
    return Exit.DONE


@app.command()
def restored(
    files: list[Path] = typer.Argument(
        metavar="FILE", help="Every log file since the backup was made, of all hosts, in any order, plain or packed."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would be done, and change nothing."),
    incomplete: bool = typer.Option(False, "--incomplete", help="Go on though lines are lost for good: all runs wait."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> int:
    """Go on with a restored backup: compare it with the logs, and let it pay again. Stop everything else before.

    It learns from the logs what it has forgotten: no number is given twice, halted runs are halted again, an outside
    issuer is asked about every line that may have been sent, and closed-loop runs that it does not have wait for a
    person (exit 14). Says what people have to do again. Repeating it changes nothing.
    """
    from console.config import open_database
    from console.entry import kept_head
    from console.restored import go_on
    from models import schema
    from models.settings import read_settings

    settings = read_settings()
    with open_database(settings) as database, kept_head(settings) as kept:
        schema.require_current(database)
        return go_on(
            database, files, kept=kept, dry_run=dry_run, incomplete=incomplete, yes=yes, as_json=as_json
        )  # fmt: skip


def _version_warnings(major: int | None) -> list[str]:
    from models.schema import POSTGRESQL_MAX, POSTGRESQL_MIN

    if major is None or POSTGRESQL_MIN <= major <= POSTGRESQL_MAX:
        return []
    return [f"PostgreSQL {major} is not one of {POSTGRESQL_MIN} to {POSTGRESQL_MAX}, which are tested"]


app.command()(backup)

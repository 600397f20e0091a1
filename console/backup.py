"""`despensa db backup`: a backup of the database, while everybody goes on working."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from console.entry import echo, echo_json, note


def backup(
    folder: Path = typer.Argument(help="Where the file is written, on another disk than the database's."),
    keep: int | None = typer.Option(None, min=1, help="Afterwards, remove the oldest backups here beyond so many."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Write a backup: one new file, whole and verified before it gets its name. A month goes on meanwhile.

    PostgreSQL needs its pg_dump here, of the server's version or newer. What is restored pays nothing until
    despensa db restored has compared it with the logs.
    """
    from console.config import open_database
    from models.backup import save
    from models.events import DatabaseSaved
    from models.log import Log
    from models.settings import read_settings

    settings = read_settings()
    with open_database(settings) as database:
        saved = save(database, folder, now=datetime.now(UTC), keep=keep)
    with Log.to_file(settings.log, "despensa") as log:
        log.observe(
            DatabaseSaved(file=saved.path.name, bytes=saved.size, head_seq=saved.head_seq, file_digest=saved.digest)
        )
    if as_json:
        echo_json(
            {
                "path": str(saved.path), "bytes": saved.size, "head_seq": saved.head_seq, "sha256": saved.digest,
                "removed": [str(path) for path in saved.removed],
            }
        )  # fmt: skip
        return
    echo(f"{saved.digest}  {saved.path}")
    note(f"{saved.size:,} bytes; its journal ends at {saved.head_seq}")
    for path in saved.removed:
        note(f"removed {path.name}")
    note("It holds registration ids: keep it as you keep the database. The key files are backed up apart from it.")

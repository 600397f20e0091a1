"""The command `despensa rehearse`."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import typer

from console.entry import echo, note
from models.errors import Exit, Misconfigured, RefusedInput
from models.outgoing import LOOPBACK, SETTING

#: In the system's temporary folder, where nothing of an installation lies; the user's number follows.
FOLDER = "despensa-rehearsal"


def rehearse(
    trouble: str = typer.Argument("", help="Which one; without it they are listed."),
    check: bool = typer.Option(False, "--check", help="Whether it is mended: exit 0 if so, 1 if not."),
    folder: Path | None = typer.Option(None, help="Where to work; by default a temporary folder of yours."),
) -> int:
    """Practise: make one of the ten likeliest troubles on a small installation of invented families, and mend it."""
    from console.rehearsal.site import Site
    from console.rehearsal.troubles import TROUBLES, find

    if not trouble:
        from console.tables import echo_table

        echo_table(("trouble", "what you notice"), [(each.name, each.title) for each in TROUBLES])
        note("begin: despensa rehearse TROUBLE")
        return Exit.DONE
    chosen = find(trouble)
    if chosen is None:
        names = ", ".join(each.name for each in TROUBLES)
        raise RefusedInput(f"there is no trouble {trouble!r} to rehearse", hint=f"one of: {names}")
    site = Site(_own(folder or Path(tempfile.gettempdir()) / f"{FOLDER}-{os.geteuid()}") / trouble)
    if check:
        if not site.database.exists():
            raise Misconfigured(f"{trouble} was not begun in {site.home}", hint=f"despensa rehearse {trouble}")
        remains = chosen.remains(site)
        echo(f"not yet: {remains}" if remains else "mended")
        return Exit.FAILED if remains else Exit.DONE
    if site.home.exists():
        if not site.database.exists():
            raise RefusedInput(f"{site.home} is there, and is no rehearsal", hint="choose another --folder")
        shutil.rmtree(site.home)  # begun before: begin anew
    note(f"making it in {site.home}")
    chosen.make(site)
    echo(chosen.title)
    echo(f"look      {chosen.look}")
    echo(f"read      deploy/RUNBOOK.md, {chosen.section}")
    echo(f"work with DESPENSA_HOME={site.home} {SETTING}={LOOPBACK} ./despensa …   its files: {site.programme}")
    echo(f"mended?   ./despensa rehearse {trouble} --check" + (f" --folder {folder}" if folder else ""))
    return Exit.DONE


def _own(folder: Path) -> Path:
    """The folder, absolute, made where it is missing. Raises RefusedInput where anybody else could have laid anything.

    Everybody can foresee its name, and write in the temporary folder: a link in it could lead to a real installation,
    which would be rehearsed on.
    """
    folder = folder.absolute()
    if not os.path.lexists(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise RefusedInput(
            f"{folder} is no folder of yours alone",
            hint=f"if it is yours: chmod 700 {folder}; else choose another --folder",
        )
    return folder

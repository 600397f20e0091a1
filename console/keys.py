"""`despensa keys`: the keys from which PINs and the stores' secrets are derived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from console.entry import echo, note
from models.errors import RefusedByState

if TYPE_CHECKING:
    from models.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The key files.")


@app.callback()
def _keys() -> None:
    """Keeps `init` a word of its own while it is the only one."""


@app.command()
def init() -> None:
    """Make the key files that are missing, readable by nobody else. An existing key is never touched.

    The database is asked first whether vouchers rest on a key that is missing; exit 10 where it does not answer.
    """
    from models.keys import KINDS, init_keys, key_path
    from models.settings import read_settings

    settings = read_settings()
    paths = [key_path(settings.keys, kind) for kind in KINDS]
    missing = [kind for kind in KINDS if not key_path(settings.keys, kind).exists()]
    needed = _needed(settings, missing)
    if needed:
        # A new key would give vouchers that exist other PINs, or what an issuer credited another reference.
        path = key_path(settings.keys, needed)
        raise RefusedByState(
            f"vouchers were credited with the keys of another host, and {path} is missing here",
            hint=f"copy the key files from there, or from their backup, into {settings.keys}",
        )
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = init_keys(settings.keys)
    for path in paths:
        echo(f"{'made' if path in made else 'kept'}  {path}")
    if made:
        note(
            "Back these files up now, apart from the database: without them no PIN and no signature can be made again."
        )
        note("Every host that runs workers or exports vouchers needs the same files, with mode 0600.")


def _needed(settings: Settings, missing: list[str]) -> str:
    """The first missing kind on which something in the database rests already; keys may be made before there is one.

    Raises NoDatabase where it cannot be asked: on a host that lost its keys in an outage, new ones would be made.
    """
    from console.config import open_database
    from models.schema import is_new, require_current
    from models.tables import Intent, Voucher

    if not missing:
        return ""
    with open_database(settings) as database:
        if is_new(database):
            return ""
        require_current(database)
        with database.reading() as tx:
            rests = {"reference": bool(tx.list(Intent, limit=1))}
            vouchers = bool(tx.list(Voucher, limit=1))
    return next((kind for kind in missing if rests.get(kind, vouchers)), "")

"""`despensa keys`: the keys from which PINs, stores' secrets, references, and the HMACs of persons are derived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from console.entry import confirm, echo, kept_head, note
from models.errors import NoDatabase, RefusedByState, RefusedInput, Restored

if TYPE_CHECKING:
    from models.keys import KeyRing
    from models.settings import Settings
    from models.storage import Database, Tx

app = typer.Typer(no_args_is_help=True, help="The key files: make, rotate, retire.")

KIND = typer.Argument(help="pin, webhook, person or certificate.")

#: What follows a new version, by kind. The order matters: who credits or sends with a version must not come before
#: those who have to know it.
STEPS = {
    "pin": """\
1. Back it up, and copy it to every desk that exports vouchers: without it an export is refused.
2. Then copy it to every host with workers, and restart them. Vouchers that exist keep their PINs; those credited from
   then on have PINs of version {new}.
3. Once the last voucher of version {old} has expired: despensa keys retire pin {old}""",
    "webhook": """\
1. Back it up, copy it to every host with workers, and restart them: they sign with each version in the file.
2. Then give each store its new secret: despensa store secret STORE
3. Once every store verifies with it: despensa keys retire webhook {old}""",
    "person": """\
1. Back it up, and copy it to every desk that imports families, before any of them imports again.
2. Import every file with a person_key again; `despensa keys rotate person` says how many enrolments are left.
3. Once none is: despensa keys retire person {old}""",
    "certificate": """\
1. Back it up, copy it to every desk that signs certificates, and give donors the new public key.
2. A cycle that has a certificate keeps its version; cycles after it are signed with version {new}.""",
}


@app.command()
def init() -> None:
    """Make the key files that are missing, readable by nobody else. An existing key is never touched.

    The database is asked first whether a key that is missing was made elsewhere, or something rests on it; exit 10
    where it does not answer.
    """
    from models.key_files import held
    from models.key_rotation import make, record
    from models.keys import KINDS, key_path, load_keys
    from models.settings import read_settings

    settings = read_settings()
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _database(settings) as database:
        settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(settings.keys):
            missing = [kind for kind in KINDS if not key_path(settings.keys, kind).exists()]
            kept = [load_keys(settings.keys, kind) for kind in KINDS if kind not in missing]
            if database is not None:
                _refuse_second(database, settings, missing)
                for each in kept:
                    record(database, each)
            for kind in missing:
                make(database, settings.keys, kind)
    for kind in KINDS:
        echo(f"{'made' if kind in missing else 'kept'}  {key_path(settings.keys, kind)}")
    if missing:
        note(
            "Back these files up now, apart from the database: without them no PIN and no signature can be made again."
        )
        note(
            "Every host with workers needs pin.key, webhook.key and reference.key, every desk all of them; the same "
            "files, with mode 0600, and never made anew there."
        )


@app.command()
def rotate(kind: str = KIND) -> None:
    """Make the next version of a key, and say what has to follow. Repeated, it says what is left.

    No further version is made before the last one is carried through: until something rests on it; for the person key
    also until no enrolment rests on an earlier one. Killed anywhere, it goes on where it was when it is repeated.
    """
    from models.key_rotation import rotate as make_next
    from models.keys import key_path
    from models.settings import read_settings

    _require_rotated(kind)
    settings = read_settings()
    with _database(settings) as database:
        rotation = make_next(_there(database), settings.keys, kind)
    _echo_versions("made" if rotation.made else "kept", key_path(settings.keys, kind), rotation.keys)
    if rotation.left:
        note(f"the last rotation is not finished: {rotation.left}")
    *earlier, latest = rotation.keys.versions
    note(STEPS[kind].format(new=latest, old=earlier[-1]))


@app.command()
def retire(
    kind: str = KIND,
    version: int = typer.Argument(min=1, help="The version to take out of the key file."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Take a version on which nothing rests any more out of the key file. To be repeated on every host that has it.

    Refused while a voucher of it is valid, an enrolment rests on it, or a certificate was signed with it.
    """
    from models.key_rotation import require_unused
    from models.key_rotation import retire as take_out
    from models.keys import key_path
    from models.settings import read_settings

    _require_rotated(kind)
    settings = read_settings()
    with _database(settings) as found:
        database = _there(found)
        with database.reading() as tx:
            require_unused(tx, kind, version)
        stores = " Stores that still verify with it refuse their notices from then on." if kind == "webhook" else ""
        confirm(f"Take version {version} out of {key_path(settings.keys, kind)} for good?{stores}", yes=yes)
        rest = take_out(database, settings.keys, kind, version)
    _echo_versions("kept", key_path(settings.keys, kind), rest)
    note("Repeat this on every host that has the file, and take it out of backups. " + _restart(kind))


@contextmanager
def _database(settings: Settings) -> Iterator[Database | None]:
    """The database, None before there is one. No log is opened: root makes the keys of a service that is not root.

    Raises NoDatabase where it cannot be asked (on a host that lost its keys in an outage, new ones would be made), and
    Restored where its journal may not go on.
    """
    from console.config import open_database
    from models.custody import COMPARE, examine
    from models.schema import is_new, require_current

    with open_database(settings) as database:
        if is_new(database):
            yield None
            return
        require_current(database)
        with kept_head(settings) as kept:
            found = examine(database, kept)
        if found.reason:
            raise Restored(f"the keys of {database.name} stay as they are: {found.reason}", hint=COMPARE)
        yield database


def _there(database: Database | None) -> Database:
    if database is None:
        raise NoDatabase("there is no database yet, so nothing rests on a key", hint="despensa db upgrade")
    return database


def _refuse_second(database: Database, settings: Settings, missing: list[str]) -> None:
    """Raises RefusedByState where something rests on a key that is missing here.

    A new one would give vouchers that exist other PINs, what an issuer credited another reference, and a person who is
    enrolled already another HMAC.
    """
    from models.keys import key_path

    with database.reading() as tx:
        needed = next((kind for kind in missing if _rests(tx, kind)), None)
    if needed is not None:
        raise RefusedByState(
            f"{key_path(settings.keys, needed)} is missing here, and something rests on that of another host",
            hint=f"copy the key files from there, or from their backup, into {settings.keys}",
        )


def _rests(tx: Tx, kind: str) -> bool:
    from models.key_rotation import uses_of
    from models.tables import Intent, Voucher

    if kind in ("pin", "webhook"):
        return bool(tx.list(Voucher, limit=1))
    if kind == "reference":
        return bool(tx.list(Intent, limit=1))
    return bool(uses_of(tx, kind))


def _require_rotated(kind: str) -> None:
    """Raises RefusedInput for what is no kind, and for the kind that is never rotated."""
    from models.key_rotation import ROTATED_KINDS

    if kind == "reference":
        raise RefusedInput(
            "the reference key is never rotated: an issuer knows what it credited by references that are derived from "
            "it, and would credit a family again under another one",
            hint="deploy/SECURITY.md, Keys, says what to do where it leaked",
        )
    if kind not in ROTATED_KINDS:
        raise RefusedInput("there is no such kind of key", hint=f"one of {', '.join(ROTATED_KINDS)}")


def _echo_versions(what: str, path: Path, keys: KeyRing) -> None:
    *earlier, latest = keys.versions
    besides = f", besides {', '.join(map(str, earlier))}" if earlier else ""
    echo(f"{what}  {path}  version {latest}{besides}")


def _restart(kind: str) -> str:
    return "Restart its workers: they keep what they began with." if kind in ("pin", "webhook") else ""

"""A backup of the database: one new file, whole, verified, and of one instant, while workers go on.

SQLite is copied by its own online backup; the copy says that it is one, so that it pays nothing where it is put back.
PostgreSQL is dumped by `pg_dump`; a dump lies in another place wherever it is restored, and pays nothing there.
"""

import hashlib
import os
import platform
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from models import schema
from models.custody import BACKUP_OF, GET_CUSTODY, HOLD, current_place, get_head
from models.errors import DespensaError, Misconfigured, NoDatabase, RefusedInput
from models.storage import Database, Query
from models.whole_files import name_it, sync_folder

#: The schema that has custody: an older one cannot be marked as a backup.
REVISION_MIN = "0004"
#: Where Debian keeps PostgreSQL's programs, one folder for each major version.
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
SUFFIXES = {"sqlite": "sqlite3", "postgresql": "dump"}
TOLD_MAX = 200
#: Of the mark in a file's name, hexadecimal: two installations have the same once in four thousand million.
MARK_DIGITS = 8

WAIT_FOR_DUMP = Query("""
-- wait_for_dump: however long pg_dump takes, the transaction whose snapshot it has stays open
SET LOCAL idle_in_transaction_session_timeout = 0
""")

EXPORT_SNAPSHOT = Query("""
-- export_snapshot: what this transaction sees, for pg_dump to see the same
SELECT pg_export_snapshot()
""")


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that was written."""

    path: Path
    size: int  #: bytes
    head_seq: int  #: of the journal in it
    digest: str  #: SHA-256
    removed: tuple[Path, ...]  #: older ones that were too many


def save(database: Database, folder: Path, *, now: datetime, keep: int | None = None) -> Backup:
    """Write a backup to `folder`, and then remove its own oldest beyond `keep`.

    The file is whole, on the disk and verified before it gets its name, which says when and of which schema; nothing is
    overwritten. Raises NoDatabase without a database, AnotherCommandAtWork beside another `db` command, Misconfigured
    without a pg_dump that is new enough, RefusedInput where the folder does not do, and DespensaError where the backup
    failed, or the database is damaged.
    """
    revision = schema.current_revision(database)
    if revision is None or revision < REVISION_MIN:
        raise NoDatabase(f"the database {database.name} is empty, or older than backups", hint="despensa db upgrade")
    if not folder.is_dir():
        raise RefusedInput(f"there is no folder {folder}", hint=f"mkdir -p -m 700 {folder}")
    prefix, suffix = f"{_own_name(database)}-", SUFFIXES[database.dialect]
    path = folder / f"{prefix}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{revision}.{suffix}"
    if path.exists() or path.is_symlink():
        raise RefusedInput(f"{path} exists; a backup is never overwritten", hint="repeat it a second later")
    with schema.alone(database):
        # Nobody else writes one of this database: what is half-written was left by one that was killed.
        for left in folder.glob(f".{prefix}*.part*"):
            left.unlink()
        part = folder / f".{path.name}.part"
        try:
            _make_private(part)
            head_seq = _copy(database, part, now=now) if suffix == "sqlite3" else _dump(database, part)
            size, digest = _finish(part)
            name_it(part, path)
        except OSError as error:
            raise DespensaError(
                f"{path} cannot be written: {error.strerror}", hint="make room, or choose another folder"
            ) from None
        finally:
            part.unlink(missing_ok=True)
        removed = _remove_oldest(path, prefix=prefix, suffix=suffix, keep=keep) if keep is not None else ()
    return Backup(path, size, head_seq, digest, removed)


def find_programs(major: int) -> tuple[Path, Path]:
    """pg_dump and pg_restore of the lowest version that dumps a server of this one: of PATH, or of Debian.

    Raises Misconfigured where there is none, or only older ones, which refuse a newer server.
    """
    found: list[tuple[int, Path]] = []
    on_path = shutil.which("pg_dump")
    candidates = [Path(on_path)] if on_path else []
    for dump in [*candidates, *sorted(DEBIAN_PROGRAMS.glob("*/bin/pg_dump"))]:
        version = _major_of(dump)
        if version is not None and dump.with_name("pg_restore").exists():
            found.append((version, dump))
    enough = sorted((each for each in found if each[0] >= major), key=lambda each: each[0])
    if enough:
        return enough[0][1], enough[0][1].with_name("pg_restore")
    there = f"only that of {max(version for version, _ in found)} is here" if found else "there is none here"
    raise Misconfigured(
        f"a backup of PostgreSQL {major} needs pg_dump of {major} or newer: {there}",
        hint=f"apt-get install postgresql-client-{major}, or put the folder of its programs on PATH",
    )


def _own_name(database: Database) -> str:
    """Of the database, in a file's name, with a mark of where it lies: no two in one folder are taken for one.

    Most are called the same. One that is put back elsewhere is another one, and leaves the backups it came from alone.
    """
    url = database.url
    name = re.sub(r"[^A-Za-z0-9_]", "_", Path(str(url.database)).stem)
    if database.dialect == "sqlite":
        where = f"{platform.node()} {Path(str(url.database)).resolve()}"
    else:
        with database.reading() as tx:
            where = f"{url.host} {url.port} {current_place(tx)}"
    return f"{name}-{hashlib.sha256(where.encode()).hexdigest()[:MARK_DIGITS]}"


def _make_private(part: Path) -> None:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise RefusedInput(f"{part.parent} cannot keep a file from others", hint="choose a folder on a local disk")
    finally:
        os.close(descriptor)


def _copy(database: Database, part: Path, *, now: datetime) -> int:
    """SQLite's online backup, in one step: it reads one instant, and nobody waits for it. Returns the head in it."""
    try:
        with closing(sqlite3.connect(str(database.url.database))) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            with copy:
                copy.execute(str(HOLD.on("sqlite")), {"reason": now.astimezone(UTC).strftime(BACKUP_OF)})
            findings = [str(row[0]) for row in copy.execute(str(schema.CHECK_INTEGRITY.on("sqlite")))]
            head_seq = int(copy.execute(str(GET_CUSTODY.on("sqlite"))).fetchone()[2])
    except sqlite3.Error as error:
        raise DespensaError(
            f"{database.name} could not be copied: {type(error).__name__} {error.sqlite_errorname}",
            hint="is the disk full? nothing was kept; despensa db check",
        ) from None
    if findings != ["ok"]:
        raise DespensaError(
            f"{database.name} is damaged, and its copy was not kept",
            hint="stop all commands, and restore the last backup: despensa db check",
        )
    return head_seq


def _dump(database: Database, part: Path) -> int:
    """`pg_dump`, then all of the file read again by `pg_restore`. Returns the head in it."""
    major = schema.server_major(database)
    assert major is not None
    dump, restore = find_programs(major)
    with database.reading() as tx:
        tx.execute(WAIT_FOR_DUMP)
        head_seq = get_head(tx).seq
        snapshot = tx.scalar(EXPORT_SNAPSHOT)
        # Without large objects: despensa has none, and one that a login made for itself nobody else may read.
        _run(database.url, dump, "--format=custom", "--no-blobs", f"--snapshot={snapshot}", f"--file={part}")
    # Not only its list of contents, which stands at its beginning: what a full disk cut short has one, too.
    _run(None, restore, "--file=/dev/null", str(part))
    return head_seq


def _run(url: URL | None, program: Path, *words: str) -> None:
    """One of PostgreSQL's programs. Of its connection nothing secret stands on the command line."""
    connection = [] if url is None else [f"--dbname={_without_secrets(url)}", "--no-password"]
    secret = None if url is None else url.password or url.query.get("password")
    password = {} if secret is None else {"PGPASSWORD": str(secret)}
    ended = subprocess.run(  # noqa: S603  # found by find_programs
        [program, *connection, *words], env={**os.environ, **password}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, text=True,
    )  # fmt: skip
    if ended.returncode:
        told = next(iter(ended.stderr.splitlines()), "it says nothing")[:TOLD_MAX]
        raise DespensaError(f"{program.name} failed: {told}", hint="nothing was kept; despensa doctor")


def _without_secrets(url: URL) -> str:
    query = {name: value for name, value in url.query.items() if name not in ("password", "sslpassword")}
    plain = URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
    return plain.render_as_string(hide_password=False)


def _finish(part: Path) -> tuple[int, str]:
    """To the disk. Returns size and SHA-256."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size, digest


def _remove_oldest(newest: Path, *, prefix: str, suffix: str, keep: int) -> tuple[Path, ...]:
    """Of this database's own backups, by the instant in their names. What a clock has set back stays the newest."""
    form = re.compile(rf"{re.escape(prefix)}\d{{8}}T\d{{6}}Z-\w+\.{suffix}")
    others = sorted(each for each in newest.parent.iterdir() if form.fullmatch(each.name) and each != newest)
    removed = tuple(others[: max(0, len(others) + 1 - keep)])
    for each in removed:
        each.unlink()
    sync_folder(newest.parent)
    return removed


def _major_of(program: Path) -> int | None:
    """Debian's own pg_dump on PATH is a door to the newest that is installed, and says that one's version."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, check=False, text=True).stdout  # noqa: S603  # as above
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", told)
    return int(found[1]) if found else None

"""Where this database lies, and whether it may pay.

A database that was restored, or copied, has forgotten payments: it pays nothing until `db restored` has compared it
with the logs. It is known by two things. It lies in another place than where it was last found whole; or a head of the
journal that was kept outside is not in it. Whoever notices writes so into the database, `held`, which workers ask at
every take. So those stop, too, that have noticed nothing.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError

from models.errors import Restored
from models.events import DatabaseHeld, Observed
from models.kept_head import Head, KeptHead
from models.storage import Database, Query, Tx

#: A part of a place that this login may not know: as good as any.
UNKNOWN = "-"
#: What a SQLite backup says of itself, with its instant in UTC.
BACKUP_OF = "this is a backup of %Y-%m-%d %H:%M:%S UTC"
#: What mends it.
COMPARE = "despensa db restored LOG…, with every log file since the backup"

MAY_KNOW_SYSTEM = Query("""
-- may_know_system: whether this login may ask which cluster it is in
SELECT has_function_privilege('pg_control_system()', 'EXECUTE')
""")

GET_SYSTEM = Query("""
-- get_system: which cluster this is; a standby has the same, whatever was made by initdb another one
SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()
""")

GET_OID = Query("""
-- get_oid: which database of its cluster this is; one that was made anew under the old name has another
SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database()
""")

GET_CUSTODY = Query("""
-- get_custody: where the database was last found whole, why it is held, and how far its journal has come
SELECT c.place, c.held, h.seq, h.hash FROM custody c JOIN journal_head h ON h.id = c.id WHERE c.id = 1
""")

FIND_SEAL = Query("""
-- find_seal: the hash at a place of the journal
SELECT hash FROM seal WHERE seq = :seq
""")

FILL_PLACE = Query("""
-- fill_place: of a database that is new, or that comes from before there were places
UPDATE custody SET place = :place WHERE id = 1 AND place = ''
""")

HOLD = Query("""
-- hold: nothing is paid from now on; the first reason stays
UPDATE custody SET held = :reason WHERE id = 1 AND held = ''
""")

RELEASE = Query("""
-- release: it is whole, and lies here
UPDATE custody SET place = :place, held = '' WHERE id = 1
""")


@dataclass(frozen=True, slots=True)
class Custody:
    """What a look came to."""

    reason: str  #: why nothing may be paid; empty where it may
    head_seq: int  #: of the database's journal
    kept_seq: int  #: of the furthest head that was kept; 0 without one


def current_place(tx: Tx) -> str:
    """Where the database is now: cluster and database on PostgreSQL. A SQLite file cannot tell: its copy is marked."""
    if tx.dialect == "sqlite":
        return "sqlite"
    system = tx.scalar(GET_SYSTEM) if tx.scalar(MAY_KNOW_SYSTEM) else UNKNOWN
    return f"{system}/{tx.scalar(GET_OID)}"


def examine(database: Database, kept: KeptHead) -> Custody:
    """Whether the database is the one that it was. Changes nothing."""
    heads = kept.heads()  # first: another scheduler may seal, and keep, between the two looks
    with database.reading() as tx:
        row = tx.one(GET_CUSTODY)
        head = Head(int(row.seq), str(row.hash))
        reason = str(row.held) or _moved(str(row.place), current_place(tx)) or _forgotten(tx, head, heads)
    return Custody(reason, head.seq, heads[0].seq if heads else 0)


def find_reason(database: Database, kept: KeptHead) -> str:
    """Why nothing may be paid; empty where it may. Changes nothing."""
    return examine(database, kept).reason


def require_whole(database: Database, kept: KeptHead, *, tell: Callable[[Observed], None]) -> None:
    """Raises Restored where nothing may be paid, after it was written into the database and told to the log."""
    found = examine(database, kept)
    if not found.reason:
        return
    with suppress(DBAPIError), database.transaction() as tx:  # whoever may not write there stops all the same
        hold(tx, found.reason)
    with suppress(OSError):  # a full disk makes nothing whole
        tell(DatabaseHeld(reason=found.reason, head_seq=found.head_seq, kept_seq=found.kept_seq))
    raise Restored(f"nothing is paid from {database.name}: {found.reason}", hint=COMPARE)


def hold(tx: Tx, reason: str) -> None:
    """From this transaction on no batch is taken. The first reason stays."""
    tx.execute(HOLD, reason=reason)


def release(tx: Tx) -> None:
    """The database is whole, and lies where it is now: batches are taken again."""
    tx.execute(RELEASE, place=current_place(tx))


def fill_place(tx: Tx) -> None:
    """Of a database that has none: a new one, or one that was upgraded to have one."""
    tx.execute(FILL_PLACE, place=current_place(tx))


def find_backup_instant(tx: Tx) -> datetime | None:
    """When this database was backed up, if it says that it is a backup; nothing in it is newer."""
    try:
        return datetime.strptime(str(tx.one(GET_CUSTODY).held), BACKUP_OF).replace(tzinfo=UTC)
    except ValueError:
        return None


def get_head(tx: Tx) -> Head:
    """How far the journal is sealed."""
    row = tx.one(GET_CUSTODY)
    return Head(int(row.seq), str(row.hash))


def _moved(stored: str, current: str) -> str:
    parts = zip(stored.split("/"), current.split("/"), strict=False)
    same = stored.count("/") == current.count("/") and all(was == now or UNKNOWN in (was, now) for was, now in parts)
    if same:
        return ""
    return f"it lies at {current}, and was found whole at {stored or 'no place'}: it was restored, or copied"


def _forgotten(tx: Tx, head: Head, heads: list[Head]) -> str:
    for kept in heads:
        if kept == head:
            continue
        if kept.seq > head.seq:
            return f"its journal ends at {head.seq}, and was at {kept.seq} already: it was restored, or lost its end"
        # A place that is missing is one that `db restored` has left out: the logs knew it, the backup did not.
        if tx.scalar(FIND_SEAL, seq=kept.seq) not in (None, kept.hash):
            return f"its journal has another line at {kept.seq} than it had: it was restored, and went on"
    return ""

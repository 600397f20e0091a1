"""Who was seen: schedulers and workers record every minute that they are alive."""

import os
import socket
from datetime import timedelta

from models.storage import Database, Query, seconds

#: One that was not seen for so long is not there: two minutes and a half, for a sighting a minute.
SEEN_WITHIN_S = 150

SEE = Query("""
-- see: a scheduler or worker was here
INSERT INTO sighting (role, instance, seen_at, revision) VALUES (:role, :instance, :now, :revision)
ON CONFLICT (role, instance) DO UPDATE SET seen_at = excluded.seen_at, revision = excluded.revision
""")

COUNT_SEEN = Query("""
-- count_seen: how many of a role were seen lately
SELECT COUNT(*) FROM sighting WHERE role = :role AND seen_at >= :since_at
""")

LIST_SEEN = Query("""
-- list_seen: who was seen lately, by role
SELECT role, instance FROM sighting WHERE seen_at >= :since_at ORDER BY role, instance LIMIT 1000
""")

LIST_OLDER = Query("""
-- list_older: who was seen lately whose code knows fewer migrations
SELECT role, instance FROM sighting WHERE seen_at >= :since_at AND revision < :revision
ORDER BY role, instance LIMIT 1000
""")

LAST_SEEN = Query("""
-- last_seen: when any of a role was last here
SELECT MAX(seen_at) AS seen_at FROM sighting WHERE role = :role
""")


def see(database: Database, role: str) -> None:
    """Record that this scheduler or worker is alive, and of which code it is."""
    from models.schema import head_revision  # Alembic takes its time to import, and who reads logs does without

    with database.transaction() as tx:
        tx.commit_asynchronously()
        tx.execute(SEE, role=role, instance=instance(), now=tx.now, revision=head_revision())


def seen_lately(database: Database, role: str) -> int:
    """How many schedulers or workers were seen lately."""
    with database.reading() as tx:
        return int(tx.scalar(COUNT_SEEN, role=role, since_at=tx.now - seconds(SEEN_WITHIN_S)))


def roll_call(database: Database) -> dict[str, list[str]]:
    """Who was seen lately: instances by role."""
    with database.reading() as tx:
        rows = tx.all(LIST_SEEN, since_at=tx.now - seconds(SEEN_WITHIN_S))
    return {role: [row.instance for row in rows if row.role == role] for role in ("scheduler", "worker")}


def list_older(database: Database, revision: str) -> list[str]:
    """Who was seen lately whose code does not know this migration: `worker HOST:PID`."""
    with database.reading() as tx:
        rows = tx.all(LIST_OLDER, since_at=tx.now - seconds(SEEN_WITHIN_S), revision=revision)
    return [f"{row.role} {row.instance}" for row in rows]


def last_sighting(database: Database, role: str) -> timedelta | None:
    """How long ago any scheduler or worker was last seen; None where none ever was."""
    with database.reading() as tx:
        seen_at = tx.scalar(LAST_SEEN, role=role)
        return None if seen_at is None else tx.now - seen_at


def instance() -> str:
    """This process, as the log names it."""
    return f"{socket.gethostname()}:{os.getpid()}"

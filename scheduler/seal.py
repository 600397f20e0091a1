"""Sealing gives committed events their place in the log and chains them; emitting writes them as lines.

Any scheduler seals, one at a time: the head row's lock decides. What has no seal is asked by an anti-join, never
by a watermark: a transaction that took its journal id early may commit late, and must not be passed over.
"""

from typing import Any

import orjson
from sqlalchemy import Row

from models.columns import instant_text
from models.journal import chain_hash, line
from models.log import Line, Log
from models.storage import Database, Query

#: Events sealed in one transaction, lines written between two syncs.
CHUNK = 1000
#: Beyond every place.
SEQ_MAX = 2**63 - 1

LOCK_HEAD = Query("""
-- lock_head: the last seal; one sealer at a time
SELECT seq, hash FROM journal_head WHERE id = 1 FOR UPDATE
""")

LIST_UNSEALED = Query("""
-- list_unsealed: committed events without a place in the log, oldest first
SELECT j.id, j.event, j.recorded_at, j.fields FROM journal j
WHERE NOT EXISTS (SELECT 1 FROM seal s WHERE s.journal_id = j.id) ORDER BY j.id LIMIT :limit
""")

INSERT_SEAL = Query("""
-- insert_seal: an event's place, and the hash over the hash before it
INSERT INTO seal (seq, journal_id, prev_hash, hash) VALUES (:seq, :journal_id, :prev_hash, :hash)
""")

MOVE_HEAD = Query("""
-- move_head: the last seal is now this one
UPDATE journal_head SET seq = :seq, hash = :hash WHERE id = 1
""")

GET_EMITTED = Query(
    "-- get_emitted: how far the log has been written\nSELECT emitted_seq FROM journal_head WHERE id = 1"
)

LIST_SEALED = Query("""
-- list_sealed: sealed events between two places, in order; there are none where a restored backup has left some out
SELECT s.seq, s.hash, j.event, j.level, j.recorded_at, j.fields FROM seal s JOIN journal j ON j.id = s.journal_id
WHERE s.seq > :after_seq AND s.seq <= :to_seq ORDER BY s.seq LIMIT :limit
""")

MARK_EMITTED = Query("""
-- mark_emitted: the log has been written so far; never backwards
UPDATE journal_head SET emitted_seq = :seq WHERE id = 1 AND emitted_seq < :seq
""")


def seal(database: Database, *, limit: int = CHUNK) -> int:
    """Seal up to `limit` committed events in one short transaction. Returns how many; 0 when none is left."""
    with database.reading() as tx:
        if not tx.all(LIST_UNSEALED, limit=1):
            return 0  # on SQLite, asking costs no writer's turn
    with database.transaction() as tx:
        head = tx.one(LOCK_HEAD)
        seq, prev_hash = int(head.seq), str(head.hash)
        seals: list[dict[str, object]] = []
        for row in tx.all(LIST_UNSEALED, limit=limit):
            seq += 1
            digest = chain_hash(
                prev_hash,
                seq=seq,
                event=row.event,
                timestamp=instant_text(row.recorded_at),
                fields=orjson.loads(row.fields),
            )
            seals.append({"seq": seq, "journal_id": row.id, "prev_hash": prev_hash, "hash": digest})
            prev_hash = digest
        tx.execute_many(INSERT_SEAL, seals)
        if seals:
            tx.execute(MOVE_HEAD, seq=seq, hash=prev_hash)
    return len(seals)


def emit(database: Database, log: Log) -> int:
    """Write sealed events that no log has yet, and mark them after the write: at least once. Returns how many."""
    with database.reading() as tx:
        after_seq = int(tx.scalar(GET_EMITTED))
    count = 0
    while True:
        last_seq = _write(database, log, after_seq=after_seq)
        if last_seq == after_seq:
            return count
        with database.transaction() as tx:
            tx.execute(MARK_EMITTED, seq=last_seq)
        count += last_seq - after_seq
        after_seq = last_seq


def emit_again(database: Database, log: Log, *, from_seq: int, to_seq: int | None = None) -> int:
    """Write sealed events once more, anywhere, up to `to_seq` or the end; marks nothing. Returns how many places."""
    after_seq = from_seq - 1
    while (last_seq := _write(database, log, after_seq=after_seq, to_seq=to_seq or SEQ_MAX)) > after_seq:
        after_seq = last_seq
    return after_seq - (from_seq - 1)


def sealed_line(row: Row[Any], log: Log) -> Line:
    """A sealed event as its line shows it."""
    timestamp = instant_text(row.recorded_at)
    head = line(row.event, timestamp=timestamp, level=row.level, writer=log.writer)
    return {**head, **orjson.loads(row.fields), "seq": row.seq, "hash": row.hash}


def _write(database: Database, log: Log, *, after_seq: int, to_seq: int = SEQ_MAX) -> int:
    """One chunk of lines, on the disk when this returns. Returns the last place written, or `after_seq`."""
    with database.reading() as tx:
        rows = tx.all(LIST_SEALED, after_seq=after_seq, to_seq=to_seq, limit=CHUNK)
    for row in rows:
        log.write(sealed_line(row, log))
    if rows:
        log.sync()
        return int(rows[-1].seq)
    return after_seq

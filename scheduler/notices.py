"""Which notices to send now: oldest first, one at a time for each store, none to a store whose breaker is open."""

from collections.abc import Sequence

from models.errors import NotFound
from models.events import NoticeResent
from models.journal import append
from models.runs import of_run
from models.storage import Query, Tx, seconds
from models.tables import Notice, Run

#: As dispatch.RESEND_S: without a live lease, a notice is sent again so long after its stamp.
RESEND_S = 10

LIST_DUE_NOTICES = Query("""
-- list_due_notices: of each store that is not busy and not cut off, its oldest due notice
SELECT MIN(n.id) AS id FROM notice n JOIN store s ON s.id = n.store_id
WHERE n.state = 'due' AND n.next_attempt_at <= :now
  AND (s.breaker_until IS NULL OR s.breaker_until <= :now)
  AND NOT EXISTS (SELECT 1 FROM notice busy WHERE busy.store_id = n.store_id AND busy.state = 'due'
                  AND (busy.lease_until >= :now OR busy.stamped_at >= :resend_at))
GROUP BY n.store_id ORDER BY id LIMIT :limit
""")

STAMP_NOTICE = Query("""
-- stamp_notice: before it is sent
UPDATE notice SET stamped_at = :now WHERE id = :notice_id AND state = 'due'
""")

LIST_UNDELIVERED = Query("""
-- list_undelivered: a store's notices that ran out of attempts
SELECT id FROM notice WHERE store_id = :store_id AND state = 'undelivered' ORDER BY id LIMIT 10000
""")

RESEND_NOTICE = Query("""
-- resend_notice: an undelivered notice is due again, with fresh attempts and the same webhook id
UPDATE notice SET state = 'due', attempts = 0, next_attempt_at = :now, stamped_at = NULL, tried_at = NULL
WHERE id = :notice_id AND state = 'undelivered'
""")

CLOSE_BREAKER = Query("""
-- close_breaker: a person says the store is back
UPDATE store SET failures = 0, breaker_until = NULL WHERE id = :store_id
""")


def list_due_notices(tx: Tx, *, limit: int) -> list[int]:
    """The notices to send now."""
    rows = tx.all(LIST_DUE_NOTICES, now=tx.now, resend_at=tx.now - seconds(RESEND_S), limit=limit)
    return [row.id for row in rows]


def stamp_notices(tx: Tx, notice_ids: Sequence[int]) -> None:
    """Say that they are being sent."""
    for notice_id in notice_ids:
        tx.execute(STAMP_NOTICE, notice_id=notice_id, now=tx.now)


def resend(tx: Tx, store_id: str) -> int:
    """Make a store's undelivered notices due again. Returns how many."""
    notice_ids = [row.id for row in tx.all(LIST_UNDELIVERED, store_id=store_id)]
    tx.execute(CLOSE_BREAKER, store_id=store_id)
    for notice_id in notice_ids:
        notice = tx.get(Notice, Notice.id == notice_id)
        if tx.execute(RESEND_NOTICE, notice_id=notice_id, now=tx.now) != 1:
            raise NotFound(f"notice {notice_id} is not undelivered any more", hint="despensa store list")
        append(
            tx,
            NoticeResent(
                **of_run(tx, tx.get(Run, Run.id == notice.run_id)),
                notice_id=notice_id,
                store=store_id,
                number=notice.number,
                operator=tx.operator,
            ),
        )
    return len(notice_ids)

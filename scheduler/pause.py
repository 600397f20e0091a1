"""Pausing and resuming a run. A credit takes no lock on its run: the states of the batches say stop and go."""

from models.events import RunPaused, RunResumed
from models.journal import append
from models.runs import lock_run, of_run
from models.states import RunState
from models.storage import Query, Tx
from models.tables import Run

PAUSE_RUN = Query("""
-- pause_run: no batch of it is taken until it is resumed
UPDATE run SET state = 'paused', blocked = :blocked WHERE id = :run_id AND state = 'released'
""")

PAUSE_BATCHES = Query("""
-- pause_batches: waits for a credit that has begun, which is then done; a batch that was only taken is not credited
UPDATE batch SET state = 'paused' WHERE run_id = :run_id AND state = 'open'
""")

RESUME_RUN = Query("""
-- resume_run: its batches may be taken again
UPDATE run SET state = 'released', blocked = '' WHERE id = :run_id AND state = 'paused'
""")

RESUME_BATCHES = Query("""
-- resume_batches: with fresh attempts, since a person has looked; one that is under way counts
UPDATE batch SET state = 'open', attempts = CASE WHEN lease_until >= :now THEN 1 ELSE 0 END, stamped_at = NULL,
                 next_attempt_at = :now, given_back_at = NULL
WHERE run_id = :run_id AND state = 'paused'
""")

COUNT_UNDER_WAY = Query("""
-- count_under_way: batches of a paused or cancelled run that a worker had taken before, and whose lease is live
SELECT COUNT(*) FROM batch WHERE run_id = :run_id AND state IN ('paused', 'stopped') AND lease_until >= :now
""")

COUNT_UNSENT = Query("""
-- count_unsent: 1 for a run with open batches of which none was sent, or is held, since they were opened
SELECT COUNT(*) FROM run r
WHERE r.id = :run_id AND EXISTS (SELECT 1 FROM batch b WHERE b.run_id = r.id AND b.state = 'open')
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.run_id = r.id AND b.state = 'open'
                  AND (b.stamped_at IS NOT NULL OR b.lease_until >= :now))
""")


def pause(tx: Tx, run_id: int, *, reason: str, operator: str | None = None) -> Run:
    """Take no more batches of a released run. When this commits, nothing of it is credited until it is resumed."""
    run = lock_run(tx, run_id, states=(RunState.RELEASED,), verb="paused")
    tx.execute(PAUSE_RUN, run_id=run_id, blocked=reason)
    tx.execute(PAUSE_BATCHES, run_id=run_id)
    append(tx, RunPaused(**of_run(tx, run), reason=reason, operator=operator or tx.operator))
    return run


def resume(tx: Tx, run_id: int) -> Run:
    """Go on with a paused run."""
    run = lock_run(tx, run_id, states=(RunState.PAUSED,), verb="resumed")
    tx.execute(RESUME_RUN, run_id=run_id)
    tx.execute(RESUME_BATCHES, run_id=run_id, now=tx.now)
    append(tx, RunResumed(**of_run(tx, run), operator=tx.operator))
    return run


def count_under_way(tx: Tx, run_id: int) -> int:
    """How many batches of a paused or cancelled run are in a worker's hands: in the closed loop none is credited any
    more, and an outside issuer's calls end with their leases.
    """
    return int(tx.scalar(COUNT_UNDER_WAY, run_id=run_id, now=tx.now))


def is_sent(tx: Tx, run_id: int) -> bool:
    """Whether a resumed run goes on: a batch of it was sent or is held, or none is left."""
    return int(tx.scalar(COUNT_UNSENT, run_id=run_id, now=tx.now)) == 0

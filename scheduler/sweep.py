"""The sweep: what nobody else would come back to: exhausted batches, due cases, families without a line."""

from models.calendar import Cycle
from models.cases import list_in_doubt, open_case
from models.events import BatchSplit
from models.journal import append
from models.runs import of_run
from models.states import CaseReason, RunState
from models.storage import Query, Tx
from models.tables import Batch, Run
from scheduler.dispatch import TAKES_MAX
from scheduler.pause import pause

#: An exhausted batch is split into so many parts, and so on down to one line. Source: design.md, Poison.
PARTS = 32
#: So many exhausted batches of a run with no success between are no longer poison: the run is paused.
EXHAUSTED_MAX = 3

RUNS_WITH_EXHAUSTED = Query("""
-- runs_with_exhausted: runs with open batches that were taken too often and that nobody holds
SELECT DISTINCT run_id FROM batch
WHERE state = 'open' AND attempts >= :takes_max AND (lease_until IS NULL OR lease_until < :now)
ORDER BY run_id LIMIT 100
""")

LIST_EXHAUSTED = Query("""
-- list_exhausted: one run's exhausted batches
SELECT id FROM batch
WHERE run_id = :run_id AND state = 'open' AND attempts >= :takes_max AND (lease_until IS NULL OR lease_until < :now)
ORDER BY id LIMIT :limit
""")

COUNT_EXHAUSTED_SINCE_SUCCESS = Query("""
-- count_exhausted_since_success: one run's exhausted batches, open or already split, since its last credit
SELECT COUNT(*) FROM batch b
WHERE b.run_id = :run_id AND b.attempts >= :takes_max
  AND ((b.state = 'open' AND (b.lease_until IS NULL OR b.lease_until < :now))
       OR (b.state IN ('split', 'stopped')
           AND b.ended_at > COALESCE((SELECT MAX(credited_at) FROM batch WHERE run_id = :run_id AND state = 'done'),
                                     (SELECT released_at FROM run WHERE id = :run_id))))
""")

END_BATCH = Query("""
-- end_batch: an exhausted batch, unless a slow worker finished it meanwhile
UPDATE batch SET state = :state, ended_at = :now, token = NULL, lease_until = NULL
WHERE id = :batch_id AND state = 'open' AND attempts >= :takes_max AND (lease_until IS NULL OR lease_until < :now)
""")

INSERT_PARTS = Query("""
-- insert_parts: smaller batches over the lines of a split one, on its fund
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, fund_id, state, attempts, last_error,
                   next_attempt_at)
SELECT :run_id, MIN(id), MAX(id), COUNT(*), SUM(amount_minor), '', :fund_id, 'open', 0, '', :now
FROM (SELECT id, amount_minor, NTILE(:parts) OVER (ORDER BY id) AS part
      FROM disbursement WHERE id BETWEEN :first_id AND :last_id) lines
GROUP BY part ORDER BY MIN(id)
""")

LIST_LATECOMERS = Query("""
-- list_latecomers: locations with entitled families that have no line in a cycle that was planned there
SELECT DISTINCT e.programme_id, h.location_code
FROM household h JOIN enrolment e ON e.household_id = h.id
WHERE e.status = 'active' AND e.first_cycle <= :cycle AND e.last_cycle >= :cycle
  AND NOT EXISTS (SELECT 1 FROM disbursement d
                  WHERE d.programme_id = e.programme_id AND d.household_id = h.id AND d.cycle = :cycle)
  AND EXISTS (SELECT 1 FROM run r WHERE r.programme_id = e.programme_id AND r.location_code = h.location_code
              AND r.cycle = :cycle)
LIMIT 1000
""")


def runs_with_exhausted(tx: Tx) -> list[int]:
    """Runs with batches that were taken too often."""
    return [row.run_id for row in tx.all(RUNS_WITH_EXHAUSTED, takes_max=TAKES_MAX, now=tx.now)]


def sweep_exhausted(tx: Tx, run_id: int) -> int:
    """Split one run's exhausted batches, or pause the run if nothing of it succeeds. Returns how many were ended.

    A batch of one line ends as a case, which waits for a person, or asks its issuer first. A cancelled run has open
    batches only where it still asks for lines in doubt.
    """
    run = tx.get(Run, Run.id == run_id, lock=True)
    if run.state not in (RunState.RELEASED, RunState.CANCELLED):
        return 0
    released = run.state == RunState.RELEASED
    if (
        released
        and tx.scalar(COUNT_EXHAUSTED_SINCE_SUCCESS, run_id=run_id, takes_max=TAKES_MAX, now=tx.now) >= EXHAUSTED_MAX
    ):
        pause(tx, run_id, reason="three batches failed with no success between", operator="sweep")
        return 0
    rows = tx.all(LIST_EXHAUSTED, run_id=run_id, takes_max=TAKES_MAX, now=tx.now, limit=EXHAUSTED_MAX)
    return sum(_end(tx, run, tx.get(Batch, Batch.id == row.id)) for row in rows)


def list_latecomers(tx: Tx, cycle: Cycle) -> list[tuple[int, str]]:
    """Programme and location where entitled families have no line although the cycle was planned there."""
    tx.allow_long_statement()
    return [(row.programme_id, row.location_code) for row in tx.all(LIST_LATECOMERS, cycle=str(cycle))]


def _end(tx: Tx, run: Run, batch: Batch) -> int:
    state = "stopped" if batch.lines == 1 else "split"
    if tx.execute(END_BATCH, batch_id=batch.id, state=state, takes_max=TAKES_MAX, now=tx.now) != 1:
        return 0
    if batch.lines == 1:
        _open_case(tx, run, batch)
    else:
        parts = tx.execute(
            INSERT_PARTS, run_id=run.id, fund_id=batch.fund_id, first_id=batch.first_id, last_id=batch.last_id,
            parts=PARTS, now=tx.now,
        )  # fmt: skip
        append(
            tx,
            BatchSplit(
                **of_run(tx, run), batch_id=batch.id, first_id=batch.first_id, last_id=batch.last_id, parts=parts,
                error=batch.last_error,
            ),
        )  # fmt: skip
    return 1


def _open_case(tx: Tx, run: Run, batch: Batch) -> None:
    assert batch.fund_id is not None  # an open batch has its fund
    # Its workers may have died between the call and the answer: then it is asked for, before anybody decides.
    in_doubt = bool(list_in_doubt(tx, first_id=batch.first_id, last_id=batch.last_id))
    open_case(
        tx, run, batch.first_id, fund_id=batch.fund_id, reason=CaseReason.UNKNOWN if in_doubt else CaseReason.DEAD,
        attempts=batch.attempts, error=batch.last_error, next_attempt_at=tx.now if in_doubt else None,
    )  # fmt: skip

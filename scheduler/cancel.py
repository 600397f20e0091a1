"""Cancelling a released run: no batch is taken any more, and what is left becomes cases whose reserve goes back."""

from models import books
from models.cases import list_in_doubt, open_case
from models.events import RunCancelled, RunStopped
from models.journal import append
from models.runs import lock_run, of_run, summarise
from models.states import CaseReason, RunState
from models.storage import Query, Tx
from models.tables import Run
from scheduler.close import tell_stores

CANCEL_RUN = Query("""
-- cancel_run: completed_at stays empty until its open lines are cases
UPDATE run SET state = 'cancelled', completed_at = NULL, blocked = ''
WHERE id = :run_id AND state IN ('released', 'paused')
""")

STOP_BATCHES = Query("""
-- stop_batches: waits for a credit that has begun, which is then done
UPDATE batch SET state = 'stopped' WHERE run_id = :run_id AND state IN ('open', 'paused')
""")

LIST_CANCELLED_RUNS = Query("""
-- list_cancelled_runs: cancelled, their lines not yet cases, and no lease live
SELECT r.id FROM run r
WHERE r.state = 'cancelled' AND r.completed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.run_id = r.id AND b.state = 'stopped' AND b.lease_until >= :now)
ORDER BY r.id LIMIT :limit
""")

LIVE_LEASES = Query("""
-- live_leases: of a run's stopped batches
SELECT COUNT(*) FROM batch WHERE run_id = :run_id AND state = 'stopped' AND lease_until >= :now
""")

LIST_STOPPED_BATCHES = Query("""
-- list_stopped_batches: of a cancelled run, whose lines are not cases yet; bounded by the run's batches
SELECT id, first_id, last_id, fund_id, attempts FROM batch
WHERE run_id = :run_id AND state = 'stopped' AND ended_at IS NULL ORDER BY id
""")

ASKING = Query("""
-- asking: whether a cancelled run still asks its issuer for lines in doubt
SELECT COUNT(*) FROM run r WHERE r.id = :run_id
  AND (EXISTS (SELECT 1 FROM batch b WHERE b.run_id = r.id AND b.state = 'open')
       OR EXISTS (SELECT 1 FROM cases c WHERE c.run_id = r.id AND c.state = 'open' AND c.next_attempt_at IS NOT NULL))
""")

HAS_ISSUER = Query("""
-- has_issuer: whether a run's programme has an outside issuer
SELECT COUNT(*) FROM run r JOIN issuer i ON i.programme_id = r.programme_id WHERE r.id = :run_id
""")

SUM_OPEN_LINES = Query("""
-- sum_open_lines: what a cancelled run did not credit, per fund; bounded by the funds
SELECT b.fund_id, COUNT(*) AS lines, CAST(SUM(d.amount_minor) AS BIGINT) AS amount_minor
FROM batch b JOIN disbursement d ON d.id BETWEEN b.first_id AND b.last_id
WHERE b.run_id = :run_id AND b.state = 'stopped' AND b.ended_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
  AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                  AND (c.state = 'open' OR c.outcome = 'not_owed'))
GROUP BY b.fund_id ORDER BY b.fund_id
""")

OPEN_STOPPED_CASES = Query("""
-- open_stopped_cases: a case for each line that a cancelled run did not credit; their reserve has gone back
INSERT INTO cases (disbursement_id, run_id, fund_id, reason, state, reserved, attempts, last_error, opened_at, evidence)
SELECT d.id, b.run_id, b.fund_id, 'stopped', 'open', :reserved, b.attempts, '', :now, ''
FROM batch b JOIN disbursement d ON d.id BETWEEN b.first_id AND b.last_id
WHERE b.run_id = :run_id AND b.state = 'stopped' AND b.ended_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
  AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                  AND (c.state = 'open' OR c.outcome = 'not_owed'))
""")

END_BATCHES = Query("""
-- end_batches: their lines are cases now; a later cancel must not count them again
UPDATE batch SET ended_at = :now WHERE run_id = :run_id AND state = 'stopped' AND ended_at IS NULL
""")

SET_SETTLED = Query("""
-- set_settled: every line of the cancelled run is credited or a case
UPDATE run SET completed_at = :now WHERE id = :run_id AND state = 'cancelled' AND completed_at IS NULL
""")


def cancel(tx: Tx, run_id: int) -> Run:
    """Take no more batches of a run, for good. `settle_cancelled` follows once no lease is live."""
    run = lock_run(tx, run_id, states=(RunState.RELEASED, RunState.PAUSED), verb="cancelled")
    tx.execute(CANCEL_RUN, run_id=run_id)
    tx.execute(STOP_BATCHES, run_id=run_id)
    append(tx, RunStopped(**of_run(tx, run), operator=tx.operator))
    return run


def list_cancelled_runs(tx: Tx, *, limit: int = 10_000) -> list[int]:
    """Cancelled runs whose open lines can become cases now."""
    return [row.id for row in tx.all(LIST_CANCELLED_RUNS, now=tx.now, limit=limit)]


def settle_cancelled(tx: Tx, run_id: int) -> bool:
    """Turn what is left of a cancelled run into cases, give their reserve back, and tell the stores what was credited.

    False while a lease is live, or a line is in doubt that is still asked for by itself: what its issuer credited
    becomes a voucher, and what it says it did not, a case like the others.
    """
    tx.allow_long_statement()
    run = tx.get(Run, Run.id == run_id, lock=True)
    if run.state != RunState.CANCELLED or run.completed_at is not None:
        return False
    if tx.scalar(LIVE_LEASES, run_id=run_id, now=tx.now) > 0:
        return False
    if tx.scalar(HAS_ISSUER, run_id=run_id) and (_open_doubts(tx, run) or tx.scalar(ASKING, run_id=run_id)):
        return False
    shares = tx.all(SUM_OPEN_LINES, run_id=run_id)
    cases = tx.execute(OPEN_STOPPED_CASES, run_id=run_id, reserved=False, now=tx.now)
    for share in shares:
        books.unreserve(
            tx, fund_id=share.fund_id, run_id=run_id, amount_minor=share.amount_minor, currency=run.currency
        )
    tx.execute(END_BATCHES, run_id=run_id, now=tx.now)
    tx.execute(SET_SETTLED, run_id=run_id, now=tx.now)
    counts = summarise(tx, run_id).counts
    notices = 0
    if counts.credited:  # these families have vouchers: their stores must know
        notices = tell_stores(tx, run, vouchers=counts.credited, amount_minor=counts.credited_minor)
    append(
        tx,
        RunCancelled(
            **of_run(tx, run), cases=cases, returned_minor=sum(share.amount_minor for share in shares),
            notices=notices, currency=run.currency, operator=tx.operator,
        ),
    )  # fmt: skip
    return True


def _open_doubts(tx: Tx, run: Run) -> int:
    """Cases, due at once, for the lines of stopped batches that may be credited at the issuer. Returns how many.

    What a batch asks for already is no new case: otherwise each tick would add one.
    """
    cases = [
        open_case(
            tx, run, doubt.line, fund_id=batch.fund_id, reason=CaseReason.UNKNOWN, attempts=batch.attempts,
            error="stopped in mid-call", next_attempt_at=tx.now,
        )
        for batch in tx.all(LIST_STOPPED_BATCHES, run_id=run.id)
        for doubt in list_in_doubt(tx, run, first_id=batch.first_id, last_id=batch.last_id)
    ]  # fmt: skip
    return len(cases)

"""The sweep: what nobody else would come back to: exhausted batches, due cases, families without a line."""

from datetime import timedelta

from models.calendar import Cycle
from models.cases import count_doubts, list_in_doubt, open_case, unsettled
from models.deadlines import RETRY_AFTER_S, RETRY_AFTER_S_MAX, SCAN_S
from models.doubts import ASK_AGAIN, PUT_OFF_MAX, ask_again_at
from models.events import BatchSplit
from models.journal import append
from models.runs import of_run
from models.states import CaseReason, RunState
from models.storage import Query, Tx, seconds
from models.tables import Batch, Run
from scheduler.dispatch import TAKES_MAX
from scheduler.pause import pause

#: An exhausted batch is split into so many parts, and so on down to one line. Source: design.md, Poison.
PARTS = 32
#: So many exhausted batches of a run with no success between are no longer poison: the run is paused.
EXHAUSTED_MAX = 3
#: Who can be called for becomes a case at PUT_OFF_MAX (workers.outside); this is for who cannot, for want of a token.
NOT_CALLED_MAX = PUT_OFF_MAX + timedelta(hours=1)
#: No batch waits for longer, and no case: each an hour more than the longest wait that there is.
BATCH_WAIT_MAX = timedelta(seconds=RETRY_AFTER_S_MAX) + timedelta(hours=1)
CASE_WAIT_MAX = max(ASK_AGAIN) + timedelta(hours=1)
#: It was tried so lately: after a standstill of the whole installation, lines are tried before they are given up.
LATELY = timedelta(hours=1)

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

COUNT_EXHAUSTED = Query("""
-- count_exhausted: one run's exhausted batches: open, or ended since :since_at
SELECT COUNT(*) FROM batch b
WHERE b.run_id = :run_id AND b.attempts >= :takes_max
  AND ((b.state = 'open' AND (b.lease_until IS NULL OR b.lease_until < :now))
       OR (b.state IN ('split', 'stopped') AND b.ended_at > :since_at))
""")

FIRST_FAILURE = Query("""
-- first_failure: of one run's exhausted batches that are open: the earliest lease that ran out, and the earliest next
-- attempt after an error
SELECT MIN(lease_until) AS died_at, MIN(CASE WHEN lease_until IS NULL THEN next_attempt_at END) AS again_at
FROM batch
WHERE run_id = :run_id AND state = 'open' AND attempts >= :takes_max AND (lease_until IS NULL OR lease_until < :now)
""")

LAST_SUCCESS = Query("""
-- last_success: when a batch of the run was last credited
SELECT MAX(credited_at) AS credited_at FROM batch WHERE run_id = :run_id AND state = 'done'
""")

LAST_DECISION = Query("""
-- last_decision: when the run was last released, resumed or retried, and when it was last paused by the sweep
SELECT MAX(CASE WHEN event <> 'run.paused' THEN recorded_at END) AS decided_at,
       MAX(CASE WHEN event = 'run.paused' AND fields LIKE '%"operator":"sweep"%' THEN recorded_at END) AS paused_at
FROM journal WHERE run_id = :run_id AND event IN ('run.released', 'run.paused', 'run.resumed', 'run.retried')
""")

RUNS_PUT_OFF = Query("""
-- runs_put_off: runs with batches of an outside issuer that were given back since :since_at and lately again, and that
-- nobody holds
SELECT DISTINCT b.run_id FROM batch b JOIN run r ON r.id = b.run_id JOIN issuer i ON i.programme_id = r.programme_id
WHERE b.state = 'open' AND b.given_back_at < :since_at AND b.next_attempt_at >= :lately_at
  AND (b.lease_until IS NULL OR b.lease_until < :now)
ORDER BY b.run_id LIMIT 100
""")

LIST_PUT_OFF = Query("""
-- list_put_off: one run's batches that were given back since :since_at and lately again, and that nobody holds
SELECT id FROM batch
WHERE run_id = :run_id AND state = 'open' AND given_back_at < :since_at AND next_attempt_at >= :lately_at
  AND (lease_until IS NULL OR lease_until < :now)
ORDER BY id LIMIT 100
""")

END_PUT_OFF = Query("""
-- end_put_off: its lines become cases, unless a worker took it meanwhile
UPDATE batch SET state = 'stopped', ended_at = :now, token = NULL, lease_until = NULL
WHERE id = :batch_id AND state = 'open' AND given_back_at < :since_at AND next_attempt_at >= :lately_at
  AND (lease_until IS NULL OR lease_until < :now)
""")

RUNS_AHEAD_OF_TIME = Query("""
-- runs_ahead_of_time: runs with batches or cases that wait for longer than anything makes them wait
SELECT run_id FROM batch
WHERE state IN ('open', 'paused', 'stopped')
  AND (next_attempt_at > :batch_far_at OR lease_until > :batch_far_at OR stamped_at > :batch_far_at)
UNION SELECT run_id FROM cases WHERE state = 'open' AND next_attempt_at > :case_far_at
ORDER BY run_id LIMIT 100
""")

WAKE_BATCHES = Query("""
-- wake_batches: of a run, that wait for longer than anything makes them wait
UPDATE batch SET next_attempt_at = :now, lease_until = NULL, stamped_at = NULL,
                 given_back_at = CASE WHEN given_back_at > :now THEN :now ELSE given_back_at END
WHERE run_id = :run_id AND state IN ('open', 'paused', 'stopped')
  AND (next_attempt_at > :batch_far_at OR lease_until > :batch_far_at OR stamped_at > :batch_far_at)
""")

WAKE_FAR_CASES = Query("""
-- wake_far_cases: of a run, that wait for longer than anything makes them wait
UPDATE cases SET next_attempt_at = :now WHERE run_id = :run_id AND state = 'open' AND next_attempt_at > :case_far_at
""")

LIST_UNSETTLED = Query(f"""
-- list_unsettled: lines of a range that have no voucher, no open case, and were not found not owed; bounded by a batch
SELECT d.id FROM disbursement d
WHERE d.id BETWEEN :first_id AND :last_id
  AND {unsettled("d.id")}
ORDER BY d.id
""")  # noqa: S608  # of constants, of no input

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
-- list_latecomers: locations with entitled families that have no line in a cycle that was planned there. Whom it is
-- about is found first, on its own: with the runs beside it PostgreSQL believes that there are few, and looks up each
WITH found AS MATERIALIZED (
    SELECT e.programme_id, e.household_id FROM enrolment e
    WHERE EXISTS (SELECT 1 FROM run r WHERE r.cycle = :cycle)
      AND e.status = 'active' AND e.first_cycle <= :cycle AND e.last_cycle >= :cycle
      AND NOT EXISTS (SELECT 1 FROM disbursement d WHERE d.programme_id = e.programme_id
                      AND d.household_id = e.household_id AND d.cycle = :cycle))
SELECT DISTINCT f.programme_id, h.location_code FROM found f JOIN household h ON h.id = f.household_id
WHERE EXISTS (SELECT 1 FROM run r WHERE r.programme_id = f.programme_id AND r.location_code = h.location_code
              AND r.cycle = :cycle)
LIMIT 1000
""")


def runs_ahead_of_time(tx: Tx) -> list[int]:
    """Runs of which something waits for an instant that only a clock that was ahead can have named."""
    times = {"batch_far_at": tx.now + BATCH_WAIT_MAX, "case_far_at": tx.now + CASE_WAIT_MAX}
    return [row.run_id for row in tx.all(RUNS_AHEAD_OF_TIME, **times)]


def wake(tx: Tx, run_id: int) -> int:
    """Make due what a clock that was ahead has put off. Returns how many batches and cases.

    What it sent is taken to be beyond its key window (models.doubts), so that waking repeats nothing blindly.
    """
    batches = tx.execute(WAKE_BATCHES, run_id=run_id, now=tx.now, batch_far_at=tx.now + BATCH_WAIT_MAX)
    return batches + tx.execute(WAKE_FAR_CASES, run_id=run_id, now=tx.now, case_far_at=tx.now + CASE_WAIT_MAX)


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
    if run.state == RunState.RELEASED and _nothing_succeeds(tx, run):
        pause(tx, run_id, reason="three batches failed with no success between", operator="sweep")
        return 0
    rows = tx.all(LIST_EXHAUSTED, run_id=run_id, takes_max=TAKES_MAX, now=tx.now, limit=EXHAUSTED_MAX)
    return sum(_end(tx, run, tx.get(Batch, Batch.id == row.id)) for row in rows)


def runs_put_off(tx: Tx) -> list[int]:
    """Runs with lines that could not be called for since more than a day."""
    return [row.run_id for row in tx.all(RUNS_PUT_OFF, **_put_off_times(tx))]


def sweep_put_off(tx: Tx, run_id: int) -> int:
    """Make cases for a person of lines that could not be called for since more than a day. Returns how many batches."""
    run = tx.get(Run, Run.id == run_id, lock=True)
    times = _put_off_times(tx)
    ended = 0
    for row in tx.all(LIST_PUT_OFF, run_id=run_id, **times):
        if tx.execute(END_PUT_OFF, batch_id=row.id, **times) == 1:
            _make_cases(tx, run, tx.get(Batch, Batch.id == row.id), ask_again=False)
            ended += 1
    return ended


def _put_off_times(tx: Tx) -> dict[str, object]:
    return {"since_at": tx.now - NOT_CALLED_MAX, "lately_at": tx.now - LATELY, "now": tx.now}


def list_latecomers(tx: Tx, cycle: Cycle) -> list[tuple[int, str]]:
    """Programme and location where entitled families have no line although the cycle was planned there."""
    tx.allow_long_statement(SCAN_S)
    return [(row.programme_id, row.location_code) for row in tx.all(LIST_LATECOMERS, cycle=str(cycle))]


def _end(tx: Tx, run: Run, batch: Batch) -> int:
    state = "stopped" if batch.lines == 1 else "split"
    if tx.execute(END_BATCH, batch_id=batch.id, state=state, takes_max=TAKES_MAX, now=tx.now) != 1:
        return 0
    if batch.lines == 1:
        _make_cases(tx, run, batch, ask_again=True)
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


def _nothing_succeeds(tx: Tx, run: Run) -> bool:
    """Whether so much fails that it cannot be poison: with no success between, and not yet looked at by a person.

    Once a person has resumed the run, what fails is split although nothing succeeds: three families whose lines fail
    must not stop the others for ever.
    """
    decision = tx.one(LAST_DECISION, run_id=run.id)
    success_at = tx.scalar(LAST_SUCCESS, run_id=run.id)
    failure = tx.one(FIRST_FAILURE, run_id=run.id, takes_max=TAKES_MAX, now=tx.now)
    failures = [failure.died_at, failure.again_at - seconds(RETRY_AFTER_S) if failure.again_at else None]
    if success_at is not None and success_at > min(at for at in (*failures, tx.now) if at is not None):
        return False
    if decision.paused_at is not None and (success_at is None or decision.paused_at > success_at):
        return False  # it is released again: a person has resumed it
    since_at = max(at for at in (decision.decided_at, success_at, run.released_at) if at is not None)
    exhausted = tx.scalar(COUNT_EXHAUSTED, run_id=run.id, takes_max=TAKES_MAX, since_at=since_at, now=tx.now)
    return int(exhausted) >= EXHAUSTED_MAX


def _make_cases(tx: Tx, run: Run, batch: Batch, *, ask_again: bool) -> None:
    """Of what is not settled yet of an ended batch. What the issuer credited is settled at once; what it may have
    credited is asked for, if at all, later; the rest waits for a person.
    """
    assert batch.fund_id is not None  # an open batch has its fund
    span = {"first_id": batch.first_id, "last_id": batch.last_id}
    unsettled = [int(row.id) for row in tx.all(LIST_UNSETTLED, **span)]
    in_doubt = {doubt.line: doubt for doubt in list_in_doubt(tx, run, **span)}
    doubts = count_doubts(tx, **span)
    for line in unsettled:
        doubt = in_doubt.get(line)
        again_at = None
        if doubt is not None and doubt.credited:
            again_at = tx.now
        elif doubt is not None and ask_again:
            again_at = ask_again_at(doubts.get(line, 0), now=tx.now)
        open_case(
            tx, run, line, fund_id=batch.fund_id, reason=CaseReason.UNKNOWN if doubt else CaseReason.DEAD,
            attempts=batch.attempts, error=batch.last_error, next_attempt_at=again_at,
        )  # fmt: skip

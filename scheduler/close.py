"""Closing: when no batch of a run is open it is completed, with or without cases, and its stores are told."""

import uuid

from models.events import NoticeCreated, RunCompleted
from models.journal import append
from models.runs import lock_run, of_run, summarise
from models.states import RunState
from models.storage import Query, Tx
from models.tables import Notice, Run, Store

LIST_FINISHED_RUNS = Query("""
-- list_finished_runs: released runs without an open batch
SELECT r.id FROM run r
WHERE r.state = 'released'
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.run_id = r.id AND b.state IN ('planned', 'open', 'paused'))
ORDER BY r.id LIMIT :limit
""")

COUNT_UNFINISHED = Query("""
-- count_unfinished: a run's batches that may still be credited
SELECT COUNT(*) FROM batch WHERE run_id = :run_id AND state IN ('planned', 'open', 'paused')
""")

SET_COMPLETED = Query("""
-- set_completed: no batch of the run is open
UPDATE run SET state = :state, completed_at = :now
WHERE id = :run_id AND state IN ('released', 'completed_with_cases')
""")

LAST_NOTICE = Query("""
-- last_notice: what a store was last told about a run, or is about to be
SELECT number, vouchers, amount_minor FROM notice WHERE run_id = :run_id AND store_id = :store_id
ORDER BY number DESC LIMIT 1
""")


def list_finished_runs(tx: Tx, *, limit: int = 100) -> list[int]:
    """Released runs that can be closed."""
    return [row.id for row in tx.all(LIST_FINISHED_RUNS, limit=limit)]


def close(tx: Tx, run_id: int) -> bool:
    """Complete a run whose batches are all finished, and make one notice per store. False where it is not so far."""
    run = tx.get(Run, Run.id == run_id, lock=True)
    # Asked again under the run's lock: retry and split add batches only while they hold it.
    if run.state != RunState.RELEASED or tx.scalar(COUNT_UNFINISHED, run_id=run_id) > 0:
        return False
    complete(tx, run)
    return True


def complete(tx: Tx, run: Run) -> None:
    """Set the finished state that fits the open cases; the caller holds the run's lock."""
    counts = summarise(tx, run.id).counts
    state = RunState.COMPLETED_WITH_CASES if counts.cases else RunState.COMPLETED
    tx.execute(SET_COMPLETED, run_id=run.id, state=str(state), now=tx.now)
    notices = tell_stores(tx, run, vouchers=counts.credited, amount_minor=counts.credited_minor)
    append(
        tx,
        RunCompleted(
            **of_run(tx, run), state=str(state), late=bool(run.late), planned=counts.planned,
            planned_minor=counts.planned_minor, credited=counts.credited, credited_minor=counts.credited_minor,
            cases=counts.cases, not_owed=counts.not_owed, notices=notices, currency=run.currency,
        ),
    )  # fmt: skip


def complete_if_settled(tx: Tx, run_id: int) -> None:
    """After a person resolved the last case of a finished run: the run is completed."""
    run = lock_run(tx, run_id, states=tuple(RunState), verb="completed")
    if run.state == RunState.COMPLETED_WITH_CASES and summarise(tx, run_id).counts.cases == 0:
        complete(tx, run)


def tell_stores(tx: Tx, run: Run, *, vouchers: int, amount_minor: int) -> int:
    """A notice for each store that was not told just this before. Returns how many. The caller holds the run's lock."""
    made = 0
    for store in tx.list(Store, Store.location_code == run.location_code, Store.active):
        last = tx.first(LAST_NOTICE, run_id=run.id, store_id=store.id)
        if last is not None and (last.vouchers, last.amount_minor) == (vouchers, amount_minor):
            continue
        notice = tx.add(
            Notice(
                run_id=run.id,
                store_id=store.id,
                number=last.number + 1 if last else 1,
                webhook_id=f"msg_{uuid.uuid4().hex}",
                vouchers=vouchers,
                amount_minor=amount_minor,
                made_at=tx.now,
                next_attempt_at=tx.now,
            )
        )
        append(
            tx,
            NoticeCreated(
                **of_run(tx, run), notice_id=notice.id, store=store.id, number=notice.number, vouchers=vouchers,
                amount_minor=amount_minor, currency=run.currency,
            ),
        )  # fmt: skip
        made += 1
    return made

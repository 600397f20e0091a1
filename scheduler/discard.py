"""Discarding: a plan that was not released is dropped, and its slot can be planned anew."""

from models.errors import RefusedByState
from models.events import RunDiscarded
from models.journal import append
from models.lost import was_released
from models.runs import lock_run, of_run
from models.states import UNRELEASED
from models.storage import Query, Tx
from models.tables import Run, run_code
from scheduler.plan import line_range

DELETE_LINES = Query("""
-- delete_lines: of a discarded plan, once their run is deleted; the database refuses it before
DELETE FROM disbursement WHERE id BETWEEN :first_id AND :last_id
""")
DELETE_BATCHES = Query("-- delete_batches: of a discarded plan\nDELETE FROM batch WHERE run_id = :run_id")
DELETE_GROUPS = Query("-- delete_groups: of a discarded plan\nDELETE FROM run_group WHERE run_id = :run_id")
DELETE_AMOUNTS = Query("-- delete_amounts: of a discarded plan\nDELETE FROM run_amount WHERE run_id = :run_id")
DELETE_RUN = Query("-- delete_run: a discarded plan frees its slot\nDELETE FROM run WHERE id = :run_id")


def discard(tx: Tx, run_id: int) -> Run:
    """Drop a plan that was not released: lines and batches are deleted, an event keeps their digest and sums.

    Raises RefusedByState for one that was released before a restore: its families would be paid under other numbers.
    """
    tx.allow_long_statement()
    run = lock_run(tx, run_id, states=UNRELEASED, verb="discarded")
    if was_released(tx, run_id):
        raise RefusedByState(
            f"run {run_code(run)} was released before the restore: vouchers with its numbers may be in people's hands",
            hint="release it, and cancel it if it must not go on: its lines become cases",
        )
    fields = of_run(tx, run)
    first_id, last_id = line_range(run_id)
    for query in (DELETE_BATCHES, DELETE_GROUPS, DELETE_AMOUNTS):
        tx.execute(query, run_id=run_id)
    tx.execute(DELETE_RUN, run_id=run_id)
    tx.execute(DELETE_LINES, first_id=first_id, last_id=last_id)
    append(
        tx,
        RunDiscarded(
            **fields, planned=run.lines, planned_minor=run.planned_minor, currency=run.currency,
            digest=run.digest, operator=tx.operator,
        ),
    )  # fmt: skip
    return run

"""From planned or approved to released, by itself: as far as policy, funds and payday allow; or why it waits."""

from datetime import datetime

from models.errors import BooksDisagree, FundTooSmall
from models.events import RunBlocked
from models.journal import append
from models.lost import LOST, waiting_programmes
from models.runs import BLOCK_RUN, of_run
from models.states import RunState
from models.storage import Database, Tx
from models.tables import Run
from scheduler.approve import approve_by_policy
from scheduler.release import release


def advance(database: Database, run_id: int, *, now: datetime) -> bool:
    """Take a run from planned or approved to released, as far as policy, funds and payday allow.

    What blocks it is remembered on the run, and journalled when it changes. Raises FundTooSmall, and BooksDisagree.
    """
    with database.transaction() as tx:
        run = tx.get(Run, Run.id == run_id, lock=True)
        if run.programme_id in waiting_programmes(tx):
            block(tx, run, LOST)
            return False
        if run.state == RunState.PLANNED:
            reason = approve_by_policy(tx, run_id, now=now)
            if reason:
                block(tx, run, reason)
                return False
        elif run.state != RunState.APPROVED:
            return False
    try:
        with database.transaction() as tx:
            run = tx.get(Run, Run.id == run_id, lock=True)
            if run.state != RunState.APPROVED:
                return False  # another ticker was faster
            release(tx, run_id, now=now)
    except FundTooSmall as error:
        with database.transaction() as tx:
            block(tx, tx.get(Run, Run.id == run_id), f"funds: {error.why}", error=error)
        raise
    except BooksDisagree:
        with database.transaction() as tx:
            block(tx, tx.get(Run, Run.id == run_id), "books: the lines are not those that were approved")
        raise
    return True


def block(tx: Tx, run: Run, reason: str, *, error: FundTooSmall | None = None) -> None:
    """Remember what a run waits for; journalled only when it is news."""
    if tx.execute(BLOCK_RUN, run_id=run.id, blocked=reason) == 1:
        append(
            tx,
            RunBlocked(
                **of_run(tx, run), blocked=reason,
                required_minor=error.required_minor if error else run.planned_minor,
                available_minor=error.available_minor if error else 0,
                shortfall_minor=error.shortfall_minor if error else 0, currency=run.currency,
            ),
        )  # fmt: skip

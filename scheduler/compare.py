"""Comparing the books of a run at its close: what was given against what was reserved, told and left.

After the close, and not in it: money is given by then, and stores wait to be told. A check that fails, or that finds
something, must not keep a run from ending. Which closes were compared stands in the run, so that none is left out
however the process ends that closed it.
"""

from collections import Counter

from models.events import RunDisagreed, RunReconciled
from models.journal import append
from models.reconcile import reconcile_run
from models.runs import of_run
from models.storage import Database, Query, Tx
from models.tables import Run

LIST_UNCOMPARED = Query("""
-- list_uncompared: runs that are over, of a close that was not compared yet
SELECT id FROM run
WHERE completed_at IS NOT NULL AND (reconciled_close_at IS NULL OR reconciled_close_at <> completed_at)
ORDER BY id LIMIT :limit
""")

MARK_COMPARED = Query("""
-- mark_compared: the close that was looked at, unless another ticker was faster, or the run goes on again
UPDATE run SET reconciled_close_at = completed_at, differences = :differences
WHERE id = :run_id AND completed_at = :closed_at
  AND (reconciled_close_at IS NULL OR reconciled_close_at <> completed_at)
""")


COMPARE_AGAIN = Query("""
-- compare_again: closes at which something differed: all the books agree by now
UPDATE run SET reconciled_close_at = NULL WHERE differences > 0 AND reconciled_close_at IS NOT NULL
""")


def compare_again(tx: Tx) -> None:
    """Where all the books were found to agree, a run must not go on saying that its own do not."""
    tx.execute(COMPARE_AGAIN)


def list_uncompared(tx: Tx, *, limit: int = 100) -> list[int]:
    """Runs whose close was not compared yet."""
    return [row.id for row in tx.all(LIST_UNCOMPARED, limit=limit)]


def compare_close(database: Database, run_id: int) -> bool:
    """Compare a closed run's books, remember what that came to, and journal it. False where there was nothing to do.

    Read as of one instant, without holding anything: workers of other runs go on.
    """
    with database.reading() as tx:
        closed_at = tx.get(Run, Run.id == run_id).completed_at
        if closed_at is None:
            return False
        differences = reconcile_run(tx, run_id)
    with database.transaction() as tx:
        if tx.execute(MARK_COMPARED, run_id=run_id, closed_at=closed_at, differences=len(differences)) != 1:
            return False
        fields = of_run(tx, tx.get(Run, Run.id == run_id))
        if differences:
            checks = Counter(each.check.partition(" ")[0] for each in differences)
            append(tx, RunDisagreed(**fields, differences=len(differences), checks=" ".join(sorted(checks))))
        else:
            append(tx, RunReconciled(**fields))
    return True

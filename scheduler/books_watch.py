"""Comparing the books with their rows: a long-lived scheduler does so once an hour, and while nothing is open."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.deadlines import steady_s
from models.errors import RefusedInput
from models.events import BooksDisagreed, BooksReconciled
from models.heads_file import read_heads
from models.kept_head import Head
from models.log import Log
from models.reconcile import Difference, reconcile
from models.storage import Database, Query, Tx
from scheduler.compare import compare_again

#: It reads everything there is.
RECONCILE_EVERY_S = 3_600

EXISTS_RELEASED = Query("""
-- exists_released: whether a run is being credited
SELECT 1 FROM run WHERE state = 'released' LIMIT 1
""")


@dataclass(slots=True)
class BooksWatch:
    """What came of the last comparison; None before the first."""

    database: Database
    log: Log
    heads: Path  #: the journal's heads as this host has kept them
    steady_s: Callable[[], float] = steady_s
    differences: int | None = None
    reconciled_at: float = 0  #: Unix time of its end
    _begun_s: float | None = None  #: of the steady clock

    def reconcile_if_due(self) -> bool:
        """Compare, unless the last attempt was within the hour, or workers are at work. Returns whether it did."""
        begun_s = self.steady_s()
        if self._begun_s is not None and begun_s < self._begun_s + RECONCILE_EVERY_S:
            return False
        with self.database.reading() as tx:
            if tx.first(EXISTS_RELEASED) is not None:
                return False
            self._begun_s = begun_s  # also for an attempt that fails: what reads everything is not repeated at once
            differences = reconcile_and_tell(tx, self.log, kept=read_kept(self.heads))
        if not differences:
            with self.database.transaction() as tx:
                compare_again(tx)
        self.differences, self.reconciled_at = len(differences), time.time()
        return True


def read_kept(path: Path) -> list[Head]:
    """The heads that this host has kept; none where it has not yet."""
    with suppress(RefusedInput):
        return read_heads(path)
    return []


def reconcile_and_tell(tx: Tx, log: Log, *, kept: Sequence[Head]) -> list[Difference]:
    """Every difference in the books, as models.reconcile finds them; the log is told what it came to."""
    begun_s = steady_s()
    differences = reconcile(tx, kept=kept)
    duration_ms = int((steady_s() - begun_s) * 1000)
    with suppress(OSError):  # the log's disk is full: whoever asked is told all the same
        log.observe(BooksReconciled(differences=len(differences), duration_ms=duration_ms))
        if differences:
            checks = Counter(each.check.partition(" ")[0] for each in differences)
            log.observe(BooksDisagreed(differences=len(differences), checks=" ".join(sorted(checks))))
    return differences

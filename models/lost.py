"""Runs that a restored backup has lost, and what must wait for them.

Until a person has decided what a lost run paid, its programme plans nothing and releases nothing, anywhere: a family
of it may live in another city by now, and the funds do not know what it spent.
"""

import orjson

from models.errors import RefusedByState
from models.storage import Query, Tx
from models.tables import LostRun, Programme, Run, run_code

#: Why a run is paused, or waits to be, that a person had halted before the restore.
HALTED = "restored: a person may have halted it before"
#: Why a run is blocked while another one of its programme is lost.
LOST = "lost run"

FIND_REMEMBERED = Query("""
-- find_remembered: whether the logs knew a run as released that a restored backup knew as a plan; and as halted
SELECT MAX(CASE WHEN fields LIKE '%"halted":true%' THEN 1 ELSE 0 END) AS halted FROM journal
WHERE run_id = :run_id AND event = 'run.remembered'
""")

LIST_INCOMPLETE = Query("""
-- list_incomplete: restores without all lines since the backup, after which runs may be lost unnoticed; by the index of
-- the runs, bounded by how often the database was restored
SELECT fields FROM journal
WHERE run_id IS NULL AND event = 'database.restored' AND fields NOT LIKE '%"missing":0,%'
""")

LIST_WAITING = Query("""
-- list_waiting: programmes that have a lost run of which nobody has decided
SELECT DISTINCT programme_id FROM lost_run WHERE outcome IS NULL
""")


def list_lost(tx: Tx, *, undecided: bool = False) -> list[LostRun]:
    """Lost runs, by cycle and location; bounded by how many were ever lost."""
    where = [LostRun.outcome.is_(None)] if undecided else []  # type: ignore[union-attr]
    return tx.list(LostRun, *where, order=[LostRun.cycle, LostRun.location_code, LostRun.part])


def waiting_programmes(tx: Tx) -> set[int]:
    """Programmes that plan and release nothing, since a run of theirs is lost."""
    return {int(row.programme_id) for row in tx.all(LIST_WAITING)}


def refuse_while_lost(tx: Tx, programme_id: int) -> None:
    """Raises RefusedByState while a run of the programme is lost and nobody has decided what it paid."""
    lost = tx.list(LostRun, LostRun.programme_id == programme_id, LostRun.outcome.is_(None), limit=1)  # type: ignore[union-attr]
    if not lost:
        return
    code = tx.get(Programme, Programme.id == programme_id).code
    typed = run_code(lost[0])
    raise RefusedByState(
        f"programme {code} waits: run {typed} was lost by a restore, and nobody has decided what it paid",
        hint=f"despensa run lost; then: despensa run recover {typed} --handed-over FILE, or --not-handed-over EVIDENCE",
    )


def was_released(tx: Tx, run_id: int) -> bool:
    """Whether the logs knew a run as released that is a plan here: its vouchers may have been handed over."""
    return tx.scalar(FIND_REMEMBERED, run_id=run_id) is not None


def is_halted(tx: Tx, run: Run) -> bool:
    """Whether a run is to be paused as soon as it is released: a person had halted it, or nobody knows."""
    cycles = [orjson.loads(row.fields)["forgotten_cycle"] for row in tx.all(LIST_INCOMPLETE)]
    return tx.scalar(FIND_REMEMBERED, run_id=run.id) == 1 or any(run.cycle <= cycle for cycle in cycles)

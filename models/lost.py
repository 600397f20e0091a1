"""Runs that a restored backup has lost, and what must wait for them.

Until a person has decided what a lost run paid, its programme plans nothing and releases nothing, anywhere: a family
of it may live in another city by now, and the funds do not know what it spent.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from models.errors import NotFound, RefusedByState
from models.restores import LIST_RESTORES
from models.runs import parse_run
from models.storage import Query, Tx
from models.tables import LostRun, Programme, Run, run_code

#: Why a run is paused, or waits to be, that a person had halted before the restore.
HALTED = "restored: a person may have halted it before"
#: Why a run is blocked while another one of its programme is lost; before the colon, what metrics call it.
LOST = "lost: a run of its programme, until a person has decided; despensa run lost"

LIST_REMEMBERED = Query("""
-- list_remembered: that the logs knew a run as released which a restored backup knew as a plan, once for each restore
SELECT fields FROM journal WHERE run_id = :run_id AND event = 'run.remembered'
""")

LIST_TOLD = Query("""
-- list_told: what the logs told of a lost run, once for each restore that lost it
SELECT fields FROM journal WHERE run_id = :run_id AND event = 'run.lost' ORDER BY id
""")

LIST_WAITING = Query("""
-- list_waiting: programmes that have a lost run of which nobody has decided
SELECT DISTINCT programme_id FROM lost_run WHERE outcome IS NULL
""")


@dataclass(frozen=True, slots=True)
class Before:
    """What people had said of a lost run before it was lost."""

    halted: bool  #: it was paused or cancelled, or a case of it was resolved
    disowned_by: str  #: who said, after an earlier restore, that nothing of it was handed over; empty for nobody

    def __str__(self) -> str:
        disowned = [f"{self.disowned_by} said that nothing was handed over"] if self.disowned_by else []
        return "; ".join([*(["a person had halted it"] if self.halted else []), *disowned])


def list_lost(tx: Tx, *, undecided: bool = False) -> list[LostRun]:
    """Lost runs, by cycle and location; bounded by how many were ever lost."""
    where = [LostRun.outcome.is_(None)] if undecided else []  # type: ignore[union-attr]
    return tx.list(LostRun, *where, order=[LostRun.cycle, LostRun.location_code, LostRun.part])


def list_told(tx: Tx, lost: LostRun) -> list[dict[str, Any]]:
    """The fields of `run.lost`, of each restore that lost this run."""
    return [orjson.loads(row.fields) for row in tx.all(LIST_TOLD, run_id=lost.run_id)]


def before(tx: Tx, lost: LostRun) -> Before:
    """What people had said of a lost run, over each restore that lost it."""
    told = list_told(tx, lost)
    return Before(any(each["halted"] for each in told), told[-1]["disowned_by"] if told else "")


def find_lost(tx: Tx, typed: str) -> LostRun:
    """The lost run that an operator means by its code, or by its run id. Raises NotFound, and RefusedInput."""
    if typed.isascii() and typed.isdigit():
        where = [LostRun.run_id == int(typed)]
    else:
        meant = parse_run(typed)
        where = [
            LostRun.cycle == meant.cycle, LostRun.location_code == meant.location_code, LostRun.part == meant.part,
        ]  # fmt: skip
        if meant.programme:
            where.append(LostRun.programme_id == tx.get(Programme, Programme.code == meant.programme).id)
    found = tx.list(LostRun, *where)
    undecided = [lost for lost in found if lost.outcome is None] or found
    if len(undecided) != 1:
        what = f"several lost runs are called {typed}" if undecided else f"no lost run is called {typed}"
        raise NotFound(what, hint="despensa run lost; a run id does, too")
    return undecided[0]


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
    return any(orjson.loads(row.fields)["released"] for row in tx.all(LIST_REMEMBERED, run_id=run_id))


def is_halted(tx: Tx, run: Run) -> bool:
    """Whether a run is to be paused as soon as it is released: a person had halted it, or a lost run of its slot, whose
    families it pays; or nobody knows, since lines of its month were missing when the backup was restored.
    """
    remembered = [orjson.loads(row.fields) for row in tx.all(LIST_REMEMBERED, run_id=run.id)]
    restored = [orjson.loads(row.fields) for row in tx.all(LIST_RESTORES)]
    lost = tx.list(
        LostRun, LostRun.programme_id == run.programme_id, LostRun.location_code == run.location_code,
        LostRun.cycle == run.cycle,
    )  # fmt: skip
    return (
        any(fields["halted"] for fields in remembered)
        or any(before(tx, each).halted for each in lost)
        or any(fields["missing"] > 0 and run.cycle <= fields["forgotten_cycle"] for fields in restored)
    )

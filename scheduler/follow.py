"""Following runs: which ones a waiting command looks at, when it has seen enough, and what it then tells the shell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.calendar import Cycle
from models.errors import EXIT_PRECEDENCE, DespensaError, Exit
from models.lost import list_lost
from models.runs import RunSummary, list_summaries
from models.states import FINISHED, RunState
from models.storage import Database, Query

LIST_FOLLOWED = Query("""
-- list_followed: open runs that are not over, and those that ended since :since_at; bounded by the locations
SELECT id, state, blocked, opens_at, completed_at FROM run
WHERE (:cycle = '' OR cycle = :cycle) AND (:location_code = '' OR location_code = :location_code)
  AND (completed_at >= :since_at OR :whole_cycle = 1 OR (completed_at IS NULL AND opens_at <= :payday_at))
ORDER BY cycle, location_code, part LIMIT 10000
""")

COUNT_UNTRIED = Query("""
-- count_untried: notices of a run that were never tried, and that no breaker holds back
SELECT COUNT(*) FROM notice n JOIN store s ON s.id = n.store_id
WHERE n.run_id = :run_id AND n.state = 'due' AND n.tried_at IS NULL
  AND (s.breaker_until IS NULL OR s.breaker_until <= :now)
""")

COUNT_READY = Query("""
-- count_ready: notices of any run whose next attempt is due or under way, and that no breaker holds back
SELECT COUNT(*) FROM notice n JOIN store s ON s.id = n.store_id
WHERE n.state = 'due' AND (n.next_attempt_at <= :now OR n.lease_until >= :now)
  AND (s.breaker_until IS NULL OR s.breaker_until <= :now)
""")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which runs: all, or those of a cycle, a location, or both."""

    cycle: Cycle | None = None
    location_code: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at the followed runs shows."""

    runs: list[RunSummary]
    settled: bool  #: completed, waiting for a person, or paused; and every notice was tried once
    exit_code: Exit
    lost: int = 0  #: runs that a restore has lost, and that wait for a person


def look(database: Database, chosen: Chosen, *, since: datetime, now: datetime, embedded: bool) -> Sight:
    """The followed runs as they are.

    Followed are the runs whose payday has come and that are not over, and those that ended since `since`, so that a
    second command that joined the first ends like it. A chosen cycle is followed whole. Embedded, the notices of all
    runs count: no other process tries them.
    """
    with database.reading() as tx:
        rows = tx.all(
            LIST_FOLLOWED, cycle=str(chosen.cycle or ""), location_code=chosen.location_code, since_at=since,
            payday_at=now, whole_cycle=int(chosen.cycle is not None),
        )  # fmt: skip
        summaries = list_summaries(tx, [row.id for row in rows])
        lost = len(list_lost(tx, undecided=True))
        untried = sum(int(tx.scalar(COUNT_UNTRIED, run_id=row.id, now=tx.now)) for row in rows)
        if embedded:
            untried += int(tx.scalar(COUNT_READY, now=tx.now))
    states = [_settled(row.state, row.blocked, row.opens_at, row.completed_at, now=now) for row in rows]
    codes = [_exit_code(row.state, row.blocked, row.opens_at, now=now) for row in rows]
    codes += [Exit.WAITING_FOR_APPROVAL] * lost
    codes += [Exit.BOOKS_DISAGREE for summary in summaries if summary.differences]
    return Sight(summaries, settled=all(states) and untried == 0, exit_code=first_of(codes), lost=lost)


def first_of(codes: Sequence[Exit]) -> Exit:
    """Of several outcomes, the command's. What design.md does not rank is a failure."""
    ranked = [code if code in EXIT_PRECEDENCE else Exit.FAILED for code in codes]
    return min(ranked, key=EXIT_PRECEDENCE.index, default=Exit.DONE)


def exit_of(errors: Sequence[DespensaError]) -> Exit:
    """What the errors of a tick come to."""
    return first_of([error.exit_code for error in errors])


def _settled(state: str, blocked: str, opens_at: datetime, completed_at: datetime | None, *, now: datetime) -> bool:
    if state in (RunState.PLANNED, RunState.APPROVED):
        return blocked != "" or opens_at > now
    return state == RunState.PAUSED or completed_at is not None


def _exit_code(state: str, blocked: str, opens_at: datetime, *, now: datetime) -> Exit:
    if state in FINISHED:
        return Exit.WITH_CASES if state == RunState.COMPLETED_WITH_CASES else Exit.DONE
    if state in (RunState.PAUSED, RunState.CANCELLED):
        return Exit.PAUSED_OR_CANCELLED
    if state in (RunState.PLANNED, RunState.APPROVED):
        if opens_at > now:
            return Exit.DONE  # planned ahead: nothing is due yet
        return Exit.WAITING_FOR_APPROVAL if blocked.startswith(("approval", "lost")) else Exit.FAILED
    return Exit.FAILED  # released and not over: only where a limit ended the waiting

"""Cases by what they have in common, each group with the command that mends it: a thousand cases are few causes."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from models.cases import CHOSEN
from models.columns import instant_text
from models.doubts import KEY_WINDOW_OVER
from models.states import CaseReason, CaseState, RunState
from models.storage import Query, Tx
from models.tables import Programme, run_code

GROUP_CASES = Query(f"""
-- group_cases: chosen cases by run, reason, error, and whether they retry themselves; not bounded: stream it
SELECT p.code AS programme, r.cycle, r.location_code, r.part, r.state AS run_state, r.completed_at, r.currency,
       c.reason, c.last_error, COALESCE(c.outcome, c.state) AS state,
       CASE WHEN c.next_attempt_at IS NULL THEN 1 ELSE 0 END AS waiting, COUNT(*) AS cases,
       CAST(SUM(d.amount_minor) AS BIGINT) AS amount_minor, MIN(c.opened_at) AS opened_at,
       MIN(c.next_attempt_at) AS next_attempt_at
FROM cases c JOIN run r ON r.id = c.run_id JOIN programme p ON p.id = r.programme_id
JOIN disbursement d ON d.id = c.disbursement_id
WHERE {CHOSEN} AND (c.state = 'open' OR :closed_too = 1)
GROUP BY p.code, r.cycle, r.location_code, r.part, r.state, r.completed_at, r.currency, c.reason, c.last_error,
         COALESCE(c.outcome, c.state), CASE WHEN c.next_attempt_at IS NULL THEN 1 ELSE 0 END
ORDER BY r.cycle, r.location_code, r.part, p.code, c.reason, c.last_error, waiting DESC, state
""")  # noqa: S608  # of constants, of no input


@dataclass(frozen=True, slots=True)
class CaseChoice:
    """Which cases an operator means; what is left empty leaves nobody out."""

    run_id: int = 0
    location_code: str = ""
    cycle: str = ""
    case_id: int = 0
    reason: str = ""
    error: str | None = None  #: exactly this last error; some have an empty one
    waiting: bool = False  #: only those that wait for a person

    def parameters(self) -> dict[str, object]:
        """Of models.cases.CHOSEN."""
        return {
            "run_id": self.run_id, "location_code": self.location_code, "cycle": self.cycle,
            "case_id": self.case_id, "reason": self.reason,
            "any_error": int(self.error is None), "error": self.error or "", "waiting": int(self.waiting),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class CaseGroup:
    """Cases of one run, reason and error that wait for the same thing."""

    programme: str
    run: str
    location: str
    cycle: str
    part: int
    reason: str
    error: str
    state: str  #: open, or how they ended
    cases: int
    amount_minor: int
    currency: str
    oldest_opened_at: datetime
    next_attempt_at: datetime | None  #: the first of them; None where they do not retry themselves
    waits_for: str  #: a person, its run, its cancel or its next attempt; empty once closed
    command: str  #: that mends it; empty where nobody need do anything

    def as_json(self, *, now: datetime) -> dict[str, object]:
        """The object for scripts."""
        own = {name: getattr(self, name) for name in self.__slots__ if not name.endswith("_at")}
        return {
            **own,
            "oldest_opened_at": instant_text(self.oldest_opened_at),
            "oldest_age_s": max(0, round((now - self.oldest_opened_at).total_seconds())),
            "next_attempt_at": None if self.next_attempt_at is None else instant_text(self.next_attempt_at),
        }


def list_groups(tx: Tx, choice: CaseChoice, *, closed_too: bool = False) -> list[CaseGroup]:
    """The groups of the chosen cases, by cycle, location and part. As many as there are causes: all are told."""
    rows = list(tx.stream(GROUP_CASES, size=1_000, closed_too=int(closed_too), **choice.parameters()))
    several = len(tx.list(Programme, limit=2)) > 1
    causes = _causes(rows)
    return [_group(row, several=several, causes=causes) for row in rows]


def typed_run(row: Row[Any], *, several: bool) -> str:
    """A run as a command takes it: with its programme in front where there are several."""
    return f"{row.programme}/{run_code(row)}" if several else run_code(row)


def _causes(rows: Iterable[Row[Any]]) -> "Counter[tuple[object, ...]]":
    """How many open groups share a run and a reason, and how many an error besides: what a command must tell apart."""
    causes: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        if row.state == CaseState.OPEN:
            causes[_key(row)] += 1
            causes[*_key(row), row.last_error] += 1
    return causes


def _key(row: Row[Any]) -> tuple[object, ...]:
    return (row.programme, row.cycle, row.location_code, row.part, row.reason)


def _group(row: Row[Any], *, several: bool, causes: "Counter[tuple[object, ...]]") -> CaseGroup:
    waits_for, typed = _waits_for(row), typed_run(row, several=several)
    return CaseGroup(
        programme=row.programme, run=run_code(row), location=row.location_code, cycle=row.cycle, part=row.part,
        reason=row.reason, error=row.last_error, state=row.state, cases=int(row.cases),
        amount_minor=int(row.amount_minor), currency=row.currency, oldest_opened_at=row.opened_at,
        next_attempt_at=row.next_attempt_at, waits_for=waits_for, command=_command(row, waits_for, typed, causes),
    )  # fmt: skip


def _command(row: Row[Any], waits_for: str, typed: str, causes: "Counter[tuple[object, ...]]") -> str:
    if waits_for == "its run":
        return f"despensa run resume {typed}"
    if waits_for == "its cancel":
        return "despensa run start"
    if waits_for != "a person":
        return ""
    if row.last_error.endswith(KEY_WINDOW_OVER):  # a retry would only ask again: each is a person's to resolve
        return f"despensa run cases {typed} --reason {row.reason} --waiting --each"
    return shlex.join(["despensa", "run", "retry", typed, *_narrowed(row, causes)])


def _waits_for(row: Row[Any]) -> str:
    if row.state != CaseState.OPEN:
        return ""
    if row.run_state == RunState.PAUSED:
        return "its run"
    if not row.waiting:
        return "its next attempt"
    unsettled = row.run_state == RunState.CANCELLED and row.completed_at is None
    return "its cancel" if unsettled else "a person"


def _narrowed(row: Row[Any], causes: "Counter[tuple[object, ...]]") -> Sequence[str]:
    """The options that mean this group and no other."""
    words = ["--reason", str(CaseReason(row.reason))]
    if causes[_key(row)] > causes[*_key(row), row.last_error]:
        words += ["--error", row.last_error]
    if causes[*_key(row), row.last_error] > 1:
        words += ["--waiting"]
    return words

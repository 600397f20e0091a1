"""Differences: where an issuer's statement and our books do not agree. Listed with a next step; closed by a person.

Nothing here pays, or takes anything back. What a statement says of a line in doubt is a reason to ask: only the
issuer's answer to our reference makes a voucher, or a person's evidence.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from models.columns import instant_text
from models.errors import NotFound, RefusedByState, RefusedInput
from models.events import DifferenceClosed
from models.journal import append
from models.states import DifferenceReason
from models.storage import Query, Tx
from models.tables import Programme, StatementDifference, run_code

EVIDENCE_MAX = 200

COUNT_OPEN = Query("""
-- count_open: open differences of a programme; bounded by the reasons
SELECT reason, COUNT(*) AS differences FROM difference
WHERE programme_id = :programme_id AND state = 'open' GROUP BY reason ORDER BY reason
""")

LIST_DIFFERENCES = Query("""
-- list_differences: with line, run and open case of each, where we know one; not bounded: stream it
SELECT f.id, p.code AS programme, f.reason, f.reference, f.credit_id, f.disbursement_id, f.expected_minor,
       f.expected_currency, f.found_minor, f.found_currency, f.state, f.opened_at, f.closed_at, f.closed_by, f.evidence,
       r.cycle, r.location_code, r.part, c.id AS case_id
FROM difference f JOIN programme p ON p.id = f.programme_id
LEFT JOIN run r ON r.id = f.disbursement_id / 10000000
LEFT JOIN cases c ON c.disbursement_id = f.disbursement_id AND c.state = 'open'
WHERE (:programme_id = 0 OR f.programme_id = :programme_id) AND (:reason = '' OR f.reason = :reason)
  AND (f.state = 'open' OR :closed_too = 1) ORDER BY f.id
""")

CLOSE_DIFFERENCE = Query("""
-- close_difference: by a person who says why
UPDATE difference SET state = 'closed', closed_at = :now, closed_by = :closed_by, evidence = :evidence
WHERE id = :difference_id AND state = 'open'
""")

CLOSE_SETTLED = Query("""
-- close_settled: the line has its voucher now
UPDATE difference SET state = 'closed', closed_at = :now, evidence = 'voucher'
WHERE state = 'open' AND reason = 'not_settled'
  AND EXISTS (SELECT 1 FROM voucher v WHERE v.id = difference.disbursement_id)
""")

COUNT_SETTLED = Query("""
-- count_settled: those that were just closed, by programme; bounded by the programmes
SELECT p.code AS programme, COUNT(*) AS differences, MIN(f.id) AS first_id, MAX(f.id) AS last_id
FROM difference f JOIN programme p ON p.id = f.programme_id
WHERE f.reason = 'not_settled' AND f.closed_at = :now AND f.evidence = 'voucher' GROUP BY p.code ORDER BY p.code
""")

#: What to do about a difference: a command where there is one, and otherwise a question to the issuer.
_NEXT_STEPS = {
    DifferenceReason.UNKNOWN_TO_US: "ask the issuer who sent this reference, and when: this programme did not",
    DifferenceReason.REVERSED_WITHOUT_ORIGINAL: "ask the issuer which credit was taken back; import the statement that "
    "has it",
    DifferenceReason.TWICE: "ask the issuer to take the second one back",
    DifferenceReason.OTHER_AMOUNT: "ask the issuer to correct the amount",
    DifferenceReason.NOT_OWED: "ask the issuer to take it back: a person found that nothing is owed",
    DifferenceReason.REVERSED: "ask the issuer why: the family has a voucher that it no longer backs",
    DifferenceReason.UNKNOWN_TO_THEM: "ask the issuer, with its credit number in our answers, where the credit is",
}


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """A difference as operators and scripts see it: references and sums, nothing of a family."""

    difference: int
    programme: str
    reason: str
    reference: str
    credit_id: str
    disbursement: int | None
    run: str  #: empty where we know no line
    case: int | None  #: the line's open one
    expected_minor: int | None
    expected_currency: str
    found_minor: int | None
    found_currency: str
    state: str
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str
    evidence: str
    next_step: str  #: empty once it is closed

    def as_json(self) -> dict[str, object]:
        """The object of the contract for scripts."""
        at = {"opened_at": instant_text(self.opened_at)}
        return {**asdict(self), **at, "closed_at": instant_text(self.closed_at) if self.closed_at else ""}


def count_open(tx: Tx, programme: Programme) -> dict[str, int]:
    """Open differences of a programme, by reason; those without any are left out."""
    return {row.reason: int(row.differences) for row in tx.all(COUNT_OPEN, programme_id=programme.id)}


def list_differences(
    tx: Tx, *, programme_id: int = 0, reason: str = "", closed_too: bool = False
) -> Iterator[DifferenceView]:
    """One after another, the oldest first: there may be as many as a statement has lines."""
    rows = tx.stream(LIST_DIFFERENCES, programme_id=programme_id, reason=reason, closed_too=int(closed_too))
    return (_view(row) for row in rows)


def close_by_person(tx: Tx, difference_id: int, *, evidence: str) -> StatementDifference:
    """A person says why it matters no more. It is not opened again as long as the issuer says the same.

    `evidence` refers to the proof and must name nobody. Raises RefusedByState for one that is closed.
    """
    if not evidence.strip() or len(evidence) > EVIDENCE_MAX:
        raise RefusedInput(f"--evidence needs a reference to the proof, at most {EVIDENCE_MAX} characters")
    found = tx.find(StatementDifference, StatementDifference.id == difference_id)
    if found is None:
        raise NotFound(f"there is no difference {difference_id}", hint="despensa statement differences")
    operator = tx.operator
    changed = tx.execute(
        CLOSE_DIFFERENCE, difference_id=difference_id, now=tx.now, closed_by=operator, evidence=evidence.strip()
    )
    if changed != 1:
        raise RefusedByState(f"difference {difference_id} is closed", hint="despensa statement differences --all")
    programme = tx.get(Programme, Programme.id == found.programme_id)
    append(
        tx,
        DifferenceClosed(
            programme=programme.code, reason=found.reason, differences=1, first_difference_id=found.id,
            last_difference_id=found.id, closed="person", operator=operator,
        ),
    )  # fmt: skip
    return found


def close_settled(tx: Tx) -> int:
    """Close what said that a line had no voucher yet, where it has one now. Returns how many."""
    closed = tx.execute(CLOSE_SETTLED, now=tx.now)
    for row in tx.all(COUNT_SETTLED, now=tx.now) if closed else ():
        append(
            tx,
            DifferenceClosed(
                programme=row.programme, reason=DifferenceReason.NOT_SETTLED, differences=int(row.differences),
                first_difference_id=int(row.first_id), last_difference_id=int(row.last_id), closed="voucher",
                operator=tx.operator,
            ),
        )  # fmt: skip
    return closed


def _view(row: Row[Any]) -> DifferenceView:
    run = run_code(row) if row.cycle else ""
    return DifferenceView(
        difference=row.id, programme=row.programme, reason=row.reason, reference=row.reference,
        credit_id=row.credit_id, disbursement=row.disbursement_id, run=run, case=row.case_id,
        expected_minor=row.expected_minor, expected_currency=row.expected_currency, found_minor=row.found_minor,
        found_currency=row.found_currency, state=row.state, opened_at=row.opened_at, closed_at=row.closed_at,
        closed_by=row.closed_by or "", evidence=row.evidence,
        next_step=_next_step(row, run) if row.state == "open" else "",
    )  # fmt: skip


def _next_step(row: Row[Any], run: str) -> str:
    if row.reason != DifferenceReason.NOT_SETTLED:
        return _NEXT_STEPS[row.reason]
    if row.case_id is None:
        return f"it is asked for by itself: despensa run status {run}"
    return f"despensa run retry {run} --case {row.case_id}: it asks the issuer, whose answer makes the voucher"

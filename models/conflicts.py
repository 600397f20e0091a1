"""Conflicts of enrolment: households that were to be active beside another of the same person. Two operators decide.

`same`: one person. The newcomer is stopped, whatever later files say; the other keeps its months, wherever it is.
`different`: two people, for good. The newcomer becomes active, on a seat of its own beside the other.
Nothing is merged, nothing deleted. Whoever decides last alone waits for another operator to agree.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from models.columns import instant_text
from models.errors import NotFound, RefusedByState
from models.events import ConflictDecided
from models.intake.doubles import LAST_CONFLICT, journal_found
from models.journal import append
from models.states import ConflictDecision
from models.storage import Query, Tx
from models.tables import Enrolment, EnrolmentConflict, Household, Programme

#: More than anybody decides about in a day; the oldest come first.
CONFLICTS_SHOWN_MAX = 200

LIST_CONFLICTS = Query("""
-- list_conflicts: those that wait for operators, the oldest first; a newcomer that a file has stopped waits for nobody
SELECT c.id FROM enrolment_conflict c
JOIN enrolment e ON e.programme_id = c.programme_id AND e.household_id = c.household_id
WHERE (c.outcome IS NULL AND e.status <> 'stopped') OR :decided_too = 1
ORDER BY c.id LIMIT :limit
""")

COUNT_CONFLICTS = Query("""
-- count_conflicts: those that wait for operators, in all programmes
SELECT COUNT(*) FROM enrolment_conflict c
JOIN enrolment e ON e.programme_id = c.programme_id AND e.household_id = c.household_id
WHERE c.outcome IS NULL AND e.status <> 'stopped'
""")

LIST_MONTHS = Query("""
-- list_months: of which a household has a line in a programme; at most 120, the length of a window, and a few
SELECT d.cycle FROM (SELECT DISTINCT cycle FROM run WHERE programme_id = :programme_id) r
JOIN disbursement d ON d.programme_id = :programme_id AND d.cycle = r.cycle AND d.household_id = :household_id
ORDER BY d.cycle LIMIT 1000
""")

SET_FIRST_DECISION = Query("""
-- set_first_decision: what one operator finds, until another agrees; what two found to be one person is open again
UPDATE enrolment_conflict SET first_decision = :decision, first_decided_by = :operator, first_decided_at = :now,
                              outcome = NULL, decided_by = NULL, decided_at = NULL
WHERE id = :conflict_id AND (outcome IS NULL OR outcome = 'same')
""")

SET_OUTCOME = Query("""
-- set_outcome: a second operator agrees with the first
UPDATE enrolment_conflict SET outcome = :decision, decided_by = :operator, decided_at = :now
WHERE id = :conflict_id AND outcome IS NULL AND first_decision = :decision AND first_decided_by <> :operator
""")

STOP_NEWCOMER = Query("""
-- stop_newcomer: it is another household's person
UPDATE enrolment SET status = 'stopped', reason_code = 'double_enrolment'
WHERE programme_id = :programme_id AND household_id = :household_id AND status <> 'stopped'
""")

SEAT_NEWCOMER = Query("""
-- seat_newcomer: two operators have given it a seat of its own; no other conflict has this number
UPDATE enrolment SET person_seat = :conflict_id WHERE programme_id = :programme_id AND household_id = :household_id
""")

INSERT_FURTHER = Query("""
-- insert_further: whoever else of the newcomer's person is active, and was not found another person
INSERT INTO enrolment_conflict (programme_id, household_id, other_household_id, found_at)
SELECT n.programme_id, n.household_id, o.household_id, :now
FROM enrolment n
JOIN enrolment o ON o.programme_id = n.programme_id AND o.person_hash = n.person_hash AND o.status = 'active'
                 AND o.household_id <> n.household_id
WHERE n.programme_id = :programme_id AND n.household_id = :household_id
  AND NOT EXISTS (SELECT 1 FROM enrolment_conflict f
                  WHERE f.programme_id = n.programme_id
                    AND ((f.household_id = n.household_id AND f.other_household_id = o.household_id)
                         OR (f.household_id = o.household_id AND f.other_household_id = n.household_id
                             AND f.outcome = 'different')))
ORDER BY o.household_id
""")

ACTIVATE_NEWCOMER = Query("""
-- activate_newcomer: it was held for this alone, and no other conflict of it is open
UPDATE enrolment SET status = 'active', reason_code = ''
WHERE programme_id = :programme_id AND household_id = :household_id AND reason_code = 'double_enrolment'
  AND NOT EXISTS (SELECT 1 FROM enrolment_conflict f
                  WHERE f.programme_id = :programme_id AND f.household_id = :household_id
                    AND (f.outcome IS NULL OR f.outcome = 'same'))
""")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two households. Personal data: for the operator's screen alone."""

    registration_id: str
    location_code: str
    members: int
    first_cycle: str
    last_cycle: str
    status: str  #: with its reason
    months: list[str]  #: of which it has a line in a run: paid, or planned


@dataclass(frozen=True, slots=True)
class ConflictView:
    """What two operators need to decide about a conflict."""

    conflict: int
    programme: str
    found_at: datetime
    newcomer: Side
    other: Side
    decision: str  #: of the operator who decided alone so far, or of both
    decided_by: list[str]
    outcome: str  #: empty until two operators agree

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        return {**asdict(self), "found_at": instant_text(self.found_at)}


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of one operator's decision."""

    outcome: str  #: empty where another operator must agree yet
    disagrees_with: str  #: the operator before, who found otherwise; empty for nobody
    newcomer_status: str  #: afterwards, with its reason


def list_conflicts(tx: Tx, *, decided_too: bool = False) -> list[ConflictView]:
    """Those that wait, the oldest first, up to CONFLICTS_SHOWN_MAX."""
    rows = tx.all(LIST_CONFLICTS, decided_too=int(decided_too), limit=CONFLICTS_SHOWN_MAX)
    return [view_conflict(tx, row.id) for row in rows]


def count_waiting(tx: Tx) -> int:
    """How many wait for operators, of all programmes."""
    return int(tx.scalar(COUNT_CONFLICTS))


def view_conflict(tx: Tx, conflict_id: int) -> ConflictView:
    """Both households. Raises NotFound."""
    conflict = _get(tx, conflict_id)
    programme = tx.get(Programme, Programme.id == conflict.programme_id)
    operators = (conflict.first_decided_by, conflict.decided_by)
    return ConflictView(
        conflict=conflict.id,
        programme=programme.code,
        found_at=conflict.found_at,
        newcomer=_side(tx, programme, conflict.household_id),
        other=_side(tx, programme, conflict.other_household_id),
        decision=conflict.first_decision or "",
        decided_by=[operator for operator in operators if operator],
        outcome=conflict.outcome or "",
    )


def decide(tx: Tx, conflict_id: int, decision: ConflictDecision) -> Decided:
    """The operator of this session says whether the two are one person. The second who says the same decides it.

    What two found to be one person can be decided anew; meanwhile the newcomer stays stopped. Raises RefusedByState
    for what is decided already, and for whoever would agree with himself.
    """
    found = _get(tx, conflict_id)
    # As an import does: nothing is planned meanwhile, and no file is loaded.
    programme = tx.get(Programme, Programme.id == found.programme_id, lock=True)
    conflict = tx.get(EnrolmentConflict, EnrolmentConflict.id == conflict_id, lock=True)
    operator = tx.operator
    _refuse(conflict, decision, operator=operator)
    of: dict[str, object] = {"conflict_id": conflict_id, "decision": str(decision), "operator": operator, "now": tx.now}
    agreed = conflict.outcome is None and conflict.first_decision == decision
    if tx.execute(SET_OUTCOME if agreed else SET_FIRST_DECISION, **of) != 1:
        raise RefusedByState(f"conflict {conflict_id} changed while it was being decided", hint="repeat the command")
    if agreed:
        _apply(tx, programme, conflict, decision)
    append(
        tx,
        ConflictDecided(
            programme=programme.code, conflict_id=conflict_id, decision=str(decision),
            outcome=str(decision) if agreed else "", operator=operator,
        ),
    )  # fmt: skip
    dissent = conflict.outcome is None and conflict.first_decided_by not in (None, operator) and not agreed
    return Decided(
        outcome=str(decision) if agreed else "",
        disagrees_with=str(conflict.first_decided_by) if dissent else "",
        newcomer_status=_side(tx, programme, conflict.household_id).status,
    )


def _refuse(conflict: EnrolmentConflict, decision: ConflictDecision, *, operator: str) -> None:
    if conflict.outcome == ConflictDecision.DIFFERENT:
        raise RefusedByState(
            f"conflict {conflict.id} is decided: two people",
            hint="whoever is not to be paid is stopped by a file: status stopped:REASON",
        )
    if conflict.outcome == decision:
        raise RefusedByState(
            f"conflict {conflict.id} is decided: one person", hint="despensa enrolment conflicts --all"
        )
    if conflict.outcome is None and (conflict.first_decision, conflict.first_decided_by) == (decision, operator):
        raise RefusedByState(
            f"{operator} has found that of conflict {conflict.id} already: somebody else must find it as well",
            hint=f"log in as another operator, then: despensa enrolment decide {conflict.id} --{decision}",
        )


def _apply(tx: Tx, programme: Programme, conflict: EnrolmentConflict, decision: ConflictDecision) -> None:
    of: dict[str, object] = {"programme_id": programme.id, "household_id": conflict.household_id}
    if decision == ConflictDecision.SAME:
        tx.execute(STOP_NEWCOMER, **of)
        return
    tx.execute(SEAT_NEWCOMER, **of, conflict_id=conflict.id)
    last_id = tx.scalar(LAST_CONFLICT)
    further = tx.execute(INSERT_FURTHER, **of, now=tx.now)
    if further:
        journal_found(tx, programme, further, after_id=last_id)
    tx.execute(ACTIVATE_NEWCOMER, **of)


def _get(tx: Tx, conflict_id: int) -> EnrolmentConflict:
    conflict = tx.find(EnrolmentConflict, EnrolmentConflict.id == conflict_id)
    if conflict is None:
        raise NotFound(f"there is no conflict {conflict_id}", hint="despensa enrolment conflicts")
    return conflict


def _side(tx: Tx, programme: Programme, household_id: int) -> Side:
    household = tx.get(Household, Household.id == household_id)
    enrolment = tx.get(Enrolment, Enrolment.programme_id == programme.id, Enrolment.household_id == household_id)
    rows = tx.all(LIST_MONTHS, programme_id=programme.id, household_id=household_id)
    status = enrolment.status + (f":{enrolment.reason_code}" if enrolment.reason_code else "")
    return Side(
        household.registration_id, household.location_code, household.members, enrolment.first_cycle,
        enrolment.last_cycle, status, [row.cycle for row in rows],
    )  # fmt: skip

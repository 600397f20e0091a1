"""Approval: by a person other than the planner, or by the programme's policy within its guard rails.

An approval binds the digest of the lines, the total and the rate; release compares all three with the rows. Above the
programme's threshold two persons approve, neither of them the planner. The database refuses what breaks these rules.
"""

from dataclasses import dataclass
from datetime import datetime

from models.calendar import Cycle, local_cycle, zone
from models.errors import RefusedByState
from models.events import RunApproved, RunFirstApproved
from models.journal import append
from models.runs import lock_run, of_run
from models.states import Approval, RunState
from models.storage import Query, Tx
from models.tables import Location, Programme, Run, run_code

#: What a run waits for between its two approvals.
SECOND_PERSON = "approval: a second person"

SET_APPROVED = Query("""
-- set_approved: bind an approval to the lines, the total and the rate
UPDATE run SET state = 'approved', approval = :approval, approved_by = :approved_by, approved_at = :approved_at,
               approved_digest = digest, approved_minor = planned_minor, approved_rate_millionths = rate_millionths,
               blocked = ''
WHERE id = :run_id AND state = 'planned'
""")

SET_FIRST_APPROVED = Query("""
-- set_first_approved: of two persons; the run waits for the second one
UPDATE run SET first_approved_by = :operator, first_approved_at = :approved_at, blocked = :blocked
WHERE id = :run_id AND state = 'planned' AND first_approved_by IS NULL
""")


@dataclass(frozen=True, slots=True)
class Approved:
    """What one person's approval came to."""

    run: Run
    level: int  #: 1, or 2 for the second of two persons
    levels: int  #: how many persons the run needs

    @property
    def complete(self) -> bool:
        """Whether nobody else has to approve."""
        return self.level == self.levels


def approve_by_person(tx: Tx, run_id: int) -> Approved:
    """The operator of this session approves a planned run, as the first or the second of those that it needs.

    Raises RefusedByState for its planner, and for whoever approved it already.
    """
    run = lock_run(tx, run_id, states=(RunState.PLANNED,), verb="approved")
    operator = tx.operator
    for name, what in ((run.planned_by, "planned"), (run.first_approved_by, "approved a first time")):
        if operator == name:
            raise RefusedByState(
                f"run {run_code(run)} was {what} by {operator}: somebody else approves it",
                hint="log in as another operator, then: despensa run approve " + run_code(run),
            )
    levels = count_approvals(tx, run)
    if levels == 2 and run.first_approved_by is None:
        return Approved(_approve_first(tx, run, operator=operator), 1, levels)
    return Approved(approve(tx, run, approval=Approval.PERSON, operator=operator), levels, levels)


def count_approvals(tx: Tx, run: Run) -> int:
    """How many persons approve this run, if the policy does not."""
    above_minor = tx.get(Programme, Programme.id == run.programme_id).two_approvals_above_minor
    if run.first_approved_by is not None:
        return 2
    return 1 if above_minor is None or run.planned_minor <= above_minor else 2


def approve_by_policy(tx: Tx, run_id: int, *, now: datetime) -> str:
    """Approve a planned run if its programme's policy allows. Returns why not, or an empty text."""
    run = lock_run(tx, run_id, states=(RunState.PLANNED,), verb="approved")
    reason = policy_refusal(tx, run, now=now)
    if reason == "":
        approve(tx, run, approval=Approval.POLICY, operator="policy")
    return reason


def policy_refusal(tx: Tx, run: Run, *, now: datetime) -> str:
    """Why the policy does not approve a run: one row a guard rail, in this order. Empty if it does."""
    programme = tx.get(Programme, Programme.id == run.programme_id)
    location = tx.get(Location, Location.code == run.location_code)
    oldest = local_cycle(now, zone(location.time_zone)).previous()
    guard_rails = (
        ("approval: the programme asks for a person", programme.approval != Approval.POLICY),
        ("approval: the cycle is older than the one before this", Cycle.parse(run.cycle) < oldest),
        ("approval: the total is above the policy's limit", run.planned_minor > programme.policy_run_max_minor),
        (SECOND_PERSON, run.first_approved_by is not None),
        ("approval: the total needs two persons", count_approvals(tx, run) == 2),
    )
    return next((reason for reason, refuses in guard_rails if refuses), "")


def _approve_first(tx: Tx, run: Run, *, operator: str) -> Run:
    changed = tx.execute(
        SET_FIRST_APPROVED, run_id=run.id, operator=operator, approved_at=tx.now, blocked=SECOND_PERSON
    )
    _require_one(changed, run)
    append(
        tx,
        RunFirstApproved(
            **of_run(tx, run), digest=run.digest, planned=run.lines, planned_minor=run.planned_minor,
            currency=run.currency, rate_millionths=run.rate_millionths or 0, operator=operator,
        ),
    )  # fmt: skip
    return tx.get(Run, Run.id == run.id)


def approve(tx: Tx, run: Run, *, approval: Approval, operator: str) -> Run:
    """Bind an approval, and journal it. The rules are the caller's, and the database's."""
    changed = tx.execute(SET_APPROVED, run_id=run.id, approval=str(approval), approved_by=operator, approved_at=tx.now)
    _require_one(changed, run)
    append(
        tx,
        RunApproved(
            **of_run(tx, run), approval=str(approval), digest=run.digest, planned=run.lines,
            planned_minor=run.planned_minor, currency=run.currency, operator=operator,
            approvals=2 if run.first_approved_by else 1, first_operator=run.first_approved_by or "",
            rate_millionths=run.rate_millionths or 0,
        ),
    )  # fmt: skip
    return tx.get(Run, Run.id == run.id)


def _require_one(changed: int, run: Run) -> None:
    if changed != 1:
        raise RefusedByState(f"run {run_code(run)} changed while it was being approved", hint="repeat the command")

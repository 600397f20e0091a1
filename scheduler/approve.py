"""Approval: by a person other than the planner, or by the programme's policy within its guard rails.

An approval binds the digest of the lines; release compares it with the rows.
"""

from datetime import datetime

from models.calendar import Cycle, local_cycle, zone
from models.errors import RefusedByState
from models.events import RunApproved
from models.journal import append
from models.runs import lock_run, of_run
from models.states import Approval, RunState
from models.storage import Query, Tx
from models.tables import Location, Programme, Run, run_code

SET_APPROVED = Query("""
-- set_approved: bind an approval to the digest of the lines
UPDATE run SET state = 'approved', approval = :approval, approved_by = :approved_by, approved_at = :approved_at,
               approved_digest = digest, blocked = ''
WHERE id = :run_id AND state = 'planned'
""")


def approve_by_person(tx: Tx, run_id: int) -> Run:
    """The operator of this session approves a planned run. Raises RefusedByState for its planner."""
    run = lock_run(tx, run_id, states=(RunState.PLANNED,), verb="approved")
    operator = tx.operator
    if operator == run.planned_by:
        raise RefusedByState(
            f"run {run_code(run)} was planned by {operator}: somebody else approves it",
            hint="log in as another operator, then: despensa run approve " + run_code(run),
        )
    return _approve(tx, run, approval=Approval.PERSON, operator=operator)


def approve_by_policy(tx: Tx, run_id: int, *, now: datetime) -> str:
    """Approve a planned run if its programme's policy allows. Returns why not, or an empty text."""
    run = lock_run(tx, run_id, states=(RunState.PLANNED,), verb="approved")
    reason = policy_refusal(tx, run, now=now)
    if reason == "":
        _approve(tx, run, approval=Approval.POLICY, operator="policy")
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
    )
    return next((reason for reason, refuses in guard_rails if refuses), "")


def _approve(tx: Tx, run: Run, *, approval: Approval, operator: str) -> Run:
    changed = tx.execute(SET_APPROVED, run_id=run.id, approval=str(approval), approved_by=operator, approved_at=tx.now)
    if changed != 1:
        raise RefusedByState(f"run {run_code(run)} changed while it was being approved", hint="repeat the command")
    append(
        tx,
        RunApproved(
            **of_run(tx, run), approval=str(approval), digest=run.digest, planned=run.lines,
            planned_minor=run.planned_minor, currency=run.currency, operator=operator,
        ),
    )  # fmt: skip
    return tx.get(Run, Run.id == run.id)

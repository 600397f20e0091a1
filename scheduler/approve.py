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
#: The one guard rail that looks at the clock, and its place among those of the view `policy_rail` (migration 0008).
OLDER = (30, "approval: the cycle is older than the one before this")

LIST_RAILS = Query("""
-- list_rails: the guard rails that stand before a run, but for those that read its lines; bounded by the rails
SELECT place, reason FROM policy_rail WHERE run_id = :run_id AND place < 900 ORDER BY place
""")

LIST_RAILS_OF_LINES = Query("""
-- list_rails_of_lines: the guard rails that read a run's lines, and are asked last; bounded by the rails
SELECT place, reason FROM policy_rail WHERE run_id = :run_id AND place >= 900 ORDER BY place
""")

HOLD_POLICY = Query(
    """
-- hold_policy: runs of one month are looked at one after the other, so that two do not fit under one limit
SELECT pg_advisory_xact_lock(hashtextextended('policy/' || CAST(:programme_id AS TEXT) || '/' || :cycle, 0))
""",
    sqlite="-- hold_policy: there is one writer\nSELECT 1",
)

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
    tx.allow_long_statement()
    run = lock_run(tx, run_id, states=(RunState.PLANNED,), verb="approved")
    tx.one(HOLD_POLICY, programme_id=run.programme_id, cycle=run.cycle)
    reason = policy_refusal(tx, run, now=now)
    if reason == "":
        approve(tx, run, approval=Approval.POLICY, operator="policy")
    return reason


def policy_refusal(tx: Tx, run: Run, *, now: datetime) -> str:
    """Why the policy does not approve a run: the first guard rail that stands before it. Empty if it does approve."""
    rails = _rails(tx, run, now=now) or _rails_of_lines(tx, run)
    return rails[0][1] if rails else ""


def list_refusals(tx: Tx, run: Run, *, now: datetime) -> list[str]:
    """All guard rails that stand before a run, in their order: what a person who approves should look at."""
    return [reason for _, reason in _rails(tx, run, now=now) + _rails_of_lines(tx, run)]


def _rails(tx: Tx, run: Run, *, now: datetime) -> list[tuple[int, str]]:
    location = tx.get(Location, Location.code == run.location_code)
    oldest = local_cycle(now, zone(location.time_zone)).previous()
    rails = [(int(row.place), str(row.reason)) for row in tx.all(LIST_RAILS, run_id=run.id)]
    return sorted([*rails, OLDER] if Cycle.parse(run.cycle) < oldest else rails)


def _rails_of_lines(tx: Tx, run: Run) -> list[tuple[int, str]]:
    return [(int(row.place), str(row.reason)) for row in tx.all(LIST_RAILS_OF_LINES, run_id=run.id)]


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

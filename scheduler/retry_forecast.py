"""What a retry of chosen cases would come to, run by run: how many can be tried again, and why the others cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from models.case_groups import CaseChoice, typed_run
from models.cases import CHOSEN
from models.errors import NotFound, RefusedByState
from models.money import format_amount
from models.runs import lock_run
from models.states import CaseState, RunState
from models.storage import Query, Tx
from models.tables import Case, Fund, Programme
from scheduler.retry import SUM_CASES, WITH_CASES, Choice

LIST_RUNS_TO_RETRY = Query(f"""
-- list_runs_to_retry: those with chosen open cases; bounded by the runs
SELECT r.id AS run_id, r.cycle, r.location_code, r.part, r.state, r.completed_at, r.currency, p.code AS programme,
       COUNT(*) AS cases
FROM cases c JOIN run r ON r.id = c.run_id JOIN programme p ON p.id = r.programme_id
WHERE {CHOSEN} AND c.state = 'open'
GROUP BY r.id, r.cycle, r.location_code, r.part, r.state, r.completed_at, r.currency, p.code
ORDER BY r.cycle, r.location_code, r.part, p.code
""")  # noqa: S608  # of constants, of no input


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one run: all of its chosen cases are tried again, or none."""

    run_id: int
    run: str  #: as a command takes it
    cases: int
    amount_minor: int
    to_reserve_minor: int
    currency: str
    refusal: str  #: why they cannot be tried again; empty if they can
    hint: str  #: what must be done first


def choice_within_a_run(chosen: CaseChoice) -> Choice:
    """The same cases, for `scheduler.retry`."""
    return Choice(case_id=chosen.case_id, reason=chosen.reason, error=chosen.error, waiting=chosen.waiting)


def forecast_retries(tx: Tx, chosen: CaseChoice) -> list[Forecast]:
    """What `retry` would do in each run with chosen cases, in this order: what a fund gives one, the next cannot have.

    Raises NotFound for a case that does not exist, RefusedByState for a closed one, and for a run that cannot have any.
    """
    rows = tx.all(LIST_RUNS_TO_RETRY, **chosen.parameters())
    if not rows:
        _refuse_impossible(tx, chosen)
    several = len(tx.list(Programme, limit=2)) > 1
    funds = {fund.id: fund for fund in tx.list(Fund)}
    left = {fund.id: fund.balance_minor for fund in funds.values()}
    within = choice_within_a_run(chosen).parameters()
    forecasts = []
    for row in rows:
        shares = tx.all(SUM_CASES, run_id=row.run_id, no=False, now=tx.now, **within)
        typed = typed_run(row, several=several)
        refusal, hint = _state_refusal(row, typed) or _fund_refusal(shares, funds, left, row.currency) or ("", "")
        if not refusal:
            for share in shares:
                left[share.fund_id] -= share.unreserved_minor
        forecasts.append(
            Forecast(
                run_id=row.run_id, run=typed, cases=int(row.cases),
                amount_minor=sum(share.amount_minor for share in shares),
                to_reserve_minor=sum(share.unreserved_minor for share in shares), currency=row.currency,
                refusal=refusal, hint=hint,
            )
        )  # fmt: skip
    return forecasts


def _state_refusal(row: Row[Any], typed: str) -> tuple[str, str] | None:
    if row.state == RunState.PAUSED:
        return "the run is paused", f"despensa run resume {typed}"
    if row.state == RunState.CANCELLED and row.completed_at is None:
        return "the run is still being cancelled", "repeat in a few seconds"
    return None


def _fund_refusal(
    shares: Sequence[Row[Any]], funds: dict[int, Fund], left: dict[int, int], currency: str
) -> tuple[str, str] | None:
    for share in shares:
        if share.unreserved_minor > left[share.fund_id]:
            needed, there = (format_amount(each, currency) for each in (share.unreserved_minor, left[share.fund_id]))
            return (
                f"fund {funds[share.fund_id].code} is too small: {needed} are to be reserved again, {there} are left",
                "add money to the fund in funds.csv, then: despensa import funds.csv",
            )
    return None


def _refuse_impossible(tx: Tx, chosen: CaseChoice) -> None:
    """No case was found: that may be good news, or a command that cannot mean what it says."""
    if chosen.case_id:
        case = tx.find(Case, Case.id == chosen.case_id)
        if case is None:
            raise NotFound(f"there is no case {chosen.case_id}", hint="despensa run cases --each")
        if case.state != CaseState.OPEN:
            raise RefusedByState(f"case {chosen.case_id} is closed: {case.outcome}", hint="despensa run cases --each")
    if chosen.run_id:
        lock_run(tx, chosen.run_id, states=WITH_CASES, verb="retried")

"""What a retry of chosen cases would come to, run by run: how many can be tried again, and why the others cannot."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from models.case_groups import CaseChoice, typed_run
from models.cases import CHOSEN
from models.errors import NotFound, RefusedByState
from models.funds import sum_reserved
from models.money import format_amount
from models.runs import lock_run
from models.states import CaseState, RunState
from models.storage import Query, Tx
from models.tables import Case, Fund, Programme
from scheduler.retry import SUM_CASES, WITH_CASES, Choice

LIST_RUNS_TO_RETRY = Query(f"""
-- list_runs_to_retry: those with chosen open cases; bounded by the runs
SELECT r.id AS run_id, r.cycle, r.location_code, r.part, r.state, r.completed_at, r.currency, r.programme_id,
       p.code AS programme, COUNT(*) AS cases
FROM cases c JOIN run r ON r.id = c.run_id JOIN programme p ON p.id = r.programme_id
WHERE {CHOSEN} AND c.state = 'open'
GROUP BY r.id, r.cycle, r.location_code, r.part, r.state, r.completed_at, r.currency, r.programme_id, p.code
ORDER BY r.cycle, r.location_code, r.part, p.code
""")  # noqa: S608  # of constants, of no input

MONEY = "add money to the fund in funds.csv, then: despensa import funds.csv"
CAP = "raise the cap (funds.csv, cycle_max; programme.toml, [caps]), then import the file"


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
    programmes = {programme.id: programme for programme in tx.list(Programme)}
    several = len(programmes) > 1
    rooms = _Rooms(tx, programmes)
    within = choice_within_a_run(chosen).parameters()
    forecasts = []
    for row in rows:
        shares = tx.all(SUM_CASES, run_id=row.run_id, no=False, now=tx.now, **within)
        typed = typed_run(row, several=several)
        again = {int(share.fund_id): int(share.unreserved_minor) for share in shares if share.unreserved_minor}
        refusal, hint = _state_refusal(row, typed) or rooms.refusal(row, again) or ("", "")
        if not refusal:
            rooms.draw(row, again)
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


class _Rooms:
    """What funds and caps leave, run after run."""

    def __init__(self, tx: Tx, programmes: dict[int, Programme]) -> None:
        self._tx = tx
        self._programmes = programmes
        self._funds = {fund.id: fund for fund in tx.list(Fund)}
        self._left = {fund.id: fund.balance_minor for fund in self._funds.values()}
        self._reserved: dict[tuple[int, str], dict[int, int]] = {}  #: by programme and cycle, then by fund

    def refusal(self, row: Row[Any], again: dict[int, int]) -> tuple[str, str] | None:
        """Why a run cannot reserve this again, by fund, and what must be done first."""
        reserved = self._of_month(row)
        for fund_id, amount_minor in again.items():
            fund = self._funds[fund_id]
            if amount_minor > self._left[fund_id]:
                return _too_small(f"fund {fund.code} is too small", amount_minor, self._left[fund_id], row), MONEY
            if fund.cycle_max_minor is not None:
                left_minor = fund.cycle_max_minor - reserved.get(fund_id, 0)
                if amount_minor > left_minor:
                    return _too_small(f"the cap of fund {fund.code} is too small", amount_minor, left_minor, row), CAP
        cap_minor = self._programmes[row.programme_id].cycle_max_minor
        if cap_minor is not None and again:
            left_minor = cap_minor - sum(reserved.values())
            if sum(again.values()) > left_minor:
                return _too_small("the programme's cap is too small", sum(again.values()), left_minor, row), CAP
        return None

    def draw(self, row: Row[Any], again: dict[int, int]) -> None:
        """What this run reserves, the next cannot have."""
        reserved = self._of_month(row)
        for fund_id, amount_minor in again.items():
            self._left[fund_id] -= amount_minor
            reserved[fund_id] = reserved.get(fund_id, 0) + amount_minor

    def _of_month(self, row: Row[Any]) -> dict[int, int]:
        month = (int(row.programme_id), str(row.cycle))
        if month not in self._reserved:
            self._reserved[month] = sum_reserved(self._tx, month[0], cycle=month[1])
        return self._reserved[month]


def _too_small(what: str, needed_minor: int, left_minor: int, row: Row[Any]) -> str:
    needed, left = (format_amount(each, row.currency) for each in (needed_minor, max(0, left_minor)))
    return f"{what}: {needed} are to be reserved again, {left} are left"


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

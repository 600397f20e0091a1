"""Months: cities × cycle."""

from collections.abc import Sequence
from datetime import datetime

from console.dashboard.board import Board
from console.dashboard.show import instant, missing_slots, remaining_s
from console.dashboard.told import RunTold, SlotTold
from console.dashboard.views import City, Month, MonthsView, RunRow, Total

SlotKey = tuple[str, str, str]
#: A city's state is that of its run which needs most attention.
ATTENTION = (
    "paused", "blocked", "running", "completed_with_cases", "cancelled", "expected", "completed",
)  # fmt: skip
#: A run's state, as a city's.
STATES = {"released": "running", "approved": "expected", "planned": "expected"}


def show_months(board: Board, *, now: datetime) -> MonthsView:
    """Newest cycle first, cities by name."""
    runs: dict[SlotKey, list[RunTold]] = {}
    for run in board.told.runs.values():
        runs.setdefault((run.programme, run.location, run.cycle), []).append(run)
    missing = missing_slots(board, now=now)
    months: dict[str, list[tuple[City, list[RunTold]]]] = {}
    for key in sorted(board.told.slots.keys() | runs.keys()):
        parts = sorted(runs.get(key, []), key=lambda run: run.part)
        if parts:
            city = _city_of_runs(parts, board.told.slots.get(key), now=now)
        else:
            city = _city_of_slot(board.told.slots[key], missing=key in missing, now=now)
        months.setdefault(key[2], []).append((city, parts))
    return MonthsView([_month(cycle, months[cycle], now=now) for cycle in sorted(months, reverse=True)])


def show_row(run: RunTold, *, now: datetime) -> RunRow:
    """A run's counts."""
    newest = {notice.store: notice for notice in sorted(run.notices.values(), key=lambda notice: notice.number)}
    states = [notice.state for notice in newest.values()]
    return RunRow(
        run.run_id, run.run, run.part, run.state, run.late, run.blocked, run.planned, run.credited, run.open_cases,
        run.not_owed, run.planned_minor, run.credited_minor, stores=len(newest), stores_told=states.count("delivered"),
        stores_undelivered=states.count("undelivered"), remaining_s=remaining_s([run], now=now),
    )  # fmt: skip


def _month(cycle: str, cities: Sequence[tuple[City, list[RunTold]]], *, now: datetime) -> Month:
    kinds = sorted({(city.programme, city.currency) for city, _ in cities})
    totals = [
        _total(kind, [(city, runs) for city, runs in cities if (city.programme, city.currency) == kind], now=now)
        for kind in kinds
    ]
    return Month(cycle, [city for city, _ in sorted(cities, key=lambda each: (each[0].name, each[0].location))], totals)


def _total(kind: tuple[str, str], cities: Sequence[tuple[City, list[RunTold]]], *, now: datetime) -> Total:
    def total(name: str) -> int:
        return sum(int(getattr(city, name)) for city, _ in cities)

    counted = ("families", "credited", "cases", "not_owed", "expected_minor", "credited_minor", "difference_minor")
    return Total(
        programme=kind[0], currency=kind[1], cities=len(cities),
        **{name: total(name) for name in (*counted, "stores", "stores_told")},
        remaining_s=remaining_s([run for _, runs in cities for run in runs], now=now),
    )  # fmt: skip


def _city_of_runs(runs: Sequence[RunTold], slot: SlotTold | None, *, now: datetime) -> City:
    rows = [show_row(run, now=now) for run in runs]
    states = [_state(run, now=now) for run in runs]
    state = min(states, key=lambda state: ATTENTION.index(state) if state in ATTENTION else len(ATTENTION))
    first = runs[0]
    planned_minor, credited_minor = sum(row.planned_minor for row in rows), sum(row.credited_minor for row in rows)
    return City(
        first.programme, first.location, first.name, first.time_zone, slot.opens_at if slot else first.opens_at, state,
        late=any(run.late for run in runs), blocked=next((run.blocked for run in runs if run.blocked), ""),
        currency=first.currency, families=sum(row.planned for row in rows), credited=sum(row.credited for row in rows),
        cases=sum(row.cases for row in rows), not_owed=sum(row.not_owed for row in rows), expected_minor=planned_minor,
        credited_minor=credited_minor, difference_minor=planned_minor - credited_minor,
        stores=sum(row.stores for row in rows), stores_told=sum(row.stores_told for row in rows),
        stores_undelivered=sum(row.stores_undelivered for row in rows), remaining_s=remaining_s(runs, now=now),
        runs=rows,
    )  # fmt: skip


def _state(run: RunTold, *, now: datetime) -> str:
    if run.state in {"planned", "approved"} and (run.blocked or instant(run.opens_at) <= now):
        return "blocked"
    return STATES.get(run.state, run.state)


def _city_of_slot(slot: SlotTold, *, missing: bool, now: datetime) -> City:
    state = "blocked" if slot.blocked else "expected"
    if instant(slot.opens_at) <= now:
        state = "missing" if missing else "due"
    return City(
        slot.programme, slot.location, slot.name, slot.time_zone, slot.opens_at, state, late=False,
        blocked=slot.blocked, currency=slot.currency, families=slot.families, credited=0, cases=0, not_owed=0,
        expected_minor=slot.amount_minor, credited_minor=0, difference_minor=slot.amount_minor, stores=0,
        stores_told=0, stores_undelivered=0, remaining_s=None, runs=[],
    )  # fmt: skip

"""Which slots are due, and which are expected: from the calendar, the places and what exists."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from models.calendar import Cycle, Payday, Place, Slot, is_late, is_open, slots_within_reach, upcoming_slot, zone
from models.columns import instant_text
from models.errors import UnknownZone
from models.events import SlotExpected
from models.funds import list_sources
from models.journal import append
from models.money import TransferValue, amounts_by_members
from models.states import Approval
from models.storage import Query, Tx
from models.tables import ExchangeRate, ExpectedSlot, Location, Programme

LIST_PLACES = Query("""
-- list_places: where programmes run; bounded by the number of locations in the country
SELECT p.id AS programme_id, l.code AS location_code, l.time_zone, pl.first_cycle, p.payday_day, p.payday_time
FROM programme_location pl JOIN programme p ON p.id = pl.programme_id JOIN location l ON l.code = pl.location_code
ORDER BY p.id, l.code
""")

NOTE_EXPECTED = Query("""
-- note_expected: a slot's payday is journalled; no row changes where another ticker did so
INSERT INTO expected_slot (programme_id, location_code, cycle) VALUES (:programme_id, :location_code, :cycle)
ON CONFLICT DO NOTHING
""")

EXISTS_RUN = Query("""
-- exists_run: whether a slot has its first run
SELECT 1 FROM run WHERE programme_id = :programme_id AND location_code = :location_code AND cycle = :cycle AND part = 1
""")

#: Of households `h CROSS JOIN` enrolments `e`: entitled in this slot, and without a line of its cycle. Joined in this
#: order, since SQLite would begin with the enrolments of all places.
ENTITLED = """h.location_code = :location_code AND e.household_id = h.id AND e.programme_id = :programme_id
  AND e.status = 'active' AND e.first_cycle <= :cycle AND e.last_cycle >= :cycle
  AND NOT EXISTS (SELECT 1 FROM disbursement d
                  WHERE d.programme_id = :programme_id AND d.household_id = h.id AND d.cycle = :cycle)"""

COUNT_ENTITLED = Query(f"""
-- count_entitled: entitled families of a slot without a line, by group and members; at most 200 rows
SELECT h.group_code, h.members, COUNT(*) AS families
FROM household h CROSS JOIN enrolment e
WHERE {ENTITLED}
GROUP BY h.group_code, h.members ORDER BY h.group_code
""")  # noqa: S608  # of constants, of no input

EXISTS_ENTITLED = Query(f"""
-- exists_entitled: whether a slot has an entitled family without a line
SELECT 1
FROM household h CROSS JOIN enrolment e
WHERE {ENTITLED}
LIMIT 1
""")  # noqa: S608  # of constants, of no input

SUM_CYCLE = Query("""
-- sum_cycle: what the runs of a slot came to
SELECT COALESCE(SUM(lines), 0) AS families, CAST(COALESCE(SUM(planned_minor), 0) AS BIGINT) AS amount_minor
FROM run WHERE programme_id = :programme_id AND location_code = :location_code AND cycle = :cycle
""")


@dataclass(frozen=True, slots=True)
class DueSlot:
    """A slot that should have its first run now."""

    slot: Slot
    late: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan of a slot would come to, and what stands in its way; amounts in the voucher's currency."""

    families: int
    amount_minor: int
    blocked: str


def list_places(tx: Tx, *, lost: list[UnknownZone] | None = None) -> list[Place]:
    """Every location of every programme.

    One whose time zone the installed data has lost is left out and noted in `lost`; without that, UnknownZone is
    raised.
    """
    places: list[Place] = []
    for row in tx.all(LIST_PLACES):
        try:
            time_zone = zone(row.time_zone)
        except UnknownZone as error:
            if lost is None:
                raise
            lost.append(error)
            continue
        places.append(
            Place(
                programme_id=row.programme_id,
                location_code=row.location_code,
                time_zone=time_zone,
                first_cycle=Cycle.parse(row.first_cycle),
                payday=Payday(day=row.payday_day, time=dt.time.fromisoformat(row.payday_time)),
            )
        )
    return places


def list_due(tx: Tx, places: Sequence[Place], *, now: dt.datetime) -> list[DueSlot]:
    """The open slots within reach that have no run yet, oldest first."""
    return [
        DueSlot(slot, late=is_late(slot, now=now))
        for place in places
        for slot in slots_within_reach(place, now=now)
        if is_open(slot, now=now) and not _has_run(tx, slot)
    ]


def has_families(tx: Tx, slot: Slot) -> bool:
    """Whether a plan of this slot would have a line."""
    key = {"programme_id": slot.programme_id, "location_code": slot.location_code, "cycle": str(slot.cycle)}
    return tx.first(EXISTS_ENTITLED, **key) is not None


def journal_expected(tx: Tx, places: Sequence[Place], *, now: dt.datetime) -> int:
    """Journal `slot.expected` for each slot that opens within seven days, once. Returns how many."""
    count = 0
    for place in places:
        slot = upcoming_slot(place, now=now)
        if slot is None or _is_expected(tx, slot):
            continue
        programme = tx.get(Programme, Programme.id == place.programme_id)
        key = {"programme_id": programme.id, "location_code": place.location_code, "cycle": str(slot.cycle)}
        if tx.execute(NOTE_EXPECTED, **key) != 1:
            continue  # another ticker is journalling it
        forecast = forecast_slot(tx, programme, location_code=place.location_code, cycle=slot.cycle)
        append(
            tx,
            SlotExpected(
                programme=programme.code,
                location=place.location_code,
                location_name=tx.get(Location, Location.code == place.location_code).name,
                time_zone=place.time_zone.key,
                cycle=str(slot.cycle),
                opens_at=instant_text(slot.opens_at),
                opens_local=slot.opens_at.astimezone(place.time_zone).isoformat(timespec="minutes"),
                families=forecast.families,
                amount_minor=forecast.amount_minor,
                currency=programme.currency,
                blocked=forecast.blocked,
            ),
        )
        count += 1
    return count


def forecast_slot(tx: Tx, programme: Programme, *, location_code: str, cycle: Cycle) -> Forecast:
    """What planning this slot now would come to. A missing rate leaves the amount at 0."""
    rows = tx.all(COUNT_ENTITLED, programme_id=programme.id, location_code=location_code, cycle=str(cycle))
    families = sum(row.families for row in rows)
    rate = find_rate(tx, programme, cycle)
    if rate is None and programme.currency != programme.value_currency:
        return Forecast(families, 0, "rate")
    amounts = slot_amounts(programme, rate)
    by_group: dict[str, int] = {}
    for row in rows:
        by_group[row.group_code] = by_group.get(row.group_code, 0) + amounts[row.members] * row.families
    amount_minor = sum(by_group.values())
    sources = list_sources(tx, programme, cycle=str(cycle)).at(location_code)
    if sources.pour(sources.wanted(by_group)) < amount_minor:
        return Forecast(families, amount_minor, "funds")
    needs_person = _needs_person(
        tx, programme, families=families, amount_minor=amount_minor, location_code=location_code, cycle=cycle
    )
    return Forecast(families, amount_minor, "approval" if needs_person else "")


def _needs_person(
    tx: Tx, programme: Programme, *, families: int, amount_minor: int, location_code: str, cycle: Cycle
) -> bool:
    """As far as is known before there is a plan; what decides then is the view `policy_rail`."""
    limits_minor = (
        programme.policy_run_max_minor, programme.two_approvals_above_minor, programme.policy_location_max_minor,
        programme.policy_cycle_max_minor,
    )  # fmt: skip
    if programme.approval == Approval.PERSON or any(
        limit_minor is not None and amount_minor > limit_minor for limit_minor in limits_minor
    ):
        return True
    before = tx.one(SUM_CYCLE, programme_id=programme.id, location_code=location_code, cycle=str(cycle.previous()))
    changes = (
        (families, int(before.families), programme.policy_families_percent),
        (amount_minor, int(before.amount_minor), programme.policy_amount_percent),
    )
    return any(
        percent is not None and (then == 0 or abs(now - then) * 100 > percent * then) for now, then, percent in changes
    )


def find_rate(tx: Tx, programme: Programme, cycle: Cycle) -> ExchangeRate | None:
    """The exchange rate of a cycle, from the transfer value's currency to the voucher's."""
    return tx.find(
        ExchangeRate,
        ExchangeRate.programme_id == programme.id,
        ExchangeRate.cycle == str(cycle),
        ExchangeRate.from_currency == programme.value_currency,
        ExchangeRate.to_currency == programme.currency,
    )


def slot_amounts(programme: Programme, rate: ExchangeRate | None) -> dict[int, int]:
    """What a household of so many members gets, in minor units of the voucher's currency."""
    value = TransferValue(
        base_minor=programme.base_minor,
        per_member_minor=programme.per_member_minor,
        cap_minor=programme.cap_minor,
        currency=programme.value_currency,
    )
    return amounts_by_members(
        value, rate_millionths=rate.rate_millionths if rate else None, round_to_minor=programme.round_to_minor
    )


def _has_run(tx: Tx, slot: Slot) -> bool:
    return (
        tx.first(EXISTS_RUN, programme_id=slot.programme_id, location_code=slot.location_code, cycle=str(slot.cycle))
        is not None
    )


def _is_expected(tx: Tx, slot: Slot) -> bool:
    return (
        tx.find(
            ExpectedSlot,
            ExpectedSlot.programme_id == slot.programme_id,
            ExpectedSlot.location_code == slot.location_code,
            ExpectedSlot.cycle == str(slot.cycle),
        )
        is not None
    )

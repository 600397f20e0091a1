"""What planning a cycle would come to, before anything is written: families, amounts, rate, and who is left out."""

from dataclasses import dataclass

from models.calendar import Cycle
from models.funds import Source, Sources, list_sources
from models.storage import Query, Tx
from models.tables import Location, Programme, ProgrammeLocation
from scheduler.due import COUNT_ENTITLED, SUM_CYCLE, find_rate, slot_amounts

COUNT_LEFT_OUT = Query("""
-- count_left_out: families enrolled in a location that a plan of this cycle would not include, by reason
SELECT SUM(CASE WHEN has_line = 1 THEN 1 ELSE 0 END) AS has_line,
       SUM(CASE WHEN has_line = 0 AND inside = 1 AND status = 'held' THEN 1 ELSE 0 END) AS held,
       SUM(CASE WHEN has_line = 0 AND inside = 1 AND status = 'stopped' THEN 1 ELSE 0 END) AS stopped,
       SUM(CASE WHEN has_line = 0 AND inside = 0 THEN 1 ELSE 0 END) AS outside_window
FROM (SELECT e.status,
             CASE WHEN e.first_cycle <= :cycle AND e.last_cycle >= :cycle THEN 1 ELSE 0 END AS inside,
             CASE WHEN EXISTS (SELECT 1 FROM disbursement d WHERE d.programme_id = e.programme_id
                               AND d.household_id = h.id AND d.cycle = :cycle) THEN 1 ELSE 0 END AS has_line
      FROM household h CROSS JOIN enrolment e
      WHERE h.location_code = :location_code AND e.household_id = h.id AND e.programme_id = :programme_id) enrolled
""")


@dataclass(frozen=True, slots=True)
class GroupPreview:
    """Families of one group in one location; the amount in minor units of the voucher's currency."""

    location_code: str
    location: str
    group: str
    families: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Families of a location that a plan would not include, by reason."""

    location_code: str
    has_line: int
    held: int
    stopped: int
    outside_window: int


@dataclass(frozen=True, slots=True)
class LocationPreview:
    """One location: what would be planned, and what the month before came to."""

    location_code: str
    location: str
    families: int
    amount_minor: int
    families_before: int
    amount_before_minor: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What planning a cycle would come to. Without a rate where one is needed, amounts are 0 and `blocked` says so."""

    cycle: str
    currency: str
    rate_millionths: int | None
    fund_available_minor: int  #: of the funds that may pay for any of these locations, within their caps
    locations: list[LocationPreview]
    groups: list[GroupPreview]
    left_out: list[LeftOut]
    blocked: str


def preview(tx: Tx, programme: Programme, *, cycle: Cycle, location_code: str = "") -> Preview:
    """Of one location, or of every location of a programme that has begun by this cycle."""
    rate = find_rate(tx, programme, cycle)
    rate_missing = rate is None and programme.currency != programme.value_currency
    amounts = {} if rate_missing else slot_amounts(programme, rate)
    locations: list[LocationPreview] = []
    groups: list[GroupPreview] = []
    left_out: list[LeftOut] = []
    sources = list_sources(tx, programme, cycle=str(cycle))
    payers: dict[int, Source] = {}
    poured_minor = 0
    for place in tx.list(ProgrammeLocation, ProgrammeLocation.programme_id == programme.id):
        if place.first_cycle > str(cycle) or location_code not in ("", place.location_code):
            continue
        location = tx.get(Location, Location.code == place.location_code)
        of_location = _groups(tx, programme, location, cycle=cycle, amounts=amounts)
        groups += of_location
        locations.append(_location(tx, programme, location, of_location, cycle=cycle))
        left_out.append(_left_out(tx, programme, location, cycle=cycle))
        here = sources.at(location.code)
        payers |= {fund.fund_id: fund for fund in here.funds}
        poured_minor += here.pour(here.wanted({group.group: group.amount_minor for group in of_location}))
    total_minor = sum(each.amount_minor for each in locations)
    available_minor = poured_minor + Sources(list(payers.values()), sources.left).left_minor
    blocked = "rate" if rate_missing else "funds" if total_minor > poured_minor else ""
    rate_millionths = rate.rate_millionths if rate else None
    return Preview(
        str(cycle), programme.currency, rate_millionths, available_minor, locations, groups, left_out, blocked
    )


def _groups(
    tx: Tx, programme: Programme, location: Location, *, cycle: Cycle, amounts: dict[int, int]
) -> list[GroupPreview]:
    sums: dict[str, tuple[int, int]] = {}
    rows = tx.all(COUNT_ENTITLED, programme_id=programme.id, location_code=location.code, cycle=str(cycle))
    for row in rows:
        families, amount_minor = sums.get(row.group_code, (0, 0))
        more_minor = amounts.get(row.members, 0) * row.families
        sums[row.group_code] = (families + row.families, amount_minor + more_minor)
    return [GroupPreview(location.code, location.name, group, *counts) for group, counts in sorted(sums.items())]


def _location(
    tx: Tx, programme: Programme, location: Location, groups: list[GroupPreview], *, cycle: Cycle
) -> LocationPreview:
    before = tx.one(SUM_CYCLE, programme_id=programme.id, location_code=location.code, cycle=str(cycle.previous()))
    return LocationPreview(
        location.code,
        location.name,
        families=sum(group.families for group in groups),
        amount_minor=sum(group.amount_minor for group in groups),
        families_before=int(before.families),
        amount_before_minor=int(before.amount_minor),
    )


def _left_out(tx: Tx, programme: Programme, location: Location, *, cycle: Cycle) -> LeftOut:
    row = tx.one(COUNT_LEFT_OUT, programme_id=programme.id, location_code=location.code, cycle=str(cycle))
    counts = {name: int(getattr(row, name) or 0) for name in ("has_line", "held", "stopped", "outside_window")}
    return LeftOut(location.code, **counts)

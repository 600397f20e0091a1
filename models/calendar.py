"""The calendar: benefit months, paydays at local time, and the slots within reach. Pure: `now` is an argument."""

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from models.errors import UnknownZone

#: Catch-up reaches this many cycles back; older ones need `--cycle` and a person's approval. Source: design.md.
CATCH_UP_CYCLES = 1
#: Cron starts the month every hour; one missed hour is tolerated before a slot is late.
LATE_AFTER = dt.timedelta(hours=2)
#: So long before its payday a slot is journalled as expected. Source: design.md, How a month flows.
EXPECTED_WITHIN = dt.timedelta(days=7)

_CYCLE = re.compile(r"(2[01][0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)


class BadCycle(ValueError):
    """Text that is no cycle. The message states the rule."""


@dataclass(frozen=True, slots=True, order=True)
class Cycle:
    """A benefit month: a local month, never derived from a UTC instant."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Cycle":
        """`2026-12`, of the years 2000 to 2199. Raises BadCycle."""
        found = _CYCLE.fullmatch(text)
        if found is None:
            raise BadCycle("a cycle is written YYYY-MM, like 2026-12")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def plus(self, months: int) -> "Cycle":
        """So many months later, or earlier."""
        year, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Cycle(year, month + 1)

    def next(self) -> "Cycle":
        """The month after."""
        return self.plus(1)

    def previous(self) -> "Cycle":
        """The month before."""
        return self.plus(-1)

    def months_since(self, earlier: "Cycle") -> int:
        """How many months after `earlier` this is."""
        return (self.year - earlier.year) * 12 + self.month - earlier.month


@dataclass(frozen=True, slots=True)
class Payday:
    """The local date and time of a month from which vouchers are credited. A day is 1 to 28."""

    day: int
    time: dt.time


@dataclass(frozen=True, slots=True)
class Place:
    """A location as the calendar sees it."""

    programme_id: int
    location_code: str
    time_zone: ZoneInfo
    first_cycle: Cycle
    payday: Payday


@dataclass(frozen=True, slots=True)
class Slot:
    """One location's cycle, and the instant in UTC from which its run may be released."""

    programme_id: int
    location_code: str
    cycle: Cycle
    opens_at: dt.datetime


def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name. Raises UnknownZone."""
    try:
        if "/" not in name or name.startswith("/"):
            raise UnknownZone(f"{name!r} is no IANA time zone such as America/Tijuana")
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownZone(
            f"the installed time-zone data does not know {name!r}", hint="correct it in locations.csv"
        ) from None


def opens_at(cycle: Cycle, payday: Payday, time_zone: ZoneInfo) -> dt.datetime:
    """The instant, in UTC, from which a slot may be released: its payday at local time.

    A local time that occurs twice (end of daylight saving) means its first occurrence; one that does not exist means
    the next instant that does. Source: design.md, Money and time.
    """
    local = dt.datetime.combine(dt.date(cycle.year, cycle.month, payday.day), payday.time, tzinfo=time_zone)
    utc = local.replace(fold=0).astimezone(dt.UTC)
    if utc.astimezone(time_zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return utc
    # In the gap: fold=0 counts with the offset before it, fold=1 with the one after. The gap ends where they meet.
    before, after = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
    assert before is not None and after is not None
    return _gap_end(utc, time_zone, width=after - before)


def local_cycle(now: dt.datetime, time_zone: ZoneInfo) -> Cycle:
    """The local month of an aware instant. Raises ValueError on a naive one."""
    if now.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    local = now.astimezone(time_zone)
    return Cycle(local.year, local.month)


def slots_within_reach(place: Place, *, now: dt.datetime) -> list[Slot]:
    """The slots of the current local cycle and of CATCH_UP_CYCLES before it, oldest first, open or not."""
    current = local_cycle(now, place.time_zone)
    reach = (current.plus(-back) for back in range(CATCH_UP_CYCLES, -1, -1))
    return [slot_of(place, cycle) for cycle in reach if cycle >= place.first_cycle]


def upcoming_slot(place: Place, *, now: dt.datetime, within: dt.timedelta = EXPECTED_WITHIN) -> Slot | None:
    """The slot that opens later than `now` and within the given time, if there is one."""
    current = local_cycle(now, place.time_zone)
    slots = (slot_of(place, cycle) for cycle in (current, current.next()) if cycle >= place.first_cycle)
    return next((slot for slot in slots if now < slot.opens_at <= now + within), None)


def slot_of(place: Place, cycle: Cycle) -> Slot:
    """A place's slot of a cycle."""
    return Slot(place.programme_id, place.location_code, cycle, opens_at(cycle, place.payday, place.time_zone))


def is_open(slot: Slot, *, now: dt.datetime) -> bool:
    """Whether its payday has come."""
    return slot.opens_at <= now


def is_late(slot: Slot, *, now: dt.datetime) -> bool:
    """Whether it was missed: more than LATE_AFTER beyond its payday."""
    return now > slot.opens_at + LATE_AFTER


def last_cycle(first: Cycle, cycles: int) -> Cycle:
    """The last month of an enrolment of so many cycles."""
    return first.plus(cycles - 1)


def _gap_end(utc: dt.datetime, time_zone: ZoneInfo, *, width: dt.timedelta) -> dt.datetime:
    """The first instant after a gap of this width that lies within `width` before `utc`."""
    low, high = utc - width, utc
    offset_after = high.astimezone(time_zone).utcoffset()
    while high - low > dt.timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(time_zone).utcoffset() == offset_after:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)

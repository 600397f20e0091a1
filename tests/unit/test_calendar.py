"""The calendar: every zone of the programme, both changes of clocks, and what is due when."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calendar import (
    BadCycle,
    Cycle,
    Payday,
    Place,
    is_late,
    is_open,
    local_cycle,
    opens_at,
    slots_within_reach,
    upcoming_slot,
    zone,
)
from models.errors import UnknownZone

NINE = Payday(1, time(9))
JANUARY = Cycle(2026, 1)
#: Zone, and its offset from UTC in hours in January and in July. Source: IANA tzdata, Mexico's law of 2022.
ZONES = [
    ("America/Tijuana", -8, -7),
    ("America/Hermosillo", -7, -7),
    ("America/Ciudad_Juarez", -7, -6),
    ("America/Chihuahua", -6, -6),
    ("America/Ojinaga", -6, -5),
    ("America/Matamoros", -6, -5),
    ("America/Monterrey", -6, -6),
    ("America/Mexico_City", -6, -6),
]


def a_place(name: str = "America/Tijuana", *, first: Cycle = JANUARY, payday: Payday = NINE) -> Place:
    """A location as the calendar sees it."""
    return Place(1, "02004", zone(name), first, payday)


@pytest.mark.parametrize(("name", "january", "july"), ZONES)
def test_payday_is_a_local_time_in_every_zone(name: str, january: int, july: int) -> None:
    assert opens_at(Cycle(2027, 1), NINE, zone(name)) == datetime(2027, 1, 1, 9 - january, tzinfo=UTC)
    assert opens_at(Cycle(2027, 7), NINE, zone(name)) == datetime(2027, 7, 1, 9 - july, tzinfo=UTC)


def test_local_time_that_does_not_exist_is_the_next_instant_that_does() -> None:
    """8 March 2026 in Tijuana: clocks jump from 02:00 to 03:00."""
    found = opens_at(Cycle(2026, 3), Payday(8, time(2, 30)), zone("America/Tijuana"))

    assert found == datetime(2026, 3, 8, 10, tzinfo=UTC)
    assert found.astimezone(zone("America/Tijuana")).time() == time(3)


def test_local_time_that_happens_twice_runs_at_its_first_occurrence() -> None:
    """1 November 2026 in Tijuana: clocks go back from 02:00 to 01:00."""
    found = opens_at(Cycle(2026, 11), Payday(1, time(1, 30)), zone("America/Tijuana"))

    assert found == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


def test_monterrey_keeps_its_clocks_on_both_days() -> None:
    assert opens_at(Cycle(2026, 3), Payday(8, time(2, 30)), zone("America/Monterrey")).hour == 8
    assert opens_at(Cycle(2026, 11), Payday(1, time(1, 30)), zone("America/Monterrey")).hour == 7


def test_last_evening_of_a_month_in_tijuana_is_still_that_month() -> None:
    assert local_cycle(datetime(2026, 12, 1, 7, 59, tzinfo=UTC), zone("America/Tijuana")) == Cycle(2026, 11)
    assert local_cycle(datetime(2026, 12, 1, 8, 0, tzinfo=UTC), zone("America/Tijuana")) == Cycle(2026, 12)


def test_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        local_cycle(datetime(2026, 12, 1), zone("America/Tijuana"))  # noqa: DTZ001


@pytest.mark.parametrize("name", ["America/Tijuanna", "Tijuana", "", "UTC+8", "/etc/localtime", "../../etc/passwd"])
def test_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownZone):
        zone(name)


def test_catch_up_reaches_the_cycle_before_and_never_before_the_first() -> None:
    now = datetime(2026, 12, 3, tzinfo=UTC)

    assert [str(slot.cycle) for slot in slots_within_reach(a_place(), now=now)] == ["2026-11", "2026-12"]
    begins = a_place(first=Cycle(2026, 12))
    assert [str(slot.cycle) for slot in slots_within_reach(begins, now=now)] == ["2026-12"]


def test_slot_is_late_two_hours_after_its_payday() -> None:
    slot = slots_within_reach(a_place(), now=datetime(2026, 12, 3, tzinfo=UTC))[-1]

    assert not is_open(slot, now=slot.opens_at - timedelta(microseconds=1))
    assert is_open(slot, now=slot.opens_at)
    assert not is_late(slot, now=slot.opens_at + timedelta(hours=2))
    assert is_late(slot, now=slot.opens_at + timedelta(hours=2, seconds=1))


def test_slot_is_expected_seven_days_before_its_payday() -> None:
    place = a_place()
    payday = opens_at(Cycle(2026, 12), NINE, place.time_zone)

    assert upcoming_slot(place, now=payday - timedelta(days=7, seconds=1)) is None
    expected = upcoming_slot(place, now=payday - timedelta(days=7))
    assert expected is not None
    assert expected.cycle == Cycle(2026, 12)
    assert upcoming_slot(place, now=payday) is None


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "2026-1", "26-01", "2026/01", "2026-01-01", "٢٠٢٦-٠١", "1999-12"]
)
def test_text_that_is_no_cycle_is_refused(text: str) -> None:
    with pytest.raises(BadCycle):
        Cycle.parse(text)


@given(st.integers(2000, 2199), st.integers(1, 12), st.integers(-600, 600))
def test_months_add_up(year: int, month: int, months: int) -> None:
    cycle = Cycle(year, month)

    assert cycle.plus(months).months_since(cycle) == months
    assert cycle.plus(months).plus(-months) == cycle


@given(st.sampled_from(ZONES), st.integers(2020, 2035), st.integers(1, 12), st.integers(1, 28), st.times())
def test_payday_is_never_before_its_local_time(
    named: tuple[str, int, int], year: int, month: int, day: int, at: time
) -> None:
    local_zone = zone(named[0])
    wanted = datetime(year, month, day, at.hour, at.minute)  # noqa: DTZ001

    found = opens_at(Cycle(year, month), Payday(day, time(at.hour, at.minute)), local_zone)

    local = found.astimezone(local_zone).replace(tzinfo=None)
    assert wanted <= local <= wanted + timedelta(hours=1)

"""The programme that the demo replays, written as the files that `despensa import` reads. One seed, one programme."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What IOM reports of the programme. Source: design.md, The programme it serves.
VOUCHERS = 3_703
FIRST_CYCLE = (2020, 5)
CYCLES = 17
#: Cities of the MPP return points: INEGI code, name, state, time zone, share of the families in percent (invented).
CITIES = (
    ("02004", "Tijuana", "Baja California", "America/Tijuana", 26),
    ("02002", "Mexicali", "Baja California", "America/Tijuana", 9),
    ("26043", "Nogales", "Sonora", "America/Hermosillo", 8),
    ("08037", "Juárez", "Chihuahua", "America/Ciudad_Juarez", 24),
    ("05025", "Piedras Negras", "Coahuila", "America/Matamoros", 6),
    ("28027", "Nuevo Laredo", "Tamaulipas", "America/Matamoros", 9),
    ("28022", "Matamoros", "Tamaulipas", "America/Matamoros", 18),
)
STORES_PER_CITY = 2
#: Pesos a dollar, month by month from FIRST_CYCLE on: of the right size, and illustrative.
RATES = (
    "23.42", "22.30", "22.40", "22.21", "21.68", "21.27", "20.38", "19.97", "19.92", "20.31", "20.76", "20.02", "19.96",
    "20.03", "19.97", "20.08", "20.05",
)  # fmt: skip
#: Cycles of an enrolment: three on average.
WINDOWS = (2, 3, 3, 3, 4)
#: 250 dollars and 50 a member: 400 for three members, which is the mean.
MEMBERS = (1, 2, 3, 4, 5)
GROUPS = ("mpp_asylum_seeker", "single_caregiver", "pregnant", "disability", "victim_of_crime")

PROGRAMME = """# Replayed by `despensa demo`.
code = "mpp-2020"
name = "Vales de despensa, mayo de 2020 a septiembre de 2021"
currency = "MXN"
cycles = 3
validity_days = 60

[value]
currency = "USD"
base = "250.00"
per_member = "50.00"
cap = "500.00"
round_to = "1.00"

[payday]
day = 1
time = "09:00"

[approval]
by = "policy"
run_max = "{run_max}"

[goods]
permitted = ["food", "drinking water", "infant formula", "hygiene", "cleaning", "diapers"]
excluded = ["alcohol", "tobacco", "lottery", "cash"]
"""


@dataclass(frozen=True, slots=True)
class Family:
    """A row of households.csv."""

    city: str
    members: int
    group: str
    first: int  #: months after FIRST_CYCLE
    cycles: int


def write_programme(folder: Path, *, families: Sequence[Family], store_urls: dict[str, str]) -> None:
    """Write every file of the programme. `store_urls` by store id, as `store_ids` lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    run_max = "9000000.00" if len(families) <= VOUCHERS else "90000000000.00"
    (folder / "programme.toml").write_text(PROGRAMME.format(run_max=run_max))
    places = [(code, name, state, zone, cycle_text(0)) for code, name, state, zone, _ in CITIES]
    _write(folder / "locations.csv", ("code", "name", "state", "time_zone", "first_cycle"), places)
    stores = [(store, f"Abarrotes {store}", city, store_urls[store], "yes") for store, city in store_ids()]
    _write(folder / "stores.csv", ("store", "name", "location", "url", "active"), stores)
    months = sum(family.cycles for family in families)
    # Each would do for more than half: a batch draws on one fund alone.
    amount = f"{months * 6_000 + 150_000}.00"
    funds = [("donor-a", "Donor A", "MXN", amount), ("donor-b", "Donor B", "MXN", amount)]
    _write(folder / "funds.csv", ("code", "donor", "currency", "amount"), funds)
    rates = [(cycle_text(n), "USD", "MXN", rate, "illustrative", f"{cycle_text(n)}-01") for n, rate in enumerate(RATES)]
    _write(folder / "rates.csv", ("cycle", "from", "to", "rate", "source", "date"), rates)
    header = ("registration_id", "location", "members", "group", "first_cycle", "cycles", "status")
    rows = (
        (f"DEMO-{n:07}", each.city, each.members, each.group, cycle_text(each.first), each.cycles, "active")
        for n, each in enumerate(families, start=1)
    )
    _write(folder / "households.csv", header, rows)


def programme_families(seed: int) -> list[Family]:
    """Families of all groups in all cities whose months add up to VOUCHERS exactly."""
    chance = random.Random(seed)  # noqa: S311  # a replay, no secret
    families: list[Family] = []
    left = VOUCHERS
    while left:
        cycles = min(chance.choice(WINDOWS), left)
        families.append(_family(chance, len(families), first=chance.randint(0, CYCLES - cycles), cycles=cycles))
        left -= cycles
    return families


def month_of_families(seed: int, count: int) -> list[Family]:
    """One month of so many families."""
    chance = random.Random(seed)  # noqa: S311
    return [_family(chance, number, first=0, cycles=1) for number in range(count)]


def store_ids() -> list[tuple[str, str]]:
    """Every store's id, with its city."""
    return [(f"{code}-{n}", code) for code, *_ in CITIES for n in range(1, STORES_PER_CITY + 1)]


def cycle_text(months: int) -> str:
    """The cycle so many months after the first."""
    year, month = divmod(FIRST_CYCLE[0] * 12 + FIRST_CYCLE[1] - 1 + months, 12)
    return f"{year}-{month + 1:02}"


def _family(chance: random.Random, number: int, *, first: int, cycles: int) -> Family:
    city = chance.choices(CITIES, weights=[share for *_, share in CITIES])[0][0]
    # Dealt round, so that the mean of the members is that of MEMBERS.
    return Family(city, MEMBERS[number % len(MEMBERS)], chance.choice(GROUPS), first, cycles)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

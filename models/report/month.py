"""`report month`: planned against credited by city, by group, or by month of support, in both currencies.

Figures in the currency of the transfer value are the sum of a row at its runs' rate: a report, never a posting.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from models.handover import decimal_text
from models.money import RATE_SCALE, format_rate
from models.report.by import By
from models.report.sheet import Rule, Sheet, Value, small_places, suppressed
from models.storage import Query, Tx
from models.tables import Programme

#: The headers, which stay: a column is added at the end, and never renamed.
COLUMNS = (
    "cycle", "location", "location_name", "part_of", "planned", "credited", "planned_amount", "credited_amount",
    "currency", "rate", "rate_source", "rate_date", "planned_value", "credited_value", "value_currency", "completed",
)  # fmt: skip

_RULES = (
    Rule(("planned",), ("planned", "credited", "planned_amount", "credited_amount", "planned_value", "credited_value")),
    Rule(("credited",), ("credited", "credited_amount", "credited_value")),
    Rule(("planned", "credited"), ("credited", "credited_amount", "credited_value")),
    Rule(("completed",), ("completed",)),
    Rule(("credited", "completed"), ("completed",)),
)

_SLOT = "r.cycle, r.location_code, r.currency, r.value_currency, r.rate_millionths, r.rate_source, r.rate_date"
#: Months from a family's first one to the cycle of a line, the first being 1.
_MONTH_OF_SUPPORT = (
    "(CAST(substr(d.cycle, 1, 4) AS INTEGER) - CAST(substr(e.first_cycle, 1, 4) AS INTEGER)) * 12"
    " + CAST(substr(d.cycle, 6, 2) AS INTEGER) - CAST(substr(e.first_cycle, 6, 2) AS INTEGER) + 1"
)
#: Of an enrolment `e`: how many months its window has.
MONTHS_OF_WINDOW = _MONTH_OF_SUPPORT.replace("d.cycle", "e.last_cycle")
_LINES = """run r JOIN location l ON l.code = r.location_code
JOIN disbursement d ON d.id BETWEEN r.id * 10000000 AND r.id * 10000000 + 9999999
LEFT JOIN voucher v ON v.id = d.id"""
_CHOSEN = "r.programme_id = :programme_id AND r.cycle BETWEEN :first_cycle AND :last_cycle"

SUM_BY_LOCATION = Query(f"""
-- sum_by_location: what the runs of each city and month came to; bounded by cities and months
SELECT {_SLOT}, l.name AS location_name, '' AS part_of, COUNT(*) AS planned, COUNT(v.id) AS credited,
       CAST(SUM(d.amount_minor) AS BIGINT) AS planned_minor,
       CAST(SUM(CASE WHEN v.id IS NULL THEN 0 ELSE d.amount_minor END) AS BIGINT) AS credited_minor
FROM {_LINES}
WHERE {_CHOSEN} GROUP BY {_SLOT}, l.name ORDER BY r.cycle, r.location_code, r.rate_millionths
""")  # noqa: S608  # of constants, of no input

SUM_BY_SUPPORT = Query(f"""
-- sum_by_support: the same, by how many months a family had by then; bounded by cities, months and 120
SELECT {_SLOT}, l.name AS location_name, {_MONTH_OF_SUPPORT} AS part_of, COUNT(*) AS planned, COUNT(v.id) AS credited,
       CAST(SUM(d.amount_minor) AS BIGINT) AS planned_minor,
       CAST(SUM(CASE WHEN v.id IS NULL THEN 0 ELSE d.amount_minor END) AS BIGINT) AS credited_minor
FROM {_LINES}
JOIN enrolment e ON e.programme_id = d.programme_id AND e.household_id = d.household_id
WHERE {_CHOSEN} GROUP BY {_SLOT}, l.name, {_MONTH_OF_SUPPORT}
ORDER BY r.cycle, r.location_code, r.rate_millionths, part_of
""")  # noqa: S608  # of constants, of no input

SUM_PLANNED_BY_GROUP = Query(f"""
-- sum_planned_by_group: families and amounts as each plan froze them; bounded by cities, months and groups
SELECT {_SLOT}, l.name AS location_name, g.group_code AS part_of, CAST(SUM(g.families) AS BIGINT) AS planned,
       CAST(SUM(g.amount_minor) AS BIGINT) AS planned_minor
FROM run r JOIN location l ON l.code = r.location_code JOIN run_group g ON g.run_id = r.id
WHERE {_CHOSEN} GROUP BY {_SLOT}, l.name, g.group_code
ORDER BY r.cycle, r.location_code, r.rate_millionths, g.group_code
""")  # noqa: S608  # of constants, of no input

SUM_UNCREDITED_BY_GROUP = Query(f"""
-- sum_uncredited_by_group: lines without a voucher, by the group that their family is in now, or was in when it was
-- reduced; bounded as before
SELECT cycle, location_code, currency, value_currency, rate_millionths, rate_source, rate_date, part_of,
       CAST(SUM(families) AS BIGINT) AS families, CAST(SUM(amount_minor) AS BIGINT) AS amount_minor
FROM (SELECT {_SLOT}, h.group_code AS part_of, 1 AS families, d.amount_minor
      FROM {_LINES} JOIN household h ON h.id = d.household_id
      WHERE {_CHOSEN} AND v.id IS NULL AND h.group_code <> 'reduced'
      UNION ALL
      SELECT {_SLOT}, g.group_code, g.uncredited, g.uncredited_minor
      FROM run r JOIN reduced_group g ON g.run_id = r.id WHERE {_CHOSEN} AND g.uncredited > 0) missing
GROUP BY cycle, location_code, currency, value_currency, rate_millionths, rate_source, rate_date, part_of
ORDER BY part_of
""")  # noqa: S608  # of constants, of no input

#: :part_of is one of By.
COUNT_COMPLETED = Query(f"""
-- count_completed: families that were credited in each of their months, the last in this cycle; bounded as before. By
-- group those that were reduced are counted with their run
SELECT cycle, location_code, currency, value_currency, rate_millionths, rate_source, rate_date, part_of,
       CAST(SUM(families) AS BIGINT) AS families
FROM (SELECT {_SLOT},
       CASE :part_of WHEN 'group' THEN h.group_code WHEN 'support' THEN CAST(done.months AS TEXT) ELSE '' END
           AS part_of,
       1 AS families
FROM (SELECT d.household_id, e.last_cycle, COUNT(*) AS months,
             MAX(CASE WHEN d.cycle = e.last_cycle THEN d.id ELSE 0 END) AS last_id
      FROM enrolment e
      JOIN disbursement d ON d.programme_id = e.programme_id AND d.household_id = e.household_id
      JOIN voucher v ON v.id = d.id
      WHERE e.programme_id = :programme_id AND e.last_cycle BETWEEN :first_cycle AND :last_cycle
      GROUP BY d.household_id, e.first_cycle, e.last_cycle
      HAVING COUNT(*) = {MONTHS_OF_WINDOW}) done
JOIN run r ON r.id = done.last_id / 10000000
JOIN household h ON h.id = done.household_id
WHERE :part_of <> 'group' OR h.group_code <> 'reduced'
UNION ALL
SELECT {_SLOT}, g.group_code, g.completed
FROM run r JOIN reduced_group g ON g.run_id = r.id WHERE :part_of = 'group' AND {_CHOSEN} AND g.completed > 0) completed
GROUP BY cycle, location_code, currency, value_currency, rate_millionths, rate_source, rate_date, part_of
""")  # noqa: S608  # of constants, of no input


def month_report(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str, by: By, outside: bool) -> Sheet:
    """Cities and months from `first_cycle` to `last_cycle`; two rows of a city where its runs had two rates.

    What is credited by group is what was planned less the lines without a voucher: a plan froze the groups, a line has
    none. Of such a line the group is the family's of now. `outside` suppresses what could point at a family.
    """
    tx.allow_long_statement()
    chosen: dict[str, object] = {
        "programme_id": programme.id, "first_cycle": first_cycle, "last_cycle": last_cycle,
    }  # fmt: skip
    completed: dict[tuple[Any, ...], int] = {
        _place(row): int(row.families) for row in tx.all(COUNT_COMPLETED, part_of=str(by), **chosen)
    }
    rows = _by_group(tx, chosen) if by is By.GROUP else _sums(tx, by, chosen)
    sheet = Sheet("month", COLUMNS, [_row(each, completed.get(_place(each), 0)) for each in rows])
    if not outside:
        return sheet
    hidden = _hidden_cities(rows if by is By.LOCATION else _sums(tx, By.LOCATION, chosen))
    return suppressed(sheet, _RULES, margins=[_margin(by)], hidden_cities=hidden)


def _sums(tx: Tx, by: By, chosen: dict[str, object]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in tx.all(SUM_BY_LOCATION if by is By.LOCATION else SUM_BY_SUPPORT, **chosen)]


def _by_group(tx: Tx, chosen: dict[str, object]) -> list[dict[str, Any]]:
    """A family that changed its group since its plan is subtracted where there is something left to subtract from."""
    rows = [dict(row._mapping) for row in tx.all(SUM_PLANNED_BY_GROUP, **chosen)]
    missing: dict[tuple[object, ...], list[Row[Any]]] = defaultdict(list)
    for found in tx.all(SUM_UNCREDITED_BY_GROUP, **chosen):
        missing[_place(found)[:-1]].append(found)
    for row in rows:
        row["credited"], row["credited_minor"] = row["planned"], row["planned_minor"]
    for slot, uncredited in missing.items():
        here = [row for row in rows if _place(row)[:-1] == slot]
        for each in uncredited:
            families, amount_minor = int(each.families), int(each.amount_minor)
            for row in sorted(here, key=lambda row: row["part_of"] != each.part_of):  # its own group first
                taken, taken_minor = min(families, row["credited"]), min(amount_minor, row["credited_minor"])
                row["credited"] -= taken
                row["credited_minor"] -= taken_minor
                families -= taken
                amount_minor -= taken_minor
    return rows


def _row(row: dict[str, Any], completed: int) -> tuple[Value, ...]:
    rate = row["rate_millionths"]
    return (
        row["cycle"], row["location_code"], row["location_name"], str(row["part_of"]), int(row["planned"]),
        int(row["credited"]), decimal_text(row["planned_minor"]), decimal_text(row["credited_minor"]), row["currency"],
        "" if rate is None else format_rate(rate), row["rate_source"], row["rate_date"],
        decimal_text(value_minor(row["planned_minor"], rate)), decimal_text(value_minor(row["credited_minor"], rate)),
        row["value_currency"], completed,
    )  # fmt: skip


def value_minor(amount_minor: int, rate_millionths: int | None) -> int:
    """An amount in the currency of the transfer value, half even to its minor unit; without a rate that is the same."""
    if rate_millionths is None:
        return amount_minor
    quotient, rest = divmod(amount_minor * RATE_SCALE, rate_millionths)
    return quotient + (2 * rest > rate_millionths or (2 * rest == rate_millionths and quotient % 2 == 1))


def _place(row: Row[Any] | dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row from the others: its slot, with all that is said of its rate, and its part of it."""
    named = row if isinstance(row, dict) else row._mapping
    return (*(named[name.removeprefix("r.")] for name in _SLOT.split(", ")), str(named["part_of"]))


def _margin(by: By) -> tuple[str, ...]:
    """Cities add up to what donors are told of a month; groups and months of support add up to their city."""
    return ("cycle",) if by is By.LOCATION else ("cycle", "location", "rate")


def hidden_credits(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str) -> set[tuple[str, str]]:
    """Cycles and cities of which `report month` does not publish what was credited: nor does any other report."""
    chosen: dict[str, object] = {"programme_id": programme.id, "first_cycle": first_cycle, "last_cycle": last_cycle}
    cities = _sums(tx, By.LOCATION, chosen)
    sheet = Sheet("month", COLUMNS, [_row(each, 0) for each in cities])
    sheet = suppressed(sheet, _RULES, margins=[_margin(By.LOCATION)], hidden_cities=_hidden_cities(cities))
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    return {(str(row["cycle"]), str(row["location"])) for row in rows if row["credited"] is None}


def _hidden_cities(cities: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Cycles and cities of which no sum leaves the organisation, and so nothing from which it could be had."""
    by_cycle: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in cities:
        by_cycle[row["cycle"]].append(row)
    return {
        (cycle, rows[place]["location_code"])
        for cycle, rows in by_cycle.items()
        for place in small_places([int(row["planned"]) for row in rows])
    }

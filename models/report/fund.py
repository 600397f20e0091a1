"""`fund statement`: where every peso of a donor is: free, reserved by runs, or outstanding as vouchers.

Each of the three comes from rows of its own: what is free from the fund's balance, what is reserved from the transfers,
what is outstanding from the counts that batches and resolved cases have written. So it is no matter of course that they
add up to what was given, and the statement says whether they do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from models.handover import decimal_text
from models.money import format_rate
from models.report.month import value_minor
from models.report.sheet import Sheet, Value
from models.storage import Query, Tx
from models.tables import Programme

COLUMNS = (
    "row", "donor", "fund", "cycle", "funded", "free", "drawn", "reserved", "outstanding", "vouchers", "currency",
    "difference", "cap", "rate", "outstanding_value", "value_currency",
)  # fmt: skip

LIST_FUNDS = Query("""
-- list_funds: a programme's funds in order, with what was given and is free; bounded by the funds
SELECT f.id, f.code, f.donor, f.currency, f.balance_minor, f.cycle_max_minor,
       (SELECT CAST(COALESCE(SUM(t.amount_minor), 0) AS BIGINT) FROM transfer t
        WHERE t.fund_id = f.id AND t.kind = 'deposit') AS funded_minor
FROM fund f
WHERE f.programme_id = :programme_id AND (:fund = '' OR f.code = :fund) AND (:donor = '' OR f.donor = :donor)
ORDER BY f.position
""")

SUM_DRAWN = Query("""
-- sum_drawn: what each fund's runs reserved, less what went back, and what of it is credited, by cycle and rate;
-- bounded by funds, cycles and rates
SELECT t.fund_id, r.cycle, r.rate_millionths, r.value_currency,
       CAST(SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor WHEN 'unreserve' THEN -t.amount_minor ELSE 0 END)
            AS BIGINT) AS drawn_minor,
       CAST(SUM(CASE t.kind WHEN 'credit' THEN t.amount_minor ELSE 0 END) AS BIGINT) AS credited_minor
FROM transfer t JOIN run r ON r.id = t.run_id
WHERE r.programme_id = :programme_id
GROUP BY t.fund_id, r.cycle, r.rate_millionths, r.value_currency ORDER BY r.cycle, r.rate_millionths
""")

SUM_OUTSTANDING = Query("""
-- sum_outstanding: the vouchers of each fund, as batches and resolved cases count them, by cycle and rate; bounded as
-- before
SELECT v.fund_id, r.cycle, r.rate_millionths, r.value_currency, CAST(SUM(v.vouchers) AS BIGINT) AS vouchers,
       CAST(SUM(v.amount_minor) AS BIGINT) AS amount_minor
FROM (SELECT fund_id, run_id, credited AS vouchers, credited_minor AS amount_minor FROM batch WHERE credited > 0
      UNION ALL
      SELECT c.fund_id, c.run_id, 1, d.amount_minor FROM cases c JOIN disbursement d ON d.id = c.disbursement_id
      WHERE c.outcome = 'paid') v
JOIN run r ON r.id = v.run_id
WHERE r.programme_id = :programme_id
GROUP BY v.fund_id, r.cycle, r.rate_millionths, r.value_currency ORDER BY r.cycle, r.rate_millionths
""")


@dataclass(slots=True)
class Line:
    """A fund, a donor, or a fund's month; amounts in minor units of the fund's currency."""

    kind: str  #: fund, donor or month
    donor: str
    fund: str
    currency: str
    cycle: str = ""
    funded_minor: int = 0  #: of a fund or a donor
    free_minor: int = 0  #: likewise
    drawn_minor: int = 0  #: what runs reserved, less what went back
    reserved_minor: int = 0
    outstanding_minor: int = 0
    vouchers: int = 0
    cap_minor: int | None = None  #: of a cycle
    rate_millionths: int | None = None  #: of a month
    value_currency: str = ""  #: of a month

    @property
    def difference_minor(self) -> int:
        """What is missing, or too much, where it does not add up."""
        whole_minor = self.drawn_minor if self.kind == "month" else self.funded_minor - self.free_minor
        return whole_minor - self.reserved_minor - self.outstanding_minor

    def add(self, other: "Line") -> None:
        """The sums."""
        for name in ("funded_minor", "free_minor", "drawn_minor", "reserved_minor", "outstanding_minor", "vouchers"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Statement:
    """Funds in the order in which they are drawn on, their donors, and each fund's months."""

    funds: list[Line] = field(default_factory=list)
    donors: list[Line] = field(default_factory=list)
    months: list[Line] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        """All of them."""
        return [*self.funds, *self.donors, *self.months]

    @property
    def adds_up(self) -> bool:
        """Whether each of them does."""
        return all(line.difference_minor == 0 for line in self.lines)

    def sheet(self) -> Sheet:
        """Under headers that stay: a column is added at the end, and never renamed."""
        return Sheet("fund statement", COLUMNS, [_row(line) for line in self.lines])


def fund_statement(tx: Tx, programme: Programme, *, fund: str = "", donor: str = "", cycle: str = "") -> Statement:
    """Of all funds, of one, or of a donor's; its months all, or one."""
    tx.allow_long_statement()
    funds = {row.id: row for row in tx.all(LIST_FUNDS, programme_id=programme.id, fund=fund, donor=donor)}
    months = _list_months(tx, programme, funds)
    lines: list[Line] = []
    donors: dict[str, Line] = {}
    for fund_id, row in funds.items():
        line = Line(
            "fund", row.donor, row.code, row.currency, funded_minor=int(row.funded_minor),
            free_minor=row.balance_minor, cap_minor=row.cycle_max_minor,
        )  # fmt: skip
        for month in months[fund_id]:
            line.add(month)
        lines.append(line)
        donors.setdefault(row.donor, Line("donor", row.donor, "", row.currency)).add(line)
    chosen = [month for fund_id in funds for month in months[fund_id] if cycle in ("", month.cycle)]
    return Statement(lines, list(donors.values()), chosen)


def _list_months(tx: Tx, programme: Programme, funds: Mapping[int, Row[Any]]) -> dict[int, list[Line]]:
    """By fund. A month whose runs were planned at different rates has a line for each."""
    found: dict[int, dict[tuple[object, ...], Line]] = {fund_id: {} for fund_id in funds}

    def line_of(row: Row[Any]) -> Line:
        fund = funds[row.fund_id]
        line = Line(
            "month", fund.donor, fund.code, fund.currency, row.cycle, cap_minor=fund.cycle_max_minor,
            rate_millionths=row.rate_millionths, value_currency=row.value_currency,
        )  # fmt: skip
        return found[row.fund_id].setdefault((row.cycle, row.rate_millionths, row.value_currency), line)

    for row in tx.all(SUM_DRAWN, programme_id=programme.id):
        if row.fund_id in funds:
            month = line_of(row)
            month.drawn_minor = int(row.drawn_minor)
            month.reserved_minor = int(row.drawn_minor - row.credited_minor)
    for row in tx.all(SUM_OUTSTANDING, programme_id=programme.id):
        if row.fund_id in funds:
            month = line_of(row)
            month.outstanding_minor, month.vouchers = int(row.amount_minor), int(row.vouchers)
    return {
        fund_id: sorted(lines.values(), key=lambda line: (line.cycle, line.rate_millionths or 0))
        for fund_id, lines in found.items()
    }


def _row(line: Line) -> tuple[Value, ...]:
    of_month = line.kind == "month"
    rate = line.rate_millionths
    return (
        line.kind, line.donor, line.fund, line.cycle, "" if of_month else decimal_text(line.funded_minor),
        "" if of_month else decimal_text(line.free_minor), _signed(line.drawn_minor), _signed(line.reserved_minor),
        decimal_text(line.outstanding_minor), line.vouchers, line.currency, _signed(line.difference_minor),
        "" if line.cap_minor is None else decimal_text(line.cap_minor), "" if rate is None else format_rate(rate),
        "" if rate is None else decimal_text(value_minor(line.outstanding_minor, rate)),
        "" if rate is None else line.value_currency,
    )  # fmt: skip


def _signed(amount_minor: int) -> str:
    return ("-" if amount_minor < 0 else "") + decimal_text(abs(amount_minor))

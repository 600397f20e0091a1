"""What each fund may pay for, and what it has left: its balance, and what its cap and the programme's leave of a month.

Money is drawn on the funds in the order of their positions: each batch on the first fund that may pay for it and still
can pay all of it. The forecasts before a plan, which know no batches, share sums in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import col

from models.states import GROUPS
from models.storage import Query, Tx
from models.tables import Fund, FundGroup, FundLocation, Programme

#: Causes that are told; whoever has more has enough to look at.
CAUSES_MAX = 8

SUM_RESERVED = Query("""
-- sum_reserved: what each fund of a programme has reserved of a cycle, less what went back; bounded by the funds
SELECT t.fund_id, CAST(SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END) AS BIGINT)
       AS amount_minor
FROM run r JOIN transfer t ON t.run_id = r.id AND t.kind IN ('reserve', 'unreserve')
WHERE r.programme_id = :programme_id AND r.cycle = :cycle GROUP BY t.fund_id
""")


@dataclass(frozen=True, slots=True)
class Source:
    """A fund, as far as a month may draw on it."""

    fund_id: int
    code: str
    balance_minor: int
    cap_left_minor: int | None  #: of its cap of the cycle; None without one
    locations: frozenset[str]  #: that it may pay for; empty: every one
    groups: frozenset[str]  #: likewise

    @property
    def room_minor(self) -> int:
        """What it can pay now."""
        cap_left_minor = self.balance_minor if self.cap_left_minor is None else self.cap_left_minor
        return max(0, min(self.balance_minor, cap_left_minor))

    def may_pay(self, groups: frozenset[str]) -> bool:
        """For families of these groups; of none that are known: of all."""
        return not self.groups or (bool(groups) and groups <= self.groups)

    def may_pay_in(self, location_code: str) -> bool:
        """For families of this location, whatever their group."""
        return not self.locations or location_code in self.locations


@dataclass(frozen=True, slots=True)
class Wanted:
    """An amount that one fund is to pay: a batch, or in a forecast the families of a class."""

    id: int
    amount_minor: int
    groups: frozenset[str] = frozenset()  #: its families are of these alone; empty: of any


@dataclass(slots=True)
class Share:
    """Amounts that one fund pays, in an unbroken row."""

    fund_id: int
    amount_minor: int
    first_id: int
    last_id: int
    count: int


@dataclass(slots=True)
class Left:
    """What is left to draw on: `Sources.share` and `Sources.pour` take from it."""

    of_fund_minor: dict[int, int]
    of_programme_minor: int | None  #: of the programme's cap of the cycle; None without one


@dataclass(frozen=True, slots=True)
class Sources:
    """A programme's funds in order, or those of them that may pay for one location."""

    funds: list[Source]
    left: Left
    location_code: str = ""  #: empty: of all

    def at(self, location_code: str) -> "Sources":
        """Those that may pay for a location. What they pay there the others have no more."""
        return Sources([fund for fund in self.funds if fund.may_pay_in(location_code)], self.left, location_code)

    @property
    def left_minor(self) -> int:
        """What they can pay together."""
        left_minor = sum(self.left.of_fund_minor[fund.fund_id] for fund in self.funds)
        return min(left_minor, self._cap_left(left_minor))

    def classes(self) -> list[frozenset[str]]:
        """Groups that the same funds may pay for, as one class; those with the fewest funds first. Empty where all are
        one: then nobody has to be told from anybody."""
        by_funds: dict[tuple[int, ...], set[str]] = {}
        for group in GROUPS:
            payers = tuple(fund.fund_id for fund in self.funds if fund.may_pay(frozenset((group,))))
            by_funds.setdefault(payers, set()).add(group)
        if len(by_funds) < 2:
            return []
        ordered = sorted(by_funds.items(), key=lambda each: (len(each[0]), sorted(each[1])))
        return [frozenset(groups) for _, groups in ordered]

    def wanted(self, amounts_minor: Mapping[str, int]) -> list[Wanted]:
        """For a forecast: what families of each group are to get, by class, in the order in which a plan has them."""
        classes = self.classes()
        if not classes:
            return [Wanted(0, sum(amounts_minor.values()))]
        return [
            Wanted(place, sum(amounts_minor.get(group, 0) for group in groups), groups)
            for place, groups in enumerate(classes)
        ]

    def share(self, wanted: Iterable[Wanted]) -> tuple[list[Share], list[Wanted]]:
        """Each amount to the first fund that may pay it and has all of it left; and those that none can pay."""
        shares: list[Share] = []
        unpaid: list[Wanted] = []
        for each in wanted:
            fund = next((fund for fund in self.funds if self._can_pay(fund, each)), None)
            if fund is None:
                unpaid.append(each)
                continue
            self._draw(fund.fund_id, each.amount_minor)
            if shares and shares[-1].fund_id == fund.fund_id and not unpaid:
                shares[-1].amount_minor += each.amount_minor
                shares[-1].last_id = each.id
                shares[-1].count += 1
            else:
                shares.append(Share(fund.fund_id, each.amount_minor, each.id, each.id, 1))
        return shares, unpaid

    def would_pay(self, wanted: Iterable[Wanted]) -> bool:
        """Whether `share` leaves nothing unpaid. Takes nothing."""
        left = Left(dict(self.left.of_fund_minor), self.left.of_programme_minor)
        return not Sources(self.funds, left, self.location_code).share(wanted)[1]

    def pour(self, wanted: Iterable[Wanted]) -> int:
        """What the funds can pay of these amounts, each of them by as many funds as it takes."""
        poured_minor = 0
        for each in wanted:
            rest_minor = each.amount_minor
            for fund in self.funds:
                if fund.may_pay(each.groups):
                    drawn_minor = min(rest_minor, self.left.of_fund_minor[fund.fund_id], self._cap_left(rest_minor))
                    self._draw(fund.fund_id, drawn_minor)
                    rest_minor -= drawn_minor
            poured_minor += each.amount_minor - rest_minor
        return poured_minor

    def causes(self, unpaid: Sequence[Wanted]) -> list[str]:
        """Why: what each fund lacks for any of these. No group is named: an amount may be of a small one."""
        if not self.funds:
            return [f"no fund may pay for {self.location_code}"]
        lacks = [{fund.code: self._lack(fund, each) for fund in self.funds} for each in unpaid]
        of_funds = [lack for lack in lacks if "" not in lack.values()]
        # A fund that lacks nothing could pay, if the programme might.
        found = ["the programme's cap"] if len(of_funds) < len(lacks) else []
        for fund in self.funds:
            found += sorted({f"{fund.code} {lack[fund.code]}" for lack in of_funds})
        more = len(found) - CAUSES_MAX
        return found if more <= 0 else [*found[:CAUSES_MAX], f"and {more} more"]

    def _lack(self, fund: Source, wanted: Wanted) -> str:
        if not fund.may_pay(wanted.groups):
            return "restriction"
        left_minor = self.left.of_fund_minor[fund.fund_id]
        if left_minor >= wanted.amount_minor:
            return ""
        drawn_minor = fund.room_minor - left_minor
        return "cap" if fund.balance_minor - drawn_minor >= wanted.amount_minor else "balance"

    def _can_pay(self, fund: Source, wanted: Wanted) -> bool:
        left_minor = min(self.left.of_fund_minor[fund.fund_id], self._cap_left(wanted.amount_minor))
        return fund.may_pay(wanted.groups) and left_minor >= wanted.amount_minor

    def _cap_left(self, otherwise_minor: int) -> int:
        """Of the programme; without a cap as much as anybody asks for."""
        return otherwise_minor if self.left.of_programme_minor is None else max(0, self.left.of_programme_minor)

    def _draw(self, fund_id: int, amount_minor: int) -> None:
        self.left.of_fund_minor[fund_id] -= amount_minor
        if self.left.of_programme_minor is not None:
            self.left.of_programme_minor -= amount_minor


def list_sources(tx: Tx, programme: Programme, *, cycle: str, lock: bool = False) -> Sources:
    """A programme's funds in the order to draw on them, with what a cycle may draw.

    `lock` holds all of them until the transaction ends: so what is left stays so, of the programme's cap too, since
    whoever reserves holds a fund.
    """
    rows = tx.list(
        Fund, Fund.programme_id == programme.id, Fund.currency == programme.currency, order=[Fund.id], lock=lock
    )
    if lock:
        programme = tx.get(Programme, Programme.id == programme.id)  # its cap as it is now: an import holds the funds
    capped = programme.cycle_max_minor is not None or any(row.cycle_max_minor is not None for row in rows)
    reserved = sum_reserved(tx, programme.id, cycle=cycle) if capped else {}
    locations, groups = list_restrictions(tx, [row.id for row in rows])
    funds = [
        Source(
            fund_id=row.id,
            code=row.code,
            balance_minor=row.balance_minor,
            cap_left_minor=None if row.cycle_max_minor is None else row.cycle_max_minor - reserved.get(row.id, 0),
            locations=locations.get(row.id, frozenset()),
            groups=groups.get(row.id, frozenset()),
        )
        for row in sorted(rows, key=lambda row: row.position)
    ]
    cap_minor = programme.cycle_max_minor
    left = Left(
        {fund.fund_id: fund.room_minor for fund in funds},
        None if cap_minor is None else cap_minor - sum(reserved.values()),
    )
    return Sources(funds, left)


def sum_reserved(tx: Tx, programme_id: int, *, cycle: str) -> dict[int, int]:
    """What each fund has reserved of a cycle, less what went back."""
    rows = tx.all(SUM_RESERVED, programme_id=programme_id, cycle=cycle)
    return {int(row.fund_id): int(row.amount_minor) for row in rows}


def list_restrictions(
    tx: Tx, fund_ids: Sequence[int]
) -> tuple[Mapping[int, frozenset[str]], Mapping[int, frozenset[str]]]:
    """The locations and the groups that funds may pay for, by fund; a fund that is not in one may pay for all."""
    locations: dict[int, frozenset[str]] = {}
    groups: dict[int, frozenset[str]] = {}
    for place in tx.list(FundLocation, col(FundLocation.fund_id).in_(fund_ids), limit=1_000_000):
        locations[place.fund_id] = locations.get(place.fund_id, frozenset()) | {place.location_code}
    for group in tx.list(FundGroup, col(FundGroup.fund_id).in_(fund_ids)):
        groups[group.fund_id] = groups.get(group.fund_id, frozenset()) | {group.group_code}
    return locations, groups

"""funds.csv and rates.csv: money that was given and what it may pay for, and what a currency is worth in a cycle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from models import books
from models.events import FundDeposited, FundRestricted
from models.funds import list_restrictions
from models.intake import fields
from models.intake.report import FileReport
from models.intake.rows import Row, read_rows
from models.intake.upsert import upsert
from models.journal import append
from models.states import GROUPS
from models.storage import Query, Tx
from models.tables import ExchangeRate, Fund, FundGroup, FundLocation, Programme, ProgrammeLocation

T = TypeVar("T")
FUND_COLUMNS = ("code", "donor", "currency", "amount")
#: A file without one of these leaves it as it is.
FUND_RULES = ("position", "locations", "groups", "cycle_max")
RATE_COLUMNS = ("cycle", "from", "to", "rate", "source", "date")

SUM_DEPOSITS = Query("""
-- sum_deposits: what was ever put into a fund
SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM transfer WHERE fund_id = :fund_id AND kind = 'deposit'
""")

LAST_TRANSFER = Query("""
-- last_transfer: the newest; whoever holds a fund knows that its later ones have higher numbers
SELECT COALESCE(MAX(id), 0) FROM transfer
""")

DELETE_LOCATIONS = Query("-- delete_locations: of a fund\nDELETE FROM fund_location WHERE fund_id = :fund_id")
DELETE_FUND_GROUPS = Query("-- delete_fund_groups: of a fund\nDELETE FROM fund_group WHERE fund_id = :fund_id")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a fund may pay for: nothing named is everything."""

    locations: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    cycle_max_minor: int | None = None


@dataclass(slots=True)
class Given:
    """A row, beside the fund that it is of."""

    row: Row
    code: str
    donor: str
    given_minor: int
    position: int | None  #: None where the row does not say
    rules: Rules
    fund: Fund | None
    rules_before: Rules


def load_funds(tx: Tx, path: Path, programme: Programme) -> FileReport:
    """Funds, and all that was ever given to each: more than before is deposited, less is refused. Raises BadFile.

    Releases draw on the funds by position, without one in the order in which they first came. What a fund may pay for,
    its cap and its position may change: for releases from then on, and for nothing that was released.
    """
    report = FileReport(path.name, "funds")
    funds = {fund.code: fund for fund in tx.list(Fund, Fund.programme_id == programme.id)}
    rules = _list_rules(tx, list(funds.values()))
    places = {
        place.location_code for place in tx.list(ProgrammeLocation, ProgrammeLocation.programme_id == programme.id)
    }
    given: dict[str, Given] = {}
    for row in read_rows(path, FUND_COLUMNS, optional=FUND_RULES):
        code = row.read("code", fields.code)
        if code in given:
            raise row.refuse("code", "stands twice in this file")
        if row.read("currency", fields.currency) != programme.currency:
            raise row.refuse("currency", f"must be the programme's, {programme.currency}")
        before = rules.get(code, Rules())
        given[code] = Given(
            row, code, row.read("donor", fields.plain_text), row.read("amount", fields.amount(programme.currency)),
            _read_optional(row, "position", fields.optional_position, None),
            _read_rules(row, programme, before, places), funds.get(code), before,
        )  # fmt: skip
    moved = _move(tx, programme, funds, list(given.values()))
    for each in given.values():
        report.count(each.row.line, _load_fund(tx, programme, each, moved=each.code in moved))
    return report


def load_rates(tx: Tx, path: Path, programme: Programme) -> FileReport:
    """Exchange rates, each for one cycle. A run keeps the rate it was planned with. Raises BadFile."""
    report = FileReport(path.name, "rates")
    seen: set[tuple[str, ...]] = set()
    for row in read_rows(path, RATE_COLUMNS):
        key = (str(row.read("cycle", fields.cycle)), row.read("from", fields.currency), row.read("to", fields.currency))
        if key in seen:
            raise row.refuse("cycle", "stands twice in this file")
        seen.add(key)
        if key[1] != programme.value_currency:
            raise row.refuse("from", f"must be the currency of the transfer value, {programme.value_currency}")
        if key[2] != programme.currency:
            raise row.refuse("to", f"must be the currency of the vouchers, {programme.currency}")
        rate = ExchangeRate(
            programme_id=programme.id,
            cycle=key[0],
            from_currency=key[1],
            to_currency=key[2],
            rate_millionths=row.read("rate", fields.rate),
            source=row.read("source", fields.plain_text),
            rate_date=row.read("date", fields.day),
        )
        before = tx.find(ExchangeRate, ExchangeRate.programme_id == programme.id, ExchangeRate.cycle == key[0])
        report.count(row.line, upsert(tx, rate, before))
    return report


def _list_rules(tx: Tx, funds: Sequence[Fund]) -> dict[str, Rules]:
    locations, groups = list_restrictions(tx, [fund.id for fund in funds])
    return {
        fund.code: Rules(locations.get(fund.id, frozenset()), groups.get(fund.id, frozenset()), fund.cycle_max_minor)
        for fund in funds
    }


def _read_optional(row: Row, field: str, parse: Callable[[str], T], otherwise: T) -> T:
    return row.read(field, parse) if field in row.values else otherwise


def _read_rules(row: Row, programme: Programme, before: Rules, places: set[str]) -> Rules:
    rules = Rules(
        _read_optional(row, "locations", fields.several(fields.location_code), before.locations),
        _read_optional(row, "groups", fields.several(fields.group), before.groups),
        _read_optional(row, "cycle_max", fields.optional_amount(programme.currency), before.cycle_max_minor),
    )
    if not rules.locations <= places | before.locations:
        raise row.refuse("locations", "must be locations of locations.csv in which the programme runs")
    return replace(rules, groups=frozenset()) if rules.groups == frozenset(GROUPS) else rules


def _move(tx: Tx, programme: Programme, funds: dict[str, Fund], given: Sequence[Given]) -> set[str]:
    """Give every fund of the file its position, those that are new behind the others. Returns whose has changed."""
    telling = {each.code for each in given if each.position is not None}
    places = {fund.code: fund.position for fund in funds.values() if fund.code not in telling}
    for each in given:
        if each.position is not None and each.position in places.values():
            raise each.row.refuse("position", "is another fund's, too")
        if each.position is not None:
            places[each.code] = each.position
    for each in given:
        each.position = places.setdefault(each.code, max(places.values(), default=0) + 1)
    moved = [fund for fund in funds.values() if fund.position != places[fund.code]]
    if moved:
        _hold(tx, programme)
    # The key over positions is looked at after each row: out of each other's way first.
    for position_of in (lambda fund: -fund.id, lambda fund: places[fund.code]):
        for fund in moved:
            fund.position = position_of(fund)
            tx.update(fund, ["position"])
    return {fund.code for fund in moved}


def _load_fund(tx: Tx, programme: Programme, given: Given, *, moved: bool) -> list[str] | None:
    fund = given.fund
    if fund is None:
        assert given.position is not None  # every fund of the file has one by now
        fund = tx.add(
            Fund(
                programme_id=programme.id, code=given.code, donor=given.donor, currency=programme.currency,
                position=given.position, balance_minor=0,
            )
        )  # fmt: skip
        _deposit(tx, programme, fund, given.given_minor)
        if given.rules != Rules():
            _restrict(tx, programme, fund, given.rules)
        return None
    changed = ["position"] if moved else []
    if given.donor != fund.donor:
        # Not this fund alone: a release that holds those before it would wait for it, and we for it.
        _hold(tx, programme)
        fund.donor = given.donor
        tx.update(fund, ["donor"])
        changed.append("donor")
    if given.rules != given.rules_before:
        _hold(tx, programme)
        _restrict(tx, programme, fund, given.rules)
        names = (("locations", "locations"), ("groups", "groups"), ("cycle_max_minor", "cycle_max"))
        changed += [column for name, column in names if getattr(given.rules, name) != getattr(given.rules_before, name)]
    before_minor = int(tx.scalar(SUM_DEPOSITS, fund_id=fund.id))
    if given.given_minor < before_minor:
        raise given.row.refuse("amount", "is below what was deposited already; money leaves a fund only through runs")
    if given.given_minor > before_minor:
        _hold(tx, programme)
        fund = tx.get(Fund, Fund.id == fund.id)
        before_minor = int(tx.scalar(SUM_DEPOSITS, fund_id=fund.id))
    if given.given_minor > before_minor:
        _deposit(tx, programme, fund, given.given_minor - before_minor)
        changed.append("amount")
    return changed


def _hold(tx: Tx, programme: Programme) -> None:
    """Only where money, rules or an order come, and from here on: releases wait for it. All funds, in their order."""
    tx.list(Fund, Fund.programme_id == programme.id, lock=True)


def _restrict(tx: Tx, programme: Programme, fund: Fund, rules: Rules) -> None:
    tx.execute(DELETE_LOCATIONS, fund_id=fund.id)
    tx.execute(DELETE_FUND_GROUPS, fund_id=fund.id)
    tx.add_all([FundLocation(fund_id=fund.id, location_code=code) for code in sorted(rules.locations)])
    tx.add_all([FundGroup(fund_id=fund.id, group_code=code) for code in sorted(rules.groups)])
    fund.cycle_max_minor = rules.cycle_max_minor
    fund.rules_after_id = int(tx.scalar(LAST_TRANSFER))
    tx.update(fund, ["cycle_max_minor", "rules_after_id"])
    append(
        tx,
        FundRestricted(
            programme=programme.code, fund=fund.code, locations=" ".join(sorted(rules.locations)),
            groups=len(rules.groups), capped=rules.cycle_max_minor is not None,
            cycle_max_minor=rules.cycle_max_minor or 0, currency=programme.currency, operator=tx.operator,
        ),
    )  # fmt: skip


def _deposit(tx: Tx, programme: Programme, fund: Fund, amount_minor: int) -> None:
    if amount_minor == 0:
        return
    books.deposit(tx, fund_id=fund.id, amount_minor=amount_minor, currency=programme.currency)
    append(
        tx,
        FundDeposited(
            programme=programme.code, fund=fund.code, amount_minor=amount_minor,
            balance_minor=fund.balance_minor + amount_minor, currency=programme.currency, operator=tx.operator,
        ),
    )  # fmt: skip

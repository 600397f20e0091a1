"""funds.csv and rates.csv: money that was given, and what a currency is worth in a cycle."""

from pathlib import Path

from models import books
from models.events import FundDeposited
from models.intake import fields
from models.intake.report import FileReport
from models.intake.rows import Row, read_rows
from models.intake.upsert import upsert
from models.journal import append
from models.storage import Query, Tx
from models.tables import ExchangeRate, Fund, Programme

FUND_COLUMNS = ("code", "donor", "currency", "amount")
RATE_COLUMNS = ("cycle", "from", "to", "rate", "source", "date")

SUM_DEPOSITS = Query("""
-- sum_deposits: what was ever put into a fund
SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM transfer WHERE fund_id = :fund_id AND kind = 'deposit'
""")

LAST_POSITION = Query("""
-- last_position: of a programme's funds
SELECT COALESCE(MAX(position), 0) FROM fund WHERE programme_id = :programme_id
""")


def load_funds(tx: Tx, path: Path, programme: Programme) -> FileReport:
    """Funds, and all that was ever given to each: more than before is deposited, less is refused. Raises BadFile.

    Releases draw on the funds in the order in which they first came.
    """
    report = FileReport(path.name, "funds")
    seen: set[str] = set()
    for row in read_rows(path, FUND_COLUMNS):
        code = row.read("code", fields.code)
        if code in seen:
            raise row.refuse("code", "stands twice in this file")
        seen.add(code)
        if row.read("currency", fields.currency) != programme.currency:
            raise row.refuse("currency", f"must be the programme's, {programme.currency}")
        given_minor = row.read("amount", fields.amount(programme.currency))
        fund = tx.find(Fund, Fund.programme_id == programme.id, Fund.code == code)
        donor = row.read("donor", fields.plain_text)
        report.count(row.line, _load_fund(tx, programme, row, fund, code=code, donor=donor, given_minor=given_minor))
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


def _load_fund(
    tx: Tx, programme: Programme, row: Row, fund: Fund | None, *, code: str, donor: str, given_minor: int
) -> list[str] | None:
    if fund is None:
        position = int(tx.scalar(LAST_POSITION, programme_id=programme.id)) + 1
        fund = tx.add(
            Fund(
                programme_id=programme.id, code=code, donor=donor, currency=programme.currency, position=position,
                balance_minor=0,
            )
        )  # fmt: skip
        _deposit(tx, programme, fund, given_minor)
        return None
    changed = []
    if donor != fund.donor:
        fund.donor = donor
        tx.update(fund, ["donor"])
        changed.append("donor")
    before_minor = int(tx.scalar(SUM_DEPOSITS, fund_id=fund.id))
    if given_minor < before_minor:
        raise row.refuse("amount", "is below what was deposited already; money leaves a fund only through runs")
    if given_minor > before_minor:
        # Held only where money comes, and from here on: releases wait for it. All of them, in the order that they have.
        tx.list(Fund, Fund.programme_id == programme.id, lock=True)
        fund = tx.get(Fund, Fund.id == fund.id)
        before_minor = int(tx.scalar(SUM_DEPOSITS, fund_id=fund.id))
    if given_minor > before_minor:
        _deposit(tx, programme, fund, given_minor - before_minor)
        changed.append("amount")
    return changed


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

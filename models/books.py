"""The books: double entries over donor, fund, run reserve and vouchers outstanding.

A transfer is one row that takes an amount out of one account and puts it into another, so the books balance by
construction. Only a fund stores a balance, changed here by one conditional UPDATE with a CHECK behind it.
"""

from models.errors import RefusedByState
from models.storage import Query, Tx

INSERT_TRANSFER = Query("""
-- insert_transfer: one double entry
INSERT INTO transfer (kind, fund_id, run_id, batch_id, case_id, amount_minor, currency, transferred_at)
VALUES (:kind, :fund_id, :run_id, :batch_id, :case_id, :amount_minor, :currency, :transferred_at)
""")

TAKE_FROM_FUND = Query("""
-- take_from_fund: lower a fund's balance, unless it would go below zero
UPDATE fund SET balance_minor = balance_minor - :amount_minor
WHERE id = :fund_id AND balance_minor >= :amount_minor
""")

GIVE_TO_FUND = Query("""
-- give_to_fund: raise a fund's balance
UPDATE fund SET balance_minor = balance_minor + :amount_minor WHERE id = :fund_id
""")


def deposit(tx: Tx, *, fund_id: int, amount_minor: int, currency: str) -> None:
    """Donor → fund."""
    _transfer(tx, "deposit", fund_id=fund_id, amount_minor=amount_minor, currency=currency)
    tx.execute(GIVE_TO_FUND, fund_id=fund_id, amount_minor=amount_minor)


def reserve(tx: Tx, *, fund_id: int, run_id: int, amount_minor: int, currency: str) -> None:
    """Fund → run reserve. Raises RefusedByState, with nothing changed, if the fund cannot cover it."""
    if tx.execute(TAKE_FROM_FUND, fund_id=fund_id, amount_minor=amount_minor) != 1:
        raise RefusedByState(
            "a fund is too small for what was asked",
            hint="add money to it in funds.csv, then: despensa import funds.csv",
        )
    _transfer(tx, "reserve", fund_id=fund_id, run_id=run_id, amount_minor=amount_minor, currency=currency)


def credit(
    tx: Tx, *, fund_id: int, run_id: int, amount_minor: int, currency: str,
    batch_id: int | None = None, case_id: int | None = None,
) -> None:  # fmt: skip
    """Run reserve → vouchers outstanding, for the vouchers that a batch or a resolved case inserted."""
    _transfer(
        tx, "credit", fund_id=fund_id, run_id=run_id, batch_id=batch_id, case_id=case_id,
        amount_minor=amount_minor, currency=currency,
    )  # fmt: skip


def unreserve(
    tx: Tx, *, fund_id: int, run_id: int, amount_minor: int, currency: str, case_id: int | None = None
) -> None:
    """Run reserve → fund: the line was stopped, or found not owed."""
    _transfer(
        tx, "unreserve", fund_id=fund_id, run_id=run_id, case_id=case_id, amount_minor=amount_minor, currency=currency
    )
    tx.execute(GIVE_TO_FUND, fund_id=fund_id, amount_minor=amount_minor)


def _transfer(
    tx: Tx, kind: str, *, fund_id: int, amount_minor: int, currency: str,
    run_id: int | None = None, batch_id: int | None = None, case_id: int | None = None,
) -> None:  # fmt: skip
    if amount_minor == 0:
        return
    tx.execute(
        INSERT_TRANSFER, kind=kind, fund_id=fund_id, run_id=run_id, batch_id=batch_id, case_id=case_id,
        amount_minor=amount_minor, currency=currency, transferred_at=tx.now,
    )  # fmt: skip

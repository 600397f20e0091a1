"""The books: double entries over donor, fund, run reserve and vouchers outstanding.

A transfer is one row that takes an amount out of one account and puts it into another, so the books balance by
construction. Only a fund stores a balance, changed here by one conditional UPDATE with a CHECK behind it.
"""

from models.errors import RefusedByState
from models.funds import sum_reserved
from models.money import format_amount
from models.storage import Query, Tx
from models.tables import Fund

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

HOLD_CYCLE = Query(
    """
-- hold_cycle: whoever reserves of a programme with a cap waits here, and then sees what others have reserved. The
-- trigger of migration 0011 takes the same lock
SELECT pg_advisory_xact_lock(hashtextextended('cap/' || CAST(:programme_id AS TEXT) || '/' || :cycle, 0))
""",
    sqlite="-- hold_cycle: there is one writer\nSELECT 1",
)

CAPS_OF_RUN = Query("""
-- caps_of_run: what a fund, and all funds together, may reserve of a run's cycle; no row where nothing limits it
SELECT r.programme_id, r.cycle, p.code AS programme, p.cycle_max_minor AS of_programme_minor,
       f.code AS fund, f.cycle_max_minor AS of_fund_minor
FROM run r JOIN programme p ON p.id = r.programme_id JOIN fund f ON f.id = :fund_id
WHERE r.id = :run_id AND (p.cycle_max_minor IS NOT NULL OR f.cycle_max_minor IS NOT NULL)
""")


def deposit(tx: Tx, *, fund_id: int, amount_minor: int, currency: str) -> None:
    """Donor → fund."""
    _transfer(tx, "deposit", fund_id=fund_id, amount_minor=amount_minor, currency=currency)
    tx.execute(GIVE_TO_FUND, fund_id=fund_id, amount_minor=amount_minor)


def reserve(tx: Tx, *, fund_id: int, run_id: int, amount_minor: int, currency: str) -> None:
    """Fund → run reserve. Raises RefusedByState, with nothing changed, if the fund or a cap cannot cover it."""
    tx.get(Fund, Fund.id == fund_id, lock=True)  # what it has reserved so far is looked at once nobody else reserves
    _require_within_caps(tx, fund_id=fund_id, run_id=run_id, amount_minor=amount_minor, currency=currency)
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


def _require_within_caps(tx: Tx, *, fund_id: int, run_id: int, amount_minor: int, currency: str) -> None:
    """So that it is refused in words. Whoever does not ask here, a trigger refuses."""
    caps = tx.first(CAPS_OF_RUN, fund_id=fund_id, run_id=run_id)
    if caps is None:
        return
    if caps.of_programme_minor is not None:
        tx.scalar(HOLD_CYCLE, programme_id=caps.programme_id, cycle=caps.cycle)
    reserved = sum_reserved(tx, caps.programme_id, cycle=caps.cycle)
    for whose, cap_minor, reserved_minor in (
        (f"fund {caps.fund}", caps.of_fund_minor, reserved.get(fund_id, 0)),
        (f"programme {caps.programme}", caps.of_programme_minor, sum(reserved.values())),
    ):
        if cap_minor is not None and reserved_minor + amount_minor > cap_minor:
            left_minor = max(0, cap_minor - reserved_minor)
            raise RefusedByState(
                f"the cap of {whose} is too small for what was asked: it leaves {format_amount(left_minor, currency)} "
                f"of {caps.cycle}",
                hint="raise the cap (funds.csv, cycle_max; programme.toml, [caps]), then import the file",
            )


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

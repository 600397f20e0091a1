"""Reports by store, by donor, of cases and of approvals."""

from collections.abc import Sequence
from datetime import datetime

from models.columns import instant_text
from models.handover import decimal_text
from models.money import format_rate
from models.report.month import hidden_credits, value_minor
from models.report.sheet import Rule, Sheet, Value, suppressed
from models.storage import Query, Tx
from models.tables import Programme, run_code

STORE_COLUMNS = (
    "cycle", "location", "store", "store_name", "runs", "vouchers", "amount", "currency", "delivered", "undelivered",
    "due",
)  # fmt: skip
DONOR_COLUMNS = (
    "cycle", "location", "donor", "fund", "vouchers", "amount", "currency", "rate", "value", "value_currency",
)  # fmt: skip
CASE_COLUMNS = (
    "cycle", "location", "part", "reason", "outcome", "waits_for", "cases", "amount", "currency", "oldest",
)  # fmt: skip
APPROVAL_COLUMNS = (
    "run", "programme", "state", "families", "amount", "currency", "rate", "digest", "planned_by", "planned_at",
    "approval", "approved_by", "approved_at", "released_at", "completed_at", "first_approved_by", "first_approved_at",
    "released_by",
)  # fmt: skip

SUM_BY_STORE = Query("""
-- sum_by_store: what each store was told of each month, by its last notice of each run; bounded by stores and months
SELECT r.cycle, r.location_code, s.id AS store, s.name AS store_name, r.currency, COUNT(*) AS runs,
       CAST(SUM(n.vouchers) AS BIGINT) AS vouchers, CAST(SUM(n.amount_minor) AS BIGINT) AS amount_minor,
       SUM(CASE WHEN n.state = 'delivered' THEN 1 ELSE 0 END) AS delivered,
       SUM(CASE WHEN n.state = 'undelivered' THEN 1 ELSE 0 END) AS undelivered,
       SUM(CASE WHEN n.state = 'due' THEN 1 ELSE 0 END) AS due
FROM notice n JOIN run r ON r.id = n.run_id JOIN store s ON s.id = n.store_id
WHERE r.programme_id = :programme_id AND r.cycle BETWEEN :first_cycle AND :last_cycle
  AND n.number = (SELECT MAX(later.number) FROM notice later WHERE later.run_id = n.run_id
                                                               AND later.store_id = n.store_id)
GROUP BY r.cycle, r.location_code, s.id, s.name, r.currency ORDER BY r.cycle, r.location_code, s.id
""")

SUM_BY_DONOR = Query("""
-- sum_by_donor: what each fund's money became, by city and month; a transfer is of a batch, or of one resolved case
SELECT r.cycle, r.location_code, f.donor, f.code AS fund, t.currency, r.rate_millionths, r.value_currency,
       CAST(SUM(COALESCE(b.credited, 1)) AS BIGINT) AS vouchers, CAST(SUM(t.amount_minor) AS BIGINT) AS amount_minor
FROM transfer t JOIN run r ON r.id = t.run_id JOIN fund f ON f.id = t.fund_id LEFT JOIN batch b ON b.id = t.batch_id
WHERE t.kind = 'credit' AND r.programme_id = :programme_id AND r.cycle BETWEEN :first_cycle AND :last_cycle
GROUP BY r.cycle, r.location_code, f.donor, f.code, f.position, t.currency, r.rate_millionths, r.value_currency
ORDER BY r.cycle, r.location_code, f.position, r.rate_millionths
""")

SUM_CASES_BY_REASON = Query("""
-- sum_cases_by_reason: every case there was, by reason and how it ended; bounded by runs, reasons and outcomes
SELECT r.cycle, r.location_code, r.part, c.reason, COALESCE(c.outcome, 'open') AS outcome, r.currency,
       CASE WHEN c.state <> 'open' THEN '' WHEN c.next_attempt_at IS NULL THEN 'person' ELSE 'itself' END AS waits_for,
       COUNT(*) AS cases, CAST(SUM(d.amount_minor) AS BIGINT) AS amount_minor, MIN(c.opened_at) AS opened_at
FROM cases c JOIN run r ON r.id = c.run_id JOIN disbursement d ON d.id = c.disbursement_id
WHERE r.programme_id = :programme_id AND r.cycle BETWEEN :first_cycle AND :last_cycle
GROUP BY r.cycle, r.location_code, r.part, c.reason, COALESCE(c.outcome, 'open'), r.currency,
         CASE WHEN c.state <> 'open' THEN '' WHEN c.next_attempt_at IS NULL THEN 'person' ELSE 'itself' END
ORDER BY r.cycle, r.location_code, r.part, c.reason, outcome, waits_for
""")

LIST_APPROVALS = Query("""
-- list_approvals: who decided about each run, and about what; bounded by runs
SELECT r.cycle, r.location_code, r.part, p.code AS programme, r.state, r.lines, r.planned_minor, r.currency,
       r.rate_millionths, r.digest, r.planned_by, r.planned_at, r.approval, r.approved_by, r.approved_at, r.released_at,
       r.completed_at, r.first_approved_by, r.first_approved_at, r.released_by
FROM run r JOIN programme p ON p.id = r.programme_id
WHERE r.programme_id = :programme_id AND r.cycle BETWEEN :first_cycle AND :last_cycle
ORDER BY r.cycle, r.location_code, r.part
""")


def store_report(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str, outside: bool) -> Sheet:
    """What each store was told: the last notice of each run counts, since it replaces those before it."""
    rows: list[tuple[Value, ...]] = [
        (
            row.cycle, row.location_code, row.store, row.store_name, row.runs, int(row.vouchers),
            decimal_text(row.amount_minor), row.currency, int(row.delivered), int(row.undelivered), int(row.due),
        )
        for row in tx.all(SUM_BY_STORE, **_chosen(programme, first_cycle, last_cycle))
    ]  # fmt: skip
    sheet = Sheet("store", STORE_COLUMNS, rows)
    rule = Rule(("vouchers",), ("vouchers", "amount"))
    # Each store of a city is told of all its vouchers: what hides a city hides its stores, and they add up to nothing.
    return _outside(tx, programme, sheet, rule, [], first_cycle, last_cycle) if outside else sheet


def donor_report(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str, outside: bool) -> Sheet:
    """What each donor's money became: vouchers and sums by fund, city and month, in both currencies."""
    tx.allow_long_statement()
    rows: list[tuple[Value, ...]] = [
        (
            row.cycle, row.location_code, row.donor, row.fund, int(row.vouchers), decimal_text(row.amount_minor),
            row.currency, "" if row.rate_millionths is None else format_rate(row.rate_millionths),
            decimal_text(value_minor(row.amount_minor, row.rate_millionths)), row.value_currency,
        )
        for row in tx.all(SUM_BY_DONOR, **_chosen(programme, first_cycle, last_cycle))
    ]  # fmt: skip
    sheet = Sheet("donor", DONOR_COLUMNS, rows)
    rule = Rule(("vouchers",), ("vouchers", "amount", "value"))
    # By city they add up to `report month`, by fund to what the donor knows of his money.
    margins = [("cycle", "location"), ("cycle", "fund")]
    return _outside(tx, programme, sheet, rule, margins, first_cycle, last_cycle) if outside else sheet


def case_report(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str, outside: bool) -> Sheet:
    """Every case, open or closed, by run, reason and how it ended."""
    tx.allow_long_statement()
    rows: list[tuple[Value, ...]] = [
        (
            row.cycle, row.location_code, row.part, row.reason, row.outcome, row.waits_for, row.cases,
            decimal_text(row.amount_minor), row.currency, instant_text(row.opened_at)[:10],
        )
        for row in tx.all(SUM_CASES_BY_REASON, **_chosen(programme, first_cycle, last_cycle))
    ]  # fmt: skip
    sheet = Sheet("cases", CASE_COLUMNS, rows)
    rule = Rule(("cases",), ("cases", "amount", "oldest"))
    return _outside(tx, programme, sheet, rule, [("cycle", "location")], first_cycle, last_cycle) if outside else sheet


def approval_report(tx: Tx, programme: Programme, *, first_cycle: str, last_cycle: str) -> Sheet:
    """Who planned, approved and released each run, and what the approval was for. Names operators: not for outside."""
    rows: list[tuple[Value, ...]] = [
        (
            run_code(row), row.programme, row.state, row.lines, decimal_text(row.planned_minor), row.currency,
            "" if row.rate_millionths is None else format_rate(row.rate_millionths), row.digest, row.planned_by,
            instant_text(row.planned_at), row.approval or "", row.approved_by or "", _instant(row.approved_at),
            _instant(row.released_at), _instant(row.completed_at), row.first_approved_by or "",
            _instant(row.first_approved_at), row.released_by or "",
        )
        for row in tx.all(LIST_APPROVALS, **_chosen(programme, first_cycle, last_cycle))
    ]  # fmt: skip
    return Sheet("approvals", APPROVAL_COLUMNS, rows)


def _chosen(programme: Programme, first_cycle: str, last_cycle: str) -> dict[str, object]:
    return {"programme_id": programme.id, "first_cycle": first_cycle, "last_cycle": last_cycle}


def _outside(
    tx: Tx,
    programme: Programme,
    sheet: Sheet,
    rule: Rule,
    margins: Sequence[tuple[str, ...]],
    first_cycle: str,
    last_cycle: str,
) -> Sheet:
    hidden = hidden_credits(tx, programme, first_cycle=first_cycle, last_cycle=last_cycle)
    return suppressed(sheet, [rule], margins=margins, hidden_cities=hidden)


def _instant(instant: datetime | None) -> str:
    return "" if instant is None else instant_text(instant)

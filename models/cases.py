"""Opening a case: the row and its event, in the transaction of whoever found that a line needs one."""

from datetime import datetime

from models.events import CaseOpened
from models.journal import append
from models.runs import of_run
from models.states import CaseReason
from models.storage import Query, Tx
from models.tables import Case, Disbursement, Run

LIST_IN_DOUBT = Query("""
-- list_in_doubt: lines of a range that their issuer credited, or may have: a send without a usable answer that was not
-- found absent since; neither vouchers, nor cases already, nor found not owed. Bounded by the batch
SELECT i.disbursement_id AS id
FROM intent i LEFT JOIN answer a ON a.intent_id = i.id
WHERE i.disbursement_id BETWEEN :first_id AND :last_id
  AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = i.disbursement_id)
  AND NOT EXISTS (SELECT 1 FROM cases c
                  WHERE c.disbursement_id = i.disbursement_id AND (c.state = 'open' OR c.outcome = 'not_owed'))
GROUP BY i.disbursement_id
HAVING MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.id ELSE 0 END)
     > MAX(CASE WHEN a.outcome = 'absent' THEN i.id ELSE 0 END)
    OR MAX(CASE WHEN a.outcome = 'credited' THEN 1 ELSE 0 END) = 1
ORDER BY i.disbursement_id
""")


def open_case(
    tx: Tx,
    run: Run,
    disbursement_id: int,
    *,
    fund_id: int,
    reason: CaseReason,
    attempts: int,
    error: str,
    reserved: bool = True,
    next_attempt_at: datetime | None = None,
) -> Case:
    """A case for a line of a run. `next_attempt_at` None waits for a person. The database refuses a second open one."""
    case = tx.add(
        Case(
            disbursement_id=disbursement_id,
            run_id=run.id,
            fund_id=fund_id,
            reason=reason,
            reserved=reserved,
            attempts=attempts,
            next_attempt_at=next_attempt_at,
            last_error=error,
            opened_at=tx.now,
        )
    )
    line = tx.get(Disbursement, Disbursement.id == disbursement_id)
    append(
        tx,
        CaseOpened(
            **of_run(tx, run), case_id=case.id, disbursement_id=disbursement_id, reason=case.reason, attempts=attempts,
            amount_minor=line.amount_minor, currency=run.currency, error=error,
        ),
    )  # fmt: skip
    return case


def list_in_doubt(tx: Tx, *, first_id: int, last_id: int) -> list[int]:
    """The lines from `first_id` to `last_id` that may be credited at their issuer: ask before deciding anything."""
    return [int(row.id) for row in tx.all(LIST_IN_DOUBT, first_id=first_id, last_id=last_id)]

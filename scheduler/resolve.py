"""A person's exit from any case: paid, with evidence, or not owed. Case, money, voucher and event together."""

from models import books
from models.cases import may_be_forgotten
from models.errors import NotFound, RefusedByState, RefusedInput
from models.events import CaseResolved
from models.journal import append
from models.runs import of_run, summarise
from models.states import CaseOutcome, CaseReason, CaseState, RunState
from models.storage import Query, Tx
from models.tables import Case, Disbursement, Run, run_code
from scheduler.close import complete_if_settled, tell_stores

EVIDENCE_MAX = 200

CLOSE_CASE = Query("""
-- close_case: with what a person found
UPDATE cases SET state = 'closed', outcome = :outcome, closed_at = :now, closed_by = :closed_by, evidence = :evidence
WHERE id = :case_id AND state = 'open'
""")

COUNT_CREDITS = Query("""
-- count_credits: whether a line has a voucher, or its issuer said that it credited it
SELECT (SELECT COUNT(*) FROM voucher WHERE id = :disbursement_id)
     + (SELECT COUNT(*) FROM intent i JOIN answer a ON a.intent_id = i.id
        WHERE i.disbursement_id = :disbursement_id AND a.outcome = 'credited')
""")

EXISTS_STATED = Query("""
-- exists_stated: whether a statement of its issuer says that a line was credited, and nobody has said why not
SELECT 1 FROM difference WHERE disbursement_id = :disbursement_id AND state = 'open' AND reason = 'not_settled' LIMIT 1
""")

INSERT_VOUCHER = Query("""
-- insert_voucher: for a line that a person showed to be paid
INSERT INTO voucher (id, batch_id, key_version) VALUES (:disbursement_id, NULL, :key_version)
""")


def resolve_paid(tx: Tx, case_id: int, *, evidence: str, key_version: int) -> Case:
    """The family was paid: record the voucher, and draw on the reserve, reserving again what had gone back.

    `evidence` refers to the proof and must name nobody. Raises RefusedByState for a closed case, or a fund too small.
    """
    if not evidence.strip() or len(evidence) > EVIDENCE_MAX:
        raise RefusedInput(f"--paid needs a reference to the evidence, at most {EVIDENCE_MAX} characters")
    run, case, line = _lock(tx, case_id)
    if not case.reserved:
        books.reserve(tx, fund_id=case.fund_id, run_id=run.id, amount_minor=line.amount_minor, currency=run.currency)
    tx.execute(INSERT_VOUCHER, disbursement_id=line.id, key_version=key_version)
    books.credit(
        tx, fund_id=case.fund_id, run_id=run.id, case_id=case.id, amount_minor=line.amount_minor, currency=run.currency
    )
    _close(tx, run, case, line, outcome=CaseOutcome.PAID, evidence=evidence.strip())
    complete_if_settled(tx, run.id)
    return case


def resolve_not_owed(tx: Tx, case_id: int, *, evidence: str = "") -> Case:
    """The line was not owed: give its reserve back. It is never credited.

    Raises RefusedByState for a closed case, for a line that its issuer is known to have credited, by its answer or by a
    statement, and for one that it may have credited and is still asked about; without evidence that it did not, also
    for one that it may have credited in a time that a restored database has forgotten.
    """
    if len(evidence) > EVIDENCE_MAX:
        raise RefusedInput(f"a reference to the evidence has at most {EVIDENCE_MAX} characters")
    run, case, line = _lock(tx, case_id)
    if case.reason == CaseReason.UNKNOWN and case.next_attempt_at is not None:
        raise RefusedByState(
            f"the issuer may have credited the line of case {case_id}, and is asked about it by itself",
            hint="wait until the case waits for a person: despensa run cases " + run_code(run),
        )
    if tx.scalar(COUNT_CREDITS, disbursement_id=line.id) > 0:
        raise RefusedByState(
            f"the line of case {case_id} was credited by its issuer: it is owed, and paid",
            hint=f"despensa run retry {run_code(run)} --case {case_id}: its voucher is made from the issuer's answer",
        )
    if tx.first(EXISTS_STATED, disbursement_id=line.id) is not None:
        raise RefusedByState(
            f"a statement of its issuer says that the line of case {case_id} was credited",
            hint=f"despensa run retry {run_code(run)} --case {case_id}: it asks the issuer; or, if the statement is "
            "wrong: despensa statement close DIFFERENCE --evidence REFERENCE",
        )
    if not evidence.strip() and may_be_forgotten(tx, run, line.id):
        raise RefusedByState(
            f"the issuer may have credited the line of case {case_id} in a time that this restored database has "
            "forgotten",
            hint=f"ask the issuer, then: despensa run resolve {case_id} --not-owed --evidence REFERENCE; or: "
            f"despensa run retry {run_code(run)} --case {case_id}, which asks before it sends",
        )
    if case.reserved:
        books.unreserve(
            tx, fund_id=case.fund_id, run_id=run.id, case_id=case.id, amount_minor=line.amount_minor,
            currency=run.currency,
        )  # fmt: skip
    _close(tx, run, case, line, outcome=CaseOutcome.NOT_OWED, evidence=evidence.strip())
    complete_if_settled(tx, run.id)
    return case


def _lock(tx: Tx, case_id: int) -> tuple[Run, Case, Disbursement]:
    found = tx.find(Case, Case.id == case_id)
    if found is None:
        raise NotFound(f"there is no case {case_id}", hint="despensa run cases")
    run = tx.get(Run, Run.id == found.run_id, lock=True)
    case = tx.get(Case, Case.id == case_id, lock=True)
    if case.state != CaseState.OPEN:
        raise RefusedByState(f"case {case_id} is closed: {case.outcome}", hint="despensa run cases")
    if run.state == RunState.CANCELLED and run.completed_at is None:
        raise RefusedByState(f"the run of case {case_id} is still being cancelled", hint="repeat in a few seconds")
    return run, case, tx.get(Disbursement, Disbursement.id == case.disbursement_id)


def _close(tx: Tx, run: Run, case: Case, line: Disbursement, *, outcome: CaseOutcome, evidence: str) -> None:
    changed = tx.execute(
        CLOSE_CASE, case_id=case.id, outcome=str(outcome), now=tx.now, closed_by=tx.operator, evidence=evidence
    )
    if changed != 1:
        raise RefusedByState(f"case {case.id} changed while it was being resolved", hint="repeat the command")
    paid = outcome == CaseOutcome.PAID
    notices = 0
    if paid and run.state in (RunState.CANCELLED, RunState.COMPLETED_WITH_CASES):  # its stores were told of less
        counts = summarise(tx, run.id).counts
        notices = tell_stores(tx, run, vouchers=counts.credited, amount_minor=counts.credited_minor)
    append(
        tx,
        CaseResolved(
            **of_run(tx, run), case_id=case.id, disbursement_id=line.id, reason=case.reason, outcome=str(outcome),
            amount_minor=line.amount_minor, credited=int(paid), credited_minor=line.amount_minor if paid else 0,
            notices=notices, currency=run.currency, operator=tx.operator,
        ),
    )  # fmt: skip

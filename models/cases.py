"""Cases: opening one, in the transaction of whoever found that a line needs one; and which lines are in doubt."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row

from models.columns import instant_text, parse_instant
from models.doubts import ForgottenSends, ForgottenSpan, Sends, is_surely_absent
from models.events import CaseOpened
from models.journal import append
from models.restores import LIST_RESTORES
from models.runs import of_run
from models.states import CaseReason
from models.storage import Query, Tx
from models.tables import Case, Disbursement, Issuer, Run

#: Of a line's calls `i` with their answers `a`: its sends without a usable answer, and the issuer's last "nothing here"
#: since the last of them. By the order of the calls, not by their instants: a clock may have been ahead, and set right.
DOUBT = """MIN(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.recorded_at END)
         AS doubted_first_at,
       MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.recorded_at END)
         AS doubted_last_at,
       MAX(CASE WHEN a.outcome IN ('absent', 'rejected')
                 AND NOT EXISTS (SELECT 1 FROM intent later LEFT JOIN answer said ON said.intent_id = later.id
                                 WHERE later.disbursement_id = i.disbursement_id AND later.id > i.id
                                   AND later.kind = 'send' AND COALESCE(said.outcome, 'unknown') = 'unknown')
                THEN i.recorded_at END) AS absent_at"""


def unsettled(line: str) -> str:
    """That a line from :first_id to :last_id has no voucher, no open case, and was not found not owed: as a condition.

    `line` is the column with its id. The range stands in each part: without it PostgreSQL reads all vouchers that there
    are for every batch. NOT IN, of columns that are never null, is looked up in a table made once; with NOT EXISTS
    PostgreSQL, which believes that a batch is one line, reads for each line what the others have just been given.
    """
    return f"""{line} NOT IN (SELECT v.id FROM voucher v WHERE v.id BETWEEN :first_id AND :last_id)
  AND {line} NOT IN (SELECT c.disbursement_id FROM cases c
                     WHERE c.disbursement_id BETWEEN :first_id AND :last_id
                       AND (c.state = 'open' OR c.outcome = 'not_owed'))"""  # noqa: S608  # of constants, of no input


#: A line `d` that was called for, or may have been sent in a time that a restored database has forgotten.
CALLED = "(i.id IS NOT NULL OR d.cycle <= :forgotten_cycle)"

LIST_CALLED = Query(f"""
-- list_called: lines of a range that were, or may have been, sent to their issuer and have no usable answer, or that
-- it credited; neither vouchers, nor cases already, nor found not owed, nor in a batch of the run that will ask.
-- Bounded by the batch
SELECT d.id, d.cycle,
       {DOUBT},
       MAX(CASE WHEN a.outcome = 'credited' THEN 1 ELSE 0 END) AS credited
FROM disbursement d LEFT JOIN intent i ON i.disbursement_id = d.id LEFT JOIN answer a ON a.intent_id = i.id
WHERE d.id BETWEEN :first_id AND :last_id AND {CALLED}
  AND {unsettled("d.id")}
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.run_id = :run_id AND b.state = 'open'
                  AND d.id BETWEEN b.first_id AND b.last_id)
GROUP BY d.id, d.cycle ORDER BY d.id
""")  # noqa: S608  # of constants, of no input

LIST_DOUBTED = Query(f"""
-- list_doubted: lines of a programme that were, or may have been, sent to its issuer and have no usable answer, or that
-- it credited; neither vouchers nor found not owed. Bounded by what is under way
SELECT d.id, d.cycle,
       {DOUBT},
       MAX(CASE WHEN a.outcome = 'credited' THEN 1 ELSE 0 END) AS credited
FROM disbursement d LEFT JOIN intent i ON i.disbursement_id = d.id LEFT JOIN answer a ON a.intent_id = i.id
WHERE d.programme_id = :programme_id AND {CALLED}
  AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
  AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id AND c.outcome = 'not_owed')
GROUP BY d.id, d.cycle ORDER BY d.id
""")  # noqa: S608  # of constants, of no input

GET_CALLED = Query(f"""
-- get_called: what is known of one line's calls
SELECT d.id, d.cycle,
       {DOUBT}
FROM disbursement d LEFT JOIN intent i ON i.disbursement_id = d.id LEFT JOIN answer a ON a.intent_id = i.id
WHERE d.id = :disbursement_id GROUP BY d.id, d.cycle
""")  # noqa: S608  # of constants, of no input

#: Which cases `c`, of runs `r`, an operator means. Empty texts, zeros and `:any_error` 1 leave nobody out.
CHOSEN = """(:run_id = 0 OR c.run_id = :run_id) AND (:location_code = '' OR r.location_code = :location_code)
  AND (:cycle = '' OR r.cycle = :cycle) AND (:reason = '' OR c.reason = :reason)
  AND (:case_id = 0 OR c.id = :case_id) AND (:any_error = 1 OR c.last_error = :error)
  AND (:waiting = 0 OR c.next_attempt_at IS NULL)"""

LIST_CASES = Query(f"""
-- list_cases: chosen cases with their runs, for the screen; not bounded: stream it
SELECT c.id, c.disbursement_id, c.reason, c.last_error, c.state, c.outcome, c.attempts, c.opened_at, c.next_attempt_at,
       r.cycle, r.location_code, r.part, r.currency, p.code AS programme, d.amount_minor
FROM cases c JOIN run r ON r.id = c.run_id JOIN programme p ON p.id = r.programme_id
JOIN disbursement d ON d.id = c.disbursement_id
WHERE {CHOSEN} AND (c.state = 'open' OR :closed_too = 1) ORDER BY c.id
""")  # noqa: S608  # of constants, of no input

NEWEST_CALL = Query("""
-- newest_call: the last call to any issuer, and of what its reference was derived
SELECT i.reference, p.code AS programme, h.registration_id, d.cycle
FROM intent i JOIN disbursement d ON d.id = i.disbursement_id JOIN household h ON h.id = d.household_id
JOIN programme p ON p.id = d.programme_id
ORDER BY i.id DESC LIMIT 1
""")

COUNT_DOUBTS = Query("""
-- count_doubts: how often each line of a range was a case of doubt; bounded by the batch
SELECT disbursement_id AS id, COUNT(*) AS doubts FROM cases
WHERE disbursement_id BETWEEN :first_id AND :last_id AND reason = 'unknown' GROUP BY disbursement_id
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
            next_attempt_at=instant_text(next_attempt_at) if next_attempt_at else "", amount_minor=line.amount_minor,
            currency=run.currency,
            # An issuer's own words stay in the case: nobody knows what it puts into a reason code.
            error="refused" if reason == CaseReason.REJECTED else error,
        ),
    )  # fmt: skip
    return case


@dataclass(frozen=True, slots=True)
class Doubt:
    """A line that may be credited at its issuer, or is known to be, and is not settled here."""

    line: int
    credited: bool  #: known to be


def list_in_doubt(tx: Tx, run: Run, *, first_id: int, last_id: int) -> list[Doubt]:
    """The lines from `first_id` to `last_id` that may be credited at their issuer: ask before deciding anything."""
    issuer = tx.find(Issuer, Issuer.programme_id == run.programme_id)
    if issuer is None:
        return []
    forgotten = forgotten_sends(tx, issuer)
    rows = tx.all(
        LIST_CALLED, run_id=run.id, first_id=first_id, last_id=last_id,
        forgotten_cycle=forgotten.cycle if forgotten else "",
    )  # fmt: skip
    return [Doubt(int(row.id), bool(row.credited)) for row in rows if _is_in_doubt(row, issuer, forgotten)]


def count_in_doubt(tx: Tx, issuer: Issuer) -> int:
    """How many lines of a programme are credited at its issuer, or perhaps, and not settled here."""
    tx.allow_long_statement()
    forgotten = forgotten_sends(tx, issuer)
    rows = tx.all(
        LIST_DOUBTED, programme_id=issuer.programme_id, forgotten_cycle=forgotten.cycle if forgotten else ""
    )  # fmt: skip
    return sum(_is_in_doubt(row, issuer, forgotten) for row in rows)


def forgotten_sends(tx: Tx, issuer: Issuer) -> ForgottenSends | None:
    """What a restored database has forgotten of an issuer's programme; None where it was never restored."""
    if issuer.forgotten_from is None:
        return None
    restored = [(orjson.loads(row.fields), row.recorded_at) for row in tx.all(LIST_RESTORES)]
    return ForgottenSends(
        tuple(
            ForgottenSpan(fields["forgotten_cycle"], parse_instant(fields["forgotten_from"]), recorded_at)
            for fields, recorded_at in restored
        )
    )


def may_be_forgotten(tx: Tx, run: Run, disbursement_id: int) -> bool:
    """Whether a line may be credited at its issuer by a send that a restored database has forgotten."""
    issuer = tx.find(Issuer, Issuer.programme_id == run.programme_id)
    forgotten = forgotten_sends(tx, issuer) if issuer else None
    if issuer is None or forgotten is None:
        return False
    row = tx.one(GET_CALLED, disbursement_id=disbursement_id)
    return forgotten.is_open(row.cycle, _sends(row), key_window=timedelta(hours=issuer.key_window_hours))


def _sends(row: Row[Any]) -> Sends:
    return Sends(row.doubted_first_at, row.doubted_last_at, row.absent_at)


def _is_in_doubt(row: Row[Any], issuer: Issuer, forgotten: ForgottenSends | None) -> bool:
    key_window, sends = timedelta(hours=issuer.key_window_hours), _sends(row)
    return (
        bool(row.credited)
        or (forgotten is not None and forgotten.is_open(row.cycle, sends, key_window=key_window))
        or not is_surely_absent(
            doubted_first_at=sends.doubted_first_at, doubted_last_at=sends.doubted_last_at,
            absent_at=sends.absent_at, key_window=key_window,
        )
    )  # fmt: skip


def count_doubts(tx: Tx, *, first_id: int, last_id: int) -> dict[int, int]:
    """How often the lines of a range were cases of doubt; those that never were are left out."""
    return {int(row.id): int(row.doubts) for row in tx.all(COUNT_DOUBTS, first_id=first_id, last_id=last_id)}

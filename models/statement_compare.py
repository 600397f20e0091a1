"""Holding what an issuer says against what we know of the same references: which differences there are now.

All in the database, in temporary tables, of the references alone that may have changed: those of the statement, those
that it takes back, those of open differences, and those of ours that it ought to have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from models.events import DifferenceClosed, DifferenceOpened
from models.intake.statement import Period
from models.journal import append_all
from models.storage import Query, Tx
from models.tables import Programme, Statement

#: A credit is missed in a statement only where it was made so far within the time that statements cover: the issuer has
#: its own clock, and may book what it was sent a minute later.
MARGIN = timedelta(hours=1)


def _temporary(statement: str) -> Query:
    return Query(f"{statement} ON COMMIT DROP", sqlite=statement.replace("TIMESTAMPTZ", "TEXT"))


CREATE_ASKED = _temporary("""
-- create_asked: the references that are compared
CREATE TEMPORARY TABLE statement_asked (reference TEXT PRIMARY KEY)""")

CREATE_COVER = _temporary("""
-- create_cover: in which times statements have everything, with the margin at each end
CREATE TEMPORARY TABLE statement_cover (from_at TIMESTAMPTZ, to_at TIMESTAMPTZ)""")

CREATE_MATCH = _temporary("""
-- create_match: which line each reference is, since when it may have been credited, and when we were told so
CREATE TEMPORARY TABLE statement_match (
    reference TEXT PRIMARY KEY, disbursement_id BIGINT NOT NULL, first_at TIMESTAMPTZ NOT NULL,
    credited_at TIMESTAMPTZ)""")

CREATE_ENTRY = _temporary("""
-- create_entry: what the issuer says of each reference; `reversed` 1 where another entry takes all of it back
CREATE TEMPORARY TABLE statement_entry (
    credit_id TEXT PRIMARY KEY, kind TEXT NOT NULL, reference TEXT NOT NULL, amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL, booked_at TIMESTAMPTZ NOT NULL, reverses TEXT NOT NULL, listed BIGINT NOT NULL,
    reversed BIGINT NOT NULL)""")

CREATE_FINDING = _temporary("""
-- create_finding: where they differ
CREATE TEMPORARY TABLE statement_finding (
    reason TEXT NOT NULL, reference TEXT NOT NULL, credit_id TEXT NOT NULL, disbursement_id BIGINT,
    expected_minor BIGINT, expected_currency TEXT NOT NULL, found_minor BIGINT, found_currency TEXT NOT NULL,
    PRIMARY KEY (reference, credit_id, reason))""")

ASK = Query("""
-- ask: which references are compared; before the statement is applied, so that what it takes back is among them
INSERT INTO statement_asked (reference)
SELECT reference FROM statement_stage
UNION SELECT reference FROM difference WHERE programme_id = :programme_id AND state = 'open'
UNION SELECT c.reference FROM statement_credit c JOIN statement_stage s ON s.credit_id = c.credit_id
      WHERE c.programme_id = :programme_id AND c.reference <> s.reference
UNION SELECT c.reference FROM statement_credit c
      WHERE c.programme_id = :programme_id AND c.booked_at >= :from_at AND c.booked_at < :to_at AND c.listed > 0
        AND NOT EXISTS (SELECT 1 FROM statement_stage s WHERE s.credit_id = c.credit_id)
UNION SELECT i.reference FROM answer a JOIN intent i ON i.id = a.intent_id
                         JOIN run r ON r.id = i.disbursement_id / 10000000
      WHERE r.programme_id = :programme_id AND a.outcome = 'credited'
        AND a.answered_at >= :credited_from_at AND a.answered_at <= :covered_to_at
""")

INSERT_COVER = Query("""
-- insert_cover: a time that statements cover without a gap
INSERT INTO statement_cover (from_at, to_at) VALUES (:from_at, :to_at)
""")

MATCH = Query("""
-- match: by the references of our calls
INSERT INTO statement_match (reference, disbursement_id, first_at, credited_at)
SELECT i.reference, MIN(i.disbursement_id), MIN(i.recorded_at),
       MIN(CASE WHEN a.outcome = 'credited' THEN a.answered_at END)
FROM intent i JOIN statement_asked k ON k.reference = i.reference JOIN run r ON r.id = i.disbursement_id / 10000000
LEFT JOIN answer a ON a.intent_id = i.id
WHERE r.programme_id = :programme_id GROUP BY i.reference
""")

LIST_ENTRIES = Query("""
-- list_entries: what the newest statements have of these references
INSERT INTO statement_entry (credit_id, kind, reference, amount_minor, currency, booked_at, reverses, listed, reversed)
SELECT c.credit_id, c.kind, c.reference, c.amount_minor, c.currency, c.booked_at, c.reverses, c.listed,
       CASE WHEN c.kind = 'credited'
             AND EXISTS (SELECT 1 FROM statement_credit r
                         WHERE r.programme_id = :programme_id AND r.kind = 'reversed' AND r.reverses = c.credit_id
                           AND r.listed > 0 AND r.reference = c.reference AND r.amount_minor = c.amount_minor
                           AND r.currency = c.currency) THEN 1 ELSE 0 END
FROM statement_asked k JOIN statement_credit c ON c.programme_id = :programme_id AND c.reference = k.reference
WHERE c.listed > 0
""")

INDEX_ENTRIES = Query("-- index_entries: for the joins\nCREATE INDEX ix_statement_entry ON statement_entry (reference)")

ANALYZE = Query(
    "-- analyze: so that the joins are planned well\nANALYZE statement_match, statement_entry",
    sqlite="-- analyze: so that the joins are planned well\nANALYZE statement_entry",
)

DROPS = tuple(
    Query(f"-- drop_{name}: compared\nDROP TABLE statement_{name}")
    for name in ("asked", "cover", "match", "entry", "finding")
)

_INSERT_FINDING = """INSERT INTO statement_finding (reason, reference, credit_id, disbursement_id, expected_minor,
                               expected_currency, found_minor, found_currency)"""

FIND_CREDITS = Query(f"""
-- find_credits: credits that stand, against the line of their reference; the first reason of each
{_INSERT_FINDING}
SELECT reason, reference, credit_id, disbursement_id, expected_minor, expected_currency, amount_minor, currency
FROM (SELECT CASE WHEN d.id IS NULL THEN 'unknown_to_us'
                  WHEN e.place > 1 OR e.listed > 1 THEN 'twice'
                  WHEN e.amount_minor <> d.amount_minor OR e.currency <> r.currency THEN 'other_amount'
                  WHEN EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id) THEN ''
                  WHEN EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id AND c.outcome = 'not_owed')
                       THEN 'not_owed'
                  ELSE 'not_settled' END AS reason,
             e.reference, e.credit_id, d.id AS disbursement_id, d.amount_minor AS expected_minor,
             COALESCE(r.currency, '') AS expected_currency, e.amount_minor, e.currency
      FROM (SELECT reference, credit_id, amount_minor, currency, listed,
                   ROW_NUMBER() OVER (PARTITION BY reference ORDER BY booked_at, credit_id) AS place
            FROM statement_entry WHERE kind = 'credited' AND reversed = 0) e
      LEFT JOIN statement_match m ON m.reference = e.reference
      LEFT JOIN disbursement d ON d.id = m.disbursement_id
      LEFT JOIN run r ON r.id = d.id / 10000000) found
WHERE reason <> ''
""")  # noqa: S608  # of constants, of no input

FIND_REVERSALS = Query(f"""
-- find_reversals: reversals, against the credit that they take back
{_INSERT_FINDING}
SELECT reason, reference, credit_id, disbursement_id, expected_minor, expected_currency, amount_minor, currency
FROM (SELECT CASE WHEN o.credit_id IS NULL THEN 'reversed_without_original'
                  WHEN e.place > 1 OR e.listed > 1 THEN 'twice'
                  WHEN e.amount_minor <> o.amount_minor OR e.currency <> o.currency THEN 'other_amount'
                  ELSE '' END AS reason,
             e.reference, e.credit_id, m.disbursement_id, o.amount_minor AS expected_minor,
             COALESCE(o.currency, '') AS expected_currency, e.amount_minor, e.currency
      FROM (SELECT reference, credit_id, amount_minor, currency, listed, reverses,
                   ROW_NUMBER() OVER (PARTITION BY reverses ORDER BY booked_at, credit_id) AS place
            FROM statement_entry WHERE kind = 'reversed') e
      LEFT JOIN statement_entry o ON o.credit_id = e.reverses AND o.kind = 'credited' AND o.reference = e.reference
      LEFT JOIN statement_match m ON m.reference = e.reference) found
WHERE reason <> ''
""")  # noqa: S608  # of constants, of no input

FIND_TAKEN_BACK = Query(f"""
-- find_taken_back: vouchers of which the issuer has taken every credit back
{_INSERT_FINDING}
SELECT 'reversed', m.reference, e.credit_id, d.id, d.amount_minor, r.currency, NULL, ''
FROM (SELECT reference, MAX(credit_id) AS credit_id FROM statement_entry WHERE kind = 'credited'
      GROUP BY reference HAVING MIN(reversed) = 1) e
JOIN statement_match m ON m.reference = e.reference
JOIN voucher v ON v.id = m.disbursement_id
JOIN disbursement d ON d.id = v.id JOIN run r ON r.id = d.id / 10000000
""")  # noqa: S608  # of constants, of no input

FIND_MISSING = Query(f"""
-- find_missing: vouchers that the issuer said it credited, in a time that statements cover, and that none of them has;
-- what may have been sent before a restore, and was forgotten, may have been credited since then
{_INSERT_FINDING}
SELECT 'unknown_to_them', m.reference, '', d.id, d.amount_minor, r.currency, NULL, ''
FROM statement_match m
JOIN voucher v ON v.id = m.disbursement_id
JOIN disbursement d ON d.id = v.id JOIN run r ON r.id = d.id / 10000000
JOIN issuer s ON s.programme_id = r.programme_id
WHERE v.batch_id IS NOT NULL AND m.credited_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM statement_entry e WHERE e.reference = m.reference AND e.kind = 'credited')
  AND EXISTS (SELECT 1 FROM statement_cover k
              WHERE k.from_at <= CASE WHEN d.cycle <= s.forgotten_cycle AND s.forgotten_from < m.first_at
                                      THEN s.forgotten_from ELSE m.first_at END
                AND m.credited_at <= k.to_at)
""")  # noqa: S608  # of constants, of no input

#: That a finding `f` is the difference `d`: if an amount changes, it is another one.
_SAME = """d.programme_id = :programme_id AND d.reference = f.reference AND d.reason = f.reason
  AND d.credit_id = f.credit_id AND COALESCE(d.expected_minor, 0) = COALESCE(f.expected_minor, 0)
  AND d.expected_currency = f.expected_currency AND COALESCE(d.found_minor, 0) = COALESCE(f.found_minor, 0)
  AND d.found_currency = f.found_currency"""

CLOSE_AGREED = Query(f"""
-- close_agreed: open differences that are no more
UPDATE difference SET state = 'closed', closed_at = :now, evidence = :evidence
WHERE state = 'open'
  AND id IN (SELECT d.id FROM difference d
             WHERE d.programme_id = :programme_id AND d.state = 'open'
               AND NOT EXISTS (SELECT 1 FROM statement_finding f WHERE {_SAME}))
""")  # noqa: S608  # of constants, of no input

COUNT_AGREED = Query("""
-- count_agreed: those that were just closed; bounded by the reasons
SELECT d.reason, COUNT(*) AS differences, MIN(d.id) AS first_id, MAX(d.id) AS last_id FROM difference d
WHERE d.programme_id = :programme_id AND d.closed_at = :now AND d.evidence = :evidence
GROUP BY d.reason ORDER BY d.reason
""")

LAST_DIFFERENCE = Query("-- last_difference: the newest\nSELECT COALESCE(MAX(id), 0) FROM difference")

OPEN_FOUND = Query(f"""
-- open_found: what is neither open already, nor was closed by a person who had looked at the same
INSERT INTO difference (programme_id, statement_id, reason, reference, credit_id, disbursement_id, expected_minor,
                        expected_currency, found_minor, found_currency, state, opened_at, evidence)
SELECT CAST(:programme_id AS BIGINT), CAST(:statement_id AS BIGINT), f.reason, f.reference, f.credit_id,
       f.disbursement_id, f.expected_minor, f.expected_currency, f.found_minor, f.found_currency, 'open', :now, ''
FROM statement_finding f
WHERE NOT EXISTS (SELECT 1 FROM difference d WHERE {_SAME} AND (d.state = 'open' OR d.closed_by IS NOT NULL))
ORDER BY f.reason, f.reference, f.credit_id
""")  # noqa: S608  # of constants, of no input

COUNT_OPENED = Query("""
-- count_opened: differences after another one: those that were just opened; bounded by the reasons
SELECT d.reason, COUNT(*) AS differences, MIN(d.id) AS first_id, MAX(d.id) AS last_id
FROM difference d WHERE d.programme_id = :programme_id AND d.id > :after_id GROUP BY d.reason ORDER BY d.reason
""")


@dataclass(frozen=True, slots=True)
class Changed:
    """Differences of one reason that were opened, or closed: those of the programme between the two."""

    reason: str
    differences: int
    first_id: int
    last_id: int


def ask(tx: Tx, statement: Statement, others: Sequence[Statement]) -> None:
    """Note what is to be compared. The statement is staged, and not applied yet; `others` are those before it."""
    for query in (CREATE_ASKED, CREATE_COVER, CREATE_MATCH, CREATE_ENTRY, CREATE_FINDING):
        tx.execute(query)
    covered = merged([Period(each.from_at, each.to_at) for each in (*others, statement)])
    for period in covered:
        tx.execute(INSERT_COVER, from_at=period.from_at + MARGIN, to_at=period.to_at - MARGIN)
    around = next(each for each in covered if each.from_at <= statement.from_at < each.to_at)
    tx.execute(
        ASK, programme_id=statement.programme_id, from_at=statement.from_at, to_at=statement.to_at,
        credited_from_at=statement.from_at - MARGIN, covered_to_at=around.to_at - MARGIN,
    )  # fmt: skip


def merged(periods: Sequence[Period]) -> list[Period]:
    """The times that these cover together: two that touch are one, so that nothing falls between them.

    A credit at the edge of a month is in the middle of two.
    """
    whole: list[Period] = []
    for period in sorted(periods, key=lambda each: each.from_at):
        if whole and period.from_at <= whole[-1].to_at:
            whole[-1] = Period(whole[-1].from_at, max(whole[-1].to_at, period.to_at))
        else:
            whole.append(period)
    return whole


def compare(tx: Tx, programme: Programme, statement: Statement) -> tuple[list[Changed], list[Changed]]:
    """Open what differs now, close what agrees now, and journal both; the statement is applied. Returns both."""
    of = {"programme_id": programme.id}
    tx.execute(MATCH, **of)
    tx.execute(LIST_ENTRIES, **of)
    tx.execute(INDEX_ENTRIES)
    tx.execute(ANALYZE)
    for query in (FIND_CREDITS, FIND_REVERSALS, FIND_TAKEN_BACK, FIND_MISSING):
        tx.execute(query)
    by = {"now": tx.now, "evidence": f"statement {statement.id}"}
    closed = _changed(tx.all(COUNT_AGREED, **of, **by)) if tx.execute(CLOSE_AGREED, **of, **by) else []
    after_id = tx.scalar(LAST_DIFFERENCE)
    tx.execute(OPEN_FOUND, **of, statement_id=statement.id, now=tx.now)
    opened = _changed(tx.all(COUNT_OPENED, **of, after_id=after_id))
    for query in DROPS:
        tx.execute(query)
    _journal(tx, programme, statement, opened=opened, closed=closed)
    return opened, closed


def _changed(rows: Sequence[Row[Any]]) -> list[Changed]:
    return [Changed(row.reason, int(row.differences), int(row.first_id), int(row.last_id)) for row in rows]


def _journal(
    tx: Tx, programme: Programme, statement: Statement, *, opened: Sequence[Changed], closed: Sequence[Changed]
) -> None:
    operator = tx.operator
    append_all(
        tx,
        [
            *(
                DifferenceOpened(
                    programme=programme.code, statement_id=statement.id, reason=each.reason,
                    differences=each.differences, first_difference_id=each.first_id,
                    last_difference_id=each.last_id, operator=operator,
                )
                for each in opened
            ),
            *(
                DifferenceClosed(
                    programme=programme.code, reason=each.reason, differences=each.differences,
                    first_difference_id=each.first_id, last_difference_id=each.last_id, closed="statement",
                    operator=operator,
                )
                for each in closed
            ),
        ],
    )  # fmt: skip

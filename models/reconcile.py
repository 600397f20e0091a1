"""Whether the books agree: every balance against the rows it stands for. Reads only.

Each check is one query that returns only what differs: a subject, what is expected, and what is found. All of them
exist twice, from one text: of everything that there is, and of one run, for its close.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice

import orjson

from models.columns import instant_text
from models.journal import GENESIS, chain_hash
from models.journalled import (
    Asked,
    Totals,
    deposits_of_journal,
    deposits_of_tables,
    of_journal,
    of_tables,
    rows_of_run,
)
from models.kept_head import Head
from models.restores import follow, is_void, list_restores
from models.storage import Query, Tx

#: Differences shown of each check: whoever has more has enough to look at.
SHOWN_MAX = 100

FUND_BALANCES = Asked.made("""
-- fund_balances: a fund's balance is its deposits and returns less its reserves
SELECT f.code AS subject, COALESCE(t.amount_minor, 0) AS expected, f.balance_minor AS found
FROM fund f
LEFT JOIN (SELECT fund_id, SUM(CASE kind WHEN 'deposit' THEN amount_minor WHEN 'unreserve' THEN amount_minor
                               WHEN 'reserve' THEN -amount_minor ELSE 0 END) AS amount_minor
           FROM transfer WHERE {by_fund} GROUP BY fund_id) t ON t.fund_id = f.id
WHERE {fund} AND f.balance_minor <> COALESCE(t.amount_minor, 0)
LIMIT :limit
""")

OUTSTANDING = Asked.made("""
-- outstanding: the control account of each run is the sum of its vouchers
SELECT r.id AS subject, COALESCE(v.amount_minor, 0) AS expected, COALESCE(t.amount_minor, 0) AS found
FROM run r
LEFT JOIN (SELECT d.id / 10000000 AS run_id, SUM(d.amount_minor) AS amount_minor
           FROM voucher v JOIN disbursement d ON d.id = v.id WHERE {voucher} AND {line}
           GROUP BY d.id / 10000000) v ON v.run_id = r.id
LEFT JOIN (SELECT run_id, SUM(amount_minor) AS amount_minor FROM transfer WHERE kind = 'credit' AND {by_run}
           GROUP BY run_id) t ON t.run_id = r.id
WHERE {run} AND COALESCE(v.amount_minor, 0) <> COALESCE(t.amount_minor, 0)
LIMIT :limit
""")

RESERVES = Asked.made("""
-- reserves: a released run's reserve is the sum of its lines that may still be credited from it
SELECT r.id AS subject, COALESCE(l.amount_minor, 0) AS expected, COALESCE(t.amount_minor, 0) AS found
FROM run r
LEFT JOIN (SELECT d.id / 10000000 AS run_id, SUM(d.amount_minor) AS amount_minor FROM disbursement d
           WHERE {line}
             AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
             AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                             AND (c.outcome = 'not_owed' OR (c.state = 'open' AND c.reserved = :no)))
           GROUP BY d.id / 10000000) l ON l.run_id = r.id
LEFT JOIN (SELECT run_id, SUM(CASE kind WHEN 'reserve' THEN amount_minor ELSE -amount_minor END) AS amount_minor
           FROM transfer WHERE run_id IS NOT NULL AND {by_run} GROUP BY run_id) t ON t.run_id = r.id
WHERE {run} AND r.state NOT IN ('planned', 'approved')
  AND COALESCE(l.amount_minor, 0) <> COALESCE(t.amount_minor, 0)
LIMIT :limit
""")

BATCH_COUNTS = Asked.made("""
-- batch_counts: a batch's write-once counts are its vouchers
SELECT b.id AS subject, COALESCE(v.vouchers, 0) AS expected, COALESCE(b.credited, 0) AS found
FROM batch b LEFT JOIN (SELECT batch_id, COUNT(*) AS vouchers FROM voucher v WHERE {voucher}
                        GROUP BY batch_id) v ON v.batch_id = b.id
WHERE {batch} AND COALESCE(v.vouchers, 0) <> COALESCE(b.credited, 0)
LIMIT :limit
""")

BATCH_TRANSFERS = Asked.made("""
-- batch_transfers: a batch's sum is its transfer
SELECT b.id AS subject, COALESCE(b.credited_minor, 0) AS expected, COALESCE(t.amount_minor, 0) AS found
FROM batch b LEFT JOIN (SELECT batch_id, SUM(amount_minor) AS amount_minor FROM transfer
                        WHERE kind = 'credit' AND {by_run} GROUP BY batch_id) t ON t.batch_id = b.id
WHERE {batch} AND COALESCE(b.credited_minor, 0) <> COALESCE(t.amount_minor, 0)
LIMIT :limit
""")

RUN_LINES = Asked.made("""
-- run_lines: a run's frozen count is its lines
SELECT r.id AS subject, r.lines AS expected, COALESCE(d.lines, 0) AS found
FROM run r LEFT JOIN (SELECT d.id / 10000000 AS run_id, COUNT(*) AS lines FROM disbursement d
                      WHERE {line} GROUP BY d.id / 10000000) d ON d.run_id = r.id
WHERE {run} AND r.lines <> COALESCE(d.lines, 0)
LIMIT :limit
""")

RUN_AMOUNTS = Asked.made("""
-- run_amounts: a run's frozen sum is the sum of its lines
SELECT r.id AS subject, r.planned_minor AS expected, COALESCE(d.amount_minor, 0) AS found
FROM run r LEFT JOIN (SELECT d.id / 10000000 AS run_id, SUM(d.amount_minor) AS amount_minor FROM disbursement d
                      WHERE {line} GROUP BY d.id / 10000000) d ON d.run_id = r.id
WHERE {run} AND r.planned_minor <> COALESCE(d.amount_minor, 0)
LIMIT :limit
""")

FINISHED_LINES = Asked.made("""
-- finished_lines: in a finished run every line is a voucher, an open case, or was found not owed
SELECT r.id AS subject, r.lines AS expected, COALESCE(v.vouchers, 0) + COALESCE(c.others, 0) AS found
FROM run r
LEFT JOIN (SELECT v.id / 10000000 AS run_id, COUNT(*) AS vouchers FROM voucher v WHERE {voucher}
           GROUP BY v.id / 10000000) v ON v.run_id = r.id
LEFT JOIN (SELECT run_id, COUNT(*) AS others FROM cases WHERE (state = 'open' OR outcome = 'not_owed') AND {by_run}
           GROUP BY run_id) c ON c.run_id = r.id
WHERE {run} AND r.completed_at IS NOT NULL AND r.lines <> COALESCE(v.vouchers, 0) + COALESCE(c.others, 0)
LIMIT :limit
""")

PAID_NOT_OWED = Asked.made("""
-- paid_not_owed: no line has a voucher and an open case, or was found not owed
SELECT c.disbursement_id AS subject, 0 AS expected, COUNT(*) AS found
FROM cases c JOIN voucher v ON v.id = c.disbursement_id
WHERE {case} AND (c.state = 'open' OR c.outcome = 'not_owed')
GROUP BY c.disbursement_id LIMIT :limit
""")

ISSUER_SURPLUS = Asked.made("""
-- issuer_surplus: what an issuer credited is a voucher, or still to be settled: its line open, or a case of doubt
SELECT i.disbursement_id AS subject, 0 AS expected, COUNT(*) AS found
FROM answer a JOIN intent i ON i.id = a.intent_id
WHERE {call}
  AND a.outcome = 'credited' AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = i.disbursement_id)
  AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = i.disbursement_id AND c.state = 'open'
                  AND c.next_attempt_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM batch b WHERE b.run_id = i.disbursement_id / 10000000
                  AND i.disbursement_id BETWEEN b.first_id AND b.last_id
                  AND (b.state IN ('open', 'paused') OR (b.state = 'stopped' AND b.ended_at IS NULL)))
GROUP BY i.disbursement_id LIMIT :limit
""")

ISSUER_EVIDENCE = Asked.made("""
-- issuer_evidence: a voucher of a programme with an issuer has its issuer's answer, or a person's evidence
SELECT v.id AS subject, 1 AS expected, 0 AS found
FROM issuer s JOIN run r ON r.programme_id = s.programme_id
JOIN voucher v ON v.id BETWEEN r.id * 10000000 AND r.id * 10000000 + 9999999
WHERE {run} AND v.batch_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM intent i JOIN answer a ON a.intent_id = i.id
                  WHERE i.disbursement_id = v.id AND a.outcome = 'credited')
LIMIT :limit
""")

CURRENCIES = Asked.made("""
-- currencies: money stays in its fund's currency
SELECT t.id AS subject, f.currency AS expected, t.currency AS found
FROM transfer t JOIN fund f ON f.id = t.fund_id WHERE {transfer} AND t.currency <> f.currency LIMIT :limit
""")

FUND_RESERVES = Asked.made("""
-- fund_reserves: what a run has reserved of each fund is the sum of its lines that may still be credited from it
SELECT t.run_id || ' ' || f.code AS subject, COALESCE(l.amount_minor, 0) AS expected, t.amount_minor AS found
FROM (SELECT run_id, fund_id, SUM(CASE kind WHEN 'reserve' THEN amount_minor ELSE -amount_minor END) AS amount_minor
      FROM transfer WHERE run_id IS NOT NULL AND {by_run} GROUP BY run_id, fund_id) t
LEFT JOIN (SELECT run_id, fund_id, SUM(amount_minor) AS amount_minor
           FROM (SELECT DISTINCT b.run_id, b.fund_id, d.id, d.amount_minor  -- a line in doubt is in two batches
                 FROM batch b JOIN disbursement d ON d.id BETWEEN b.first_id AND b.last_id
                 WHERE {batch} AND (b.state IN ('open', 'paused') OR (b.state = 'stopped' AND b.ended_at IS NULL))
                   AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
                   AND NOT EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                                   AND (c.outcome = 'not_owed' OR c.state = 'open'))
                 UNION ALL
                 SELECT c.run_id, c.fund_id, d.id, d.amount_minor
                 FROM cases c JOIN disbursement d ON d.id = c.disbursement_id
                 WHERE {case} AND c.state = 'open' AND c.reserved = :yes) owed
           GROUP BY run_id, fund_id) l ON l.run_id = t.run_id AND l.fund_id = t.fund_id
JOIN fund f ON f.id = t.fund_id
WHERE COALESCE(l.amount_minor, 0) <> t.amount_minor
LIMIT :limit
""")

FUND_OF_TRANSFERS = Asked.made("""
-- fund_of_transfers: what is credited or given back is of the fund of its batch, or of its case
SELECT t.id AS subject, COALESCE(b.fund_id, c.fund_id) AS expected, t.fund_id AS found
FROM transfer t LEFT JOIN batch b ON b.id = t.batch_id LEFT JOIN cases c ON c.id = t.case_id
WHERE {transfer} AND t.fund_id <> COALESCE(b.fund_id, c.fund_id) LIMIT :limit
""")

FUND_EQUATION = Asked.made("""
-- fund_equation: what was given is what is free, what runs have reserved, and the vouchers that batches and cases count
SELECT f.code AS subject, COALESCE(t.given_minor, 0) AS expected,
       f.balance_minor + COALESCE(t.reserved_minor, 0) + COALESCE(v.amount_minor, 0) AS found
FROM fund f
LEFT JOIN (SELECT fund_id, SUM(CASE kind WHEN 'deposit' THEN amount_minor ELSE 0 END) AS given_minor,
                  SUM(CASE kind WHEN 'deposit' THEN 0 WHEN 'reserve' THEN amount_minor ELSE -amount_minor END)
                      AS reserved_minor
           FROM transfer WHERE {by_fund} GROUP BY fund_id) t ON t.fund_id = f.id
LEFT JOIN (SELECT fund_id, SUM(amount_minor) AS amount_minor
           FROM (SELECT fund_id, credited_minor AS amount_minor FROM batch WHERE credited > 0 AND {by_fund}
                 UNION ALL
                 SELECT c.fund_id, d.amount_minor FROM cases c JOIN disbursement d ON d.id = c.disbursement_id
                 WHERE c.outcome = 'paid' AND {by_fund}) credited
           GROUP BY fund_id) v ON v.fund_id = f.id
WHERE {fund}
  AND COALESCE(t.given_minor, 0) <> f.balance_minor + COALESCE(t.reserved_minor, 0) + COALESCE(v.amount_minor, 0)
LIMIT :limit
""")

FUND_LOCATIONS = Asked.made("""
-- fund_locations: since a fund may pay for some locations alone, runs of no others were released on it
SELECT r.id AS subject, f.code || ' not in ' || r.location_code AS expected, f.code AS found
FROM fund f JOIN transfer t ON t.fund_id = f.id AND t.kind = 'reserve' JOIN run r ON r.id = t.run_id
WHERE {run} AND EXISTS (SELECT 1 FROM fund_location l WHERE l.fund_id = f.id)
  AND NOT EXISTS (SELECT 1 FROM fund_location l WHERE l.fund_id = f.id AND l.location_code = r.location_code)
GROUP BY r.id, r.location_code, f.code, f.rules_after_id HAVING MIN(t.id) > f.rules_after_id
LIMIT :limit
""")

FUND_CAPS = Asked.made("""
-- fund_caps: since a fund has its cap, no month that it was drawn on for has reserved more
SELECT f.code || ' ' || r.cycle AS subject, f.cycle_max_minor AS expected,
       SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END) AS found
FROM fund f JOIN transfer t ON t.fund_id = f.id AND t.kind IN ('reserve', 'unreserve') JOIN run r ON r.id = t.run_id
WHERE {fund} AND f.cycle_max_minor IS NOT NULL
GROUP BY f.id, f.code, r.cycle, f.cycle_max_minor, f.rules_after_id
HAVING SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END) > f.cycle_max_minor
   AND MAX(CASE t.kind WHEN 'reserve' THEN t.id ELSE 0 END) > f.rules_after_id
LIMIT :limit
""")

PROGRAMME_CAPS = Asked.made("""
-- programme_caps: since a programme has its cap, no month that was drawn for has reserved more
SELECT p.code || ' ' || r.cycle AS subject, p.cycle_max_minor AS expected,
       SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END) AS found
FROM programme p JOIN run r ON r.programme_id = p.id
JOIN transfer t ON t.run_id = r.id AND t.kind IN ('reserve', 'unreserve')
WHERE {programme} AND p.cycle_max_minor IS NOT NULL
GROUP BY p.code, r.cycle, p.cycle_max_minor, p.rules_after_id
HAVING SUM(CASE t.kind WHEN 'reserve' THEN t.amount_minor ELSE -t.amount_minor END) > p.cycle_max_minor
   AND MAX(CASE t.kind WHEN 'reserve' THEN t.id ELSE 0 END) > p.rules_after_id
LIMIT :limit
""")

LIST_SEALS = Query("""
-- list_seals: the whole chain in order, streamed
SELECT s.seq, s.prev_hash, s.hash, j.event, j.recorded_at, j.fields
FROM seal s JOIN journal j ON j.id = s.journal_id ORDER BY s.seq
""")

GET_HEAD = Query("-- get_head: the last seal\nSELECT seq, hash FROM journal_head WHERE id = 1")

FIND_HASH = Query("""
-- find_hash: at a place of the journal of which somebody kept it
SELECT hash FROM seal WHERE seq = :seq
""")

LIST_STATED = Query("""
-- list_stated: issuers' statements agree with our books, as far as they were imported
SELECT d.id AS subject, d.reason, d.expected_minor, d.expected_currency, d.found_minor, d.found_currency
FROM difference d WHERE d.state = 'open' ORDER BY d.id LIMIT :limit
""")

_ASKED = (
    FUND_BALANCES, OUTSTANDING, RESERVES, BATCH_COUNTS, BATCH_TRANSFERS, RUN_LINES, RUN_AMOUNTS, FINISHED_LINES,
    PAID_NOT_OWED, CURRENCIES, ISSUER_SURPLUS, ISSUER_EVIDENCE, FUND_RESERVES, FUND_OF_TRANSFERS, FUND_EQUATION,
    FUND_LOCATIONS, FUND_CAPS, PROGRAMME_CAPS,
)  # fmt: skip
#: What a check compares a column of true and false with.
FLAGS = {"reserves": {"no": False}, "fund_reserves": {"yes": True}}
CHECKS = tuple(asked.of_all for asked in _ASKED)
RUN_CHECKS = tuple(asked.of_run for asked in _ASKED)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that does not agree."""

    check: str  #: the check and what it looked at: `reserves 3`
    expected: str
    found: str

    def as_json(self) -> dict[str, str]:
        """The object of the contract for scripts."""
        return asdict(self)


def reconcile(tx: Tx, *, kept: Sequence[Head] = ()) -> list[Difference]:
    """Every difference in the books, at most SHOWN_MAX of each check. Empty if they agree.

    `kept` are heads of the journal that were kept outside the database: whoever owns it may change an event and chain
    all that follow anew, but cannot give them the hashes that they had.
    """
    tx.allow_long_statement()
    return [
        *_differences(tx, CHECKS, {}),
        *_unlike(of_journal(tx), of_tables(tx)),
        *_unlike(deposits_of_journal(tx), deposits_of_tables(tx)),
        *_chain(tx),
        *_against_kept(tx, kept),
    ]


def reconcile_run(tx: Tx, run_id: int) -> list[Difference]:
    """The differences in the books of one run, and of the funds that it drew on, as `reconcile` calls them."""
    tx.allow_long_statement()
    return [
        *_differences(tx, RUN_CHECKS, rows_of_run(run_id)), *_unlike(of_journal(tx, run_id), of_tables(tx, run_id)),
    ]  # fmt: skip


def stated_differences(tx: Tx) -> list[Difference]:
    """Open differences between issuers' statements and our books, at most SHOWN_MAX."""
    return [
        Difference(
            f"statement_{row.reason} {row.subject}",
            "nothing" if row.expected_minor is None else f"{row.expected_minor} {row.expected_currency}",
            "nothing" if row.found_minor is None else f"{row.found_minor} {row.found_currency}",
        )
        for row in tx.all(LIST_STATED, limit=SHOWN_MAX)
    ]


def names_of_checks() -> list[str]:
    """What `reconcile` looks at, in words."""
    return [check.purpose for check in CHECKS] + [
        "the journal's plans, reserves, returns, credits and cases are the tables'",
        "the journal's deposits are the funds'",
        "the chain of seals is unbroken up to its head",
        "the chain has the hashes that were kept outside the database",
        LIST_STATED.purpose,
    ]


def _differences(tx: Tx, checks: Sequence[Query], of: dict[str, object]) -> Iterator[Difference]:
    for check in checks:
        flags = FLAGS.get(check.name, {})
        for row in tx.all(check, limit=SHOWN_MAX, **flags, **of):
            yield Difference(f"{check.name} {row.subject}", str(row.expected), str(row.found))


def _unlike(journal: Totals, tables: Totals) -> Iterator[Difference]:
    """What the journal says that something came to, against the tables; `journal_reserved 3` is run 3's."""
    unlike = sorted(each for each in journal.keys() | tables.keys() if journal[each] != tables[each])
    for name, group in groupby(unlike, key=lambda each: each[0]):
        for _, subject in islice(group, SHOWN_MAX):
            yield Difference(f"journal_{name} {subject}", str(tables[name, subject]), str(journal[name, subject]))


def _against_kept(tx: Tx, kept: Sequence[Head]) -> list[Difference]:
    """A place that a restore has voided may lack its seal: who restores says so in the chain itself."""
    restores = list_restores(tx)
    found = [(head, tx.scalar(FIND_HASH, seq=head.seq)) for head in kept]
    return [
        Difference(f"kept head {head.seq}", head.hash, str(hash_there or "nothing"))
        for head, hash_there in found
        if hash_there != head.hash and not (hash_there is None and is_void(head.seq, restores))
    ][:SHOWN_MAX]


def _chain(tx: Tx) -> list[Difference]:
    """Unbroken but for what restores have left out, behind which it goes on from the logs' last hash."""
    restores = list_restores(tx)
    seq, prev_hash = follow(0, GENESIS, restores)
    for row in tx.stream(LIST_SEALS):
        expected = chain_hash(
            prev_hash, seq=seq + 1, event=row.event, timestamp=instant_text(row.recorded_at),
            fields=orjson.loads(row.fields),
        )  # fmt: skip
        if (row.seq, row.prev_hash, row.hash) != (seq + 1, prev_hash, expected):
            return [Difference(f"seal {seq + 1}", expected, f"{row.seq}: {row.hash}")]
        seq, prev_hash = follow(seq + 1, row.hash, restores)
    head = tx.one(GET_HEAD)
    head_hash = head.hash if head.seq else GENESIS
    return [] if (head.seq, head_hash) == (seq, prev_hash) else [Difference("seal head", str(seq), str(head.seq))]

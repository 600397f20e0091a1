"""What the journal says that runs and funds came to, and what the tables say: two tellings of the same facts.

Every event that moves money, or opens or closes a case, is summed by run; a row without its event, or an event without
its row, shows as a difference of a sum.
"""

from collections import Counter
from dataclasses import dataclass

import orjson

from models.states import CaseOutcome, CaseReason
from models.storage import Query, Tx
from models.tables import LINES_PER_RUN

#: By what is summed, and of which run, or of which fund.
Totals = Counter[tuple[str, str]]

#: Of a run, by which its rows are found: at its close not everything that there is must be read.
_OF_RUN = {
    "run": "r.id = :run_id",
    "by_run": "run_id = :run_id",
    "batch": "b.run_id = :run_id",
    "case": "c.run_id = :run_id",
    "transfer": "t.run_id = :run_id",
    "line": "d.id BETWEEN :first_id AND :last_id",
    "voucher": "v.id BETWEEN :first_id AND :last_id",
    "call": "i.disbursement_id BETWEEN :first_id AND :last_id",
    "programme": "p.id = (SELECT k.programme_id FROM run k WHERE k.id = :run_id)",
    "fund": "f.id IN (SELECT k.fund_id FROM transfer k WHERE k.run_id = :run_id)",
    "by_fund": "fund_id IN (SELECT k.fund_id FROM transfer k WHERE k.run_id = :run_id)",
}
_OF_ALL = dict.fromkeys(_OF_RUN, "1 = 1")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, from one text: of everything that there is; and of one run, and of the funds that it drew on."""

    of_all: Query
    of_run: Query

    @classmethod
    def made(cls, statement: str) -> "Asked":
        """A name in braces is a condition that holds always, or finds the run's rows."""
        return cls(Query(statement.format_map(_OF_ALL)), Query(statement.format_map(_OF_RUN)))


LIST_JOURNALLED = Asked.made("""
-- list_journalled: the events that say what runs came to, streamed
SELECT event, run_id, fields FROM journal
WHERE {by_run} AND event IN ('run.planned', 'run.discarded', 'run.released', 'run.retried', 'run.cancelled',
                             'batch.credited', 'case.opened', 'case.resolved')
""")

SUM_TABLES = Asked.made("""
-- sum_tables: what runs came to; bounded by the runs
SELECT r.id AS run_id, r.lines, r.planned_minor AS planned,
       COALESCE(t.reserved, 0) AS reserved, COALESCE(t.returned, 0) AS returned,
       COALESCE(v.vouchers, 0) AS vouchers, COALESCE(v.credited, 0) AS credited,
       COALESCE(c.cases, 0) AS cases, COALESCE(c.closed, 0) AS closed
FROM run r
LEFT JOIN (SELECT run_id, SUM(CASE WHEN kind = 'reserve' THEN amount_minor ELSE 0 END) AS reserved,
                  SUM(CASE WHEN kind = 'unreserve' THEN amount_minor ELSE 0 END) AS returned
           FROM transfer WHERE run_id IS NOT NULL AND {by_run} GROUP BY run_id) t ON t.run_id = r.id
LEFT JOIN (SELECT d.id / 10000000 AS run_id, COUNT(*) AS vouchers, SUM(d.amount_minor) AS credited
           FROM voucher v JOIN disbursement d ON d.id = v.id WHERE {voucher} AND {line}
           GROUP BY d.id / 10000000) v ON v.run_id = r.id
LEFT JOIN (SELECT run_id, COUNT(*) AS cases, SUM(CASE WHEN state = 'closed' THEN 1 ELSE 0 END) AS closed
           FROM cases WHERE {by_run} GROUP BY run_id) c ON c.run_id = r.id
WHERE {run}
""")

LIST_DEPOSITED = Query("""
-- list_deposited: the events that say what donors gave, streamed
SELECT fields FROM journal WHERE event = 'fund.deposited'
""")

SUM_DEPOSITED = Query("""
-- sum_deposited: what donors gave; bounded by the funds
SELECT p.code AS programme, f.code AS fund, CAST(SUM(t.amount_minor) AS BIGINT) AS amount_minor
FROM transfer t JOIN fund f ON f.id = t.fund_id JOIN programme p ON p.id = f.programme_id
WHERE t.kind = 'deposit' GROUP BY p.code, f.code
""")

SUMS = ("lines", "planned", "reserved", "returned", "vouchers", "credited", "cases", "closed")


def rows_of_run(run_id: int) -> dict[str, object]:
    """The parameters of a question about one run."""
    first_id = run_id * LINES_PER_RUN
    return {"run_id": run_id, "first_id": first_id, "last_id": first_id + LINES_PER_RUN - 1}


def of_journal(tx: Tx, run_id: int | None = None) -> Totals:
    """By the events of all runs, or of one."""
    asked = LIST_JOURNALLED
    rows = tx.stream(asked.of_all) if run_id is None else tx.stream(asked.of_run, run_id=run_id)
    totals: Totals = Counter()
    for row in rows:
        for name, number in _says(row.event, orjson.loads(row.fields)).items():
            totals[name, str(row.run_id)] += number
    return totals


def of_tables(tx: Tx, run_id: int | None = None) -> Totals:
    """By the rows of all runs, or of one."""
    asked = SUM_TABLES
    rows = tx.all(asked.of_all) if run_id is None else tx.all(asked.of_run, **rows_of_run(run_id))
    return Counter({(name, str(row.run_id)): int(getattr(row, name)) for row in rows for name in SUMS})


def deposits_of_journal(tx: Tx) -> Totals:
    """What each fund was given, by the events."""
    totals: Totals = Counter()
    for row in tx.stream(LIST_DEPOSITED):
        fields = orjson.loads(row.fields)
        totals["deposited", f"{fields['programme']}/{fields['fund']}"] += fields["amount_minor"]
    return totals


def deposits_of_tables(tx: Tx) -> Totals:
    """What each fund was given, by the transfers."""
    return Counter(
        {("deposited", f"{row.programme}/{row.fund}"): int(row.amount_minor) for row in tx.all(SUM_DEPOSITED)}
    )


def _says(event: str, fields: dict[str, int | str]) -> dict[str, int]:
    """What an event adds to the sums of its run."""
    said = {name: value for name, value in fields.items() if isinstance(value, int)}
    if event == "run.planned":
        return {"lines": said["planned"], "planned": said["planned_minor"]}
    if event == "run.discarded":
        return {"lines": -said["planned"], "planned": -said["planned_minor"]}
    if event == "run.released":
        return {"reserved": said["planned_minor"]}
    if event == "run.retried":
        return {"reserved": said["reserved_minor"], "closed": said["cases"]}
    if event == "run.cancelled":
        return {"returned": said["returned_minor"], "cases": said["cases"]}
    if event == "batch.credited":
        return {"vouchers": said["credited"], "credited": said["credited_minor"]}
    # A line that was stopped has given its reserve back: then, and not when a person ends its case; who pays it after
    # all reserves it again.
    stopped = fields["reason"] == CaseReason.STOPPED
    if event == "case.opened":
        return {"cases": 1, "returned": said["amount_minor"] if stopped else 0}
    moved = "reserved" if stopped else "returned"
    moves = stopped == (fields["outcome"] == CaseOutcome.PAID)
    return {
        "closed": 1, "vouchers": said["credited"], "credited": said["credited_minor"],
        moved: said["amount_minor"] if moves else 0,
    }  # fmt: skip

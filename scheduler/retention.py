"""Families whose stated time is over: their group and location go into sums of their runs, who they are goes nowhere.

Totals stay: what a report adds up by group of lines without a voucher, and of families that completed, is counted into
`reduced_group` in the transaction in which the family forgets its group.
"""

import orjson

from models.events import HouseholdsReduced
from models.journal import append
from models.report.month import MONTHS_OF_WINDOW
from models.retention import kept_from
from models.storage import Database, Query, Tx
from models.tables import Programme

#: Families of one transaction: a plan never waits for more of them.
CHUNK = 500

_DUE = """
-- list_over: families, in their order, to whom nothing is owed and of whom nothing happened for the stated time. The
-- same is asked once more by migration 0013, of each
SELECT h.id FROM enrolment o JOIN household h ON h.id = o.household_id
WHERE o.programme_id = :programme_id AND h.group_code <> 'reduced' AND o.last_cycle < :kept_from
  AND NOT EXISTS (SELECT 1 FROM programme p JOIN enrolment e ON e.programme_id = p.id AND e.household_id = h.id
                  WHERE p.retention_months IS NULL OR e.last_cycle >= {month})
  AND NOT EXISTS (SELECT 1 FROM programme p JOIN disbursement d ON d.programme_id = p.id AND d.household_id = h.id
                  JOIN run r ON r.id = d.id / 10000000
                  WHERE r.completed_at IS NULL OR r.completed_at >= {instant}
                     OR EXISTS (SELECT 1 FROM cases c WHERE c.disbursement_id = d.id
                                AND (c.closed_at IS NULL OR c.closed_at >= {instant})))
  AND NOT EXISTS (SELECT 1 FROM enrolment_conflict c
                  WHERE (c.household_id = h.id OR c.other_household_id = h.id) AND c.outcome IS NULL)
ORDER BY h.id LIMIT :limit
"""
LIST_OVER = Query(
    _DUE.format(
        month="to_char(now() AT TIME ZONE 'UTC' - make_interval(months => p.retention_months), 'YYYY-MM')",
        instant="now() - make_interval(months => p.retention_months)",
    ),
    sqlite=_DUE.format(
        month="strftime('%Y-%m', 'now', 'start of month', '-' || p.retention_months || ' months')",
        instant="strftime('%Y-%m-%dT%H:%M:%S', 'now', '-' || p.retention_months || ' months')",
    ),
)

_LISTED = "(SELECT CAST(value AS BIGINT) FROM {array}(CAST(:households AS {json})) AS listed (value))"
_ADD_TO_SUMS = """
-- add_to_sums: what reports say by group of these families, to the sums of their runs
INSERT INTO reduced_group (run_id, group_code, uncredited, uncredited_minor, completed)
SELECT run_id, group_code, SUM(uncredited), SUM(uncredited_minor), SUM(completed)
FROM (SELECT d.id / 10000000 AS run_id, h.group_code, 1 AS uncredited, d.amount_minor AS uncredited_minor,
             0 AS completed
      FROM household h JOIN programme p ON 1 = 1
      JOIN disbursement d ON d.programme_id = p.id AND d.household_id = h.id
      WHERE h.id IN {listed} AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
      UNION ALL
      SELECT done.last_id / 10000000, done.group_code, 0, 0, 1
      FROM (SELECT h.group_code, MAX(CASE WHEN d.cycle = e.last_cycle THEN d.id ELSE 0 END) AS last_id
            FROM household h JOIN programme p ON 1 = 1
            JOIN enrolment e ON e.programme_id = p.id AND e.household_id = h.id
            JOIN disbursement d ON d.programme_id = p.id AND d.household_id = h.id
            JOIN voucher v ON v.id = d.id
            WHERE h.id IN {listed}
            GROUP BY p.id, h.id, h.group_code, e.first_cycle, e.last_cycle
            HAVING COUNT(*) = {months}) done) sums
WHERE 1 = 1
GROUP BY run_id, group_code ORDER BY run_id, group_code
ON CONFLICT (run_id, group_code) DO UPDATE
SET uncredited = reduced_group.uncredited + excluded.uncredited,
    uncredited_minor = reduced_group.uncredited_minor + excluded.uncredited_minor,
    completed = reduced_group.completed + excluded.completed
"""
_REDUCE = """
-- reduce: what says who and where a family was; a trigger drops the hash of its person
UPDATE household SET registration_id = 'reduced:' || id, location_code = '00000', group_code = 'reduced'
WHERE id IN {listed}
"""
_ON_POSTGRESQL = _LISTED.format(array="json_array_elements_text", json="JSON")
_ON_SQLITE = "(SELECT value FROM json_each(:households))"
ADD_TO_SUMS = Query(
    _ADD_TO_SUMS.format(listed=_ON_POSTGRESQL, months=MONTHS_OF_WINDOW),
    sqlite=_ADD_TO_SUMS.format(listed=_ON_SQLITE, months=MONTHS_OF_WINDOW),
)
REDUCE = Query(_REDUCE.format(listed=_ON_POSTGRESQL), sqlite=_REDUCE.format(listed=_ON_SQLITE))


def reduce_over(database: Database) -> int:
    """Reduce every family whose stated time is over, some at a time. Returns how many.

    A family of several programmes is kept for as long as one of them keeps it.
    """
    with database.reading() as tx:
        programmes = [each for each in tx.list(Programme) if each.retention_months is not None]
    return sum(_reduce_of(database, programme) for programme in programmes)


def _reduce_of(database: Database, programme: Programme) -> int:
    reduced = 0
    while True:
        with database.reading() as tx:
            if not _list_over(tx, programme, limit=1):
                return reduced
        with database.transaction() as tx:
            # No import, of whatever programme, finds a family by its registration while it loses it: it would enrol
            # the nameless one, whom no plan finds. So the families are listed once no import is at work.
            tx.list(Programme, order=[Programme.id], lock=True)
            found = _list_over(tx, programme, limit=CHUNK)
            listed = orjson.dumps(found).decode()
            tx.execute(ADD_TO_SUMS, households=listed)
            reduced += tx.execute(REDUCE, households=listed)
            append(tx, HouseholdsReduced(programme=programme.code, households=len(found)))


def _list_over(tx: Tx, programme: Programme, *, limit: int) -> list[int]:
    months = programme.retention_months or 0
    rows = tx.all(LIST_OVER, programme_id=programme.id, kept_from=kept_from(tx.now, months), limit=limit)
    return [int(row.id) for row in rows]

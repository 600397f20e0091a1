"""households*.csv: families and their windows. A million rows stream through a temporary table in flat memory."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Row as SqlRow

from models.calendar import Cycle, last_cycle
from models.intake import fields
from models.intake.report import CHANGES_SHOWN_MAX, FileReport
from models.intake.rows import BadFile, Row, read_rows
from models.storage import Query, Tx
from models.tables import Programme, run_code

COLUMNS = ("registration_id", "location", "members", "group", "first_cycle", "cycles", "status")
#: Rows handed to the database at once.
CHUNK = 5_000
CYCLES_MAX = 120

_cycles = fields.number_between(1, CYCLES_MAX)

CREATE_STAGE = Query(
    """
-- create_stage: the file's rows, until they are applied
CREATE TEMPORARY TABLE household_stage (
    line BIGINT PRIMARY KEY, registration_id TEXT NOT NULL, location_code TEXT NOT NULL, members BIGINT NOT NULL,
    group_code TEXT NOT NULL, first_cycle TEXT NOT NULL, last_cycle TEXT NOT NULL, status TEXT NOT NULL,
    reason_code TEXT NOT NULL) ON COMMIT DROP
""",
    sqlite="""
-- create_stage: the file's rows, until they are applied
CREATE TEMPORARY TABLE household_stage (
    line INTEGER PRIMARY KEY, registration_id TEXT NOT NULL, location_code TEXT NOT NULL, members INTEGER NOT NULL,
    group_code TEXT NOT NULL, first_cycle TEXT NOT NULL, last_cycle TEXT NOT NULL, status TEXT NOT NULL,
    reason_code TEXT NOT NULL)
""",
)
DROP_STAGE = Query("-- drop_stage: applied, or another file follows\nDROP TABLE household_stage")
INDEX_STAGE = Query(
    "-- index_stage: for the joins\nCREATE INDEX ix_household_stage ON household_stage (registration_id)"
)
ANALYZE_STAGE = Query("-- analyze_stage: so that the joins are planned well\nANALYZE household_stage")

STAGE_ROWS = Query(
    """
-- stage_rows: rows of the file, in the order of StagedRow
COPY household_stage (line, registration_id, location_code, members, group_code, first_cycle, last_cycle, status,
                      reason_code) FROM STDIN (FORMAT binary)
""",
    sqlite="""
-- stage_rows: rows of the file, in the order of StagedRow
INSERT INTO household_stage (line, registration_id, location_code, members, group_code, first_cycle, last_cycle, status,
                             reason_code)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
""",
)

FIND_DOUBLED = Query("""
-- find_doubled: the first line whose registration stood before in this file
SELECT MIN(s.line) FROM household_stage s
JOIN (SELECT registration_id, MIN(line) AS line FROM household_stage GROUP BY registration_id HAVING COUNT(*) > 1) first
     ON first.registration_id = s.registration_id AND s.line > first.line
""")

FIND_UNKNOWN_LOCATION = Query("""
-- find_unknown_location: the first line whose location the programme does not run in
SELECT MIN(s.line) FROM household_stage s
WHERE NOT EXISTS (SELECT 1 FROM programme_location p
                  WHERE p.programme_id = :programme_id AND p.location_code = s.location_code)
""")

FIND_SHIFTED_WINDOW = Query("""
-- find_shifted_window: the first line that shifts a window of which a month has a line already
SELECT MIN(s.line) FROM household_stage s
JOIN household h ON h.registration_id = s.registration_id
JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
WHERE (e.first_cycle <> s.first_cycle OR e.last_cycle <> s.last_cycle)
  AND EXISTS (SELECT 1 FROM (SELECT DISTINCT cycle FROM run WHERE programme_id = :programme_id) r
              JOIN disbursement d ON d.programme_id = :programme_id AND d.cycle = r.cycle AND d.household_id = h.id)
""")

COUNT_STAGE = Query("""
-- count_stage: rows; of them new and changed in this programme, and of families known otherwise, from any programme
SELECT COUNT(*) AS rows,
       COALESCE(SUM(CASE WHEN e.household_id IS NULL THEN 1 ELSE 0 END), 0) AS added,
       COALESCE(SUM(CASE WHEN e.household_id IS NOT NULL AND
                    (h.location_code <> s.location_code OR h.members <> s.members OR h.group_code <> s.group_code
                     OR e.first_cycle <> s.first_cycle OR e.last_cycle <> s.last_cycle OR e.status <> s.status
                     OR e.reason_code <> s.reason_code) THEN 1 ELSE 0 END), 0) AS changed,
       COALESCE(SUM(CASE WHEN h.location_code <> s.location_code OR h.members <> s.members
                     OR h.group_code <> s.group_code THEN 1 ELSE 0 END), 0) AS moved
FROM household_stage s
LEFT JOIN household h ON h.registration_id = s.registration_id
LEFT JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
""")

LIST_CHANGED = Query("""
-- list_changed: the first changed lines, and which fields of each
SELECT s.line, h.location_code <> s.location_code AS location, h.members <> s.members AS members,
       h.group_code <> s.group_code AS "group", e.first_cycle <> s.first_cycle AS first_cycle,
       e.last_cycle <> s.last_cycle AS cycles, (e.status <> s.status OR e.reason_code <> s.reason_code) AS status
FROM household_stage s
JOIN household h ON h.registration_id = s.registration_id
JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
WHERE h.location_code <> s.location_code OR h.members <> s.members OR h.group_code <> s.group_code
   OR e.first_cycle <> s.first_cycle OR e.last_cycle <> s.last_cycle OR e.status <> s.status
   OR e.reason_code <> s.reason_code
ORDER BY s.line LIMIT :limit
""")

COUNT_UNRELEASED_LINES = Query("""
-- count_unreleased_lines: lines of plans not yet released, of families that this file holds or stops
SELECT r.cycle, r.location_code, r.part, COUNT(*) AS lines
FROM household_stage s
JOIN household h ON h.registration_id = s.registration_id
JOIN run r ON r.programme_id = :programme_id AND r.state IN ('planned', 'approved')
JOIN disbursement d ON d.programme_id = :programme_id AND d.cycle = r.cycle AND d.household_id = h.id
                    AND d.id / 10000000 = r.id
WHERE s.status <> 'active'
GROUP BY r.cycle, r.location_code, r.part ORDER BY r.cycle, r.location_code, r.part LIMIT 1000
""")

INSERT_HOUSEHOLDS = Query("""
-- insert_households: families that were not known
INSERT INTO household (registration_id, location_code, members, group_code)
SELECT s.registration_id, s.location_code, s.members, s.group_code FROM household_stage s
WHERE NOT EXISTS (SELECT 1 FROM household h WHERE h.registration_id = s.registration_id) ORDER BY s.line
""")

UPDATE_HOUSEHOLDS = Query("""
-- update_households: families that moved, or whose members or group changed
UPDATE household SET location_code = s.location_code, members = s.members, group_code = s.group_code
FROM household_stage s
WHERE household.registration_id = s.registration_id
  AND (household.location_code <> s.location_code OR household.members <> s.members
       OR household.group_code <> s.group_code)
""")

INSERT_ENROLMENTS = Query("""
-- insert_enrolments: families that were not in this programme
INSERT INTO enrolment (programme_id, household_id, first_cycle, last_cycle, status, reason_code)
SELECT CAST(:programme_id AS BIGINT), h.id, s.first_cycle, s.last_cycle, s.status, s.reason_code
FROM household_stage s JOIN household h ON h.registration_id = s.registration_id
WHERE NOT EXISTS (SELECT 1 FROM enrolment e WHERE e.programme_id = :programme_id AND e.household_id = h.id)
ORDER BY h.id
""")

UPDATE_ENROLMENTS = Query("""
-- update_enrolments: windows without a line, and statuses; both take effect at the next plan
UPDATE enrolment SET first_cycle = s.first_cycle, last_cycle = s.last_cycle, status = s.status,
                     reason_code = s.reason_code
FROM household_stage s JOIN household h ON h.registration_id = s.registration_id
WHERE enrolment.household_id = h.id AND enrolment.programme_id = :programme_id
  AND (enrolment.first_cycle <> s.first_cycle OR enrolment.last_cycle <> s.last_cycle
       OR enrolment.status <> s.status OR enrolment.reason_code <> s.reason_code)
""")


class StagedRow(NamedTuple):
    """One row of the file as it is staged."""

    line: int
    registration_id: str
    location_code: str
    members: int
    group_code: str
    first_cycle: str
    last_cycle: str
    status: str
    reason_code: str


def load_households(tx: Tx, path: Path, programme: Programme) -> FileReport:
    """Families of a programme. A row that is absent from a newer file is unchanged.

    Raises BadFile: also for a window that would shift once one of its months has a line.
    """
    tx.allow_long_statement()
    tx.execute(CREATE_STAGE)
    _stage(tx, path, programme)
    # Until this commits nothing is planned, so that no window shifts under a line; taken late, for it stops every plan.
    tx.get(Programme, Programme.id == programme.id, lock=True)
    for query, field, rule in (
        (FIND_DOUBLED, "registration_id", "stands twice in this file"),
        (FIND_UNKNOWN_LOCATION, "location", f"programme {programme.code} does not run there: see locations.csv"),
        (FIND_SHIFTED_WINDOW, "first_cycle", "the months of a family are fixed once one of them was planned"),
    ):
        line = tx.scalar(query, **({} if query is FIND_DOUBLED else {"programme_id": programme.id}))
        if line is not None:
            raise BadFile(path, rule, line=line, field=field)
    counts = tx.one(COUNT_STAGE, programme_id=programme.id)
    report = _report(tx, path, programme, counts)
    if report.changes_anything:
        _apply(tx, programme, counts)
    tx.execute(DROP_STAGE)
    return report


def _apply(tx: Tx, programme: Programme, counts: SqlRow[Any]) -> None:
    """Each statement reads the whole stage: none is run that would find nothing in it."""
    if counts.added:
        tx.execute(INSERT_HOUSEHOLDS)
    if counts.moved:
        tx.execute(UPDATE_HOUSEHOLDS)
    if counts.added:
        tx.execute(INSERT_ENROLMENTS, programme_id=programme.id)
    if counts.changed:
        tx.execute(UPDATE_ENROLMENTS, programme_id=programme.id)
    tx.refresh_statistics("household", "enrolment")


def _stage(tx: Tx, path: Path, programme: Programme) -> None:
    staged = (_staged(row, programme) for row in read_rows(path, COLUMNS))
    for chunk in _chunks(staged):
        tx.copy(STAGE_ROWS, chunk)
    tx.execute(INDEX_STAGE)
    tx.execute(ANALYZE_STAGE)


def _chunks(rows: Iterator[StagedRow]) -> Iterator[list[StagedRow]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _staged(row: Row, programme: Programme) -> StagedRow:
    first = row.read("first_cycle", fields.cycle)
    cycles = programme.cycles
    if row.values["cycles"]:
        cycles = row.read("cycles", _cycles)
    window = _window(first, cycles)
    status, reason_code = row.read("status", fields.status)
    return StagedRow(
        line=row.line,
        registration_id=row.read("registration_id", fields.registration_id),
        location_code=row.read("location", fields.location_code),
        members=row.read("members", fields.members),
        group_code=row.read("group", fields.group),
        first_cycle=window[0],
        last_cycle=window[1],
        status=status,
        reason_code=reason_code,
    )


@lru_cache(fields.TEXTS_KEPT)
def _window(first: Cycle, cycles: int) -> tuple[str, str]:
    return str(first), str(last_cycle(first, cycles))


def _report(tx: Tx, path: Path, programme: Programme, counts: SqlRow[Any]) -> FileReport:
    unchanged = counts.rows - counts.added - counts.changed
    report = FileReport(path.name, "households", int(counts.added), int(counts.changed), int(unchanged))
    for row in tx.all(LIST_CHANGED, programme_id=programme.id, limit=CHANGES_SHOWN_MAX):
        names = [name for name, differs in row._mapping.items() if name != "line" and differs]
        report.show(row.line, ", ".join(names))
    for row in tx.all(COUNT_UNRELEASED_LINES, programme_id=programme.id):
        code = run_code(row)
        report.notes.append(
            f"run {code} is planned with {row.lines} lines of families that this file holds or stops; "
            f"to leave them out: despensa run discard {code}"
        )
    return report

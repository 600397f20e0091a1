"""households*.csv: families and their windows. A million rows stream through a temporary table in flat memory.

Where a file says who its families are, that is hashed as each row is read: the temporary table, and whatever the
database may log of it, have the hash alone.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Row as SqlRow

from models.calendar import Cycle, last_cycle
from models.intake import doubles, fields
from models.intake.report import CHANGES_SHOWN_MAX, FileReport
from models.intake.rows import BadFile, Row, read_rows
from models.key_rotation import require_same
from models.keys import load_keys
from models.person_keys import Persons
from models.retention import kept_from
from models.storage import Query, Tx
from models.tables import ImportedFile, Programme, run_code

COLUMNS = ("registration_id", "location", "members", "group", "first_cycle", "cycles", "status")
#: Optional: the number of a document of the person in whose name a family is enrolled.
PERSON_KEY = "person_key"
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
    reason_code TEXT NOT NULL, person_hash TEXT NOT NULL) ON COMMIT DROP
""",
    sqlite="""
-- create_stage: the file's rows, until they are applied
CREATE TEMPORARY TABLE household_stage (
    line INTEGER PRIMARY KEY, registration_id TEXT NOT NULL, location_code TEXT NOT NULL, members INTEGER NOT NULL,
    group_code TEXT NOT NULL, first_cycle TEXT NOT NULL, last_cycle TEXT NOT NULL, status TEXT NOT NULL,
    reason_code TEXT NOT NULL, person_hash TEXT NOT NULL)
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
                      reason_code, person_hash) FROM STDIN (FORMAT binary)
""",
    sqlite="""
-- stage_rows: rows of the file, in the order of StagedRow
INSERT INTO household_stage (line, registration_id, location_code, members, group_code, first_cycle, last_cycle, status,
                             reason_code, person_hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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

FIND_OVER = Query("""
-- find_over: the first line of a family that is not known, and whose months lie before those that are kept
SELECT MIN(s.line) FROM household_stage s
WHERE s.last_cycle < :kept_from AND NOT EXISTS (SELECT 1 FROM household h WHERE h.registration_id = s.registration_id)
""")

#: Of enrolments `e` and rows `s`: whether a row says who a family is, and it was not known, or said otherwise.
_OTHER_PERSON = "(s.person_hash <> '' AND COALESCE(e.person_hash, '') <> s.person_hash)"
#: Likewise, whether anything of an enrolment differs; of households `h`, whether anything of a family does.
_ENROLMENT_DIFFERS = f"""(e.first_cycle <> s.first_cycle OR e.last_cycle <> s.last_cycle OR e.status <> s.status
                     OR e.reason_code <> s.reason_code OR {_OTHER_PERSON})"""
_HOUSEHOLD_DIFFERS = "(h.location_code <> s.location_code OR h.members <> s.members OR h.group_code <> s.group_code)"

COUNT_STAGE = Query(f"""
-- count_stage: rows; of them new and changed in this programme, and of families known otherwise, from any programme;
-- of those changed, how many are no longer active, or of another person
SELECT COUNT(*) AS rows,
       COALESCE(SUM(CASE WHEN e.household_id IS NULL THEN 1 ELSE 0 END), 0) AS added,
       COALESCE(SUM(CASE WHEN e.household_id IS NOT NULL AND ({_HOUSEHOLD_DIFFERS} OR {_ENROLMENT_DIFFERS})
                    THEN 1 ELSE 0 END), 0) AS changed,
       COALESCE(SUM(CASE WHEN {_HOUSEHOLD_DIFFERS} THEN 1 ELSE 0 END), 0) AS moved,
       COALESCE(SUM(CASE WHEN s.status <> 'active' AND {_ENROLMENT_DIFFERS} THEN 1 ELSE 0 END), 0) AS not_active,
       COALESCE(SUM(CASE WHEN s.status = 'active' AND {_ENROLMENT_DIFFERS} THEN 1 ELSE 0 END), 0) AS active,
       COALESCE(SUM(CASE WHEN e.person_hash IS NOT NULL AND {_OTHER_PERSON} THEN 1 ELSE 0 END), 0) AS other_person
FROM household_stage s
LEFT JOIN household h ON h.registration_id = s.registration_id
LEFT JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
""")  # noqa: S608  # of constants, of no input

LIST_CHANGED = Query(f"""
-- list_changed: the first changed lines, and which fields of each
SELECT s.line, h.location_code <> s.location_code AS location, h.members <> s.members AS members,
       h.group_code <> s.group_code AS "group", e.first_cycle <> s.first_cycle AS first_cycle,
       e.last_cycle <> s.last_cycle AS cycles, (e.status <> s.status OR e.reason_code <> s.reason_code) AS status,
       {_OTHER_PERSON} AS person_key
FROM household_stage s
JOIN household h ON h.registration_id = s.registration_id
JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
WHERE {_HOUSEHOLD_DIFFERS} OR {_ENROLMENT_DIFFERS}
ORDER BY s.line LIMIT :limit
""")  # noqa: S608  # of constants, of no input

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
INSERT INTO enrolment (programme_id, household_id, first_cycle, last_cycle, status, reason_code, person_hash,
                       person_key_version, file_id)
SELECT CAST(:programme_id AS BIGINT), h.id, s.first_cycle, s.last_cycle, s.status, s.reason_code,
       NULLIF(s.person_hash, ''), CASE WHEN s.person_hash <> '' THEN CAST(:key_version AS INTEGER) END,
       CAST(:file_id AS BIGINT)
FROM household_stage s JOIN household h ON h.registration_id = s.registration_id
WHERE NOT EXISTS (SELECT 1 FROM enrolment e WHERE e.programme_id = :programme_id AND e.household_id = h.id)
ORDER BY h.id
""")

FORGET_PERSONS = Query("""
-- forget_persons: of rows that say another person than before, so that two of them can change places
UPDATE enrolment SET person_hash = NULL, person_key_version = NULL
FROM household_stage s JOIN household h ON h.registration_id = s.registration_id
WHERE enrolment.household_id = h.id AND enrolment.programme_id = :programme_id
  AND s.person_hash <> '' AND enrolment.person_hash <> s.person_hash
""")

UPDATE_ENROLMENTS = Query("""
-- update_enrolments: windows without a line, statuses and persons, of rows that are active now, or of those that are
-- not; all take effect at the next plan
UPDATE enrolment SET first_cycle = s.first_cycle, last_cycle = s.last_cycle, status = s.status,
                     reason_code = s.reason_code,
                     person_key_version = CASE WHEN s.person_hash IN ('', COALESCE(enrolment.person_hash, ''))
                                               THEN enrolment.person_key_version ELSE :key_version END,
                     person_hash = COALESCE(NULLIF(s.person_hash, ''), enrolment.person_hash)
FROM household_stage s JOIN household h ON h.registration_id = s.registration_id
WHERE enrolment.household_id = h.id AND enrolment.programme_id = :programme_id
  AND CASE WHEN s.status = 'active' THEN 1 ELSE 0 END = :active
  AND (enrolment.first_cycle <> s.first_cycle OR enrolment.last_cycle <> s.last_cycle
       OR enrolment.status <> s.status OR enrolment.reason_code <> s.reason_code
       OR (s.person_hash <> '' AND COALESCE(enrolment.person_hash, '') <> s.person_hash))
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
    person_hash: str  #: under the latest version of the key; empty where the row does not say who the family is


def load_households(tx: Tx, path: Path, programme: Programme, *, keys: Path | None, digest: str) -> FileReport:
    """Families of a programme. A row that is absent from a newer file is unchanged. `digest` is the file's.

    A family whose person is active already is held until two operators have decided; no other row waits for that.
    Raises BadFile: also for a window that would shift once one of its months has a line. Raises Misconfigured where
    the file says who its families are, and a version of the person key is missing.
    """
    tx.allow_long_statement()
    tx.execute(CREATE_STAGE)
    doubles.create_stages(tx)
    persons = _stage(tx, path, programme, keys)
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
    _refuse_over(tx, path, programme)
    rehashed = doubles.rehash(tx, programme, persons) if persons else 0
    held = doubles.hold(tx, programme)
    counts = tx.one(COUNT_STAGE, programme_id=programme.id)
    report = _report(tx, path, programme, counts)
    report.rehashed, report.conflicts = rehashed, held
    if rehashed:
        report.notes.append(f"{rehashed} enrolments rest on the latest version of the person key from now on")
    if held:
        report.notes.append(
            f"{held} families are held: their person is enrolled already; two operators decide: "
            "despensa enrolment conflicts"
        )
    if report.changes_anything:
        file = tx.add(
            ImportedFile(
                programme_id=programme.id, kind=report.kind, digest=digest, added=report.added, changed=report.changed,
                operator=tx.operator, imported_at=tx.now,
            )
        )  # fmt: skip
        _apply(tx, programme, counts, key_version=persons.version if persons else None, file_id=file.id)
        doubles.open_conflicts(tx, programme)
    doubles.drop_stages(tx)
    tx.execute(DROP_STAGE)
    return report


def _refuse_over(tx: Tx, path: Path, programme: Programme) -> None:
    """Whoever was reduced would come back with every file that still has the row."""
    if programme.retention_months is None:
        return
    line = tx.scalar(FIND_OVER, kept_from=kept_from(tx.now, programme.retention_months))
    if line is not None:
        rule = f"its months ended more than {programme.retention_months} months ago, and are not kept: leave it out"
        raise BadFile(path, rule, line=line, field="first_cycle")


def _apply(tx: Tx, programme: Programme, counts: SqlRow[Any], *, key_version: int | None, file_id: int) -> None:
    """Each statement reads the whole stage: none is run that would find nothing in it.

    First whoever is no longer active, or another person, then whoever is: a row may take the place of another's.
    """
    of = {"programme_id": programme.id, "key_version": key_version}
    if counts.added:
        tx.execute(INSERT_HOUSEHOLDS)
    if counts.moved:
        tx.execute(UPDATE_HOUSEHOLDS)
    if counts.other_person:
        tx.execute(FORGET_PERSONS, programme_id=programme.id)
    if counts.not_active:
        tx.execute(UPDATE_ENROLMENTS, **of, active=0)
    if counts.active:
        tx.execute(UPDATE_ENROLMENTS, **of, active=1)
    if counts.added:
        tx.execute(INSERT_ENROLMENTS, **of, file_id=file_id)
    tx.refresh_statistics("household", "enrolment")


def _stage(tx: Tx, path: Path, programme: Programme, keys: Path | None) -> Persons | None:
    """Returns what hashed the persons, where the file says who its families are."""
    rows = read_rows(path, COLUMNS, optional=(PERSON_KEY,))
    first = next(rows)
    persons = _persons(tx, path, programme, keys) if PERSON_KEY in first.values else None
    for chunk in _chunks(chain((first,), rows)):
        tx.copy(STAGE_ROWS, [_staged(row, programme, persons) for row in chunk])
        if persons and persons.earlier:
            numbers = ((row.line, row.values[PERSON_KEY]) for row in chunk if row.values[PERSON_KEY])
            doubles.stage_earlier(tx, persons, numbers)
    tx.execute(INDEX_STAGE)
    tx.execute(ANALYZE_STAGE)
    return persons


def _persons(tx: Tx, path: Path, programme: Programme, keys: Path | None) -> Persons:
    if keys is None:
        raise BadFile(path, "who its families are cannot be read without the person key", line=1, field=PERSON_KEY)
    ring = load_keys(keys, "person")
    require_same(tx, ring)  # under another desk's version another key would recognise nobody who is enrolled there
    return Persons(ring, programme.code)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _staged(row: Row, programme: Programme, persons: Persons | None) -> StagedRow:
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
        person_hash=row.read(PERSON_KEY, persons.hashed) if persons and row.values[PERSON_KEY] else "",
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

"""A person who is enrolled twice in a programme: whoever comes second is held, until two operators have decided.

All of it looks at a file as a whole, against what is there: whoever the file stops makes room, whoever it brings comes
second, and of two that it brings the later line does. A decision about two households stands, whatever a later file
says: as long as there is none, or it is `same`, the newcomer is not active; once it is `different`, the two are never
asked about again.
"""

from collections.abc import Iterable

from models.events import ConflictFound
from models.journal import append
from models.person_keys import Persons, require_versions
from models.storage import Query, Tx
from models.tables import Programme

CREATE_EARLIER = Query(
    """
-- create_earlier: the persons of the file's rows under earlier versions of the key
CREATE TEMPORARY TABLE earlier_stage (line BIGINT NOT NULL, person_hash TEXT NOT NULL) ON COMMIT DROP
""",
    sqlite="""
-- create_earlier: the persons of the file's rows under earlier versions of the key
CREATE TEMPORARY TABLE earlier_stage (line INTEGER NOT NULL, person_hash TEXT NOT NULL)
""",
)
STAGE_EARLIER = Query(
    "-- stage_earlier: line and hash\nCOPY earlier_stage (line, person_hash) FROM STDIN (FORMAT binary)",
    sqlite="-- stage_earlier: line and hash\nINSERT INTO earlier_stage (line, person_hash) VALUES (?, ?)",
)
ANALYZE_EARLIER = Query("-- analyze_earlier: so that the join is planned well\nANALYZE earlier_stage")
CREATE_NEWCOMERS = Query(
    """
-- create_newcomers: rows that would be active, and are not of the same person yet; household_id is 0 for a new one
CREATE TEMPORARY TABLE newcomer_stage (line BIGINT PRIMARY KEY, household_id BIGINT NOT NULL,
    active BIGINT NOT NULL, decided BIGINT NOT NULL) ON COMMIT DROP
""",
    sqlite="""
-- create_newcomers: rows that would be active, and are not of the same person yet; household_id is 0 for a new one
CREATE TEMPORARY TABLE newcomer_stage (line INTEGER PRIMARY KEY, household_id INTEGER NOT NULL,
    active INTEGER NOT NULL, decided INTEGER NOT NULL)
""",
)
CREATE_DOUBLES = Query(
    """
-- create_doubles: newcomers, and whose person they seem to be
CREATE TEMPORARY TABLE double_stage (line BIGINT NOT NULL, other_registration_id TEXT NOT NULL) ON COMMIT DROP
""",
    sqlite="""
-- create_doubles: newcomers, and whose person they seem to be
CREATE TEMPORARY TABLE double_stage (line INTEGER NOT NULL, other_registration_id TEXT NOT NULL)
""",
)
DROP_EARLIER = Query("-- drop_earlier: applied, or another file follows\nDROP TABLE earlier_stage")
DROP_NEWCOMERS = Query("-- drop_newcomers: applied, or another file follows\nDROP TABLE newcomer_stage")
DROP_DOUBLES = Query("-- drop_doubles: applied, or another file follows\nDROP TABLE double_stage")

REHASH = Query("""
-- rehash: everybody of whom the file says who it is, also under another registration id, under the latest version
UPDATE enrolment SET person_hash = p.latest, person_key_version = :key_version
FROM (SELECT x.person_hash AS earlier, MIN(s.person_hash) AS latest
      FROM earlier_stage x JOIN household_stage s ON s.line = x.line GROUP BY x.person_hash) p
WHERE enrolment.programme_id = :programme_id AND enrolment.person_hash = p.earlier
""")

HOLD_UNDECIDED = Query("""
-- hold_undecided: rows that would be active, of families about whom two operators have not decided, or decided `same`
UPDATE household_stage SET status = CASE WHEN c.same = 1 THEN 'stopped' ELSE 'held' END,
                           reason_code = 'double_enrolment'
FROM (SELECT h.registration_id, MAX(CASE WHEN f.outcome = 'same' THEN 1 ELSE 0 END) AS same
      FROM enrolment_conflict f JOIN household h ON h.id = f.household_id
      WHERE f.programme_id = :programme_id AND (f.outcome IS NULL OR f.outcome = 'same')
      GROUP BY h.registration_id) c
WHERE household_stage.registration_id = c.registration_id AND household_stage.status = 'active'
""")

REMEMBER_PERSONS = Query("""
-- remember_persons: of rows that do not say who comes back, or whose months are others
UPDATE household_stage SET person_hash = c.person_hash
FROM (SELECT h.registration_id, e.person_hash, e.status, e.first_cycle, e.last_cycle
      FROM enrolment e JOIN household h ON h.id = e.household_id
      WHERE e.programme_id = :programme_id AND e.person_hash IS NOT NULL) c
WHERE household_stage.registration_id = c.registration_id
  AND (c.status <> 'active' OR c.first_cycle <> household_stage.first_cycle
       OR c.last_cycle <> household_stage.last_cycle)
  AND household_stage.status = 'active' AND household_stage.person_hash = ''
""")

STAGE_NEWCOMERS = Query("""
-- stage_newcomers: rows that would be active, and are not, or were not of this person, or not in these months
INSERT INTO newcomer_stage (line, household_id, active, decided)
SELECT s.line, COALESCE(h.id, 0), CASE WHEN e.status = 'active' THEN 1 ELSE 0 END,
       CASE WHEN EXISTS (SELECT 1 FROM enrolment_conflict f WHERE f.programme_id = :programme_id
                         AND f.household_id = h.id AND f.outcome = 'different') THEN 1 ELSE 0 END
FROM household_stage s
LEFT JOIN household h ON h.registration_id = s.registration_id
LEFT JOIN enrolment e ON e.household_id = h.id AND e.programme_id = :programme_id
WHERE s.status = 'active' AND s.person_hash <> ''
  AND NOT (COALESCE(e.status, '') = 'active' AND COALESCE(e.person_hash, '') = s.person_hash
           AND e.first_cycle = s.first_cycle AND e.last_cycle = s.last_cycle)
""")
ANALYZE_NEWCOMERS = Query("-- analyze_newcomers: so that the joins are planned well\nANALYZE newcomer_stage")

#: Of a newcomer `n` and a household `o.household_id`: two operators have said that they are two people.
_DIFFERENT = """EXISTS (SELECT 1 FROM enrolment_conflict f
    WHERE f.programme_id = :programme_id AND f.outcome = 'different'
      AND ((f.household_id = n.household_id AND f.other_household_id = o.household_id)
           OR (f.household_id = o.household_id AND f.other_household_id = n.household_id)))"""

#: With a plus before the programme SQLite looks a person up by an index that it makes of the hashes, not through all
#: enrolments of the programme for each row of the file.
PAIR_WITH_ACTIVE = Query(f"""
-- pair_with_active: newcomers with whoever of their person is active, and stays so by this file
INSERT INTO double_stage (line, other_registration_id)
SELECT n.line, oh.registration_id
FROM newcomer_stage n JOIN household_stage s ON s.line = n.line
JOIN enrolment o ON +o.programme_id = :programme_id AND o.person_hash = s.person_hash AND o.status = 'active'
                 AND o.household_id <> n.household_id
JOIN household oh ON oh.id = o.household_id
WHERE NOT {_DIFFERENT}
  AND NOT EXISTS (SELECT 1 FROM household_stage os WHERE os.registration_id = oh.registration_id
                  AND (os.status <> 'active' OR os.person_hash NOT IN ('', s.person_hash)))
""")  # noqa: S608  # of constants, of no input

PAIR_WITH_PAID = Query("""
-- pair_with_paid: newcomers with whoever of their person is active no more, and has a line in one of their months
INSERT INTO double_stage (line, other_registration_id)
SELECT n.line, oh.registration_id
FROM newcomer_stage n JOIN household_stage s ON s.line = n.line AND s.status = 'active'
JOIN enrolment o ON +o.programme_id = :programme_id AND o.person_hash = s.person_hash
                 AND o.household_id <> n.household_id
JOIN household oh ON oh.id = o.household_id
WHERE NOT EXISTS (SELECT 1 FROM enrolment_conflict f WHERE f.programme_id = :programme_id
                  AND ((f.household_id = n.household_id AND f.other_household_id = o.household_id)
                       OR (f.household_id = o.household_id AND f.other_household_id = n.household_id)))
  AND NOT EXISTS (SELECT 1 FROM household_stage os WHERE os.registration_id = oh.registration_id
                  AND (os.status = 'active' OR os.person_hash NOT IN ('', s.person_hash)))
  AND EXISTS (SELECT 1 FROM (SELECT DISTINCT cycle FROM run WHERE programme_id = :programme_id) r
              JOIN disbursement d ON d.programme_id = :programme_id AND d.cycle = r.cycle
                                  AND d.household_id = o.household_id
              WHERE r.cycle BETWEEN s.first_cycle AND s.last_cycle)
""")

PAIR_WITHIN_FILE = Query(f"""
-- pair_within_file: newcomers with the first of their person in this file, whoever was active before coming first. Not
-- each with each, which a file with one number in a million rows would not end: only those whom two operators found to
-- be other people than somebody before are also compared with each other
INSERT INTO double_stage (line, other_registration_id)
WITH ranked AS (
    SELECT w.line, w.household_id, w.decided, s.person_hash, s.registration_id,
           ROW_NUMBER() OVER (PARTITION BY s.person_hash ORDER BY w.active DESC, w.decided DESC, w.line) AS place
    FROM newcomer_stage w JOIN household_stage s ON s.line = w.line AND s.status = 'active')
SELECT n.line, o.registration_id
FROM ranked n JOIN ranked o ON o.person_hash = n.person_hash AND o.place = 1
WHERE n.place > 1 AND NOT {_DIFFERENT}
UNION ALL
SELECT n.line, o.registration_id
FROM ranked n JOIN ranked o ON o.person_hash = n.person_hash AND o.place < n.place
WHERE n.decided = 1 AND o.place > 1 AND NOT {_DIFFERENT}
""")  # noqa: S608  # of constants, of no input

HOLD_DOUBLES = Query("""
-- hold_doubles: who was paired
UPDATE household_stage SET status = 'held', reason_code = 'double_enrolment'
WHERE status = 'active' AND line IN (SELECT line FROM double_stage)
""")

INSERT_CONFLICTS = Query("""
-- insert_conflicts: once all households are there
INSERT INTO enrolment_conflict (programme_id, household_id, other_household_id, found_at)
SELECT CAST(:programme_id AS BIGINT), h.id, o.id, :now
FROM double_stage d JOIN household_stage s ON s.line = d.line
JOIN household h ON h.registration_id = s.registration_id
JOIN household o ON o.registration_id = d.other_registration_id
ORDER BY d.line, o.id
""")

LAST_CONFLICT = Query("""
-- last_conflict: the newest, of any programme
SELECT COALESCE(MAX(id), 0) FROM enrolment_conflict
""")

SPAN_OF_CONFLICTS = Query("""
-- span_of_conflicts: the numbers of those of a programme that came after another
SELECT MIN(id) AS first_id, MAX(id) AS last_id FROM enrolment_conflict
WHERE programme_id = :programme_id AND id > :last_id
""")


def create_stages(tx: Tx) -> None:
    """Beside the file's own."""
    for query in (CREATE_EARLIER, CREATE_NEWCOMERS, CREATE_DOUBLES):
        tx.execute(query)


def drop_stages(tx: Tx) -> None:
    """So that another file may follow."""
    for query in (DROP_EARLIER, DROP_NEWCOMERS, DROP_DOUBLES):
        tx.execute(query)


def stage_earlier(tx: Tx, persons: Persons, numbers: Iterable[tuple[int, str]]) -> None:
    """Lines and numbers of documents, which are hashed here."""
    tx.copy(STAGE_EARLIER, [(line, earlier) for line, number in numbers for earlier in persons.hashed_earlier(number)])


def rehash(tx: Tx, programme: Programme, persons: Persons) -> int:
    """Bring what rests on an earlier version of the key, and whose person the file names, to the latest one.

    From then on equal persons have equal hashes, whichever version the key had when they came, and whether their own
    row comes again or another's. Returns how many. Raises Misconfigured where a version is missing.
    """
    require_versions(tx, persons.keys, programme_id=programme.id)
    if not persons.earlier:
        return 0
    tx.execute(ANALYZE_EARLIER)
    return tx.execute(REHASH, programme_id=programme.id, key_version=persons.version)


def hold(tx: Tx, programme: Programme) -> int:
    """Take active from rows of the stage that must not be. Returns how many of them are newly found."""
    of: dict[str, object] = {"programme_id": programme.id}
    tx.execute(HOLD_UNDECIDED, **of)
    tx.execute(REMEMBER_PERSONS, **of)
    if not tx.execute(STAGE_NEWCOMERS, **of):
        return 0
    tx.execute(ANALYZE_NEWCOMERS)
    held = 0
    for pair in (PAIR_WITH_ACTIVE, PAIR_WITH_PAID, PAIR_WITHIN_FILE):
        if tx.execute(pair, **of):
            held += tx.execute(HOLD_DOUBLES)
    return held


def open_conflicts(tx: Tx, programme: Programme) -> None:
    """For those whom `hold` found, once their rows are applied; with their event."""
    last_id = tx.scalar(LAST_CONFLICT)
    conflicts = tx.execute(INSERT_CONFLICTS, programme_id=programme.id, now=tx.now)
    if conflicts:
        journal_found(tx, programme, conflicts, after_id=last_id)


def journal_found(tx: Tx, programme: Programme, conflicts: int, *, after_id: int) -> None:
    """Counts and numbers of conflicts: whoever reads the log learns of no family, and of no city that has one."""
    span = tx.one(SPAN_OF_CONFLICTS, programme_id=programme.id, last_id=after_id)
    append(
        tx,
        ConflictFound(
            programme=programme.code, conflicts=conflicts, first_conflict_id=span.first_id,
            last_conflict_id=span.last_id, operator=tx.operator,
        ),
    )  # fmt: skip

"""Totals from log files alone: the same run objects as `run status`, as of the last place in the files.

DuckDB reads the lines. Nothing here looks at the database: that the two agree is promise 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from console.log_files import read_files, working
from console.log_verify import Place, read_lines
from models.errors import BooksDisagree, DespensaError, RefusedInput
from models.runs import Counts, RunSummary

GAPS_MAX = 10

#: The fields that totals are made of. Numbers are read as JSON: DuckDB would round 1.5 to 2 where a number is due.
COLUMNS = {
    **dict.fromkeys(("event", "hash", "run", "programme", "location", "cycle", "state", "currency"), "VARCHAR"),
    "outcome": "VARCHAR",
    **dict.fromkeys(("seq", "run_id", "part", "late", "planned", "planned_minor"), "JSON"),
    **dict.fromkeys(("credited", "credited_minor", "cases", "notices", "kept_seq", "forgotten_seq"), "JSON"),
    "differences": "JSON",
}

#: What an event's line must carry to be counted.
NEEDED = {
    "database.restored": ("kept_seq", "forgotten_seq"),
    "run.planned": ("run_id", "part", "late", "planned", "planned_minor"),
    "run.cancelled": ("run_id", "cases", "notices"),
    "run.retried": ("run_id", "cases", "state"),
    "run.completed": ("run_id", "notices"),
    "run.disagreed": ("run_id", "differences"),
    "run.reconciled": ("run_id",),
    "batch.credited": ("run_id", "credited", "credited_minor"),
    "case.resolved": ("run_id", "credited", "credited_minor", "notices"),
    **dict.fromkeys(
        ("run.discarded", "run.approved", "run.released", "run.paused", "run.resumed", "run.stopped"), ("run_id",)
    ),
    **dict.fromkeys(("case.opened", "notice.delivered", "notice.undelivered", "notice.resent"), ("run_id",)),
}

#: The sealed lines of some files, as typed columns.
READ = """
SELECT whole(seq) AS seq, hash, event, whole(run_id) AS run_id, run, programme, location, cycle, whole(part) AS part,
       state, CASE CAST(late AS VARCHAR) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END AS late,
       whole(planned) AS planned, whole(planned_minor) AS planned_minor, currency, whole(credited) AS credited,
       whole(credited_minor) AS credited_minor, whole(cases) AS cases, whole(notices) AS notices, outcome,
       whole(differences) AS differences, whole(kept_seq) AS kept_seq, whole(forgotten_seq) AS forgotten_seq,
       filename AS file
FROM read_json($files, format = 'newline_delimited', columns = $columns, compression = $compression,
               ignore_errors = $ignore_errors, filename = TRUE)
WHERE seq IS NOT NULL
"""

#: Whether a line lacks a field that its event must carry, or has another type in it.
INCOMPLETE = f"""CASE event {
    " ".join(
        f"WHEN '{event}' THEN {' OR '.join(f'{name} IS NULL' for name in names)}" for event, names in NEEDED.items()
    )
} END"""

#: What lines come to, those together that differ in nothing that decides how they count, and which places they fill.
COUNT = f"""
SELECT run_id, event, state, outcome, MIN(run) AS run, MIN(programme) AS programme, MIN(location) AS location,
       MIN(cycle) AS cycle, MIN(part) AS part, BOOL_OR(late) AS late, MIN(currency) AS currency,
       SUM(planned) AS planned, SUM(planned_minor) AS planned_minor, SUM(credited) AS credited,
       SUM(credited_minor) AS credited_minor, SUM(cases) AS cases, SUM(notices) AS notices,
       ARG_MAX(differences, seq) AS differences,
       COUNT(*) AS lines, COUNT(*) FILTER (WHERE {INCOMPLETE}) AS incomplete, LIST(seq) AS seqs, MAX(seq) AS last_seq
GROUP BY run_id, event, state, outcome
"""

CREATE_LINE = """
-- create_line: every sealed line, repeated ones too, and the file it stands in
CREATE TABLE line (
    seq BIGINT, hash VARCHAR, event VARCHAR, run_id BIGINT, run VARCHAR, programme VARCHAR, location VARCHAR,
    cycle VARCHAR, part BIGINT, state VARCHAR, late BOOLEAN, planned BIGINT, planned_minor BIGINT, currency VARCHAR,
    credited BIGINT, credited_minor BIGINT, cases BIGINT, notices BIGINT, outcome VARCHAR,
    differences BIGINT, kept_seq BIGINT, forgotten_seq BIGINT, file VARCHAR)
"""
CREATE_COUNTED = f"-- create_counted: empty, as no line is kept yet\nCREATE TABLE counted AS FROM line {COUNT}"
COUNT_FILES = f"""
-- count_files: straight from the files. To keep the lines takes a third longer, and four times the memory
INSERT INTO counted FROM ({READ}) {COUNT}
"""
KEEP_LINES = f"-- keep_lines: of some files\nINSERT INTO line {READ}"

COUNT_LINES = "-- count_lines: that were kept, repeated ones too\nSELECT COUNT(*) FROM line"

FIND_INCOMPLETE = f"""
-- find_incomplete: the first line without a field that its event must carry, or with another type in it, and its fields
SELECT seq, file, event, {", ".join(sorted({name for names in NEEDED.values() for name in names}))} FROM line
WHERE {INCOMPLETE}
ORDER BY seq LIMIT 1
"""  # noqa: S608  # of constants, of no input

CREATE_SEALED = """
-- create_sealed: empty, as no line is kept yet
CREATE TABLE sealed AS SELECT * EXCLUDE (file) FROM line
"""
FILL_SEALED = """
-- fill_sealed: each line once; a seq that two lines fill differently shows twice
INSERT INTO sealed SELECT DISTINCT * EXCLUDE (file) FROM line
"""

COUNT_SEALED = f"""
-- count_sealed: instead of what was counted straight from the files
TRUNCATE counted; INSERT INTO counted FROM sealed {COUNT}
"""

COUNT_RESTORES = """
-- count_restores: lines that say that a backup was restored
SELECT COALESCE(SUM(lines), 0) FROM counted WHERE event = 'database.restored'
"""

COUNT_VALID = f"""
-- count_valid: instead of all lines those that no restore has voided, wherever its own line stands
TRUNCATE counted;
INSERT INTO counted FROM (
    FROM sealed s WHERE NOT EXISTS (
        FROM sealed r WHERE r.event = 'database.restored' AND s.seq > r.kept_seq AND s.seq <= r.forgotten_seq)) {COUNT}
"""

FIND_CONFLICT = """
-- find_conflict: the first place that two lines fill differently
SELECT seq, COUNT(DISTINCT hash) AS hashes FROM sealed GROUP BY seq HAVING COUNT(*) > 1 ORDER BY seq LIMIT 1
"""

LIST_FILES_OF = """
-- list_files_of: where the lines of one place stand
SELECT DISTINCT file FROM line WHERE seq = $seq ORDER BY file LIMIT 5
"""

LIST_GAPS = """
-- list_gaps: places between the first and the last that no line fills, and that restores have not voided together: the
-- first one behind a void is void itself, or shows the gap
WITH gap AS (SELECT seq + 1 AS first_seq, next_seq - 1 AS last_seq
             FROM (SELECT seq, LEAD(seq) OVER (ORDER BY seq) AS next_seq
                   FROM (SELECT UNNEST(seqs) AS seq FROM counted))
             WHERE next_seq > seq + 1),
     void AS (SELECT kept_seq, forgotten_seq FROM sealed WHERE event = 'database.restored'),
     place AS (SELECT first_seq AS seq, first_seq, last_seq FROM gap
               UNION ALL
               SELECT forgotten_seq + 1, first_seq, last_seq FROM gap, void
               WHERE forgotten_seq + 1 BETWEEN first_seq AND last_seq)
SELECT DISTINCT first_seq, last_seq FROM place
WHERE NOT EXISTS (FROM void WHERE place.seq > void.kept_seq AND place.seq <= void.forgotten_seq)
ORDER BY first_seq LIMIT $limit
"""

GET_SPAN = """
-- get_span: the first and last place, how many places are filled, by how many lines, and how many of these lack a field
SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0), COUNT(DISTINCT seq), COUNT(*),
       (SELECT COALESCE(SUM(incomplete), 0) FROM counted)
FROM (SELECT UNNEST(seqs) AS seq FROM counted)
"""

SUM_RUNS = """
-- sum_runs: each run that was not discarded, counted as models.runs counts it; bounded by the runs in the files
SELECT run_id, MIN(run) AS run, MIN(programme) AS programme, MIN(location) AS location, MIN(cycle) AS cycle,
       MIN(part) AS part, ARG_MAX(moved_to, last_seq) FILTER (WHERE moved_to IS NOT NULL) AS state,
       BOOL_OR(late) FILTER (WHERE event = 'run.planned') AS late,
       MIN(currency) FILTER (WHERE event = 'run.planned') AS currency,
       COUNT(*) FILTER (WHERE event = 'run.planned') AS plans,
       COALESCE(SUM(planned) FILTER (WHERE event = 'run.planned'), 0) AS planned,
       COALESCE(SUM(planned_minor) FILTER (WHERE event = 'run.planned'), 0) AS planned_minor,
       COALESCE(SUM(credited) FILTER (WHERE event IN ('batch.credited', 'case.resolved')), 0) AS credited,
       COALESCE(SUM(credited_minor) FILTER (WHERE event IN ('batch.credited', 'case.resolved')), 0) AS credited_minor,
       SUM(CASE event WHEN 'case.opened' THEN lines WHEN 'case.resolved' THEN -lines WHEN 'run.cancelled' THEN cases
                      WHEN 'run.retried' THEN -cases ELSE 0 END) AS cases,
       COALESCE(SUM(lines) FILTER (WHERE event = 'case.resolved' AND outcome = 'not_owed'), 0) AS not_owed,
       SUM(CASE event WHEN 'run.completed' THEN notices WHEN 'run.cancelled' THEN notices
                      WHEN 'case.resolved' THEN notices WHEN 'notice.resent' THEN lines
                      WHEN 'notice.delivered' THEN -lines WHEN 'notice.undelivered' THEN -lines
                      ELSE 0 END) AS notices_due,
       COALESCE(SUM(lines) FILTER (WHERE event = 'notice.delivered'), 0) AS notices_delivered,
       SUM(CASE event WHEN 'notice.undelivered' THEN lines WHEN 'notice.resent' THEN -lines ELSE 0 END)
           AS notices_undelivered,
       -- none of a close that was not compared yet, and of a run that goes on: -1 meanwhile, as ARG_MAX sees no NULL
       NULLIF(ARG_MAX(CASE event WHEN 'run.disagreed' THEN differences WHEN 'run.reconciled' THEN 0 ELSE -1 END,
                      last_seq)
           FILTER (WHERE event IN ('run.disagreed', 'run.reconciled', 'run.retried', 'run.completed', 'run.cancelled')),
           -1) AS differences
FROM (SELECT *, CASE event WHEN 'run.planned' THEN 'planned' WHEN 'run.approved' THEN 'approved'
                           WHEN 'run.released' THEN 'released' WHEN 'run.resumed' THEN 'released'
                           WHEN 'run.paused' THEN 'paused'
                           WHEN 'run.stopped' THEN 'cancelled' WHEN 'run.cancelled' THEN 'cancelled'
                           WHEN 'run.retried' THEN state WHEN 'run.completed' THEN state END AS moved_to
      FROM counted
      WHERE run_id IS NOT NULL AND event NOT IN ('run.lost', 'run.disowned', 'run.recovered'))  -- of no plan's course
GROUP BY run_id HAVING COUNT(*) FILTER (WHERE event = 'run.discarded') = 0
ORDER BY cycle, location, part, run_id
"""


@dataclass(slots=True)
class LogTotals:
    """What log files say, as of their last line."""

    from_seq: int = 0  #: the first place in the files; runs planned before it are not shown
    as_of_seq: int = 0
    repeated: int = 0  #: lines that said again what another said
    void: int = 0  #: lines that restored backups have forgotten: they do not count
    summaries: list[RunSummary] = field(default_factory=list)
    torn: list[Place] = field(default_factory=list)


def read_totals(paths: Sequence[Path]) -> LogTotals:
    """Rebuild every run of these files, given in any order, plain or packed.

    Raises BooksDisagree where two lines fill one place differently; DespensaError where places are missing, or the
    plan of a run is; RefusedInput for a line that is none, unless it was cut off.
    """
    totals = LogTotals()
    with working() as connection:
        for statement in (CREATE_LINE, CREATE_SEALED, CREATE_COUNTED):
            connection.execute(statement)
        totals.torn = read_files(connection, COUNT_FILES, paths, COLUMNS)
        totals.from_seq, totals.as_of_seq, places, lines, incomplete = _row(connection, GET_SPAN)
        if lines > places or incomplete or _row(connection, COUNT_RESTORES) != (0,):
            first, last = totals.from_seq, totals.as_of_seq
            totals.torn = _count_carefully(connection, paths)
            # Again, since a log may have grown between the two readings.
            totals.from_seq, totals.as_of_seq, places, _, _ = _row(connection, GET_SPAN)
            (lines,) = _row(connection, COUNT_LINES)
            if totals.from_seq > first or totals.as_of_seq < last:
                raise DespensaError("the files were rotated while they were read", hint="repeat the command")
        totals.repeated = lines - places
        if places and totals.as_of_seq - totals.from_seq + 1 != places:
            _refuse_gaps(connection)
        if _row(connection, COUNT_RESTORES) != (0,):
            connection.execute(COUNT_VALID)
            totals.void = places - _row(connection, GET_SPAN)[2]
        totals.summaries = _summaries(connection, from_seq=totals.from_seq)
    return totals


def _count_carefully(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> list[Place]:
    """Read the files again and keep their lines: to name the one that is wrong, and to count a repeated one once.

    Returns where lines are torn now.
    """
    torn = read_files(connection, KEEP_LINES, paths, COLUMNS)
    _refuse_incomplete(connection)
    connection.execute(FILL_SEALED)
    _refuse_conflicts(connection)
    connection.execute(COUNT_SEALED)
    return torn


def _refuse_incomplete(connection: duckdb.DuckDBPyConnection) -> None:
    for row in _rows(connection, FIND_INCOMPLETE):
        seq, file = row["seq"], row["file"]
        missing = next(name for name in NEEDED[row["event"]] if row[name] is None)
        place = next((place for place, line in read_lines(Path(file)) if line.get("seq") == seq), file)
        raise RefusedInput(f"{place}: seq {seq} has no usable `{missing}`", hint="despensa logs verify " + str(file))


def _refuse_conflicts(connection: duckdb.DuckDBPyConnection) -> None:
    for seq, hashes in connection.execute(FIND_CONFLICT).fetchall():
        files = ", ".join(str(file) for (file,) in connection.execute(LIST_FILES_OF, {"seq": seq}).fetchall())
        how = "with different hashes" if hashes > 1 else "with one hash and different fields"
        raise BooksDisagree(f"seq {seq} is there twice, {how}: {files}", hint="despensa logs verify FILE…")


def _refuse_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    gaps = connection.execute(LIST_GAPS, {"limit": GAPS_MAX}).fetchall()
    if gaps:
        first, last = gaps[0]
        told = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in gaps)
        raise DespensaError(
            f"lines are missing: seq {told}",
            hint=f"add the file that has them, or: despensa logs emit --from {first} --to {last} > FILE",
        )


def _summaries(connection: duckdb.DuckDBPyConnection, *, from_seq: int) -> list[RunSummary]:
    rows = _rows(connection, SUM_RUNS)
    unplanned = [row["run"] for row in rows if row["plans"] == 0]
    if unplanned:
        raise DespensaError(
            f"these files begin at seq {from_seq}, after the plan of {len(unplanned)} of their runs: "
            + ", ".join(unplanned[:GAPS_MAX]),
            hint="add the files before, or: despensa logs emit --from 1 --to " + str(from_seq - 1) + " > FILE",
        )
    return [
        RunSummary(
            **{name: row[name] for name in ("run", "programme", "location", "cycle", "part", "state", "late")},
            currency=row["currency"],
            counts=Counts(**{name: int(row[name]) for name in Counts.__slots__}),
            blocked="",
            differences=row["differences"],
        )
        for row in rows
    ]


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """Of a query that always has one."""
    (row,) = connection.execute(query).fetchall()
    return tuple(row)

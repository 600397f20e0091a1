"""An issuer's statement as a file: its rows, staged in a temporary table in flat memory, a million of them.

What a row says of an entry must not be contradicted by another row. An entry that stands there again is counted: that
it does is a difference, and no fault of the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from models.columns import instant_text
from models.intake import fields
from models.intake.rows import BadFile, BrokenRule, Row, read_rows
from models.states import EntryKind
from models.storage import Query, Tx

COLUMNS = ("kind", "credit_id", "reference", "amount", "currency", "booked_at", "reverses")
#: Rows handed to the database at once.
CHUNK = 5_000
#: As deploy/issuer-openapi.json has them.
_REFERENCE = re.compile(r"[a-z0-9]{16,64}", re.ASCII)
_CREDIT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)

CREATE_STAGE = Query(
    """
-- create_statement_stage: the file's rows, until they are applied
CREATE TEMPORARY TABLE statement_stage (
    line BIGINT PRIMARY KEY, kind TEXT NOT NULL, credit_id TEXT NOT NULL, reference TEXT NOT NULL,
    amount_minor BIGINT NOT NULL, currency TEXT NOT NULL, booked_at TEXT NOT NULL, reverses TEXT NOT NULL,
    listed BIGINT NOT NULL DEFAULT 1) ON COMMIT DROP
""",
    sqlite="""
-- create_statement_stage: the file's rows, until they are applied
CREATE TEMPORARY TABLE statement_stage (
    line INTEGER PRIMARY KEY, kind TEXT NOT NULL, credit_id TEXT NOT NULL, reference TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, booked_at TEXT NOT NULL, reverses TEXT NOT NULL,
    listed INTEGER NOT NULL DEFAULT 1)
""",
)
STAGE_ROWS = Query(
    """
-- stage_entries: rows of the file, in the order of StagedRow
COPY statement_stage (line, kind, credit_id, reference, amount_minor, currency, booked_at, reverses)
FROM STDIN (FORMAT binary)
""",
    sqlite="""
-- stage_entries: rows of the file, in the order of StagedRow
INSERT INTO statement_stage (line, kind, credit_id, reference, amount_minor, currency, booked_at, reverses)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
""",
)
INDEX_STAGE = Query(
    "-- index_statement_stage: for the joins\nCREATE INDEX ix_statement_stage ON statement_stage (credit_id)"
)
ANALYZE_STAGE = Query("-- analyze_statement_stage: so that the joins are planned well\nANALYZE statement_stage")

FIND_CONTRADICTED = Query("""
-- find_contradicted: the first line that says something else of an entry than a line before it
SELECT MIN(s.line)
FROM (SELECT credit_id, MIN(line) AS line FROM statement_stage GROUP BY credit_id HAVING COUNT(*) > 1) again
JOIN statement_stage one ON one.line = again.line
JOIN statement_stage s ON s.credit_id = again.credit_id AND s.line > again.line
WHERE s.kind <> one.kind OR s.reference <> one.reference OR s.amount_minor <> one.amount_minor
   OR s.currency <> one.currency OR s.booked_at <> one.booked_at OR s.reverses <> one.reverses
""")

COUNT_AGAIN = Query("""
-- count_again: how often an entry is listed that is listed again
UPDATE statement_stage SET listed = again.listed
FROM (SELECT MIN(line) AS line, COUNT(*) AS listed FROM statement_stage GROUP BY credit_id HAVING COUNT(*) > 1) again
WHERE statement_stage.line = again.line
""")

DROP_AGAIN = Query("""
-- drop_again: they are counted
DELETE FROM statement_stage
WHERE EXISTS (SELECT 1 FROM statement_stage s
              WHERE s.credit_id = statement_stage.credit_id AND s.line < statement_stage.line)
""")

SUM_STAGE = Query("""
-- sum_stage: what the file comes to, each entry once; sums of what is in the programme's currency
SELECT COALESCE(SUM(listed), 0) AS lines,
       COALESCE(SUM(CASE WHEN kind = 'credited' THEN 1 ELSE 0 END), 0) AS credits,
       CAST(COALESCE(SUM(CASE WHEN kind = 'credited' AND currency = :currency THEN amount_minor ELSE 0 END), 0)
            AS BIGINT) AS credited_minor,
       COALESCE(SUM(CASE WHEN kind = 'reversed' THEN 1 ELSE 0 END), 0) AS reversals,
       CAST(COALESCE(SUM(CASE WHEN kind = 'reversed' AND currency = :currency THEN amount_minor ELSE 0 END), 0)
            AS BIGINT) AS reversed_minor
FROM statement_stage
""")

DROP_STAGE = Query("-- drop_statement_stage: applied\nDROP TABLE statement_stage")


@dataclass(frozen=True, slots=True)
class Period:
    """What a statement covers: from an instant up to another, which is not included."""

    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True)
class Sums:
    """What a file comes to."""

    lines: int
    credits: int
    credited_minor: int
    reversals: int
    reversed_minor: int


class StagedRow(NamedTuple):
    """One row of the file as it is staged."""

    line: int
    kind: str
    credit_id: str
    reference: str
    amount_minor: int
    currency: str
    booked_at: str
    reverses: str


def stage(tx: Tx, path: Path, period: Period, *, currency: str) -> Sums:
    """Read the file into `statement_stage`, each entry once. Raises BadFile at the first rule that is broken."""
    tx.execute(CREATE_STAGE)
    rows = read_rows(path, COLUMNS, none_allowed=True)
    while chunk := list(islice(rows, CHUNK)):
        tx.copy(STAGE_ROWS, list(_staged(chunk, period)))
    tx.execute(INDEX_STAGE)
    tx.execute(ANALYZE_STAGE)
    line = tx.scalar(FIND_CONTRADICTED)
    if line is not None:
        raise BadFile(path, "says something else of an entry than a line before it", line=line, field="credit_id")
    if tx.execute(COUNT_AGAIN):
        tx.execute(DROP_AGAIN)
    found = tx.one(SUM_STAGE, currency=currency)
    return Sums(**{name: int(value) for name, value in found._mapping.items()})


def _staged(rows: list[Row], period: Period) -> Iterator[StagedRow]:
    for row in rows:
        kind = row.read("kind", _kind)
        booked_at = row.read("booked_at", fields.instant)
        if not period.from_at <= booked_at < period.to_at:
            raise row.refuse("booked_at", "lies outside the period that the statement covers: see --from and --to")
        reverses = row.values["reverses"]
        if kind == EntryKind.CREDITED and reverses:
            raise row.refuse("reverses", "must be empty of what was credited")
        yield StagedRow(
            line=row.line,
            kind=kind,
            credit_id=row.read("credit_id", credit_id),
            reference=row.read("reference", _reference),
            amount_minor=row.read("amount", _amount),
            currency=row.read("currency", _currency),
            booked_at=instant_text(booked_at),
            reverses=row.read("reverses", credit_id) if kind == EntryKind.REVERSED else "",
        )


def credit_id(text: str) -> str:
    """The issuer's own number of an entry."""
    if not _CREDIT_ID.fullmatch(text):
        raise BrokenRule("must be 1 to 80 letters a-z, digits, and . _ : -")
    return text


def _kind(text: str) -> str:
    if text not in (EntryKind.CREDITED, EntryKind.REVERSED):
        raise BrokenRule("must be credited or reversed")
    return text


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise BrokenRule("must be the reference that the issuer was given: 16 to 64 small letters and digits")
    return text


def _currency(text: str) -> str:
    # Any: one that we do not count in is a difference of its line, and stops no other line.
    if not _CURRENCY.fullmatch(text):
        raise BrokenRule("must be the three capital letters of a currency")
    return text


def _amount(text: str) -> int:
    amount_minor = _two_places(text)
    if amount_minor == 0:
        raise BrokenRule("must be above zero")
    return amount_minor


#: Of whatever currency: it is compared with an amount of ours, and never added to one.
_two_places = fields.amount("MXN")

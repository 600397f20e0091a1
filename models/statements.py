"""An outside issuer's statement, held against our books: what it says is kept, and where it differs is a difference.

Of each entry the statement that spoke of it last counts: one that covers the instant and has the entry no more takes it
back. So statements may overlap, come in any order and be imported again: the same words are the same facts.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.columns import instant_text
from models.differences import count_open
from models.errors import RefusedInput
from models.events import StatementImported
from models.intake.load import DryRun
from models.intake.rows import BadFile
from models.intake.statement import DROP_STAGE, Period, Sums, stage
from models.journal import append
from models.runs import only_programme
from models.statement_compare import Changed, ask, compare
from models.storage import Database, Query, Tx
from models.tables import Issuer, Programme, Statement

LOCK_STATEMENTS = Query(
    """
-- lock_statements: one import at a time; whoever reads goes on
LOCK TABLE statement IN SHARE ROW EXCLUSIVE MODE
""",
    sqlite="""
-- lock_statements: SQLite has one writer
SELECT 1
""",
)

COUNT_RESTATED = Query("""
-- count_restated: entries of which an earlier statement said something else
SELECT COUNT(*) FROM statement_stage s JOIN statement_credit c ON c.programme_id = :programme_id
                                                               AND c.credit_id = s.credit_id
WHERE c.kind <> s.kind OR c.reference <> s.reference OR c.amount_minor <> s.amount_minor OR c.currency <> s.currency
   OR c.reverses <> s.reverses
""")

#: The stage has instants as text; PostgreSQL compares and keeps them as instants.
_UPDATE_CREDITS = """
-- update_credits: entries of which an earlier statement said something else, or that it listed as often not
UPDATE statement_credit SET kind = s.kind, reference = s.reference, amount_minor = s.amount_minor,
                            currency = s.currency, booked_at = {booked}, reverses = s.reverses,
                            listed = s.listed, statement_id = :statement_id
FROM statement_stage s
WHERE statement_credit.programme_id = :programme_id AND statement_credit.credit_id = s.credit_id
  AND (statement_credit.kind <> s.kind OR statement_credit.reference <> s.reference
       OR statement_credit.amount_minor <> s.amount_minor OR statement_credit.currency <> s.currency
       OR statement_credit.booked_at <> {booked} OR statement_credit.reverses <> s.reverses
       OR statement_credit.listed <> s.listed)
"""
_INSERT_CREDITS = """
-- insert_credits: entries of which no statement spoke before
INSERT INTO statement_credit (programme_id, credit_id, kind, reference, amount_minor, currency, booked_at, reverses,
                              listed, statement_id)
SELECT CAST(:programme_id AS BIGINT), s.credit_id, s.kind, s.reference, s.amount_minor, s.currency, {booked},
       s.reverses, s.listed, CAST(:statement_id AS BIGINT)
FROM statement_stage s
WHERE NOT EXISTS (SELECT 1 FROM statement_credit c
                  WHERE c.programme_id = :programme_id AND c.credit_id = s.credit_id)
ORDER BY s.line
"""
_BOOKED = {"postgresql": "CAST(s.booked_at AS TIMESTAMPTZ)", "sqlite": "s.booked_at"}


def _both(statement: str) -> Query:
    return Query(statement.format(booked=_BOOKED["postgresql"]), sqlite=statement.format(booked=_BOOKED["sqlite"]))


UPDATE_CREDITS, INSERT_CREDITS = _both(_UPDATE_CREDITS), _both(_INSERT_CREDITS)

DROP_CREDITS = Query("""
-- drop_credits: entries of the period that an earlier statement had, and this one has not
UPDATE statement_credit SET listed = 0, statement_id = :statement_id
WHERE programme_id = :programme_id AND booked_at >= :from_at AND booked_at < :to_at AND listed > 0
  AND NOT EXISTS (SELECT 1 FROM statement_stage s WHERE s.credit_id = statement_credit.credit_id)
""")


@dataclass(slots=True)
class StatementReport:
    """What an import comes to."""

    programme: str
    currency: str
    statement: int
    file_digest: str
    period: Period
    sums: Sums
    known: bool = (
        False  #: it was imported before, for this period, and says nothing that is not so: nothing was changed
    )
    added: int = 0  #: entries of which no statement spoke before
    restated: int = 0  #: entries of which an earlier one said something else
    dropped: int = 0  #: entries that an earlier one had, and this one has not
    opened: list[Changed] = field(default_factory=list)
    closed: list[Changed] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)  #: differences of the programme, afterwards, by reason

    @property
    def agrees(self) -> bool:
        """Whether no difference of the programme is open."""
        return not self.open

    def as_json(self) -> dict[str, object]:
        """The object of the contract for scripts."""
        period = {"from": instant_text(self.period.from_at), "to": instant_text(self.period.to_at)}
        left_out = {"period", "sums"}
        plain = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {**plain, **period, **asdict(self.sums), "agrees": self.agrees}


def import_statement(
    database: Database, path: Path, period: Period, *, programme: str | None, dry_run: bool
) -> StatementReport:
    """Keep what the issuer says, and open and close differences, in one transaction: all of it, or nothing.

    A file that was imported before is compared again: another one may have said otherwise since then. Where none has,
    nothing is changed.
    Raises BadFile at the first rule that the file breaks, and RefusedInput for a period that is not over, since what is
    credited in it yet would seem to be missing, and for a programme that credits its vouchers itself.
    """
    reports: list[StatementReport] = []
    digest = _digest(path)
    try:
        with database.transaction() as tx:
            report = _import(tx, path, period, digest, owner=only_programme(tx, programme))
            reports.append(report)
            if dry_run or report.known:
                raise DryRun
    except DryRun:
        pass
    return reports[0]


def _import(tx: Tx, path: Path, period: Period, digest: str, *, owner: Programme) -> StatementReport:
    tx.allow_long_statement()
    if tx.find(Issuer, Issuer.programme_id == owner.id) is None:
        raise RefusedInput(
            f"programme {owner.code} has no outside issuer: its vouchers are in our own ledger",
            hint="despensa run reconcile",
        )
    if period.to_at > tx.now:
        raise RefusedInput("the period of a statement must be over", hint="--to is its end, which is not included")
    tx.connection.execute(LOCK_STATEMENTS.on(tx.dialect))
    sums = stage(tx, path, period, currency=owner.currency)
    before = _find(tx, owner, period, digest, sums)
    again = before is not None and (before.from_at, before.to_at) == (period.from_at, period.to_at)
    statement, others = _enter(tx, owner, before, period, digest, sums)
    ask(tx, statement, others)
    report = StatementReport(owner.code, owner.currency, statement.id, digest, period, sums)
    says_something_new = _apply(tx, statement, report)
    report.opened, report.closed = compare(tx, owner, statement)
    report.open = count_open(tx, owner)
    report.known = again and not (says_something_new or report.opened or report.closed)
    append(
        tx,
        StatementImported(
            programme=owner.code, statement_id=statement.id, file_digest=digest, from_at=instant_text(period.from_at),
            to_at=instant_text(period.to_at), **asdict(sums), currency=owner.currency, added=report.added,
            restated=report.restated, dropped=report.dropped, operator=tx.operator,
        ),
    )  # fmt: skip
    tx.execute(DROP_STAGE)
    return report


def _find(tx: Tx, owner: Programme, period: Period, digest: str, sums: Sums) -> Statement | None:
    """The statement that this file is, of whatever period. The files of two quiet days are the same, and two."""
    same_file = (Statement.programme_id == owner.id, Statement.digest == digest)
    if sums.lines:
        return tx.find(Statement, *same_file)
    return tx.find(Statement, *same_file, Statement.from_at == period.from_at, Statement.to_at == period.to_at)


def _enter(
    tx: Tx, owner: Programme, known: Statement | None, period: Period, digest: str, sums: Sums
) -> tuple[Statement, list[Statement]]:
    """The statement's row, and those of all others. A file that was imported for another period is corrected."""
    if known is None:
        known = tx.add(
            Statement(
                programme_id=owner.id, digest=digest, from_at=period.from_at, to_at=period.to_at, **asdict(sums),
                imported_by=tx.operator, imported_at=tx.now,
            )
        )  # fmt: skip
    else:
        known.from_at, known.to_at = period.from_at, period.to_at
        known.imported_by, known.imported_at = tx.operator, tx.now
        tx.update(known, ["from_at", "to_at", "imported_by", "imported_at"])
    return known, tx.list(Statement, Statement.programme_id == owner.id, Statement.id != known.id)


def _apply(tx: Tx, statement: Statement, report: StatementReport) -> bool:
    """Keep what the statement says, and count what that changes. Whether anything."""
    of = {"programme_id": statement.programme_id, "statement_id": statement.id}
    report.restated = int(tx.scalar(COUNT_RESTATED, programme_id=statement.programme_id))
    report.dropped = tx.execute(DROP_CREDITS, **of, from_at=statement.from_at, to_at=statement.to_at)
    updated = tx.execute(UPDATE_CREDITS, **of)
    report.added = tx.execute(INSERT_CREDITS, **of)
    return bool(report.dropped or updated or report.added)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise BadFile(path, f"cannot be read: {type(error).__name__}") from None

"""Statements that meet: the same file, overlapping times, another order, two at once, one that ends half-way."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from models import statement_compare, statements
from models.differences import list_differences
from models.intake import statement as intake
from models.intake.rows import Row
from models.intake.statement import Period
from models.statements import StatementReport, import_statement
from models.storage import Database
from models.tables import Disbursement, Statement, StatementCredit, StatementDifference
from tests.builders import TIJUANA, a_programme, a_released_run, an_issuer, batches_of, families
from tests.ledger import count, events
from tests.races import Racer, failing_at, until_blocked
from tests.statements import FEBRUARY, JANUARY, NOON, Books, entry, reversal

MONTH, DAY, MINUTE = timedelta(days=31), timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def books(database: Database, tmp_path: Path) -> Books:
    return Books.open(database, tmp_path)


def line(number: int, *, at: datetime = NOON) -> str:
    """What the issuer says of a line that it credited, as we think it did."""
    return entry(f"c{number}", Books.reference(number), str(600 + 100 * number), at=at)


def kept(database: Database) -> list[object]:
    with database.reading() as tx:
        return [tx.list(table) for table in (Statement, StatementCredit, StatementDifference)]


# Again.


def test_file_whose_words_another_contradicted_counts_again(books: Books) -> None:
    """Whoever imported half a file by mistake imports the right one again: it must not be passed over as known."""
    books.credit(0, 1)
    whole, half = books.write(line(0), line(1)), books.write(line(0))
    assert books.import_file(whole).agrees
    assert books.import_file(half).open == {"unknown_to_them": 1}

    report = books.import_file(whole)

    assert (report.known, report.agrees, report.restated) == (False, True, 0)
    assert books.import_file(whole).known
    assert len(events(books.database, "statement.imported")) == 3


def test_what_a_wrong_time_took_back_is_there_again_once_it_is_imported_again(books: Books) -> None:
    """January with February's end says that nothing was credited in February."""
    books.credit(0)
    books.credit(1, at=NOON + MONTH)
    january, february = books.write(line(0)), books.write(line(1, at=NOON + MONTH))
    assert books.import_file(february, period=FEBRUARY).agrees
    assert books.import_file(january, period=Period(JANUARY.from_at, FEBRUARY.to_at)).open == {"unknown_to_them": 1}

    books.import_file(january)
    report = books.import_file(february, period=FEBRUARY)

    assert report.agrees


def test_file_that_others_followed_without_contradiction_changes_nothing(books: Books) -> None:
    books.credit(0)
    january = books.write(line(0), entry("c9", "f" * 64))
    books.import_file(january)
    books.import_(period=FEBRUARY)
    before = kept(books.database)

    assert books.import_file(january).known
    assert kept(books.database) == before
    assert len(events(books.database, "statement.imported")) == 2


def test_quiet_days_are_each_a_statement(books: Books) -> None:
    """Their files are the same, byte for byte. What was missing on one is not found by the quiet of the next."""
    books.credit(0)
    quiet = books.write()
    first, second = (Period(NOON + day, NOON + day + DAY) for day in (-DAY / 2, 5 * DAY))
    assert books.import_file(quiet, period=first).open == {"unknown_to_them": 1}

    assert books.import_file(quiet, period=second).open == {"unknown_to_them": 1}

    with books.database.reading() as tx:
        assert [(each.from_at, each.to_at) for each in tx.list(Statement)] == [
            (each.from_at, each.to_at) for each in (first, second)
        ]
    assert books.import_file(quiet, period=first).known


# Overlapping, and in another order.


def test_statements_that_overlap_say_each_thing_once(books: Books) -> None:
    books.credit(0, 1)
    books.credit(2, at=NOON + MONTH)
    weeks = Period(NOON - DAY, NOON + 40 * DAY)
    books.import_(line(0), line(1))

    report = books.import_(line(2, at=NOON + MONTH), line(1), line(0), period=weeks)

    assert (report.added, report.restated, report.dropped, report.agrees) == (1, 0, 0, True)
    assert books.import_(line(2, at=NOON + MONTH), period=FEBRUARY).agrees
    assert count(books.database, "SELECT COUNT(*) FROM statement_credit") == 3


def test_entry_that_moved_over_the_end_of_a_month_is_where_it_was_said_last(books: Books) -> None:
    books.credit(0, at=JANUARY.to_at - MINUTE)
    books.import_(line(0, at=JANUARY.to_at - MINUTE))

    report = books.import_(line(0, at=JANUARY.to_at), period=FEBRUARY)

    assert (report.agrees, report.added, report.dropped) == (True, 0, 0)
    assert books.import_(period=Period(JANUARY.from_at, JANUARY.to_at)).dropped == 0


def test_reversal_that_is_imported_before_its_original_waits_for_it(books: Books) -> None:
    books.credit(0)
    taken_back = reversal("r7", Books.reference(0), "c7", at=NOON + MONTH)
    assert books.import_(taken_back, period=FEBRUARY).open == {"reversed_without_original": 1}

    report = books.import_(line(0), entry("c7", Books.reference(0)))

    assert report.agrees
    assert [(each.reason, each.differences) for each in report.closed] == [("reversed_without_original", 1)]


def test_reversal_may_stand_before_its_original(books: Books) -> None:
    """In the file, and by the issuer's clock, which may step back."""
    books.credit(0)

    report = books.import_(
        reversal("r7", Books.reference(0), "c7", at=NOON - DAY), entry("c7", Books.reference(0)), line(0)
    )

    assert report.agrees


# Of others.


def test_reference_of_another_programme_is_unknown_to_this_one(books: Books) -> None:
    """One issuer may serve several. What it credited for another is not looked up there: funds and files are apart."""
    database = books.database
    other = a_programme(database, code="second")
    an_issuer(database, other, "https://issuer.example")
    families(database, other, 1, location=TIJUANA, prefix="second")
    run = a_released_run(database, other)
    with database.reading() as tx:
        lines = tx.list(Disbursement, Disbursement.id > run.id * 10_000_000)
    theirs = Books(database, books.folder, other, run, batches_of(database, run)[0], lines)
    theirs.call(0)
    path = books.write(line(0))

    report = import_statement(database, path, JANUARY, programme=books.programme.code, dry_run=False)

    assert report.open == {"unknown_to_us": 1}
    with database.reading() as tx:
        (view,) = list_differences(tx)
    assert (view.programme, view.disbursement, view.run) == (books.programme.code, None, "")


# Half-way, and at once.


class Killed(BaseException):
    """The process is gone."""


def test_process_that_dies_between_rows_leaves_nothing(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    def until_killed(rows: list[Row], period: Period) -> Iterator[intake.StagedRow]:
        if rows[0].line > 3:
            raise Killed
        return staged(rows, period)

    books.credit(0, 1, 2, 3)
    path = books.write(*(line(number) for number in range(4)))
    before, staged = kept(books.database), intake._staged
    monkeypatch.setattr(intake, "CHUNK", 2)
    monkeypatch.setattr(intake, "_staged", until_killed)
    with pytest.raises(Killed):
        books.import_file(path)
    monkeypatch.undo()

    assert kept(books.database) == before
    assert books.import_file(path).agrees


def test_process_that_dies_at_any_step_leaves_nothing(books: Books) -> None:
    books.credit(0, 1)
    books.import_(entry("c0", Books.reference(0), "1"), line(1))
    path, before = books.write(line(0), entry("c9", "f" * 64)), kept(books.database)
    steps = (
        intake.COUNT_AGAIN, statement_compare.ASK, statements.DROP_CREDITS, statements.UPDATE_CREDITS,
        statements.INSERT_CREDITS, statement_compare.FIND_MISSING, statement_compare.CLOSE_AGREED,
        statement_compare.OPEN_FOUND, statement_compare.COUNT_OPENED, intake.DROP_STAGE,
    )  # fmt: skip

    for step in steps:
        with pytest.raises(Killed), failing_at(books.database, step, Killed):
            books.import_file(path)
        assert kept(books.database) == before, step.name

    assert books.import_file(path).open == {"unknown_to_them": 1, "unknown_to_us": 1}


def test_two_imports_at_once_are_one_after_the_other(books: Books, database_url: str) -> None:
    """Each compares with what the other has kept: none of them misses what both list."""
    books.credit(0)
    first, second = books.write(line(0)), books.write(entry("c7", Books.reference(0)), line(0))

    def importing(path: Path, database: Database) -> StatementReport:
        return import_statement(database, path, JANUARY, programme=None, dry_run=False)

    one = Racer(database_url, lambda database: importing(first, database), stop_after=statements.INSERT_CREDITS).start()
    two = Racer(database_url, lambda database: importing(second, database)).start()
    if books.database.dialect == "postgresql":
        until_blocked(books.database)
    assert not two.ended
    reports = [one.finish(), two.finish()]

    assert [report.open for report in reports] == [{}, {"twice": 1}]
    assert reports[1].added == 1

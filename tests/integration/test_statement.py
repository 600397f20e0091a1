"""An outside issuer's statement against our books: each line that differs has one reason, until it agrees."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError

from models.differences import close_by_person, close_settled, list_differences
from models.errors import RefusedByState, RefusedInput
from models.intake.rows import BadFile
from models.intake.statement import Period
from models.states import AnswerOutcome, CaseOutcome
from models.storage import Database
from models.tables import Issuer, Journal, Statement, StatementCredit, StatementDifference, Voucher
from scheduler.resolve import resolve_not_owed
from tests.ledger import count, events
from tests.statements import FEBRUARY, JANUARY, NOON, Books, entry, reversal

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def books(database: Database, tmp_path: Path) -> Books:
    return Books.open(database, tmp_path)


def everything(database: Database) -> list[object]:
    with database.reading() as tx:
        return [tx.list(table) for table in (Statement, StatementCredit, StatementDifference, Journal, Voucher)]


def ref(number: int) -> str:
    return Books.reference(number)


def owed(number: int) -> str:
    """What a line says: its family has 1, 2, 3… up to 9 members."""
    return str(600 + 100 * (number % 9))


def line(number: int) -> str:
    """What the issuer says of a line that it credited, as we think it did."""
    return entry(f"c{number}", ref(number), owed(number))


# Reasons.


def test_statement_that_agrees_opens_nothing(books: Books) -> None:
    books.credit(0, 1, 2)

    report = books.import_(line(0), line(1), line(2))

    assert (report.agrees, report.opened, report.added) == (True, [], 3)
    assert (report.sums.lines, report.sums.credits, report.sums.credited_minor) == (3, 3, 210_000)


@dataclass(frozen=True, slots=True)
class Differs:
    """What our books and the issuer's say of one line, `n`, and which difference that is."""

    what: str
    reason: str
    prepare: Callable[[Books, int], object]
    rows: Callable[[int], tuple[str, ...]]
    entry: str  #: the issuer's entry that differs, with `n` for the line's number
    next_step: str = "ask the issuer"
    known: bool = True  #: whether we know the line


DIFFERENT = (
    Differs(
        "nothing was ever sent", "unknown_to_us", lambda books, n: None, lambda n: (entry(f"u{n}", f"f{n:063}"),), "un",
        known=False,
    ),
    Differs("it is in no statement", "unknown_to_them", Books.credit, lambda n: (), ""),
    Differs("another amount", "other_amount", Books.credit, lambda n: (entry(f"c{n}", ref(n), "600.01"),), "cn"),
    Differs(
        "another currency", "other_amount", Books.credit,
        lambda n: (entry(f"c{n}", ref(n), owed(n), currency="USD"),), "cn",
    ),
    Differs(
        "a currency that nobody knows", "other_amount", Books.credit,
        lambda n: (entry(f"c{n}", ref(n), owed(n), currency="XTS"),), "cn",
    ),
    Differs(
        "two credits under one reference", "twice", Books.credit,
        lambda n: (entry(f"s{n}", ref(n), at=NOON + MINUTE), line(n)), "sn",
    ),
    Differs("one credit listed again", "twice", Books.credit, lambda n: (line(n), line(n)), "cn"),
    Differs(
        "reversed, and the original is nowhere", "reversed_without_original", Books.credit,
        lambda n: (line(n), reversal(f"r{n}", ref(n), f"gone{n}")), "rn", "import the statement",
    ),
    Differs(
        "reversed, and the original is another line's", "reversed_without_original", Books.credit,
        lambda n: (line(n), reversal(f"r{n}", ref(n), "u0")), "rn",
    ),
    Differs(
        "reversed, and the family has its voucher", "reversed", Books.credit,
        lambda n: (line(n), reversal(f"r{n}", ref(n), f"c{n}", owed(n))), "cn", "no longer backs",
    ),
    Differs(
        "reversed in part", "other_amount", Books.credit,
        lambda n: (line(n), reversal(f"r{n}", ref(n), f"c{n}", "100")), "rn",
    ),
    Differs(
        "reversed twice", "twice", lambda books, n: books.call(n, outcome=AnswerOutcome.ABSENT),
        lambda n: (
            line(n), reversal(f"r{n}", ref(n), f"c{n}", owed(n)),
            reversal(f"s{n}", ref(n), f"c{n}", owed(n), at=NOON + MINUTE),
        ), "sn",
    ),
    Differs(
        "a reversal listed again", "twice", lambda books, n: books.call(n, outcome=AnswerOutcome.ABSENT),
        lambda n: (line(n), *(reversal(f"r{n}", ref(n), f"c{n}", owed(n)),) * 2), "rn",
    ),
    Differs(
        "credited, and here it is in doubt", "not_settled", Books.doubt, lambda n: (line(n),), "cn",
        "despensa run retry 2026-12/02004 --case 1: it asks",
    ),
    Differs(
        "credited, and here it is under way", "not_settled", lambda books, n: books.call(n, outcome=None),
        lambda n: (line(n),), "cn", "asked for by itself",
    ),
    Differs(
        "credited, and here it is not owed", "not_owed",
        lambda books, n: books.doubt(n, ended=CaseOutcome.NOT_OWED), lambda n: (line(n),), "cn", "nothing is owed",
    ),
)  # fmt: skip


def test_each_line_that_differs_has_its_reason_and_a_next_step(database: Database, tmp_path: Path) -> None:
    """All in one statement, beside lines that agree."""
    books = Books.open(database, tmp_path, count=len(DIFFERENT) + 2)
    agreeing = (len(DIFFERENT), len(DIFFERENT) + 1)
    books.credit(*agreeing)
    for number, differs in enumerate(DIFFERENT):
        differs.prepare(books, number)

    rows = [row for number, differs in enumerate(DIFFERENT) for row in differs.rows(number)]
    report = books.import_(*rows, *(line(number) for number in agreeing))

    assert set(books.open_differences()) == {
        (differs.reason, number if differs.known else None, differs.entry.replace("n", str(number)))
        for number, differs in enumerate(DIFFERENT)
    }
    assert report.open == Counter(differs.reason for differs in DIFFERENT)
    told = events(database, "difference.opened")
    assert {each["reason"]: each["differences"] for each in told} == report.open
    with database.reading() as tx:
        steps = {view.disbursement: view.next_step for view in list_differences(tx)}
    for number, differs in enumerate(DIFFERENT):
        assert differs.next_step in steps[books.lines[number].id if differs.known else None], differs.what


def test_credit_that_was_taken_back_beside_one_that_stands_agrees(books: Books) -> None:
    """That is how an issuer mends what it credited twice."""
    books.credit(0)

    report = books.import_(line(0), entry("c7", ref(0)), reversal("r7", ref(0), "c7"))

    assert report.agrees


def test_what_was_taken_back_of_a_line_that_is_not_paid_agrees(books: Books) -> None:
    books.call(0, outcome=AnswerOutcome.UNKNOWN)

    assert books.import_(line(0), reversal("r0", ref(0), "c0")).agrees


def test_difference_shows_both_sums(books: Books) -> None:
    books.credit(0)

    books.import_(entry("c0", ref(0), "599.99", currency="USD"))

    with books.database.reading() as tx:
        (view,) = list_differences(tx)
    assert (view.expected_minor, view.expected_currency) == (60_000, "MXN")
    assert (view.found_minor, view.found_currency) == (59_999, "USD")


# Again.


def test_same_file_twice_changes_nothing(books: Books) -> None:
    books.credit(0)
    path = books.write(line(0), entry("c9", "f" * 64))
    books.import_file(path)
    before = everything(books.database)

    report = books.import_file(path)

    assert report.known and report.open == {"unknown_to_us": 1}
    assert everything(books.database) == before


def test_same_words_in_another_file_are_the_same_facts(books: Books) -> None:
    """Periods overlap, and whoever asks again gets his lines in another order."""
    books.credit(0, 1)
    books.import_(line(0), line(1), line(1), entry("c9", "f" * 64))
    with books.database.reading() as tx:
        before = (tx.list(StatementCredit), tx.list(StatementDifference))

    report = books.import_(entry("c9", "f" * 64), line(1), line(0), line(1))

    assert (report.known, report.added, report.restated, report.dropped) == (False, 0, 0, 0)
    assert (report.opened, report.closed) == ([], [])
    with books.database.reading() as tx:
        assert (tx.list(StatementCredit), tx.list(StatementDifference)) == before


def test_twice_is_seen_across_statements(books: Books) -> None:
    books.credit(0)
    books.import_(line(0))

    report = books.import_(entry("c7", ref(0), at=NOON + timedelta(days=31)), period=FEBRUARY)

    assert report.open == {"twice": 1}
    assert books.open_differences() == [("twice", 0, "c7")]


def test_reversal_finds_its_original_in_an_earlier_statement(books: Books) -> None:
    books.credit(0)
    books.import_(line(0), entry("c7", ref(0)))
    assert books.open_differences() == [("twice", 0, "c7")]

    report = books.import_(reversal("r7", ref(0), "c7", at=NOON + timedelta(days=31)), period=FEBRUARY)

    assert report.agrees
    assert [(each.reason, each.differences) for each in report.closed] == [("twice", 1)]


def test_later_statement_of_the_same_time_closes_what_it_mends(database: Database, tmp_path: Path) -> None:
    """What it does not list any more, the issuer has taken back; what it lists otherwise, it says otherwise now."""
    books = Books.open(database, tmp_path, count=8)
    books.credit(*range(8))
    first = (
        entry("c1", ref(1), "1"), line(2), line(2), line(3), entry("c73", ref(3), at=NOON + MINUTE), line(4),
        reversal("r4", ref(4), "c4", "1000"), line(5), reversal("r5", ref(5), "c55"), line(6), entry("c9", "f" * 64),
        entry("c7", "e" * 64),
    )  # fmt: skip
    assert sum(books.import_(*first).open.values()) == 9

    report = books.import_(*(line(number) for number in range(8)))

    assert report.agrees
    told = events(database, "difference.closed")
    assert {each["closed"] for each in told} == {"statement"}
    assert {each["reason"]: each["differences"] for each in told} == {
        "other_amount": 1, "reversed": 1, "reversed_without_original": 1, "twice": 2, "unknown_to_them": 2,
        "unknown_to_us": 2,
    }  # fmt: skip


def test_credit_that_a_later_statement_drops_is_missed(books: Books) -> None:
    books.credit(0, 1)
    assert books.import_(line(0), line(1)).agrees

    report = books.import_(line(0))

    assert (report.dropped, report.open) == (1, {"unknown_to_them": 1})


def test_statement_of_another_time_closes_no_difference_of_this_one(books: Books) -> None:
    books.credit(0, 1)
    books.import_(line(0))
    april = Period(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))

    report = books.import_(period=april)

    assert report.open == {"unknown_to_them": 1} and not report.closed


def test_same_file_for_another_period_corrects_the_first(books: Books) -> None:
    """Whoever mistypes the end of a month would have everything of the next one missing for ever."""
    books.credit(0)
    books.credit(1, at=NOON + timedelta(days=31))
    path = books.write(line(0))
    wrong = Period(JANUARY.from_at, FEBRUARY.to_at)
    assert books.import_file(path, period=wrong).open == {"unknown_to_them": 1}

    report = books.import_file(path)

    assert report.agrees
    with books.database.reading() as tx:
        assert [(each.from_at, each.to_at) for each in tx.list(Statement)] == [(JANUARY.from_at, JANUARY.to_at)]


# The edges of a period.


#: When a line was sent, when it was answered, if not a second later, and whether it is missed in January's statement.
EDGES = (
    (JANUARY.from_at + HOUR, None, True),
    (JANUARY.from_at + HOUR - MINUTE, None, False),
    (JANUARY.from_at - MINUTE, None, False),
    (JANUARY.to_at - HOUR - MINUTE, None, True),
    (JANUARY.to_at - HOUR, None, False),
    (JANUARY.to_at + MINUTE, None, False),
    (JANUARY.from_at - MINUTE, NOON, False),  # in doubt for days: credited perhaps before
    (NOON, JANUARY.to_at + MINUTE, False),  # or after
)


def test_only_what_was_surely_credited_within_the_period_is_missed(database: Database, tmp_path: Path) -> None:
    """The issuer's clock is not ours, and what is in doubt may have been credited at any time since it was sent."""
    books = Books.open(database, tmp_path, count=len(EDGES))
    for number, (sent_at, answered_at, _) in enumerate(EDGES):
        books.call(number, at=sent_at, answered_at=answered_at)
        books.settle(number)

    books.import_()

    missed = {number for _, number, _ in books.open_differences()}
    assert missed == {number for number, (_, _, is_missed) in enumerate(EDGES) if is_missed}


@pytest.mark.parametrize("order", [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_what_is_credited_at_the_edge_of_two_months_is_missed_once_both_are_there(
    books: Books, order: tuple[Period, Period]
) -> None:
    books.credit(0, at=JANUARY.to_at - MINUTE)
    books.call(1, at=JANUARY.to_at - MINUTE, answered_at=JANUARY.to_at + 2 * HOUR)
    books.settle(1)

    assert books.import_(period=order[0]).agrees
    assert books.import_(entry("c8", "f" * 64, at=order[1].from_at), period=order[1]).open == {
        "unknown_to_them": 2, "unknown_to_us": 1,
    }  # fmt: skip


def test_what_the_issuer_booked_a_minute_after_the_end_is_in_the_next_statement(books: Books) -> None:
    books.credit(0, at=JANUARY.to_at - MINUTE)
    assert books.import_().agrees

    booked = entry("c0", ref(0), at=JANUARY.to_at + MINUTE)
    assert books.import_(booked, period=FEBRUARY).agrees


def test_credit_of_a_send_that_a_restore_forgot_is_not_missed_in_a_later_month(books: Books) -> None:
    """It may have been credited then, and only asked for since."""
    books.credit(0, at=NOON + timedelta(days=31))
    with books.database.transaction() as tx:
        issuer = tx.get(Issuer)
        issuer.forgotten_cycle, issuer.forgotten_from = "2026-12", NOON
        issuer.forgotten_until = NOON + HOUR
        tx.update(issuer, ["forgotten_cycle", "forgotten_from", "forgotten_until"])

    assert books.import_(period=FEBRUARY).agrees
    assert books.import_(entry("c8", "f" * 64)).open == {"unknown_to_them": 1, "unknown_to_us": 1}


def test_voucher_that_a_person_entered_is_not_missed(books: Books) -> None:
    """It rests on evidence that the issuer may know nothing of."""
    books.call(0)
    with books.database.transaction() as tx:
        tx.add(Voucher(id=books.lines[0].id, batch_id=None, key_version=1))

    assert books.import_().agrees


# What is done about differences.


def test_person_closes_a_difference_and_the_next_statement_does_not_open_it_again(books: Books) -> None:
    books.credit(0)
    books.import_(entry("c0", ref(0), "1"))
    with books.database.transaction() as tx:
        close_by_person(tx, 1, evidence=" letter 2026-31 ")

    report = books.import_(entry("c0", ref(0), "1"), entry("c9", "f" * 64))

    assert books.open_differences() == [("unknown_to_us", None, "c9")]
    (told,) = events(books.database, "difference.closed")
    assert (told["closed"], told["first_difference_id"], told["differences"]) == ("person", 1, 1)
    with books.database.reading() as tx:
        closed = next(view for view in list_differences(tx, closed_too=True) if view.difference == 1)
    assert (closed.evidence, bool(closed.closed_by), closed.next_step) == ("letter 2026-31", True, "")
    assert not report.closed


def test_difference_that_a_person_closed_is_opened_again_once_the_issuer_says_something_else(books: Books) -> None:
    books.credit(0)
    books.import_(entry("c0", ref(0), "1"))
    with books.database.transaction() as tx:
        close_by_person(tx, 1, evidence="letter")

    assert books.import_(entry("c0", ref(0), "2")).open == {"other_amount": 1}


def test_difference_is_closed_once_and_with_evidence(books: Books) -> None:
    books.credit(0)
    books.import_(entry("c0", ref(0), "1"))

    with pytest.raises(RefusedInput), books.database.transaction() as tx:
        close_by_person(tx, 1, evidence=" ")
    with pytest.raises(RefusedInput), books.database.transaction() as tx:
        close_by_person(tx, 2, evidence="letter")
    with books.database.transaction() as tx:
        close_by_person(tx, 1, evidence="letter")
    with pytest.raises(RefusedByState), books.database.transaction() as tx:
        close_by_person(tx, 1, evidence="letter")


def test_line_that_gets_its_voucher_closes_its_difference_by_itself(books: Books) -> None:
    books.call(0, 1, outcome=AnswerOutcome.UNKNOWN)
    books.import_(line(0), line(1))
    books.settle(0)

    with books.database.transaction() as tx:
        assert close_settled(tx) == 1
        assert close_settled(tx) == 0

    assert books.open_differences() == [("not_settled", 1, "c1")]
    assert [each["closed"] for each in events(books.database, "difference.closed")] == ["voucher"]


def test_statement_pays_nobody(books: Books) -> None:
    """It is a reason to ask. The answer to our reference makes the voucher."""
    case = books.doubt(0)

    books.import_(line(0))

    assert count(books.database, "SELECT COUNT(*) FROM voucher") == 0
    assert count(books.database, f"SELECT COUNT(*) FROM cases WHERE id = {case} AND state = 'open'") == 1
    assert count(books.database, "SELECT COUNT(*) FROM answer WHERE outcome = 'credited'") == 0


def test_line_that_the_issuer_says_it_credited_is_not_given_up(books: Books) -> None:
    """Its money would go back to the fund while the family has it."""
    case = books.doubt(0)
    books.import_(line(0))

    with pytest.raises(RefusedByState, match="statement"), books.database.transaction() as tx:
        resolve_not_owed(tx, case)


# Refused.


REFUSED = (
    (line(0).replace("credited", "paid", 1), "kind", "must be credited or reversed"),
    (line(0).replace("c0", "c 0"), "credit_id", "must be 1 to 80"),
    (entry("c0", "A" * 64), "reference", "small letters"),
    (entry("c0", ref(0), "-1"), "amount", "digits"),
    (entry("c0", ref(0), "0"), "amount", "above zero"),
    (entry("c0", ref(0), currency="mxn"), "currency", "three capital letters"),
    (line(0).replace("2026-01-15T", "2026-01-15 at "), "booked_at", "instant with its offset"),
    (line(0).replace("2026-01-15T12:00:00.000000Z", "2026-01-15T12:00:00"), "booked_at", "offset"),
    (line(0).replace("2026-01-15", "2026-02-30"), "booked_at", "offset"),
    (entry("c0", ref(0), at=JANUARY.to_at), "booked_at", "outside the period"),
    (entry("c0", ref(0), at=JANUARY.from_at - MINUTE), "booked_at", "outside the period"),
    (line(0) + "c1", "reverses", "must be empty"),
    (reversal("r0", ref(0), ""), "reverses", "must be 1 to 80"),
    (line(1) + "\n" + line(0) + "\n" + entry("c1", ref(0)), "credit_id", "something else"),
)


def test_row_that_breaks_a_rule_changes_nothing(books: Books) -> None:
    before = everything(books.database)

    for row, field, rule in REFUSED:
        with pytest.raises(BadFile) as caught:
            books.import_(row, line(3))
        assert (caught.value.line, caught.value.field) == (1 + len(row.splitlines()), field)
        assert rule in caught.value.rule
        assert str(caught.value).startswith(f"statement-{books.files}.csv line {caught.value.line}, {field}: ")
        assert ref(0)[:20] not in str(caught.value)

    assert everything(books.database) == before


def test_instants_may_have_any_offset(books: Books) -> None:
    books.credit(0)

    report = books.import_(line(0).replace("2026-01-15T12:00:00.000000Z", "2026-01-15T06:00:00-06:00"))

    assert report.agrees
    with books.database.reading() as tx:
        assert [each.booked_at for each in tx.list(StatementCredit)] == [NOON]


def test_period_must_be_over(books: Books) -> None:
    """Whatever is credited in it yet would seem to be missing."""
    with pytest.raises(RefusedInput, match="must be over"):
        books.import_(period=Period(NOON, datetime.now(UTC) + HOUR))


def test_programme_of_our_own_ledger_has_no_statement(books: Books) -> None:
    with books.database.transaction() as tx:
        tx.connection.execute(sql("DELETE FROM issuer"))

    with pytest.raises(RefusedInput, match="no outside issuer"):
        books.import_()


def test_dry_run_tells_and_changes_nothing(books: Books) -> None:
    books.credit(0)
    before = everything(books.database)

    report = books.import_(entry("c9", "f" * 64), dry_run=True)

    assert [(each.reason, each.differences) for each in report.opened] == [("unknown_to_them", 1), ("unknown_to_us", 1)]
    assert everything(books.database) == before


def test_statement_without_a_line_is_one(books: Books) -> None:
    """A quiet day: and one on which everything of ours is missing."""
    assert books.import_().agrees
    books.credit(0)
    assert books.import_(entry("c9", "f" * 64)).open == {"unknown_to_them": 1, "unknown_to_us": 1}


def test_what_was_said_is_never_deleted(books: Books) -> None:
    books.import_(entry("c9", "f" * 64))

    for table in ("difference", "statement_credit", "statement"):
        with pytest.raises(DBAPIError), books.database.transaction() as tx:
            tx.connection.execute(sql(f"DELETE FROM {table}"))

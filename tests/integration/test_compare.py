"""At its close the books of a run are compared: what differs is found, told and remembered, and the close stands."""

from collections.abc import Callable
from contextlib import nullcontext, suppress

import pytest
from sqlalchemy import text as sql

from console.main import app
from models.errors import Exit
from models.events import (
    BatchCredited,
    CaseOpened,
    CaseResolved,
    FundDeposited,
    Journalled,
    RunCancelled,
    RunReleased,
    RunRetried,
)
from models.journal import append
from models.messages import CreditBatch
from models.reconcile import reconcile, reconcile_run
from models.runs import of_run, summarise
from models.states import CaseReason, RunState
from models.storage import Tx
from models.tables import Case, Programme, Run
from scheduler import compare, tick
from scheduler.books_watch import BooksWatch
from scheduler.cancel import cancel
from scheduler.close import close
from scheduler.compare import compare_close, list_uncompared
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.retry import Choice, retry
from scheduler.tick import Ticker, TickResult
from tests.builders import (
    NOGALES,
    TIJUANA,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    run_again,
    without_guards,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.ledger import assert_books_agree, events, make_dead_case

pytestmark = pytest.mark.long


def a_credited_run(installation: Installation, *, location: str = TIJUANA, count: int = 25) -> Run:
    """Every batch is done; nobody has closed it."""
    with installation.database.reading() as tx:
        programme = tx.get(Programme)
    families(installation.database, programme, count, location=location)
    run = a_released_run(installation.database, programme, location=location)
    for batch in batches_of(installation.database, run):
        installation.receive(CreditBatch(batch.id))
    return run


@pytest.fixture
def programme(installation: Installation) -> Programme:
    return a_programme(installation.database)


def damaged(tx: Tx, run: Run, statement: str) -> None:
    """A hand in the database."""
    with without_guards(tx, "voucher", "transfer", "disbursement", "run", "cases", "batch", "journal"):
        tx.connection.execute(sql(statement), {"run_id": run.id, "first_id": run.id * 10_000_000 + 1})


def test_books_are_compared_at_every_close(installation: Installation, programme: Programme) -> None:
    run = a_credited_run(installation)

    installation.ticker().work()
    installation.ticker().work()

    closed = run_again(installation.database, run)
    assert (closed.state, closed.differences) == (RunState.COMPLETED, 0)
    assert closed.reconciled_close_at == closed.completed_at is not None
    (told,) = events(installation.database, "run.reconciled")
    assert told["run_id"] == run.id
    assert_books_agree(installation.database)


DAMAGES = {
    "a voucher that nobody credited": (
        "DELETE FROM voucher WHERE id = :first_id",
        {"batch_counts", "finished_lines", "journal_credited", "journal_vouchers", "outstanding", "reserves"},
    ),
    "a peso that left the reserve": (
        "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE run_id = :run_id AND kind = 'reserve'",
        {"fund_balances", "fund_equation", "fund_reserves", "journal_reserved", "reserves"},
    ),
    "a fund that holds less": (
        "UPDATE fund SET balance_minor = balance_minor - 1",
        {"fund_balances", "fund_equation"},
    ),
    "a line that was raised": (
        "UPDATE disbursement SET amount_minor = amount_minor + 1 WHERE id = :first_id",
        {"journal_credited", "outstanding", "run_amounts"},
    ),
    "an event that is gone": (
        "DELETE FROM journal WHERE id = (SELECT MIN(id) FROM journal WHERE event = 'batch.credited')",
        {"journal_credited", "journal_vouchers"},
    ),
}


@pytest.mark.parametrize(("statement", "checks"), DAMAGES.values(), ids=DAMAGES.keys())
def test_hand_in_the_database_is_found_at_the_close(
    installation: Installation, programme: Programme, statement: str, checks: set[str]
) -> None:
    """By the same checks as of all books. The close stands: what was given was given, and stores are told."""
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        damaged(tx, run, statement)

    installation.ticker().work()

    closed = run_again(installation.database, run)
    assert closed.state == RunState.COMPLETED
    (told,) = events(installation.database, "run.disagreed")
    assert (set(str(told["checks"]).split()), told["differences"]) == (checks, closed.differences)
    assert events(installation.database, "run.reconciled") == []
    with installation.database.reading() as tx:
        assert {each.check.partition(" ")[0] for each in reconcile(tx)} - {"seal"} == checks
        assert summarise(tx, run.id).differences == closed.differences


def test_one_run_answers_for_no_other(installation: Installation, programme: Programme) -> None:
    """A month of two hundred cities is not read two hundred times."""
    other = a_credited_run(installation, location=NOGALES)
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        damaged(tx, other, DAMAGES["a voucher that nobody credited"][0])

    with installation.database.reading() as tx:
        assert reconcile_run(tx, run.id) == []
    with installation.database.reading() as tx:
        assert reconcile_run(tx, other.id) != []


def test_close_whose_ticker_died_is_compared_by_the_next(installation: Installation, programme: Programme) -> None:
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        assert close(tx, run.id)

    installation.ticker().work()

    assert run_again(installation.database, run).differences == 0


def test_close_is_compared_once_by_however_many(installation: Installation, programme: Programme) -> None:
    run = a_credited_run(installation)
    installation.ticker().work()

    assert not compare_close(installation.database, run.id)
    assert len(events(installation.database, "run.reconciled")) == 1


def test_run_that_is_closed_again_is_compared_again(installation: Installation, programme: Programme) -> None:
    """And while it goes on, what its last close found is no longer shown."""
    run = a_run_with_a_case(installation)
    ticker = installation.ticker()
    ticker.work()
    with installation.database.transaction() as tx:
        assert summarise(tx, run.id).differences == 0
        retry(tx, run.id, Choice())
        assert summarise(tx, run.id).differences is None
        assert list_uncompared(tx) == []
    for batch in batches_of(installation.database, run):
        if batch.state == "open":
            installation.receive(CreditBatch(batch.id))
    ticker.work()

    assert len(events(installation.database, "run.reconciled")) == 2


def test_comparison_that_fails_keeps_no_run_from_ending(
    installation: Installation, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_credited_run(installation)

    def fail(*_: object) -> None:
        with installation.database.reading() as tx:
            tx.connection.execute(sql("SELECT no_such_column FROM run"))

    monkeypatch.setattr(compare, "reconcile_run", fail)
    result = installation.ticker().work()

    assert run_again(installation.database, run).state == RunState.COMPLETED
    assert run_again(installation.database, run).reconciled_close_at is None
    assert len(result.errors) == 1
    monkeypatch.undo()
    installation.ticker().work()
    assert run_again(installation.database, run).differences == 0


def test_books_that_agree_again_take_the_mark_from_their_runs(installation: Installation, programme: Programme) -> None:
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        damaged(tx, run, DAMAGES["a fund that holds less"][0])
    installation.ticker().work()
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads, steady_s=lambda: 0.0)
    assert watch.reconcile_if_due() and watch.differences == 2
    installation.ticker().work()
    assert run_again(installation.database, run).differences == 2

    with installation.database.transaction() as tx:
        tx.connection.execute(sql("UPDATE fund SET balance_minor = balance_minor + 1"))
    watch.steady_s = lambda: 4000.0
    assert watch.reconcile_if_due()
    installation.ticker().work()

    assert run_again(installation.database, run).differences == 0


def test_operators_see_it_and_the_command_that_followed_ends_with_13(
    installation: Installation, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        damaged(tx, run, DAMAGES["a fund that holds less"][0])
    desk = CommandLine(monkeypatch, installation.environment)

    with installation.workers() if installation.distributed else nullcontext():
        started = desk.run(app, "run", "start")
    status = desk.run(app, "run", "status")
    as_json = desk.run(app, "run", "status", "--json").json["runs"]
    reconciled = desk.run(app, "run", "reconcile", "--json")

    assert started.code == Exit.BOOKS_DISAGREE
    assert "the books of run 2026-12/02004 do not agree" in started.stderr
    assert ": 2 differences in its books" in status.stdout
    assert [each["differences"] for each in as_json] == [2]  # type: ignore[attr-defined]
    assert reconciled.code == Exit.BOOKS_DISAGREE


def test_close_that_another_compares_only_now_ends_the_command_with_13(
    installation: Installation, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another ticker closed the run, and has not looked at its books when this command sees that it is over."""
    run = a_credited_run(installation)
    with installation.database.transaction() as tx:
        damaged(tx, run, DAMAGES["a fund that holds less"][0])
    desk = CommandLine(monkeypatch, installation.environment)
    ticks: list[Ticker] = []
    whole_tick = Ticker.tick

    def counted(ticker: Ticker) -> TickResult:
        ticks.append(ticker)
        return whole_tick(ticker)

    monkeypatch.setattr(Ticker, "tick", counted)
    monkeypatch.setattr(tick, "list_uncompared", lambda tx: list_uncompared(tx) if len(ticks) > 1 else [])

    with installation.workers() if installation.distributed else nullcontext():
        started = desk.run(app, "run", "start")

    assert started.code == Exit.BOOKS_DISAGREE
    assert "the books of run 2026-12/02004 do not agree" in started.stderr


def test_difference_of_a_statement_ends_reconcile_with_13(
    installation: Installation, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, and is no disagreement of our own books."""
    with installation.database.transaction() as tx:
        tx.connection.execute(
            sql(
                "INSERT INTO statement (programme_id, digest, from_at, to_at, lines, credits, credited_minor, "
                "reversals, reversed_minor, imported_by, imported_at) VALUES (1, 'd', '2026-01-01T00:00:00.000000Z', "
                "'2026-02-01T00:00:00.000000Z', 1, 1, 5, 0, 0, 'ana', '2026-02-01T00:00:00.000000Z')"
            )
        )
        tx.connection.execute(
            sql(
                "INSERT INTO difference (programme_id, statement_id, reason, reference, credit_id, expected_currency, "
                "found_minor, found_currency, state, opened_at, evidence) VALUES (1, 1, 'unknown_to_us', 'f', 'c', '', "
                "5, 'MXN', 'open', '2026-02-01T00:00:00.000000Z', '')"
            )
        )
    desk = CommandLine(monkeypatch, installation.environment)

    reconciled = desk.run(app, "run", "reconcile", "--json")

    assert reconciled.code == Exit.BOOKS_DISAGREE
    assert reconciled.json["differences"] == [
        {"check": "statement_unknown_to_us 1", "expected": "nothing", "found": "5 MXN"}
    ]
    assert not any(line["event"] == "books.disagreed" for line in installation.lines())


# The journal against the tables.


def a_run_with_a_case(installation: Installation) -> Run:
    """One family of three is a case, nothing is closed."""
    with installation.database.reading() as tx:
        programme = tx.get(Programme)
    families(installation.database, programme, 3, location=TIJUANA)
    run = a_released_run(installation.database, programme, batch_lines=1)
    make_dead_case(installation.database, run)
    for batch in batches_of(installation.database, run):
        if batch.state == "open":
            installation.receive(CreditBatch(batch.id))
    return run


class _Undone(Exception):
    """Rolls back what was tried."""


def test_journal_and_tables_tell_the_same_through_every_way_that_money_goes(
    installation: Installation, programme: Programme
) -> None:
    """Of a dead line, and of one that was stopped and has given its reserve back: tried again, paid, not owed."""
    database = installation.database
    run = a_run_with_a_case(installation)
    ticker = installation.ticker()
    ticker.work()
    ways: tuple[Callable[[Tx, Case], object], ...] = (
        lambda tx, case: retry(tx, run.id, Choice()),
        lambda tx, case: resolve_paid(tx, case.id, evidence="receipt", key_version=1),
        lambda tx, case: resolve_not_owed(tx, case.id),
    )

    for stopped in (False, True):
        if stopped:
            with database.transaction() as tx:
                retry(tx, run.id, Choice())
                cancel(tx, run.id)
            ticker.work()
        (case,) = (each for each in cases_of(database, run) if each.state == "open")
        assert (case.reason == CaseReason.STOPPED) == stopped
        for way in ways:
            with suppress(_Undone), database.transaction() as tx:
                way(tx, case)
                assert reconcile_run(tx, run.id) == []
                raise _Undone
    assert_books_agree(database)


def test_event_that_did_not_happen_is_found(installation: Installation, programme: Programme) -> None:
    """A stolen worker may write into the journal; the tables then say that it is not so."""
    run = a_credited_run(installation)
    with installation.database.reading() as tx:
        of = of_run(tx, run)
    who = {"currency": "MXN", "operator": "x"}

    def opened(reason: str) -> CaseOpened:
        return CaseOpened(
            **of, case_id=1, disbursement_id=1, amount_minor=5, currency="MXN", reason=reason, attempts=1,
            next_attempt_at="", error="",
        )  # fmt: skip

    forged: tuple[tuple[Journalled, set[str]], ...] = (
        (RunReleased(**of, planned=1, planned_minor=5, batches=1, **who), {"journal_reserved"}),
        (
            RunRetried(**of, state="released", cases=1, reserved_minor=5, batches=1, **who),
            {"journal_closed", "journal_reserved"},
        ),
        (RunCancelled(**of, cases=1, returned_minor=5, notices=0, **who), {"journal_cases", "journal_returned"}),
        (opened("dead"), {"journal_cases"}),
        (opened("stopped"), {"journal_cases", "journal_returned"}),
        (
            CaseResolved(
                **of,
                case_id=1,
                disbursement_id=1,
                reason="dead",
                outcome="not_owed",
                amount_minor=5,
                credited=0,
                credited_minor=0,
                notices=0,
                **who,
            ),
            {"journal_closed", "journal_returned"},
        ),
        (
            BatchCredited(
                **of, batch_id=1, first_id=1, last_id=1, credited=1, credited_minor=5, currency="MXN", attempt=1
            ),
            {"journal_credited", "journal_vouchers"},
        ),
        (
            FundDeposited(programme=of["programme"], fund="fund-1", amount_minor=5, balance_minor=5, **who),
            {"journal_deposited"},
        ),
    )

    for event, checks in forged:
        with suppress(_Undone), installation.database.transaction() as tx:
            append(tx, event)
            assert {each.check.partition(" ")[0] for each in reconcile(tx)} == checks, event
            raise _Undone

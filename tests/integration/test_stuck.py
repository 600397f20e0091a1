"""What goes on although something stands in its way: poison lines, cancels, blocked runs, imports beside plans."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from psycopg.errors import AdminShutdown
from sqlalchemy import Engine, event, text, update
from sqlalchemy.exc import OperationalError

from console import run as run_commands
from console.entry import translated
from console.log_totals import read_totals
from console.tables import runs_as_json
from models.deadlines import LOCK_S
from models.errors import LOCK_NOT_AVAILABLE, BooksDisagree, Exit, NoDatabase, RefusedByState, RefusedInput
from models.intake.funding import SUM_DEPOSITS
from models.intake.households import COLUMNS, FIND_SHIFTED_WINDOW, INSERT_HOUSEHOLDS, UPDATE_ENROLMENTS
from models.intake.load import load
from models.intake.report import FileReport
from models.journalled import LIST_JOURNALLED
from models.messages import CreditBatch
from models.runs import COUNT_RUNS, list_summaries
from models.states import GROUPS, BatchState, CaseReason, RunState
from models.storage import Database, Query, Tx
from models.tables import Batch, Disbursement, Notice, Programme, Run
from scheduler import retry
from scheduler.advance import block
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.close import close
from scheduler.due import NOTE_EXPECTED, journal_expected, list_places
from scheduler.follow import Chosen, Sight, look
from scheduler.pause import pause, resume
from scheduler.plan import HOLD_ENROLMENTS, INSERT_LINES, plan_slot
from scheduler.release import release
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.sweep import EXHAUSTED_MAX, sweep_exhausted
from tests.builders import (
    CITIES,
    CYCLE,
    PAYDAY,
    PLENTY_MINOR,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    fund_balance_minor,
    notices_of,
    run_again,
    vouchers_of,
    without_guards,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.integration.test_outside import work
from tests.ledger import assert_books_agree, events, exhaust, make_dead_case
from tests.races import Racer, in_transaction, until_blocked
from workers.credit import credit_batch, take_batch

pytestmark = pytest.mark.long

TIJUANA_ONLY = CITIES[:1]


@pytest.fixture
def url(postgresql_database: Database) -> str:
    """Where a second session connects."""
    return postgresql_database.url.render_as_string(hide_password=False)


def poison(database: Database, *lines: int) -> None:
    """From now on the database refuses the vouchers of these lines."""
    ids = ", ".join(map(str, lines))
    with database.transaction() as tx:
        if tx.dialect == "sqlite":
            tx.connection.execute(
                text(
                    f"CREATE TRIGGER voucher_refuses_poison BEFORE INSERT ON voucher WHEN NEW.id IN ({ids}) "
                    "BEGIN SELECT RAISE(ABORT, 'poison'); END"
                )
            )
            return
        tx.connection.execute(
            text(
                "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ "
                "BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = 'check_violation'; END $$"
            )
        )
        tx.connection.execute(
            text(
                f"CREATE TRIGGER voucher_refuses_poison BEFORE INSERT ON voucher FOR EACH ROW WHEN (NEW.id IN ({ids})) "
                "EXECUTE FUNCTION refuse_poison()"
            )
        )


def credit(database: Database, batch: Batch) -> None:
    """What a worker does with a batch."""
    lease = take_batch(database, batch.id)
    assert lease is not None
    assert credit_batch(database, lease, key_version=1) is not None


def assert_log_agrees(installation: Installation) -> None:
    """Totals from the log are totals from the database."""
    with installation.database.reading() as tx:
        summaries = list_summaries(tx, [run.id for run in tx.list(Run)])
    assert runs_as_json(read_totals([installation.settings.log]).summaries) == runs_as_json(summaries)


def test_poison_lines_of_a_run_that_succeeds_between_do_not_pause_it(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 24, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=4)
    bad = [batch.first_id + 1 for batch in batches_of(database, run)[1:6:2]]
    assert len(bad) == EXHAUSTED_MAX
    poison(database, *bad)

    work(installation, run, rounds=4)  # it sets failures a minute back: what succeeds now succeeds after them

    assert events(database, "run.paused") == []
    assert [(case.disbursement_id, case.reason) for case in cases_of(database, run)] == [
        (line, CaseReason.DEAD) for line in bad
    ]
    assert len(vouchers_of(database, run)) == 21
    assert run_again(database, run).state == RunState.COMPLETED_WITH_CASES
    assert_books_agree(database)


def test_run_that_fails_after_a_success_is_paused_and_nothing_of_it_is_split(installation: Installation) -> None:
    """One success does not excuse what fails after it."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 24, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=4)
    first, *others = batches_of(database, run)
    installation.receive(CreditBatch(first.id))
    poison(database, *range(others[0].first_id, others[-1].last_id + 1))

    for _ in range(2):
        with database.transaction() as tx:
            tx.connection.execute(update(Batch).where(Batch.state == "open").values(next_attempt_at=tx.now))  # type: ignore[arg-type]
        for batch in others:
            installation.receive(CreditBatch(batch.id))
    installation.ticker().work()

    assert run_again(database, run).state == RunState.PAUSED
    assert events(database, "batch.split") == []
    assert cases_of(database, run) == []


def test_run_of_which_nothing_succeeds_is_paused_once_and_split_once_a_person_resumed_it(
    installation: Installation,
) -> None:
    """Three families whose lines fail must not stop the others for ever."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 12, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=4)
    bad = [batch.first_id + 1 for batch in batches_of(database, run)]
    poison(database, *bad)
    work(installation, run, rounds=3)
    assert run_again(database, run).state == RunState.PAUSED
    assert {batch.state for batch in batches_of(database, run)} == {BatchState.PAUSED}

    with database.transaction() as tx:
        resume(tx, run.id)
    work(installation, run, rounds=4)

    assert [paused["operator"] for paused in events(database, "run.paused")] == ["sweep"]
    assert len(vouchers_of(database, run)) == 9
    assert [case.disbursement_id for case in cases_of(database, run)] == bad
    assert run_again(database, run).state == RunState.COMPLETED_WITH_CASES
    assert_books_agree(database)


def paused_and_resumed(tx: Tx, run_id: int) -> None:
    """A person looks."""
    pause(tx, run_id, reason="test")
    resume(tx, run_id)


def retried(tx: Tx, run_id: int) -> None:
    """All of the run's cases are covered anew."""
    assert retry.retry(tx, run_id, retry.Choice()).cases == EXHAUSTED_MAX - 1


@pytest.mark.parametrize("look_at", [paused_and_resumed, retried])
def test_batches_that_ended_before_a_person_looked_are_not_counted_again(
    database: Database, look_at: Callable[[Tx, int], None]
) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    for _ in range(EXHAUSTED_MAX - 1):
        make_dead_case(database, run)
    with database.transaction() as tx:
        look_at(tx, run.id)
    exhaust(database, batches_of(database, run)[-1])

    with database.transaction() as tx:
        ended = sweep_exhausted(tx, run.id)

    assert ended == 1
    assert run_again(database, run).state == RunState.RELEASED
    assert_books_agree(database)


def test_stores_of_a_cancelled_run_are_told_what_was_credited_once_it_is_settled(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database, stores=2)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))
    with database.transaction() as tx:
        cancel(tx, run.id)
    assert notices_of(database, run) == []

    installation.ticker().work()
    installation.ticker().work()

    assert [(notice.number, notice.vouchers) for notice in notices_of(database, run)] == [(1, 10), (1, 10)]
    assert [cancelled["notices"] for cancelled in events(database, "run.cancelled")] == [2]
    assert_log_agrees(installation)
    assert_books_agree(database)


def test_stores_of_a_cancelled_run_are_told_of_a_case_that_a_person_found_paid(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))
    with database.transaction() as tx:
        cancel(tx, run.id)
    installation.ticker().work()
    paid, *others = cases_of(database, run)

    with database.transaction() as tx:
        resolve_paid(tx, paid.id, evidence="receipt 7", key_version=1)
    for case in others:
        with database.transaction() as tx:
            resolve_not_owed(tx, case.id)
    installation.ticker().work()

    assert [(notice.number, notice.vouchers) for notice in notices_of(database, run)] == [(1, 10), (2, 11)]
    assert_log_agrees(installation)
    assert_books_agree(database)


def test_pause_by_a_person_before_anything_failed_does_not_switch_the_guard_off(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        pause(tx, run.id, reason="asked")
    with database.transaction() as tx:
        resume(tx, run.id)
    for batch in batches_of(database, run):
        exhaust(database, batch)

    with database.transaction() as tx:
        assert sweep_exhausted(tx, run.id) == 0

    assert run_again(database, run).state == RunState.PAUSED


def test_nobody_is_told_of_a_cancelled_run_that_credited_nothing(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database, stores=2)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        cancel(tx, run.id)

    installation.ticker().work()

    assert notices_of(database, run) == []
    assert [(cancelled["cases"], cancelled["notices"]) for cancelled in events(database, "run.cancelled")] == [(10, 0)]
    assert_log_agrees(installation)


def test_stores_are_told_of_a_case_that_was_paid_although_the_last_one_was_not_owed(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    for _ in range(2):
        make_dead_case(database, run)
    with database.transaction() as tx:
        assert close(tx, run.id)
    paid, not_owed = cases_of(database, run)

    with database.transaction() as tx:
        resolve_paid(tx, paid.id, evidence="receipt 17", key_version=1)
    told_at_once = [(notice.number, notice.vouchers) for notice in notices_of(database, run)]
    with database.transaction() as tx:
        resolve_not_owed(tx, not_owed.id)

    assert run_again(database, run).state == RunState.COMPLETED
    assert told_at_once == [(1, 0), (2, 1)]  # the last case may stay open for long
    assert len(notices_of(database, run)) == 2
    assert [completed["notices"] for completed in events(database, "run.completed")] == [1, 0]
    assert [resolved["notices"] for resolved in events(database, "case.resolved")] == [1, 0]
    assert_books_agree(database)


def test_close_with_the_counts_of_the_last_notice_tells_nobody(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    credit(database, batches_of(database, run)[0])
    make_dead_case(database, run)
    with database.transaction() as tx:
        assert close(tx, run.id)
        retry.retry(tx, run.id, retry.Choice())
    make_dead_case(database, run)

    with database.transaction() as tx:
        assert close(tx, run.id)

    assert [(notice.number, notice.vouchers) for notice in notices_of(database, run)] == [(1, 1)]
    assert [completed["notices"] for completed in events(database, "run.completed")] == [1, 0]


def test_run_whose_lines_are_not_those_approved_is_blocked_and_settled(installation: Installation) -> None:
    """Otherwise a command that follows it would wait for six hours."""
    database = installation.database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
        with without_guards(tx, "disbursement"):
            tx.connection.execute(text("DELETE FROM disbursement WHERE id = :id"), {"id": run.id * 10_000_000 + 3})

    errors = [type(error) for _ in range(2) for error in installation.ticker().tick().errors]

    assert errors == [BooksDisagree, BooksDisagree]
    assert run_again(database, run).blocked.startswith("books: ")
    assert [blocked["blocked"] for blocked in events(database, "run.blocked")] == [run_again(database, run).blocked]
    assert look(database, Chosen(), since=PAYDAY, now=PAYDAY, embedded=not installation.distributed).settled
    assert fund_balance_minor(database, programme) == PLENTY_MINOR


def test_run_that_another_ticker_released_is_not_marked_as_blocked(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_released_run(database, programme)

    with database.transaction() as tx:
        block(tx, run, "funds")

    assert run_again(database, run) == run
    assert events(database, "run.blocked") == []


def test_two_tickers_journal_an_expected_slot_once(postgresql_database: Database, url: str) -> None:
    database = postgresql_database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 3, location=TIJUANA)
    week_before = datetime(2026, 11, 25, 20, tzinfo=UTC)
    action = in_transaction(lambda tx: journal_expected(tx, list_places(tx), now=week_before))

    first = Racer(url, action, stop_after=NOTE_EXPECTED).start()
    second = Racer(url, action).start()
    until_blocked(database)

    assert (first.finish(), second.finish()) == (1, 0)
    assert [expected["families"] for expected in events(database, "slot.expected")] == [3]


def importing(path: Path) -> Callable[[Database], list[FileReport]]:
    """As the command does."""
    return lambda database: load(database, path, programme=None, dry_run=False, show=lambda _: None)


def shifted_window(folder: Path) -> Path:
    """The first family of Tijuana, a month later."""
    path = folder / "households.csv"
    path.write_text(f"{','.join(COLUMNS)}\nR-{TIJUANA}-0000000,{TIJUANA},1,{GROUPS[0]},{CYCLE.next()},3,active\n")
    return path


def planning(programme: Programme) -> Callable[[Database], Run]:
    """The first run of Tijuana."""
    return in_transaction(
        lambda tx: plan_slot(tx, programme, location_code=TIJUANA, cycle=CYCLE, now=PAYDAY, batch_lines=10, part=1).run
    )


@pytest.mark.parametrize("stop_after", [FIND_SHIFTED_WINDOW, UPDATE_ENROLMENTS], ids=lambda query: query.name)
def test_plan_is_refused_at_once_while_an_import_applies_families(
    postgresql_database: Database, url: str, tmp_path: Path, stop_after: Query
) -> None:
    """A line of the old window and the months of the new one would be a month too many."""
    database = postgresql_database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 3, location=TIJUANA)
    session = Racer(url, importing(shifted_window(tmp_path)), stop_after=stop_after).start()
    began = monotonic()

    with pytest.raises(RefusedByState, match="is being imported"):
        planning(programme)(database)

    assert monotonic() - began < LOCK_S / 2
    assert session.finish()[0].changed == 1
    assert planning(programme)(database).lines == 2


def test_import_waits_for_a_plan_that_has_begun_and_then_shifts_no_window(
    postgresql_database: Database, url: str, tmp_path: Path
) -> None:
    database = postgresql_database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 3, location=TIJUANA)

    plan = Racer(url, planning(programme), stop_after=INSERT_LINES).start()
    session = Racer(url, importing(shifted_window(tmp_path))).start()
    until_blocked(database)
    assert plan.finish().lines == 3
    with pytest.raises(RefusedInput, match="the months of a family are fixed"):
        session.finish()

    with database.reading() as tx:
        assert len(tx.list(Disbursement)) == 3


def funds_file(folder: Path, given_minor: int) -> Path:
    """All that the first donor ever gave."""
    path = folder / "funds.csv"
    path.write_text(f"code,donor,currency,amount\nfund-1,Donor 1,MXN,{plain_amount(given_minor)}\n")
    return path


def plain_amount(minor: int) -> str:
    """As a file has it."""
    return f"{minor // 100}.{minor % 100:02}"


@pytest.mark.parametrize("more_minor", [0, 123_45], ids=["unchanged", "more money"])
@pytest.mark.parametrize("stop_after", [INSERT_HOUSEHOLDS, SUM_DEPOSITS], ids=lambda query: query.name)
def test_release_goes_through_while_an_import_has_not_yet_given_money(
    postgresql_database: Database, url: str, tmp_path: Path, stop_after: Query, more_minor: int
) -> None:
    """A million families are applied for minutes: no run may wait for them."""
    database = postgresql_database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 3, location=TIJUANA)
    run = a_planned_run(database, programme)
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
    (tmp_path / "households.csv").write_text(
        f"{','.join(COLUMNS)}\nNEW-1,{TIJUANA},1,{GROUPS[0]},{CYCLE.next()},3,active\n"
    )
    funds_file(tmp_path, PLENTY_MINOR + more_minor)
    session = Racer(url, importing(tmp_path), stop_after=stop_after).start()

    with database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)

    assert run_again(database, run).state == RunState.RELEASED
    assert sum(report.added for report in session.finish()) == 1
    left_minor = PLENTY_MINOR + more_minor - run.planned_minor
    assert fund_balance_minor(database, programme) == left_minor
    first_minor, *later = [given["balance_minor"] for given in events(database, "fund.deposited")]
    assert (first_minor, later) == (PLENTY_MINOR, [left_minor] * bool(more_minor))
    assert_books_agree(database)


def test_two_imports_of_the_same_money_deposit_it_once(postgresql_database: Database, url: str, tmp_path: Path) -> None:
    """Each looks before it holds the fund, and again afterwards."""
    database = postgresql_database
    programme = a_programme(database)
    path = funds_file(tmp_path, PLENTY_MINOR + 100)

    first = Racer(url, importing(path), stop_after=SUM_DEPOSITS).start()
    second = importing(path)(database)
    reports = [*first.finish(), *second]

    assert sorted(report.changed for report in reports) == [0, 1]
    assert fund_balance_minor(database, programme) == PLENTY_MINOR + 100
    assert_books_agree(database)


@contextmanager
def once_after(query: Query, action: Callable[[], object]) -> Iterator[list[object]]:
    """Right after a named query of any session, another session acts. Yields what it came to."""
    came_to: list[object] = []
    began: list[bool] = []

    def look_at(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"-- {query.name}:" in statement and not began:
            began.append(True)
            came_to.append(action())

    event.listen(Engine, "after_cursor_execute", look_at)
    try:
        yield came_to
    finally:
        event.remove(Engine, "after_cursor_execute", look_at)


def test_reconcile_sees_one_instant_while_a_batch_is_credited(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is read before the vouchers: a credit between the two is no difference."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    first, second = batches_of(database, run)
    credit(database, first)
    commands = CommandLine(monkeypatch, installation.environment)

    with once_after(LIST_JOURNALLED.of_all, lambda: credit(database, second)) as credited:
        outcome = commands.run(run_commands.app, "reconcile", "--json")

    assert credited == [None]
    assert len(vouchers_of(database, run)) == 20
    assert (outcome.code, outcome.json["differences"]) == (Exit.DONE, [])


def test_lock_that_is_not_to_be_had_is_a_refusal_and_no_missing_database(postgresql_database: Database) -> None:
    programme = a_programme(postgresql_database)
    with postgresql_database.transaction() as holder:
        holder.get(Programme, Programme.id == programme.id, lock=True)
        with pytest.raises(OperationalError) as met, postgresql_database.transaction() as tx:
            tx.one(HOLD_ENROLMENTS, programme_id=programme.id)
    assert getattr(met.value.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE

    told = translated(met.value)

    assert (type(told), told.exit_code) == (RefusedByState, Exit.FAILED)
    assert type(translated(OperationalError("", {}, AdminShutdown()))) is NoDatabase


CLOSE_MORE = Query("""
-- close_cases: and one that was not covered
UPDATE cases SET state = 'closed', outcome = 'retried', closed_at = :now, closed_by = :closed_by
WHERE run_id = :run_id AND state = 'open' AND id IN (:case_id, :case_id + 1)
""")
CLOSE_FEWER = Query("""
-- close_cases: none of what was covered
UPDATE cases SET state = 'closed', outcome = 'retried', closed_at = :now, closed_by = :closed_by
WHERE run_id = :run_id AND state = 'open' AND id < 0
""")


@pytest.mark.parametrize("close_cases", [CLOSE_MORE, CLOSE_FEWER], ids=["more", "fewer"])
def test_retry_that_closes_other_cases_than_it_covers_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, close_cases: Query
) -> None:
    """A line whose case is closed and that no batch covers would be forgotten."""
    programme = a_programme(database)
    families(database, programme, 3, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    with database.transaction() as tx:
        cancel(tx, run.id)
        assert settle_cancelled(tx, run.id)
    before = run_again(database, run), cases_of(database, run), batches_of(database, run)
    monkeypatch.setattr(retry, "CLOSE_CASES", close_cases)

    with pytest.raises(RefusedByState, match="changed while they were being retried"), database.transaction() as tx:
        retry.retry(tx, run.id, retry.Choice(case_id=before[1][0].id))

    assert (run_again(database, run), cases_of(database, run), batches_of(database, run)) == before
    assert fund_balance_minor(database, programme) == PLENTY_MINOR
    assert events(database, "run.retried") == []
    assert_books_agree(database)


def test_run_that_is_followed_is_settled_only_with_the_counts_that_are_shown(installation: Installation) -> None:
    """A store that is told between the counts and the look for untried notices is not left out of the counts."""
    database = installation.database
    programme = a_programme(database, cities=TIJUANA_ONLY)
    families(database, programme, 5, location=TIJUANA)
    run = a_released_run(database, programme)
    for batch in batches_of(database, run):
        credit(database, batch)
    with database.transaction() as tx:
        assert close(tx, run.id)
    assert len(notices_of(database, run)) == 1

    def tell() -> None:
        with database.transaction() as tx:
            tx.connection.execute(update(Notice).values(state="delivered", tried_at=PAYDAY))

    def seen() -> Sight:
        return look(database, Chosen(), since=datetime.min.replace(tzinfo=UTC), now=PAYDAY, embedded=False)

    with once_after(COUNT_RUNS, tell) as came_to:
        before = seen()
    after = seen()

    assert came_to == [None]
    assert (before.runs[0].counts.notices_delivered, before.settled) == (0, False)
    assert (after.runs[0].counts.notices_delivered, after.settled) == (1, True)

"""Promise 6: as of a place in the log, totals from its lines equal totals from the database, to the centavo."""

import gzip
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from console import logs
from console.dashboard.board import Board
from console.dashboard.told import RunTold
from console.log_files import working
from console.log_totals import COLUMNS, NEEDED, read_totals
from console.log_verify import compare, verify
from console.tables import runs_as_json
from models.columns import instant_text
from models.errors import BooksDisagree, DespensaError, Exit, RefusedInput
from models.events import CATALOGUE, Journalled
from models.journal import GENESIS, hash_of_line
from models.keys import init_keys, load_keys
from models.log import Log
from models.runs import RunSummary, list_summaries
from models.storage import Database
from models.tables import Case, Disbursement, JournalHead, Programme, Run
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.close import close
from scheduler.compare import compare_again, compare_close
from scheduler.discard import discard
from scheduler.notices import resend
from scheduler.pause import pause, resume
from scheduler.release import release
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.retry import Choice, retry
from scheduler.seal import emit, emit_again, seal
from tests.builders import (
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    notices_of,
)
from tests.ledger import expire_stamps, make_dead_case
from workers.credit import credit_batch, take_batch
from workers.notify import settle_notice, take_notice
from workers.stores.webhook import Delivered, Gone

pytestmark = pytest.mark.long

Line = dict[str, int | str | bool | None]


@dataclass
class Books:
    """A database, its log, and what happens to both."""

    database: Database
    log: Log
    path: Path
    keys: Path

    def credit(self, run: Run, *, batches: int = 1_000) -> None:
        """What workers do with a run's open batches."""
        expire_stamps(self.database)
        open_batches = [each for each in batches_of(self.database, run) if each.state == "open"]
        for batch in open_batches[:batches]:
            lease = take_batch(self.database, batch.id)
            assert lease is not None
            assert credit_batch(self.database, lease, key_version=1) is not None

    def close(self, run: Run) -> None:
        """No batch is open."""
        with self.database.transaction() as tx:
            assert close(tx, run.id)

    def answer(self, run: Run, answer: Delivered | Gone, *, notices: int = 1_000) -> None:
        """What stores say to a run's due notices."""
        expire_stamps(self.database)
        due = [each for each in notices_of(self.database, run) if each.state == "due"]
        for notice in due[:notices]:
            taken = take_notice(self.database, notice.id, keys=load_keys(self.keys, "webhook"))
            assert taken is not None
            settle_notice(self.database, notice.id, taken, answer)

    def cancel(self, run: Run) -> None:
        """And turn what is left into cases."""
        with self.database.transaction() as tx:
            cancel(tx, run.id)
        with self.database.transaction() as tx:
            assert settle_cancelled(tx, run.id)

    def retry(self, run: Run, choice: Choice | None = None) -> None:
        """Cover open cases with new batches."""
        with self.database.transaction() as tx:
            assert retry(tx, run.id, choice or Choice()).cases > 0

    def resolve(self, run: Run, *, paid: bool) -> None:
        """A person closes the run's first open case."""
        case = next(each for each in cases_of(self.database, run) if each.state == "open")
        with self.database.transaction() as tx:
            if paid:
                resolve_paid(tx, case.id, evidence="receipt 1", key_version=1)
            else:
                resolve_not_owed(tx, case.id)

    def summaries(self) -> list[RunSummary]:
        """As `run status` has them."""
        with self.database.reading() as tx:
            return list_summaries(tx, [run.id for run in tx.list(Run)])

    def assert_equal(self) -> None:
        """Seal and emit all there is, and hold the log against the database."""
        while seal(self.database):
            pass
        emit(self.database, self.log)
        found = read_totals([self.path])
        with self.database.reading() as tx:
            head = tx.get(JournalHead)
            faults = verify([self.path])
            assert compare(tx, faults) == 0
        assert faults.faults == []
        assert found.as_of_seq == head.seq
        assert runs_as_json(found.summaries) == runs_as_json(self.summaries())
        # None of what goes on or was not compared yet, which --json leaves out like none.
        assert [each.differences for each in found.summaries] == [each.differences for each in self.summaries()]
        self.assert_board_is_equal(head.seq)

    def assert_board_is_equal(self, seq: int) -> None:
        """The dashboard's reading of the same lines: counts, and which cases are open."""
        board = Board([self.path])
        board.catch_up()
        assert (board.chain.to_seq, board.chain.gaps(), board.chain.faults()) == (seq, [], [])
        shown = sorted((_counts_shown(run) for run in board.told.runs.values()), key=str)
        assert shown == sorted((_counts_kept(summary) for summary in self.summaries()), key=str)
        with self.database.reading() as tx:
            kept = [(case.run_id, case.disbursement_id, case.id) for case in tx.list(Case, Case.state == "open")]
        runs = board.told.runs.values()
        named = [(run.run_id, line, case.case_id) for run in runs for line, case in run.cases.items()]
        assert set(named) <= set(kept)
        assert len(named) + sum(run.stopped.count for run in runs) == len(kept)
        assert self._open_minor() == sum(
            sum(case.amount_minor for case in run.cases.values()) + run.stopped.amount_minor for run in runs
        )

    def _open_minor(self) -> int:
        with self.database.reading() as tx:
            open_ = [case.disbursement_id for case in tx.list(Case, Case.state == "open")]
            return sum(line.amount_minor for line in tx.list(Disbursement) if line.id in open_)

    def lines(self) -> list[Line]:
        """Of the log so far."""
        return [orjson.loads(text) for text in self.path.read_bytes().splitlines()]


def _counts_shown(run: RunTold) -> tuple[object, ...]:
    states = Counter(notice.state for notice in run.notices.values())
    return (
        run.run, run.state, run.late, run.planned, run.planned_minor, run.credited, run.credited_minor,
        run.open_cases, run.not_owed, states["due"], states["delivered"], states["undelivered"],
    )  # fmt: skip


def _counts_kept(summary: RunSummary) -> tuple[object, ...]:
    counts = summary.counts
    return (
        summary.run, summary.state, summary.late, counts.planned, counts.planned_minor, counts.credited,
        counts.credited_minor, counts.cases, counts.not_owed, counts.notices_due, counts.notices_delivered,
        counts.notices_undelivered,
    )  # fmt: skip


@pytest.fixture
def books(database: Database, tmp_path: Path) -> Iterator[Books]:
    """Nothing has happened yet."""
    init_keys(tmp_path / "keys")
    path = tmp_path / "log" / "despensa.jsonl"
    with Log.to_file(path, "despensa") as log:
        yield Books(database, log, path, tmp_path / "keys")


def a_finished_month(books: Books) -> Run:
    """A run of thirty lines in three batches, credited, with one notice delivered and one due."""
    programme = a_programme(books.database, stores=2)
    families(books.database, programme, 30, location=TIJUANA)
    run = a_released_run(books.database, programme)
    books.credit(run)
    books.close(run)
    books.answer(run, Delivered(), notices=1)
    books.assert_equal()
    return run


def rewrite(books: Books, change: Callable[[list[Line]], object]) -> Path:
    """The log once more, with something changed, in another file."""
    lines = books.lines()
    change(lines)
    path = books.path.with_name("changed.jsonl")
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def line_of(lines: list[Line], event: str) -> Line:
    """The first of this event."""
    return next(line for line in lines if line["event"] == event)


def test_every_step_of_a_plain_month_is_equal(books: Books) -> None:
    programme = a_programme(books.database, stores=2)
    families(books.database, programme, 30, location=TIJUANA)
    run = a_planned_run(books.database, programme, now=PAYDAY + timedelta(days=5))
    books.assert_equal()
    with books.database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == ""
    books.assert_equal()
    with books.database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)
    books.assert_equal()
    books.credit(run, batches=1)
    books.assert_equal()
    with books.database.transaction() as tx:
        pause(tx, run.id, reason="test")
    books.assert_equal()
    with books.database.transaction() as tx:
        resume(tx, run.id)
    books.assert_equal()
    books.credit(run)
    books.assert_equal()
    books.close(run)
    books.assert_equal()

    summary = books.summaries()[0]
    assert (summary.state, summary.late, summary.counts.credited, summary.counts.notices_due) == (
        "completed",
        True,
        30,
        2,
    )


def test_notices_are_equal_while_stores_answer_refuse_and_are_told_again(books: Books) -> None:
    run = a_finished_month(books)

    books.answer(run, Gone("410"))
    books.assert_equal()
    assert books.summaries()[0].counts.notices_undelivered == 1
    undelivered = next(each for each in notices_of(books.database, run) if each.state == "undelivered")
    with books.database.transaction() as tx:
        assert resend(tx, undelivered.store_id) == 1
    books.assert_equal()
    assert books.summaries()[0].counts.notices_due == 1
    books.answer(run, Delivered())
    books.assert_equal()

    counts = books.summaries()[0].counts
    assert (counts.notices_due, counts.notices_delivered, counts.notices_undelivered) == (0, 2, 0)


def test_discarded_run_is_absent_and_its_second_plan_is_there(books: Books) -> None:
    programme = a_programme(books.database)
    families(books.database, programme, 3, location=NOGALES)
    wrong = a_planned_run(books.database, programme, location=NOGALES)
    with books.database.transaction() as tx:
        discard(tx, wrong.id)
    books.assert_equal()
    assert read_totals([books.path]).summaries == []

    families(books.database, programme, 2, location=NOGALES, prefix="S")
    a_planned_run(books.database, programme, location=NOGALES)

    books.assert_equal()
    assert [each.counts.planned for each in books.summaries()] == [5]


def test_cases_retries_and_a_second_notice_are_equal(books: Books) -> None:
    """A dead line, retried once its run was completed: the second close tells every store again."""
    programme = a_programme(books.database, stores=2)
    families(books.database, programme, 4, location=TIJUANA)
    run = a_released_run(books.database, programme, batch_lines=1)
    make_dead_case(books.database, run)
    books.assert_equal()
    books.credit(run, batches=2)
    make_dead_case(books.database, run)
    books.assert_equal()
    books.close(run)
    books.answer(run, Delivered(), notices=1)
    books.assert_equal()
    assert books.summaries()[0].state == "completed_with_cases"
    books.retry(run, Choice(case_id=cases_of(books.database, run)[0].id))
    books.assert_equal()
    books.credit(run)
    books.close(run)
    books.assert_equal()
    books.resolve(run, paid=True)
    books.assert_equal()

    summary = books.summaries()[0]
    assert (summary.state, summary.counts.credited, summary.counts.cases) == ("completed", 4, 0)
    assert (summary.counts.notices_due, summary.counts.notices_delivered) == (5, 1)


def test_cancelled_resolved_and_retried_run_is_equal(books: Books) -> None:
    programme = a_programme(books.database)
    families(books.database, programme, 30, location=TIJUANA)
    run = a_released_run(books.database, programme)
    books.credit(run, batches=1)
    books.cancel(run)
    books.assert_equal()
    assert (books.summaries()[0].state, books.summaries()[0].counts.cases) == ("cancelled", 20)
    books.resolve(run, paid=True)
    books.assert_equal()
    books.resolve(run, paid=False)
    books.assert_equal()
    books.retry(run)
    books.assert_equal()
    books.credit(run, batches=1)
    books.cancel(run)
    books.assert_equal()
    books.retry(run)
    books.credit(run)
    books.close(run)
    books.assert_equal()

    summary = books.summaries()[0]
    counts = summary.counts
    assert (summary.state, counts.planned, counts.credited, counts.not_owed) == ("completed", 30, 29, 1)


def test_what_happens_several_times_to_one_run_is_counted_each_time(books: Books) -> None:
    """Lines are counted together that say the same of a run."""
    programme = a_programme(books.database, stores=3)
    families(books.database, programme, 30, location=TIJUANA)
    run = a_released_run(books.database, programme)
    books.credit(run)
    books.close(run)
    books.answer(run, Gone("410"))
    books.assert_equal()
    assert books.summaries()[0].counts.notices_undelivered == 3
    for notice in notices_of(books.database, run)[:2]:
        with books.database.transaction() as tx:
            assert resend(tx, notice.store_id) == 1
    books.assert_equal()
    assert (books.summaries()[0].counts.notices_due, books.summaries()[0].counts.notices_undelivered) == (2, 1)

    families(books.database, programme, 30, location=NOGALES, prefix="S")
    cancelled = a_released_run(books.database, programme, location=NOGALES)
    books.credit(cancelled, batches=1)
    books.cancel(cancelled)
    for paid in (True, True, False, False, False):
        books.resolve(cancelled, paid=paid)
    books.assert_equal()

    counts = next(each for each in books.summaries() if each.state == "cancelled").counts
    assert (counts.credited, counts.cases, counts.not_owed) == (12, 15, 3)


def test_run_that_is_being_cancelled_is_equal_while_a_worker_holds_a_batch(books: Books) -> None:
    programme = a_programme(books.database)
    families(books.database, programme, 10, location=TIJUANA)
    run = a_released_run(books.database, programme)
    assert take_batch(books.database, batches_of(books.database, run)[0].id) is not None
    with books.database.transaction() as tx:
        cancel(tx, run.id)

    books.assert_equal()

    assert books.summaries()[0].state == "cancelled"


def test_parts_and_programmes_are_kept_apart(books: Books) -> None:
    first = a_programme(books.database, code="alpha")
    second = a_programme(books.database, code="beta")
    families(books.database, first, 5, location=TIJUANA)
    families(books.database, second, 7, location=TIJUANA, prefix="S")
    for programme in (first, second):
        books.credit(a_released_run(books.database, programme))
    families(books.database, first, 2, location=TIJUANA, prefix="T")
    a_planned_run(books.database, first, part=None, now=PAYDAY + timedelta(days=2))

    books.assert_equal()

    found = {(each.programme, each.run): each.counts.planned for each in read_totals([books.path]).summaries}
    assert found == {("alpha", "2026-12/02004"): 5, ("beta", "2026-12/02004"): 7, ("alpha", "2026-12/02004.2"): 2}


def test_files_in_any_order_packed_and_with_repeated_lines_say_the_same(books: Books) -> None:
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    oldest = books.path.with_name("log[1]*.jsonl.2.gz")
    oldest.write_bytes(gzip.compress(b"".join(content[:2])) + gzip.compress(content[2]))
    # What the name above would mean if it were taken for a pattern.
    books.path.with_name("log1.jsonl.2.gz").write_bytes(gzip.compress(b'{"event":"a","seq":9000}\n'))
    middle = books.path.with_name("despensa.jsonl.1")
    middle.write_bytes(b"".join(content[2:6]))
    newest = books.path.with_name("newest")
    newest.write_bytes(content[-1] + b"\n" + b"".join(content[4:]))

    for order in itertools.permutations([oldest, middle, newest]):
        found = read_totals(order)
        assert runs_as_json(found.summaries) == runs_as_json(books.summaries())
        assert (found.from_seq, found.as_of_seq) == (1, len(content))


def test_plain_and_packed_files_without_a_repeated_line_add_up(books: Books) -> None:
    """Nothing is repeated, so nothing is kept: what each kind of file comes to must be added."""
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    packed, plain = books.path.with_name("older.gz"), books.path.with_name("newer")

    for cut in range(1, len(content)):
        packed.write_bytes(gzip.compress(b"".join(content[:cut])))
        plain.write_bytes(b"".join(content[cut:]))
        found = read_totals([plain, packed])
        assert runs_as_json(found.summaries) == runs_as_json(books.summaries())
        assert (found.from_seq, found.as_of_seq, found.repeated) == (1, len(content), 0)


def test_log_that_grows_while_it_is_read_twice_is_told_as_of_the_second_time(books: Books) -> None:
    """Where a line is repeated, the files are read again: the place must be that of what was counted."""
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    growing = _Growing(books.path.with_name("growing"))
    Path(growing).write_bytes(b"".join([*content[:3], content[0]]))
    growing.later = b"".join([*content[3:], content[1]])

    found = read_totals([growing])

    assert growing.later == b""
    assert runs_as_json(found.summaries) == runs_as_json(books.summaries())
    assert (found.from_seq, found.as_of_seq, found.repeated) == (1, len(content), 2)


def test_line_that_is_torn_at_the_second_reading_is_told(books: Books) -> None:
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    growing = _Growing(books.path.with_name("growing"))
    Path(growing).write_bytes(b"".join([*content[:-1], content[0]]))
    growing.later = content[-1][:-20]

    assert len(read_totals([growing]).torn) == 1


def test_log_that_is_rotated_between_the_two_readings_is_no_short_log(books: Books) -> None:
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    rotated = _Growing(books.path.with_name("rotated"))
    Path(rotated).write_bytes(b"".join([*content, content[0]]))
    rotated.later, rotated.mode = b"".join(content[:3]), "wb"

    with pytest.raises(DespensaError, match="rotated while they were read"):
        read_totals([rotated])


class _Growing(type(Path())):  # type: ignore[misc]  # the class of this system's paths
    """A file that has grown once it is opened a second time, or is another one."""

    later = b""
    mode = "ab"
    opened = 0

    def open(self, *arguments: Any, **named: Any) -> Any:
        """As a path does."""
        self.opened += 1
        if self.opened == 2:
            content, self.later = self.later, b""
            with Path(self).open(self.mode) as file:
                file.write(content)
        return Path(self).open(*arguments, **named)


def test_line_of_another_writer_is_the_same_line(books: Books) -> None:
    """`logs emit` on another host, or an upgraded scheduler, writes other service fields."""
    a_finished_month(books)

    def again(lines: list[Line]) -> None:
        lines += [
            {**line, "service.name": "other", "service.version": "9", "service.instance.id": "b:2"} for line in lines
        ]

    found = read_totals([rewrite(books, again)])

    assert runs_as_json(found.summaries) == runs_as_json(books.summaries())


def test_empty_log_has_no_runs(books: Books) -> None:
    books.assert_equal()

    assert read_totals([books.path]).as_of_seq == 0


def test_changed_amount_makes_log_and_database_differ(books: Books) -> None:
    """Totals are taken from the lines and nothing else; `logs verify` says which line."""
    a_finished_month(books)

    def change(lines: list[Line]) -> None:
        line = line_of(lines, "batch.credited")
        line["credited_minor"] = int(line["credited_minor"] or 0) + 1

    path = rewrite(books, change)

    assert runs_as_json(read_totals([path]).summaries) != runs_as_json(books.summaries())
    assert [fault.seq for fault in verify([path]).faults] == [5]


def test_repeated_seq_with_another_hash_is_refused(books: Books) -> None:
    a_finished_month(books)
    path = rewrite(books, lambda lines: lines[3].update(hash="f" * 64))

    with pytest.raises(BooksDisagree, match=r"seq 4 is there twice, with different hashes") as raised:
        read_totals([books.path, path])

    assert raised.value.exit_code == Exit.BOOKS_DISAGREE


def test_repeated_seq_with_one_hash_and_another_amount_is_refused(books: Books) -> None:
    """Otherwise the order of the files would decide which amount counts."""
    a_finished_month(books)
    path = rewrite(books, lambda lines: lines[3].update(credited_minor=1))

    with pytest.raises(BooksDisagree, match=r"seq 4 is there twice, with one hash and different fields"):
        read_totals([books.path, path])


def test_missing_lines_are_refused_and_named(books: Books) -> None:
    a_finished_month(books)

    def drop(lines: list[Line]) -> None:
        del lines[6]
        del lines[2:4]

    with pytest.raises(DespensaError, match=r"lines are missing: seq 3 to 4, 7$") as raised:
        read_totals([rewrite(books, drop)])

    assert raised.value.exit_code == Exit.FAILED
    assert raised.value.hint is not None
    assert "logs emit --from 3 --to 4" in raised.value.hint


def test_files_that_begin_after_the_plan_of_a_run_are_refused(books: Books) -> None:
    a_finished_month(books)

    def drop(lines: list[Line]) -> None:
        del lines[:2]  # the fund's deposit, and the plan

    with pytest.raises(DespensaError, match=r"begin at seq 3, after the plan of 1 of their runs: 2026-12/02004"):
        read_totals([rewrite(books, drop)])


def test_run_that_disagrees_is_told_until_it_agrees_or_goes_on(books: Books) -> None:
    run = a_finished_month(books)
    with books.database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor + 1"))

    assert compare_close(books.database, run.id)
    books.assert_equal()
    disagreeing = [each.differences for each in read_totals([books.path]).summaries]
    with books.database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor - 1"))
        compare_again(tx)
    assert compare_close(books.database, run.id)
    books.assert_equal()

    assert disagreeing != [0]
    assert [each.differences for each in read_totals([books.path]).summaries] == [0]


def test_files_that_begin_between_two_months_count_what_they_hold_whole(books: Books) -> None:
    a_finished_month(books)
    begun = len(books.lines())
    with books.database.reading() as tx:
        programme = tx.get(Programme)
    families(books.database, programme, 4, location=NOGALES)
    books.credit(a_released_run(books.database, programme, location=NOGALES))
    books.assert_equal()

    def drop(lines: list[Line]) -> None:
        del lines[:begun]

    found = read_totals([rewrite(books, drop)])

    assert found.from_seq == begun + 1
    assert [each.run for each in found.summaries] == ["2026-12/26043"]


def test_torn_last_line_is_passed_over(books: Books) -> None:
    run = a_finished_month(books)
    before = runs_as_json(books.summaries())
    whole = books.path.read_bytes()
    books.answer(run, Gone("410"))
    books.assert_equal()
    torn = books.path.with_name("torn.jsonl")
    torn.write_bytes(books.path.read_bytes()[: len(whole) + 50])

    found = read_totals([torn])

    assert runs_as_json(found.summaries) == before
    assert [(place.path, place.number) for place in found.torn] == [(torn, len(whole.splitlines()) + 1)]


@pytest.mark.parametrize("torn", [b'{"seq":3,', b"\x00\x00"])
def test_torn_line_in_the_middle_is_passed_over(books: Books, torn: bytes) -> None:
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    path = books.path.with_name("torn.jsonl")
    path.write_bytes(b"".join([*content[:3], torn + b"\n", *content[3:]]))

    found = read_totals([path])

    assert runs_as_json(found.summaries) == runs_as_json(books.summaries())
    assert [(place.path, place.number) for place in found.torn] == [(path, 4)]


@pytest.mark.parametrize("broken", [b'"text"', b'{"event":"a","seq":4,"hash":"a","credited":1,"credited":2}'])
def test_broken_line_in_the_middle_is_refused_naming_file_and_line(books: Books, broken: bytes) -> None:
    a_finished_month(books)
    content = books.path.read_bytes().splitlines(keepends=True)
    path = books.path.with_name("broken.jsonl")
    path.write_bytes(b"".join([*content[:3], broken + b"\n", *content[3:]]))

    with pytest.raises(RefusedInput, match=r"broken\.jsonl, line 4"):
        read_totals([path])


@pytest.mark.parametrize("wrong", [None, 1.5, 7.0, "7", 10**30, True])
@pytest.mark.parametrize(("event", "field"), [("batch.credited", "credited_minor"), ("run.completed", "notices")])
def test_amount_that_is_no_whole_number_is_refused(books: Books, event: str, field: str, wrong: object) -> None:
    """DuckDB would round one and pass over the other."""
    a_finished_month(books)
    wanted = next(seq for seq, line in enumerate(books.lines(), start=1) if line["event"] == event)
    path = rewrite(books, lambda lines: line_of(lines, event).update({field: None}))
    path.write_bytes(path.read_bytes().replace(b'"%s":null' % field.encode(), _field(field, wrong)))

    with pytest.raises(RefusedInput, match=rf"line {wanted}: seq {wanted} has no usable `{field}`"):
        read_totals([path])


def test_what_totals_are_made_of_is_in_the_catalogue() -> None:
    """A field that is renamed in models.events must not silently become nothing here."""
    for event, fields in NEEDED.items():
        assert set(fields) <= set(CATALOGUE[event].__dataclass_fields__)
    known = {name for kind in CATALOGUE.values() for name in kind.__dataclass_fields__}
    assert set(COLUMNS) - {"seq", "hash", "event"} <= known


def test_every_event_that_changes_a_run_is_counted() -> None:
    """Those left out say nothing of state or counts. A new event of runs must be put on one of the two lists."""
    of_runs = {
        name
        for name, kind in CATALOGUE.items()
        if issubclass(kind, Journalled) and "run_id" in kind.__dataclass_fields__
    }

    assert of_runs - set(NEEDED) == {
        "run.blocked",
        "run.first_approved",
        "batch.retried",
        "batch.split",
        "notice.created",
        "vouchers.exported",
        "certificate.created",
        "run.lost",
        "run.remembered",
        "run.recovered",
        "run.disowned",
    }


def test_command_prints_the_run_objects_and_their_place(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    a_finished_month(books)

    logs.totals([books.path], as_json=True)
    told = orjson.loads(capsys.readouterr().out)
    logs.totals([books.path], as_json=False)

    assert told == {
        "schema": 1, **orjson.loads(orjson.dumps(runs_as_json(books.summaries()))),
        "from_seq": 1, "as_of_seq": len(books.lines()),
    }  # fmt: skip
    assert set(told["totals"]) == {name for name in told["runs"][0] if name not in HEAD}
    assert "2026-12/02004" in capsys.readouterr().out


HEAD = {"run", "programme", "location", "cycle", "part", "state", "late", "currency"}


@pytest.mark.parametrize(("from_seq", "to_seq"), [(1, None), (3, None), (2, 4), (5, 5), (9, 100), (1_000, None)])
def test_a_part_of_the_log_is_written_again_from_the_database(books: Books, from_seq: int, to_seq: int | None) -> None:
    a_finished_month(books)
    again = books.path.with_name("again.jsonl")

    with Log.to_file(again, "despensa") as log:
        emit_again(books.database, log, from_seq=from_seq, to_seq=to_seq)

    content = books.path.read_bytes().splitlines()
    assert again.read_bytes().splitlines() == content[from_seq - 1 : to_seq]


def test_missing_end_of_the_log_is_found_with_the_database(books: Books) -> None:
    """The files alone prove each other; that the last line is gone only the database knows."""
    a_finished_month(books)
    path = rewrite(books, lambda lines: lines.pop())

    found = verify([path])
    with books.database.reading() as tx:
        behind = compare(tx, found)

    assert found.faults == []
    assert behind == 1


def test_chain_that_was_forged_to_its_end_is_found_with_the_database(books: Books) -> None:
    a_finished_month(books)

    def forge(lines: list[Line]) -> None:
        line_of(lines, "batch.credited")["credited_minor"] = 1
        prev_hash = GENESIS
        for line in lines:
            line["hash"] = prev_hash = hash_of_line(prev_hash, line)

    found = verify([rewrite(books, forge)])
    assert found.faults == []
    with books.database.reading() as tx:
        compare(tx, found)

    assert [fault.reason for fault in found.faults] == ["its hash is not the one in the database"]


def test_changed_first_line_of_a_part_is_found_with_the_database(books: Books) -> None:
    a_finished_month(books)

    def change(lines: list[Line]) -> None:
        del lines[:3]
        lines[0]["credited_minor"] = 1

    found = verify([rewrite(books, change)])
    assert found.faults == []
    with books.database.reading() as tx:
        compare(tx, found)

    assert [fault.seq for fault in found.faults] == [4]


def test_database_from_an_older_backup_is_found(books: Books) -> None:
    a_finished_month(books)
    last = books.lines()[-1]

    def add(lines: list[Line]) -> None:
        line: Line = {**last, "seq": int(last["seq"] or 0) + 1, "timestamp": instant_text(PAYDAY)}
        lines.append({**line, "hash": hash_of_line(str(last["hash"]), line)})

    found = verify([rewrite(books, add)])
    assert found.faults == []
    with books.database.reading() as tx:
        compare(tx, found)

    assert "older backup" in found.faults[0].reason


def test_lines_that_no_log_has_yet_are_not_missing(books: Books) -> None:
    """Sealed, and not emitted: the next tick writes them."""
    run = a_finished_month(books)
    books.answer(run, Gone("410"))
    seal(books.database)

    with books.database.reading() as tx:
        assert compare(tx, verify([books.path])) == 0


def _field(name: str, value: object) -> bytes:
    content = b"1" + b"0" * 30 if value == 10**30 else orjson.dumps(value)
    return b'"%s":%s' % (name.encode(), content)


def test_nothing_but_the_totals_is_printed() -> None:
    """DuckDB's progress bar goes to stdout, into the JSON of a long log."""
    with working() as connection:
        assert connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)

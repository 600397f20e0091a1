"""The books are compared by themselves: once an hour, while nothing is open, beside the ticks."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from sqlalchemy import text

from models.reconcile import Difference
from scheduler import books_watch
from scheduler.aside import begin_aside
from scheduler.books_watch import RECONCILE_EVERY_S, BooksWatch
from scheduler.loop import tick_until_stopped
from scheduler.measures import Measurer
from scheduler.metrics import FORGET_S, SchedulerMetrics
from tests.builders import TIJUANA, a_planned_run, a_programme, a_released_run, families, vouchers_of, without_guards
from tests.installation import Installation
from tests.waiting import until


def said(installation: Installation) -> list[tuple[object, ...]]:
    """What the log says of books."""
    lines = [line for line in installation.lines() if str(line["event"]).startswith("books.")]
    return [(line["event"], line["level"], line["differences"]) for line in lines]


def test_books_are_compared_once_an_hour(installation: Installation) -> None:
    clock = {"now_s": 0.0}
    watch = BooksWatch(
        installation.database, installation.log, installation.settings.heads, steady_s=lambda: clock["now_s"]
    )

    did = []
    for now_s in (0.0, 60.0, RECONCILE_EVERY_S - 1.0, float(RECONCILE_EVERY_S)):
        clock["now_s"] = now_s
        did.append(watch.reconcile_if_due())

    assert did == [True, False, False, True]
    assert (watch.differences, watch.reconciled_at > 0) == (0, True)
    assert said(installation) == [("books.reconciled", "info", 0)] * 2


def test_books_that_disagree_are_an_error_that_names_the_checks(installation: Installation) -> None:
    a_programme(installation.database)
    with installation.database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor - 1"))
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads)

    watch.reconcile_if_due()

    assert watch.differences == 2
    assert said(installation) == [("books.reconciled", "info", 2), ("books.disagreed", "error", 2)]
    assert installation.lines()[-1]["checks"] == "fund_balances fund_equation"


def test_full_disk_hides_no_difference(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cannot say it: the metric does, and so does `run reconcile`."""
    a_programme(installation.database)
    with installation.database.transaction() as tx:
        tx.connection.execute(text("UPDATE fund SET balance_minor = balance_minor - 1"))

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(installation.log, "observe", full)
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads)

    assert watch.reconcile_if_due()
    assert watch.differences == 2


def test_nothing_is_read_while_a_run_is_released(installation: Installation) -> None:
    """It would take the database from the workers. The hour does not begin, either."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 1, location=TIJUANA)
    a_planned_run(installation.database, programme)
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads)
    with installation.database.transaction() as tx, without_guards(tx, "run"):
        tx.connection.execute(text("UPDATE run SET state = 'released'"))

    assert not watch.reconcile_if_due()
    with installation.database.transaction() as tx:
        tx.connection.execute(text("UPDATE run SET state = 'paused'"))
    assert watch.reconcile_if_due()


def test_comparison_that_fails_is_not_repeated_at_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count()

    def fail(_: object, **__: object) -> list[Difference]:
        next(calls)
        raise ZeroDivisionError

    monkeypatch.setattr(books_watch, "reconcile", fail)
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads)
    with pytest.raises(ZeroDivisionError):
        watch.reconcile_if_due()

    assert not watch.reconcile_if_due()
    assert next(calls) == 1
    assert watch.differences is None


def test_what_is_done_beside_the_ticks_delays_neither_dispatch_nor_the_end(installation: Installation) -> None:
    database, ticker = installation.database, installation.ticker()
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    stuck = threading.Event()
    begun = threading.Event()

    def read_for_hours() -> None:
        begun.set()
        stuck.wait()

    begin_aside(ticker, "reconcile", read_for_hours, every_s=60)
    with installation.workers(), ThreadPoolExecutor(1) as scheduler:
        ticking = scheduler.submit(tick_until_stopped, ticker, side_by_side=installation.distributed)
        try:
            until(lambda: len(vouchers_of(database, run)) == 30, what="the vouchers")
            assert begun.is_set()
        finally:
            ticker.stopping.set()
        ticking.result(timeout=10)
        assert not stuck.is_set()
    stuck.set()


def test_trouble_beside_the_ticks_is_logged_counted_and_tried_again(installation: Installation) -> None:
    ticker = installation.ticker()
    tries = count(1)

    def fail() -> None:
        if next(tries) == 3:
            ticker.stopping.set()
        with installation.database.reading() as tx:
            tx.connection.execute(text("SELECT no_such_column FROM run"))

    begin_aside(ticker, "metrics", fail, every_s=0)
    until(lambda: ticker.tally.failures["metrics"] == 3, what="three failures")

    failures = [line for line in installation.lines() if line["event"] == "tick.failed"]
    assert [line["step"] for line in failures] == ["metrics"] * 3
    if installation.distributed:
        assert failures[0]["sqlstate"] == "42703"


def test_figures_that_are_no_longer_true_are_not_told(installation: Installation) -> None:
    """Where the database is away, an alert sees that they are absent, and not that all was well five minutes ago."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 1, location=TIJUANA)
    ticker = installation.ticker()
    now_s = 1000.0
    collector = SchedulerMetrics(
        installation.database, Measurer(ticker.clock, distributed=installation.distributed), ticker.tally,
        BooksWatch(installation.database, installation.log, installation.settings.heads), steady_s=lambda: now_s,
    )  # fmt: skip

    def told() -> dict[tuple[str, str], float]:
        return {
            (sample.name, sample.labels.get("location", "")): sample.value
            for metric in collector.collect()
            for sample in metric.samples
        }

    assert not [name for name, _ in told() if "slot_late" in name]
    collector.read()
    at_once = told()
    now_s += 60
    a_minute_later = told()
    now_s += FORGET_S

    late = ("despensa_slot_late_seconds", TIJUANA)
    assert a_minute_later[late] == at_once[late] + 60  # it goes on growing
    assert a_minute_later["despensa_slot_late_seconds", "26043"] == 0  # but not from nothing
    assert late not in told()
    assert ("despensa_database_read_failures_total", "") in told()

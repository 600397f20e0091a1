"""The month, as operators run it: real commands, real processes, real stores over HTTP."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import update

from models.calendar import Cycle, local_cycle, zone
from models.sightings import see
from models.storage import Database
from models.tables import Batch, Programme, Run, Seal
from tests.builders import (
    CITIES,
    a_programme,
    as_if_planned_by_another,
    families,
    families_due,
    notices_of,
    vouchers_of,
)
from tests.commands import Ended, despensa, end, kill, running, start
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.waiting import until

#: So many families keep a run busy long enough to be interrupted.
MANY = 1_000


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Every store of the programme."""
    with FakeStore.open() as store:
        yield store


def this_cycle() -> Cycle:
    """The month that is due now in the west: commands use the clock of this host."""
    return local_cycle(datetime.now(UTC), zone("America/Tijuana"))


def a_due_programme(installation: Installation, store: FakeStore, count: int) -> Programme:
    """Families in seven cities whose payday was at the first minute of the first of this month."""
    programme = a_programme(installation.database, store_url=store.url)
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    families_due(installation.database, programme, count, now=datetime.now(UTC))
    return programme


@contextmanager
def services(installation: Installation, *, workers: int = 1) -> Iterator[list[int]]:
    """Worker processes where the profile has them; yields their process ids."""
    if not installation.distributed:
        yield []
        return
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                running("worker", "--processes", "1", "--threads", "2", environment=installation.environment)
            )
            for _ in range(workers)
        ]
        yield [process.pid for process in started]


def run_start(installation: Installation, *words: str) -> Ended:
    """What cron calls."""
    return despensa("run", "start", "--json", *words, environment=installation.environment)


def counts(ended: Ended) -> dict[str, int]:
    """The totals of a `--json` object."""
    totals = ended.json["totals"]
    assert isinstance(totals, dict)
    return totals


def test_month_of_a_thousand_families_in_seven_cities(installation: Installation, store: FakeStore) -> None:
    """Every family one voucher, every store one notice, books balanced, log totals equal."""
    a_due_programme(installation, store, MANY)
    installation.batch_lines = 100

    with services(installation, workers=2):
        ended = run_start(installation)

    assert ended.code == 0, ended.err
    assert counts(ended)["planned"] == counts(ended)["credited"] == MANY
    assert counts(ended)["notices_delivered"] == len(CITIES)
    assert len(vouchers_of(installation.database)) == MANY
    assert len(store.webhook_ids) == len(set(store.webhook_ids)) == len(CITIES)
    assert_books_agree(installation.database)
    _assert_log_equals_database(installation)


def test_everything_again_changes_nothing(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 70)
    with services(installation):
        run_start(installation)
        vouchers, notices = vouchers_of(installation.database), notices_of(installation.database)

        again = run_start(installation)
        by_cycle = run_start(installation, "--cycle", str(this_cycle()))

    assert (again.code, again.json["runs"]) == (0, [])
    assert (by_cycle.code, counts(by_cycle)["credited"]) == (0, 70)
    assert vouchers_of(installation.database) == vouchers
    assert notices_of(installation.database) == notices
    assert len(store.received) == len(CITIES)


def test_nothing_due_is_silent(installation: Installation, store: FakeStore) -> None:
    programme = a_programme(installation.database, store_url=store.url)
    families(installation.database, programme, 7, first_cycle=this_cycle().plus(2))

    ended = despensa("run", "start", environment=installation.environment)

    assert ended == Ended(0, "", "")


@pytest.mark.long
def test_five_starts_at_once_make_one_run_per_location_and_exit_alike(
    installation: Installation, store: FakeStore
) -> None:
    a_due_programme(installation, store, 700)

    with services(installation, workers=2):
        processes = [start("run", "start", "--json", environment=installation.environment) for _ in range(5)]
        all_ended = [end(process) for process in processes]

    assert [ended.code for ended in all_ended] == [0] * 5, [ended.err for ended in all_ended]
    with installation.database.reading() as tx:
        assert len(tx.list(Run)) == len(CITIES)
    assert len(vouchers_of(installation.database)) == 700
    assert len(set(store.webhook_ids)) == len(CITIES)
    assert_books_agree(installation.database)


def test_killed_command_is_finished_by_the_next(installation: Installation, store: FakeStore) -> None:
    """Cron's process dies in the middle; an hour later cron starts another."""
    a_due_programme(installation, store, MANY)
    with services(installation):
        first = start("run", "start", environment=installation.environment)
        until(lambda: _done_batches(installation.database) >= 5, what="some batches to be credited")
        kill(first)

        ended = run_start(installation)

    assert ended.code == 0, ended.err
    assert len(vouchers_of(installation.database)) == MANY
    assert_books_agree(installation.database)
    _assert_log_equals_database(installation)


@pytest.mark.long
@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_killed_worker_is_replaced_by_another(installation: Installation, store: FakeStore) -> None:
    """SIGKILL to a worker and its processes in mid-batch: its lease runs out, another finishes; no double, no loss."""
    a_due_programme(installation, store, MANY)
    environment = installation.environment
    victim = start("worker", "--processes", "1", "--threads", "2", environment=environment)
    starting = start("run", "start", "--json", environment=environment)
    until(lambda: _done_batches(installation.database) >= 5, what="the first worker to credit")
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()

    with running("worker", "--processes", "1", environment=environment):
        ended = end(starting)

    assert ended.code == 0, ended.err
    assert len(vouchers_of(installation.database)) == MANY
    assert_books_agree(installation.database)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_scheduler_service_does_the_month_and_stops_when_told(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 70)
    environment = installation.environment

    with running("worker", environment=environment) as worker:
        scheduler = start("scheduler", environment=environment)
        until(lambda: len(store.received) == len(CITIES), what="the stores to be told", within_s=60)
        until(lambda: _untold(installation.database) == 0, what="the notices to be settled")
        scheduler.terminate()
        ended = end(scheduler)

    assert ended.code == 0
    events = [orjson.loads(line)["event"] for line in ended.out.splitlines()]
    assert "scheduler.seen" in events
    assert "run.completed" in events
    assert ended.err == ""
    told = [orjson.loads(line) for line in worker.output.splitlines()]
    attempts = [line for line in told if line["event"] == "attempt.finished"]
    assert {line["outcome"] for line in attempts} >= {"credited", "delivered"}
    assert {line["service.name"] for line in told} == {"despensa-worker"}
    assert len(vouchers_of(installation.database)) == 70


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_no_wait_without_a_scheduler_is_refused(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 7)

    ended = despensa("run", "start", "--no-wait", environment=installation.environment)

    assert ended.code == 1
    assert "despensa scheduler" in ended.err
    assert vouchers_of(installation.database) == []


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_no_wait_leaves_the_log_to_the_scheduler(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 7)
    see(installation.database, "scheduler")  # as one that was here a moment ago

    ended = despensa("run", "start", "--no-wait", environment=installation.environment)

    assert ended.code == 0, ended.err
    with installation.database.reading() as tx:
        assert {run.state for run in tx.list(Run)} == {"released"}
        assert tx.list(Seal) == []


def test_scheduler_once_works_off_what_is_due(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 70)
    with services(installation):
        if installation.distributed:
            until(
                lambda: (
                    despensa("scheduler", "--once", environment=installation.environment),
                    len(store.received) == len(CITIES),
                )[1],
                what="the timer to work off the month",
                within_s=90,
            )
        else:
            assert despensa("scheduler", "--once", environment=installation.environment).code == 0

    assert len(vouchers_of(installation.database)) == 70
    assert len(store.received) == len(CITIES)


@pytest.mark.long
def test_run_that_waits_for_a_person_exits_14_and_goes_on_after_the_approval(
    installation: Installation, store: FakeStore
) -> None:
    a_due_programme(installation, store, 7)
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Programme).values(approval="person"))
    assert run_start(installation).code == 14

    as_if_planned_by_another(installation.database)
    with installation.database.reading() as tx:
        codes = [f"{run.cycle}/{run.location_code}" for run in tx.list(Run)]
    assert despensa("run", "approve", codes[0], environment=installation.environment).code == 2
    for code in codes:
        approved = despensa("run", "approve", code, "--yes", environment=installation.environment)
        assert approved.code == 0, approved.err
    with services(installation):
        ended = run_start(installation)

    assert ended.code == 0, ended.err
    assert len(vouchers_of(installation.database)) == 7


def test_location_and_cycle_limit_what_is_followed(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 70)

    with services(installation):
        ended = run_start(installation, "--location", "Nogales", "--cycle", str(this_cycle()))

    assert [run["location"] for run in ended.json["runs"]] == ["26043"]  # type: ignore[attr-defined]


@pytest.mark.long
def test_paused_run_exits_15_and_cancelled_one_leaves_cases_that_retry_pays(
    installation: Installation, store: FakeStore
) -> None:
    a_due_programme(installation, store, 700)
    environment = installation.environment
    run = f"{this_cycle()}/02004"
    planned = despensa("run", "plan", "--cycle", str(this_cycle()), "--location", "02004", environment=environment)
    assert planned.code == 0, planned.err
    as_if_planned_by_another(installation.database)
    for verb in ("approve", "release"):
        assert despensa("run", verb, run, "--yes", environment=environment).code == 0
    assert despensa("run", "pause", run, environment=environment).code == 0
    assert run_start(installation, "--location", "02004").code == 15
    assert despensa("run", "resume", run, environment=environment).code == 0
    assert despensa("run", "cancel", run, "--yes", environment=environment).code == 0
    cases = despensa("run", "cases", run, "--json", environment=environment).json["cases"]
    assert len(cases) == 100  # type: ignore[arg-type]
    assert despensa("run", "retry", run, "--yes", environment=environment).code == 0

    with services(installation):
        ended = run_start(installation, "--location", "02004")

    assert ended.code == 0, ended.err
    assert counts(ended)["credited"] == 100
    assert despensa("run", "reconcile", "--json", environment=environment).json["agrees"] is True


@pytest.mark.long
def test_every_command_of_the_flow_by_two_processes_at_once_has_one_effect(
    installation: Installation, store: FakeStore
) -> None:
    """The second is refused by the state that the first left, or finds nothing left to do."""
    a_due_programme(installation, store, 70)
    run, cycle = f"{this_cycle()}/02004", str(this_cycle())

    def twice(*words: str) -> list[int]:
        both = [start(*words, environment=installation.environment) for _ in range(2)]
        return sorted(end(process).code for process in both)

    assert twice("run", "plan", "--cycle", cycle) == [0, 0]
    with installation.database.reading() as tx:
        assert len(tx.list(Run)) == len(CITIES)
    as_if_planned_by_another(installation.database)
    assert twice("run", "approve", run, "--yes") == [0, 1]
    assert twice("run", "release", run, "--yes") == [0, 1]
    assert twice("run", "pause", run) == [0, 1]
    assert twice("run", "resume", run) == [0, 1]
    assert twice("run", "cancel", run, "--yes") == [0, 1]
    assert twice("run", "retry", run, "--yes") == [0, 0]
    assert twice("run", "discard", f"{cycle}/26043", "--yes") in ([0, 1], [0, 2])
    with services(installation):
        assert twice("run", "start") == [0, 0]

    assert len(vouchers_of(installation.database)) == 70
    assert len(set(store.webhook_ids)) == len(CITIES)
    assert_books_agree(installation.database)


def test_preview_tells_and_changes_nothing(installation: Installation, store: FakeStore) -> None:
    a_due_programme(installation, store, 70)
    words = ("run", "plan", "--cycle", str(this_cycle()), "--dry-run")

    shown = despensa(*words, "--json", environment=installation.environment).json
    table = despensa(*words, environment=installation.environment)
    as_csv = despensa(*words, "--csv", environment=installation.environment)

    locations = shown["locations"]
    assert isinstance(locations, list)
    assert sum(each["families"] for each in locations) == 70
    assert "single_caregiver" in table.out
    assert as_csv.out.splitlines()[0] == "cycle,location,group,families,amount_minor,currency"
    with installation.database.reading() as tx:
        assert tx.list(Run) == []


def _done_batches(database: Database) -> int:
    with database.reading() as tx:
        return len(tx.list(Batch, Batch.state == "done"))


def _untold(database: Database) -> int:
    return sum(notice.state == "due" for notice in notices_of(database))


def _assert_log_equals_database(installation: Installation) -> None:
    log = str(installation.settings.log)
    environment = installation.environment
    from_log = despensa("logs", "totals", log, "--json", environment=environment)
    from_database = despensa("run", "list", "--json", environment=environment)
    assert from_log.code == 0, from_log.err
    assert from_log.json["runs"] == from_database.json["runs"]
    assert despensa("logs", "verify", log, environment=environment).code == 0
    assert Path(log).stat().st_mode & 0o777 == 0o600

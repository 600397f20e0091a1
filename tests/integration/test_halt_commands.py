"""`run pause`, `run resume` and `run cancel` of a run, a location or all, and when they say that it is so."""

import pytest
from psycopg.errors import DeadlockDetected, QueryCanceled
from sqlalchemy.exc import OperationalError

from console import halt
from console import run as run_commands
from models.errors import Exit
from models.sightings import see
from models.states import BatchState, RunState
from models.storage import Database, Tx
from models.tables import Batch, Programme, Run, run_code
from scheduler.cancel import settle_cancelled
from scheduler.dispatch import stamp_batches
from scheduler.pause import pause
from tests.builders import (
    NOGALES,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    cases_of,
    families,
    run_again,
)
from tests.command_line import CommandLine
from tests.installation import Installation
from tests.ledger import assert_books_agree, expire_lease
from workers.credit import take_batch

pytestmark = pytest.mark.long


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation; nobody waits for what does not come."""
    monkeypatch.setattr(halt, "STILL_WITHIN_S", 0)
    monkeypatch.setattr(halt, "SENT_WITHIN_S", 0)
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def runs(database: Database) -> list[Run]:
    """Released, of ten lines each, in Tijuana and in Nogales."""
    programme = a_programme(database)
    for city in (TIJUANA, NOGALES):
        families(database, programme, 10, location=city)
    return [a_released_run(database, programme, location=city) for city in (TIJUANA, NOGALES)]


def states(database: Database, runs: list[Run]) -> list[str]:
    """As they are now."""
    return [run_again(database, run).state for run in runs]


def held(database: Database, run: Run) -> Batch:
    """The first batch of a run, taken by a worker."""
    batch = batches_of(database, run)[0]
    assert take_batch(database, batch.id) is not None
    return batch


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["2026-12/02004"], [RunState.PAUSED, RunState.RELEASED]),
        (["--location", "Nogales"], [RunState.RELEASED, RunState.PAUSED]),
        (["--all"], [RunState.PAUSED, RunState.PAUSED]),
    ],
)
def test_pause_and_resume_of_a_run_a_location_or_all(
    commands: CommandLine, database: Database, runs: list[Run], words: list[str], after: list[RunState]
) -> None:
    paused = commands.run(run_commands.app, "pause", *words)
    between = states(database, runs)
    resumed = commands.run(run_commands.app, "resume", *words)

    assert (paused.code, resumed.code) == (Exit.DONE, Exit.DONE)
    assert between == after
    assert states(database, runs) == [RunState.RELEASED] * 2
    assert paused.stderr.count("nothing of it is under way") == after.count(RunState.PAUSED)
    assert resumed.stderr.count("is resumed") == after.count(RunState.PAUSED)


@pytest.mark.parametrize("command", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("words", [[], ["2026-12/02004", "--all"], ["--location", "Tijuana", "--all"]])
def test_which_runs_must_be_said_once(
    commands: CommandLine, database: Database, runs: list[Run], command: str, words: list[str]
) -> None:
    outcome = commands.run(run_commands.app, command, *words)

    assert outcome.code == Exit.MISUSED
    assert states(database, runs) == [RunState.RELEASED] * 2


def test_pause_waits_until_what_was_taken_is_over(
    commands: CommandLine, database: Database, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = held(database, runs[0])
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        expire_lease(database, batch)

    monkeypatch.setattr(halt, "STILL_WITHIN_S", 20)
    monkeypatch.setattr(halt, "wait", wait)
    outcome = commands.run(run_commands.app, "pause", run_code(runs[0]))

    assert outcome.code == Exit.DONE
    assert len(looks) == 1
    under_way, still = outcome.stderr.splitlines()
    assert "still under way: 1 taken before, for 15 s at most" in under_way
    assert "nothing of it is under way" in still


def test_pause_that_did_not_take_effect_in_time_says_so(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    held(database, runs[0])

    outcome = commands.run(run_commands.app, "pause", "--all")

    assert outcome.code == Exit.FAILED
    assert states(database, runs) == [RunState.PAUSED] * 2
    assert "1 batches are still under way after" in outcome.stderr
    assert f"run {run_code(runs[1])} is paused, and nothing of it is under way" in outcome.stderr
    assert f"run {run_code(runs[0])} is paused, and nothing" not in outcome.stderr


def test_run_that_refuses_does_not_stop_the_others(
    commands: CommandLine, database: Database, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused by somebody else between the look and the act."""

    class Racing:
        paused = False

        def __call__(self, desk: object, **options: object) -> object:
            found = choose(desk, **options)  # type: ignore[arg-type]
            with database.transaction() as tx:
                pause(tx, runs[0].id, reason="somebody else")
            return found

    choose = halt._choose
    monkeypatch.setattr(halt, "_choose", Racing())
    outcome = commands.run(run_commands.app, "pause", "--all")

    assert outcome.code == Exit.FAILED
    assert states(database, runs) == [RunState.PAUSED] * 2
    assert f"run {run_code(runs[0])}: nothing was changed" in outcome.stderr


def test_nothing_to_pause_is_no_failure_but_a_named_run_refuses(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    assert commands.run(run_commands.app, "pause", "--all").code == Exit.DONE

    again = commands.run(run_commands.app, "pause", "--all")
    named = commands.run(run_commands.app, "pause", run_code(runs[0]))

    assert (again.code, named.code) == (Exit.DONE, Exit.FAILED)
    assert "no run is released: nothing was changed" in again.stderr


def test_what_is_released_later_is_said_not_to_be_paused(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    with database.reading() as tx:
        (programme,) = tx.list(Programme)
    families(database, programme, 1, location="08037")
    later = a_planned_run(database, programme, location="08037")

    there = commands.run(run_commands.app, "pause", "--location", TIJUANA)
    everywhere = commands.run(run_commands.app, "pause", "--all")

    assert "runs that are released from now on go on: 1 are planned or approved" in everywhere.stderr
    assert "runs that are released from now on go on; to hold" in there.stderr
    assert run_again(database, later).state == RunState.PLANNED


def test_resume_says_when_a_scheduler_has_sent_its_batches(
    commands: CommandLine, database: Database, installation: Installation, runs: list[Run], profile: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with database.transaction() as tx:
        pause(tx, runs[0].id, reason="test")
    see(database, "scheduler")

    def wait(_seconds: float) -> None:
        with database.transaction() as tx:
            stamp_batches(tx)

    monkeypatch.setattr(halt, "SENT_WITHIN_S", 20)
    monkeypatch.setattr(halt, "wait", wait)
    outcome = commands.run(run_commands.app, "resume", run_code(runs[0]))

    expected = "its batches are sent" if profile == "distributed" else "it goes on with the next tick"
    assert expected in outcome.stderr


def test_resume_of_what_nobody_sends_says_so(
    commands: CommandLine, database: Database, runs: list[Run], profile: str
) -> None:
    with database.transaction() as tx:
        pause(tx, runs[0].id, reason="test")
        pause(tx, runs[1].id, reason="test")
    unseen = commands.run(run_commands.app, "resume", run_code(runs[0]))
    see(database, "scheduler")

    seen = commands.run(run_commands.app, "resume", run_code(runs[1]))

    assert (unseen.code, seen.code) == (Exit.DONE, Exit.DONE)
    if profile == "distributed":
        assert "no scheduler was seen lately" in unseen.stderr
        assert "nothing of it was sent" in seen.stderr


def test_cancel_of_a_location_makes_cases_and_says_so(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    outcome = commands.run(run_commands.app, "cancel", "--location", "Tijuana", "--yes")

    assert outcome.code == Exit.DONE
    assert states(database, runs) == [RunState.CANCELLED, RunState.RELEASED]
    assert len(cases_of(database, runs[0])) == 10
    assert "not credited: 10" in outcome.stdout
    assert "its open lines are cases" in outcome.stderr
    assert_books_agree(database)


def test_cancel_asks_and_without_a_terminal_needs_yes(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    outcome = commands.run(run_commands.app, "cancel", "--all")

    assert outcome.code == Exit.MISUSED
    assert states(database, runs) == [RunState.RELEASED] * 2


def test_cancel_while_a_batch_is_held_leaves_its_cases_to_a_tick(
    commands: CommandLine, database: Database, runs: list[Run]
) -> None:
    batch = held(database, runs[0])

    outcome = commands.run(run_commands.app, "cancel", "--all", "--yes")

    assert outcome.code == Exit.FAILED
    assert states(database, runs) == [RunState.CANCELLED] * 2
    assert [len(cases_of(database, run)) for run in runs] == [0, 10]
    expire_lease(database, batch)
    with database.transaction() as tx:
        assert settle_cancelled(tx, runs[0].id)
    assert_books_agree(database)


def test_cancel_that_a_scheduler_settled_first_says_that_it_is_done(
    commands: CommandLine, database: Database, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = held(database, runs[0])

    def wait(_seconds: float) -> None:
        expire_lease(database, batch)
        with database.transaction() as tx:
            assert settle_cancelled(tx, runs[0].id)

    monkeypatch.setattr(halt, "STILL_WITHIN_S", 20)
    monkeypatch.setattr(halt, "wait", wait)
    outcome = commands.run(run_commands.app, "cancel", run_code(runs[0]), "--yes")

    assert outcome.code == Exit.DONE
    assert "is cancelled; its open lines are cases" in outcome.stderr
    assert [batch.state for batch in batches_of(database, runs[0])] == [BatchState.STOPPED]


@pytest.mark.parametrize(
    ("cause", "paused_then"),
    [(Exception("away"), [False, False]), (QueryCanceled(), [False, True]), (DeadlockDetected(), [False, True])],
)
def test_run_that_was_not_tried_is_not_told_as_paused(
    commands: CommandLine,
    database: Database,
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception,
    paused_then: list[bool],
) -> None:
    """The database goes away at the first run, or breaks its statement off; the second must not be believed paused."""

    def fail_first(tx: Tx, run_id: int, **named: str) -> Run:
        if run_id == runs[0].id:
            raise OperationalError("UPDATE", {}, cause)
        return pause(tx, run_id, **named)

    monkeypatch.setattr("scheduler.pause.pause", fail_first)

    outcome = commands.run(run_commands.app, "pause", "--all")

    assert [state == RunState.PAUSED for state in states(database, runs)] == paused_then
    for run, paused in zip(runs, paused_then, strict=True):
        assert (f"run {run_code(run)} is paused" in outcome.stderr) == paused
    assert outcome.code != Exit.DONE

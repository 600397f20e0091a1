"""`run cases` and `run retry`: a thousand cases are few causes, and each names the command that mends it."""

import shlex
from datetime import timedelta

import pytest

from console import cases as cases_module
from console import run as run_commands
from models.cases import open_case
from models.doubts import KEY_WINDOW_OVER
from models.errors import Exit
from models.states import BatchState, CaseReason, RunState
from models.storage import Database
from models.tables import Case, Fund, Programme, Run, run_code
from scheduler.cancel import cancel, settle_cancelled
from scheduler.pause import pause
from scheduler.resolve import resolve_not_owed
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
from tests.command_line import CommandLine, Outcome
from tests.installation import Installation
from tests.ledger import assert_books_agree

pytestmark = pytest.mark.long

#: Three lines of a run of ten, each its own batch.
CAUSES = ((CaseReason.REJECTED, "over_limit"), (CaseReason.REJECTED, "unknown_family"), (CaseReason.UNKNOWN, "timeout"))


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def programme(database: Database) -> Programme:
    """With ten families in each of two cities."""
    programme = a_programme(database)
    for city in (TIJUANA, NOGALES):
        families(database, programme, 10, location=city)
    return programme


def stopped(database: Database, programme: Programme, location: str = TIJUANA) -> Run:
    """A run of ten lines that was cancelled before any was credited."""
    run = a_released_run(database, programme, location=location)
    with database.transaction() as tx:
        cancel(tx, run.id)
    with database.transaction() as tx:
        assert settle_cancelled(tx, run.id)
    return run


def with_cases(database: Database, programme: Programme, location: str = NOGALES) -> Run:
    """A released run of ten lines, of which four are cases: the unknown ones retry themselves, but for one."""
    run = a_released_run(database, programme, location=location, batch_lines=1)
    lines = iter(batches_of(database, run))
    with database.transaction() as tx:
        for reason, error in (*CAUSES, CAUSES[-1]):
            batch = next(lines)
            assert batch.fund_id is not None
            again_at = tx.now + timedelta(hours=1) if reason == CaseReason.UNKNOWN else None
            case = open_case(
                tx, run, batch.first_id, fund_id=batch.fund_id, reason=reason, attempts=2, error=error,
                next_attempt_at=again_at,
            )  # fmt: skip
            batch.state, batch.ended_at = BatchState.STOPPED, tx.now
            tx.update(batch, ["state", "ended_at"])
        case.next_attempt_at = None
        tx.update(case, ["next_attempt_at"])
    return run


def groups(outcome: Outcome) -> list[dict[str, object]]:
    """Of `run cases --json`."""
    found = outcome.json["groups"]
    assert isinstance(found, list)
    return found


def listed(outcome: Outcome) -> list[dict[str, object]]:
    """The single cases of `run cases --json`."""
    found = outcome.json["cases"]
    assert isinstance(found, list)
    return found


def test_cases_are_grouped_by_run_reason_and_error(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    stopped(database, programme)
    with_cases(database, programme)

    found = groups(commands.run(run_commands.app, "cases", "--json"))

    assert [(each["location"], each["reason"], each["error"], each["cases"], each["waits_for"]) for each in found] == [
        (TIJUANA, "stopped", "", 10, "a person"),
        (NOGALES, "rejected", "over_limit", 1, "a person"),
        (NOGALES, "rejected", "unknown_family", 1, "a person"),
        (NOGALES, "unknown", "timeout", 1, "a person"),
        (NOGALES, "unknown", "timeout", 1, "its next attempt"),
    ]
    assert found[0]["amount_minor"] == sum(
        int(str(each["amount_minor"]))
        for each in listed(commands.run(run_commands.app, "cases", "--location", TIJUANA, "--json"))
    )


def test_each_group_has_the_command_that_mends_it_and_nothing_else(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    with_cases(database, programme)

    found = groups(commands.run(run_commands.app, "cases", "--json"))

    run = "2026-12/26043"
    assert [each["command"] for each in found] == [
        f"despensa run retry {run} --reason rejected --error over_limit",
        f"despensa run retry {run} --reason rejected --error unknown_family",
        f"despensa run retry {run} --reason unknown --waiting",
        "",
    ]


def test_line_beyond_the_key_window_is_a_persons_to_resolve(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = with_cases(database, programme)
    with database.transaction() as tx:
        for case in tx.list(Case, Case.reason == "unknown"):
            case.last_error, case.next_attempt_at = f"absent, and {KEY_WINDOW_OVER}", None
            tx.update(case, ["last_error", "next_attempt_at"])

    (found,) = groups(commands.run(run_commands.app, "cases", "--reason", "unknown", "--json"))

    assert found["command"] == f"despensa run cases {run_code(run)} --reason unknown --waiting --each"
    shown = commands.run(run_commands.app, *shlex.split(str(found["command"]))[2:])
    assert shown.stdout.count("key window") == found["cases"] == 2


def test_commands_stand_whole_below_the_table(commands: CommandLine, database: Database, programme: Programme) -> None:
    stopped(database, programme)

    shown = commands.run(run_commands.app, "cases")

    assert shown.stdout.splitlines()[-1] == "  despensa run retry 2026-12/02004 --reason stopped"
    assert "--each" in shown.stderr


def test_command_of_a_group_does_what_it_says(commands: CommandLine, database: Database, programme: Programme) -> None:
    run = with_cases(database, programme)
    command = str(groups(commands.run(run_commands.app, "cases", "--json"))[0]["command"])

    outcome = commands.run(run_commands.app, *shlex.split(command)[2:], "--yes")

    assert outcome.code == Exit.DONE
    closed = [case.last_error for case in cases_of(database, run) if case.outcome == "retried"]
    assert closed == ["over_limit"]
    assert_books_agree(database)


def test_case_of_a_paused_run_waits_for_its_run(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = with_cases(database, programme)
    with database.transaction() as tx:
        pause(tx, run.id, reason="test")

    found = groups(commands.run(run_commands.app, "cases", "--json"))

    assert {(each["waits_for"], each["command"]) for each in found} == {
        ("its run", f"despensa run resume {run_code(run)}")
    }


def test_run_of_several_programmes_is_named_whole(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    stopped(database, programme)
    a_programme(database, code="another")

    found = groups(commands.run(run_commands.app, "cases", "--json"))

    assert [each["command"] for each in found] == ["despensa run retry northern-mexico/2026-12/02004 --reason stopped"]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ([], 14),
        (["2026-12/26043"], 4),
        (["--location", "Nogales"], 4),
        (["--cycle", "2026-12"], 14),
        (["--cycle", "2026-11"], 0),
        (["--reason", "rejected"], 2),
        (["--location", NOGALES, "--waiting"], 3),
        (["--reason", "unknown", "--waiting"], 1),
        (["--reason", "dead"], 0),
    ],
)
def test_filters(
    commands: CommandLine, database: Database, programme: Programme, options: list[str], count: int
) -> None:
    stopped(database, programme)
    with_cases(database, programme)

    outcome = commands.run(run_commands.app, "cases", *options, "--json")

    assert len(listed(outcome)) == sum(int(str(each["cases"])) for each in groups(outcome)) == count


def test_closed_cases_are_shown_when_asked_for(commands: CommandLine, database: Database, programme: Programme) -> None:
    run = stopped(database, programme)
    with database.transaction() as tx:
        resolve_not_owed(tx, cases_of(database, run)[0].id)

    open_ones = groups(commands.run(run_commands.app, "cases", "--json"))
    all_ = groups(commands.run(run_commands.app, "cases", "--all", "--json"))

    assert [(each["state"], each["cases"]) for each in open_ones] == [("open", 9)]
    assert sorted((str(each["state"]), each["cases"], each["command"]) for each in all_) == [
        ("not_owed", 1, ""),
        ("open", 9, "despensa run retry 2026-12/02004 --reason stopped"),
    ]


def test_a_run_and_a_location_together_are_refused(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = stopped(database, programme)

    outcome = commands.run(run_commands.app, "cases", run_code(run), "--location", NOGALES)

    assert outcome.code == Exit.MISUSED


def test_no_case_is_left_out_of_a_list_without_a_word(
    commands: CommandLine, database: Database, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(database, programme)
    monkeypatch.setattr(cases_module, "CASES_SHOWN", 3)

    shown = commands.run(run_commands.app, "cases", run_code(run), "--each")
    told = commands.run(run_commands.app, "cases", "--json")

    assert shown.stdout.count("stopped") == 3
    assert "and 7 more" in shown.stderr
    assert [case["disbursement"] for case in listed(told)] == [case.disbursement_id for case in cases_of(database, run)]


def retriable(outcome: Outcome) -> tuple[object, object]:
    """How many of how many."""
    return outcome.json["can_be_retried"], outcome.json["cases"]


def test_dry_run_says_how_many_of_how_many_and_why_not_the_others(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    able, run = stopped(database, programme), with_cases(database, programme)
    with database.transaction() as tx:
        pause(tx, run.id, reason="test")

    outcome = commands.run(run_commands.app, "retry", "--cycle", "2026-12", "--dry-run")

    assert outcome.code == Exit.FAILED  # as the command itself would end
    first, *_, last = outcome.stdout.splitlines()
    assert first.startswith("10 of 14 cases can be retried: ")
    assert "are to be reserved again" in first
    assert last == ("4 cases of run 2026-12/26043 cannot: the run is paused; first: despensa run resume 2026-12/26043")
    assert "nothing was changed" in outcome.stderr
    assert {case.state for case in cases_of(database, able)} == {"open"}


def test_retry_of_a_location_does_what_its_dry_run_said(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run, other = stopped(database, programme), stopped(database, programme, NOGALES)
    said = commands.run(run_commands.app, "retry", "--location", "Tijuana", "--dry-run", "--json").json

    done = commands.run(run_commands.app, "retry", "--location", "Tijuana", "--yes", "--json")

    assert done.code == Exit.DONE
    assert isinstance(said["runs"], list)
    assert done.json["runs"] == [{**said["runs"][0], "retried": True}]
    assert run_again(database, run).state == RunState.RELEASED
    assert run_again(database, other).state == RunState.CANCELLED
    assert sum(batch.lines for batch in batches_of(database, run) if batch.state == BatchState.OPEN) == 10
    assert_books_agree(database)


def test_run_that_cannot_be_retried_does_not_stop_the_others(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    paused, able = with_cases(database, programme, TIJUANA), stopped(database, programme, NOGALES)
    with database.transaction() as tx:
        pause(tx, paused.id, reason="test")

    outcome = commands.run(run_commands.app, "retry", "--cycle", "2026-12", "--yes")

    assert outcome.code == Exit.FAILED
    assert run_again(database, able).state == RunState.RELEASED
    assert {case.state for case in cases_of(database, paused)} == {"open"}
    assert_books_agree(database)


def test_what_a_fund_gives_one_run_the_next_cannot_have(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    """Each run alone could be reserved again, but not both."""
    first, second = stopped(database, programme), stopped(database, programme, NOGALES)
    with database.transaction() as tx:
        (fund,) = tx.list(Fund)
        fund.balance_minor = first.planned_minor + second.planned_minor - 1
        tx.update(fund, ["balance_minor"])

    said = commands.run(run_commands.app, "retry", "--cycle", "2026-12", "--dry-run")
    done = commands.run(run_commands.app, "retry", "--cycle", "2026-12", "--yes", "--json")

    assert said.stdout.startswith("10 of 20 cases can be retried")
    assert "fund fund-1 is too small" in said.stdout
    assert (done.code, retriable(done)) == (Exit.FAILED, (10, 20))
    assert [run_again(database, run).state for run in (first, second)] == [RunState.RELEASED, RunState.CANCELLED]


def test_run_that_is_still_being_cancelled_is_named(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = with_cases(database, programme)
    with database.transaction() as tx:
        cancel(tx, run.id)

    outcome = commands.run(run_commands.app, "retry", run_code(run), "--dry-run")

    assert outcome.code == Exit.FAILED
    assert "the run is still being cancelled" in outcome.stdout


@pytest.mark.parametrize(
    ("options", "retried"),
    [
        (["--reason", "rejected"], ["over_limit", "unknown_family"]),
        (["--error", "timeout"], ["timeout", "timeout"]),
        (["--error", "timeout", "--waiting"], ["timeout"]),
        (["--error", ""], []),
        (["--reason", "dead"], []),
    ],
)
def test_retry_by_reason_and_error(
    commands: CommandLine, database: Database, programme: Programme, options: list[str], retried: list[str]
) -> None:
    run = with_cases(database, programme)

    outcome = commands.run(run_commands.app, "retry", run_code(run), *options, "--yes")

    assert outcome.code == Exit.DONE
    assert [case.last_error for case in cases_of(database, run) if case.outcome == "retried"] == retried
    assert_books_agree(database)


def test_one_case_is_enough_to_name_it_and_a_closed_one_is_refused(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = stopped(database, programme)
    case = cases_of(database, run)[3].id

    first = commands.run(run_commands.app, "retry", "--case", case, "--yes")
    again = commands.run(run_commands.app, "retry", "--case", case, "--yes")
    never = commands.run(run_commands.app, "retry", "--case", 10**9)

    assert [each.code for each in (first, again, never)] == [Exit.DONE, Exit.FAILED, Exit.MISUSED]
    assert [each.id for each in cases_of(database, run) if each.outcome == "retried"] == [case]
    assert "is closed: retried" in str(again.error)


def test_retry_asks_and_without_a_terminal_needs_yes(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = stopped(database, programme)

    outcome = commands.run(run_commands.app, "retry", run_code(run))

    assert outcome.code == Exit.MISUSED
    assert {case.state for case in cases_of(database, run)} == {"open"}


def test_retry_of_everything_is_not_what_an_empty_command_means(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = stopped(database, programme)

    assert commands.run(run_commands.app, "retry", "--reason", "stopped", "--yes").code == Exit.MISUSED
    assert {case.state for case in cases_of(database, run)} == {"open"}


def test_retry_of_a_run_that_can_have_no_case_is_refused(
    commands: CommandLine, database: Database, programme: Programme
) -> None:
    run = a_planned_run(database, programme)

    outcome = commands.run(run_commands.app, "retry", run_code(run), "--yes")

    assert outcome.code == Exit.FAILED
    assert "it cannot be retried" in str(outcome.error)

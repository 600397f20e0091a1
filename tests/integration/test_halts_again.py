"""A person had halted what a restored backup has forgotten: it does not go on by itself as if nobody had said so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from console import run as run_commands
from models.errors import Exit
from models.states import RunState
from models.storage import Database
from models.tables import Run
from scheduler.cancel import cancel, settle_cancelled
from scheduler.pause import pause, resume
from scheduler.resolve import resolve_not_owed
from scheduler.retry import Choice, retry
from tests.backups import Site, site_of
from tests.builders import (
    PAYDAY,
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    cases_of,
    families,
    run_again,
    vouchers_of,
    without_guards,
)
from tests.installation import Installation
from tests.integration.test_outside import work_off
from tests.integration.test_recover import export, recover
from tests.ledger import pass_time
from workers.issuers.simulated import SimulatedIssuer

pytestmark = pytest.mark.long


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.long)])
def profile(request: pytest.FixtureRequest) -> str:
    """Both, of which PostgreSQL takes its time to copy databases."""
    return str(request.param)


@pytest.fixture
def site(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nothing has happened yet."""
    with site_of(installation, monkeypatch) as found:
        yield found


def newest_run(database: Database) -> Run:
    """Of those that were planned since the restore."""
    with database.reading() as tx:
        return max(tx.list(Run), key=lambda run: run.id)


def let_a_day_pass(site: Site) -> None:
    """So that the next part is planned."""
    with site.installation.database.transaction() as tx:
        run = tx.get(Run)
        run.planned_at = run.opens_at
        with without_guards(tx, "run"):
            tx.update(run, ["planned_at"])
    site.installation.clock.now = PAYDAY.replace(day=3)
    site.installation.ticker().tick()


def test_rest_of_a_lost_run_that_was_cancelled_waits_for_a_person(site: Site, tmp_path: Path) -> None:
    """Ten of thirty were credited before the cancel, and handed over; the policy approves whatever is planned."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme)
    site.credit(run, batches=1)
    site.act(cancel, run)
    site.act(settle_cancelled, run)
    file = export(site, tmp_path / "handed.csv")
    site.write_log()
    put_back()
    restored = site.restored()
    listed = site.command.run(run_commands.app, "lost", "--json")

    outcome = recover(site, "--handed-over", file)
    let_a_day_pass(site)
    rest = newest_run(database)
    site.credit(rest)

    assert "a person had halted it" in restored.stdout
    assert [each["halted"] for each in listed.json["lost_runs"]] == [True]  # type: ignore[attr-defined]
    assert outcome.error is None
    assert (rest.part, rest.lines, rest.state) == (2, 20, RunState.PAUSED)
    assert len(vouchers_of(database)) == 10
    site.assert_log_equals_database()


def test_lost_run_that_was_paused_and_is_given_up_waits_for_a_person(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme)
    site.act(lambda tx, run_id: pause(tx, run_id, reason="wrong list"), run)
    site.write_log()
    put_back()
    assert site.restored().code == Exit.WAITING_FOR_APPROVAL

    recover(site, "--not-handed-over", "nothing was credited")
    site.installation.ticker().tick()
    anew = newest_run(database)
    site.credit(anew)
    held = len(vouchers_of(database))
    site.act(resume, anew)
    site.credit(anew)

    assert (anew.state, held) == (RunState.PAUSED, 0)
    assert len(vouchers_of(database, run_again(database, anew))) == 30
    site.assert_log_equals_database()


def test_lost_run_that_nobody_had_halted_goes_on(site: Site) -> None:
    """A pause that was taken back is none."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme)
    site.act(lambda tx, run_id: pause(tx, run_id, reason="wrong list"), run)
    site.act(resume, run)
    site.write_log()
    put_back()
    site.restored()

    recover(site, "--not-handed-over", "nothing was credited")
    site.installation.ticker().tick()

    assert newest_run(database).state == RunState.RELEASED


def a_case_that_retries_itself(site: Site, issuer: SimulatedIssuer) -> Run:
    """Of a run that is over; its issuer has never heard of the line."""
    database = site.installation.database
    programme = a_programme(database)
    an_issuer(database, programme, issuer.url)
    site.installation.write_token(programme.code)
    families(database, programme, 10, location=TIJUANA)
    run = a_released_run(database, programme)
    site.credit(run)
    site.installation.ticker().work()
    (case,) = [case for case in cases_of(database, run) if case.state == "open"]
    assert case.next_attempt_at is not None
    assert run_again(database, run).state == RunState.COMPLETED_WITH_CASES
    site.write_log()
    return run


def work_for_a_day(site: Site, issuer: SimulatedIssuer, run: Run) -> None:
    """The issuer answers again, and whatever retries itself has its time."""
    issuer.set_faults({})
    pass_time(site.installation.database)
    site.installation.ticker().work()
    work_off(site.installation, run_again(site.installation.database, run))


def test_line_that_was_found_not_owed_after_its_run_was_over_is_not_paid(site: Site) -> None:
    with SimulatedIssuer({"lost_before": "1", "ask_lost": "all"}, token="rehearsal") as issuer:
        database = site.installation.database
        run = a_case_that_retries_itself(site, issuer)
        put_back = site.backup()
        (case,) = [case for case in cases_of(database, run) if case.state == "open"]
        with database.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE cases SET next_attempt_at = NULL")
            resolve_not_owed(tx, case.id, evidence="the family has left")
        site.write_log()
        put_back()

        outcome = site.restored("--json")
        work_for_a_day(site, issuer, run)
        held = len(vouchers_of(database, run))
        with database.transaction() as tx:
            retry(tx, run.id, Choice())
        work_for_a_day(site, issuer, run)

        assert outcome.json["held_cases"] == {f"2026-12/{TIJUANA}": 1}
        assert held == 9
        assert len(vouchers_of(database, run)) == 10
        site.assert_log_equals_database()


def test_cases_wait_where_lines_are_missing(site: Site) -> None:
    """Any of them may have been found not owed there."""
    with SimulatedIssuer({"lost_before": "1", "ask_lost": "all"}, token="rehearsal") as issuer:
        database = site.installation.database
        run = a_case_that_retries_itself(site, issuer)
        put_back = site.backup()
        site.act(lambda tx, run_id: retry(tx, run_id, Choice()), run)
        site.write_log()
        put_back()
        path = site.installation.settings.log
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if b'"batch.retried"' not in line))

        outcome = site.restored("--incomplete", "--json")
        work_for_a_day(site, issuer, run)

        assert outcome.json["missing"] == 1
        assert len(vouchers_of(database, run)) == 9


def test_case_of_a_run_that_nobody_had_halted_retries_itself(site: Site) -> None:
    with SimulatedIssuer({"lost_before": "1", "ask_lost": "all"}, token="rehearsal") as issuer:
        database = site.installation.database
        run = a_case_that_retries_itself(site, issuer)
        put_back = site.backup()
        site.act(lambda tx, run_id: retry(tx, run_id, Choice()), run)
        site.write_log()
        put_back()

        outcome = site.restored("--json")
        work_for_a_day(site, issuer, run)

        assert outcome.json["held_cases"] == {}
        assert len(vouchers_of(database, run)) == 10

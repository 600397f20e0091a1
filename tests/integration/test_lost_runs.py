"""A run that the logs know and a restored backup does not: everything of its programme waits for a person."""

from collections.abc import Iterator

import pytest

from console import run as run_commands
from models.errors import Exit, RefusedByState
from models.events import RunBlocked
from models.states import RunState
from models.tables import Journal, Programme, Run
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel
from scheduler.discard import discard
from scheduler.follow import Chosen, look
from scheduler.measures import WAITING, Measurer
from scheduler.pause import resume
from scheduler.release import release
from tests.backups import Site, site_of
from tests.builders import (
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    families,
    run_again,
    vouchers_of,
)
from tests.installation import Installation

JUAREZ = "08037"


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.long)])
def profile(request: pytest.FixtureRequest) -> str:
    """Both, of which PostgreSQL takes its time to copy databases."""
    return str(request.param)


@pytest.fixture
def site(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nothing has happened yet."""
    with site_of(installation, monkeypatch) as found:
        yield found


def a_lost_run(site: Site) -> tuple[Programme, Run, Run, Run]:
    """A released run and a plan that the backup has, and one that it has lost."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 70)
    released = a_released_run(database, programme, location=TIJUANA)
    planned = a_planned_run(database, programme, location=NOGALES)
    site.write_log()
    put_back = site.backup()
    lost = a_released_run(database, programme, location=JUAREZ)
    site.credit(lost)
    site.write_log()
    put_back()
    assert site.restored().code == Exit.WAITING_FOR_APPROVAL
    return programme, released, planned, lost


def test_programme_plans_and_releases_nothing_and_known_runs_go_on(site: Site) -> None:
    database = site.installation.database
    programme, released, planned, lost = a_lost_run(site)
    with database.transaction() as tx:
        assert approve_by_policy(tx, planned.id, now=PAYDAY) == ""

    site.credit(released)
    with pytest.raises(RefusedByState, match=f"run 2026-12/{JUAREZ} was lost"):
        a_planned_run(database, programme, location="02002")
    with pytest.raises(RefusedByState, match=f"run 2026-12/{JUAREZ} was lost"), database.transaction() as tx:
        release(tx, planned.id, now=PAYDAY)

    assert len(vouchers_of(database, released)) == released.lines
    assert vouchers_of(database, lost) == []
    site.assert_log_equals_database()


def test_another_programme_goes_on(site: Site) -> None:
    database = site.installation.database
    a_lost_run(site)
    other = a_programme(database, code="shelters")
    families(database, other, 10, location=TIJUANA, prefix="S")

    run = a_released_run(database, other)
    site.credit(run)

    assert len(vouchers_of(database, run)) == 10


def test_ticks_say_once_what_they_wait_for_and_fail_at_nothing(site: Site) -> None:
    database = site.installation.database
    _, _, planned, _ = a_lost_run(site)
    ticker = site.installation.ticker()

    results = [ticker.tick() for _ in range(3)]
    sight = look(database, Chosen(location_code=NOGALES), since=PAYDAY, now=PAYDAY, embedded=False)

    assert [result.errors for result in results] == [[], [], []]
    assert sum(result.planned + result.released for result in results) == 0
    with database.reading() as tx:
        blocked = [row for row in tx.list(Journal) if row.event == RunBlocked.NAME]
        samples = Measurer(clock=lambda: PAYDAY, distributed=False).read(tx).samples[WAITING]
    assert [row.run_id for row in blocked] == [planned.id]
    assert run_again(database, planned).blocked.startswith("lost:")
    assert sight.exit_code == Exit.WAITING_FOR_APPROVAL
    assert sight.lost == 1
    assert samples["northern-mexico", JUAREZ, "lost"] == 1


def test_run_start_says_so_and_exits_14(site: Site) -> None:
    a_lost_run(site)

    outcome = site.command.run(run_commands.app, "start")

    assert outcome.code == Exit.WAITING_FOR_APPROVAL
    assert "1 runs were lost by a restore" in outcome.stderr


def test_plan_that_was_released_before_cannot_be_discarded(site: Site) -> None:
    """Its vouchers may have been handed over: planned anew, its families would be paid under other numbers."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_planned_run(database, programme)
    site.write_log()
    put_back = site.backup()
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
        release(tx, run.id, now=PAYDAY)
    site.credit(run)
    site.write_log()
    paid = vouchers_of(database, run)
    put_back()
    site.restored()

    with pytest.raises(RefusedByState, match="was released before the restore"), database.transaction() as tx:
        discard(tx, run.id)
    site.installation.ticker().tick()
    site.credit(run)

    assert vouchers_of(database, run) == paid
    site.assert_log_equals_database()


def test_run_that_was_cancelled_before_is_paused_as_soon_as_it_is_released(site: Site) -> None:
    """Otherwise the policy would pay a list that a person had stopped, before anybody could stop it again."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_planned_run(database, programme)
    site.write_log()
    put_back = site.backup()
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
        release(tx, run.id, now=PAYDAY)
        cancel(tx, run.id)
    site.write_log()
    put_back()
    site.restored()

    site.installation.ticker().tick()

    assert run_again(database, run).state == RunState.PAUSED
    assert {batch.state for batch in batches_of(database, run)} == {"paused"}
    with database.transaction() as tx:
        resume(tx, run.id)
    site.credit(run)
    assert len(vouchers_of(database, run)) == 20
    site.assert_log_equals_database()

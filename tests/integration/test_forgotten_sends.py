"""A restored database has forgotten what was sent to an outside issuer: each line is asked for before it is sent."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from console import run as run_commands
from models.calendar import Cycle
from models.columns import instant_text, parse_instant
from models.custody import BACKUP_OF, hold
from models.errors import Exit, RefusedByState
from models.events import FileImported
from models.intake.load import load
from models.journal import append
from models.kept_head import Head, KeptHead
from models.sightings import see
from models.states import CallKind, CaseReason, RunState
from models.storage import Tx
from models.tables import Answer, Intent, Issuer, Journal, Programme, Run, Seal
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel
from scheduler.release import release
from scheduler.resolve import resolve_not_owed
from scheduler.retry import Choice, retry
from tests.backups import Site, site_of
from tests.builders import (
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    cases_of,
    families,
    fund_balance_minor,
    run_again,
    transferred_minor,
    vouchers_of,
)
from tests.fakes import HERE
from tests.installation import Installation
from tests.integration.test_doubts import PROGRAMME
from tests.integration.test_outside import work, work_off
from tests.integration.test_recover import export
from tests.ledger import assert_books_agree, credits_by_reference, pass_time
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


def a_programme_with_issuer(
    site: Site, issuer: SimulatedIssuer, count: int, *, key_window_hours: int = 168
) -> Programme:
    """Its families live in Tijuana."""
    database = site.installation.database
    programme = a_programme(database)
    an_issuer(database, programme, issuer.url)
    site.installation.write_token(programme.code)
    families(database, programme, count, location=TIJUANA)
    return programme


def a_restored_month(site: Site, issuer: SimulatedIssuer) -> Run:
    """Half of it was sent before the backup, the rest after; then the backup was put back."""
    database = site.installation.database
    programme = a_programme_with_issuer(site, issuer, 40)
    run = a_released_run(database, programme)
    site.credit(run, batches=2)
    site.write_log()
    put_back = site.backup()
    work(site.installation, run)
    site.write_log()
    assert len(issuer.book()) == 40
    put_back()
    assert site.restored().code == Exit.DONE
    return run


def age(site: Site, by: timedelta, *, restored_now: bool = False) -> None:
    """As if the backup had been made so much earlier; and put back, unless that was now."""
    with site.installation.database.transaction() as tx:
        event = tx.get(Journal, Journal.event == "database.restored")
        told = orjson.loads(event.fields)
        from_at, at = parse_instant(told["forgotten_from"]) - by, event.recorded_at - by
        date_restore(
            tx, event, cycle=told["forgotten_cycle"], from_at=from_at, at=event.recorded_at if restored_now else at
        )


def date_restore(tx: Tx, event: Journal, *, cycle: str, from_at: datetime, at: datetime) -> None:
    """As if a restore had been at that instant, of a backup of `from_at`."""
    lift = "DROP TRIGGER IF EXISTS journal_refuses_update"
    tx.connection.execute(text(lift if tx.dialect == "sqlite" else "ALTER TABLE journal DISABLE TRIGGER USER"))
    told = {**orjson.loads(event.fields), "forgotten_from": instant_text(from_at), "forgotten_cycle": cycle}
    event.fields, event.recorded_at = orjson.dumps(told).decode(), at
    tx.update(event, ["fields", "recorded_at"])
    issuer = tx.get(Issuer)
    issuer.forgotten_cycle = max(cycle, issuer.forgotten_cycle)
    issuer.forgotten_from, issuer.forgotten_until = from_at, at
    tx.update(issuer, ["forgotten_cycle", "forgotten_from", "forgotten_until"])


def first_calls(site: Site) -> set[str]:
    """With what kind of call each line began in this database, of those that were not credited in the backup."""
    with site.installation.database.reading() as tx:
        firsts: dict[int, str] = {}
        for intent in tx.list(Intent):
            firsts.setdefault(intent.disbursement_id, intent.kind)
        answered = {answer.intent_id for answer in tx.list(Answer)}
        assert {intent.id for intent in tx.list(Intent)} == answered
    return {kind for line, kind in firsts.items() if line % 10_000_000 > 20}


def test_month_ends_with_each_credit_once_and_nothing_sent_unasked(site: Site) -> None:
    with SimulatedIssuer(token="rehearsal") as issuer:
        run = a_restored_month(site, issuer)

        work_off(site.installation, run)

        database = site.installation.database
        assert len(vouchers_of(database, run)) == len(issuer.book()) == 40
        assert {made.reference: made.amount_minor for made in issuer.book()} == credits_by_reference(
            database, site.installation.settings.keys
        )
        assert set(issuer.sends.values()) == {1}
        assert first_calls(site) == {CallKind.ASK}
        assert run_again(database, run).state == RunState.COMPLETED
        site.assert_log_equals_database()


def test_run_that_was_forgotten_is_planned_anew_and_asked_for(site: Site) -> None:
    """No hold: whatever the issuer credited is found by its reference, under which number we ever knew it."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        programme = a_programme_with_issuer(site, issuer, 20)
        site.write_log()
        put_back = site.backup()
        work_off(site.installation, a_released_run(database, programme))
        site.write_log()
        put_back()

        outcome = site.restored("--json")
        run = a_released_run(database, programme)
        work_off(site.installation, run)

        assert outcome.json["lost_runs"] == []
        assert outcome.json["issuers_asked"] == [programme.code]
        assert len(vouchers_of(database, run)) == len(issuer.book()) == 20
        assert set(issuer.sends.values()) == {1}
        site.assert_log_equals_database()


def a_forgotten_month(site: Site, issuer: SimulatedIssuer, cycle: Cycle, file: Path) -> Run:
    """It was released and credited after the backup, and a hand-over file was written of it."""
    database = site.installation.database
    programme = a_programme(database)
    an_issuer(database, programme, issuer.url)
    site.installation.write_token(programme.code)
    families(database, programme, 10, location=TIJUANA, first_cycle=cycle)
    with database.transaction() as tx:
        tx.connection.exec_driver_sql(f"UPDATE programme_location SET first_cycle = '{cycle}'")
    site.write_log()
    put_back = site.backup()
    payday = datetime(cycle.year, cycle.month, 1, 20, tzinfo=UTC)
    run = a_planned_run(database, programme, cycle=cycle, now=payday)
    site.act(lambda tx, run_id: approve_by_policy(tx, run_id, now=payday), run)
    site.act(lambda tx, run_id: release(tx, run_id, now=payday), run)
    work_off(site.installation, run)
    export(site, file, f"{cycle}/{TIJUANA}")
    site.write_log()
    put_back()
    return run


def test_forgotten_month_that_catch_up_does_not_reach_is_a_persons_to_plan(site: Site, tmp_path: Path) -> None:
    with SimulatedIssuer(token="rehearsal") as issuer:
        run = a_forgotten_month(site, issuer, Cycle(2024, 1), tmp_path / "handed.csv")

        outcome = site.restored("--dry-run")
        told = site.restored("--json")

        command = f"run plan --cycle 2024-01 --location {TIJUANA} --programme northern-mexico"
        assert (outcome.code, told.code) == (Exit.WAITING_FOR_APPROVAL, Exit.WAITING_FOR_APPROVAL)
        assert f"to do again: run 2024-01/{TIJUANA} of northern-mexico had 10 lines" in outcome.stdout
        assert f"despensa {command}" in outcome.stdout
        assert "1 hand-over file of it" in outcome.stdout
        (anew,) = list(told.json["planned_anew"])  # type: ignore[call-overload]
        assert (anew["planned_minor"], anew["exported"]) == (run.planned_minor, 1)
        planned = site.command.run(run_commands.app, *command.split()[1:])
        assert planned.error is None
        with site.installation.database.reading() as tx:
            assert [(each.cycle, each.lines) for each in tx.list(Run)] == [("2024-01", 10)]


def test_forgotten_month_that_catch_up_reaches_waits_for_nobody(site: Site, tmp_path: Path) -> None:
    """Its sum is shown, to be compared with what is planned."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        now = datetime.now(UTC)
        a_forgotten_month(site, issuer, Cycle(now.year, now.month), tmp_path / "handed.csv")

        outcome = site.restored()

        assert outcome.code == Exit.DONE
        assert "it is planned anew by itself: compare the sum" in outcome.stdout
        assert "to do again: run" not in outcome.stdout


def test_forgotten_run_that_a_person_had_halted_waits_for_a_person(site: Site) -> None:
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        programme = a_programme_with_issuer(site, issuer, 20)
        site.write_log()
        put_back = site.backup()
        run = a_released_run(database, programme)
        site.act(cancel, run)
        site.write_log()
        put_back()

        outcome = site.restored("--json")

        assert outcome.code == Exit.WAITING_FOR_APPROVAL
        with pytest.raises(RefusedByState, match="was lost by a restore"):
            a_released_run(database, programme)


def test_after_the_key_window_nothing_is_sent_and_a_person_decides(site: Site) -> None:
    """The issuer has forgotten the references, so that its "nothing here" says nothing."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        run = a_restored_month(site, issuer)
        made = len(issuer.book())
        for each in issuer.book()[20:]:
            issuer._book.forget(each.reference)
        age(site, timedelta(hours=169), restored_now=True)

        work(site.installation, run, rounds=3)

        database = site.installation.database
        cases = cases_of(database, run)
        assert len(issuer.book()) == made
        assert set(issuer.sends.values()) == {1}
        assert {(case.reason, case.next_attempt_at, case.last_error) for case in cases} == {
            (CaseReason.UNKNOWN, None, "absent, and the key window is over")
        }
        assert len(cases) == 20
        assert_books_agree(database)


def a_paid_month(site: Site, programme: Programme, cycle: Cycle) -> Run:
    """As far as workers come by themselves."""
    database = site.installation.database
    now = datetime(cycle.year, cycle.month, 1, 20, tzinfo=UTC)
    run = a_planned_run(database, programme, cycle=cycle, now=now)
    site.act(lambda tx, run_id: approve_by_policy(tx, run_id, now=now), run)
    site.act(lambda tx, run_id: release(tx, run_id, now=now), run)
    work(site.installation, run, rounds=3)
    return run


def test_later_restore_ends_no_doubt_of_an_earlier_one_and_stops_no_later_month(site: Site) -> None:
    """September was paid by a run that a restore in September forgot; it is planned late, after one in December."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        programme = a_programme(database)
        an_issuer(database, programme, issuer.url)
        site.installation.write_token(programme.code)
        families(database, programme, 10, location=TIJUANA, first_cycle=Cycle(2026, 9), cycles=4)
        with database.transaction() as tx:
            tx.connection.execute(text("UPDATE programme_location SET first_cycle = '2026-08'"))
        site.write_log()
        put_back = site.backup()
        a_paid_month(site, programme, Cycle(2026, 9))
        site.write_log()
        put_back()
        assert site.restored().code == Exit.WAITING_FOR_APPROVAL  # it is too old for catch-up
        for each in issuer.book():
            issuer._book.forget(each.reference)
        with database.transaction() as tx:
            hold(tx, "restored once more, in December, and nothing was forgotten")
        assert site.restored().code == Exit.DONE
        with database.transaction() as tx:
            first, second = tx.list(Journal, Journal.event == "database.restored")
            long_ago = tx.now - timedelta(days=70)
            date_restore(tx, first, cycle="2026-09", from_at=long_ago, at=long_ago)
            date_restore(tx, second, cycle="2026-12", from_at=tx.now, at=tx.now)

        september = a_paid_month(site, programme, Cycle(2026, 9))
        december = a_paid_month(site, programme, Cycle(2026, 12))

        assert vouchers_of(database, september) == []
        assert {case.last_error for case in cases_of(database, september)} == {"absent, and the key window is over"}
        assert len(vouchers_of(database, december)) == 10
        assert set(issuer.sends.values()) == {1}
        assert_books_agree(database)


def test_cancel_asks_for_forgotten_sends_before_money_goes_back(site: Site) -> None:
    """What the issuer credited becomes vouchers; only the rest of the reserve goes back."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        programme = a_programme_with_issuer(site, issuer, 40)
        run = a_released_run(database, programme)
        site.write_log()
        put_back = site.backup()
        site.credit(run, batches=2)
        site.write_log()
        put_back()
        site.restored()
        age(site, timedelta(minutes=2))  # so long ago that no send can still be under way
        free_minor = fund_balance_minor(database, programme)

        site.act(cancel, run)
        for _ in range(6):
            site.installation.ticker().work()
            for batch in batches_of(database, run):
                if batch.state == "open":
                    site.credit(run)
            pass_time(database)
        credited = vouchers_of(database, run)

        assert len(credited) == len(issuer.book()) == 20
        assert set(issuer.sends.values()) == {1}
        assert fund_balance_minor(database, programme) - free_minor == run.planned_minor - transferred_minor(
            database, "credit"
        )
        assert run_again(database, run).completed_at is not None
        assert_books_agree(database)


def test_case_is_not_found_not_owed_while_the_issuer_may_have_paid_it(site: Site) -> None:
    with SimulatedIssuer({"refuse": "1"}, token="rehearsal") as issuer:
        database = site.installation.database
        programme = a_programme_with_issuer(site, issuer, 10)
        run = a_released_run(database, programme)
        work(site.installation, run, rounds=2)
        (case,) = [each for each in cases_of(database, run) if each.state == "open"]
        site.write_log()
        put_back = site.backup()
        site.act(lambda tx, run_id: retry(tx, run_id, Choice()), run)
        site.credit(run)
        site.write_log()
        assert len(issuer.book()) == 10
        put_back()
        site.restored()

        with pytest.raises(RefusedByState, match="has forgotten"), database.transaction() as tx:
            resolve_not_owed(tx, case.id)
        with database.transaction() as tx:
            resolve_not_owed(tx, case.id, evidence="statement 2026-12")

        assert run_again(database, run).state == RunState.COMPLETED
        site.assert_log_equals_database()


def test_import_of_the_programme_keeps_what_is_in_doubt(site: Site) -> None:
    """Repeating the imports is the first thing to do after a restore."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        a_restored_month(site, issuer)
        database = site.installation.database
        with database.reading() as tx:
            before = tx.get(Issuer)
        path = site.installation.settings.home / "programme.toml"
        told = PROGRAMME.replace("https://other.example", issuer.url)
        path.write_text(told.replace("calls_max = 64", "calls_max = 32"))

        load(database, path, programme=None, dry_run=False, show=lambda _: None, outgoing=HERE)

        with database.reading() as tx:
            after = tx.get(Issuer)
        assert after.calls_max == 32
        assert before.forgotten_from is not None
        assert (after.forgotten_cycle, after.forgotten_from, after.forgotten_until) == (
            before.forgotten_cycle, before.forgotten_from, before.forgotten_until,
        )  # fmt: skip


def a_quiet_week(site: Site, issuer: SimulatedIssuer) -> tuple[Programme, Callable[[], None]]:
    """Whatever was journalled is older than the key window, and a backup is made now. Returns what puts it back."""
    programme = a_programme_with_issuer(site, issuer, 10)
    with site.installation.database.transaction() as tx:
        append(tx, imported_again())
    record_earlier(site, timedelta(hours=169))
    site.write_log()
    return programme, site.backup()


def imported_again() -> FileImported:
    """An event without a run."""
    return FileImported(kind="programme", file_digest="d", added=0, changed=0, unchanged=1, operator="ana")


def record_earlier(site: Site, by: timedelta) -> datetime:
    """As if what is not sealed yet had been recorded so long ago. Returns when."""
    with site.installation.database.transaction() as tx:
        lift = "DROP TRIGGER IF EXISTS journal_refuses_update"
        tx.connection.execute(text(lift if tx.dialect == "sqlite" else "ALTER TABLE journal DISABLE TRIGGER USER"))
        sealed = {seal.journal_id for seal in tx.list(Seal)}
        at = tx.now - by
        for event in tx.list(Journal):
            if event.id not in sealed:
                event.recorded_at = at
                tx.update(event, ["recorded_at"])
        return at


@pytest.mark.parametrize("shown_by", ["somebody at work", "the backup itself"])
def test_month_after_a_quiet_week_goes_on_by_itself(site: Site, shown_by: str) -> None:
    """The key window is counted from the backup, not from what was journalled last before it."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        if shown_by == "somebody at work":
            see(database, "worker")
        programme, put_back = a_quiet_week(site, issuer)
        put_back()
        with database.transaction() as tx:
            hold(tx, tx.now.strftime(BACKUP_OF) if shown_by == "the backup itself" else "it lies elsewhere")

        outcome = site.restored("--json")
        with database.transaction() as tx:  # the month is that of the restore
            event = tx.get(Journal, Journal.event == "database.restored")
            from_at = parse_instant(str(outcome.json["forgotten_from"]))
            date_restore(tx, event, cycle="2026-12", from_at=from_at, at=event.recorded_at)
        run = a_released_run(database, programme)
        work_off(site.installation, run)

        assert len(vouchers_of(database, run)) == len(issuer.book()) == 10
        assert cases_of(database, run) == []


def test_what_happened_after_the_restore_makes_no_window_longer(site: Site) -> None:
    """An import, or a worker that nobody stopped: neither says when the backup was made."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        database = site.installation.database
        programme, put_back = a_quiet_week(site, issuer)
        a_planned_run(database, programme)
        first_forgotten_at = record_earlier(site, timedelta(hours=100))
        site.write_log()
        with database.reading() as tx:
            last_sealed = tx.list(Journal)[0].recorded_at
        put_back()
        with database.transaction() as tx:
            append(tx, imported_again())

        imported = site.restored("--json", "--dry-run")
        see(database, "worker")
        seen = site.restored("--json", "--dry-run")
        cut(site, "run.planned")
        incomplete = site.restored("--json", "--dry-run", "--incomplete")

        assert imported.json["forgotten_from"] == instant_text(last_sealed)
        assert seen.json["forgotten_from"] == instant_text(first_forgotten_at)
        assert incomplete.json["forgotten_from"] == instant_text(last_sealed)


def cut(site: Site, event: str) -> None:
    """The lines of this name are lost, and only the kept head tells that they were there."""
    path = site.installation.settings.log
    lines = path.read_bytes().splitlines(keepends=True)
    lost = [orjson.loads(line) for line in lines if f'"event":"{event}"'.encode() in line]
    path.write_bytes(b"".join(line for line in lines if f'"event":"{event}"'.encode() not in line))
    kept = KeptHead.of(site.installation.settings, site.installation.broker.client)
    kept.replace(Head(lost[-1]["seq"], lost[-1]["hash"]))

"""A database that was restored, or copied, pays nothing until it was compared with the logs."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import typer
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from console import config, doctor, intake, store, voucher
from console import run as run_commands
from models import custody
from models.custody import GET_CUSTODY, HOLD, find_reason, hold, release
from models.errors import Exit, Restored
from models.kept_head import Head, KeptHead
from models.messages import CreditBatch
from models.storage import Database, sqlite_url
from models.tables import Custody, Run
from scheduler.loop import tick_until_stopped
from scheduler.seal import seal
from scheduler.tick import Ticker
from tests.builders import (
    NOGALES,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    families,
    vouchers_of,
)
from tests.command_line import CommandLine
from tests.commands import despensa, end, kill
from tests.commands import start as start_command
from tests.conftest import url_of
from tests.copies import create_copy, drop_copy, take_copy
from tests.installation import Installation
from tests.ledger import count
from tests.races import failing_at
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

pytestmark = pytest.mark.long

REASON = "it was restored"
RUN = "2026-12/02004"


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


def kept(installation: Installation) -> KeptHead:
    """As a process that has just begun finds it."""
    return KeptHead.of(installation.settings, installation.broker.client)


def head(database: Database) -> Head:
    """Of its journal."""
    with database.reading() as tx:
        return custody.get_head(tx)


def held(database: Database) -> str:
    """What the database itself says."""
    with database.reading() as tx:
        return tx.get(Custody).held


def journal(installation: Installation, code: str) -> Head:
    """Families of one more programme, whose events are sealed. Returns the head then."""
    families(installation.database, a_programme(installation.database, code=code), 1, location=TIJUANA, prefix=code)
    installation.ticker().tick()
    return head(installation.database)


# What is compared


def test_tick_keeps_the_head_that_it_has_sealed(installation: Installation) -> None:
    sealed = journal(installation, "first")

    assert sealed.seq > 0
    assert kept(installation).heads() == [sealed]
    assert KeptHead.in_file(installation.settings).heads() == [sealed]
    if installation.distributed:
        installation.settings.head.unlink()
        assert kept(installation).heads() == [sealed]


def test_database_that_forgot_what_was_kept_is_not_whole(installation: Installation) -> None:
    before = journal(installation, "first")
    put_back = take_copy(installation.database)
    after = journal(installation, "second")

    put_back()

    reason = find_reason(installation.database, kept(installation))
    assert reason.startswith(f"its journal ends at {before.seq}, and was at {after.seq} already")


def test_database_that_forgot_and_went_on_beyond_what_was_kept_is_not_whole(installation: Installation) -> None:
    """Somebody worked with it before anybody who knew the head came by."""
    journal(installation, "first")
    put_back = take_copy(installation.database)
    after = journal(installation, "second")
    put_back()
    while head(installation.database).seq < after.seq:
        append_something(installation.database)
        seal(installation.database)

    reason = find_reason(installation.database, kept(installation))

    assert reason.startswith(f"its journal has another line at {after.seq} than it had")


def append_something(database: Database) -> None:
    """An event."""
    with database.transaction() as tx:
        tx.connection.execute(
            text(
                "INSERT INTO journal (event, level, recorded_at, fields)"
                " SELECT event, level, recorded_at, fields FROM journal WHERE id = 1"
            )
        )


@pytest.mark.parametrize(
    ("keep", "whole"),
    [
        (lambda now: [], True),  # a fresh host, a wiped Redis
        (lambda now: [now], True),
        (lambda now: [Head(now.seq + 1, "a" * 64)], False),
        (lambda now: [Head(now.seq, "a" * 64)], False),
        (lambda now: [Head(1, "a" * 64)], False),
        (lambda now: [Head(1, "a" * 64), now], False),  # one host knows another history
    ],
    ids=["nothing", "the same", "ahead", "the same place, another line", "an earlier line is another", "two heads"],
)
def test_heads_that_were_kept(installation: Installation, keep: Callable[[Head], list[Head]], *, whole: bool) -> None:
    journal(installation, "first")

    class Kept(KeptHead):
        def heads(self) -> list[Head]:
            return sorted(keep(head(installation.database)), key=lambda each: -each.seq)

    assert (find_reason(installation.database, Kept(installation.settings.head)) == "") is whole


def test_place_that_a_comparison_left_out_is_no_other_history(installation: Installation) -> None:
    """After `db restored` the journal goes on beyond what the logs knew; a host may still know a place between."""
    known = journal(installation, "first")
    with installation.database.transaction() as tx:
        tx.connection.execute(text("UPDATE journal_head SET seq = seq + 10"))
    append_something(installation.database)
    seal(installation.database)

    class Kept(KeptHead):
        def heads(self) -> list[Head]:
            return [Head(known.seq + 5, "a" * 64)]

    assert find_reason(installation.database, Kept(installation.settings.head)) == ""


def test_seal_between_the_two_looks_is_no_restore(installation: Installation) -> None:
    """Of another scheduler, which keeps its head at once."""
    journal(installation, "first")

    class Kept(KeptHead):
        def heads(self) -> list[Head]:
            append_something(installation.database)
            seal(installation.database)
            return [head(installation.database)]

    assert find_reason(installation.database, Kept(installation.settings.head)) == ""


def test_database_that_was_just_made_may_pay(profile: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As `db upgrade` leaves it, before anybody has sealed anything."""
    if profile == "embedded":
        url = sqlite_url(request.getfixturevalue("migrated_sqlite"))
    else:
        url = url_of(request.getfixturevalue("postgresql"), "migrated")

    with closing(Database(url)) as database:
        assert find_reason(database, KeptHead(tmp_path / "journal-head")) == ""
        with database.reading() as tx:
            assert tx.get(Custody).place == custody.current_place(tx) != ""


def test_file_that_is_spoilt_refuses_nothing(installation: Installation) -> None:
    journal(installation, "first")
    installation.settings.head.write_bytes(b"\0" * 70)
    installation.broker.client.delete(f"{installation.settings.namespace}:journal-head")

    assert find_reason(installation.database, kept(installation)) == ""


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_copy_in_another_place_pays_nothing_until_it_is_released(installation: Installation, postgresql: str) -> None:
    """A dump that was restored under another name, or into another cluster."""
    here = str(installation.database.url.database)
    name = f"{here}_moved"
    installation.database.engine.dispose()
    moved = Database(create_copy(postgresql, name, template=here))
    with installation.database.reading() as tx, moved.transaction() as other:
        there = tx.get(Custody).place
        other.connection.execute(text("UPDATE custody SET place = :place"), {"place": there})

    before = find_reason(moved, kept(installation))
    with moved.transaction() as tx:
        release(tx)
    after = find_reason(moved, kept(installation))

    moved.close()
    drop_copy(postgresql, name)
    assert before.startswith("it lies at ")
    assert f"was found whole at {there}" in before
    assert after == ""


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_login_that_may_not_ask_for_its_cluster_is_refused_nothing(
    installation: Installation, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        connection.execute("DROP ROLE IF EXISTS plain")
        connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("GRANT pg_read_all_data TO plain")
    restricted = Database(installation.database.url.set(username="plain").render_as_string(hide_password=False))

    with restricted.reading() as tx:
        place = custody.current_place(tx)
    reason = find_reason(restricted, kept(installation))

    restricted.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE plain")
    assert place.startswith("-/")
    assert reason == ""


# What follows


@pytest.mark.long
def test_scheduler_under_which_the_database_is_restored_ends_with_13(installation: Installation) -> None:
    """Without a restart: in its next tick it finds less than it has sealed itself."""
    journal(installation, "first")
    put_back = take_copy(installation.database)
    process = start_command("scheduler", environment=installation.environment)
    try:
        families(installation.database, a_programme(installation.database, code="second"), 1, location=NOGALES)
        before = head(installation.database)
        append_something(installation.database)
        until(lambda: head(installation.database).seq > before.seq, what="a seal of the scheduler")
        known = head(installation.database)
        until(lambda: kept(installation).heads() == [known], what="the head that it keeps")
        put_back()
        ended = end(process)
    finally:
        kill(process)

    assert ended.code == Exit.BOOKS_DISAGREE, ended.err
    assert '"event":"database.held","schema":1' in ended.out
    assert "despensa db restored" in ended.err
    assert "was at " in held(installation.database)


def test_scheduler_does_nothing_before_it_has_compared(installation: Installation) -> None:
    database, ticker = installation.database, installation.ticker()
    families(database, a_programme(database), 1, location=TIJUANA)
    with database.transaction() as tx:
        hold(tx, REASON)

    for half in (ticker.decide, ticker.work, ticker.tick):
        with pytest.raises(Restored):
            half()

    assert count(database, "SELECT COUNT(*) FROM run") == 0
    assert count(database, "SELECT COUNT(*) FROM seal") == 0
    assert {(line["event"], line["reason"]) for line in installation.lines()} == {("database.held", REASON)}


def test_tick_that_cannot_compare_does_nothing_and_tries_again(installation: Installation) -> None:
    database, ticker = installation.database, installation.ticker()
    families(database, a_programme(database), 1, location=TIJUANA)

    with failing_at(database, GET_CUSTODY, lambda: OperationalError("", {}, Exception())):
        result = ticker.tick()
    after = ticker.tick()

    assert (result.planned, result.sealed, len(result.errors)) == (0, 0, 2)
    assert after.planned == 1


def test_login_that_may_not_mark_the_database_stops_all_the_same(installation: Installation) -> None:
    installation.settings.head.write_text(f"9 {'a' * 64}\n")

    with (
        failing_at(installation.database, HOLD, lambda: OperationalError("", {}, Exception())),
        pytest.raises(Restored),
    ):
        installation.ticker().tick()


@pytest.mark.timeout(60)
def test_half_that_is_stuck_does_not_hide_why_the_other_one_ends(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that is told 1 starts it again; 13 it leaves alone."""
    import threading

    from scheduler import loop
    from scheduler.tick import TickResult

    planned = threading.Event()
    exits: list[int] = []

    def decide(_self: Ticker) -> TickResult:
        planned.wait()
        return TickResult()

    def leave(code: int) -> None:
        exits.append(code)
        planned.set()

    with installation.database.transaction() as tx:
        hold(tx, REASON)
    monkeypatch.setattr(Ticker, "decide", decide)
    monkeypatch.setattr(loop, "LEASE_S", 0.1)
    monkeypatch.setattr("os._exit", leave)

    with pytest.raises(Restored):
        tick_until_stopped(installation.ticker(), side_by_side=True)

    assert exits == [Exit.BOOKS_DISAGREE]


def test_worker_that_lives_through_a_restore_pays_nothing_once_it_is_held(installation: Installation) -> None:
    """It has noticed nothing itself: whoever did has told the database."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    first, second = batches_of(database, run)
    with database.transaction() as tx:
        hold(tx, REASON)
    installation.receive(CreditBatch(first.id))
    paid_while_held = vouchers_of(database)
    with database.transaction() as tx:
        release(tx)

    installation.receive(CreditBatch(second.id))

    assert paid_while_held == []
    assert len(vouchers_of(database)) == 10
    assert [batch.attempts for batch in batches_of(database, run)] == [0, 1]


def test_issuer_is_not_called_from_a_held_database(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    with SimulatedIssuer(token="rehearsal") as issuer:
        an_issuer(database, programme, issuer.url)
        installation.write_token(programme.code)
        run = a_released_run(database, programme)
        with database.transaction() as tx:
            hold(tx, REASON)

        installation.receive(CreditBatch(batches_of(database, run)[0].id))

        assert (len(issuer.book()), count(database, "SELECT COUNT(*) FROM intent")) == (0, 0)


@pytest.mark.parametrize(
    ("profile", "role"), [("distributed", "worker"), ("embedded", "scheduler")], indirect=["profile"]
)
def test_service_refuses_to_begin(installation: Installation, role: str) -> None:
    sealed = journal(installation, "first")
    ahead = Head(sealed.seq + 1, "a" * 64)
    kept(installation).replace(ahead)

    ended = despensa(role, environment=installation.environment)

    assert ended.code == Exit.BOOKS_DISAGREE, ended.err
    assert ended.out.count('"event":"database.held"') == 1
    assert held(installation.database).startswith(f"its journal ends at {sealed.seq}, and was at {ahead.seq}")


# Commands

#: What pays or plans, or changes what will be; and what only looks, or holds something back.
REFUSED: tuple[tuple[typer.Typer, tuple[str, ...]], ...] = (
    (run_commands.app, ("start",)),
    (run_commands.app, ("start", "--no-wait")),
    (run_commands.app, ("plan", "--cycle", "2026-12")),
    (run_commands.app, ("approve", RUN, "--yes")),
    (run_commands.app, ("release", RUN, "--yes")),
    (run_commands.app, ("retry", RUN, "--yes")),
    (run_commands.app, ("resolve", "1", "--not-owed", "--yes")),
    (run_commands.app, ("resume", "--all")),
    (run_commands.app, ("cancel", "--all", "--yes")),
    (voucher.app, ("export", RUN, "--out", "never", "--yes")),
    (store.app, ("resend", "nor-02004-1", "--yes")),
    (store.app, ("secret", "nor-02004-1", "--rotate", "--yes")),
)
ALLOWED: tuple[tuple[typer.Typer, tuple[str, ...]], ...] = (
    (run_commands.app, ("list",)),
    (run_commands.app, ("status", "--json")),
    (run_commands.app, ("cases",)),
    (run_commands.app, ("reconcile",)),
    (run_commands.app, ("plan", "--cycle", "2026-12", "--dry-run")),
    (run_commands.app, ("pause", "--all")),
    (run_commands.app, ("discard", RUN, "--yes")),
    (store.app, ("list",)),
    (store.app, ("secret", "nor-02004-1")),
)


def _named(case: object) -> str:
    return " ".join(case) if isinstance(case, tuple) else ""


@pytest.mark.parametrize(("app", "words"), REFUSED, ids=_named)
def test_what_pays_is_refused_with_13(
    commands: CommandLine, database: Database, app: typer.Typer, words: tuple[str, ...]
) -> None:
    run = _planned_run(database)
    with database.transaction() as tx:
        hold(tx, REASON)

    outcome = commands.run(app, *words)

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert REASON in str(outcome.error)
    assert outcome.error is not None
    assert (outcome.error.hint or "").startswith("despensa db restored")
    with database.reading() as tx:
        assert [each.state for each in tx.list(Run)] == [run.state]


@pytest.mark.parametrize(("app", "words"), ALLOWED, ids=_named)
def test_what_looks_or_holds_back_goes_on_and_says_so(
    commands: CommandLine, database: Database, app: typer.Typer, words: tuple[str, ...]
) -> None:
    _planned_run(database)
    with database.transaction() as tx:
        hold(tx, REASON)

    outcome = commands.run(app, *words)

    assert outcome.code == Exit.DONE
    assert f"warning: nothing is paid from {database.name}: {REASON}" in outcome.stderr
    assert "warning" not in outcome.stdout


def test_held_database_takes_imports(commands: CommandLine, database: Database) -> None:
    """They pay nobody, and `db restored` may need a programme that the backup does not have."""
    app = typer.Typer()
    app.command()(intake.import_)
    with database.transaction() as tx:
        hold(tx, REASON)

    outcome = commands.run(app, "deploy/programmes/northern-mexico")

    assert outcome.code == Exit.DONE
    assert count(database, "SELECT COUNT(*) FROM programme") == 1
    assert REASON in outcome.stderr


def test_log_is_written_again_from_a_held_database(installation: Installation) -> None:
    journal(installation, "first")
    with installation.database.transaction() as tx:
        hold(tx, REASON)

    ended = despensa("logs", "emit", "--from", "1", environment=installation.environment)

    assert ended.code == Exit.DONE
    assert '"seq":1,' in ended.out
    assert REASON in ended.err


def test_checks_show_that_the_database_is_held(commands: CommandLine, installation: Installation) -> None:
    app = typer.Typer()
    app.command()(doctor.doctor)
    sealed = journal(installation, "first")
    whole = commands.run(config.app, "check", "--json")
    kept(installation).replace(Head(sealed.seq + 1, "a" * 64))

    checked, examined = commands.run(config.app, "check", "--json"), commands.run(app, "--json")

    assert _custody(whole.json)["state"] == "ok"
    for outcome in (checked, examined):
        assert outcome.code == Exit.BOOKS_DISAGREE
        assert _custody(outcome.json)["state"] == "failed"
        assert str(_custody(outcome.json)["hint"]).startswith("despensa db restored")
    assert held(installation.database) == ""  # they change nothing


def _custody(told: dict[str, object]) -> dict[str, object]:
    checks = told["checks"]
    assert isinstance(checks, list)
    (found,) = [check for check in checks if check["check"] == "custody"]
    return dict(found)


def _planned_run(database: Database) -> Run:
    programme = a_programme(database, approval="person")
    families(database, programme, 3, location=TIJUANA)
    return a_planned_run(database, programme, location=TIJUANA)

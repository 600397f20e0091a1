"""What the guard refuses is an answer: a notice's attempt, a batch that waits, and a line of doctor that says why."""

from datetime import timedelta
from pathlib import Path

import pytest
import typer
from sqlalchemy import update

from console import config, doctor, intake, store
from models.errors import Exit
from models.messages import CreditBatch, SendNotice
from models.states import BatchState, NoticeState, RunState
from models.tables import Batch, Issuer, Store
from tests.builders import TIJUANA, a_programme, an_issuer, batches_of, notices_of, run_again, vouchers_of
from tests.command_line import CommandLine
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.integration.test_notify import a_completed_run, try_all
from tests.integration.test_outside import a_month, work
from tests.ledger import pass_time
from workers.issuers.simulated import SimulatedIssuer
from workers.notify import ATTEMPTS_MAX

METADATA = "https://169.254.169.254/latest"

import_app, doctor_app = typer.Typer(), typer.Typer()
import_app.command("import")(intake.import_)
doctor_app.command("doctor")(doctor.doctor)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation) -> CommandLine:
    """Of the installation, its home closed to others."""
    installation.settings.home.chmod(0o700)
    return CommandLine(monkeypatch, installation.environment)


def test_notice_that_is_refused_counts_attempts_and_ends_undelivered(installation: Installation) -> None:
    """Its store is not told, and somebody finds out; nothing was sent."""
    with FakeStore.open() as answering:
        run = a_completed_run(installation.database, answering)
        _point_stores_at(installation, METADATA)
        installation.receive(SendNotice(notices_of(installation.database, run)[0].id))
        first = notices_of(installation.database, run)[0]
        for _ in range(ATTEMPTS_MAX - 1):
            try_all(installation)

    last = notices_of(installation.database, run)[0]
    assert (first.attempts, first.state, first.last_error) == (1, NoticeState.DUE, "refused: a link-local address")
    assert (last.attempts, last.state) == (ATTEMPTS_MAX, NoticeState.UNDELIVERED)
    assert answering.received == []


def test_issuer_that_is_refused_is_put_off_without_an_attempt_until_it_is_not(installation: Installation) -> None:
    """Nothing was sent, so nothing is in doubt; and its breaker stays closed for hosts that may call it."""
    database = installation.database
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        _point_issuer_at(installation, METADATA)
        for _ in range(4):
            installation.receive(CreditBatch(batches_of(database, run)[0].id))
            pass_time(database)
        batch = batches_of(database, run)[0]
        with database.reading() as tx:
            refused = tx.get(Issuer)
        told = [line for line in installation.lines() if line["event"] == "issuer.suspended"]
        _point_issuer_at(installation, issuer.url)
        work(installation, run)

        assert (batch.state, batch.attempts) == (BatchState.OPEN, 0)
        assert batch.last_error == "put off: refused: a link-local address"
        assert (refused.failures, told) == (0, [])
        assert run_again(database, run).state == RunState.COMPLETED
        assert len(vouchers_of(database, run)) == len(issuer.book()) == issuer.requests == 10


def test_batch_whose_issuer_is_refused_is_an_alarm_after_five_minutes(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        _point_issuer_at(installation, METADATA)
        batch = batches_of(installation.database, run)[0]
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Batch).values(given_back_at=tx.now - timedelta(minutes=6)))

        installation.receive(CreditBatch(batch.id))

        stuck = [line for line in installation.lines() if line["event"] == "batch.stuck"]
        assert [line["error"] for line in stuck] == ["refused: a link-local address"]
        _point_issuer_at(installation, issuer.url)
        pass_time(installation.database)
        work(installation, run)
        assert len(vouchers_of(installation.database, run)) == 10


def test_test_of_a_store_that_is_refused_says_what_to_do(command_line: CommandLine, installation: Installation) -> None:
    a_programme(installation.database, store_url=METADATA)

    outcome = command_line.run(store.app, "test", "nor-02004-1")

    assert outcome.code == Exit.FAILED
    assert "refused: a link-local address" in outcome.stdout
    assert "correct stores.csv" in outcome.stderr
    assert "DESPENSA_OUTGOING_NETWORKS" in outcome.stderr


def test_doctor_says_who_is_refused_and_why(command_line: CommandLine, installation: Installation) -> None:
    """By the URL alone, and by what its name leads to."""
    programme = a_programme(installation.database, cities=[(TIJUANA, "Tijuana", "America/Tijuana")], store_url=METADATA)
    an_issuer(installation.database, programme, "http://localhost:9")
    command_line.set({"DESPENSA_OUTGOING_NETWORKS": "10.8.0.0/24"})

    checks = {each["check"]: each for each in command_line.run(doctor_app, "--json").json["checks"]}  # type: ignore[attr-defined]

    assert checks["link issuer northern-mexico"]["state"] == "failed"
    assert checks["link issuer northern-mexico"]["detail"] == "localhost:9: refused: a loopback address"
    assert checks["link stores"]["state"] == "warning"
    assert checks["link stores"]["detail"].endswith("not nor-02004-1 (refused: a link-local address)")
    assert checks["outgoing requests"]["state"] == "ok"


def test_rehearsal_s_setting_is_a_warning(command_line: CommandLine) -> None:
    """In production it would let whoever writes a store's URL reach every service of the host."""
    checks = {each["check"]: each for each in command_line.run(config.app, "check", "--json").json["checks"]}  # type: ignore[attr-defined]

    assert checks["outgoing requests"]["state"] == "warning"
    assert "127.0.0.0/8" in checks["outgoing requests"]["detail"]
    assert checks["outgoing requests"]["hint"] == "unset DESPENSA_OUTGOING_NETWORKS"


def test_import_takes_this_host_only_where_it_is_named(
    command_line: CommandLine, installation: Installation, tmp_path: Path
) -> None:
    a_programme(installation.database)
    file = tmp_path / "stores.csv"
    file.write_text("store,name,location,url,active\nT-1,Tienda,02004,http://127.0.0.1:8089/stores/T-1/notices,yes\n")
    taken = command_line.run(import_app, file)
    command_line.set({"DESPENSA_OUTGOING_NETWORKS": ""})
    refused = command_line.run(import_app, file)

    assert taken.code == Exit.DONE
    assert refused.code == Exit.MISUSED
    assert "stores.csv line 2, url: must begin with https://" in str(refused.error)
    assert "plain http is refused" in str(refused.error)
    assert "127.0.0.1" not in str(refused.error)


def _point_stores_at(installation: Installation, url: str) -> None:
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Store).values(url=url))


def _point_issuer_at(installation: Installation, url: str) -> None:
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Issuer).values(url=url))

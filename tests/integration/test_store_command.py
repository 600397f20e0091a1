"""`store`: list, test, resend, and the secrets, verified with the library that stores use."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from console.store import app
from models.errors import Exit
from models.handover import get_store, rotate_secret
from models.messages import CreditBatch
from models.storage import Database
from models.tables import Journal, Notice, Programme, Store
from scheduler.close import close
from tests.builders import a_programme, a_released_run, batches_of, families, notices_of
from tests.command_line import CommandLine
from tests.installation import Installation
from workers.notify import secrets_of
from workers.stores.simulated import SimulatedStores
from workers.stores.webhook import Envelope, headers

pytestmark = pytest.mark.long

STORE = "nor-02004-1"
TIJUANA = ("02004", "Tijuana", "America/Tijuana")


@pytest.fixture
def stores() -> Iterator[SimulatedStores]:
    """Without faults."""
    with SimulatedStores() as simulated:
        yield simulated


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation, stores: SimulatedStores) -> CommandLine:
    """Of an installation with one store in Tijuana."""
    url = stores.url_of("STORE").replace("STORE", "{store}")
    programme = a_programme(installation.database, cities=[TIJUANA], store_url=url)
    families(installation.database, programme, 3, location="02004")
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def undelivered(command_line: CommandLine, installation: Installation) -> Notice:
    """A notice that ran out of attempts."""
    database = installation.database
    with database.reading() as tx:
        programme = tx.list(Programme)[0]
    run = a_released_run(database, programme)
    for batch in batches_of(database, run):
        installation.receive(CreditBatch(batch.id))
    with database.transaction() as tx:
        close(tx, run.id)
        tx.connection.execute(text("UPDATE notice SET state = 'undelivered', attempts = 8"))
    return notices_of(database)[0]


def everything(database: Database) -> list[object]:
    with database.reading() as tx:
        return [*tx.list(Store), *tx.list(Notice), *tx.list(Journal)]


def signed_by(store: Store, installation: Installation, *, now: datetime) -> dict[str, str]:
    keys = installation.place.webhook_keys
    return headers(Envelope(store.url, "n_1", b'{"a":1}', secrets_of(store, keys=keys, now=now)), now=datetime.now(UTC))


def test_test_sends_one_signed_webhook_and_changes_nothing(
    command_line: CommandLine, installation: Installation, stores: SimulatedStores
) -> None:
    before = everything(installation.database)

    outcome = command_line.run(app, "test", STORE, "--json")

    assert outcome.code == Exit.DONE
    assert outcome.json["status"] == "delivered"
    assert [b'"type":"test"' in each.body for each in stores.accepted(STORE)] == [True]
    assert everything(installation.database) == before


def test_test_of_a_store_that_fails_says_how(command_line: CommandLine, stores: SimulatedStores) -> None:
    stores.set_fault(STORE, "down")

    outcome = command_line.run(app, "test", STORE)

    assert outcome.code == Exit.FAILED
    assert f"{STORE}: http 500 in " in outcome.stdout


def test_test_is_signed_so_that_the_store_that_has_the_secret_takes_it(
    command_line: CommandLine, installation: Installation
) -> None:
    secret = command_line.run(app, "secret", STORE).stdout.strip()
    codes = []
    for known in (secret, "whsec_" + "QUJD" * 8):
        with SimulatedStores(secrets={STORE: [known]}) as verifying:
            with installation.database.transaction() as tx:
                tx.connection.execute(text("UPDATE store SET url = :url"), {"url": verifying.url_of(STORE)})
            outcome = command_line.run(app, "test", STORE)
            codes.append((outcome.code, "despensa store secret" in outcome.stderr, len(verifying.accepted(STORE))))

    assert codes == [(Exit.DONE, False, 1), (Exit.FAILED, True, 0)]


def test_test_says_what_was_sent_where_so_that_the_store_finds_it(
    command_line: CommandLine, stores: SimulatedStores
) -> None:
    told = command_line.run(app, "test", STORE, "--json").json
    command_line.run(app, "secret", STORE, "--rotate", "--yes")
    rotated = command_line.run(app, "test", STORE)

    first, _ = stores.accepted(STORE)
    assert (told["webhook_id"], told["url"], told["secrets"]) == (first.webhook_id, stores.url_of(STORE), 1)
    assert isinstance(told["duration_ms"], int)
    assert "signed with 2 secrets" in rotated.stderr


@pytest.mark.parametrize(
    ("fault", "hint"), [("redirect", "no redirect is followed"), ("gone", "correct stores.csv"), ("down", "answer 2xx")]
)
def test_test_that_fails_says_what_to_look_at(
    command_line: CommandLine, stores: SimulatedStores, fault: str, hint: str
) -> None:
    stores.set_fault(STORE, fault)

    outcome = command_line.run(app, "test", STORE)

    assert outcome.code == Exit.FAILED
    assert hint in outcome.stderr


def test_test_of_a_store_that_is_told_of_no_run_says_so(command_line: CommandLine, installation: Installation) -> None:
    with installation.database.transaction() as tx:
        tx.connection.execute(text("UPDATE store SET active = :no"), {"no": 0 if tx.dialect == "sqlite" else False})

    assert "is not active: it is told of no run" in command_line.run(app, "test", STORE).stderr


@pytest.mark.parametrize("words", [["test"], ["resend", "--yes"], ["secret"]])
def test_unknown_store_is_refused(command_line: CommandLine, words: list[str]) -> None:
    outcome = command_line.run(app, *words, "nobody")

    assert outcome.code == Exit.MISUSED
    assert outcome.error is not None
    assert outcome.error.hint == "despensa store list"


def test_list_shows_what_a_store_was_not_told(command_line: CommandLine, undelivered: Notice) -> None:
    outcome = command_line.run(app, "list", "--json")

    rows = outcome.json["stores"]
    assert isinstance(rows, list)
    assert len(rows) == 1
    row = rows[0]
    assert (row["store"], row["location"], row["active"]) == (STORE, "Tijuana", True)
    assert (row["notices_due"], row["notices_delivered"], row["notices_undelivered"]) == (0, 0, 1)
    assert "despensa store resend" in command_line.run(app, "list").stderr


def test_resend_makes_it_due_again_with_the_same_id(
    command_line: CommandLine, installation: Installation, undelivered: Notice
) -> None:
    outcome = command_line.run(app, "resend", STORE, "--yes")

    (notice,) = notices_of(installation.database)
    assert outcome.code == Exit.DONE
    assert (notice.state, notice.attempts, notice.webhook_id) == ("due", 0, undelivered.webhook_id)


def test_resend_asks_and_without_a_terminal_needs_yes(
    command_line: CommandLine, installation: Installation, undelivered: Notice
) -> None:
    outcome = command_line.run(app, "resend", STORE)

    assert outcome.code == Exit.MISUSED
    assert notices_of(installation.database)[0].state == "undelivered"


def test_resend_of_nothing_changes_nothing(command_line: CommandLine, installation: Installation) -> None:
    before = everything(installation.database)

    assert command_line.run(app, "resend", STORE, "--yes").code == Exit.DONE
    assert everything(installation.database) == before


def test_secret_on_the_screen_verifies_what_is_sent(command_line: CommandLine, installation: Installation) -> None:
    secret = command_line.run(app, "secret", STORE).stdout.strip()

    with installation.database.reading() as tx:
        signed = signed_by(get_store(tx, STORE), installation, now=tx.now)
    assert secret.startswith("whsec_")
    Webhook(secret).verify(b'{"a":1}', signed)


def test_both_secrets_verify_for_a_day_after_a_rotation_then_the_new_one(
    command_line: CommandLine, installation: Installation
) -> None:
    old = command_line.run(app, "secret", STORE).stdout.strip()

    new = command_line.run(app, "secret", STORE, "--rotate", "--yes").stdout.strip()

    with installation.database.reading() as tx:
        store, now = get_store(tx, STORE), tx.now
    during = signed_by(store, installation, now=now + timedelta(hours=23))
    after = signed_by(store, installation, now=now + timedelta(hours=25))
    assert new != old
    for secret in (old, new):
        Webhook(secret).verify(b'{"a":1}', during)
    Webhook(new).verify(b'{"a":1}', after)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(b'{"a":1}', after)


def test_rotation_is_journalled_without_the_secret(command_line: CommandLine, installation: Installation) -> None:
    new = command_line.run(app, "secret", STORE, "--rotate", "--yes").stdout.strip()

    with installation.database.reading() as tx:
        (event,) = tx.list(Journal, Journal.event == "secret.rotated")
    assert f'"store":"{STORE}"' in event.fields
    assert '"version":2' in event.fields
    assert new not in event.fields


def test_rotation_asks_and_without_a_terminal_needs_yes(command_line: CommandLine, installation: Installation) -> None:
    outcome = command_line.run(app, "secret", STORE, "--rotate")

    assert outcome.code == Exit.MISUSED
    with installation.database.reading() as tx:
        assert get_store(tx, STORE).secret_version == 1


def test_showing_a_secret_changes_nothing(command_line: CommandLine, installation: Installation) -> None:
    before = everything(installation.database)

    command_line.run(app, "secret", STORE)

    assert everything(installation.database) == before


def test_rotating_twice_leaves_two_secrets_never_three(command_line: CommandLine, installation: Installation) -> None:
    for _ in range(2):
        with installation.database.transaction() as tx:
            rotate_secret(tx, STORE)

    with installation.database.reading() as tx:
        assert len(secrets_of(get_store(tx, STORE), keys=installation.place.webhook_keys, now=tx.now)) == 2

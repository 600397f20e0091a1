"""`keys rotate` and `keys retire`: vouchers keep their PINs, hosts keep the same keys, nothing is dropped too early."""

import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
import typer

from console.doctor import doctor
from console.doctor_keys import key_use_check
from console.keys import app
from console.voucher import app as voucher_app
from models.custody import hold
from models.errors import Exit, Misconfigured
from models.events import KeyMade
from models.intake.load import load
from models.journal import append
from models.key_files import held, staged_path
from models.key_rotation import Recorded, Use, recorded, unfinished, uses_of
from models.keys import Key, KeyRing, fingerprint, init_keys, key_path, load_keys, pin, store_secret
from models.messages import CreditBatch
from models.storage import Database, Query
from models.tables import Batch, Journal, Programme, Store, Voucher
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.command_line import CommandLine
from tests.installation import Installation
from workers.actors import declare
from workers.notify import secrets_of
from workers.serve import workplace

pytestmark = pytest.mark.long

doctor_app = typer.Typer()
doctor_app.command("doctor")(doctor)

INSERT_CERTIFICATE = Query("""
-- insert_certificate: as `certificate create` journals it
INSERT INTO journal (event, level, recorded_at, fields) VALUES ('certificate.created', 'info', :now, :fields)
""")


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def keys(installation: Installation) -> Path:
    """The folder of its keys."""
    return installation.settings.keys


@pytest.fixture
def other_host(installation: Installation, tmp_path: Path) -> dict[str, str]:
    """Settings of another host: the same database, and copies of the key files as they are now."""
    shutil.copytree(installation.settings.keys, tmp_path / "other")
    return {"DESPENSA_KEYS_DIR": str(tmp_path / "other")}


def credit_a_month(installation: Installation, *, location: str = TIJUANA) -> list[int]:
    """Vouchers of a run, credited by a worker that reads the key files now."""
    place = workplace(installation.settings, installation.database, installation.log, installation.broker)
    installation.broker.actors.clear()
    declare(installation.broker, place)
    database = installation.database
    with database.reading() as tx:
        programme = tx.find(Programme)
    programme = programme or a_programme(database)
    families(database, programme, 12, location=location)
    run = a_released_run(database, programme, location=location)
    for batch in batches_of(database, run):
        installation.receive(CreditBatch(batch.id))
    return vouchers_of(database, run)


def events_of(database: Database, name: str) -> list[dict[str, object]]:
    with database.reading() as tx:
        return [orjson.loads(row.fields) for row in tx.list(Journal, Journal.event == name)]


def version_of(database: Database, voucher_id: int) -> int:
    with database.reading() as tx:
        return tx.get(Voucher, Voucher.id == voucher_id).key_version


def test_rotated_pin_key_is_for_new_vouchers_and_those_that_exist_keep_their_pins(
    command_line: CommandLine, installation: Installation, keys: Path, tmp_path: Path
) -> None:
    before = credit_a_month(installation)
    command_line.run(voucher_app, "export", "2026-12/02004", "--out", tmp_path / "before.csv", "--yes")

    outcome = command_line.run(app, "rotate", "pin")
    after = credit_a_month(installation, location="26043")
    command_line.run(voucher_app, "export", "2026-12/02004", "--out", tmp_path / "again.csv", "--yes")
    command_line.run(voucher_app, "export", "2026-12/26043", "--out", tmp_path / "after.csv", "--yes")

    assert outcome.code == Exit.DONE
    assert f"made  {keys}/pin.key  version 2, besides 1" in outcome.stdout
    assert "every desk that exports vouchers" in outcome.stderr
    assert {version_of(installation.database, each) for each in before} == {1}
    assert {version_of(installation.database, each) for each in after} == {2}
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    ring = load_keys(keys, "pin")
    rows = [line.split(",") for line in (tmp_path / "after.csv").read_text().splitlines()[1:]]
    assert [row[2] for row in rows] == [pin(ring, version=2, voucher_id=each) for each in after]
    assert key_path(keys, "pin").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["pin", "webhook", "person", "certificate"])
def test_rotation_that_is_repeated_makes_no_further_version(
    command_line: CommandLine, database: Database, keys: Path, kind: str
) -> None:
    """Until the one that was made is in use: who repeats a command wants to know how far it is."""
    command_line.run(app, "rotate", kind)
    made = key_path(keys, kind).read_bytes()

    again = command_line.run(app, "rotate", kind)

    assert again.code == Exit.DONE
    assert key_path(keys, kind).read_bytes() == made
    assert "the last rotation is not finished" in again.stderr
    assert f"kept  {keys}/{kind}.key  version 2, besides 1" in again.stdout
    assert [each["version"] for each in events_of(database, "key.made") if each["kind"] == kind] == [1, 2]


def test_next_rotation_begins_once_something_rests_on_the_last(
    command_line: CommandLine, installation: Installation, keys: Path
) -> None:
    command_line.run(app, "rotate", "pin")
    credit_a_month(installation)

    command_line.run(app, "rotate", "pin")

    assert load_keys(keys, "pin").versions == [1, 2, 3]


def test_certificate_key_is_carried_through_by_the_first_certificate(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    command_line.run(app, "rotate", "certificate")
    with database.transaction() as tx:
        tx.execute(INSERT_CERTIFICATE, now=tx.now, fields='{"key_version":2}')

    command_line.run(app, "rotate", "certificate")
    refused = command_line.run(app, "retire", "certificate", "2", "--yes")

    assert load_keys(keys, "certificate").versions == [1, 2, 3]
    assert refused.code == Exit.FAILED
    assert "1 certificates rest on version 2" in str(refused.error)


def test_reference_key_is_never_rotated_and_the_reason_is_said(command_line: CommandLine, keys: Path) -> None:
    before = key_path(keys, "reference").read_bytes()

    outcomes = [command_line.run(app, "rotate", "reference"), command_line.run(app, "retire", "reference", "1")]

    assert [each.code for each in outcomes] == [Exit.MISUSED] * 2
    assert "would credit a family again" in str(outcomes[0].error)
    assert key_path(keys, "reference").read_bytes() == before


def test_what_is_no_kind_is_refused(command_line: CommandLine) -> None:
    outcome = command_line.run(app, "rotate", "../pin")

    assert outcome.code == Exit.MISUSED
    assert outcome.error is not None
    assert "pin, webhook, person, certificate" in str(outcome.error.hint)


def test_nothing_secret_is_shown_or_journalled(command_line: CommandLine, database: Database, keys: Path) -> None:
    outcome = command_line.run(app, "rotate", "pin")

    told = outcome.stdout + outcome.stderr + str(events_of(database, "key.made"))
    assert not any(key.secret.hex()[:12] in told for key in load_keys(keys, "pin").keys)
    assert {frozenset(each) for each in events_of(database, "key.made")} == {
        frozenset({"kind", "version", "fingerprint", "operator"})
    }


def test_damaged_key_is_not_rotated(command_line: CommandLine, database: Database, keys: Path) -> None:
    key_path(keys, "pin").chmod(0o644)

    outcome = command_line.run(app, "rotate", "pin")

    assert outcome.code == Exit.MISUSED
    assert not staged_path(key_path(keys, "pin")).exists()
    assert events_of(database, "key.made") == []


def test_folder_that_cannot_be_written_records_nothing(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    """As keys are mounted in Kubernetes: links into a folder that is read only."""
    real = key_path(keys, "pin").rename(keys / "..data")
    key_path(keys, "pin").symlink_to(real)

    outcome = command_line.run(app, "rotate", "pin")

    assert outcome.code == Exit.MISUSED
    assert "is a link" in str(outcome.error)
    assert load_keys(keys, "pin").versions == [1]
    assert events_of(database, "key.made") == []


def test_two_commands_do_not_change_one_folder_at_once(command_line: CommandLine, keys: Path) -> None:
    with held(keys):
        outcome = command_line.run(app, "rotate", "pin")

    assert outcome.code == Exit.FAILED
    assert "another command changes the key files" in str(outcome.error)
    assert load_keys(keys, "pin").versions == [1]


def test_host_with_the_old_file_makes_no_second_version_2(
    command_line: CommandLine, keys: Path, other_host: dict[str, str]
) -> None:
    """Two different keys under one version: the PINs of a voucher would depend on who exports it."""
    command_line.run(app, "rotate", "pin")
    command_line.set(other_host)

    refused = command_line.run(app, "rotate", "pin")
    shutil.copy2(key_path(keys, "pin"), other_host["DESPENSA_KEYS_DIR"])
    copied = command_line.run(app, "rotate", "pin")

    assert refused.code == Exit.FAILED
    assert "version 2 of the pin key was made on another host" in str(refused.error)
    assert copied.code == Exit.DONE
    assert load_keys(Path(other_host["DESPENSA_KEYS_DIR"]), "pin") == load_keys(keys, "pin")


def test_host_with_another_key_under_a_version_exports_nothing(
    command_line: CommandLine, installation: Installation, other_host: dict[str, str], tmp_path: Path
) -> None:
    """It would print PINs that no other host prints."""
    credit_a_month(installation)
    command_line.run(app, "rotate", "pin")
    folder = Path(other_host["DESPENSA_KEYS_DIR"])
    key_path(folder, "pin").unlink()
    key_path(folder, "pin").write_text(f"1 {bytes(range(32)).hex()}\n")
    key_path(folder, "pin").chmod(0o600)
    command_line.set(other_host)

    outcomes = [
        command_line.run(voucher_app, "export", "2026-12/02004", "--out", tmp_path / "a.csv", "--yes"),
        command_line.run(app, "rotate", "pin"),
        command_line.run(app, "init"),
    ]

    assert [each.code for each in outcomes] == [Exit.MISUSED] * 3
    assert {"is another key than the one that was recorded" in str(each.error) for each in outcomes} == {True}
    assert not (tmp_path / "a.csv").exists()


def test_export_without_the_version_of_a_voucher_says_where_it_is(
    command_line: CommandLine, installation: Installation, other_host: dict[str, str], tmp_path: Path
) -> None:
    command_line.run(app, "rotate", "pin")
    credit_a_month(installation)
    command_line.set(other_host)

    outcome = command_line.run(voucher_app, "export", "2026-12/02004", "--out", tmp_path / "a.csv", "--yes")

    assert isinstance(outcome.error, Misconfigured)
    assert "version 2 of the pin key is missing on this host" in str(outcome.error)
    assert "copy pin.key from the host on which it was made" in str(outcome.error.hint)


@pytest.mark.parametrize("kind", ["person", "certificate"])
def test_second_desk_makes_no_key_of_its_own(command_line: CommandLine, other_host: dict[str, str], kind: str) -> None:
    """Two person keys would find nobody who is enrolled at both desks; two certificate keys would sign one month."""
    command_line.run(app, "init")
    key_path(Path(other_host["DESPENSA_KEYS_DIR"]), kind).unlink()
    command_line.set(other_host)

    outcome = command_line.run(app, "init")

    assert outcome.code == Exit.FAILED
    assert "was made on another host" in str(outcome.error)
    assert not key_path(Path(other_host["DESPENSA_KEYS_DIR"]), kind).exists()


def test_certificate_key_on_which_certificates_rest_is_not_made_anew(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    with database.transaction() as tx:
        tx.execute(INSERT_CERTIFICATE, now=tx.now, fields='{"key_version":1}')
    key_path(keys, "certificate").unlink()

    outcome = command_line.run(app, "init")

    assert outcome.code == Exit.FAILED
    assert not key_path(keys, "certificate").exists()


def test_version_is_kept_until_its_last_voucher_has_expired(
    command_line: CommandLine, installation: Installation, database: Database, keys: Path
) -> None:
    credit_a_month(installation)
    command_line.run(app, "rotate", "pin")
    credit_a_month(installation, location="26043")
    with database.reading() as tx:
        until = uses_of(tx, "pin")[1].until

    early = command_line.run(app, "retire", "pin", "1", "--yes")
    assert until is not None
    assert early.code == Exit.FAILED
    assert f"12 vouchers, valid until {until} rest on version 1" in str(early.error)
    assert load_keys(keys, "pin").versions == [1, 2]
    _let_expire(database, version=1)
    late = command_line.run(app, "retire", "pin", "1", "--yes")
    again = command_line.run(app, "retire", "pin", "1", "--yes")

    assert (late.code, again.code) == (Exit.DONE, Exit.DONE)
    assert load_keys(keys, "pin").versions == [2]
    assert [(each["kind"], each["version"]) for each in events_of(database, "key.retired")] == [("pin", 1)]


def _let_expire(database: Database, *, version: int) -> None:
    """Credit the vouchers of this version so long ago that none is valid."""
    with database.transaction() as tx:
        batches = {each.batch_id for each in tx.list(Voucher, Voucher.key_version == version)}
        for batch in tx.list(Batch):
            if batch.id in batches and batch.credited_at is not None:
                batch.credited_at -= timedelta(days=62)
                tx.update(batch, ["credited_at"])


def test_voucher_is_in_force_through_its_last_local_day(installation: Installation, database: Database) -> None:
    """The day on which it may be used last must not be the day on which its PIN cannot be made any more."""
    credit_a_month(installation)
    with database.transaction() as tx:
        for batch in tx.list(Batch):
            batch.credited_at = tx.now - timedelta(days=60)
            tx.update(batch, ["credited_at"])

    with database.reading() as tx:
        found = uses_of(tx, "pin")[1]

    assert found.in_force


def test_only_version_is_not_retired(command_line: CommandLine, keys: Path) -> None:
    outcome = command_line.run(app, "retire", "pin", "1", "--yes")

    assert outcome.code == Exit.FAILED
    assert "is the only one" in str(outcome.error)
    assert load_keys(keys, "pin").versions == [1]


def test_version_that_never_was_is_refused(command_line: CommandLine) -> None:
    assert command_line.run(app, "retire", "pin", "7", "--yes").code == Exit.MISUSED


def test_retiring_asks_and_without_a_terminal_needs_yes(command_line: CommandLine, keys: Path) -> None:
    command_line.run(app, "rotate", "webhook")

    outcome = command_line.run(app, "retire", "webhook", "1")

    assert outcome.code == Exit.MISUSED
    assert load_keys(keys, "webhook").versions == [1, 2]


def test_number_of_a_retired_version_is_never_given_again(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    """A version that leaked before anything rested on it is taken back; who still has its file must not take it for
    the next one."""
    command_line.run(app, "rotate", "pin")
    command_line.run(app, "retire", "pin", "2", "--yes")

    command_line.run(app, "rotate", "pin")

    assert load_keys(keys, "pin").versions == [1, 3]
    assert [each["version"] for each in events_of(database, "key.made") if each["kind"] == "pin"] == [1, 2, 3]


def test_both_secrets_of_a_store_sign_until_the_old_webhook_key_is_retired(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    """A store goes on verifying with the secret that it has, until it was given the next one."""
    a_programme(database, cities=[("02004", "Tijuana", "America/Tijuana")])
    with database.reading() as tx:
        store = tx.get(Store)
        old = store_secret(load_keys(keys, "webhook"), store_id=store.id, version=1)

    command_line.run(app, "rotate", "webhook")
    with database.reading() as tx:
        both = secrets_of(store, keys=load_keys(keys, "webhook"), now=tx.now)
    command_line.run(app, "retire", "webhook", "1", "--yes")
    with database.reading() as tx:
        new = secrets_of(store, keys=load_keys(keys, "webhook"), now=tx.now)

    assert both == [*new, old]
    assert new != [old]


RING = KeyRing("person", (Key(1, bytes(range(32))), Key(2, bytes(range(1, 33)))))


@pytest.mark.parametrize(
    ("ring", "uses", "left"),
    [
        pytest.param(KeyRing("person", RING.keys[:1]), {}, "", id="never rotated"),
        pytest.param(RING, {1: 7}, "7 enrolments rest on version 1 yet", id="nobody imported again"),
        pytest.param(RING, {1: 7, 2: 3}, "7 enrolments rest on version 1 yet", id="some are imported again"),
        pytest.param(RING, {2: 10}, "", id="all are imported again"),
        pytest.param(RING, {}, "nothing rests on version 2 yet", id="nobody has a person key"),
    ],
)
def test_person_key_is_carried_through_once_all_are_imported_again(
    ring: KeyRing, uses: dict[int, int], left: str
) -> None:
    found = {version: Use(version, count, "enrolments") for version, count in uses.items()}

    assert unfinished(ring, found) == left


HOUSEHOLDS = """\
registration_id,location,members,group,first_cycle,cycles,status,person_key
A,02004,3,pregnant,2026-12,3,active,HND-0501-1990-01234
B,02004,2,pregnant,2026-12,3,stopped:left,SLV 03456789-0
"""


def import_persons(database: Database, folder: Path, *, keys: Path) -> None:
    """Two families of whom a document is known, one of them stopped."""
    path = folder / "households.csv"
    path.write_text(HOUSEHOLDS)
    load(database, path, programme=None, dry_run=False, show=lambda _: None, keys=keys)


def test_person_key_is_rotated_by_importing_again(
    command_line: CommandLine, database: Database, keys: Path, tmp_path: Path
) -> None:
    """Who is stopped counts, too: the family may come back, and would not be recognised."""
    a_programme(database)
    import_persons(database, tmp_path, keys=keys)
    command_line.run(app, "rotate", "person")

    before = command_line.run(app, "rotate", "person")
    early = command_line.run(app, "retire", "person", "1", "--yes")
    import_persons(database, tmp_path, keys=keys)
    retired = command_line.run(app, "retire", "person", "1", "--yes")

    assert "2 enrolments rest on version 1 yet" in before.stderr
    assert early.code == Exit.FAILED
    assert "2 enrolments rest on version 1" in str(early.error)
    assert retired.code == Exit.DONE
    assert load_keys(keys, "person").versions == [2]


def test_desk_with_another_person_key_imports_nobody(
    command_line: CommandLine, database: Database, keys: Path, tmp_path: Path
) -> None:
    """It would recognise nobody whom the first desk has enrolled, and say nothing of it."""
    a_programme(database)
    command_line.run(app, "init")
    import_persons(database, tmp_path, keys=keys)
    init_keys(tmp_path / "second desk")

    with pytest.raises(Misconfigured, match="version 1 of the person key on this host is another key"):
        import_persons(database, tmp_path, keys=tmp_path / "second desk")


VALID = Use(1, 12, "vouchers", date(2027, 1, 30))
MADE = Recorded({key.version: fingerprint("pin", key) for key in RING.keys}, frozenset())
PINS = KeyRing("pin", RING.keys)


@pytest.mark.parametrize(
    ("ring", "known", "uses", "begun", "state", "said"),
    [
        pytest.param(PINS, MADE, {1: VALID}, False, "ok", "nothing rests on version 2 yet", id="whole"),
        pytest.param(
            KeyRing("pin", PINS.keys[1:]), MADE, {1: VALID}, False, "failed", "version 1 is missing here: 12 vouchers",
            id="a version that vouchers rest on is missing",
        ),
        pytest.param(
            KeyRing("pin", PINS.keys[1:]), Recorded(MADE.made, frozenset({1})),
            {1: Use(1, 12, "vouchers", date(2026, 1, 1), in_force=False)}, False, "ok", "all expired",
            id="a version whose vouchers have expired is gone",
        ),
        pytest.param(
            PINS, Recorded({1: "0" * 16}, frozenset()), {}, False, "failed", "version 1 here is another key",
            id="another key",
        ),
        pytest.param(
            KeyRing("pin", PINS.keys[:1]), MADE, {}, False, "warning", "version 2 was made on another host",
            id="not copied yet",
        ),
        pytest.param(
            KeyRing("pin", PINS.keys[:1]), MADE, {}, True, "warning", "a change of it was begun here", id="killed here",
        ),
        pytest.param(
            PINS, Recorded(MADE.made, frozenset({1})), {}, False, "warning", "version 1 is retired",
            id="retired elsewhere",
        ),
    ],
)  # fmt: skip
def test_doctor_holds_the_file_of_this_host_against_what_rests_on_it(
    ring: KeyRing, known: Recorded, uses: dict[int, Use], begun: bool, state: str, said: str
) -> None:
    check = key_use_check(ring, known, uses, begun=begun)

    assert (check.state, bool(check.hint)) == (state, state != "ok")
    assert said in check.detail


def test_doctor_tells_what_rests_on_each_version(
    command_line: CommandLine, installation: Installation, keys: Path
) -> None:
    credit_a_month(installation)
    key_path(keys, "pin").write_text(key_path(keys, "pin").read_text().replace("1 ", "2 ", 1))

    rows = command_line.run(doctor_app, "--json").json["checks"]

    assert isinstance(rows, list)
    row = next(each for each in rows if each["check"] == "key pin in use")
    assert row["state"] == "failed"
    assert re.search(r"version 1 is missing here: 12 vouchers, valid until \d{4}-\d{2}-\d{2}", row["detail"])


def test_what_a_restore_forgot_is_recorded_again(command_line: CommandLine, database: Database, keys: Path) -> None:
    """The journal knows the versions of this file again, so that no host makes another one."""
    key_path(keys, "pin").write_text(f"{key_path(keys, 'pin').read_text()}2 {bytes(range(32)).hex()}\n")

    command_line.run(app, "init")

    with database.reading() as tx:
        known = recorded(tx, "pin")
    assert known.made == {key.version: fingerprint("pin", key) for key in load_keys(keys, "pin").keys}


def test_keys_command_beside_a_held_database_changes_nothing(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    with database.transaction() as tx:
        hold(tx, "restored")

    outcome = command_line.run(app, "rotate", "pin")

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert load_keys(keys, "pin").versions == [1]


def test_version_that_was_recorded_and_lost_can_be_given_up(
    command_line: CommandLine, database: Database, keys: Path
) -> None:
    """The disk of the host that made it died before anybody had a copy."""
    with database.transaction() as tx:
        for version, told in ((1, fingerprint("pin", load_keys(keys, "pin").latest)), (2, "f" * 16)):
            append(tx, KeyMade(kind="pin", version=version, fingerprint=told, operator="ana"))

    refused = command_line.run(app, "rotate", "pin")
    assert refused.error is not None
    assert "keys retire pin 2" in str(refused.error.hint)
    command_line.run(app, "retire", "pin", "2", "--yes")
    command_line.run(app, "rotate", "pin")

    assert load_keys(keys, "pin").versions == [1, 3]

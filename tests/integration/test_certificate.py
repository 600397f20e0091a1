"""A certificate says what the books say, as of a place in the sealed journal, and is checked without the database."""

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from console import certificate, logs
from console.certificate_verify import faults_of
from console.keys import app as keys_app
from models import certify
from models.certificate import Head, public_key_text, read_certificate
from models.certify import sort_hmacs
from models.errors import Exit
from models.keys import key_path, load_keys
from models.messages import CreditBatch
from models.runs import summarise
from models.states import CaseReason
from models.storage import Database, Query
from models.tables import Journal, Programme, Run, Seal
from scheduler.cancel import cancel, settle_cancelled
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.seal import seal
from tests.builders import (
    NOGALES,
    PLENTY_MINOR,
    TIJUANA,
    a_programme,
    a_rate,
    a_released_run,
    batches_of,
    cases_of,
    families,
    run_again,
)
from tests.command_line import CommandLine, Outcome
from tests.installation import Installation
from tests.ledger import make_dead_case

pytestmark = pytest.mark.long

CITIES = [(TIJUANA, "Tijuana", "America/Tijuana"), (NOGALES, "Nogales", "America/Hermosillo")]


#: What it is about is the same on both databases.
ONE_DATABASE = pytest.mark.parametrize("profile", ["embedded"])


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation, tmp_path: Path) -> CommandLine:
    """Of the installation, in a folder of its own."""
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def programme(database: Database) -> Programme:
    """In two cities, paid by two donors: the first one's money does for 20 families or so."""
    return a_programme(database, cities=CITIES, funds_minor=(2_000_000, PLENTY_MINOR))


def credited(installation: Installation, programme: Programme, *, count: int = 25, location: str = TIJUANA) -> Run:
    """A run that is over, and sealed."""
    families(installation.database, programme, count, location=location)
    run = a_released_run(installation.database, programme, location=location)
    for batch in batches_of(installation.database, run):
        installation.receive(CreditBatch(batch.id))
    installation.ticker().work()
    return run_again(installation.database, run)


def create(command_line: CommandLine, run: str = "2026-12/02004", *more: object) -> Outcome:
    return command_line.run(certificate.app, "create", run, *more)


def made(outcome: Outcome) -> Path:
    """The file that a command has written."""
    assert outcome.code == Exit.DONE, outcome.error
    return Path(outcome.stdout.split("  ", 1)[1].strip())


def head_of(outcome: Outcome) -> Head:
    return read_certificate(made(outcome)).head


def public_key(installation: Installation) -> str:
    return public_key_text(load_keys(installation.settings.keys, "certificate").latest)


def test_certificate_says_what_the_books_say_and_is_checked_without_them(
    command_line: CommandLine, installation: Installation, programme: Programme, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = credited(installation, programme)
    outcome = create(command_line)

    path, head = made(outcome), head_of(outcome)
    with installation.database.reading() as tx:
        counts = summarise(tx, run.id).counts
        place = tx.get(Seal, Seal.seq == head.journal.seq)
    assert (head.planned.families, head.planned.amount_minor) == (25, run.planned_minor)
    assert (head.credited.families, head.credited.amount_minor) == (counts.credited, counts.credited_minor)
    assert head.journal.hash == place.hash
    assert (head.lines_digest, head.state, head.approvals[0].how) == (run.digest, "completed", "policy")
    assert [fund.donor for fund in head.funds] == ["Donor 1", "Donor 2"]
    assert (head.planned_by, head.released_by) == (run.planned_by, run.released_by)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name == f"northern-mexico-2026-12-02004-as-of-{head.journal.seq}.certificate"
    with monkeypatch.context() as elsewhere:
        donor = CommandLine(elsewhere, {})
        checked = donor.run(certificate.app, "verify", path, "--key", public_key(installation))
    assert checked.code == Exit.DONE
    assert "25 families were credited, each of them once" in checked.stdout


@ONE_DATABASE
def test_nothing_of_a_family_is_in_it(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    credited(installation, programme)

    content = made(create(command_line)).read_bytes()

    assert b"R-02004" not in content
    for number in range(25):
        registration_id = f"R-02004-{number:07}".encode()
        assert hashlib.sha256(registration_id).hexdigest().encode() not in content
    assert not {"members", "group", "household", "voucher", "registration"} & set(content.decode().split('"'))


def test_certificate_is_journalled_with_its_digest_and_its_place(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    run = credited(installation, programme)

    outcome = create(command_line)

    path, head = made(outcome), head_of(outcome)
    with installation.database.reading() as tx:
        (event,) = tx.list(Journal, Journal.event == "certificate.created")
    told = orjson.loads(event.fields)
    assert told["file_digest"] == hashlib.sha256(path.read_bytes()).hexdigest() == outcome.stdout.split()[0]
    assert (told["run_id"], told["as_of_seq"], told["key_version"]) == (run.id, head.journal.seq, 1)
    assert (told["credited"], told["credited_minor"]) == (25, head.credited.amount_minor)


def test_cities_of_a_month_are_proven_together_and_a_family_of_both_is_found(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    credited(installation, programme)
    credited(installation, programme, location=NOGALES)
    paths = [made(create(command_line)), made(create(command_line, "2026-12/26043"))]

    outcome = command_line.run(certificate.app, "verify", *paths, "--key", public_key(installation), "--json")

    month = outcome.json["months"][0]  # type: ignore[index]
    assert outcome.code == Exit.DONE
    assert (month["families"], month["complete"], month["paid_twice"]) == (50, True, 0)


@ONE_DATABASE
def test_part_that_was_released_later_is_told_to_be_missing(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    """Of the certificates in hand the one of the last city knows of the first; of what came after it knows nothing."""
    credited(installation, programme, location=NOGALES)
    first = made(create(command_line, "2026-12/26043"))
    credited(installation, programme)
    second = made(create(command_line))

    def missing(path: Path) -> object:
        outcome = command_line.run(certificate.app, "verify", path, "--key", public_key(installation), "--json")
        return outcome.json["months"][0]["missing"]  # type: ignore[index]

    assert (missing(first), missing(second)) == ([], ["2026-12/26043"])


@pytest.mark.parametrize("verdict", [resolve_paid, resolve_not_owed])
def test_case_that_is_decided_later_gives_a_newer_certificate(
    command_line: CommandLine, installation: Installation, programme: Programme, verdict: Callable[..., object]
) -> None:
    database = installation.database
    families(database, programme, 3, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=1)
    make_dead_case(database, run)
    for batch in batches_of(database, run):
        if batch.state == "open":
            installation.receive(CreditBatch(batch.id))
    installation.ticker().work()
    before = create(command_line)
    (case,) = cases_of(database, run)
    with database.transaction() as tx:
        verdict(tx, case.id, evidence="receipt 7", **({"key_version": 1} if verdict is resolve_paid else {}))
    unsealed = create(command_line)
    installation.ticker().work()
    after = create(command_line)

    assert (case.reason, head_of(before).state) == (CaseReason.DEAD, "completed_with_cases")
    assert head_of(before).cases_open.families == 1
    assert "1 families wait" in before.stderr
    assert unsealed.code == Exit.FAILED
    assert "no place in the journal yet" in str(unsealed.error)
    paid = verdict is resolve_paid
    assert head_of(after).credited.families == 2 + paid
    assert head_of(after).not_owed.families == 1 - paid
    assert head_of(after).state == "completed"
    assert head_of(after).journal.seq > head_of(before).journal.seq
    key = public_key(installation)
    for outcome in (before, after):
        assert list(faults_of(read_certificate(made(outcome)), {key})) == []
    both = command_line.run(certificate.app, "verify", made(before), made(after), "--key", key)
    assert both.code == Exit.MISUSED
    assert f"{made(after)} is newer" in str(both.error and both.error.hint)


def test_cancelled_run_is_certified_once_it_is_settled(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    database = installation.database
    families(database, programme, 25, location=TIJUANA)
    run = a_released_run(database, programme)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))
    with database.transaction() as tx:
        cancel(tx, run.id)
    installation.ticker().work()
    while not run_again(database, run).completed_at:
        with database.transaction() as tx:
            settle_cancelled(tx, run.id)
    installation.ticker().work()

    head = head_of(create(command_line))

    assert (head.state, head.credited.families, head.cases_open.families) == ("cancelled", 10, 15)


@ONE_DATABASE
def test_run_that_is_not_over_is_refused_by_its_state_and_nothing_is_written(
    command_line: CommandLine, installation: Installation, programme: Programme, tmp_path: Path
) -> None:
    families(installation.database, programme, 3, location=TIJUANA)
    a_released_run(installation.database, programme)

    outcome = create(command_line)

    assert outcome.code == Exit.FAILED
    assert "run 2026-12/02004 is released" in str(outcome.error)
    assert list((tmp_path / "desk").iterdir()) == []


def test_event_without_a_place_makes_the_certificate_wait(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    """Otherwise it would count what the head that it names does not tell."""
    database = installation.database
    families(database, programme, 3, location=TIJUANA)
    run = a_released_run(database, programme)
    ticker = installation.ticker()
    ticker.seals = False
    for batch in batches_of(database, run):
        installation.receive(CreditBatch(batch.id))
    ticker.work()

    refused = create(command_line)
    while seal(database):
        pass
    head = head_of(create(command_line))

    assert "have no place in the journal yet" in str(refused.error)
    with database.reading() as tx:
        last = max(each.seq for each in tx.list(Seal))
        credits_of_run = tx.list(Journal, Journal.run_id == run.id, Journal.event == "batch.credited")
        places = [tx.get(Seal, Seal.journal_id == each.id).seq for each in credits_of_run]
    assert max(places) <= head.journal.seq <= last


def test_own_event_of_the_last_certificate_keeps_nobody_waiting(
    command_line: CommandLine, installation: Installation, programme: Programme, tmp_path: Path
) -> None:
    credited(installation, programme)

    first, again = create(command_line), create(command_line, "2026-12/02004", tmp_path / "again")

    assert head_of(first).families_sha256 == head_of(again).families_sha256


@ONE_DATABASE
def test_certificate_is_never_overwritten_and_its_folder_must_be_there(
    command_line: CommandLine, installation: Installation, programme: Programme, tmp_path: Path
) -> None:
    credited(installation, programme)
    path = made(create(command_line))
    before = path.read_bytes()

    again = create(command_line)
    nowhere = create(command_line, "2026-12/02004", tmp_path / "none" / "file")

    assert (again.code, nowhere.code) == (Exit.MISUSED, Exit.MISUSED)
    assert path.read_bytes() == before
    assert [each.name for each in (tmp_path / "desk").iterdir()] == [path.name]


def test_month_keeps_the_key_of_its_first_certificate_and_the_next_one_has_the_new_key(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    """HMACs of a month must be comparable over all its runs."""
    credited(installation, programme)
    credited(installation, programme, location=NOGALES)
    versions = [head_of(create(command_line)).key_version]
    command_line.run(keys_app, "rotate", "certificate")
    versions.append(head_of(create(command_line, "2026-12/26043")).key_version)
    printed = command_line.run(certificate.app, "key").stdout

    assert versions == [1, 1]
    assert [line.split()[2] for line in printed.splitlines()] == ["1", "2"]
    assert public_key(installation) in printed.splitlines()[1]
    retired = command_line.run(keys_app, "retire", "certificate", "1", "--yes")
    assert "2 certificates rest on version 1" in str(retired.error)


@ONE_DATABASE
def test_month_after_a_rotation_is_signed_with_the_new_key(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    credited(installation, programme)
    command_line.run(keys_app, "rotate", "certificate")

    assert head_of(create(command_line)).key_version == 2


@ONE_DATABASE
def test_desk_with_another_key_signs_nothing(
    command_line: CommandLine, installation: Installation, programme: Programme, tmp_path: Path
) -> None:
    """A month under two keys of one version could not be compared, and nobody would see why."""
    credited(installation, programme)
    command_line.run(keys_app, "init")
    key_path(installation.settings.keys, "certificate").write_text(f"1 {bytes(range(32)).hex()}\n")

    outcome = create(command_line)

    assert outcome.code == Exit.MISUSED
    assert "another key than the one that was recorded" in str(outcome.error)
    assert list((tmp_path / "desk").iterdir()) == []


@ONE_DATABASE
def test_public_key_is_printed_and_the_secret_is_not(command_line: CommandLine, installation: Installation) -> None:
    outcome = command_line.run(certificate.app, "key")

    assert outcome.stdout.startswith(f"{public_key(installation)} version 1 fingerprint ")
    assert load_keys(installation.settings.keys, "certificate").latest.secret.hex() not in outcome.stdout
    assert command_line.run(certificate.app, "key", "--json").json["keys"][0]["version"] == 1  # type: ignore[index]


@ONE_DATABASE
def test_books_that_do_not_agree_are_not_certified(
    command_line: CommandLine, installation: Installation, programme: Programme, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is counted are the vouchers themselves."""
    credited(installation, programme)
    lesser = Query(
        "-- list_credited_families: all but one\nSELECT h.registration_id, d.amount_minor FROM voucher v "
        "JOIN disbursement d ON d.id = v.id JOIN household h ON h.id = d.household_id "
        "WHERE v.id BETWEEN :first_id + 1 AND :last_id AND v.id % 10000000 > 1"
    )
    monkeypatch.setattr(certify, "LIST_CREDITED_FAMILIES", lesser)

    outcome = create(command_line)

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert "its vouchers are 24, its books say 25" in str(outcome.error)
    assert list((tmp_path / "desk").iterdir()) == []


@ONE_DATABASE
def test_rate_stands_in_it_with_its_source_and_date(
    command_line: CommandLine, installation: Installation, database: Database, programme: Programme
) -> None:
    from sqlalchemy import text

    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE programme SET value_currency = 'USD'"))
        a_rate(tx, programme)
    credited(installation, programme)

    rate = head_of(create(command_line)).rate

    assert rate is not None
    assert (rate.from_currency, rate.millionths, rate.source, rate.date) == ("USD", 17_500_000, "test", "2026-11-30")


@ONE_DATABASE
def test_log_still_has_the_line_as_of_which_it_is_true(
    command_line: CommandLine, installation: Installation, programme: Programme
) -> None:
    """As the page for donors says it is cross-checked: the head's hash, the digest of the lines, the sums."""
    credited(installation, programme)
    head = head_of(create(command_line))
    log = installation.settings.log

    proven = command_line.run(logs.app, "verify", log, "--head", head.journal.hash)
    digests = command_line.run(
        logs.app, "query",
        "SELECT DISTINCT digest FROM log WHERE run = '2026-12/02004' AND event IN ('run.planned', 'run.approved')",
        log, "--csv",
    )  # fmt: skip
    sums = command_line.run(
        logs.app, "query",
        "SELECT SUM(credited), SUM(credited_minor) FROM log WHERE run = '2026-12/02004' "
        f"AND event IN ('batch.credited', 'case.resolved') AND seq <= {head.journal.seq}",
        log, "--csv",
    )  # fmt: skip

    assert proven.code == Exit.DONE
    assert digests.stdout.splitlines()[1:] == [head.lines_digest]
    assert sums.stdout.splitlines()[1] == f"25,{head.credited.amount_minor}"


@pytest.mark.parametrize("at_a_time", [1, 7, 40, 41, 1000])
def test_more_families_than_fit_into_memory_are_sorted_all_the_same(tmp_path: Path, at_a_time: int) -> None:
    hmacs = [hashlib.sha256(str(number).encode()).digest() for number in range(40)]

    assert list(sort_hmacs(hmacs, folder=tmp_path, at_a_time=at_a_time)) == sorted(hmacs)
    assert list(tmp_path.iterdir()) == []

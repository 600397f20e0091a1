"""Families must learn their voucher: the life of one, and the hand-over file."""

import csv
import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.keys import app as keys_app
from console.voucher import app
from models.errors import Exit, Misconfigured, RefusedInput
from models.handover import decimal_text, export_run, valid_until
from models.keys import Key, KeyRing, load_keys, parse_voucher_number, pin, voucher_number
from models.messages import CreditBatch
from models.storage import Database
from models.tables import Journal, Programme, Run
from scheduler.cancel import cancel, settle_cancelled
from scheduler.resolve import resolve_paid
from scheduler.seal import seal
from tests.builders import a_programme, a_released_run, batches_of, cases_of, families, vouchers_of
from tests.command_line import CommandLine
from tests.installation import Installation

pytestmark = pytest.mark.long

FAMILIES = 25
TIJUANA = ("02004", "Tijuana", "America/Tijuana")


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def programme(database: Database) -> Programme:
    """In Tijuana."""
    return a_programme(database, cities=[TIJUANA])


@pytest.fixture
def run(database: Database, installation: Installation, programme: Programme) -> Run:
    """A run of which every batch was credited."""
    families(database, programme, FAMILIES, location="02004")
    run = a_released_run(database, programme)
    for batch in batches_of(database, run):
        installation.receive(CreditBatch(batch.id))
    return run


def exports_of(database: Database) -> list[dict[str, object]]:
    with database.reading() as tx:
        return [orjson.loads(row.fields) for row in tx.list(Journal, Journal.event == "vouchers.exported")]


def test_export_holds_every_voucher_once_with_its_pin(
    command_line: CommandLine, installation: Installation, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "hand-over.csv"

    outcome = command_line.run(app, "export", "2026-12/02004", "--out", out, "--yes")

    assert outcome.code == Exit.DONE
    rows = list(csv.DictReader(out.read_text().splitlines()))
    keys = load_keys(installation.settings.keys, "pin")
    ids = [parse_voucher_number(row["voucher_number"]) for row in rows]
    assert ids == vouchers_of(installation.database, run)
    assert len({row["registration_id"] for row in rows}) == FAMILIES
    assert [row["pin"] for row in rows] == [pin(keys, version=1, voucher_id=each) for each in ids]
    assert {row["currency"] for row in rows} == {"MXN"}
    assert rows[0]["amount"] == "600.00"


def test_export_is_journalled_each_time_with_its_digest_alone(
    command_line: CommandLine, database: Database, run: Run, tmp_path: Path
) -> None:
    files = [tmp_path / "first.csv", tmp_path / "second.csv"]

    for out in files:
        command_line.run(app, "export", "2026-12/02004", "--out", out, "--yes")

    events = exports_of(database)
    assert [each["file_digest"] for each in events] == [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
    assert {each["vouchers"] for each in events} == {FAMILIES}
    assert "R-02004" not in str(events)


def test_export_is_for_its_owner_alone_and_leaves_nothing_beside_it(
    command_line: CommandLine, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    command_line.run(app, "export", "2026-12/02004", "--out", folder / "a.csv", "--yes")

    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert (folder / "a.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_export_never_overwrites(
    command_line: CommandLine, database: Database, run: Run, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "a.csv"
    if kind == "file":
        out.write_text("of somebody else")
    else:
        out.symlink_to(tmp_path / "elsewhere.csv")

    outcome = command_line.run(app, "export", "2026-12/02004", "--out", out, "--yes")

    assert outcome.code == Exit.MISUSED
    assert "never overwritten" in str(outcome.error)
    assert not (tmp_path / "elsewhere.csv").exists()
    assert exports_of(database) == []


def test_export_does_not_take_a_name_that_was_taken_meanwhile(
    database: Database, installation: Installation, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "a.csv"
    keys = load_keys(installation.settings.keys, "pin")

    class TakenMeanwhile(KeyRing):
        def get(self, version: int) -> Key:
            out.write_text("of somebody else")
            return keys.get(version)

    with pytest.raises(RefusedInput, match="cannot be written"):
        export_run(database, run, keys=TakenMeanwhile(keys.kind, keys.keys), path=out)

    assert out.read_text() == "of somebody else"
    assert list(tmp_path.glob(".a.csv*")) == []


def test_keys_are_not_made_anew_where_vouchers_exist(
    command_line: CommandLine, installation: Installation, run: Run
) -> None:
    """A new key would give the vouchers that exist other PINs than the families hold."""
    key = installation.settings.keys / "pin.key"
    key.unlink()

    outcome = command_line.run(keys_app, "init")

    assert outcome.code == Exit.FAILED
    assert outcome.error is not None
    assert "copy the key files" in str(outcome.error.hint)
    assert not key.exists()


@pytest.mark.parametrize("damage", ["missing", "short", "readable by others"])
def test_export_is_refused_without_a_good_key(
    command_line: CommandLine, installation: Installation, run: Run, tmp_path: Path, damage: str
) -> None:
    key = installation.settings.keys / "pin.key"
    if damage == "missing":
        key.unlink()
    elif damage == "short":
        key.write_text("1 abcd\n")
    else:
        key.chmod(0o604)

    outcome = command_line.run(app, "export", "2026-12/02004", "--out", tmp_path / "a.csv", "--yes")

    assert isinstance(outcome.error, Misconfigured)
    assert outcome.error.hint
    assert not (tmp_path / "a.csv").exists()
    assert exports_of(installation.database) == []


def test_export_that_fails_leaves_no_file_and_no_event(
    database: Database, installation: Installation, run: Run, tmp_path: Path
) -> None:
    """The version of the key with which the vouchers were made is gone."""
    key = installation.settings.keys / "pin.key"
    key.write_text(key.read_text().replace("1 ", "2 ", 1))

    with pytest.raises(Misconfigured, match="version 1 of the pin key is missing"):
        export_run(database, run, keys=load_keys(installation.settings.keys, "pin"), path=tmp_path / "a.csv")

    assert list(tmp_path.glob("*a.csv*")) == []
    assert exports_of(database) == []


def test_export_asks_and_without_a_terminal_needs_yes(command_line: CommandLine, run: Run, tmp_path: Path) -> None:
    outcome = command_line.run(app, "export", "2026-12/02004", "--out", tmp_path / "a.csv")

    assert outcome.code == Exit.MISUSED
    assert not (tmp_path / "a.csv").exists()


def test_export_before_anything_was_credited_is_refused_by_state(
    command_line: CommandLine, database: Database, programme: Programme, tmp_path: Path
) -> None:
    families(database, programme, 3, location="02004")
    a_released_run(database, programme)

    outcome = command_line.run(app, "export", "2026-12/02004", "--out", tmp_path / "a.csv", "--yes")

    assert outcome.code == Exit.FAILED
    assert list(tmp_path.glob("*a.csv*")) == []


def test_show_tells_the_life_of_a_voucher_and_nothing_of_the_family(
    command_line: CommandLine, database: Database, run: Run
) -> None:
    seal(database)
    first = vouchers_of(database, run)[0]

    life = command_line.run(app, "show", voucher_number(first), "--json").json
    screen = command_line.run(app, "show", voucher_number(first)).stdout

    assert life["disbursement"] == first
    assert (life["run"], life["fund"], life["amount_minor"]) == ("2026-12/02004", "fund-1", 60_000)
    assert life["batch"] == batches_of(database, run)[0].id
    with database.reading() as tx:
        event = tx.list(Journal, Journal.event == "batch.credited")[0]
    assert life["seq"] == event.id
    assert "R-02004" not in str(life) + screen
    assert "600.00 MXN" in screen


def test_show_tells_of_the_cases_of_a_voucher_that_a_person_resolved(
    command_line: CommandLine, database: Database, programme: Programme
) -> None:
    families(database, programme, 2, location="02004")
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        cancel(tx, run.id)
    with database.transaction() as tx:
        settle_cancelled(tx, run.id)
    case = cases_of(database, run)[0]
    before = command_line.run(app, "show", voucher_number(case.disbursement_id), "--json").json
    with database.transaction() as tx:
        resolve_paid(tx, case.id, evidence="ledger 7", key_version=1)

    after = command_line.run(app, "show", voucher_number(case.disbursement_id), "--json").json

    assert (before["credited"], before["valid_until"]) == (False, None)
    assert (after["credited"], after["batch"], after["fund"]) == (True, None, "fund-1")
    assert isinstance(after["cases"], list)
    assert [(each["reason"], each["outcome"]) for each in after["cases"]] == [("stopped", "paid")]


@pytest.mark.parametrize(("number", "said"), [("100000019", "check digit"), (voucher_number(99), "no voucher")])
def test_show_refuses_what_is_no_voucher(command_line: CommandLine, number: str, said: str) -> None:
    outcome = command_line.run(app, "show", number)

    assert outcome.code == Exit.MISUSED
    assert said in str(outcome.error)


@given(st.integers(1, 10**13))
def test_decimal_text_is_the_amount_to_the_centavo(amount_minor: int) -> None:
    major, _, minor = decimal_text(amount_minor).partition(".")

    assert int(major) * 100 + int(minor) == amount_minor
    assert len(minor) == 2


def test_validity_counts_from_the_local_day_of_the_credit() -> None:
    """Late on the last evening of a month in Tijuana it is the next month in UTC."""
    evening = datetime(2026, 12, 1, 6, 30, tzinfo=UTC)  # 30 November, 22:30 in Tijuana

    assert valid_until(evening, time_zone=ZoneInfo("America/Tijuana"), validity_days=60) == date(2027, 1, 29)

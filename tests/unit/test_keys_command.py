"""`keys init`, voucher numbers and PINs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.keys import app
from models.errors import Exit, Misconfigured, RefusedInput
from models.keys import KEY_BYTES, Key, KeyRing, load_keys, parse_voucher_number, pin, voucher_number
from tests.command_line import CommandLine

IDS = st.integers(min_value=10_000_001, max_value=10**17)
KEYS = KeyRing("pin", (Key(1, b"1" * KEY_BYTES), Key(2, b"2" * KEY_BYTES)))


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """An embedded installation that does not exist yet."""
    return CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path / "home")})


def test_init_makes_keys_for_their_owner_alone_and_says_to_back_them_up(
    command_line: CommandLine, tmp_path: Path
) -> None:
    outcome = command_line.run(app, "init")

    keys = tmp_path / "home" / "keys"
    assert outcome.code == Exit.DONE
    assert "Back these files up" in outcome.stderr
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "home", keys)] == [0o700, 0o700]
    for kind in ("pin", "webhook"):
        assert f"made  {keys}/{kind}.key" in outcome.stdout
        assert (keys / f"{kind}.key").stat().st_mode & 0o777 == 0o600
        assert load_keys(keys, kind).latest.version == 1


def test_init_again_keeps_what_is_there(command_line: CommandLine, tmp_path: Path) -> None:
    command_line.run(app, "init")
    key = tmp_path / "home" / "keys" / "pin.key"
    before = key.read_bytes()

    outcome = command_line.run(app, "init")

    assert key.read_bytes() == before
    assert f"kept  {key}" in outcome.stdout
    assert "Back" not in outcome.stderr


def test_init_refuses_a_damaged_key_instead_of_replacing_it(command_line: CommandLine, tmp_path: Path) -> None:
    command_line.run(app, "init")
    key = tmp_path / "home" / "keys" / "pin.key"
    key.write_text("1 abcd\n")

    outcome = command_line.run(app, "init")

    assert outcome.code == Exit.MISUSED
    assert key.read_text() == "1 abcd\n"


def test_init_makes_no_key_while_the_database_cannot_say_what_rests_on_it(
    command_line: CommandLine, tmp_path: Path
) -> None:
    """A host that lost its keys in an outage would give vouchers other PINs, under the same version."""
    command_line.set({"DESPENSA_DATABASE_URL": "postgresql://127.0.0.1:1/x", "DESPENSA_REDIS_URL": "redis://127.0.0.1"})

    outcome = command_line.run(app, "init")

    assert outcome.code == Exit.NO_DATABASE
    assert not (tmp_path / "home" / "keys").exists()


def test_init_makes_no_key_beside_a_database_that_cannot_be_read(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "despensa.sqlite3").write_bytes(b"torn" * 1000)

    outcome = command_line.run(app, "init")

    assert outcome.code == Exit.NO_DATABASE
    assert not (tmp_path / "home" / "keys").exists()


@given(IDS)
def test_number_leads_back_to_its_voucher(voucher_id: int) -> None:
    assert parse_voucher_number(voucher_number(voucher_id)) == voucher_id


@given(IDS, st.data())
def test_one_wrong_digit_is_found(voucher_id: int, data: st.DataObject) -> None:
    number = voucher_number(voucher_id)
    place = data.draw(st.integers(0, len(number) - 1))
    wrong = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != number[place]]))

    with pytest.raises(RefusedInput, match="check digit"):
        parse_voucher_number(number[:place] + wrong + number[place + 1 :])


@given(IDS, st.data())
def test_swapped_neighbours_are_found(voucher_id: int, data: st.DataObject) -> None:
    number = voucher_number(voucher_id)
    places = [place for place in range(len(number) - 1) if number[place] != number[place + 1]]
    if not places:
        return
    place = data.draw(st.sampled_from(places))

    with pytest.raises(RefusedInput, match="check digit"):
        parse_voucher_number(number[:place] + number[place + 1] + number[place] + number[place + 2 :])


@pytest.mark.parametrize("typed", ["", "1", "12a4", "١٢٣", "-15", " 123", "9" * 30])
def test_what_is_no_number_is_refused(typed: str) -> None:
    with pytest.raises(RefusedInput):
        parse_voucher_number(typed)


@given(IDS)
def test_pin_is_six_digits_the_same_each_time_and_another_with_another_key(voucher_id: int) -> None:
    first = pin(KEYS, version=1, voucher_id=voucher_id)

    assert len(first) == 6
    assert first.isascii()
    assert first.isdigit()
    assert pin(KEYS, version=1, voucher_id=voucher_id) == first


def test_pins_are_spread_over_all_numbers() -> None:
    """A PIN must not be guessed from its neighbour's: 20,000 in a row hit each of 100 ranges about 200 times."""
    ranges = [0] * 100
    for voucher_id in range(20_000):
        ranges[int(pin(KEYS, version=1, voucher_id=voucher_id)) // 10_000] += 1

    assert min(ranges) > 120
    assert max(ranges) < 280


def test_another_key_gives_other_pins() -> None:
    ids = range(1000)
    same = sum(pin(KEYS, version=1, voucher_id=each) == pin(KEYS, version=2, voucher_id=each) for each in ids)

    assert same <= 2


def test_version_that_is_gone_is_named() -> None:
    with pytest.raises(Misconfigured, match="version 3 of the pin key is missing"):
        pin(KEYS, version=3, voucher_id=1)

"""What the number of a document may be, when two are one, and what its hash tells."""

import pytest

from models.keys import Key, KeyRing
from models.person_keys import BadPersonKey, Persons, normalised

NUMBER = "HND-0501-1990-01234"
KEYS = KeyRing("person", (Key(1, b"1" * 32), Key(2, b"2" * 32)))


@pytest.mark.parametrize(
    "spelling",
    ["hnd 0501 1990 01234", "HND0501199001234", " HND.0501/1990_01234 ", "Hnd-0501-1990-01234", "00HND0501199001234"],
)
def test_spellings_of_one_number_are_one(spelling: str) -> None:
    assert normalised(spelling) == normalised(NUMBER)


@pytest.mark.parametrize(("one", "other"), [("00123456", "123456"), ("0 12-345", "12345"), ("a1234", "A1234")])
def test_zeros_that_a_spreadsheet_drops_do_not_matter(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("A123456", "B123456"), ("123456", "1234560"), ("A10234", "A1O234")])
def test_other_numbers_are_others(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "María Pérez", "Maria Perez", "1234", "ABC123", "0000000", "11111", "9-9-9-9-9", "N/A", "1.23457E+11",
        "х1234567", "１２３４５６７", "ß1234567", "HND\u00a01234567", "HND1234567\n", "A" * 10 + "1" * 31, "12345;",
        "=12345", "12345\0",
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused_and_not_repeated(text: str) -> None:
    """A name cannot be one, a filler cannot, nor what a spreadsheet made of one; nothing is read one way or another."""
    with pytest.raises(BadPersonKey) as refused:
        normalised(text)

    assert len(text) < 5 or text not in str(refused.value)


def test_hash_is_of_its_key_its_programme_and_its_number() -> None:
    hashes = {
        Persons(keys, programme).hashed(number)
        for keys in (KEYS, KeyRing("person", KEYS.keys[:1]))
        for programme in ("northern-mexico", "winter")
        for number in (NUMBER, "SLV 03456789-0")
    }

    assert len(hashes) == 8
    assert {len(each) for each in hashes} == {64}


def test_earlier_versions_are_those_before_the_latest() -> None:
    now, before = Persons(KEYS, "winter"), Persons(KeyRing("person", KEYS.keys[:1]), "winter")

    assert now.hashed_earlier(NUMBER) == [before.hashed(NUMBER)]
    assert before.hashed_earlier(NUMBER) == []

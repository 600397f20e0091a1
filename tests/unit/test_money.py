"""Money: integers, strict text, and one rounding rule."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.money import (
    AMOUNT_MINOR_MAX,
    BadAmount,
    TransferValue,
    amounts_by_members,
    convert,
    format_amount,
    parse_amount,
    parse_rate,
)


@pytest.mark.parametrize(
    ("text", "minor"), [("0", 0), ("1", 100), ("1.5", 150), ("1234.56", 123_456), ("100000000000", AMOUNT_MINOR_MAX)]
)
def test_amount_is_read_in_minor_units(text: str, minor: int) -> None:
    assert parse_amount(text, currency="MXN") == minor


@pytest.mark.parametrize(
    "text",
    ["-1", "+1", "1.234", "1e3", "1,000", " 1", "1 ", "", ".5", "1.", "01", "١٢", "１", "NaN", "100000000000.01"],
)
def test_text_that_is_no_amount_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadAmount) as refused:
        parse_amount(text, currency="MXN")

    assert text.strip() == "" or len(text) < 3 or text not in str(refused.value)


@pytest.mark.parametrize("text", ["0", "-1", "1.1234567", "1e1", "", "1000001", "17,5"])
def test_text_that_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadAmount):
        parse_rate(text)


def test_unknown_currency_is_refused() -> None:
    with pytest.raises(BadAmount):
        parse_amount("1", currency="XXX")


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.sampled_from([1, 50, 100, 1000]))
def test_conversion_rounds_half_even_to_a_multiple(amount: int, rate: int, step: int) -> None:
    exact = Fraction(amount * rate, 1_000_000) / step

    assert convert(amount, rate_millionths=rate, round_to_minor=step) == round(exact) * step


@given(st.integers(0, AMOUNT_MINOR_MAX))
def test_amount_that_is_written_is_read_again(minor: int) -> None:
    assert parse_amount(format_amount(minor, "MXN").removesuffix(" MXN").replace(",", ""), currency="MXN") == minor


def test_value_grows_with_members_up_to_the_cap() -> None:
    value = TransferValue(base_minor=25_000, per_member_minor=5_000, cap_minor=50_000, currency="USD")

    amounts = amounts_by_members(value, rate_millionths=None, round_to_minor=1)

    assert [amounts[members] for members in (1, 2, 5, 6, 40)] == [30_000, 35_000, 50_000, 50_000, 50_000]
    with pytest.raises(ValueError, match="members"):
        value.for_members(41)

"""Money: integers in minor units, decimal text at the edges, and one conversion in integers. No float anywhere."""

import re
from dataclasses import dataclass

#: Currencies that may be used, all with two decimal places. Source: ISO 4217.
CURRENCIES = frozenset({"CAD", "EUR", "GTQ", "HNL", "MXN", "USD"})
MINOR_PER_MAJOR = 100
#: A hundred billion in major units: far above any fund, far below 2**63. The database checks the same.
AMOUNT_MINOR_MAX = 10**13
MEMBERS_MAX = 40
RATE_SCALE = 1_000_000
RATE_MILLIONTHS_MAX = 10**6 * RATE_SCALE

_AMOUNT = re.compile(r"(?P<major>0|[1-9][0-9]{0,12})(?:\.(?P<minor>[0-9]{1,2}))?", re.ASCII)
_RATE = re.compile(r"(?P<whole>0|[1-9][0-9]{0,6})(?:\.(?P<places>[0-9]{1,6}))?", re.ASCII)


class BadAmount(ValueError):
    """Text that is no amount, rate or currency. The message states the rule, never the text."""


def require_currency(code: str) -> str:
    """The code, if it is one we can count in. Raises BadAmount."""
    if code not in CURRENCIES:
        raise BadAmount(f"a currency is one of {', '.join(sorted(CURRENCIES))}")
    return code


def parse_amount(text: str, *, currency: str) -> int:
    """Decimal text such as `1234.5` or `1234.56` in minor units. Raises BadAmount.

    No sign, exponent, thousands separator or blank; digits 0 to 9 only; at most two decimal places.
    """
    require_currency(currency)
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise BadAmount("an amount is written like 1234.56: digits 0-9, at most two decimal places, nothing else")
    minor = int(found["major"]) * MINOR_PER_MAJOR + int((found["minor"] or "0").ljust(2, "0"))
    if minor > AMOUNT_MINOR_MAX:
        raise BadAmount(f"an amount is at most {format_amount(AMOUNT_MINOR_MAX, currency)}")
    return minor


def format_amount(minor: int, currency: str) -> str:
    """Minor units as `1,234.56 MXN`."""
    sign = "-" if minor < 0 else ""
    major, rest = divmod(abs(minor), MINOR_PER_MAJOR)
    return f"{sign}{major:,}.{rest:02} {currency}"


def parse_rate(text: str) -> int:
    """Decimal text of at most six places in millionths: `17.5` is 17_500_000. Raises BadAmount."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise BadAmount("a rate is written like 17.512345: digits 0-9, at most six decimal places, nothing else")
    millionths = int(found["whole"]) * RATE_SCALE + int((found["places"] or "0").ljust(6, "0"))
    if not 0 < millionths <= RATE_MILLIONTHS_MAX:
        raise BadAmount("a rate is above zero and at most 1000000")
    return millionths


def format_rate(millionths: int) -> str:
    """Millionths as decimal text of six places."""
    whole, places = divmod(millionths, RATE_SCALE)
    return f"{whole}.{places:06}"


@dataclass(frozen=True, slots=True)
class TransferValue:
    """What a household gets a month, in minor units of `currency`: base and per member, up to the cap."""

    base_minor: int
    per_member_minor: int
    cap_minor: int
    currency: str

    def for_members(self, members: int) -> int:
        """Of a household of so many members, 1 to MEMBERS_MAX. Raises ValueError outside."""
        if not 1 <= members <= MEMBERS_MAX:
            raise ValueError(f"a household has 1 to {MEMBERS_MAX} members")
        return min(self.cap_minor, self.base_minor + self.per_member_minor * members)


def convert(amount_minor: int, *, rate_millionths: int, round_to_minor: int) -> int:
    """An amount at a rate, rounded half even to a multiple of `round_to_minor`. Both currencies have two places."""
    numerator = amount_minor * rate_millionths
    step = RATE_SCALE * round_to_minor
    quotient, rest = divmod(numerator, step)
    if 2 * rest > step or (2 * rest == step and quotient % 2 == 1):
        quotient += 1
    return quotient * round_to_minor


def amounts_by_members(value: TransferValue, *, rate_millionths: int | None, round_to_minor: int) -> dict[int, int]:
    """What households of 1 to MEMBERS_MAX get in the voucher's currency; without a rate it is the value's own."""
    rate = RATE_SCALE if rate_millionths is None else rate_millionths
    return {
        members: convert(value.for_members(members), rate_millionths=rate, round_to_minor=round_to_minor)
        for members in range(1, MEMBERS_MAX + 1)
    }

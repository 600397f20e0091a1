"""What each kind of field may hold. A parser returns the value, or raises BrokenRule with the rule alone."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from models.calendar import BadCycle, Cycle
from models.intake.rows import BrokenRule
from models.money import MEMBERS_MAX, BadAmount, parse_amount, parse_rate, require_currency
from models.outgoing import SETTING, Outgoing, RefusedUrl
from models.states import DOUBLE_ENROLMENT, GROUPS, EnrolmentStatus

TEXT_MAX = 200
#: A large file repeats a few texts a million times; so many of a field are parsed once. Registration ids are not kept.
TEXTS_KEPT = 1_000

_REGISTRATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", re.ASCII)
_REASON = re.compile(r"[a-z][a-z_]{0,39}", re.ASCII)
_LOCATION = re.compile(r"(?!00)[0-9]{5}", re.ASCII)
_INSTANT = re.compile(
    r"(20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def plain_text(text: str) -> str:
    """A name: printable, not empty, no blank at its ends."""
    if not text or text != text.strip() or len(text) > TEXT_MAX or not text.isprintable():
        raise BrokenRule(f"must be printable text of 1 to {TEXT_MAX} characters without blanks at its ends")
    return text


def code(text: str) -> str:
    """What operators type: letters, digits and hyphens."""
    if not _CODE.fullmatch(text):
        raise BrokenRule("must be 1 to 40 letters a-z, digits and hyphens")
    return text


def registration_id(text: str) -> str:
    """A family's number in the partner's register. Never a name: no blank is allowed."""
    if not _REGISTRATION.fullmatch(text):
        raise BrokenRule("must be 1 to 40 letters a-z, digits, and . _ / -")
    return text


@lru_cache(TEXTS_KEPT)
def location_code(text: str) -> str:
    """A municipality's INEGI code."""
    if not _LOCATION.fullmatch(text):
        raise BrokenRule("must be a five-digit INEGI code, such as 02004")
    return text


def number_between(low: int, high: int) -> Callable[[str], int]:
    """A whole number in digits 0-9."""

    @lru_cache(TEXTS_KEPT)
    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
            raise BrokenRule(f"must be a whole number from {low} to {high}, in digits 0-9")
        return int(text)

    return parse


members = number_between(1, MEMBERS_MAX)


def group(text: str) -> str:
    """One of the programme's five groups."""
    if text not in GROUPS:
        raise BrokenRule(f"must be one of {', '.join(GROUPS)}")
    return text


@lru_cache(TEXTS_KEPT)
def cycle(text: str) -> Cycle:
    """A benefit month."""
    try:
        return Cycle.parse(text)
    except BadCycle as error:
        raise BrokenRule(str(error)) from None


def optional_cycle(text: str) -> Cycle | None:
    """A benefit month, or nothing."""
    return cycle(text) if text else None


@lru_cache(TEXTS_KEPT)
def status(text: str) -> tuple[str, str]:
    """`active`, or `held:REASON` or `stopped:REASON`; returns status and reason code."""
    name, colon, reason = text.partition(":")
    if reason == DOUBLE_ENROLMENT:
        raise BrokenRule(f"{DOUBLE_ENROLMENT} is what two operators decide about, and no file: give another reason")
    if name == EnrolmentStatus.ACTIVE and not colon:
        return name, ""
    if name in (EnrolmentStatus.HELD, EnrolmentStatus.STOPPED) and _REASON.fullmatch(reason):
        return name, reason
    raise BrokenRule("must be active, or held:REASON or stopped:REASON with a reason code of a-z and _")


def currency(text: str) -> str:
    """A currency that we count in."""
    try:
        return require_currency(text)
    except BadAmount as error:
        raise BrokenRule(str(error)) from None


def amount(of: str) -> Callable[[str], int]:
    """Decimal text in minor units of a currency."""

    def parse(text: str) -> int:
        try:
            return parse_amount(text, currency=of)
        except BadAmount as error:
            raise BrokenRule(str(error)) from None

    return parse


def optional_amount(of: str) -> Callable[[str], int | None]:
    """An amount, or nothing."""
    parse = amount(of)
    return lambda text: parse(text) if text else None


def optional_position(text: str) -> int | None:
    """A place in an order, or nothing."""
    return number_between(1, 10_000)(text) if text else None


def several(parse: Callable[[str], str]) -> Callable[[str], frozenset[str]]:
    """Codes with blanks or semicolons between them; nothing is none."""

    def parse_all(text: str) -> frozenset[str]:
        codes = [parse(each) for each in re.split(r"[\s;]+", text) if each]
        if len(set(codes)) < len(codes):
            raise BrokenRule("names one of them twice")
        return frozenset(codes)

    return parse_all


def rate(text: str) -> int:
    """Decimal text in millionths."""
    try:
        return parse_rate(text)
    except BadAmount as error:
        raise BrokenRule(str(error)) from None


def day(text: str) -> str:
    """A calendar date."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        raise BrokenRule("must be a date, YYYY-MM-DD") from None
    if parsed.isoformat() != text:
        raise BrokenRule("must be a date, YYYY-MM-DD")
    return text


def instant(text: str) -> datetime:
    """An instant with its offset, in UTC."""
    rule = "must be an instant with its offset, such as 2026-12-01T09:00:00-06:00 or 2026-12-01T15:00:00Z"
    if not _INSTANT.fullmatch(text):
        raise BrokenRule(rule)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise BrokenRule(rule) from None


def yes_or_no(text: str) -> bool:
    """`yes` or `no`."""
    if text not in ("yes", "no"):
        raise BrokenRule("must be yes or no")
    return text == "yes"


def url(outgoing: Outgoing) -> Callable[[str], str]:
    """Where a store is told, or an issuer called, as far as the URL tells; its name is looked up at each call."""

    def parse(text: str) -> str:
        try:
            outgoing.destination(text)
        except RefusedUrl as error:
            rule = f"must begin with https:// and a host of the internet, or of a network that {SETTING} names"
            raise BrokenRule(f"{rule}; {error} is refused") from None
        return text

    return parse

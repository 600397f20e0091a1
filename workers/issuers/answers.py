"""Which answer of an issuer means what. Everything that is not plainly one of the first four is unknown.

| status | body | of a send | of an ask |
|---|---|---|---|
| 200, 201 | `credited`, our reference, amount and currency | credited | credited |
| 422 | `refused`, our reference, a reason | rejected | unknown |
| 404 | `absent`, our reference | unknown | absent |
| 429 | any | later | later |
| 503 | `try_later`, our reference | later | later |
| no connection was made, or the guard refused the address | | later | later |
| anything else: a bare 5xx, another 4xx, a redirect, a 200 that says something else, a body that is no JSON object, \
says a thing twice or is too long, a connection that broke or timed out after it was made | | unknown | unknown |

A 404 to a send is no refusal: a proxy on the way may have said it. So is a bare 503: the issuer may stand behind it
and be at work. A refusal binds nothing: the same reference may be sent again after one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from models.deadlines import RETRY_AFTER_S_MAX
from models.states import AnswerOutcome

#: An answer is not read further; a longer one is unknown.
ANSWER_BYTES_MAX = 16_384
#: How the detail of a call begins that the guard refused.
REFUSED = "refused: "
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_CREDIT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credit:
    """What is to be credited, as the issuer is told: nothing of the family."""

    reference: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Credited:
    """The issuer confirms reference, amount and currency."""

    credit_id: str  #: the issuer's own
    OUTCOME = AnswerOutcome.CREDITED
    detail = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """It refused for good, and holds nothing under the reference."""

    detail: str  #: its reason code
    OUTCOME = AnswerOutcome.REJECTED
    credit_id = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """Asked, it holds nothing under the reference."""

    OUTCOME = AnswerOutcome.ABSENT
    detail = ""
    credit_id = ""


@dataclass(frozen=True, slots=True)
class TryLater:
    """Nothing was done: nothing left this host, or the issuer said so."""

    detail: str
    retry_after_s: int = 0
    OUTCOME = AnswerOutcome.LATER
    credit_id = ""

    @property
    def refused(self) -> bool:
        """By the guard of this host: that says nothing of the issuer."""
        return self.detail.startswith(REFUSED)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call left, and no usable answer came: the credit may have been made."""

    detail: str  #: a class of trouble, never text of the issuer
    OUTCOME = AnswerOutcome.UNKNOWN
    credit_id = ""


Answer = Credited | Rejected | Absent | TryLater | Unknown


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer, as it was read."""

    status: int
    body: bytes
    retry_after: str = ""


def of_send(response: Response, credit: Credit) -> Answer:
    """What an answer to a send means. Never raises, whatever the issuer sent."""
    return _classify(response, credit, {200: _credited, 201: _credited, 422: _rejected})


def of_ask(response: Response, credit: Credit) -> Answer:
    """What an answer to an ask means. Never raises, whatever the issuer sent."""
    return _classify(response, credit, {200: _credited, 404: _absent})


def _classify(
    response: Response, credit: Credit, meanings: dict[int, Callable[[dict[str, object], Credit], Answer | None]]
) -> Answer:
    retry_after_s = _retry_after_s(response.retry_after)
    if response.status == 429:
        return TryLater("http 429", retry_after_s)
    said = _parse(response.body)
    if response.status == 503 and said is not None and _says(said, "try_later", credit):
        return TryLater("http 503", retry_after_s)
    meaning = meanings.get(response.status)
    if meaning is None:
        return Unknown(f"http {response.status}")
    if said is None:
        return Unknown("no JSON object")
    return meaning(said, credit) or Unknown(f"http {response.status} contradicts itself")


def _credited(said: dict[str, object], credit: Credit) -> Answer | None:
    amount_minor, credit_id = said.get("amount_minor"), said.get("credit_id")
    confirmed = (
        _says(said, "credited", credit)
        and type(amount_minor) is int  # in Python True is 1, and 1.0 is 1
        and amount_minor == credit.amount_minor
        and said.get("currency") == credit.currency
    )
    if not confirmed:
        return Unknown("another credit echoed") if said.get("status") == "credited" else None
    return Credited(credit_id) if isinstance(credit_id, str) and _CREDIT_ID.fullmatch(credit_id) else None


def _rejected(said: dict[str, object], credit: Credit) -> Answer | None:
    reason = said.get("reason")
    plain = isinstance(reason, str) and _REASON.fullmatch(reason)
    return Rejected(str(reason)) if _says(said, "refused", credit) and plain else None


def _absent(said: dict[str, object], credit: Credit) -> Answer | None:
    return Absent() if _says(said, "absent", credit) else None


def _says(said: dict[str, object], status: str, credit: Credit) -> bool:
    return said.get("status") == status and said.get("reference") == credit.reference


def _parse(body: bytes) -> dict[str, object] | None:
    """The JSON object, or None where it is none, says a thing twice, or is too long."""
    if len(body) > ANSWER_BYTES_MAX:
        return None
    try:
        parsed = json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        raise ValueError("a key stands twice")
    return parsed


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _retry_after_s(text: str) -> int:
    """Whole seconds within bounds; a date, or anything else, is as if nothing had been said."""
    return min(int(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() and len(text) < 9 else 0

"""The book of the simulated issuer: what it credited, and under which references it still knows that."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from models.columns import instant_text


@dataclass(frozen=True, slots=True)
class Made:
    """One credit that was made."""

    reference: str
    amount_minor: int
    currency: str
    credit_id: str
    credited_at: datetime

    def as_json(self) -> dict[str, object]:
        """As the protocol says it."""
        return {
            "reference": self.reference, "amount_minor": self.amount_minor, "currency": self.currency,
            "credit_id": self.credit_id, "credited_at": instant_text(self.credited_at),
        }  # fmt: skip


class Book:
    """Not safe to share between threads: its owner holds a lock."""

    def __init__(self, *, keeps_s: float | None, visible_after_s: float) -> None:
        self._keeps = None if keeps_s is None else timedelta(seconds=keeps_s)
        self._visible_after = timedelta(seconds=visible_after_s)
        self.made: list[Made] = []
        self._known: dict[str, Made] = {}
        self._late: set[str] = set()

    def make(
        self, reference: str, amount_minor: int, currency: str, *, now: datetime, late: bool
    ) -> tuple[Made | None, str]:
        """The credit of this reference, made now or known already; None where it is known with other terms.

        A `late` one is shown to no ask for a while.
        """
        known = self._find(reference, now=now)
        if known is not None:
            same = (known.amount_minor, known.currency) == (amount_minor, currency)
            return (known, "known") if same else (None, "conflict")
        made = Made(reference, amount_minor, currency, f"sim-{len(self.made) + 1}", now)
        self.made.append(made)
        self._known[reference] = made
        if late:
            self._late.add(reference)
        return made, "late" if late else "credited"

    def find(self, reference: str, *, now: datetime) -> Made | None:
        """What an ask is shown: a late credit only after a while."""
        known = self._find(reference, now=now)
        if known is None or (reference in self._late and now < known.credited_at + self._visible_after):
            return None
        return known

    def forget(self, reference: str) -> None:
        """The key window of this reference is over."""
        self._known.pop(reference, None)
        self._late.discard(reference)

    def _find(self, reference: str, *, now: datetime) -> Made | None:
        known = self._known.get(reference)
        if known is not None and self._keeps is not None and now >= known.credited_at + self._keeps:
            self.forget(reference)
            return None
        return known


@dataclass(frozen=True, slots=True)
class Told:
    """What a sender asked for."""

    reference: str
    amount_minor: int
    currency: str


def read_credit(body: bytes) -> Told | None:
    """What a request asks for; None where it is not of the protocol."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(parsed, dict) or set(parsed) != {"reference", "amount_minor", "currency"}:
        return None
    reference, amount_minor, currency = parsed["reference"], parsed["amount_minor"], parsed["currency"]
    plain = isinstance(reference, str) and 16 <= len(reference) <= 64 and reference.isascii() and reference.isalnum()
    if not plain or reference != reference.lower() or type(amount_minor) is not int or amount_minor < 1:
        return None
    if not isinstance(currency, str) or len(currency) != 3 or not currency.isalpha() or not currency.isupper():
        return None
    return Told(reference, amount_minor, currency)

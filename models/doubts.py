"""When a line that was sent to an outside issuer is still in doubt, when it is asked for again, and when nobody asks.

Pure. An absence ends a doubt for two purposes, which must not be confused. To *send again* under the same reference
any later absence will do: should the issuer have the first send in hand yet, it makes no second credit of it. To *give
the money up* only a sure one will do: asked so late that every send was over, and so early that the issuer had not
forgotten the reference.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.deadlines import LEASE_S

#: An issuer ends what it was sent, and shows what it credited, within this. Source: deploy/issuer-openapi, its duties.
PROCESSING = timedelta(seconds=60)
#: A send may start so long after its intent was recorded; within a lease it is over.
SEND_LAG = timedelta(seconds=LEASE_S)
#: A clock that is kept by NTP steps back by no more; any key window is longer by far.
STEP_BACK = timedelta(seconds=60)
#: Wait before a line in doubt is asked for again, by how often it was a case already; then a person looks.
ASK_AGAIN = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=18),
)
#: Ends the error of a case whose line is sent no more: nobody but a person can find out whether it was credited.
KEY_WINDOW_OVER = "the key window is over"
#: A line that an issuer puts off, or that cannot be called for, for so long becomes a case. Source: design.md, Poison.
PUT_OFF_MAX = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Sends:
    """What is known of a line's sends: the first and last one without a usable answer, and the issuer's last "nothing
    here" after all of them.
    """

    doubted_first_at: datetime | None
    doubted_last_at: datetime | None
    absent_at: datetime | None


@dataclass(frozen=True, slots=True)
class ForgottenSpan:
    """What one restore has forgotten: lines of months up to `cycle` may have been sent at any time from the one instant
    to the other, whatever the database knows of them.
    """

    cycle: str
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ForgottenSends:
    """Sends that a restored database has forgotten, of every restore that it ever had: a later one ends no doubt of an
    earlier one, and an earlier one says nothing of months that were not due yet.
    """

    spans: tuple[ForgottenSpan, ...]

    @property
    def cycle(self) -> str:
        """Of months up to this one anything may be forgotten."""
        return max((span.cycle for span in self.spans), default="")

    def of(self, cycle: str) -> ForgottenSpan | None:
        """When a line of this month may have been sent; None where nothing of it was forgotten."""
        spans = [span for span in self.spans if cycle <= span.cycle]
        if not spans:
            return None
        return ForgottenSpan(
            cycle, min(span.first_at for span in spans), max(span.last_at for span in spans)
        )  # fmt: skip

    def is_open(self, cycle: str, sends: Sends, *, key_window: timedelta) -> bool:
        """Whether a line of this month is still in doubt for it: the issuer has not surely said since that it holds
        nothing.
        """
        span = self.of(cycle)
        return span is not None and not is_surely_absent(
            doubted_first_at=span.first_at, doubted_last_at=span.last_at, absent_at=sends.absent_at,
            key_window=key_window,
        )  # fmt: skip

    def join(self, cycle: str, sends: Sends) -> Sends:
        """The sends of a line of this month with the forgotten one; what was said before is not the last word."""
        span = self.of(cycle)
        if span is None:
            return sends
        return Sends(
            min(sends.doubted_first_at or span.first_at, span.first_at),
            max(sends.doubted_last_at or span.last_at, span.last_at),
            sends.absent_at if sends.absent_at is not None and sends.absent_at >= span.last_at else None,
        )


def sure_from(doubted_last_at: datetime) -> datetime:
    """From when on an absence is the last word about every send so far."""
    return doubted_last_at + SEND_LAG + PROCESSING


def is_surely_absent(
    *,
    doubted_first_at: datetime | None,
    doubted_last_at: datetime | None,
    absent_at: datetime | None,
    key_window: timedelta,
) -> bool:
    """Whether the issuer holds nothing for a line, and never will of what was sent so far.

    `doubted_…_at` are the first and last send without a usable answer, None where there was none; `absent_at` is when
    the issuer was last asked after all of them and said that it holds nothing.
    """
    if doubted_first_at is None or doubted_last_at is None:
        return True
    if absent_at is None:
        return False
    return sure_from(doubted_last_at) <= absent_at and not is_window_over(doubted_first_at, key_window, now=absent_at)


def is_window_over(doubted_first_at: datetime | None, key_window: timedelta, *, now: datetime) -> bool:
    """Whether the issuer may have forgotten the reference by the time a call that is recorded now arrives.

    So it may where the send is recorded as later than now: a clock was ahead, and nobody knows when it was sent. A
    clock that steps back by seconds, as clocks do, says nothing of the kind.
    """
    if doubted_first_at is None:
        return False
    return doubted_first_at > now + STEP_BACK or now + SEND_LAG >= doubted_first_at + key_window


def ask_again_at(doubts: int, *, now: datetime) -> datetime | None:
    """When a line that was a case of doubt so often already is asked for again; None where a person looks."""
    return now + ASK_AGAIN[doubts] if doubts < len(ASK_AGAIN) else None

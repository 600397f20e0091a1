"""The faults of the simulated issuer, and how often each happens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.errors import RefusedInput

#: What may go wrong with a send (POST) or an ask (GET). Those that come after the credit was made leave it made.
FAULTS = {
    "lost_before": "drops the connection, nothing done",
    "lost_after": "credits, then drops the connection",
    "error_before": "answers a bare 500, nothing done",
    "error_after": "credits, then answers a bare 500",
    "slow": "credits, and answers only after a while (--slow)",
    "slow_drip": "credits, and answers a byte a second",
    "garbage": "credits, and answers what is not JSON",
    "huge_body": "credits, and answers 100 MB",
    "wrong_echo": "credits, and echoes another amount, currency or reference",
    "duplicate_keys": "credits, and says both refused and credited",
    "too_many": "answers 429, nothing done",
    "busy": "answers the explicit 503, nothing done",
    "refuse": "refuses for good",
    "forget": "credits, and forgets the reference: its key window is over",
    "late": "shows a credit, whatever its sender heard, only after a while (--visible-after)",
    "ask_lost": "drops the connection of an ask",
    "ask_error": "answers an ask with a bare 500",
}
ASK_FAULTS = ("ask_lost", "ask_error")
#: Drawn for each credit beside the other faults: nobody asks for a late credit unless its answer was lost, too.
LATE = "late"
#: Without its seconds a fault does nothing.
OPTIONS = {"slow": "--slow", LATE: "--visible-after"}


@dataclass(frozen=True, slots=True)
class Amount:
    """How often a fault happens."""

    percent: int = 0
    first: int | None = None  #: of the requests of its kind

    @classmethod
    def parse(cls, name: str, text: str) -> "Amount":
        """`5%`, `3` or `all`. Raises RefusedInput, also for a fault that is none."""
        number = text.removesuffix("%")
        if name not in FAULTS or not (text == "all" or (number.isascii() and number.isdigit() and len(number) < 10)):
            raise RefusedInput(
                f"{name}={text} is no fault", hint=f"one of {', '.join(FAULTS)}; with 5%, 3 or all, as lost_after=5%"
            )
        if text == "all" or text.endswith("%"):
            return cls(percent=100 if text == "all" else int(number))
        return cls(first=int(number))

    def meets(self, number: int, drawn: int) -> bool:
        """Whether the request of this number, that drew this of a hundred, meets the fault."""
        return drawn < self.percent if self.first is None else number <= self.first


def refuse_idle(faults: Iterable[str], seconds: Mapping[str, float]) -> None:
    """Raises RefusedInput for a fault that would do nothing."""
    for fault in faults:
        option = OPTIONS.get(fault)
        if option is not None and seconds[option] <= 0:
            raise RefusedInput(f"the fault {fault} does nothing without {option}", hint=f"add {option} SECONDS")

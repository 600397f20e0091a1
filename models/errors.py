"""The error tree.

DespensaError              something an operator must act on; carries its exit code and the command that mends it
├─ RefusedInput            a file, an argument or a setting breaks a rule; nothing was changed
│  ├─ UnknownZone          a time zone that the installed data does not have
│  ├─ Misconfigured        a setting, a key file, a missing programme
│  └─ NotFound             a run, store, case or voucher that does not exist
├─ RefusedByState          the thing is not in a state from which this may be done
│  └─ FundTooSmall         a fund cannot cover a release; carries required, available and shortfall
├─ NoDatabase              no database, or its schema is not the code's
├─ BrokerUnreachable       Redis does not answer
├─ AnotherCommandAtWork    another `db` command holds the schema
└─ BooksDisagree           an invariant of the books is broken: stop and look
   └─ Restored             the database was restored, or copied, and not compared with the logs since

Messages name the thing, the fact and the next step, and never a personal value.
"""

from collections.abc import Sequence
from enum import IntEnum

#: PostgreSQL's SQLSTATE for a lock that was not to be had in time, or at once.
LOCK_NOT_AVAILABLE = "55P03"
#: And for a transaction that waits for one that waits for it.
DEADLOCK_DETECTED = "40P01"
#: And for what a login may not do.
INSUFFICIENT_PRIVILEGE = "42501"


class Exit(IntEnum):
    """What a command tells the shell. Codes not listed here are failures."""

    DONE = 0
    FAILED = 1
    MISUSED = 2
    WITH_CASES = 3
    NO_DATABASE = 10
    NO_BROKER = 11
    DB_COMMAND_AT_WORK = 12
    BOOKS_DISAGREE = 13
    WAITING_FOR_APPROVAL = 14
    PAUSED_OR_CANCELLED = 15
    INTERRUPTED = 130


#: Of several outcomes, the first of these is the command's. Source: design.md, Exit codes.
EXIT_PRECEDENCE = (
    Exit.BOOKS_DISAGREE,
    Exit.NO_DATABASE,
    Exit.NO_BROKER,
    Exit.FAILED,
    Exit.PAUSED_OR_CANCELLED,
    Exit.WAITING_FOR_APPROVAL,
    Exit.WITH_CASES,
    Exit.DONE,
)


class DespensaError(Exception):
    """Something an operator must act on."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint  #: the command, or the step, that mends it


class RefusedInput(DespensaError):
    """A file, an argument or a setting breaks a rule. Nothing was changed."""

    exit_code = Exit.MISUSED


class UnknownZone(RefusedInput):
    """A time zone that the installed time-zone data does not have."""


class Misconfigured(RefusedInput):
    """A setting, a key file or a programme is missing or wrong."""


class NotFound(RefusedInput):
    """A run, store, case or voucher that does not exist."""


class RefusedByState(DespensaError):
    """The thing is not in a state from which this may be done. Nothing was changed."""


class FundTooSmall(RefusedByState):
    """The funds that may pay for a run cannot cover its release. Nothing was reserved."""

    def __init__(
        self, *, run: str, required_minor: int, available_minor: int, currency: str, causes: Sequence[str] = ()
    ) -> None:
        shortfall = required_minor - available_minor
        self.why = ", ".join(causes)  #: which fund lacks what: balance, cap, or that a restriction stands in the way
        super().__init__(
            f"run {run} was not released: required {required_minor}, available {available_minor}, "
            f"shortfall {shortfall} (minor units of {currency})" + (f": {self.why}" if causes else ""),
            hint="add money to a fund in funds.csv, or let one pay for more there; then: despensa import funds.csv",
        )
        self.run = run
        self.required_minor = required_minor
        self.available_minor = available_minor
        self.shortfall_minor = shortfall
        self.currency = currency


class NoDatabase(DespensaError):
    """There is no database, or its schema is not the one this code needs."""

    exit_code = Exit.NO_DATABASE


class BrokerUnreachable(DespensaError):
    """Redis does not answer. Nothing is lost: the database knows what is owed."""

    exit_code = Exit.NO_BROKER

    def __init__(self, message: str, *, cause: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause  #: the type of Redis' error: whether it is away, full or read-only


class AnotherCommandAtWork(DespensaError):
    """Another `db` command holds the schema."""

    exit_code = Exit.DB_COMMAND_AT_WORK


class BooksDisagree(DespensaError):
    """An invariant of the books is broken."""

    exit_code = Exit.BOOKS_DISAGREE


class Restored(BooksDisagree):
    """The database was restored, or copied: it has forgotten payments, and pays nothing until `db restored`."""

"""What scheduler and workers say to each other: one id, and "look now".

The database says what is owed, so a message may be lost, doubled, late, forged or malformed without harm.
Both sides know these classes only; each names the actor and the queue that it is for.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

#: Written into every message, and raised when one changes its fields or their meaning. Workers accept this version and
#: the one before, so they are upgraded before the schedulers, who send the new one. The other way round nothing is lost
#: either: an old worker quarantines what it does not know, and dispatch sends it again until a new one has it.
VERSION = 1
ACCEPTED_VERSIONS = (VERSION - 1, VERSION)
#: Where the decoder sends what it cannot accept.
QUARANTINE_ACTOR = "quarantine"
CREDIT_QUEUE = "credit"
NOTIFY_QUEUE = "notify"


@dataclass(frozen=True, slots=True)
class CreditBatch:
    """Credit the vouchers of an open batch."""

    ACTOR: ClassVar[str] = "credit_batch"
    QUEUE: ClassVar[str] = CREDIT_QUEUE

    batch_id: int


@dataclass(frozen=True, slots=True)
class SendNotice:
    """Tell a store about a run."""

    ACTOR: ClassVar[str] = "send_notice"
    QUEUE: ClassVar[str] = NOTIFY_QUEUE

    notice_id: int


Message = CreditBatch | SendNotice
ALL_MESSAGES: tuple[type[CreditBatch] | type[SendNotice], ...] = (CreditBatch, SendNotice)


def arguments(message: Message) -> dict[str, int]:
    """The message's fields, as the actor's keyword arguments."""
    return {field.name: getattr(message, field.name) for field in fields(message)}

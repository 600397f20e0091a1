"""One canonical log line per attempt at a message, whatever it came to."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import dramatiq

from models.events import AttemptFailed, AttemptFinished
from models.log import Log
from workers.credit import Failure


@dataclass(slots=True)
class Attempt:
    """One attempt, filled by the actor and written by the middleware."""

    message_id: str
    actor: str
    subject_id: int
    run_id: int = 0  #: of the batch or notice, once it is taken
    outcome: str = "nothing"  #: what it came to; "nothing" where there was nothing to do
    failure: Failure | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def duration_ms(self) -> int:
        """Since it began."""
        return int((time.monotonic() - self.started) * 1000)


_current = threading.local()


def current_attempt() -> Attempt:
    """The attempt of this thread, for the actor to say what it came to."""
    attempt: Attempt = _current.attempt
    return attempt


class AttemptLog(dramatiq.Middleware):
    """Begins an attempt before the actor, and writes its line afterwards."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        """Begin."""
        subject = next((value for value in message.kwargs.values() if isinstance(value, int)), 0)
        _current.attempt = Attempt(message.message_id, message.actor_name, subject)

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Write the line. An exception that reaches this is a defect of ours: its type is logged, never its text."""
        attempt = current_attempt()
        if exception is not None:
            attempt.failure = Failure(type(exception).__name__, "", "", given_back=False, stuck_since=None)
        if attempt.failure is None:
            self._log.observe(
                AttemptFinished(
                    actor=attempt.actor,
                    message_id=attempt.message_id,
                    subject_id=attempt.subject_id,
                    run_id=attempt.run_id,
                    outcome=attempt.outcome,
                    duration_ms=attempt.duration_ms,
                )
            )
        else:
            self._log.observe(
                AttemptFailed(
                    actor=attempt.actor,
                    message_id=attempt.message_id,
                    subject_id=attempt.subject_id,
                    run_id=attempt.run_id,
                    error=attempt.failure.error,
                    sqlstate=attempt.failure.sqlstate,
                    constraint=attempt.failure.constraint,
                    given_back=attempt.failure.given_back,
                    duration_ms=attempt.duration_ms,
                )
            )

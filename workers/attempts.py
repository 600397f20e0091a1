"""One canonical log line per attempt at a message, whatever it came to."""

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dramatiq

from models.events import AttemptFailed, AttemptFinished
from models.log import Log
from workers.credit import Failure

if TYPE_CHECKING:
    from workers.metrics import WorkerMetrics


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
    def duration_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    @property
    def duration_ms(self) -> int:
        """Since it began, as the log has it."""
        return int(self.duration_s * 1000)

    @property
    def result(self) -> str:
        """What it came to, as the metrics have it: the log tells an attempt that was given back by a field."""
        if self.failure is None:
            return self.outcome
        return "given back" if self.failure.given_back else "failed"


_current = threading.local()


def current_attempt() -> Attempt:
    """The attempt of this thread, for the actor to say what it came to."""
    attempt: Attempt = _current.attempt
    return attempt


class AttemptLog(dramatiq.Middleware):
    """Begins an attempt before the actor; afterwards counts it, where metrics are exposed, and writes its line."""

    def __init__(self, log: Log, metrics: "WorkerMetrics | None" = None) -> None:
        self._log = log
        self._metrics = metrics

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        """Begin."""
        subject = next((value for value in message.kwargs.values() if isinstance(value, int)), 0)
        _current.attempt = Attempt(message.message_id, message.actor_name, subject)
        if self._metrics is not None:
            self._metrics.begin(message.actor_name)

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Write the line. An exception that reaches this is a defect of ours: its type is logged, never its text."""
        attempt = current_attempt()
        if exception is not None:
            attempt.failure = Failure(type(exception).__name__, "", "", given_back=False, stuck_since=None)
        if self._metrics is not None:  # before the line: a full disk leaves nothing under way
            self._metrics.end(attempt.actor, attempt.result, attempt.duration_s)
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

"""What the operational lines say: attempts, errors, stores' breakers, who is alive. None of it is in the chain."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from console.dashboard.lines import Line

#: What is kept of attempts: an hour of them, and no more than so many.
KEPT_S = 3600
KEPT_MAX = 200_000
#: Lines that are kept of one batch or notice, of one kind of error, of troubles.
OF_SUBJECT_MAX, SUBJECTS_MAX, TROUBLES_MAX = 50, 5, 200
#: Batches and notices, kinds of errors, and processes that are known at a time; a roll-call names so many. What was
#: known for longest is forgotten: whoever can write a line must not be able to fill the memory with names.
TOLD_MAX, KINDS_MAX, INSTANCES_MAX, CALLED_MAX = 100_000, 200, 1_000, 500
#: Of a notice's attempts, for its store's latency; of a store's failures, for how many came in a row.
LATENCIES_MAX, FAILURES_MAX = 50, 100


@dataclass(frozen=True, slots=True)
class AttemptTold:
    """One attempt at a message."""

    at: float
    actor: str
    outcome: str
    failed: bool
    duration_ms: int


@dataclass(slots=True)
class ErrorTold:
    """Failures that are alike."""

    first_at: str
    count: int = 0
    given_back: int = 0
    last_at: str = ""
    subjects: deque[int] = field(default_factory=lambda: deque(maxlen=SUBJECTS_MAX))


@dataclass(slots=True)
class StoreTold:
    """What is known of a store beside its notices."""

    failed_at: deque[str] = field(default_factory=lambda: deque(maxlen=FAILURES_MAX))
    last_error: str = ""
    suspended_until: str = ""
    resumed_at: str = ""


@dataclass(slots=True)
class RetryTold:
    """A notice's last failed attempt."""

    attempts: int
    error: str
    next_attempt_at: str


@dataclass(slots=True)
class InstanceTold:
    """A scheduler or worker process, or one that a roll-call named."""

    role: str
    first_at: str = ""
    last_at: str = ""
    last_s: float = 0.0
    called_at: str = ""
    called_s: float = 0.0

    @property
    def heard_s(self) -> float:
        """When it was last heard of."""
        return max(self.last_s, self.called_s)


ErrorKey = tuple[str, str, str, str]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Traffic:
    """Everything that operational lines have said, within bounds."""

    def __init__(self) -> None:
        self.attempts: deque[AttemptTold] = deque(maxlen=KEPT_MAX)
        self.of_run: dict[tuple[int, bool], int] = {}  #: attempts by run and whether they failed
        self.errors: dict[ErrorKey, ErrorTold] = {}
        self.errors_of_run: dict[int, dict[ErrorKey, ErrorTold]] = {}
        self.of_subject: dict[tuple[str, int], deque[Line]] = {}  #: lines by actor and batch or notice
        self.latencies: dict[int, deque[int]] = {}  #: by notice
        self.stores: dict[str, StoreTold] = {}
        self.retries: dict[int, RetryTold] = {}  #: by notice
        self.instances: dict[str, InstanceTold] = {}
        self.troubles: deque[Line] = deque(maxlen=TROUBLES_MAX)
        self.last_seen: tuple[float, str] = (0.0, "")
        self.books: tuple[str, int] = ("", 0)  #: when they were last reconciled, and how many differences

    def hear(self, line: Line) -> None:
        """Any line is a sign of life of who wrote it."""
        known = self.instances.get(line.instance)
        if known is not None and line.at > known.last_s:
            known.last_s, known.last_at = line.at, line.timestamp

    def take(self, line: Line) -> None:
        """Go on by one operational line."""
        said = line.fields
        if line.event in {"attempt.finished", "attempt.failed"}:
            self._attempt(line)
        elif line.event in {"scheduler.seen", "worker.seen"}:
            self._see(line)
        elif line.event == "store.failed":
            store = self._store(line)
            store.failed_at.append(line.timestamp)
            store.last_error = said["error"]
            retry = RetryTold(said["attempts"], said["error"], said["next_attempt_at"])
            self.retries.pop(said["notice_id"], None)
            _kept(self.retries, said["notice_id"], lambda: retry, most=TOLD_MAX)
        elif line.event == "store.suspended":
            self._store(line).suspended_until = said["until"]
        elif line.event == "store.resumed":
            self._store(line).resumed_at = line.timestamp
        elif line.event in {"books.reconciled", "books.disagreed"}:
            self.books = (line.timestamp, int(said.get("differences", 0)))
        if line.level in {"warning", "error"} and line.event != "attempt.failed":
            self.troubles.append(line)

    def _attempt(self, line: Line) -> None:
        said, failed = line.fields, line.event == "attempt.failed"
        actor, subject_id, run_id = said["actor"], said["subject_id"], said["run_id"]
        outcome = "failed" if failed else said["outcome"]
        self.attempts.append(AttemptTold(line.at, actor, outcome, failed, said["duration_ms"]))
        while self.attempts and self.attempts[0].at < line.at - KEPT_S:
            self.attempts.popleft()
        if outcome == "nothing":
            return
        _kept(self.of_run, (run_id, failed), lambda: 0, most=TOLD_MAX)
        self.of_run[run_id, failed] += 1
        _kept(self.of_subject, (actor, subject_id), lambda: deque(maxlen=OF_SUBJECT_MAX), most=TOLD_MAX).append(line)
        if actor == "send_notice":
            latencies = _kept(self.latencies, subject_id, lambda: deque(maxlen=LATENCIES_MAX), most=TOLD_MAX)
            latencies.append(said["duration_ms"])
        if failed:
            key = (actor, said["error"], said["sqlstate"], said["constraint"])
            _count(self.errors, key, line)
            _count(_kept(self.errors_of_run, run_id, dict, most=INSTANCES_MAX), key, line)

    def _see(self, line: Line) -> None:
        role = line.event.removesuffix(".seen")
        told = self._instance(line.instance, role)
        told.first_at = told.first_at or line.timestamp
        if line.at >= told.last_s:
            told.last_s, told.last_at = line.at, line.timestamp
        self.last_seen = max(self.last_seen, (line.at, line.timestamp))
        for called, names in (("scheduler", line.fields.get("schedulers")), ("worker", line.fields.get("workers"))):
            for name in str(names or "").split(maxsplit=CALLED_MAX)[:CALLED_MAX]:
                each = self._instance(name, called)
                if line.at >= each.called_s:
                    each.called_s, each.called_at = line.at, line.timestamp

    def _store(self, line: Line) -> StoreTold:
        return _kept(self.stores, line.fields["store"], StoreTold, most=TOLD_MAX)

    def _instance(self, name: str, role: str) -> InstanceTold:
        known = self.instances.get(name)
        if known is None:
            if len(self.instances) >= INSTANCES_MAX:
                del self.instances[min(self.instances, key=lambda each: self.instances[each].heard_s)]
            known = self.instances[name] = InstanceTold(role)
        return known


def _kept(told: dict[K, V], key: K, make: Callable[[], V], *, most: int) -> V:
    """What is told of a key, begun where there is nothing yet; beyond `most` the first that was begun is forgotten."""
    if key not in told:
        if len(told) >= most:
            del told[next(iter(told))]
        told[key] = make()
    return told[key]


def _count(errors: dict[ErrorKey, ErrorTold], key: ErrorKey, line: Line) -> None:
    told = _kept(errors, key, lambda: ErrorTold(line.timestamp), most=KINDS_MAX)
    told.count += 1
    told.given_back += bool(line.fields["given_back"])
    told.last_at = max(told.last_at, line.timestamp)
    if line.fields["subject_id"] not in told.subjects:
        told.subjects.append(line.fields["subject_id"])

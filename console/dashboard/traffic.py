"""What the operational lines say: attempts, errors, stores' breakers, who is alive. None of it is in the chain."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from console.dashboard.lines import Line

#: What is kept of attempts: an hour of them, and no more than so many.
KEPT_S = 3600
KEPT_MAX = 200_000
#: Lines that are kept of one batch or notice, of one kind of error, of troubles.
OF_SUBJECT_MAX, SUBJECTS_MAX, TROUBLES_MAX = 50, 5, 200
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


ErrorKey = tuple[str, str, str, str]


class Traffic:
    """Everything that operational lines have said, within bounds."""

    def __init__(self) -> None:
        self.attempts: deque[AttemptTold] = deque(maxlen=KEPT_MAX)
        self.of_run: Counter[tuple[int, bool]] = Counter()  #: attempts by run and whether they failed
        self.errors: dict[ErrorKey, ErrorTold] = {}
        self.errors_of_run: dict[int, dict[ErrorKey, ErrorTold]] = defaultdict(dict)
        self.of_subject: dict[tuple[str, int], deque[Line]] = {}  #: lines by actor and batch or notice
        self.latencies: dict[int, deque[int]] = {}  #: by notice
        self.stores: dict[str, StoreTold] = defaultdict(StoreTold)
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
            store = self.stores[said["store"]]
            store.failed_at.append(line.timestamp)
            store.last_error = said["error"]
            self.retries[said["notice_id"]] = RetryTold(said["attempts"], said["error"], said["next_attempt_at"])
        elif line.event == "store.suspended":
            self.stores[said["store"]].suspended_until = said["until"]
        elif line.event == "store.resumed":
            self.stores[said["store"]].resumed_at = line.timestamp
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
        self.of_run[run_id, failed] += 1
        self.of_subject.setdefault((actor, subject_id), deque(maxlen=OF_SUBJECT_MAX)).append(line)
        if actor == "send_notice":
            self.latencies.setdefault(subject_id, deque(maxlen=LATENCIES_MAX)).append(said["duration_ms"])
        if failed:
            key = (actor, said["error"], said["sqlstate"], said["constraint"])
            for errors in (self.errors, self.errors_of_run[run_id]):
                _count(errors, key, line)

    def _see(self, line: Line) -> None:
        role = line.event.removesuffix(".seen")
        told = self.instances.setdefault(line.instance, InstanceTold(role))
        told.first_at = told.first_at or line.timestamp
        if line.at >= told.last_s:
            told.last_s, told.last_at = line.at, line.timestamp
        self.last_seen = max(self.last_seen, (line.at, line.timestamp))
        for called, names in (("scheduler", line.fields.get("schedulers")), ("worker", line.fields.get("workers"))):
            for name in str(names or "").split():
                each = self.instances.setdefault(name, InstanceTold(called))
                if line.at >= each.called_s:
                    each.called_s, each.called_at = line.at, line.timestamp


def _count(errors: dict[ErrorKey, ErrorTold], key: ErrorKey, line: Line) -> None:
    told = errors.setdefault(key, ErrorTold(line.timestamp))
    told.count += 1
    told.given_back += bool(line.fields["given_back"])
    told.last_at = max(told.last_at, line.timestamp)
    if line.fields["subject_id"] not in told.subjects:
        told.subjects.append(line.fields["subject_id"])

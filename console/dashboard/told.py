"""What the sealed lines say: months, runs, cases, notices. Lines come in the order of their places.

Counts are those of `run status`: a run's are summed from its events, as `logs totals` does it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from console.dashboard.lines import Line

#: Of runs that a restored backup does not have: they are in no plan's course.
OF_NO_PLAN = frozenset({"run.lost", "run.disowned", "run.recovered"})
#: Where nobody has said it.
NO_ZONE = "UTC"


@dataclass(slots=True)
class SlotTold:
    """A city's month, from seven days before its payday on."""

    programme: str
    location: str
    cycle: str
    name: str
    time_zone: str
    opens_at: str
    families: int
    amount_minor: int
    currency: str
    blocked: str


@dataclass(frozen=True, slots=True)
class CaseTold:
    """An open case."""

    case_id: int
    line: int
    reason: str
    error: str
    attempts: int
    next_attempt_at: str  #: empty: waits for a person
    amount_minor: int
    opened_at: str


@dataclass(slots=True)
class StoppedTold:
    """The open cases of a cancelled run: the log gives their number and sum only."""

    count: int = 0
    amount_minor: int = 0
    opened_at: str = ""

    def open(self, line: Line) -> None:
        """A cancel made them."""
        self.count += line.fields["cases"]
        self.amount_minor += line.fields["returned_minor"]
        self.opened_at = self.opened_at or line.timestamp

    def close(self, count: int, amount_minor: int) -> None:
        """Some were retried or resolved."""
        self.count -= count
        self.amount_minor -= amount_minor
        if self.count == 0:
            self.opened_at = ""


@dataclass(slots=True)
class NoticeTold:
    """One message to one store about one run."""

    notice_id: int
    run_id: int
    store: str
    number: int
    created_at: str
    state: str = "due"
    attempts: int = 0
    ended_at: str = ""
    error: str = ""


@dataclass(slots=True)
class RunTold:
    """A run so far."""

    run_id: int
    run: str
    programme: str
    location: str
    cycle: str
    part: int
    name: str
    time_zone: str
    opens_at: str
    currency: str
    late: bool
    planned: int
    planned_minor: int
    batches: int
    planned_at: str
    state: str = "planned"
    blocked: str = ""
    approved_at: str = ""
    released_at: str = ""
    completed_at: str = ""
    first_credit_at: str = ""
    last_credit_at: str = ""
    credited: int = 0
    credited_minor: int = 0
    not_owed: int = 0
    batches_made: int = 0  #: planned, retried, parts of split ones
    batches_done: int = 0
    batches_again: int = 0  #: credited at a second attempt or later
    batches_split: int = 0
    batches_stopped: int = 0  #: of one line, which became a case; or what a cancel left
    cases: dict[int, CaseTold] = field(default_factory=dict)  #: open ones, by their line
    stopped: StoppedTold = field(default_factory=StoppedTold)
    notices: dict[int, NoticeTold] = field(default_factory=dict)
    credits: list[tuple[float, int]] = field(default_factory=list)  #: instants and how many families
    batch_lines: dict[int, tuple[int, int]] = field(default_factory=dict)  #: first and last line, where told
    seqs: list[int] = field(default_factory=list)  #: of all its events

    @property
    def open_cases(self) -> int:
        """With and without a line of their own in the log."""
        return len(self.cases) + self.stopped.count

    @property
    def remaining(self) -> int:
        """Families that are neither credited, nor cases, nor found not owed."""
        return max(0, self.planned - self.credited - self.open_cases - self.not_owed)

    @property
    def batches_open(self) -> int:
        """About: what an outside issuer puts off is covered by batches that no event tells of."""
        if self.state not in {"released", "paused"}:
            return 0
        ended = self.batches_done + self.batches_split + self.batches_stopped
        return min(max(self.remaining > 0, self.batches_made - ended), self.remaining)


class Told:
    """Everything that sealed lines have said."""

    def __init__(self) -> None:
        self.runs: dict[int, RunTold] = {}
        self.slots: dict[tuple[str, str, str], SlotTold] = {}  #: by programme, location, cycle
        self.notices: dict[str, list[NoticeTold]] = {}  #: by store, oldest first
        self.unplanned: set[int] = set()  #: runs whose plan stands before the first line of these files
        self._take: dict[str, Callable[[RunTold, Line], None]] = {
            "run.first_approved": _approve_first,
            "run.approved": _approve,
            "run.blocked": _block,
            "run.released": _release,
            "run.paused": _pause,
            "run.resumed": _resume,
            "run.stopped": _stop,
            "run.cancelled": _cancel,
            "run.retried": _retry,
            "run.completed": _complete,
            "batch.credited": _credit,
            "batch.split": _split,
            "batch.retried": _cover,
            "case.opened": _open_case,
            "case.resolved": _resolve,
            "notice.created": self._create_notice,
            "notice.delivered": _end_notice,
            "notice.undelivered": _end_notice,
            "notice.resent": _resend,
        }

    def take(self, line: Line) -> None:
        """Go on by one line."""
        if line.event == "slot.expected":
            self._expect(line)
        run_id = line.fields.get("run_id")
        if type(run_id) is not int or line.event in OF_NO_PLAN:
            return
        if line.event == "run.planned":
            self._plan(line)
        elif line.event == "run.discarded":
            self.runs.pop(run_id, None)
        run = self.runs.get(run_id)
        if run is None:
            self.unplanned.add(run_id)
            return
        run.seqs.append(line.seq)
        act = self._take.get(line.event)
        if act is not None:
            act(run, line)

    def _expect(self, line: Line) -> None:
        said = line.fields
        slot = SlotTold(
            **{name: said[name] for name in ("programme", "location", "cycle", "time_zone", "opens_at", "families")},
            **{name: said[name] for name in ("amount_minor", "currency", "blocked")},
            name=said["location_name"],
        )
        self.slots[slot.programme, slot.location, slot.cycle] = slot

    def _plan(self, line: Line) -> None:
        said = line.fields
        self.unplanned.discard(said["run_id"])
        self.runs[said["run_id"]] = RunTold(
            **{name: said[name] for name in ("run_id", "run", "programme", "location", "cycle", "part", "time_zone")},
            **{name: said[name] for name in ("opens_at", "currency", "late", "planned", "planned_minor", "batches")},
            name=said["location_name"],
            planned_at=line.timestamp,
            batches_made=said["batches"],
        )

    def _create_notice(self, run: RunTold, line: Line) -> None:
        said = line.fields
        notice = NoticeTold(said["notice_id"], run.run_id, said["store"], said["number"], line.timestamp)
        run.notices[notice.notice_id] = notice
        self.notices.setdefault(notice.store, []).append(notice)


def _approve_first(run: RunTold, _line: Line) -> None:
    """It stays planned, and waits."""
    run.blocked = "approval: a second person"


def _approve(run: RunTold, line: Line) -> None:
    run.state, run.approved_at, run.blocked = "approved", line.timestamp, ""


def _block(run: RunTold, line: Line) -> None:
    run.blocked = line.fields["blocked"]


def _release(run: RunTold, line: Line) -> None:
    run.state, run.released_at, run.blocked = "released", line.timestamp, ""


def _pause(run: RunTold, line: Line) -> None:
    run.state, run.blocked = "paused", line.fields["reason"]


def _resume(run: RunTold, _line: Line) -> None:
    run.state, run.blocked = "released", ""


def _stop(run: RunTold, _line: Line) -> None:
    run.state, run.blocked = "cancelled", ""


def _cancel(run: RunTold, line: Line) -> None:
    run.state, run.completed_at = "cancelled", line.timestamp
    run.stopped.open(line)
    run.batches_stopped = run.batches_made - run.batches_done - run.batches_split


def _retry(run: RunTold, line: Line) -> None:
    run.state = line.fields["state"]
    run.completed_at = ""


def _complete(run: RunTold, line: Line) -> None:
    run.state, run.completed_at = line.fields["state"], line.timestamp


def _credit(run: RunTold, line: Line) -> None:
    said = line.fields
    run.credited += said["credited"]
    run.credited_minor += said["credited_minor"]
    run.batches_done += 1
    run.batches_again += said["attempt"] > 1
    run.first_credit_at = run.first_credit_at or line.timestamp
    run.last_credit_at = line.timestamp
    run.credits.append((line.at, said["credited"]))
    run.batch_lines[said["batch_id"]] = (said["first_id"], said["last_id"])


def _split(run: RunTold, line: Line) -> None:
    run.batches_split += 1
    run.batches_made += line.fields["parts"]
    run.batch_lines[line.fields["batch_id"]] = (line.fields["first_id"], line.fields["last_id"])


def _cover(run: RunTold, line: Line) -> None:
    """Open cases that have a line of their own are closed; what else the batch covers was stopped with its run."""
    said = line.fields
    run.batches_made += 1
    run.batch_lines[said["batch_id"]] = (said["first_id"], said["last_id"])
    span = range(said["first_id"], said["last_id"] + 1)
    lines = span if len(span) < len(run.cases) else [line for line in run.cases if line in span]
    closed = [case for line in lines if (case := run.cases.pop(line, None))]
    run.stopped.close(said["cases"] - len(closed), said["amount_minor"] - sum(case.amount_minor for case in closed))


def _open_case(run: RunTold, line: Line) -> None:
    said = line.fields
    run.batches_stopped += said["reason"] == "dead"  # its batch of one line ended with it
    run.cases[said["disbursement_id"]] = CaseTold(
        said["case_id"], said["disbursement_id"], said["reason"], said["error"], said["attempts"],
        said["next_attempt_at"], said["amount_minor"], line.timestamp,
    )  # fmt: skip


def _resolve(run: RunTold, line: Line) -> None:
    said = line.fields
    if run.cases.pop(said["disbursement_id"], None) is None:
        run.stopped.close(1, said["amount_minor"])
    run.credited += said["credited"]
    run.credited_minor += said["credited_minor"]
    run.not_owed += said["outcome"] == "not_owed"
    if said["credited"]:
        run.credits.append((line.at, said["credited"]))


def _end_notice(run: RunTold, line: Line) -> None:
    said = line.fields
    notice = run.notices.get(said["notice_id"])
    if notice is not None:
        notice.state = line.event.removeprefix("notice.")
        notice.attempts, notice.ended_at, notice.error = said["attempts"], line.timestamp, said.get("error", "")


def _resend(run: RunTold, line: Line) -> None:
    notice = run.notices.get(line.fields["notice_id"])
    if notice is not None:
        notice.state, notice.attempts, notice.ended_at, notice.error = "due", 0, "", ""

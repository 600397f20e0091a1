"""What log lines tell that a restored backup has forgotten: runs, payments, decisions, and every number ever given.

Lines come in any order and repeatedly. Those after the backup's last place are forgotten; of all of them, operational
ones too, the numbers count. Where an installation was restored before, the lines that this voided count as well: what
was paid then was paid, whatever a database says.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.restores import RESTORED, Restore
from models.tables import LINES_PER_RUN

Fields = Mapping[str, object]

#: What a line of this name is about, with the field that has its number, or with its line's number.
NUMBERS = {
    "run_id": "run", "batch_id": "batch", "notice_id": "notice", "case_id": "cases",
    "conflict_id": "enrolment_conflict", "last_conflict_id": "enrolment_conflict",
}  # fmt: skip
LINE_NUMBERS = ("first_id", "last_id", "disbursement_id")
#: By which actor an attempt's subject is counted.
SUBJECTS = {"credit_batch": "batch", "send_notice": "notice"}
#: Decisions and imports of people, which are not repeated by themselves.
AGAIN = frozenset({
    "file.imported", "fund.deposited", "run.first_approved", "run.approved", "run.discarded", "run.paused",
    "run.resumed", "run.stopped", "run.retried", "case.resolved", "secret.rotated", "notice.resent",
    "vouchers.exported", "run.recovered", "run.disowned", "conflict.decided",
})  # fmt: skip
#: What else of a run's course is looked at.
COURSE = frozenset({"run.planned", "run.released", "run.cancelled", "batch.credited", "run.completed"})
#: A person's word that what is left of a run is not to be paid as planned.
HALTS = frozenset({"run.stopped", "run.cancelled", "case.resolved"})


@dataclass(frozen=True, slots=True)
class Told:
    """A line that the backup has forgotten."""

    seq: int
    at: str
    event: str
    fields: Fields

    def text(self, name: str) -> str:
        """A field, as text."""
        return str(self.fields.get(name, ""))

    def number(self, name: str) -> int:
        """A field that is a number."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else 0


@dataclass(slots=True)
class RunForgotten:
    """What was forgotten of one run."""

    run_id: int
    run: str
    programme: str
    location: str
    cycle: str
    part: int
    planned: int = 0
    planned_minor: int = 0
    currency: str = ""
    digest: str = ""
    released: bool = False
    dropped: bool = False  #: its plan was discarded, or it was given up before anything of it was credited
    disowned_by: str = ""  #: who said before that nothing of it was handed over; a person must say so again
    halted: bool = False  #: a person had paused or cancelled it, or resolved a case of it
    credited: int = 0
    credited_minor: int = 0
    exports: list[str] = field(default_factory=list)  #: digests of hand-over files


@dataclass(slots=True)
class Forgotten:
    """Collects lines, then says what they come to."""

    kept_seq: int
    last_seq: int
    numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NUMBERS.values(), 0))
    _told: dict[int, Told] = field(default_factory=dict)
    first_at: str = ""  #: of the earliest forgotten line

    def hear(self, line: Fields) -> None:
        """One line of a log, whatever it is."""
        self._number(line)
        seq = line.get("seq")
        if not isinstance(seq, int) or not self.kept_seq < seq <= self.last_seq:
            return
        at, event = str(line["timestamp"]), str(line["event"])
        self.first_at = min(self.first_at or at, at)
        if event in AGAIN or event in COURSE or event == RESTORED:
            self._told[seq] = Told(seq, at, event, line)

    @property
    def told(self) -> list[Told]:
        """What matters of the forgotten lines, in the order of their places."""
        return [self._told[seq] for seq in sorted(self._told)]

    @property
    def again(self) -> list[Told]:
        """What people did, and must do again, or at least know of."""
        return [
            told for told in self.told
            if told.event in AGAIN and not (told.event == "run.approved" and told.fields.get("approval") == "policy")
        ]  # fmt: skip

    def latest_cycle(self) -> str:
        """Of the runs that the forgotten lines speak of; empty without one."""
        return max((told.text("cycle") for told in self.told), default="")

    def runs(self) -> list[RunForgotten]:
        """Each run that the forgotten lines speak of."""
        restores = [Restore.of(told.fields) for told in self.told if told.event == RESTORED]
        by_run: dict[int, list[Told]] = defaultdict(list)
        for told in self.told:
            if told.number("run_id"):
                by_run[told.number("run_id")].append(told)
        return [_tell(run_id, by_run[run_id], restores) for run_id in sorted(by_run)]

    def _number(self, line: Fields) -> None:
        found = [(kind, line.get(name)) for name, kind in NUMBERS.items()]
        subject = SUBJECTS.get(str(line.get("actor")))
        if subject is not None:
            found.append((subject, line.get("subject_id")))
        for kind, number in found:
            if isinstance(number, int):
                self.numbers[kind] = max(self.numbers[kind], number)
        for name in LINE_NUMBERS:
            number = line.get(name)
            if isinstance(number, int):
                self.numbers["run"] = max(self.numbers["run"], number // LINES_PER_RUN)


def _tell(run_id: int, course: Sequence[Told], restores: Sequence[Restore]) -> RunForgotten:
    first = course[0]
    run = RunForgotten(
        run_id, first.text("run"), first.text("programme"), first.text("location"), first.text("cycle"),
        first.number("part"),
    )  # fmt: skip
    paused = False
    for told in course:
        for name in ("planned", "planned_minor"):
            if told.number(name):
                setattr(run, name, told.number(name))
        run.currency = told.text("currency") or run.currency
        run.digest = told.text("digest") or run.digest
        # Whatever is credited was released, should the line that says so be missing.
        run.released |= told.event in {"run.released", "batch.credited", "run.completed"}
        run.dropped |= told.event == "run.discarded"
        if told.event in {"run.disowned", "run.recovered"}:  # whichever was last
            run.disowned_by = told.text("operator") if told.event == "run.disowned" else ""
        run.halted |= told.event in HALTS
        paused = told.event == "run.paused" or (paused and told.event != "run.resumed")
        if told.event == "vouchers.exported":
            run.exports.append(told.text("file_digest"))
    run.halted |= paused
    run.exports = list(dict.fromkeys(run.exports))
    run.credited, run.credited_minor = _credited(course, restores)
    # Whoever said so may have been wrong, and restores the backup again to say something else.
    claimed = any(told.number("credited") or told.number("exported") for told in course if told.event == "run.disowned")
    run.dropped |= bool(run.disowned_by) and not (claimed or run.credited or run.exports)
    run.planned, run.planned_minor = max(run.planned, run.credited), max(run.planned_minor, run.credited_minor)
    return run


def _credited(course: Sequence[Told], restores: Sequence[Restore]) -> tuple[int, int]:
    """Vouchers and their sum, over all that ever happened: what was credited again after a restore counts once.

    The batches may have been cut differently then. Of lines that ranges of several lives share, the life that credited
    the most of them counts: no line counts twice, and where each life credited others of them, it is less than all.
    After a recovery, what it entered counts alone.
    """
    recovered = max((told.seq for told in course if told.event == "run.recovered"), default=0)
    lives: dict[tuple[int, ...], dict[tuple[int, int], tuple[int, int]]] = defaultdict(dict)
    for told in course:
        if told.event not in {"batch.credited", "case.resolved"} or told.seq < recovered:
            continue
        life = lives[tuple(place for place, restore in enumerate(restores) if restore.voids(told.seq))]
        one = told.number("disbursement_id")
        span = (told.number("first_id") or one, told.number("last_id") or one)
        count, amount_minor = life.get(span, (0, 0))
        life[span] = (count + told.number("credited"), amount_minor + told.number("credited_minor"))
    most = [
        max(_sums(life, stretch) for life in lives.values())
        for stretch in _stretches([span for life in lives.values() for span in life])
    ]
    return sum(count for count, _ in most), sum(amount_minor for _, amount_minor in most)


def _stretches(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that overlap, as one; those that only touch stay apart."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _sums(life: Mapping[tuple[int, int], tuple[int, int]], stretch: tuple[int, int]) -> tuple[int, int]:
    within = [sums for (first, last), sums in life.items() if stretch[0] <= first and last <= stretch[1]]
    return sum(count for count, _ in within), sum(amount_minor for _, amount_minor in within)

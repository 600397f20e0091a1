"""The programme in plain Python: what may be seen of it, and what must become of it, whatever happens on the way.

It knows no table's columns but what they show, no query and no lock: families, decisions, and arithmetic. A decision of
an operator has one outcome, which `Model` foretells exactly. What workers and schedulers do by themselves comes in any
order and in pieces, so for it the model says what may have changed, and, once all has come to rest, what must have.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

#: The cities of the model: a border zone with US daylight saving, one without any, one further east.
ZONES = {"02004": "America/Tijuana", "26043": "America/Hermosillo", "28022": "America/Matamoros"}
#: Of tests.builders.a_programme: a family's base, each member's share, the cap, in minor units.
BASE_MINOR, MEMBER_MINOR, CAP_MINOR = 50_000, 10_000, 150_000
#: The policy approves runs up to this, so that some wait for a person.
POLICY_MAX_MINOR = 400_000
FIRST_CYCLE = "2026-10"

RELEASABLE = ("planned", "approved")
#: Where a run may get to without a person. From completed_with_cases it goes on only if a case retries itself.
BY_ITSELF = {
    "planned": ("approved", "released", "paused", "completed", "completed_with_cases"),
    "approved": ("released", "paused", "completed", "completed_with_cases"),
    "released": ("paused", "completed", "completed_with_cases"),
    "paused": (),
    "completed": (),
    "completed_with_cases": ("released", "paused", "completed"),
    "cancelled": (),
}


@dataclass(frozen=True, slots=True)
class Family:
    """As a file has it."""

    location: str
    members: int
    first: str
    last: str
    active: bool = True

    def is_entitled(self, location: str, cycle: str) -> bool:
        """Whether a plan of this place and month has a line for it."""
        return self.active and self.location == location and self.first <= cycle <= self.last

    @property
    def amount_minor(self) -> int:
        """Of its voucher."""
        return min(BASE_MINOR + MEMBER_MINOR * self.members, CAP_MINOR)


@dataclass(frozen=True, slots=True)
class Run:
    """As it is seen."""

    location: str
    cycle: str
    part: int
    state: str
    over: bool
    planned_at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """What one family is owed by one run."""

    run: int
    family: str
    cycle: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Case:
    """An open one."""

    id: int
    reason: str
    reserved: bool
    waits_for_a_person: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the database shows of families, runs and money. Lines, vouchers and cases go by a line's id."""

    families: dict[str, Family]
    runs: dict[int, Run]
    lines: dict[int, Line]
    vouchers: frozenset[int]
    cases: dict[int, Case]
    not_owed: frozenset[int]
    free_minor: int

    def lines_of(self, run: int) -> dict[int, Line]:
        """Of one run."""
        return {number: line for number, line in self.lines.items() if line.run == run}

    def cases_of(self, run: int) -> dict[int, Case]:
        """Of one run, open."""
        return {number: case for number, case in self.cases.items() if self.lines[number].run == run}

    def total_minor(self, run: int) -> int:
        """What a run owes in all."""
        return sum(line.amount_minor for line in self.lines_of(run).values())

    def without_line(self, location: str, cycle: str) -> dict[str, Family]:
        """The families that a plan of this place and month would have."""
        lined = {line.family for line in self.lines.values() if line.cycle == cycle}
        return {
            name: family
            for name, family in self.families.items()
            if family.is_entitled(location, cycle) and name not in lined
        }

    def with_run(self, number: int, **changed: object) -> "Picture":
        """With another state of a run."""
        return replace(self, runs=self.runs | {number: replace(self.runs[number], **changed)})  # type: ignore[arg-type]

    def without_cases(self, gone: set[int]) -> "Picture":
        """With these cases closed."""
        return replace(self, cases={number: case for number, case in self.cases.items() if number not in gone})


@dataclass(slots=True)
class Model:
    """The clock, the families and the money that the test handed in; decisions foretold, and the rest judged."""

    now: datetime
    deposited_minor: int = 0
    families: dict[str, Family] = field(default_factory=dict)
    outside: bool = False  #: an issuer over HTTP credits the vouchers

    def opens_at(self, location: str, cycle: str) -> datetime:
        """Nine in the morning of the first, where it is."""
        year, month = map(int, cycle.split("-"))
        return datetime(year, month, 1, 9, tzinfo=ZoneInfo(ZONES[location])).astimezone(UTC)

    def reach(self, location: str) -> tuple[str, str]:
        """The month before, and this one, by the calendar on the wall there."""
        today = self.now.astimezone(ZoneInfo(ZONES[location]))
        before = today.replace(day=1) - timedelta(days=1)
        return f"{before:%Y-%m}", f"{today:%Y-%m}"

    # Decisions: the picture afterwards, or None where they are refused and change nothing.

    def after_approve(self, seen: Picture, run: int) -> Picture | None:
        """By a person who did not plan it."""
        return seen.with_run(run, state="approved") if seen.runs[run].state == "planned" else None

    def after_release(self, seen: Picture, run: int) -> Picture | None:
        """Not before its payday, and not beyond the fund."""
        there = seen.runs[run]
        total_minor = seen.total_minor(run)
        if there.state != "approved" or self.now < self.opens_at(there.location, there.cycle):
            return None
        if total_minor > seen.free_minor:
            return None
        return replace(seen.with_run(run, state="released"), free_minor=seen.free_minor - total_minor)

    def after_discard(self, seen: Picture, run: int) -> Picture | None:
        """Its lines go with it."""
        if seen.runs[run].state not in RELEASABLE:
            return None
        return replace(
            seen,
            runs={number: each for number, each in seen.runs.items() if number != run},
            lines={number: line for number, line in seen.lines.items() if line.run != run},
        )

    def after_pause(self, seen: Picture, run: int) -> Picture | None:
        """Only what is at work."""
        return seen.with_run(run, state="paused") if seen.runs[run].state == "released" else None

    def after_resume(self, seen: Picture, run: int) -> Picture | None:
        """Only what is paused."""
        return seen.with_run(run, state="released") if seen.runs[run].state == "paused" else None

    def after_cancel(self, seen: Picture, run: int) -> Picture | None:
        """Its lines become cases later."""
        if seen.runs[run].state not in ("released", "paused"):
            return None
        return seen.with_run(run, state="cancelled", over=False)

    def after_retry(self, seen: Picture, run: int) -> Picture | None:
        """Every open case of the run; what had gone back is reserved again."""
        there = seen.runs[run]
        cancelled = there.state == "cancelled" and there.over
        if there.state not in ("released", "completed_with_cases") and not cancelled:
            return None
        cases = seen.cases_of(run)
        if not cases:
            return seen
        again_minor = sum(seen.lines[number].amount_minor for number, case in cases.items() if not case.reserved)
        if again_minor > seen.free_minor:
            return None
        opened = seen.with_run(run, state="released", over=False).without_cases(set(cases))
        return replace(opened, free_minor=seen.free_minor - again_minor)

    def after_resolve(self, seen: Picture, number: int, *, paid: bool) -> Picture | None:
        """A person's word: the family was paid, or the line was not owed."""
        case, line = seen.cases[number], seen.lines[number]
        there = seen.runs[line.run]
        if there.state == "cancelled" and not there.over:
            return None
        if paid and not case.reserved and line.amount_minor > seen.free_minor:
            return None
        if not paid and case.reason == "unknown" and not case.waits_for_a_person:
            return None  # the issuer may have credited it, and is asked
        moved_minor = line.amount_minor * (int(case.reserved) - int(paid))
        closed = replace(
            seen.without_cases({number}),
            free_minor=seen.free_minor + moved_minor,
            vouchers=seen.vouchers | {number} if paid else seen.vouchers,
            not_owed=seen.not_owed if paid else seen.not_owed | {number},
        )
        last = there.state == "completed_with_cases" and not closed.cases_of(line.run)
        return closed.with_run(line.run, state="completed") if last else closed

    # What happens by itself: what is wrong with the change from one picture to the next.

    def complaints(self, before: Picture, after: Picture) -> list[str]:
        """Of workers, schedulers, crashes and lost messages; nothing where all is as it may be."""
        wrong = []
        if after.families != self.families:
            wrong.append("the families are not those of the files")
        for number in after.runs.keys() - before.runs.keys():
            wrong += self._of_plan(before, after, number, by_itself=True)
        for number, run in before.runs.items():
            wrong += self._of_run(before, after, number, run)
        for number, line in before.lines.items():
            if after.lines.get(number) != line:
                wrong.append(f"line {number} changed")
        wrong += [f"voucher {number} vanished" for number in before.vouchers - after.vouchers]
        wrong += [f"line {number} is owed again" for number in before.not_owed ^ after.not_owed]
        for number in after.vouchers - before.vouchers:
            wrong += self._of_voucher(before, after, number)
        for number in after.cases.keys() - before.cases.keys():
            wrong += self._of_case(after, number)
        return wrong + self.of_books(after)

    def of_plan_by_hand(self, before: Picture, after: Picture, location: str, cycle: str) -> list[str]:
        """An operator planned the first part of a slot: it is there, or was there, or there was nothing to plan."""
        new = after.runs.keys() - before.runs.keys()
        is_there = any((run.location, run.cycle, run.part) == (location, cycle, 1) for run in before.runs.values())
        expected = 0 if is_there or not before.without_line(location, cycle) else 1
        wrong = [f"{len(new)} runs were planned, not {expected}"] if len(new) != expected else []
        for number in new:
            wrong += self._of_plan(before, after, number, by_itself=False)
        same = {number: run for number, run in after.runs.items() if number not in new} == before.runs
        return wrong if same else [*wrong, "another run changed"]

    def of_books(self, seen: Picture) -> list[str]:
        """What is free is what was given, less every voucher and every line that has its money set aside."""
        bound_minor = 0
        for number, line in seen.lines.items():
            if seen.runs[line.run].state in RELEASABLE or number in seen.not_owed:
                continue
            case = seen.cases.get(number)
            if number in seen.vouchers or case is None or case.reserved:
                bound_minor += line.amount_minor
        expected_minor = self.deposited_minor - bound_minor
        return [] if seen.free_minor == expected_minor else [f"{seen.free_minor} is free, not {expected_minor}"]

    def at_rest(self, seen: Picture) -> list[str]:
        """Nothing is under way any more: what was forgotten."""
        wrong = []
        for location in ZONES:
            for cycle in self.reach(location):
                if cycle >= FIRST_CYCLE and self.now >= self.opens_at(location, cycle):
                    forgotten = seen.without_line(location, cycle)
                    wrong += [f"{name} has no line of {cycle}" for name in forgotten]
        for number, run in seen.runs.items():
            wrong += self._of_rest(seen, number, run)
        wrong += [f"the case of line {number} still retries itself" for number, case in seen.cases.items()
                  if not case.waits_for_a_person and seen.runs[seen.lines[number].run].state != "paused"]  # fmt: skip
        return wrong

    def _of_plan(self, before: Picture, after: Picture, number: int, *, by_itself: bool) -> list[str]:
        run, lines = after.runs[number], after.lines_of(number)
        wrong = []
        owed = {name: family.amount_minor for name, family in before.without_line(run.location, run.cycle).items()}
        if {line.family: line.amount_minor for line in lines.values()} != owed or len(lines) != len(owed):
            wrong.append(f"run {number} has other lines than it should")
        parts = [each for each in before.runs.values() if (each.location, each.cycle) == (run.location, run.cycle)]
        first_is_there = any(each.part == 1 for each in parts)  # it may have been discarded, and a later part not
        if run.part != (max(each.part for each in parts) + 1 if first_is_there else 1):
            wrong.append(f"run {number} is part {run.part}")
        last_at = max(parts, key=lambda each: each.part).planned_at if parts else self.now
        # What a clock that was ahead has planned holds back no other part.
        if run.part > 1 and last_at <= self.now < last_at + timedelta(days=1):
            wrong.append(f"run {number} is a second part of one day")
        due = run.cycle in self.reach(run.location) and (run.part > 1 or self._is_open(run))
        if by_itself and not due:
            wrong.append(f"run {number} was not due")
        return wrong

    def _of_run(self, before: Picture, after: Picture, number: int, was: Run) -> list[str]:
        now = after.runs.get(number)
        if now is None:
            return [f"run {number} vanished"]
        if now.state == was.state:
            return []
        wrong = []
        retries = any(not case.waits_for_a_person for case in before.cases_of(number).values())
        if now.state not in BY_ITSELF[was.state] or (was.state == "completed_with_cases" and not retries):
            wrong.append(f"run {number} went from {was.state} to {now.state}")
        if was.state == "planned" and not self._policy_approves(before, number):
            wrong.append(f"run {number} was approved by nobody")
        if was.state in RELEASABLE and now.state not in RELEASABLE and not self._is_open(now):
            wrong.append(f"run {number} was released before its payday")
        return wrong

    def _of_voucher(self, before: Picture, after: Picture, number: int) -> list[str]:
        run = after.runs[after.lines[number].run]
        was = before.runs.get(after.lines[number].run, replace(run, state="planned"))
        case = before.cases.get(number)
        wrong = []
        if number in before.not_owed or (case is not None and case.waits_for_a_person):
            wrong.append(f"line {number} was credited although a person had not decided so")
        if was.state in ("paused", "completed") or run.state in RELEASABLE:
            wrong.append(f"line {number} of a run that is {was.state} was credited")
        if was.state == "cancelled" and not self.outside:
            wrong.append(f"line {number} of a cancelled run was credited")
        return wrong

    def _of_case(self, after: Picture, number: int) -> list[str]:
        case, run = after.cases[number], after.runs[after.lines[number].run]
        wrong = [f"line {number} is a voucher and a case"] if number in after.vouchers | after.not_owed else []
        reasons = {"dead", "stopped"} | ({"unknown", "rejected"} if self.outside else set())
        if case.reason not in reasons or (case.reason == "stopped" and run.state != "cancelled"):
            wrong.append(f"line {number} is a case: {case.reason}")
        return wrong

    def _of_rest(self, seen: Picture, number: int, run: Run) -> list[str]:
        open_, total_minor = self._is_open(run), seen.total_minor(number)
        if run.state == "planned" and open_ and self._policy_approves(seen, number):
            return [f"run {number} is planned, and nothing keeps it"]
        if run.state == "approved" and open_ and total_minor <= seen.free_minor:
            return [f"run {number} is approved, and nothing keeps it"]
        if run.state == "released" or (run.state == "cancelled" and not run.over):
            return [f"run {number} is {run.state}, and not over"]
        if run.state in (*RELEASABLE, "paused"):
            return []
        ends = {line: (line in seen.vouchers) + (line in seen.cases) + (line in seen.not_owed)
                for line in seen.lines_of(number)}  # fmt: skip
        wrong = [f"line {line} has {count} ends" for line, count in ends.items() if count != 1]
        with_cases = bool(seen.cases_of(number))
        if (run.state == "completed" and with_cases) or (run.state == "completed_with_cases" and not with_cases):
            wrong.append(f"run {number} is {run.state}")
        return wrong

    def _is_open(self, run: Run) -> bool:
        return self.now >= self.opens_at(run.location, run.cycle)

    def _policy_approves(self, seen: Picture, number: int) -> bool:
        run = seen.runs[number]
        return seen.total_minor(number) <= POLICY_MAX_MINOR and run.cycle >= self.reach(run.location)[0]

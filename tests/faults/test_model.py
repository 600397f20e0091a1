"""Whole programmes in any order: files, decisions, crashes, lost messages, frozen workers, clocks, against a model.

Each step is done for real, on both databases, with and without an outside issuer; after each the database is looked at
and compared with what tests.faults.model says may be seen. In the end the faults stop, time passes, and nothing may be
forgotten. A crash is a SIGKILL of a process of its own, at a counted point.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

import scheduler.pause as pause_module
import scheduler.plan as plan_module
import scheduler.retry as retry_module
from models import books
from models.calendar import Cycle, last_cycle
from models.errors import DespensaError
from models.intake.load import load
from models.keys import credit_reference
from models.messages import CreditBatch
from models.reconcile import reconcile
from models.states import GROUPS
from models.storage import Database, Query, Tx
from models.tables import Fund, Programme
from scheduler import sweep
from scheduler.approve import approve_by_person
from scheduler.cancel import cancel
from scheduler.discard import discard
from scheduler.pause import pause, resume
from scheduler.plan import NothingToPlan, plan_slot
from scheduler.release import release
from scheduler.resolve import resolve_not_owed, resolve_paid
from scheduler.retry import Choice, retry
from tests.builders import CITIES, a_programme, give, without_guards
from tests.fakes import HERE
from tests.faults.campaign import Stage, Verdict, row_of
from tests.faults.life import BATCH_LINES, work_off
from tests.faults.model import POLICY_MAX_MINOR, ZONES, Case, Family, Line, Model, Picture, Run
from tests.faults.report import Row
from tests.installation import Installation
from tests.ledger import age_calls, pass_time
from workers import credit, outside
from workers.issuers import calls

pytestmark = pytest.mark.timeout(3600)
#: An hour before the first of the three paydays.
BEGINS = datetime(2026, 12, 1, 14, tzinfo=UTC)
CYCLES = ("2026-11", "2026-12", "2027-01")
HOURS = (1, 5, 24, 24 * 20, -1, -48)
FUND_MINOR = 1_500_000
#: More rounds than anything needs to come to rest: a doubt is asked for seven times, a part is planned once a day.
ROUNDS_MAX = 25
ANY = st.integers(0, 10_000)
#: A life that finds little to do has some 200 points, one that credits up to 700: most are killed.
CRASH_AT_MAX = 300
#: Fewer killed lives than this, over all programmes of a test, would show little.
KILLS_MIN = 3


def three_cities(database: Database, store_url: str) -> None:
    """No family yet; a fund that may turn out too small; a policy that leaves large runs to a person."""
    cities = [city for city in CITIES if city[0] in ZONES]
    a_programme(database, cities=cities, store_url=store_url, funds_minor=(FUND_MINOR,))
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE programme SET policy_run_max_minor = :most"), {"most": POLICY_MAX_MINOR})


class ProgrammeMachine(RuleBasedStateMachine):
    """One programme, from its first family until it has come to rest."""

    stage: ClassVar[Stage]
    kills: ClassVar[int] = 0  #: of all programmes
    verdicts: ClassVar[list[Verdict]]  #: one of each programme that came to rest

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.stack = ExitStack()
        self.month = self.stack.enter_context(self.stage.month(seed=seed, edges_only=False))
        self.database, life = self.month.database, self.month.life
        self.installation = self.stack.enter_context(
            Installation.open(
                Path(life.home), self.database, database_url=life.database_url, redis_url=life.redis_url,
                namespace=life.namespace,
            )
        )  # fmt: skip
        self.installation.batch_lines = BATCH_LINES
        self.model = Model(BEGINS, deposited_minor=FUND_MINOR, outside=self.month.issuer is not None)
        self.frozen: list[tuple[credit.Lease, calls.Work | None]] = []
        with self.database.reading() as tx:
            self.programme = tx.get(Programme)
        self.seen = self.look()
        self.import_({f"R-{number:04}": Family(sorted(ZONES)[number % 3], number + 1, "2026-12", "2027-01")
                      for number in range(9)})  # fmt: skip

    # What the files bring.

    @rule(location=st.sampled_from(sorted(ZONES)), members=st.integers(1, 9), first=st.sampled_from(CYCLES),
          months=st.integers(1, 3), count=st.integers(1, 5))  # fmt: skip
    def enrol(self, location: str, members: int, first: str, months: int, count: int) -> None:
        last = str(last_cycle(Cycle.parse(first), months))
        new = {
            f"R-{len(self.model.families) + number:04}": Family(location, members, first, last)
            for number in range(count)
        }
        self.import_(new)

    @precondition(lambda self: self.model.families)
    @rule(which=ANY, location=st.sampled_from(sorted(ZONES)))
    def move(self, which: int, location: str) -> None:
        self.change(which, location=location)

    @precondition(lambda self: self.model.families)
    @rule(which=ANY, active=st.booleans(), members=st.integers(1, 9))
    def hold_or_take_back(self, which: int, active: bool, members: int) -> None:
        self.change(which, active=active, members=members)

    @precondition(lambda self: self.model.families)
    @rule(which=ANY, first=st.sampled_from(CYCLES))
    def shift_the_window(self, which: int, first: str) -> None:
        self.change(which, first=first)

    @precondition(lambda self: self.model.families)
    @rule()
    def import_everything_again(self) -> None:
        events = self.count("SELECT COUNT(*) FROM journal")
        self.import_(dict(self.model.families))
        assert self.count("SELECT COUNT(*) FROM journal") == events

    @rule(amount_minor=st.sampled_from((50_000, 300_000, 1_000_000)))
    def give_money(self, amount_minor: int) -> None:
        with self.database.transaction() as tx:
            give(tx, self.programme, tx.get(Fund), amount_minor)
        self.model.deposited_minor += amount_minor
        self.by_itself()

    # What operators decide.

    @rule(location=st.sampled_from(sorted(ZONES)), cycle=st.sampled_from(CYCLES))
    def plan(self, location: str, cycle: str) -> None:
        before = self.seen
        try:
            with self.database.transaction() as tx:
                plan_slot(
                    tx, self.programme, location_code=location, cycle=Cycle.parse(cycle), now=self.model.now,
                    batch_lines=BATCH_LINES,
                )  # fmt: skip
        except NothingToPlan:
            assert not before.without_line(location, cycle)
        self.seen = self.look()
        assert self.model.of_plan_by_hand(before, self.seen, location, cycle) == []

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def approve(self, which: int) -> None:
        run = self.choose(self.model.after_approve, which)
        self.decide(lambda tx: _approve_as_another(tx, run), self.model.after_approve(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def release(self, which: int) -> None:
        run = self.choose(self.model.after_release, which)
        self.decide(lambda tx: release(tx, run, now=self.model.now), self.model.after_release(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def discard(self, which: int) -> None:
        run = self.choose(self.model.after_discard, which)
        self.decide(lambda tx: discard(tx, run), self.model.after_discard(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def pause(self, which: int) -> None:
        run = self.choose(self.model.after_pause, which)
        self.decide(lambda tx: pause(tx, run, reason="asked"), self.model.after_pause(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def resume(self, which: int) -> None:
        run = self.choose(self.model.after_resume, which)
        self.decide(lambda tx: resume(tx, run), self.model.after_resume(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        run = self.choose(self.model.after_cancel, which)
        self.decide(lambda tx: cancel(tx, run), self.model.after_cancel(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def retry(self, which: int) -> None:
        run = self.choose(self.model.after_retry, which)
        self.decide(lambda tx: retry(tx, run, Choice()), self.model.after_retry(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY, repent=st.booleans())
    def call_off(self, which: int, repent: bool) -> None:
        """Cancelled, and every worker long gone: its lines are cases. Perhaps they are then tried again."""
        run = self.choose(self.model.after_cancel, which)
        self.decide(lambda tx: cancel(tx, run), self.model.after_cancel(self.seen, run))
        self.let_leases_run_out()
        self.tick()
        if repent:
            self.decide(lambda tx: retry(tx, run, Choice()), self.model.after_retry(self.seen, run))

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def pause_for_a_while(self, which: int) -> None:
        """Scheduler and workers look at it meanwhile, and leave it alone."""
        run = self.choose(self.model.after_pause, which)
        self.decide(lambda tx: pause(tx, run, reason="asked"), self.model.after_pause(self.seen, run))
        self.tick()
        self.work()
        self.decide(lambda tx: resume(tx, run), self.model.after_resume(self.seen, run))

    @precondition(lambda self: self.seen.cases)
    @rule(which=ANY, paid=st.booleans())
    def resolve(self, which: int, paid: bool) -> None:
        """With an issuer, a person looks into its book first."""
        line = self.pick(self.seen.cases, which)
        case = self.seen.cases[line]
        if self.month.issuer is not None:
            paid = self.reference(self.seen.lines[line]) in {made.reference for made in self.month.issuer.book()}
        expected = self.model.after_resolve(self.seen, line, paid=paid)
        if paid:
            self.decide(lambda tx: resolve_paid(tx, case.id, evidence="receipt 7", key_version=1), expected)
        else:
            self.decide(lambda tx: resolve_not_owed(tx, case.id), expected)

    # What happens by itself, and what goes wrong.

    @rule()
    def tick(self) -> None:
        self.installation.clock.now = self.model.now
        self.installation.ticker().tick()
        self.by_itself()

    @rule()
    def work(self) -> None:
        work_off(self.installation)
        self.by_itself()

    @rule(crash_at=st.integers(1, CRASH_AT_MAX))
    def be_killed(self, crash_at: int) -> None:
        """A process that ticks and works, killed at one of its points, or at none where it has fewer."""
        life = replace(self.month.life, crash_at=crash_at, now=self.model.now.isoformat(), rounds=1)
        code, _ = self.stage.lives.live(life)
        type(self).kills += code < 0
        self.by_itself()

    @precondition(lambda self: self.seen.runs)
    @rule(which=ANY)
    def deliver_a_forged_message(self, which: int) -> None:
        """Of any batch there is, whatever its state, or of none."""
        last = self.count("SELECT COALESCE(MAX(id), 1) FROM batch")
        self.installation.receive(CreditBatch(which % (last + 1) + 1))
        self.by_itself()

    @rule()
    def lose_redis(self) -> None:
        self.installation.broker.client.flushall()
        self.by_itself()

    @precondition(lambda self: self.seen.runs and len(self.frozen) < 3)
    @rule(which=ANY, in_mid_call=st.booleans())
    def freeze_a_worker(self, which: int, in_mid_call: bool) -> None:
        """It took a batch, and stands still: before its calls to the issuer, or after them."""
        open_ = self.ids("SELECT id FROM batch WHERE state = 'open' ORDER BY id")
        lease = credit.take_batch(self.database, open_[which % len(open_)]) if open_ else None
        if lease is not None:
            self.frozen.append((lease, self.begin_calls(lease) if in_mid_call and lease.access else None))
        self.by_itself()

    @precondition(lambda self: self.frozen)
    @rule(which=ANY)
    def thaw(self, which: int) -> None:
        """However much has happened meanwhile."""
        lease, work = self.frozen.pop(which % len(self.frozen))
        try:
            if work is not None:
                outside.settle(self.database, work, key_version=1)
            elif lease.access is None:
                credit.credit_batch(self.database, lease, key_version=1)
        except outside.AnswersChanged as error:
            credit.return_batch(self.database, lease, error)
        self.by_itself()

    @rule(hours=st.sampled_from(HOURS))
    def move_the_clock(self, hours: int) -> None:
        moved = self.model.now + timedelta(hours=hours)
        self.model.now = min(max(moved, BEGINS), BEGINS + timedelta(days=80))

    @rule()
    def let_leases_run_out(self) -> None:
        pass_time(self.database)
        self.by_itself()

    @invariant()
    def books_agree(self) -> None:
        with self.database.reading() as tx:
            assert [each.as_json() for each in reconcile(tx)] == []

    def teardown(self) -> None:
        """The faults stop, a person resumes what is paused, time passes, and nothing is forgotten."""
        try:
            if sys.exc_info()[0] is None and hasattr(self, "seen"):
                self.come_to_rest()
        finally:
            if hasattr(self, "stack"):
                self.stack.close()

    def come_to_rest(self) -> None:
        if self.month.issuer is not None:
            self.month.issuer.set_faults({})
        # What was credited while a run was being paused becomes a voucher when it goes on.
        for number in [number for number, run in self.seen.runs.items() if run.state == "paused"]:
            self.decide(partial(resume, run_id=number), self.model.after_resume(self.seen, number))
        for _ in range(ROUNDS_MAX):
            before = self.seen
            self.model.now += timedelta(hours=6)
            pass_time(self.database)
            age_calls(self.database, timedelta(minutes=2))
            self.tick()
            self.work()
            self.tick()
            if self.seen == before and not self.at_rest():
                break
        forgotten = self.at_rest()
        verdict = self.month.compare()
        verdict.lost += len(forgotten)
        self.verdicts.append(verdict)
        assert forgotten == []
        assert not verdict, verdict

    def at_rest(self) -> list[str]:
        untold = self.count("SELECT COUNT(*) FROM notice WHERE state <> 'delivered'")
        return self.model.at_rest(self.seen) + ([f"{untold} notices were not delivered"] if untold else [])

    # How it is done, and looked at.

    def decide(self, act: Callable[[Tx], object], expected: Picture | None) -> None:
        """A decision does what the model says, or is refused and changes nothing."""
        before, refused = self.seen, False
        try:
            with self.database.transaction() as tx:
                act(tx)
        except DespensaError:
            refused = True
        self.seen = self.look()
        assert refused == (expected is None)
        assert self.seen == (before if expected is None else expected)
        assert self.model.of_books(self.seen) == []

    def by_itself(self) -> None:
        """Look, and hold what changed against what may."""
        before, self.seen = self.seen, self.look()
        assert self.model.complaints(before, self.seen) == []

    def change(self, which: int, **changed: Any) -> None:
        name = self.pick(self.model.families, which)
        was = self.model.families[name]
        if "first" in changed:
            months = Cycle.parse(was.last).months_since(Cycle.parse(was.first)) + 1
            changed["last"] = str(last_cycle(Cycle.parse(changed["first"]), months))
        self.import_({name: replace(was, **changed)})

    def import_(self, families: dict[str, Family]) -> None:
        """A file with these rows; refused, and nothing changed, where it shifts a window that has a line."""
        path = Path(self.month.life.home) / "households.csv"
        rows = ["registration_id,location,members,group,first_cycle,cycles,status"]
        for name, family in families.items():
            months = Cycle.parse(family.last).months_since(Cycle.parse(family.first)) + 1
            status = "active" if family.active else "held:documents"
            rows.append(f"{name},{family.location},{family.members},{GROUPS[0]},{family.first},{months},{status}")
        path.write_text("\n".join(rows) + "\n")
        lined = {line.family for line in self.seen.lines.values()}
        shifts = any(
            name in lined
            and (was := self.model.families[name])
            and (was.first, was.last) != (family.first, family.last)
            for name, family in families.items()
        )
        refused = False
        try:
            load(self.database, path, programme=None, dry_run=False, show=lambda _: None)
        except DespensaError:
            refused = True
        assert refused == shifts
        if not refused:
            self.model.families |= families
        self.by_itself()

    def begin_calls(self, lease: credit.Lease) -> calls.Work | None:
        place = self.installation.place
        work = calls.begin(self.database, lease, keys=place.reference_keys, stopping=place.stopping)
        if work is not None:
            calls.call_for(self.database, work, token="rehearsal", outgoing=HERE)
        return work

    def reference(self, line: Line) -> str:
        return credit_reference(
            self.installation.place.reference_keys, programme=self.programme.code, registration_id=line.family,
            cycle=line.cycle,
        )  # fmt: skip

    def choose(self, foretell: Callable[[Picture, int], Picture | None], which: int) -> int:
        """A run of which the decision would change something, where there is one; now and then any run."""
        willing = {run: None for run in self.seen.runs if foretell(self.seen, run) not in (None, self.seen)}
        return int(self.pick(willing if willing and which % 5 else self.seen.runs, which // 5))

    @staticmethod
    def pick(things: dict[Any, Any], which: int) -> Any:
        return sorted(things)[which % len(things)]

    def count(self, statement: str) -> int:
        return self.ids(statement)[0]

    def ids(self, statement: str) -> list[int]:
        with self.database.reading() as tx:
            return [int(each) for each in tx.connection.execute(text(statement)).scalars()]

    def look(self) -> Picture:
        """The database, as plain Python."""
        with self.database.reading() as tx:
            return _picture(tx)


def _picture(tx: Tx) -> Picture:
    def rows(statement: str) -> list[Any]:
        return list(tx.connection.execute(text(statement)))

    families = rows("SELECT h.registration_id, h.location_code, h.members, e.first_cycle, e.last_cycle, e.status "
                    "FROM household h JOIN enrolment e ON e.household_id = h.id")  # fmt: skip
    runs = rows("SELECT id, location_code, cycle, part, state, completed_at, planned_at FROM run")
    lines = rows("SELECT d.id, h.registration_id, d.cycle, d.amount_minor "
                 "FROM disbursement d JOIN household h ON h.id = d.household_id")  # fmt: skip
    cases = rows("SELECT disbursement_id, id, reason, reserved, next_attempt_at FROM cases WHERE state = 'open'")
    return Picture(
        families={name: Family(place, members, first, last, status == "active")
                  for name, place, members, first, last, status in families},
        runs={number: Run(place, cycle, part, state, over is not None, _instant(planned_at))
              for number, place, cycle, part, state, over, planned_at in runs},
        lines={number: Line(number // 10_000_000, name, cycle, amount) for number, name, cycle, amount in lines},
        vouchers=frozenset(number for (number,) in rows("SELECT id FROM voucher")),
        cases={line: Case(number, reason, bool(reserved), again is None)
               for line, number, reason, reserved, again in cases},
        not_owed=frozenset(n for (n,) in rows("SELECT disbursement_id FROM cases WHERE outcome = 'not_owed'")),
        free_minor=rows("SELECT SUM(balance_minor) FROM fund")[0][0],
    )  # fmt: skip


def _instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else value.astimezone(UTC)


def _approve_as_another(tx: Tx, run: int) -> None:
    """Whoever planned it was somebody else."""
    with without_guards(tx, "run"):
        tx.connection.execute(text("UPDATE run SET planned_by = 'planner' WHERE id = :id"), {"id": run})
    approve_by_person(tx, run)


@pytest.fixture
def stage(open_stage: Callable[[Callable[[Database, str], None]], Stage]) -> Stage:
    """For programmes of three cities."""
    return open_stage(three_cities)


def machine_on(of_stage: Stage) -> type[ProgrammeMachine]:
    """One that counts for itself."""

    class Machine(ProgrammeMachine):
        stage = of_stage
        verdicts: ClassVar[list[Verdict]] = []

    return Machine


def hold(machine: type[ProgrammeMachine], *, long: bool = False, examples: int = 10) -> None:
    """Programmes against the model, the same ones every time; in the long form more, and new ones."""
    # Hypothesis draws from the constants, too, of whatever modules are loaded: beside other tests, other programmes.
    with patch.object(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=100 if long else examples,
                stateful_step_count=50 if long else 30,
                derandomize=not long,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                report_multiple_bugs=False,
                # A step takes milliseconds on a real database: what fails is printed as it was, and not made smaller.
                phases=(Phase.generate,),
            ),
        )


def test_programme_does_what_the_model_says(
    stage: Stage, profile: str, kind: str, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    machine = machine_on(stage)
    try:
        hold(machine, long=long_campaign)
    finally:
        database = {"embedded": "SQLite", "distributed": "PostgreSQL"}[profile]
        record_fault(row_of(f"programmes against the model, {database}, {kind}", stage.months, machine.verdicts))
    assert machine.kills >= KILLS_MIN


def held_families_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan does not look at a family's status."""
    _change(monkeypatch, plan_module, "INSERT_LINES", " AND e.status = 'active'", "")


def latecomers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for families that moved, or were imported after the plan."""
    _change(monkeypatch, sweep, "LIST_LATECOMERS", "LIMIT 1000", "LIMIT 0")


def retry_reserves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cancel gave back is credited again without being reserved."""
    _change(monkeypatch, retry_module, "SUM_CASES", "c.reserved = :no", "1 = 0 AND :no = :no")


def cancel_keeps_the_money(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a cancelled run become cases without reserve, and the reserve stays."""
    monkeypatch.setattr(books, "unreserve", lambda _tx, **_: None)


def resume_forgets_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on, and its batches do not."""
    _change(monkeypatch, pause_module, "RESUME_BATCHES", "SET state = 'open'", "SET state = 'paused'")


#: What the model says of each.
FINDINGS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    held_families_are_planned: "run [0-9]+ has other lines than it should",
    latecomers_are_forgotten: "R-[0-9]+ has no line of",
    retry_reserves_nothing: "free_minor: [0-9]+ != [0-9]+",
    cancel_keeps_the_money: "[0-9]+ is free, not [0-9]+",
    resume_forgets_the_batches: "run [0-9]+ is released, and not over",
}


@pytest.mark.parametrize("profile", ["embedded"])
@pytest.mark.parametrize("kind", ["closed loop"])
@pytest.mark.parametrize("bug", FINDINGS, ids=lambda bug: bug.__name__)
def test_model_catches_a_planted_bug(
    stage: Stage,
    bug: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    record_fault: Callable[[Row], None],
) -> None:
    bug(monkeypatch)

    try:
        with pytest.raises(AssertionError, match=FINDINGS[bug]):
            hold(machine_on(stage), examples=600)
    finally:
        record_fault(Row(fault=f"planted: {bug.__name__}, caught after so many", runs=stage.months))


def _change(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, old: str, new: str) -> None:
    postgresql, sqlite = (str(getattr(module, name).on(dialect)) for dialect in ("postgresql", "sqlite"))
    assert old in postgresql
    assert old in sqlite
    monkeypatch.setattr(module, name, Query(postgresql.replace(old, new), sqlite=sqlite.replace(old, new)))

"""One tick: everything that should happen now, for every run, each step in its own short transactions.

Any number of tickers may run at once, and a tick may be repeated or killed at any moment: each step asks the database
what is left to do, and unique keys, from-states and locks decide. A step that fails for one run fails for that run.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from models import custody, health
from models.broker import SafeRedisBroker
from models.calendar import Cycle, Place, Slot, local_cycle, slots_within_reach
from models.differences import close_settled
from models.errors import BrokerUnreachable, DespensaError, Restored, UnknownZone
from models.events import BrokerUnreachable as BrokerUnreachableEvent
from models.events import Observed, SchedulerSeen, TickFailed
from models.kept_head import KeptHead
from models.log import Log
from models.lost import waiting_programmes
from models.sightings import roll_call, see
from models.storage import Database, Query, Tx
from models.tables import Programme
from scheduler.advance import advance
from scheduler.cancel import list_cancelled_runs, settle_cancelled
from scheduler.close import close, list_finished_runs
from scheduler.compare import compare_close, list_uncompared
from scheduler.dispatch import Tally, dispatch
from scheduler.due import journal_expected, list_due, list_places
from scheduler.heads import ClosedHeads
from scheduler.plan import NothingToPlan, claim_slot, plan_slot
from scheduler.retention import reduce_over
from scheduler.retry import Choice, retry, runs_with_due_cases
from scheduler.seal import emit, seal
from scheduler.sweep import (
    list_latecomers,
    runs_ahead_of_time,
    runs_put_off,
    runs_with_exhausted,
    sweep_exhausted,
    sweep_put_off,
    wake,
)

#: How often a ticker looks through all that is there, for families without a line above all; and says that it lives.
LOOK_EVERY = timedelta(minutes=1)
#: How often it looks for families whose stated time is over: that goes by months.
REDUCE_EVERY = timedelta(days=1)

#: Cities that a scheduler plans at a time, where the database has more than one writer: one session's inserts wait for
#: its commits and its one processor. More of them gain little on two processors, and take them from the workers. A
#: command plans one, in the thread that a signal interrupts.
PLANNERS = 2

LIST_UNRELEASED = Query("""
-- list_unreleased: runs whose payday has come and that are not released; those that wait for a person, too
SELECT id, state FROM run WHERE state IN ('planned', 'approved') AND opens_at <= :payday_at ORDER BY id LIMIT 100000
""")


class _Stopping(Exception):
    """The process is to end: what was not begun is left to the next tick, of whomever."""


@dataclass(slots=True)
class TickResult:
    """What a tick did, and what stood in its way."""

    planned: int = 0
    released: int = 0
    sent: int = 0
    ended: int = 0  #: batches split or stopped, cases retried, cancels settled
    closed: int = 0
    sealed: int = 0
    broker_down: bool = False
    errors: list[DespensaError] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether there may be more to do at once."""
        return bool(self.planned or self.released or self.sent or self.ended or self.closed)

    def add_plan(self, other: "TickResult") -> None:
        """What came of a city that was planned in another thread."""
        self.planned += other.planned
        self.released += other.released
        self.errors += other.errors


@dataclass(slots=True)
class Ticker:
    """What a tick needs. `clock` decides what is due; leases and stamps use the database's own."""

    database: Database
    broker: SafeRedisBroker
    log: Log
    clock: Callable[[], datetime]
    batch_lines: int
    planners: int  #: cities that are planned at a time
    kept: KeptHead
    heads: ClosedHeads
    seals: bool  #: whether this process seals and emits: a scheduler, a waiting `run start`, any embedded command
    #: Once it is set, no further step begins.
    stopping: threading.Event = field(default_factory=threading.Event)
    #: Touched whenever it said that it lives: of a long-lived scheduler.
    health_file: Path | None = None
    #: What it sent so far.
    tally: Tally = field(default_factory=Tally)
    _looked_at: datetime | None = None
    #: Due slots of which no family is entitled, until the next look: to find nobody takes a look through a location.
    _empty: set[Slot] = field(default_factory=set)
    _seen_at: datetime | None = None
    _reduced_at: datetime | None = None

    def tick(self) -> TickResult:
        """Do all that should happen now. Raises only for faults of the program, never for one run's trouble.

        And Restored, where the database is not the one that it was: neither half does anything then.
        """
        return self.work(self.decide())

    def decide(self) -> TickResult:
        """The steps up to release: what is due is planned, approved and released. They may take minutes."""
        result = TickResult()
        now = self.clock()
        looks = _is_over(self._looked_at, now=now)
        with suppress(_Stopping):
            if not self._is_whole(result):
                return result
            if looks:
                self._looked_at = now
                self._each("sweep", runs_ahead_of_time, wake, result, "ended")
                with self._step("sweep", result), self.database.transaction() as tx:
                    close_settled(tx)
            self._advance(result, now=now)
            places = self._places(result, now=now)
            if looks:
                self._empty.clear()
            self._plan_due(places, result, now=now)
            if looks:
                self._plan_latecomers(places, result, now=now)
        return result

    def work(self, result: TickResult | None = None) -> TickResult:
        """The steps that follow released runs: dispatch, sweep, close, seal. May run beside `decide`, in a thread."""
        result = result or TickResult()
        with suppress(_Stopping):
            if self._is_whole(result):
                self._follow(result)
        return result

    def _follow(self, result: TickResult) -> None:
        self._see(result)
        with self._step("dispatch", result):
            result.sent += dispatch(self.database, self.broker, self.tally)
        self._each("sweep", runs_with_exhausted, sweep_exhausted, result, "ended")
        self._each("sweep", runs_put_off, sweep_put_off, result, "ended")
        self._each("cancel", list_cancelled_runs, settle_cancelled, result, "ended")
        self._each("retry", runs_with_due_cases, _retry_due, result, "ended")
        self._each("close", list_finished_runs, close, result, "closed")
        if result.closed:
            with self._step("dispatch", result):  # its notices
                result.sent += dispatch(self.database, self.broker, self.tally)
        self._compare(result)
        if self.seals:
            with self._step("seal", result):
                while seal(self.database):
                    pass
                with self.database.reading() as tx:
                    head = custody.get_head(tx)
                self.kept.keep(head)
                result.sealed += emit(self.database, self.log)
            with self._step("heads", result):
                self.heads.keep(self.database)
            self._reduce(result)

    def _reduce(self, result: TickResult) -> None:
        """The least urgent step; an attempt that failed is repeated the next day, or by the next process."""
        now = self.clock()
        if _is_over(self._reduced_at, now=now, every=REDUCE_EVERY):
            self._reduced_at = now
            with self._step("reduce", result):
                reduce_over(self.database)

    def _compare(self, result: TickResult) -> None:
        """The books of each run that was closed, by this ticker or by one that ended before it had looked."""
        run_ids: list[int] = []
        with self._step("reconcile", result), self.database.reading() as tx:
            run_ids = list_uncompared(tx)
        for run_id in run_ids:
            with self._step("reconcile", result):
                compare_close(self.database, run_id)

    def _is_whole(self, result: TickResult) -> bool:
        """Whether the database is the one that it was. Where it does not say, nothing is begun: the next tick asks."""
        with self._step("custody", result):
            custody.require_whole(self.database, self.kept, tell=self.log.observe)
            return True
        return False

    def _places(self, result: TickResult, *, now: datetime) -> list[Place]:
        """Where to plan. A location whose time zone is lost is left out, and said, so that the others go on."""
        places: list[Place] = []
        lost: list[UnknownZone] = []
        with self._step("due", result):
            with self.database.transaction() as tx:
                places = list_places(tx, lost=lost)
                journal_expected(tx, places, now=now)
            for error in lost:
                with self._step("due", result):
                    raise error
        return places

    def _plan_due(self, places: list[Place], result: TickResult, *, now: datetime) -> None:
        def plan(slot: Slot) -> tuple[Slot, bool, TickResult]:
            alone = TickResult()
            return slot, self._plan(slot.programme_id, slot.location_code, slot.cycle, 1, alone, now=now), alone

        with self._step("due", result):
            with self.database.reading() as tx:
                due = list_due(tx, places, now=now)
                waiting = waiting_programmes(tx)
            slots = [
                each.slot for each in due if each.slot not in self._empty and each.slot.programme_id not in waiting
            ]
            for slot, found, alone in map(plan, slots) if self.planners == 1 else self._side_by_side(plan, slots):
                result.add_plan(alone)
                if not found:
                    self._empty.add(slot)

    def _side_by_side(
        self, plan: Callable[[Slot], tuple[Slot, bool, TickResult]], slots: list[Slot]
    ) -> Iterator[tuple[Slot, bool, TickResult]]:
        """In the order in which plans end. After a fault of the program no other begins."""
        with ThreadPoolExecutor(self.planners, thread_name_prefix="plan") as planners:
            try:
                for planned in as_completed([planners.submit(plan, slot) for slot in slots]):
                    yield planned.result()
            except Exception as error:
                planners.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, _Stopping):  # said at once: the city beside it may take an hour
                    self.tell(TickFailed(step="plan", error=type(error).__name__, sqlstate=""))
                raise

    def _plan_latecomers(self, places: list[Place], result: TickResult, *, now: datetime) -> None:
        """The next part of a location's run, for families that moved there or were imported after its plan."""
        reach = {slot.cycle for place in places for slot in slots_within_reach(place, now=now)}
        for cycle in sorted(reach):
            with self._step("latecomers", result):
                with self.database.reading() as tx:
                    found = list_latecomers(tx, cycle)
                    waiting = waiting_programmes(tx)
                for programme_id, location_code in found:
                    if programme_id not in waiting and _within_reach(
                        places, programme_id, location_code, cycle, now=now
                    ):
                        self._plan(programme_id, location_code, cycle, None, result, now=now)

    def _plan(
        self,
        programme_id: int,
        location_code: str,
        cycle: Cycle,
        part: int | None,
        result: TickResult,
        *,
        now: datetime,
    ) -> bool:
        """Returns False where there is nobody to plan for."""
        run_id = None
        with self._step("plan", result):
            try:
                with self.database.transaction() as tx:
                    if not claim_slot(
                        tx, programme_id=programme_id, location_code=location_code, cycle=cycle, part=part
                    ):
                        return True
                    programme = tx.get(Programme, Programme.id == programme_id)
                    planned = plan_slot(
                        tx, programme, location_code=location_code, cycle=cycle, now=now,
                        batch_lines=self.batch_lines, part=part,
                    )  # fmt: skip
            except NothingToPlan:
                return False
            result.planned += planned.created
            if planned.created and planned.run.opens_at <= now:
                run_id = planned.run.id
        if run_id is not None:  # at once: workers credit this city while the next one is planned
            self._release(run_id, result, now=now)
        return True

    def _advance(self, result: TickResult, *, now: datetime) -> None:
        """Approve by policy and release what may be released."""
        with self._step("advance", result):
            with self.database.reading() as tx:
                runs = tx.all(LIST_UNRELEASED, payday_at=now)
            for run in runs:
                self._release(run.id, result, now=now)

    def _release(self, run_id: int, result: TickResult, *, now: datetime) -> None:
        with self._step("release", result):
            result.released += advance(self.database, run_id, now=now)

    def _each(
        self,
        step: str,
        find: Callable[[Tx], list[int]],
        act: Callable[[Tx, int], int | bool],
        result: TickResult,
        counter: str,
    ) -> None:
        """Do one step for each run that needs it, each in its own transaction."""
        with self._step(step, result):
            with self.database.reading() as tx:
                run_ids = find(tx)
            for run_id in run_ids:
                with self._step(step, result), self.database.transaction() as tx:
                    setattr(result, counter, getattr(result, counter) + int(act(tx, run_id)))

    def _see(self, result: TickResult) -> None:
        """Say every minute that it lives: whoever follows released runs does so, not whoever plans for an hour."""
        now = self.clock()
        if self.seals and _is_over(self._seen_at, now=now):
            self._seen_at = now
            with self._step("see", result):
                see(self.database, "scheduler")
                health.mark(self.health_file)
                seen = roll_call(self.database)
                self.log.observe(
                    SchedulerSeen(schedulers=" ".join(seen["scheduler"]), workers=" ".join(seen["worker"]))
                )

    @contextmanager
    def _step(self, step: str, result: TickResult) -> Iterator[None]:
        """A step's trouble is logged and remembered; the other steps and runs go on, until the process is to end."""
        if self.stopping.is_set():
            raise _Stopping
        try:
            yield
        except Restored:
            raise
        except BrokerUnreachable as error:
            result.broker_down = True
            result.errors.append(error)
            self.tell(BrokerUnreachableEvent(error=error.cause))
        except DespensaError as error:
            result.errors.append(error)
            self.tell(TickFailed(step=step, error=type(error).__name__, sqlstate=""))
        except DBAPIError as error:
            sqlstate = str(getattr(error.orig, "sqlstate", None) or "")
            result.errors.append(DespensaError(f"{step}: the database refused: {type(error.orig).__name__} {sqlstate}"))
            self.tell(TickFailed(step=step, error=type(error.orig).__name__, sqlstate=sqlstate))
        except OSError as error:  # the log's disk is full: vouchers do not wait for it
            result.errors.append(DespensaError(f"{step}: {error.strerror or type(error).__name__}"))
            self.tell(TickFailed(step=step, error=type(error).__name__, sqlstate=""))

    def tell(self, event: Observed) -> None:
        """Log and count what went wrong. A full disk is no further trouble: who calls remembers it, too."""
        self.tally.failures[event.step if isinstance(event, TickFailed) else "send"] += 1
        with suppress(OSError):
            self.log.observe(event)


def _is_over(since: datetime | None, *, now: datetime, every: timedelta = LOOK_EVERY) -> bool:
    """Whether so much time is over. So it is, too, where a clock that was ahead was set right."""
    return since is None or not since <= now < since + every


def _retry_due(tx: Tx, run_id: int) -> int:
    return retry(tx, run_id, Choice(due_only=True)).cases


def _within_reach(places: list[Place], programme_id: int, location_code: str, cycle: Cycle, *, now: datetime) -> bool:
    return any(
        place.programme_id == programme_id
        and place.location_code == location_code
        and place.first_cycle <= cycle <= local_cycle(now, place.time_zone)
        for place in places
    )

"""Real servers and workers killed, wiped, stopped and frozen in the middle of a month; and how long recovery takes."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from models.deadlines import LEASE_S
from tests.faults.fleet import BATCH_LINES, BEGUN, FAMILIES, FETCHED_MAX, RECOVERED_WITHIN_S, Fleet
from tests.faults.report import Row
from tests.processes import end, signal_group
from tests.waiting import pass_really, until

pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True, slots=True)
class Scale:
    """How big a month is, and how many faults are caused in it."""

    faults: int
    families: int
    batch_lines: int | None  #: None: as it comes


SHORT = Scale(faults=1, families=FAMILIES, batch_lines=BATCH_LINES)
#: Everything as it comes, and more families than are credited until the last fault is over.
LONG = Scale(faults=2, families=1_600_000, batch_lines=None)
#: Promised: so long after any of these, with the settings as they come, vouchers are credited again.
RECOVERS_WITHIN_S = 30
#: Between two credits, of a fault that nobody complains of: without one there are many a second.
PAUSE_S = 2


@pytest.fixture
def scale(*, long_campaign: bool) -> Scale:
    """Ten long months cause twenty faults."""
    return LONG if long_campaign else SHORT


def redis_killed(fleet: Fleet) -> None:
    """And an empty one started."""
    fleet.restart_redis()


def redis_wiped(fleet: Fleet) -> None:
    """All messages are gone, and what Dramatiq knew of its workers."""
    fleet.redis().flushall()


def redis_out_of_memory(fleet: Fleet) -> None:
    """For as long as it takes to finish what was fetched."""
    with fleet.redis() as client:
        client.config_set("maxmemory", "1")
        _until_idle(fleet)
        client.config_set("maxmemory", "0")


def redis_read_only(fleet: Fleet) -> None:
    """As after a failover to a replica."""
    with fleet.redis() as client:
        client.replicaof("127.0.0.1", "1")
        _until_idle(fleet)
        client.replicaof("NO", "ONE")


def redis_frozen(fleet: Fleet) -> None:
    """Longer than a client waits."""
    fleet.redis_process.send_signal(signal.SIGSTOP)
    pass_really(5)
    fleet.redis_process.send_signal(signal.SIGCONT)


def postgresql_crashed(fleet: Fleet) -> None:
    """All sessions end in mid-work, its memory is lost, and it recovers."""
    fleet.crash_postgresql()


def postgresql_restarted(fleet: Fleet) -> None:
    """Stopped immediately, whatever is being committed, and started again."""
    fleet.restart_postgresql()


def postgresql_frozen(fleet: Fleet) -> None:
    """For a while nobody is answered, and then everybody."""
    frozen = fleet.postgresql_processes()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in frozen:
            with suppress(ProcessLookupError):  # a session, or a vacuum, that ended after it was listed
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            pass_really(5)


FAULTS = (
    redis_killed, redis_wiped, redis_out_of_memory, redis_read_only, redis_frozen, postgresql_crashed,
    postgresql_restarted, postgresql_frozen,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_month_survives_and_recovers_soon(
    servers_from: str,
    tmp_path: Path,
    fault: Callable[[Fleet], None],
    scale: Scale,
    month: int,
    record_fault: Callable[[Row], None],
) -> None:
    """Recovered is when each line that was under way at the fault has its voucher."""
    recovery_s: list[float] = []
    with _fleet(tmp_path, servers_from, scale, count=scale.families) as fleet:
        for _ in range(scale.faults):
            fleet.go_on()
            # Between two cities there may be a batch or two, which are credited whatever happens to Redis.
            under_way = fleet.under_way(at_least=FETCHED_MAX + 1)
            struck_at, complaints, messages = datetime.now(UTC), fleet.complaints(), fleet.messages()
            fault(fleet)
            lost = fault in (redis_killed, redis_wiped) and messages and not messages & fleet.messages()
            recovery_s.append(fleet.recovery_s(under_way, since=time.monotonic()))
            hit = lost or fleet.complaints() != complaints or fleet.pause_s(struck_at) > PAUSE_S
            assert hit, "the fault hit nobody"
            _assert_work_is_left(fleet, scale)
        _assert_survived(fleet, f"real: {fault.__name__.replace('_', ' ')}", recovery_s, record_fault)


def test_worker_killed_with_a_batch_in_hand_is_missed_for_a_lease(
    servers_from: str, tmp_path: Path, scale: Scale, month: int, record_fault: Callable[[Row], None]
) -> None:
    """With all its processes. Nobody else may take what it held before the lease is over.

    It is frozen first, and killed once it surely holds something: dead is it from then on.
    """
    recovery_s: list[float] = []
    with _fleet(tmp_path, servers_from, scale, count=max(2 * FAMILIES, scale.families)) as fleet:
        for _ in range(scale.faults):
            fleet.supervise()
            under_way = fleet.under_way()
            _, since = _freeze_with_a_batch_in_hand(fleet, fleet.workers[0])
            end(fleet.workers[0])
            recovery_s.append(fleet.recovery_s([*under_way, *fleet.under_way()], since=since))
            _assert_work_is_left(fleet, scale)
        _assert_survived(fleet, "real: worker killed", recovery_s, record_fault)


def test_worker_frozen_for_longer_than_its_lease_credits_nothing_twice(
    servers_from: str, tmp_path: Path, record_fault: Callable[[Row], None]
) -> None:
    """It thaws when others have credited what it held, and goes on with it."""
    with Fleet.open(tmp_path, servers_from=servers_from) as fleet:
        fleet.begin()
        frozen = fleet.workers[0]
        held, _ = _freeze_with_a_batch_in_hand(fleet, frozen)
        until(lambda: not held & fleet.takes(), what="others to take what it held", within_s=RECOVERED_WITHIN_S)
        assert not _ran(fleet, frozen, held)

        signal_group(frozen, signal.SIGCONT)

        until(lambda: _ran(fleet, frozen, held) == held, what="the frozen worker to go on with it")
        _assert_survived(fleet, "real: worker frozen for longer than its lease", [], record_fault)


def test_worker_frozen_in_mid_call_for_longer_than_its_lease_has_nothing_sent_unasked(
    servers_from: str, tmp_path: Path, record_fault: Callable[[Row], None]
) -> None:
    """What it was sending has arrived, and nobody here knows: who takes its batches asks before it sends."""
    with Fleet.open(tmp_path, servers_from=servers_from, count=BEGUN, issuer_faults={"slow": "all"}) as fleet:
        assert fleet.issuer is not None
        fleet.start("scheduler")
        frozen = fleet.start("worker")
        held = _freeze_in_mid_call(fleet, frozen)
        fleet.start("worker")
        until(lambda: not held & fleet.takes(), what="others to take what it held", within_s=RECOVERED_WITHIN_S)
        assert not _ran(fleet, frozen, held)

        signal_group(frozen, signal.SIGCONT)

        until(lambda: _ran(fleet, frozen, held) == held, what="the frozen worker to go on with it")
        _assert_survived(fleet, "real: worker frozen in mid-call for longer than its lease", [], record_fault)
        assert fleet.issuer.unasked == []


@pytest.mark.parametrize("ahead_s", [61, -61], ids=["fast", "slow"])
def test_worker_whose_clock_is_a_minute_off_only_has_messages_run_twice(
    servers_from: str, tmp_path: Path, ahead_s: int, record_fault: Callable[[Row], None]
) -> None:
    """To Redis, by a clock that is fast, the other workers look dead: what they fetched is handed out again.

    The database's clock decides leases: none is longer or shorter by the host's, and none is taken before its end.
    """
    with Fleet.open(tmp_path, servers_from=servers_from, count=6 * FAMILIES) as fleet:
        with fleet.database.transaction() as tx:
            tx.connection.execute(text(NOTES_LEASES))
        fleet.begin()
        off = fleet.start("worker", python_path=_path_with_a_clock_off(fleet.folder, ahead_s))
        until(lambda: fleet.attempts(off), what="the worker whose clock is off to be at work")
        assert fleet.credited() < fleet.families, "the month was over before its fault"
        if ahead_s > 0:
            until(lambda: _run_by_several(fleet, [*fleet.workers, off]), what="a message run by two workers")
            frozen = fleet.workers[0]
            held, _ = _freeze_with_a_batch_in_hand(fleet, frozen)
            until(lambda: not held & fleet.takes(), what="others to take what it held", within_s=RECOVERED_WITHIN_S)
            signal_group(frozen, signal.SIGCONT)
        fault = f"real: clock a minute {'fast' if ahead_s > 0 else 'slow'}"
        _assert_survived(fleet, fault, [], record_fault)
        assert fleet.count("SELECT COUNT(*) FROM lease_taken") >= fleet.families / BATCH_LINES
        assert fleet.count(f"SELECT COUNT(*) FROM lease_taken WHERE lasts_s NOT BETWEEN 0 AND {LEASE_S}") == 0
        assert fleet.count("SELECT COUNT(*) FROM lease_taken WHERE other_lasts_s > 0") == 0


#: Of each take, by the database's clock: how long its lease lasts, and how long the one would have that it replaces.
NOTES_LEASES = """
CREATE TABLE lease_taken (lasts_s double precision, other_lasts_s double precision);
CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO lease_taken VALUES (EXTRACT(epoch FROM NEW.lease_until - clock_timestamp()),
                                  EXTRACT(epoch FROM OLD.lease_until - clock_timestamp()));
  RETURN NULL;
END $$;
CREATE TRIGGER notes_leases AFTER UPDATE ON batch FOR EACH ROW
WHEN (NEW.token IS DISTINCT FROM OLD.token AND NEW.token IS NOT NULL) EXECUTE FUNCTION note_lease();
"""


@contextmanager
def _fleet(folder: Path, servers_from: str, scale: Scale, *, count: int) -> Iterator[Fleet]:
    """At work, in mid-month."""
    with Fleet.open(folder, servers_from=servers_from, count=count, batch_lines=scale.batch_lines) as fleet:
        fleet.begin()
        yield fleet


def _assert_work_is_left(fleet: Fleet, scale: Scale) -> None:
    """What was sent again waited behind as much as it ever does. A short month is over by then."""
    assert scale is SHORT or fleet.credited() < fleet.families


def _assert_survived(
    fleet: Fleet, fault: str, recovery_s: Sequence[float], record_fault: Callable[[Row], None]
) -> None:  # fmt: skip
    """The month ends, every family has one voucher, and nothing was split: it was trouble of the place."""
    fleet.finish()
    row = fleet.found(fault, recovery_s=tuple(recovery_s))

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert max(recovery_s, default=0) < RECOVERS_WITHIN_S
    assert fleet.count("SELECT COUNT(*) FROM batch WHERE state <> 'done'") == 0
    assert fleet.count("SELECT COUNT(*) FROM cases") == 0


def _freeze_with_a_batch_in_hand(fleet: Fleet, worker: "subprocess.Popen[bytes]") -> tuple[set[tuple[int, str]], float]:
    """The takes that are frozen with it, and since when."""
    until(lambda: fleet.attempts(worker), what="the worker to be at work")
    return _freeze_where(worker, fleet.left_behind, what="a worker frozen with a batch in hand")


def _freeze_in_mid_call(fleet: Fleet, worker: "subprocess.Popen[bytes]") -> set[tuple[int, str]]:
    """The takes that are frozen with the only worker, each of which waits for the issuer's answer.

    Not in the moment between its look at the clock and a send: that may go out when it thaws.
    """

    def all_in_mid_call() -> set[tuple[int, str]]:
        held = fleet.takes()
        return held if held <= fleet.takes_in_mid_call() else set()

    until(fleet.takes_in_mid_call, what="the worker's first call", within_s=60)
    held, _ = _freeze_where(worker, all_in_mid_call, what="a worker frozen in mid-call")
    return held


def _freeze_where(
    worker: "subprocess.Popen[bytes]", find: Callable[[], set[tuple[int, str]]], *, what: str
) -> tuple[set[tuple[int, str]], float]:
    """The takes found once it is frozen, and since when. Again, until there is one: it is in hand for milliseconds."""
    held: set[tuple[int, str]] = set()
    since = 0.0

    def frozen() -> bool:
        nonlocal held, since
        since = time.monotonic()
        signal_group(worker, signal.SIGSTOP)
        held = find()
        if not held:
            signal_group(worker, signal.SIGCONT)
        return bool(held)

    until(frozen, what=what, within_s=60)
    return held, since


def _ran(fleet: Fleet, worker: "subprocess.Popen[bytes]", takes: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Of these takes, those at whose batches this worker has ended an attempt."""
    ended = {attempt.batch_id for attempt in fleet.attempts(worker)}
    return {(batch_id, token) for batch_id, token in takes if batch_id in ended}


def _path_with_a_clock_off(folder: Path, ahead_s: int) -> str:
    """Python loads a module of this name before any program."""
    off = folder / "clock-off"
    off.mkdir()
    (off / "sitecustomize.py").write_text(f"AHEAD_S = {ahead_s}\n{CLOCK_OFF}")
    return str(off)


CLOCK_OFF = """
import datetime
import time

real_time, real_datetime = time.time, datetime.datetime
time.time = lambda: real_time() + AHEAD_S


class Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real_datetime)


class Off(real_datetime, metaclass=Kind):
    def __new__(cls, *fields, **named):
        return real_datetime(*fields, **named)

    @classmethod
    def now(cls, tz=None):
        return real_datetime.now(tz) + datetime.timedelta(seconds=AHEAD_S)


datetime.datetime = Off
"""


def _run_by_several(fleet: Fleet, workers: Sequence["subprocess.Popen[bytes]"]) -> set[str]:
    """The messages that more than one of these workers ran."""
    ran = Counter(each for worker in workers for each in {attempt.message_id for attempt in fleet.attempts(worker)})
    return {message_id for message_id, workers_count in ran.items() if workers_count > 1}


def _until_idle(fleet: Fleet) -> None:
    """Until the workers have nothing more in hand: for two seconds no voucher is added."""
    last, since = fleet.credited(), time.monotonic()

    def idle() -> bool:
        nonlocal last, since
        now = fleet.credited()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 2

    until(idle, what="the workers to be idle", within_s=60)

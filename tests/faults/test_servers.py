"""Real servers and workers killed, wiped, stopped and frozen in the middle of a month; and how long recovery takes."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from models.deadlines import LEASE_S
from tests.faults.fleet import FAMILIES, Fleet, end, signal_group
from tests.faults.report import Row
from tests.waiting import pass_really, until

pytestmark = pytest.mark.timeout(3600)
#: Promised: so long after any of these, with the settings as they come, vouchers are credited again.
RECOVERS_WITHIN_S = 30


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


def clock_a_minute_fast(fleet: Fleet) -> None:
    """Of one more worker: to Redis, by its clock, the other workers look dead. The database's clock decides leases."""
    shifted = fleet.folder / "shifted"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 61\n")
    fleet.start("worker", "--threads", "2", python_path=str(shifted))


def worker_killed(fleet: Fleet) -> None:
    """With all its processes, and whatever it held."""
    end(fleet.workers[0])


FAULTS = (
    redis_killed, redis_wiped, redis_out_of_memory, redis_read_only, redis_frozen, postgresql_crashed,
    postgresql_restarted, postgresql_frozen, worker_killed, clock_a_minute_fast,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_month_survives_and_recovers_soon(
    servers_from: str,
    tmp_path: Path,
    fault: Callable[[Fleet], None],
    long_campaign: bool,
    record_fault: Callable[[Row], None],
) -> None:
    """Recovered is when all that was under way at the fault is credited."""
    times = 20 if long_campaign and fault is not clock_a_minute_fast else 1
    recovery_s: list[float] = []
    # While one worker is missed, the other goes on: for twenty faults there must be work left.
    count = FAMILIES if times == 1 else 8 * FAMILIES * times
    with Fleet.open(tmp_path, servers_from=servers_from, count=count) as fleet:
        fleet.begin()
        for number in range(times):
            if number:
                fleet.go_on()
            under_way = fleet.under_way()
            fault(fleet)
            recovery_s.append(fleet.recovery_s(under_way, since=time.monotonic()))
        fleet.finish()
        row = fleet.found(f"real: {fault.__name__.replace('_', ' ')}", recovery_s=tuple(recovery_s))
        not_done = fleet.count("SELECT COUNT(*) FROM batch WHERE state <> 'done'")
        cases = fleet.count("SELECT COUNT(*) FROM cases")

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert max(recovery_s) < RECOVERS_WITHIN_S
    assert (not_done, cases) == (0, 0)  # nothing was split: it was trouble of the place


def test_worker_frozen_for_longer_than_its_lease_credits_nothing_twice(
    servers_from: str, tmp_path: Path, record_fault: Callable[[Row], None]
) -> None:
    with Fleet.open(tmp_path, servers_from=servers_from) as fleet:
        fleet.begin()
        signal_group(fleet.workers[0], signal.SIGSTOP)
        pass_really(LEASE_S + 1)
        signal_group(fleet.workers[0], signal.SIGCONT)
        fleet.finish()
        row = fleet.found("real: worker frozen for longer than its lease")

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)


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

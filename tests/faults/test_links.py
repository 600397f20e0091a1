"""A month at work over bad links: cut, slow, one-way, black, in front of PostgreSQL, Redis, the issuer and the stores.

In real processes, through tests.faults.proxy. A link whose replies are held back is the worst: what was asked for
happens (a commit, a credit, a notice), and nobody hears of it.
"""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from models.deadlines import DATABASE_S
from tests.builders import CITIES
from tests.faults.fleet import FAMILIES, Fleet
from tests.faults.proxy import Proxy
from tests.faults.report import Row
from tests.processes import end, signal_group
from tests.waiting import pass_really, until

pytestmark = pytest.mark.timeout(3600)
#: Once the link works again. An issuer that did not answer is left alone for 20 s, then probed.
RECOVERS_WITHIN_S = {"postgresql": 30, "redis": 30, "issuer": 90}
#: A store that failed is tried again after 10 s, then after a minute.
TOLD_WITHIN_S = 150


def cut(link: Proxy) -> float:
    """Every connection breaks, and none is made."""
    link.cut()
    return 3


def slow(link: Proxy) -> float:
    """Everything takes longer, but within every deadline."""
    link.delay(0.3)
    return 6


def one_way(link: Proxy) -> float:
    """What is asked for arrives and is done; no reply comes back."""
    link.hold_replies()
    return 6


def black(link: Proxy) -> float:
    """Nothing arrives, and nobody is told: for longer than the longest deadline."""
    link.black_hole()
    return DATABASE_S + 2


#: Of an issuer that fails: a send in seven goes wrong, and half of the others are slow.
ISSUER_FAULTS = {
    "lost_before": "4%", "lost_after": "4%", "error_after": "2%", "wrong_echo": "2%", "too_many": "2%", "slow": "50%",
}  # fmt: skip
#: What an issuer takes at once. A batch has more lines.
CALLS_MAX = 4
#: In each city. So many that they are not all told before the end of a trouble that only makes them slow.
STORES = 10
TROUBLES = (cut, slow, one_way, black)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("name", ["postgresql", "redis", "issuer"])
def test_month_survives_a_bad_link(
    servers_from: str,
    tmp_path: Path,
    name: str,
    trouble: Callable[[Proxy], float],
    record_fault: Callable[[Row], None],
) -> None:
    """Recovered is when each line has its voucher that was under way when the fault struck, or when it was over.

    With an issuer that includes lines that became cases meanwhile, which are asked for again by themselves.
    """
    issuer_faults: dict[str, str] | None = {} if name == "issuer" else None
    count = FAMILIES // 2 if name == "issuer" else FAMILIES
    with Fleet.open(
        tmp_path, servers_from=servers_from, count=count, issuer_faults=issuer_faults, proxied=True
    ) as fleet:  # fmt: skip
        fleet.begin()
        under_way = fleet.under_way()
        _suffer(fleet.links[name], trouble)
        since = time.monotonic()
        recovery_s = fleet.recovery_s([*under_way, *fleet.under_way()], since=since)
        fleet.finish()
        row = fleet.found(f"link to {name}: {trouble.__name__.replace('_', ' ')}", recovery_s=(recovery_s,))
        split = fleet.count("SELECT COUNT(*) FROM batch WHERE state NOT IN ('done')")
        unasked = fleet.issuer.unasked if fleet.issuer else []

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert recovery_s < RECOVERS_WITHIN_S[name]
    assert (split, unasked) == (0, [])


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_stores_behind_a_bad_link_are_told_once_by_id(
    servers_from: str, tmp_path: Path, trouble: Callable[[Proxy], float], record_fault: Callable[[Row], None]
) -> None:
    with Fleet.open(tmp_path, servers_from=servers_from, count=100, stores=STORES, proxied=True) as fleet:
        lasts_s = trouble(fleet.links["store"])
        fleet.start("scheduler")
        fleet.start("worker", "--threads", "4")
        until(lambda: fleet.count("SELECT COUNT(*) FROM notice WHERE attempts > 0"), what="a notice", within_s=60)
        pass_really(lasts_s)
        assert fleet.links["store"].suffered, "nothing went over the link while it was bad"
        assert fleet.count("SELECT COUNT(*) FROM notice WHERE state = 'due'"), "all was told while the link was bad"
        _mend(fleet.links["store"])
        began = time.monotonic()
        until(
            lambda: fleet.count("SELECT COUNT(*) FROM notice") > 0
            and not fleet.count("SELECT COUNT(*) FROM run WHERE state <> 'completed'")
            and not fleet.count("SELECT COUNT(*) FROM notice WHERE state <> 'delivered'"),
            what="every notice", within_s=TOLD_WITHIN_S,
        )  # fmt: skip
        told_s = time.monotonic() - began
        fleet.finish()
        row = fleet.found(f"link to stores: {trouble.__name__.replace('_', ' ')}", recovery_s=(told_s,))
        notices = fleet.count("SELECT COUNT(*) FROM notice")
        webhook_ids = fleet.store.webhook_ids
        bodies = dict(zip(webhook_ids, fleet.store.bodies, strict=True))
        same = [body == bodies[each] for each, body in zip(webhook_ids, fleet.store.bodies, strict=True)]

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert len(bodies) == notices == STORES * len(CITIES)
    if trouble is one_way:
        assert len(webhook_ids) > len(bodies)  # what was told, and not answered, was told again
    assert all(same)  # a store that drops an id it has seen misses nothing


#: A credit whose worker has asked for its commit: only commits are held, so nothing else makes it wait so long.
CREDITS_IN_MID_COMMIT = (
    "SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.relation = 'voucher'::regclass "
    "AND l.mode = 'RowExclusiveLock' AND a.state = 'idle in transaction' AND a.state_change < now() - interval '1 s'"
)


@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before its answer"])
def test_month_survives_a_stop_of_postgresql_in_mid_commit(
    servers_from: str, tmp_path: Path, *, arrives: bool, record_fault: Callable[[Row], None]
) -> None:
    """The workers cannot tell one from the other: they hear of neither, and only in one are the vouchers there."""
    count = "SELECT COUNT(*) FROM voucher"
    with Fleet.open(tmp_path, servers_from=servers_from, proxied=True) as fleet:
        fleet.begin()
        under_way = fleet.under_way()
        link = fleet.links["postgresql"]
        _hold_a_credit_in_mid_commit(fleet, link)
        before = fleet.count(count)
        if arrives:
            link.hold_replies()
            until(lambda: fleet.count(count) > before, what="vouchers that nobody heard of")
        fleet.stop_postgresql()
        link.cut()
        fleet.postgresql.start()
        assert (fleet.count(count) > before) == arrives
        link.pass_on()
        recovery_s = fleet.recovery_s(under_way, since=time.monotonic())
        fleet.finish()
        when = "before its answer" if arrives else "before it arrives"
        row = fleet.found(f"PostgreSQL stopped in mid-commit, {when}", recovery_s=(recovery_s,))

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert recovery_s < 2 * RECOVERS_WITHIN_S["postgresql"]  # proxies take their time, too


def test_killed_and_frozen_workers_credit_once_at_an_issuer_that_fails(
    servers_from: str, tmp_path: Path, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    """Several processes over one issuer whose answers are late, contradict, or never come; and workers that die."""
    times = 20 if long_campaign else 3
    with Fleet.open(
        tmp_path, servers_from=servers_from, count=200 + 150 * times, issuer_faults=ISSUER_FAULTS, calls_max=CALLS_MAX,
        batch_lines=2 * CALLS_MAX, proxied=True,
    ) as fleet:  # fmt: skip
        fleet.start("scheduler")
        fleet.start("worker", "--processes", "2", "--threads", "2")
        fleet.start("worker", "--threads", "4")
        for number in range(times):
            fleet.go_on()
            victim = fleet.workers[number % 2]
            if number % 3 == 2:
                signal_group(victim, signal.SIGSTOP)
                fleet.go_on()
                signal_group(victim, signal.SIGCONT)
            else:
                end(victim)
            fleet.supervise()
        assert fleet.issuer is not None
        fleet.issuer.set_faults({})
        fleet.finish()
        row = fleet.found("workers killed and frozen at an issuer that fails", recovery_s=())
        unasked = fleet.issuer.unasked
        most = fleet.issuer.in_flight_max

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert unasked == []
    assert 1 < most <= CALLS_MAX  # over all processes; eight threads with a batch each would make many more


def test_crash_of_postgresql_under_an_issuer_that_fails_credits_once(
    servers_from: str, tmp_path: Path, record_fault: Callable[[Row], None]
) -> None:
    """What was sent has left this host, whatever the workers could still record of its answer."""
    with Fleet.open(tmp_path, servers_from=servers_from, count=FAMILIES // 2, issuer_faults=ISSUER_FAULTS) as fleet:
        assert fleet.issuer is not None
        fleet.begin()
        under_way = fleet.under_way()
        until(fleet.takes, what="a batch in hand, which is called for")
        fleet.crash_postgresql()
        since = time.monotonic()
        fleet.go_on()
        fleet.issuer.set_faults({})
        recovery_s = fleet.recovery_s(under_way, since=since)
        fleet.finish()
        row = fleet.found("PostgreSQL crashed at an issuer that fails", recovery_s=(recovery_s,))
        unasked = fleet.issuer.unasked

    record_fault(row)
    assert (row.doubled, row.lost, row.surplus) == (0, 0, 0)
    assert recovery_s < RECOVERS_WITHIN_S["issuer"]
    assert unasked == []


def _hold_a_credit_in_mid_commit(fleet: Fleet, link: Proxy) -> None:
    """Again, until one is held: every worker may be committing a take instead."""

    def held() -> bool:
        link.hold_commits()
        with suppress(TimeoutError):
            until(lambda: fleet.count(CREDITS_IN_MID_COMMIT), what="a credit in mid-commit", within_s=3)
            return True
        link.pass_on()
        return False

    until(held, what="a credit held in mid-commit")


def _suffer(link: Proxy, trouble: Callable[[Proxy], float]) -> None:
    pass_really(trouble(link))
    assert link.suffered, "nothing went over the link while it was bad"
    _mend(link)


def _mend(link: Proxy) -> None:
    """What was swallowed is missing in the middle of a stream: such a connection does not come back."""
    link.cut()
    link.pass_on()

"""A month over several hosts, of which some are cut off in the middle: `python -m tests.acceptance.hosts`.

With `restart`: every service is started anew in mid-month instead, one after another.

Tells line by line what is built, cut and found, and takes everything away again. Exit 0: every promise held; 1: one did
not, which the last line names; 2: it cannot run here, and why. As root, with Debian's PostgreSQL, Redis and iproute2.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from models.deadlines import IDLE_S, LEASE_S, LOCK_S, RETRY_AFTER_S
from models.sightings import roll_call
from scheduler.dispatch import RESEND_S
from tests import network
from tests.acceptance import site as sites
from tests.acceptance.site import (
    DONE_BY,
    IN_TRANSACTION,
    SENT_BY,
    SERVICES,
    SESSIONS,
    SLOW_S,
    SPOKE,
    THREADS,
    TOUCHED,
    WORKERS,
    Ending,
    Site,
)
from tests.commands import end
from tests.faults import plants
from tests.ledger import assert_books_agree, count_credited, credits_by_reference, vouchers_by_batch
from tests.waiting import pass_really, until
from workers.serve import SEEN_EVERY_S

#: From the cut on, should all of it come together: the lease; a lock that the host took with it; the pause before what
#: waited for it in vain is tried again; the ten seconds in which nothing is sent twice; and a slow call.
TAKEN_OVER_WITHIN_S = LEASE_S + LOCK_S + RETRY_AFTER_S + RESEND_S + SLOW_S
#: From the mend on: a statement that was given up may have just begun (13 s), and a connection be tried (5 s).
BACK_WITHIN_S = 30
#: What its consumers wait before they try again, and a message that is sent again.
REDIS_BACK_WITHIN_S = 30
#: A host that vanishes in mid-transaction may hold its city's run until PostgreSQL ends the transaction.
PAUSE_S_MAX = IDLE_S + 5
#: Longer than a Redis command may take.
REDIS_CUT_S = 5
FINISHED_WITHIN_S = 60
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Books:
    """What the month came to: zeros are what was promised."""

    families: int
    credited: int  #: families that have a voucher
    doubled: int  #: vouchers, or credits of the issuer, beyond one a family
    surplus: int  #: credits in one of the two books alone
    unasked: int  #: sent again to the issuer without having asked
    cases: int
    unfinished: int  #: batches that did not end as done, or notices that were not delivered
    touched: int  #: changes to a batch that was done

    @property
    def are_whole(self) -> bool:
        """Whether every promise was kept."""
        return self == Books(self.families, self.families, 0, 0, 0, 0, 0, 0)


def month_with_cuts(site: Site, tell: Tell) -> Books:
    """The story. Raises AssertionError or TimeoutError where a promise is not kept."""
    site.begin()
    tell("both workers credit; the issuer takes up to 3 s for a call")
    cut_a_worker_off(site, tell)
    mended = datetime.now(UTC)
    site.host("plan").unplug()
    tell("plan, with the first scheduler: cable pulled")
    back_again(site, "north", mended, tell)
    one_way_and_without_redis(site, tell)
    scheduler_taken_over(site, mended, tell)
    finish(site, tell)
    return look_through(site, tell)


def month_with_a_rolling_restart(site: Site, tell: Tell) -> Books:
    """Every service in turn is told to stop, waited for, and started again, as an upgrade does it. Raises as above."""
    site.issuer.set_faults({"slow": "all"})  # a worker told to stop is in mid-call, and the month lasts
    site.begin()
    for name, role in SERVICES:
        stopped_s = site.stop(name, role)
        since = datetime.now(UTC)
        site.start(name, role)
        at_work = DONE_BY if role == "worker" else SENT_BY
        until(partial(site.count, at_work, name, since=since), what=f"the {role} of {name} to be at work",
              within_s=BACK_WITHIN_S)  # fmt: skip
        tell(f"the {role} of {name} ended {stopped_s:.1f} s after SIGTERM; at work {_since(since)} after its start")
    finish(site, tell)
    repeated = site.count("SELECT COUNT(*) FROM batch WHERE attempts <> 1")
    asked = site.count("SELECT COUNT(*) FROM intent WHERE kind = 'ask'")
    failed = sum(line["event"] == "attempt.failed" for log in site.logs for line in _lines(log))
    tell(
        f"batches taken more than once: {repeated}; lines that had to be asked for: {asked}; failed attempts: {failed}"
    )
    assert (repeated, asked, failed) == (0, 0, 0)
    return look_through(site, tell)


def cut_a_worker_off(site: Site, tell: Tell) -> None:
    """Its switch port goes silent while it is calling, and while a commit of its is under way."""
    north = site.host("north")
    held, in_call = _cut_in_mid_commit_and_mid_call(site)
    cut = datetime.now(UTC)
    doctor = site.begin_command("north", "doctor")
    tell(f"north cut off (its switch port is silent) with {len(held)} batches in hand, {len(in_call)} in mid-call")
    ends = _taken_over(site, held)
    unheard = [each for each in ends.values() if each.host == north.address]
    assert unheard, "no commit of north's was under way at the cut"
    assert not [batch for batch in in_call if ends[batch].host == north.address], "a call was settled after the cut"
    tell(f"  {len(unheard)} was in mid-commit: it is credited, and north never hears of it")
    took_s = [(each.at - cut).total_seconds() for each in ends.values() if each.host != north.address]
    tell(f"  {len(took_s)} are credited elsewhere, {min(took_s):.1f} to {max(took_s):.1f} s after the cut")
    pause_s = site.pause_s(cut, datetime.now(UTC))
    tell(f"  longest time without a credit anywhere: {pause_s:.1f} s")
    assert pause_s < PAUSE_S_MAX, "the other worker stood still"
    sessions, waiting = site.count(SESSIONS, "north"), site.count(IN_TRANSACTION, "north")
    tell(f"  PostgreSQL still keeps {sessions} sessions of north, {waiting} of them in a transaction")
    assert waiting == 0, "PostgreSQL has not ended what north left open"
    said = end(doctor)
    assert said.code == 10, said.out
    tell(f"  `despensa doctor` there: exit {said.code}; {_line(said.out, 'FAILED')}")
    north.unsilence()
    tell("north is back on the network; nobody touches its worker")


def back_again(site: Site, name: str, since: datetime, tell: Tell) -> None:
    """It credits, without anybody's help."""
    until(lambda: site.count(DONE_BY, name, since=since), what=f"{name} to credit again", within_s=BACK_WITHIN_S)
    tell(f"  {name} credits again after {_since(since)}")


def one_way_and_without_redis(site: Site, tell: Tell) -> None:
    """PostgreSQL hears north, and north does not hear it; and for a while nobody reaches Redis."""
    north, postgresql, redis = (site.host(name) for name in ("north", "postgresql", "redis"))
    until(lambda: site.taken_by("north"), what="a batch in north's hand")
    postgresql.lose_answers_to(north)
    held, cut = site.taken_by("north"), datetime.now(UTC)
    tell(f"one way: PostgreSQL hears north, north hears no answer; {len(held)} batches in its hand")
    redis.silence()
    tell("Redis cut off from everybody")
    pass_really(REDIS_CUT_S)
    redis.unsilence()
    mended = datetime.now(UTC)
    until(lambda: site.count(DONE_BY, "south", since=mended), what="a credit after Redis is back",
          within_s=REDIS_BACK_WITHIN_S)  # fmt: skip
    tell(f"  Redis was back after {REDIS_CUT_S} s; the first credit after another {_since(mended)}")
    took_s = [(each.at - cut).total_seconds() for each in _taken_over(site, held).values()]
    tell(f"  what north held is credited {min(took_s):.1f} to {max(took_s):.1f} s after the cut")
    mended = datetime.now(UTC)
    postgresql.answer_again(north)
    tell("north hears PostgreSQL again")
    back_again(site, "north", mended, tell)


def scheduler_taken_over(site: Site, cut: datetime, tell: Tell) -> None:
    """The other one sends what is due; the first joins in once its host is back."""
    mended = datetime.now(UTC)
    site.host("plan").plug()
    lasted_s = (mended - cut).total_seconds()
    sent = site.count(SENT_BY, "south", since=cut)
    tell(f"plan is plugged in again after {lasted_s:.0f} s; south's scheduler has sent {sent} batches meanwhile")
    assert sent, "the second scheduler sent nothing"
    assert lasted_s > LEASE_S
    until(lambda: site.count(SPOKE, "plan", since=mended), what="plan to ask the database", within_s=BACK_WITHIN_S)
    tell(f"  its scheduler asks the database again after {_since(mended)}")


def finish(site: Site, tell: Tell) -> None:
    """The issuer answers at once from now on; the month ends, and so do the services."""
    left = site.families - count_credited(site.database)
    tell(f"{left} of {site.families} families are left; the issuer answers at once from now on")
    assert left, "the month was over before its last cut"
    site.issuer.set_faults({})
    over = (
        "SELECT (SELECT COUNT(*) FROM run WHERE state <> 'completed') + "
        "(SELECT COUNT(*) FROM notice WHERE state <> 'delivered') + (SELECT COUNT(*) = 0 FROM notice)::int + "
        "(SELECT COUNT(*) FROM journal) - (SELECT emitted_seq FROM journal_head)"
    )
    until(lambda: site.count(over) == 0, what="the end of the month", within_s=FINISHED_WITHIN_S, poll_s=0.2)
    workers = {each.partition(":")[0] for each in roll_call(site.database)["worker"]}
    tell(f"the month is over; workers that were seen lately: {', '.join(sorted(workers))}")
    assert workers == set(WORKERS)
    # Once a minute, and the month may be shorter: without it nobody's log says that there was a north.
    until(lambda: _is_called(site, "north"), what="a roll-call that names north", within_s=2 * SEEN_EVERY_S, poll_s=0.5)


def _is_called(site: Site, host: str) -> bool:
    """Whether a scheduler's log names a worker of this host."""
    name = f"{host}:".encode()
    lines = [line for log in site.logs for line in log.read_bytes().splitlines()]
    return any(b'"event":"scheduler.seen"' in line and name in line.partition(b'"workers":')[2] for line in lines)


def look_through(site: Site, tell: Tell) -> Books:
    """The books, the log, and the issuer's own book."""
    assert_books_agree(site.database)
    reconciled = site.command("plan", "run", "reconcile", "--json")
    assert reconciled.json["agrees"] is True, reconciled.out
    tell("`despensa run reconcile`: the books agree")
    ours = credits_by_reference(site.database, site.keys("plan"))
    theirs = {made.reference: made.amount_minor for made in site.issuer.book()}
    credited, vouchers = count_credited(site.database), vouchers_by_batch(site.database).total()
    tell(f"{credited} of {site.families} families have one of {vouchers} vouchers; the issuer's book has {len(theirs)}")
    books = Books(
        families=site.families, credited=credited, doubled=vouchers - credited + site.issuer.doubled(),
        surplus=len(ours.items() ^ theirs.items()), unasked=len(site.issuer.unasked),
        cases=site.count("SELECT COUNT(*) FROM cases"),
        unfinished=site.count(
            "SELECT (SELECT COUNT(*) FROM batch WHERE state <> 'done') "
            "+ (SELECT COUNT(*) FROM notice WHERE state <> 'delivered')"
        ),
        touched=site.count(TOUCHED),
    )  # fmt: skip
    look_through_logs(site, tell)
    return books


def look_through_logs(site: Site, tell: Tell) -> None:
    """Those of all hosts together tell what the database tells, and one host's missing are missed."""
    logs = [str(log) for log in site.logs]
    totals = site.command("plan", "logs", "totals", *logs, "--json")
    assert totals.code == 0, totals.err
    listed = site.command("plan", "run", "list", "--json")
    assert totals.json["runs"] == listed.json["runs"], "the logs' totals are not the database's"
    verified = site.command("plan", "logs", "verify", *logs, "--database")
    assert verified.code == 0, verified.out + verified.err
    tell(f"`despensa logs verify`, {len(logs)} files of three hosts: {_line(verified.out, 'lines')}")
    without = [str(log) for log in site.logs if log.parent.name != "north"]
    missed = site.command("plan", "logs", "verify", *without)
    hint = next((line for line in (missed.out + missed.err).splitlines() if "worker north:" in line), "")
    assert hint, "nobody misses the log of north"
    tell(f"  without north's: {hint}")
    for log in site.logs:
        tell(f"complaints in {log.parent.name}/{log.name}: {_complaints(log)}")


def _complaints(log: Path) -> str:
    told = Counter(
        f"{line['event']} {line.get('error', '')}".strip() for line in _lines(log) if line["level"] != "info"
    )
    return ", ".join(f"{count} × {what}" for what, count in told.most_common()) or "none"


def _lines(log: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in log.read_bytes().splitlines()]


def _taken_over(site: Site, held: set[int]) -> dict[int, Ending]:
    """Where and when what a host held was credited."""

    def over() -> bool:
        return len(site.ends_of(held)) == len(held)

    until(over, what="what was held to be credited elsewhere", within_s=TAKEN_OVER_WITHIN_S, poll_s=0.2)
    return site.ends_of(held)


def _cut_in_mid_commit_and_mid_call(site: Site) -> tuple[set[int], set[int]]:
    """What north had in hand when it was cut off, and which of it was in mid-call.

    Tries until it has both. Whoever commits first holds up all others of its city, so that is to be north.
    """
    north = site.host("north")
    found: list[set[int]] = []

    def cut() -> bool:
        with site.commits_held():
            until(site.committing, what="a commit", within_s=IDLE_S)
            held = site.taken_by("north")
            in_call = site.in_mid_call(held)
            if not in_call or north.address not in site.committing():
                return False
            north.silence()
            found[:] = [held, in_call]
            return True

    until(cut, what="north to be in mid-call and in mid-commit", within_s=30)
    return found[0], found[1]


def _line(told: str, beginning: str) -> str:
    """Of what a command printed, the first line that begins so."""
    return next((" ".join(line.split()) for line in told.splitlines() if line.startswith(beginning)), told)


def _since(since: datetime) -> str:
    return f"{(datetime.now(UTC) - since).total_seconds():.1f} s"


STORIES = {"cuts": month_with_cuts, "restart": month_with_a_rolling_restart}


#: Of each worker. A restart of everything takes longer than a cut, on a busy machine minutes: the month is to last.
STORY_THREADS = {"cuts": THREADS, "restart": 2}


def why_not() -> str:
    """What is missing here, and the line that mends it; empty where the story can be played."""
    return network.missing() or sites.missing()


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story on standard output."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.hosts", description=__doc__)
    parser.add_argument("story", choices=sorted(STORIES), nargs="?", default="cuts")
    parser.add_argument("--plant", choices=sorted(plants.PLANTS), default="", help="a bug that every service has")
    chosen = parser.parse_args(arguments)
    lacking = why_not()
    if lacking:
        sys.stderr.write(f"cannot run here: {lacking}\n")
        return 2
    began = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        try:
            with Site.open(Path(folder), plant=chosen.plant, threads=STORY_THREADS[chosen.story]) as site:
                for host in site.network.hosts.values():
                    tell(f"{host.name:<10} {host.address}")
                books = STORIES[chosen.story](site, tell)
            tell(", ".join(f"{name} {value}" for name, value in asdict(books).items()))
            assert books.are_whole, "the books are not what was promised"
        except (AssertionError, TimeoutError) as error:
            tell(f"FAILED: {error}")
            return 1
    tell(f"namespaces left behind: {len(network.left_behind())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Crediting through an outside issuer that answers in 50 ms, against as many calls as it takes at once."""

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import orjson
from sqlalchemy import update

from models.keys import token_path
from models.tables import Issuer, Programme
from tests.benchmarks.month import CREDITS, Tell, enrolled, release_all
from tests.benchmarks.samples import Sample, alternate, spread
from tests.benchmarks.site import Crew, Site, cpu_of, seconds_between, verify, wait_for_month
from tests.builders import CITIES, an_issuer
from tests.commands import ROOT
from tests.fakes import FakeStore
from tests.ledger import credits_by_reference
from tests.processes import end

ANSWER_MS = 50
#: Candidates: worker processes, and calls that the issuer takes at once.
CANDIDATES = {"despensa, 1 worker, 64 calls": (1, 64), "despensa, 2 workers, 128 calls": (2, 128)}
#: Of the families: at an issuer's pace all of them would take minutes a round.
FEWER = 20


@dataclass(frozen=True, slots=True)
class Outside(Sample):
    """Credits that an issuer made; `worker_cpu_s` is the workers' alone."""

    scheduler_cpu_s: float
    issuer_cpu_s: float
    calls_max: int
    calls: int  #: that were made: one a credit where nothing was asked or sent again
    under_way_max: int  #: calls at once

    @property
    def share(self) -> float:
        """Of what so many calls at once can come to."""
        return self.rate / limit(self.calls_max)


def issuer(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """One worker and two on released runs. In the end the issuer's book has each family once, with its amount.

    A twentieth of the families: the issuer sets the pace.
    """
    count = max(families // FEWER, len(CITIES))
    tell(f"{count:,} families: a twentieth; each call is answered after {ANSWER_MS} ms")
    with (
        FakeStore.open() as store,
        enrolled(site, store, count) as template,
        site.database(template=template) as (released, database),
    ):
        with database.reading() as tx:
            programme = tx.get(Programme)
        an_issuer(database, programme, "http://127.0.0.1:9")  # each round has its own
        token_path(site.folder / "home" / "keys", programme.code).touch(mode=0o600)
        token_path(site.folder / "home" / "keys", programme.code).write_text("rehearsal")
        release_all(database)
        database.close()
        samples = alternate(
            {
                name: _worked(site, released, families=count, workers=workers, calls_max=calls)
                for name, (workers, calls) in CANDIDATES.items()
            },
            rounds=rounds, tell=tell,
        )  # fmt: skip
    for name, runs in samples.items():
        most = max(run.under_way_max for run in runs)
        tell(f"{name}: {spread([run.rate for run in runs])} credits/s; at most {most} calls at once")
        shares = spread([run.share for run in runs], ".3f")
        tell(f"  share of {limit(runs[0].calls_max):,.0f}/s: {shares}")
        costs = ", ".join(f"{who} {_cost_us(runs, of):,.0f}" for who, of in COSTS.items())
        tell(f"  CPU µs a credit: {costs}; calls a credit: {spread([run.calls / run.families for run in runs], '.3f')}")


COSTS = {
    "workers": "worker_cpu_s", "scheduler": "scheduler_cpu_s", "PostgreSQL": "postgresql_cpu_s",
    "the issuer": "issuer_cpu_s",
}  # fmt: skip


def limit(calls_max: int) -> float:
    """Credits a second where so many calls are always under way."""
    return calls_max / ANSWER_MS * 1000


def _worked(site: Site, template: str, *, families: int, workers: int, calls_max: int) -> Callable[[], Outside]:
    def work() -> Outside:
        with (
            site.database(template=template) as (name, database),
            _issuer() as (pid, url),
            Crew.open(site, name) as crew,
            Crew.open(site, name) as schedulers,
        ):
            with database.transaction() as tx:
                tx.connection.execute(update(Issuer).values(url=url, calls_max=calls_max))
            crew.start_workers(database, workers)
            wal, cpu, ours, theirs = site.wal_bytes(), site.cpu_s(), crew.cpu_s(), cpu_of(pid)
            schedulers.start("scheduler")
            wait_for_month(database, runs=len(CITIES))
            told = _read_book(url)
            sample = Outside(
                families, seconds_between(database, CREDITS), site.cpu_s() - cpu, crew.cpu_s() - ours,
                site.wal_bytes() - wal, schedulers.cpu_s(), cpu_of(pid) - theirs, calls_max, told.requests,
                told.under_way_max,
            )  # fmt: skip
            verify(database, families=families)
            owed = credits_by_reference(database, site.folder / "home" / "keys")
            assert told.book == owed, "the issuer's book differs"
            assert told.under_way_max <= calls_max, f"{told.under_way_max} calls at once"
        return sample

    return work


@contextmanager
def _issuer() -> Iterator[tuple[int, str]]:
    """Its process id and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.lean_issuer", "--answers-after-ms", str(ANSWER_MS)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        end(process)


@dataclass(frozen=True, slots=True)
class Told:
    """What the issuer answers to GET /book."""

    requests: int
    under_way_max: int
    book: dict[str, int]  #: amounts by reference


def _read_book(url: str) -> Told:
    with urllib.request.urlopen(f"{url}/book") as answer:  # noqa: S310  # our own, on this host
        return Told(**orjson.loads(answer.read()))


def _cost_us(runs: list[Outside], of: str) -> float:
    return median(float(getattr(run, of)) / run.families * 1e6 for run in runs)

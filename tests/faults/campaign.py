"""Months that are killed: what one is made of, how it is lived until it is over, and what is wrong with it then."""

import hashlib
import random
import secrets
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import orjson

from models import schema
from models.journal import GENESIS, hash_of_line
from models.keys import credit_reference, init_keys, key_path, load_keys, token_path
from models.reconcile import reconcile
from models.storage import Database, sqlite_url
from models.tables import Case, Disbursement, Enrolment, Household, Intent, Notice, Programme, Run, Voucher
from tests.builders import CITIES, TIJUANA, a_programme, an_issuer, families
from tests.commands import ROOT
from tests.copies import create_copy, drop_copy
from tests.fakes import FakeStore
from tests.faults.life import NOT_OVER, Life, request
from tests.faults.report import Row
from tests.ledger import pass_time
from workers.issuers.simulated import Served, SimulatedIssuer

FAMILIES = 5
#: A quarter of the sends goes wrong in one way or another, and a tenth of the asks.
ISSUER_FAULTS = {
    "lost_before": "5%", "lost_after": "5%", "error_after": "4%", "garbage": "3%", "wrong_echo": "3%",
    "duplicate_keys": "2%", "too_many": "3%", "ask_lost": "10%",
}  # fmt: skip
#: More restarts than any month needs.
LIVES_MAX = 30


@dataclass(slots=True)
class Verdict:
    """What is wrong with a month that is over, or should be."""

    doubled: int = 0
    lost: int = 0
    surplus: int = 0
    disagreements: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.doubled or self.lost or self.surplus or self.disagreements)

    def holds(self, finding: str) -> bool:
        """Whether this is wrong: `doubled`, `lost`, `surplus`, or how a disagreement begins."""
        counts = {"doubled": self.doubled, "lost": self.lost, "surplus": self.surplus}
        return counts.get(finding, 0) > 0 or any(each.startswith(finding) for each in self.disagreements)


class LifeFailed(Exception):
    """A life ended by an exception, or by a signal that nobody sent: no finding, unless a bug was planted."""


def five_families(database: Database, store_url: str) -> None:
    """Of one city, entitled from the first payday on."""
    programme = a_programme(database, cities=CITIES[:1], store_url=store_url)
    families(database, programme, FAMILIES, location=TIJUANA)


class Lives:
    """A server of lives (tests.faults.life), in a process that holds no thread."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.life"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def live(self, life: Life) -> tuple[int, int]:
        """How a life ended (0: the month is over; NOT_OVER; negative: killed), and how many points it reached.

        Raises LifeFailed where it ended in any other way.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request(life))
        self._process.stdin.flush()
        told = orjson.loads(self._process.stdout.readline())
        if told["code"] not in (0, NOT_OVER, -signal.SIGKILL):
            raise LifeFailed(f"a life ended with {told['code']}: {told['failure']}")
        return told["code"], told["points"]


class Stage:
    """Where months of one kind are played: a prepared database to copy, the stores, a server of lives."""

    def __init__(
        self, folder: Path, *, server: str, redis_url: str, outside: bool,
        prepare: Callable[[Database, str], None] = five_families,
    ) -> None:  # fmt: skip
        """`prepare` is given the empty database, and the URL of the stores."""
        self._folder, self._server, self._redis_url, self._outside = folder, server, redis_url, outside
        self._fill = prepare
        self._number = 0
        #: How often the issuer served a send (POST) or an ask (GET) so: credited, known, absent, or the fault.
        self.served: Counter[tuple[str, str]] = Counter()

    @property
    def months(self) -> int:
        """How many were played."""
        return self._number

    @contextmanager
    def open(self) -> Iterator["Stage"]:
        """While the context lasts."""
        with ExitStack() as stack:
            self.store = stack.enter_context(FakeStore.open())
            self.lives = stack.enter_context(Lives())
            self._prepare(stack)
            yield self

    @contextmanager
    def month(self, *, seed: int, edges_only: bool, plant: str = "") -> Iterator["Month"]:
        """A month of its own, whose points are all, or only its edges."""
        self._number += 1
        home = self._folder / f"month-{self._number}"
        shutil.copytree(self._home, home)
        self.store.received.clear()
        with ExitStack() as stack:
            url = self._database(stack, home)
            database = Database(url)
            stack.callback(database.close)
            issuer: SimulatedIssuer | None = None
            if self._outside:
                issuer = stack.enter_context(
                    SimulatedIssuer(ISSUER_FAULTS, seed=seed, retry_after_s=30, watch=self._note_served)
                )
                with database.reading() as tx:
                    programme = tx.get(Programme)
                an_issuer(database, programme, issuer.url)
            namespace = f"month-{secrets.token_hex(8)}"
            life = Life(str(home), url, self._redis_url, namespace, crash_at=0, edges_only=edges_only, plant=plant)
            yield Month(self, database, life, issuer)
        shutil.rmtree(home)

    def faults_met(self) -> set[str]:
        """Which of the issuer's faults were met so far."""
        return {outcome for _, outcome in self.served} & ISSUER_FAULTS.keys()

    def share_gone_wrong(self) -> float:
        """Of the sends so far, how many met a fault."""
        sends = {outcome: count for (verb, outcome), count in self.served.items() if verb == "POST"}
        return sum(count for outcome, count in sends.items() if outcome in ISSUER_FAULTS) / sum(sends.values())

    def _note_served(self, served: Served) -> None:
        self.served[served.verb, served.outcome] += 1

    def _prepare(self, stack: ExitStack) -> None:
        self._home = self._folder / "prepared"
        keys = init_keys(self._home / "keys")
        # A fixed key: the issuer's faults are drawn by reference, so that a seed repeats them.
        key_path(keys[0].parent, "reference").write_text(f"1 {hashlib.sha256(b'campaign').hexdigest()}\n")
        token_path(keys[0].parent, "northern-mexico").touch(mode=0o600)
        token_path(keys[0].parent, "northern-mexico").write_text("rehearsal")
        url = sqlite_url(self._home / "despensa.sqlite3")
        if self._server:
            url = self._create(stack, f"{self._folder.name.replace('-', '_')[-40:]}_prepared", template="migrated")
        database = Database(url)
        if not self._server:
            schema.upgrade(database)
        self._fill(database, self.store.url)
        database.close()

    def _database(self, stack: ExitStack, home: Path) -> str:
        if not self._server:
            return sqlite_url(home / "despensa.sqlite3")
        prefix = self._folder.name.replace("-", "_")[-40:]
        return self._create(stack, f"{prefix}_{self._number}", template=f"{prefix}_prepared")

    def _create(self, stack: ExitStack, name: str, *, template: str) -> str:
        url = create_copy(self._server, name, template=template)
        stack.callback(drop_copy, self._server, name)
        return url


@dataclass(slots=True)
class Month:
    """One month, lived until it is over."""

    stage: Stage
    database: Database
    life: Life
    issuer: SimulatedIssuer | None
    killed_at: list[str] = field(default_factory=list)  #: the names of the points, in order
    over: bool = False

    def run(self, next_crash: Callable[[int], int | str]) -> int:
        """Live, be killed, be restarted, until it is over. `next_crash` says at which point each life is killed.

        Returns how many points the last life reached. Raises LifeFailed.
        """
        points = 0
        for number in range(LIVES_MAX):
            code, points = self.stage.lives.live(replace(self.life, crash_at=next_crash(number)))
            if code == 0:
                self.over = True
                break
            if code > 0:
                break  # it gave up: whatever is not done now never will be
            self.killed_at.append((Path(self.life.home) / "point").read_text())
            pass_time(self.database)
        return points

    def verdict(self) -> Verdict:
        """The books, the issuer's own list, the stores and the log, compared, where each family has one line."""
        verdict = self.compare()
        with self.database.reading() as tx:
            vouchers = {each.id for each in tx.list(Voucher)}
            credited = {line.household_id for line in tx.list(Disbursement) if line.id in vouchers}
            enrolled = len(tx.list(Enrolment))
            cases = len(tx.list(Case, Case.state == "open"))
            webhook_ids = {each.webhook_id for each in tx.list(Notice, Notice.state == "delivered")}
            finished = [run for run in tx.list(Run) if run.completed_at is not None]
        verdict.lost += enrolled - len(credited) - cases
        if not self.over:
            verdict.disagreements.append("the month does not end")
        if set(self.stage.store.webhook_ids) != webhook_ids or len(webhook_ids) < len(finished):
            verdict.disagreements.append("the stores were not told of each run")
        return verdict

    def compare(self) -> Verdict:
        """The books, the issuer's own list, and the log."""
        verdict = Verdict()
        with self.database.reading() as tx:
            verdict.disagreements += [f"{each.check}: {each.expected}, {each.found}" for each in reconcile(tx)]
            lines = {line.id: line for line in tx.list(Disbursement)}
            vouchers = [lines[voucher.id] for voucher in tx.list(Voucher)]
            households = {each.id: each.registration_id for each in tx.list(Household)}
            line_of = {intent.reference: lines[intent.disbursement_id] for intent in tx.list(Intent)}
        credited = [(line.household_id, line.cycle) for line in vouchers]
        verdict.doubled = len(credited) - len(set(credited))
        if self.issuer is not None:
            self._compare_issuer(verdict, vouchers, line_of)
            self._compare_references(verdict, line_of, households)
        self._compare_log(verdict, vouchers=len(vouchers))
        return verdict

    def _compare_issuer(
        self, verdict: Verdict, vouchers: Sequence[Disbursement], line_of: dict[str, Disbursement]
    ) -> None:
        """The issuer knows references only; whose they are, our intents say: whoever has two there was paid twice."""
        assert self.issuer is not None
        made = self.issuer.book()
        known = [(line_of[each.reference], each.amount_minor) for each in made if each.reference in line_of]
        ours = {(line.household_id, line.cycle) for line in vouchers}
        theirs = Counter((line.household_id, line.cycle) for line, _ in known)
        verdict.doubled += theirs.total() - len(theirs)
        verdict.surplus = len(made) - len(known) + len(theirs.keys() - ours)
        verdict.lost += len(ours - theirs.keys())
        if any(line.amount_minor != amount_minor for line, amount_minor in known):
            verdict.disagreements.append("the issuer credited another amount")
        if self.issuer.unasked:
            verdict.disagreements.append("sent again without having asked")

    def _compare_references(
        self, verdict: Verdict, line_of: dict[str, Disbursement], households: dict[int, str]
    ) -> None:
        keys = load_keys(Path(self.life.home) / "keys", "reference")
        for reference, line in line_of.items():
            derived = credit_reference(
                keys, programme="northern-mexico", registration_id=households[line.household_id], cycle=line.cycle
            )
            if reference != derived:
                verdict.disagreements.append(f"line {line.id} was called for under a reference that is not derived")

    def _compare_log(self, verdict: Verdict, *, vouchers: int) -> None:
        log = Path(self.life.home) / "log" / "despensa.jsonl"
        sealed: dict[int, dict[str, object]] = {}
        for text in log.read_bytes().splitlines() if log.exists() else []:
            line = orjson.loads(text)
            line.pop("service.instance.id")  # another life may write a sealed line once more
            if "seq" in line and sealed.setdefault(line["seq"], line) != line:
                verdict.disagreements.append("two lines of the log contradict each other")
        prev_hash = GENESIS
        for seq in range(1, len(sealed) + 1):
            if seq not in sealed or hash_of_line(prev_hash, sealed[seq]) != sealed[seq]["hash"]:  # type: ignore[arg-type]
                verdict.disagreements.append("the log is not one unbroken chain")
                return
            prev_hash = str(sealed[seq]["hash"])
        telling = ("batch.credited", "case.resolved")
        told = sum(int(str(line["credited"])) for line in sealed.values() if line["event"] in telling)
        if told != vouchers:
            verdict.disagreements.append("the log does not tell of every voucher")


def row_of(fault: str, runs: int, verdicts: Collection[Verdict], *, points: int = 0, rounds: int = 1) -> Row:
    """For the campaign's table, where each run has a verdict; those that hold nothing may be left out."""
    return Row(
        fault=fault,
        runs=runs,
        points=points,
        rounds=rounds,
        doubled=sum(verdict.doubled for verdict in verdicts),
        lost=sum(verdict.lost for verdict in verdicts),
        surplus=sum(verdict.surplus + len(verdict.disagreements) for verdict in verdicts),
    )


def at_random(seed: int, *, points: int, crashes: int) -> Callable[[int], int]:
    """Killed `crashes` times, each at a point drawn from the seed, recovery included."""
    chance = random.Random(seed)
    return lambda number: chance.randint(1, max(1, points)) if number < crashes else 0


def at(point: int | str) -> Callable[[int], int | str]:
    """The first life is killed at this point, or at the first one of this name, the others never."""
    return lambda number: point if number == 0 else 0

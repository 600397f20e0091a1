"""No family is exposed: names and registrations are put into every input, and looked for wherever anything comes out.

They go through a month of our own ledger and one of an outside issuer, and through every failure there is: files that
are refused, errors of the database that name a family, messages, answers and headers that do.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from console.dashboard.board import Board
from console.dashboard.server import VIEWS
from console.entry import translated
from console.main import app
from models.keys import voucher_number
from models.messages import CREDIT_QUEUE
from models.settings import Settings
from models.storage import Database
from models.tables import Run, run_code
from scheduler.books_watch import BooksWatch
from scheduler.measures import Measurer
from scheduler.metrics import SchedulerMetrics
from tests.builders import (
    CYCLE,
    NOGALES,
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    notices_of,
    run_again,
    vouchers_of,
)
from tests.command_line import CommandLine, Outcome
from tests.faults.life import work_off
from tests.installation import Installation
from tests.ledger import pass_time
from tests.privacy.gossip import Gossip, of_issuer, of_store
from tests.privacy.scanner import Found, scan
from workers.metrics import WorkerMetrics

pytestmark = pytest.mark.long

#: Never to be stored at all: what people might put into a file, a message or an answer.
NAME = "María Núñez Canaria"
ADDRESS = "Calle Ñandú 5, Colonia Libertad"
PHONE = "+52 664 555 0199"
DOCUMENT = "CANX800101HBCRRR09"
#: Stored, and never to come out but in hand-over files and backups.
REGISTRATIONS = [f"CANARIO-{place}-{number:03}" for place in ("TIJ", "NOG") for number in range(10)]
NEVER = (NAME, ADDRESS, PHONE, DOCUMENT)
HEADER = "registration_id,location,members,group,first_cycle,cycles,status"

BAD_ROWS = (
    f"{NAME},02004,2,pregnant,2026-12,,active",
    f"R-1,{ADDRESS},2,pregnant,2026-12,,active",
    f"R-1,02004,{PHONE},pregnant,2026-12,,active",
    f"R-1,02004,2,{NAME},2026-12,,active",
    f"R-1,02004,2,pregnant,{DOCUMENT},,active",
    f"R-1,02004,2,pregnant,2026-12,{PHONE},active",
    f"R-1,02004,2,pregnant,2026-12,,held:{NAME}",
    f"R-1,02004,2,pregnant,2026-12,,active,{NAME}",
    f'"R-1,02004,2,pregnant,2026-12,,active,{NAME}',
    f"{REGISTRATIONS[0]},02004,2,pregnant,2026-12,,active\n{REGISTRATIONS[0]},02004,2,pregnant,2026-12,,active",
    f"{REGISTRATIONS[1]},99999,2,pregnant,2026-12,,active",
)

#: The database itself names a family, whenever this line is credited.
GOSSIPS = {
    "postgresql": (
        "CREATE FUNCTION gossip() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE name text; BEGIN "
        "SELECT h.registration_id INTO name FROM disbursement d JOIN household h ON h.id = d.household_id "
        f"WHERE d.id = NEW.id; RAISE EXCEPTION '% {NAME}', name USING DETAIL = name, HINT = '{ADDRESS}', "
        "ERRCODE = 'check_violation', CONSTRAINT = 'gossip'; END $$; "
        "CREATE TRIGGER gossips BEFORE INSERT ON voucher FOR EACH ROW WHEN (NEW.id % 10000000 = 3) "
        "EXECUTE FUNCTION gossip();"
    ),
    "sqlite": (
        "CREATE TRIGGER gossips BEFORE INSERT ON voucher WHEN NEW.id % 10000000 = 3 "
        f"BEGIN SELECT RAISE(ABORT, '{NAME}, {REGISTRATIONS[2]}'); END"
    ),
}


class Collected:
    """Whatever came out, by where."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}

    def add(self, where: str, content: bytes | str) -> None:
        """More of it."""
        self.parts[where] = self.parts.get(where, b"") + (content.encode() if isinstance(content, str) else content)

    def outcome(self, where: str, outcome: Outcome) -> None:
        """What a command printed, and what its error says and holds."""
        error = outcome.error
        self.add(where, f"{outcome.stdout}\n{outcome.stderr}\n{error}\n{error and error.hint}\n{error and vars(error)}")

    def find(self) -> list[Found]:
        """Every canary, and its plain hash: whoever knows a register could find a family by that."""
        canaries = [*NEVER, *REGISTRATIONS]
        hashes = [hashlib.sha256(each.encode()).hexdigest() for each in canaries]
        return [found for where, part in self.parts.items() for found in scan(where, part, [*canaries, *hashes])]


@pytest.fixture
def out() -> Collected:
    return Collected()


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def store() -> Iterator[Gossip]:
    with Gossip.open(of_store(NAME)) as store:
        yield store


@pytest.fixture
def issuer() -> Iterator[Gossip]:
    with Gossip.open(of_issuer(NAME)) as issuer:
        yield issuer


def import_families(commands: CommandLine, folder: Path, out: Collected, *, place: str, location: str) -> None:
    """Ten with registrations that must not be seen; then every file that is refused."""
    rows = [f"{each},{location},2,pregnant,2026-12,,active" for each in REGISTRATIONS if f"-{place}-" in each]
    good = folder / f"households-{place}.csv"
    good.write_text("\n".join([HEADER, *rows]) + "\n")
    for words in (("--dry-run",), (), ("--json",)):
        outcome = commands.run(app, "import", good, *words)
        assert outcome.code == 0, outcome.error
        out.outcome("import", outcome)
    for number, row in enumerate(BAD_ROWS):
        bad = folder / f"households-bad-{number}.csv"
        bad.write_text(f"{HEADER}\n{row}\n")
        outcome = commands.run(app, "import", bad)
        assert outcome.code == 2
        out.outcome("import refused", outcome)
    programme = folder / "programme.toml"
    programme.write_text(f'code = "{NAME}"\nname = {ADDRESS}\n')
    out.outcome("import refused", commands.run(app, "import", programme))


def live_through(installation: Installation, run: Run, out: Collected) -> None:
    """So long that every answer came round, and stores were told or gave up; whatever happens is told in the log."""
    for _ in range(16):
        installation.ticker().tick()
        work_off(installation)
        out.add("Redis", everything_in(installation.broker.client))
        pass_time(installation.database)
        if run_again(installation.database, run).completed_at and not _untold(installation.database, run):
            return


def _untold(database: Database, run: Run) -> bool:
    return any(notice.state == "due" for notice in notices_of(database, run))


def forge_messages(installation: Installation) -> None:
    """As somebody who may write to Redis."""
    client, queue = installation.broker.client, f"{installation.broker.namespace}:{CREDIT_QUEUE}"
    for number, content in enumerate((NAME.encode(), f'{{"actor_name":"{NAME}"}}'.encode(), NAME.encode("utf-16"))):
        client.hset(f"{queue}.msgs", f"{number}-{PHONE}", content)
        client.rpush(queue, f"{number}-{PHONE}")


def everything_in(client: "redis.Redis") -> bytes:
    """Of a Redis: every key with all that it holds."""
    parts: list[object] = []
    for key in client.scan_iter("*"):
        read: dict[object, Callable[[Any], object]] = {
            b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1), b"zset": lambda key: client.zrange(key, 0, -1),
        }  # fmt: skip
        parts.append((key, read[client.type(key)](key)))
    return repr(parts).encode()


def look_around(commands: CommandLine, installation: Installation, runs: list[Run], out: Collected) -> None:
    """Every command that tells of a month, and the page."""
    code = run_code(runs[0])
    number = voucher_number(vouchers_of(installation.database, runs[0])[0])
    for words in (
        ("run", "list"), ("run", "status", "--json"), ("run", "status", code), ("run", "cases"),
        ("run", "cases", "--each", "--json"), ("run", "cases", code, "--each"), ("run", "reconcile", "--json"),
        ("run", "plan", "--cycle", str(CYCLE), "--dry-run", "--csv"), ("run", "plan", "--cycle", str(CYCLE)),
        ("voucher", "show", number), ("voucher", "show", number, "--json"), ("voucher", "show", NAME),
        ("run", "status", NAME), ("run", "list", "--location", ADDRESS), ("store", "list", "--json"),
        ("report", "month", "--json"), ("report", "month", "--by", "group"), ("report", "cases", "--csv"),
        ("report", "donor"), ("report", "store"), ("report", "approvals"), ("config", "show"), ("doctor", "--json"),
        ("logs", "totals", "--json", installation.settings.log), ("logs", "verify", installation.settings.log),
        ("logs", "tail", installation.settings.log), ("logs", "emit", "--from", "1"), ("db", "check"),
    ):  # fmt: skip
        out.outcome(" ".join(map(str, words[:2])), commands.run(app, *words))
    board = Board([installation.settings.log])
    board.catch_up()
    now = installation.clock.now
    for view, show in VIEWS.items():
        of = {"run": code, "find": number}.get(view, "")
        out.add(f"dashboard {view}", repr(show(board, of, now)))


def certify(commands: CommandLine, run: str, path: Path, out: Collected) -> None:
    """What a donor gets of a run, and what the commands say of it; a family's line is keyed."""
    key = commands.run(app, "certificate", "key").stdout.split()[0]
    created = commands.run(app, "certificate", "create", run, path)
    assert created.code == 0, created.error
    out.outcome("certificate create", created)
    out.outcome("certificate verify", commands.run(app, "certificate", "verify", path, "--key", key))
    out.add("certificate", path.read_bytes())


def metrics_of(installation: Installation) -> bytes:
    """As a scheduler and its workers expose them."""
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    ticker = installation.ticker()
    books = BooksWatch(installation.database, installation.log, installation.settings.heads)
    books.reconcile_if_due()
    measurer = Measurer(ticker.clock, distributed=installation.settings.distributed)
    metrics = SchedulerMetrics(installation.database, measurer, ticker.tally, books)
    metrics.read()
    registry.register(metrics)
    return generate_latest(registry)


def journal_of(database: Database) -> bytes:
    """What is sealed and told."""
    with database.reading() as tx:
        return repr(tx.connection.execute(text("SELECT * FROM journal")).all()).encode()


def files_of(settings: Settings, *, but: Path) -> Iterator[tuple[str, bytes]]:
    """Whatever lies in its home but the database and the keys, the hand-over file, and the files that were imported."""
    for path in sorted(settings.home.rglob("*")):
        if path.is_file() and path != but and "despensa.sqlite3" not in path.name and path.parent != settings.keys:
            yield str(path.relative_to(settings.home)), path.read_bytes()


def test_nothing_that_comes_out_names_a_family(
    installation: Installation, commands: CommandLine, store: Gossip, issuer: Gossip, out: Collected, tmp_path: Path
) -> None:
    """But hand-over files, which are there to: in them the scanner finds every one."""
    database = installation.database
    ledger = a_programme(database, store_url=store.url, cities=(("02004", "Tijuana", "America/Tijuana"),))
    import_families(commands, tmp_path, out, place="TIJ", location=TIJUANA)
    with database.transaction() as tx:
        tx.connection.execute(text(GOSSIPS[database.dialect]))
    run = a_released_run(database, ledger)
    forge_messages(installation)
    live_through(installation, run, out)
    outside = _outside(installation, commands, store, issuer, out, tmp_path)
    live_through(installation, outside, out)
    look_around(commands, installation, [run, outside], out)
    for case in _cases(database):
        try:
            resolved = commands.run(app, "run", "resolve", case, "--paid", f"{NAME} {PHONE}", "--yes")
        except DBAPIError as error:  # the database names the family again; `main` tells it so
            told = translated(error)
            out.add("run resolve", f"{told}\n{told.hint}\n{vars(told)}")
        else:
            out.outcome("run resolve", resolved)
    typed, handed_over = f"{ledger.code}/{run_code(run)}", tmp_path / "handed-over.csv"
    exported = commands.run(app, "voucher", "export", typed, "--out", handed_over, "--yes")
    assert exported.code == 0, exported.error
    out.outcome("export", exported)
    installation.ticker().tick()
    certify(commands, typed, tmp_path / "certificate", out)

    out.add("metrics", metrics_of(installation))
    out.add("webhooks", b"\n".join(store.received))
    out.add("calls", b"\n".join(issuer.received))
    out.add("journal", journal_of(database))
    out.add("Redis", everything_in(installation.broker.client))
    for name, content in files_of(installation.settings, but=handed_over):
        out.add(name, content)

    assert len(store.received) > 3 and len(issuer.received) > 5
    events = {line["event"] for line in installation.lines()}
    assert events >= {
        "attempt.failed", "message.quarantined", "case.opened", "store.failed", "batch.credited",
    }  # fmt: skip
    found = {each.canary for each in scan("hand-over", handed_over.read_bytes(), REGISTRATIONS)}
    assert len(found) == 9
    assert out.find() == []


def _outside(
    installation: Installation, commands: CommandLine, store: Gossip, issuer: Gossip, out: Collected, folder: Path
) -> Run:
    """Another programme, whose vouchers an issuer credits that names people in all that it says."""
    cities = (("26043", "Nogales", "America/Hermosillo"),)
    programme = a_programme(installation.database, store_url=store.url, cities=cities, code="shelters")
    an_issuer(installation.database, programme, issuer.url)
    installation.write_token(programme.code)
    rows = [f"{each},{NOGALES},2,pregnant,2026-12,,active" for each in REGISTRATIONS if "-NOG-" in each]
    path = folder / "households-outside.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    outcome = commands.run(app, "import", path, "--programme", programme.code)
    assert outcome.code == 0, outcome.error
    out.outcome("import", outcome)
    return a_released_run(installation.database, programme, location=NOGALES)


def _cases(database: Database) -> list[int]:
    with database.reading() as tx:
        return [row.id for row in tx.connection.execute(text("SELECT id FROM cases WHERE state = 'open'"))]

"""An installation over several hosts, as operators set it up, whose links a test may cut: see `tests.network`.

`plan` has a scheduler, `north` and `south` a worker each, `south` a second scheduler. PostgreSQL, Redis, the issuer and
the stores have hosts of their own; both servers are Debian's, reached over TCP, with passwords.
"""

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import redis
from sqlalchemy import text, update

from models.deadlines import STOP_S
from models.storage import Database
from models.tables import Programme
from tests.builders import a_programme, an_issuer, families_due
from tests.commands import Ended, end, start
from tests.fakes import FakeStore
from tests.faults.fleet import TOKEN, port_of
from tests.faults.proxy import Proxy
from tests.network import ADDRESSES, Host, Network
from tests.processes import end as kill
from tests.processes import start_service
from tests.waiting import until
from workers.issuers.simulated import SimulatedIssuer

HOSTS = ("plan", "north", "south", "postgresql", "redis", "outside")
WORKERS = ("north", "south")
#: What runs where, once the month begins.
SERVICES = (("plan", "scheduler"), ("south", "scheduler"), ("north", "worker"), ("south", "worker"))
#: Of each worker.
THREADS = 4
#: So few that a month of small cities has many batches; an issuer's batch is called for at once.
BATCH_LINES = 4
#: Slots for every thread of both workers: of sixteen calls each.
CALLS_MAX = 16 * THREADS * len(WORKERS)
#: So many of the issuer's answers take so long. What is under way when a link is cut is under way in its call.
SLOW, SLOW_S = "25%", 3
FAMILIES = 800
#: Held by a test, it keeps vouchers from being committed: their commit waits for it, last of all.
GATE = 1

#: What the test alone writes: who changed which batch, and from which host. Source of every figure here.
NOTES = f"""
CREATE SCHEMA noted;
CREATE TABLE noted.batch (
  at timestamptz NOT NULL, host inet, batch_id bigint NOT NULL, was text NOT NULL, state text NOT NULL,
  token text, sent boolean NOT NULL
);
CREATE FUNCTION noted.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO noted.batch VALUES (clock_timestamp(), inet_client_addr(), NEW.id, OLD.state, NEW.state, NEW.token,
                                  NEW.stamped_at IS DISTINCT FROM OLD.stamped_at AND NEW.stamped_at IS NOT NULL);
  RETURN NULL;
END $$;
CREATE TRIGGER notes AFTER UPDATE ON batch FOR EACH ROW EXECUTE FUNCTION noted.note();
CREATE FUNCTION noted.wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared({GATE});
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON voucher DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION noted.wait();
"""  # of constants, of no input
TAKEN = """
SELECT DISTINCT b.id FROM batch b JOIN noted.batch n ON n.batch_id = b.id AND n.token = b.token
WHERE b.state = 'open' AND n.host = :host AND n.was = 'open'
"""
CALLS = """
SELECT b.id, i.reference, EXISTS (SELECT 1 FROM answer a WHERE a.intent_id = i.id) AS answered
FROM batch b JOIN intent i ON i.batch_id = b.id WHERE b.id = ANY(:batches)
"""
COMMITTING = """
SELECT DISTINCT host(a.client_addr) AS host FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND NOT l.granted
"""
DONE_BY = "SELECT COUNT(*) FROM noted.batch WHERE host = :host AND was = 'open' AND state = 'done' AND at > :since"
SENT_BY = "SELECT COUNT(*) FROM noted.batch WHERE host = :host AND sent AND at > :since"
SPOKE = "SELECT COUNT(*) FROM pg_stat_activity WHERE client_addr = :host AND query_start > :since"
#: Each batch and when and where it was credited.
ENDS = """
SELECT batch_id, host(host) AS host, at FROM noted.batch
WHERE was = 'open' AND state = 'done' AND batch_id = ANY(:batches)
"""
PAUSE = """
SELECT COALESCE(EXTRACT(epoch FROM MAX(pause)), 0) FROM (
  SELECT at - LAG(at) OVER (ORDER BY at) AS pause, at FROM noted.batch WHERE was = 'open' AND state = 'done'
) AS credit WHERE at BETWEEN :since AND :until
"""
SESSIONS = "SELECT COUNT(*) FROM pg_stat_activity WHERE client_addr = :host"
IN_TRANSACTION = f"{SESSIONS} AND state = 'idle in transaction'"
TOUCHED = "SELECT COUNT(*) FROM noted.batch WHERE was = 'done'"


@dataclass(frozen=True, slots=True)
class Ending:
    """Where and when a batch was credited."""

    host: str  #: its address
    at: datetime


@dataclass
class Site:
    """The hosts, what runs on them, and what the world outside knows."""

    folder: Path
    network: Network
    database: Database  #: by the socket of its server: what the test reads crosses no link
    issuer: SimulatedIssuer
    store: FakeStore
    families: int
    plant: str
    threads: int
    services: dict[tuple[str, str], "subprocess.Popen[bytes]"] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, *, families: int = FAMILIES, plant: str = "", threads: int = THREADS
    ) -> Iterator["Site"]:  # fmt: skip
        """Everything set up, as the runbook has it, and nobody at work. All of it is gone when the context ends.

        `plant` is a bug of tests.faults.plants that every service has.
        """
        with ExitStack() as stack:
            network = stack.enter_context(Network.open(HOSTS))
            home = stack.enter_context(server_folder())
            passwords = {name: secrets.token_urlsafe(16) for name in ("postgres", "despensa", "redis")}
            stack.enter_context(postgresql(network["postgresql"], home, passwords))
            stack.enter_context(_redis(network["redis"], folder, passwords["redis"]))
            database = Database(socket_url(home, passwords))
            stack.callback(database.close)
            outside = network["outside"]
            issuer, store = outside.do(lambda: _open_outside(stack))
            site = cls(folder, network, database, issuer, store, families, plant, threads)
            site._tell_urls(passwords)
            site._set_up(stack)
            try:
                yield site
            finally:
                for service in site.services.values():
                    kill(service)

    def host(self, name: str) -> Host:
        """By its name."""
        return self.network[name]

    def begin(self) -> None:
        """Every service starts; returns when both workers have credited."""
        since = datetime.now(UTC)
        for name, role in SERVICES:
            self.start(name, role)
        for name in WORKERS:
            until(partial(self.count, DONE_BY, name, since=since), what=f"a credit by {name}", within_s=60)

    def start(self, name: str, role: str) -> None:
        """A service of a host; its log is a file of that host's."""
        path = self.folder / name / f"{role}-{len(self.logs)}.jsonl"
        self.logs.append(path)
        self.services[name, role] = start_service(
            role, environment=self.environment(name), log=path, python_path=self._planted(),
            prefix=self.host(name).prefix,
        )  # fmt: skip

    def stop(self, name: str, role: str) -> float:
        """As whoever supervises it does: SIGTERM, and wait. Returns how long it took."""
        began, service = time.monotonic(), self.services[name, role]
        service.terminate()
        service.wait(timeout=STOP_S)
        assert service.returncode == 0, f"the {role} of {name} ended with {service.returncode}"
        return time.monotonic() - began

    def begin_command(self, name: str, *words: str) -> "subprocess.Popen[str]":
        """A command on a host, as an operator types it there."""
        return start(*words, environment=self.environment(name), prefix=self.host(name).prefix)

    def command(self, name: str, *words: str) -> Ended:
        """The same, to its end."""
        return end(self.begin_command(name, *words))

    def environment(self, name: str) -> dict[str, str]:
        """The settings of a host."""
        return {
            "DESPENSA_DATABASE_URL_FILE": str(self.folder / name / "database_url"),
            "DESPENSA_REDIS_URL_FILE": str(self.folder / name / "redis_url"),
            "DESPENSA_HOME": str(self.folder / name / "home"),
            "DESPENSA_BATCH_LINES": str(BATCH_LINES),
            "DESPENSA_OUTGOING_NETWORKS": f"{ADDRESSES}0/24",
            "DESPENSA_WORKER_THREADS": str(self.threads),
        }

    def keys(self, name: str) -> Path:
        """The key files of a host."""
        return self.folder / name / "home" / "keys"

    def taken_by(self, name: str) -> set[int]:
        """The batches that this host took and that have no end yet."""
        with self.database.reading() as tx:
            return {int(row.id) for row in tx.connection.execute(text(TAKEN), {"host": self.host(name).address})}

    def in_mid_call(self, batches: Iterable[int]) -> set[int]:
        """Of these, those whose calls have all reached the issuer, and of which none was answered here."""
        arrived = {made.reference for made in self.issuer.book()}
        with self.database.reading() as tx:
            calls = tx.connection.execute(text(CALLS), {"batches": list(batches)}).all()
        return {row.id for row in calls} - {row.id for row in calls if row.answered or row.reference not in arrived}

    def ends_of(self, batches: Iterable[int]) -> dict[int, Ending]:
        """Of these, those that were credited."""
        with self.database.reading() as tx:
            rows = tx.connection.execute(text(ENDS), {"batches": list(batches)}).all()
        return {int(row.batch_id): Ending(row.host, row.at) for row in rows}

    def committing(self) -> set[str]:
        """The addresses of those whose commit is held."""
        with self.database.reading() as tx:
            return {row.host for row in tx.connection.execute(text(COMMITTING))}

    def count(self, statement: str, name: str = "", **values: object) -> int:
        """A number from the database, about a host."""
        host = {"host": self.host(name).address} if name else {}
        with self.database.reading() as tx:
            return int(tx.connection.execute(text(statement), {**host, **values}).scalar_one())

    def pause_s(self, since: datetime, to: datetime) -> float:
        """The longest time without a credit anywhere that ended between these instants."""
        with self.database.reading() as tx:
            return float(tx.connection.execute(text(PAUSE), {"since": since, "until": to}).scalar_one())

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """No voucher is committed meanwhile. Whoever commits one waits, its transaction done but for that."""
        with self.database.engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({GATE})"))
            try:
                yield
            finally:
                connection.execute(text(f"SELECT pg_advisory_unlock({GATE})"))

    def _tell_urls(self, passwords: Mapping[str, str]) -> None:
        """Each host has the URLs in files of its own, with the passwords."""
        postgresql, redis = self.host("postgresql").address, self.host("redis").address
        urls = {
            "database_url": f"postgresql://despensa:{passwords['despensa']}@{postgresql}/despensa",
            "redis_url": f"redis://:{passwords['redis']}@{redis}:6379/0",
        }
        for name in HOSTS[:3]:
            (self.folder / name / "home").mkdir(parents=True, mode=0o700)
            for file, url in urls.items():
                path = self.folder / name / file
                path.touch(mode=0o600)
                path.write_text(url)

    def _set_up(self, stack: ExitStack) -> None:
        """As the runbook has it: the schema and the keys on one host, which the others have copies of."""
        for words in (("db", "upgrade"), ("keys", "init")):
            done = self.command("plan", *words)
            assert done.code == 0, done.err
        outside = self.host("outside")
        doors = [Proxy(port, address=outside.address) for port in (self.issuer.port, port_of(self.store.url))]
        ports = [outside.do(partial(stack.enter_context, door)).port for door in doors]
        with self.database.transaction() as tx:
            tx.connection.exec_driver_sql(NOTES)
        programme = a_programme(self.database, store_url=f"http://{outside.address}:{ports[1]}/{{store}}")
        an_issuer(self.database, programme, f"http://{outside.address}:{ports[0]}", calls_max=CALLS_MAX)
        with self.database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        token = self.keys("plan") / f"issuer-{programme.code}.token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        for name in WORKERS:
            shutil.copytree(self.keys("plan"), self.keys(name))
        families_due(self.database, programme, self.families, now=datetime.now(UTC))

    def _planted(self) -> str:
        """Python loads a module of this name before any program."""
        if not self.plant:
            return ""
        folder = self.folder / "planted"
        folder.mkdir(exist_ok=True)
        root = str(Path(__file__).parents[2])
        plant = f"from tests.faults import plants\nplants.PLANTS[{self.plant!r}]()\n"
        (folder / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {root!r})\n{plant}")
        return str(folder)


def _open_outside(stack: ExitStack) -> tuple[SimulatedIssuer, FakeStore]:
    """In the network of their host; they listen on its loopback, and a proxy lets the others in."""
    issuer = SimulatedIssuer({"slow": SLOW}, token=TOKEN, slow_s=SLOW_S)
    return stack.enter_context(issuer), stack.enter_context(FakeStore.open())


@contextmanager
def server_folder() -> Iterator[Path]:
    """PostgreSQL runs as another user than root, to whom pytest's folders are closed."""
    folder = Path(tempfile.mkdtemp(prefix="despensa-hosts-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def missing() -> str:
    """Which server of Debian's is missing; empty where none is."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return "PostgreSQL is missing: apt-get install -y postgresql"
    if shutil.which("redis-server", path="/usr/bin") is None:
        return "redis-server is missing: apt-get install -y redis-server"
    return ""


@contextmanager
def postgresql(host: Host, home: Path, passwords: Mapping[str, str]) -> Iterator[None]:
    """Listens on its host's address, and asks everybody for a password. One login owns the database."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    shutil.chown(home, "postgres")
    (home / "password").write_text(passwords["postgres"])
    shutil.chown(home / "password", "postgres")
    made = [str(programs / "initdb"), "--auth=scram-sha-256", f"--pwfile={home}/password", "--encoding=utf8"]
    words = ["-U", "postgres", "-D", str(home / "data")]
    subprocess.run([*made, *words], check=True, stdout=subprocess.DEVNULL, user="postgres", cwd="/")
    with (home / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host despensa despensa samenet scram-sha-256\n")
    as_postgres = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    options = ["-c", f"listen_addresses={host.address}", "-c", f"unix_socket_directories={home}"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*host.prefix, *as_postgres, str(programs / "postgres"), "-D", str(home / "data"), *options],
            stdout=log, stderr=log, cwd="/",
        )  # fmt: skip
    try:
        url = socket_url(home, passwords)
        until(lambda: _connects(url.replace("/despensa?", "/postgres?")), what="PostgreSQL to answer")
        with psycopg.connect(url.replace("/despensa?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE despensa LOGIN PASSWORD '{passwords['despensa']}'")
            connection.execute("CREATE DATABASE despensa OWNER despensa")
        yield
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait()


@contextmanager
def _redis(host: Host, folder: Path, password: str) -> Iterator[None]:
    """Listens on its host's address, and asks for a password; as operations are told to keep it otherwise."""
    settings = folder / "redis.conf"
    settings.touch(mode=0o600)
    lines = (f"bind {host.address}", f"requirepass {password}", f"dir {folder}", 'save ""', "appendonly yes")
    settings.write_text("\n".join((*lines, "maxmemory-policy noeviction", "")))
    program = shutil.which("redis-server", path="/usr/bin")
    assert program is not None
    server = subprocess.Popen([*host.prefix, program, str(settings)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: host.do(lambda: _pings(host.address, password)), what="Redis to answer")
        yield
    finally:
        server.kill()
        server.wait()


def socket_url(home: Path, passwords: Mapping[str, str]) -> str:
    return f"postgresql://postgres:{passwords['postgres']}@/despensa?host={home}"


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error:
        return False
    return True


def _pings(address: str, password: str) -> bool:
    try:
        with redis.Redis(address, password=password) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False

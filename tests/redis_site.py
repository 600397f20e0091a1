"""A Redis as deploy/redis configures it, with a login of despensa's and one that may look at everything."""

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import redis_program
from tests.waiting import until

FOLDER = Path(__file__).parents[1] / "deploy" / "redis"
PASSWORD = "hunter2"


@dataclass(frozen=True, slots=True)
class RedisSite:
    """One that is running."""

    socket: Path

    @property
    def url(self) -> str:
        """As workers know it."""
        return f"unix://despensa:{PASSWORD}@{self.socket}"

    def client(self, login: str | None = "despensa", *, password: str | None = PASSWORD) -> redis.Redis:
        """With this login; `admin` is the test's own, and may do everything. It tries once."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), username=login, password=password, retry=once)


@contextmanager
def a_redis_site(servers: str, folder: Path, *, acl: str = "", more: Sequence[str] = ()) -> Iterator[RedisSite]:
    """`acl` stands in for the published one; `more` are lines of configuration after the published ones."""
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    lines = (acl or (FOLDER / "users.acl").read_text()).splitlines()
    lines = [f"{line} #{digest}" if line.startswith("user despensa ") else line for line in lines]
    (folder / "users.acl").write_text("\n".join([*lines, f"user admin on ~* &* +@all #{digest}"]) + "\n")
    published = (FOLDER / "redis.conf").read_text()
    socket = folder / "redis.sock"
    here = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "aclfile": str(folder / "users.acl")}
    overruled = "\n".join(line for line in published.splitlines() if line.split(" ")[0] not in here)
    settings = [overruled, *(f"{name} {value}" for name, value in here.items()), *more]
    (folder / "redis.conf").write_text("\n".join(settings) + "\n")
    process = subprocess.Popen([redis_program(servers), str(folder / "redis.conf")], stdout=subprocess.DEVNULL)
    site = RedisSite(socket)
    try:
        with site.client("admin") as client:
            until(lambda: _answers(client), what="Redis to answer")
        yield site
    finally:
        process.kill()
        process.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False

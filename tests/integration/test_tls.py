"""TLS to PostgreSQL and Redis, as deploy/ sets it up: the right server alone, and each refusal says what mends it."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from console.database import app as db_app
from models import schema
from models.broker import redis_client, require_answer
from models.errors import BrokerUnreachable, Exit
from models.storage import Database
from tests.command_line import CommandLine
from tests.commands import ROOT
from tests.fakes import HERE_NAMED
from tests.redis_site import FOLDER as REDIS_FOLDER
from tests.redis_site import PASSWORD, a_redis_site
from tests.roles import FOLDER
from tests.scraping import free_port
from tests.tls import Authority, Certificate, a_postgresql

pytestmark = pytest.mark.debian

NAME, ADDRESS = "localhost", "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Site:
    """Both servers, and whom they trust."""

    postgresql_port: int
    redis_port: int
    authority: Path
    foreign: Path
    service: Certificate
    ana: Certificate

    def database_url(self, login: str = "ana", *, host: str = NAME, **more: str) -> str:
        """With this query after it; by default what SECURITY.md says."""
        query = {"sslmode": "verify-full", "sslrootcert": str(self.authority), **more}
        words = "&".join(f"{name}={value}" for name, value in query.items() if value)
        return f"postgresql://{login}@{host}:{self.postgresql_port}/despensa?{words}"

    def redis_url(self, *, host: str = NAME, scheme: str = "rediss", authority: Path | None = None) -> str:
        """As SECURITY.md says."""
        query = f"?ssl_ca_certs={authority or self.authority}&ssl_check_hostname=true" if scheme == "rediss" else ""
        return f"{scheme}://despensa:{PASSWORD}@{host}:{self.redis_port}/0{query}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers are started once: no test changes them."""
    place = tmp_path_factory.mktemp("tls")
    (place / "redis").mkdir()
    ours, foreign = Authority(place, "authority"), Authority(place, "foreign")
    server = ours.sign(NAME)
    ports = free_port(), free_port()
    here = {"tls-port": ports[1], "bind": ADDRESS, "tls-cert-file": server.file, "tls-key-file": server.key}
    here |= {"tls-ca-cert-file": ours.certificate.file}
    tls = [line for line in (REDIS_FOLDER / "tls.conf").read_text().splitlines() if line.split(" ")[0] not in here]
    with (
        a_postgresql(ports[0], server, ours) as admin,
        a_redis_site("debian", place / "redis", more=[*tls, *(f"{name} {value}" for name, value in here.items())]),
    ):
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("CREATE DATABASE despensa")
        url = make_url(admin).set(database="despensa").render_as_string(hide_password=False)
        made = Site(*ports, ours.certificate.file, foreign.certificate.file, *(ours.sign(each) for each in SIGNED))
        with psycopg.connect(url, autocommit=True) as connection:
            for file in ("roles.sql", "logins.sql"):
                connection.execute((FOLDER / file).read_bytes())
            for login in ("ana", "ana_upgrades"):
                connection.execute(f"ALTER ROLE {login} PASSWORD '{PASSWORD}'".encode())
            database = Database(made.database_url("ana_upgrades", password=PASSWORD))
            schema.upgrade(database)
            database.close()
            connection.execute((FOLDER / "roles.sql").read_bytes())
        yield made


SIGNED = ("despensa_worker", "ana")


@pytest.fixture
def plain() -> Iterator[int]:
    """The port of a server that says no to who asks for TLS, as PostgreSQL does."""
    with closing(socket.create_server((ADDRESS, 0))) as server, ThreadPoolExecutor(1) as threads:

        def answer() -> None:
            with suppress(OSError):  # nobody came
                asking, _ = server.accept()
                with asking:
                    asking.recv(8)
                    asking.sendall(b"N")

        server.settimeout(10)
        threads.submit(answer)
        yield server.getsockname()[1]
        with suppress(OSError):
            socket.create_connection(server.getsockname(), timeout=1).close()


def checked(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, **more: str) -> tuple[int, str]:
    """Exit code, and what was said, of `db check`."""
    for name in ("PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    settings = {"DESPENSA_HOME": str(tmp_path), "DESPENSA_DATABASE_URL": url, "DESPENSA_REDIS_URL": site.redis_url()}
    outcome = CommandLine(monkeypatch, {**settings, **more}).run(db_app, "check")
    return outcome.code, f"{outcome.error} {outcome.error and outcome.error.hint}{outcome.stdout}{outcome.stderr}"


@pytest.mark.parametrize("by", ["password in the URL", "password in a file", "certificate", "environment"])
def test_right_server_over_tls_is_accepted(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.touch(mode=0o600)
    passwords.write_text(f"{NAME}:*:*:ana:{PASSWORD}\n")
    url, more = {
        "password in the URL": (site.database_url(password=PASSWORD), {}),
        "password in a file": (site.database_url(), {"PGPASSFILE": str(passwords)}),
        "certificate": (
            site.database_url("despensa_worker", sslcert=str(site.service.file), sslkey=str(site.service.key)),
            {},
        ),
        "environment": (
            site.database_url(password=PASSWORD, sslmode="", sslrootcert=""),
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(site.authority)},
        ),
    }[by]

    code, said = checked(site, monkeypatch, tmp_path, url, **more)

    assert code == Exit.DONE, said


@pytest.mark.parametrize(
    ("what", "fact", "hint"),
    [
        ("wrong name", "its certificate is for another name", "connect by the name"),
        ("foreign authority", "nobody who is trusted here has signed", "sslrootcert=FILE"),
        ("no authority", "the authority's certificate is missing", "sslrootcert=FILE"),
        ("plain text", "it lets this login in over no such link", "sslmode=verify-full"),
        ("wrong password", "no such login with this password", "mend the URL's password"),
        ("no password", "it wants a password", "PGPASSFILE"),
        ("no certificate", "it wants a client certificate", "sslcert=FILE"),
        ("another's certificate", "the client's certificate is another login's", "common name"),
        ("a key that others may read", "the client's key is missing, or others may read it", "mode 0600"),
        ("a server without TLS", "it speaks no TLS", "ssl = on"),
        ("a stranger", "it lets this login in over no such link", ""),
    ],
)
def test_wrong_link_to_the_database_is_refused_and_said(
    site: Site, plain: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, fact: str, hint: str
) -> None:
    ana = {"sslcert": str(site.ana.file), "sslkey": str(site.ana.key)}
    exposed = tmp_path / "exposed.key"
    exposed.write_bytes(site.service.key.read_bytes())
    exposed.chmod(0o644)
    url = {
        "wrong name": site.database_url(host=ADDRESS, password=PASSWORD),
        "foreign authority": site.database_url(sslrootcert=str(site.foreign), password=PASSWORD),
        "no authority": site.database_url(sslrootcert=str(tmp_path / "none"), password=PASSWORD),
        "plain text": site.database_url(sslmode="disable", sslrootcert="", password=PASSWORD),
        "wrong password": site.database_url(password="hunter3"),
        "no password": site.database_url(),
        "no certificate": site.database_url("despensa_worker"),
        "another's certificate": site.database_url("despensa_worker", **ana),
        "a key that others may read": site.database_url(
            "despensa_worker", sslcert=str(site.service.file), sslkey=str(exposed)
        ),
        "a server without TLS": site.database_url(password=PASSWORD).replace(str(site.postgresql_port), str(plain)),
        "a stranger": site.database_url("postgres", password=PASSWORD),
    }[what]

    code, said = checked(site, monkeypatch, tmp_path, url)

    assert code == Exit.NO_DATABASE
    assert fact in said
    assert hint in said
    assert "hunter" not in said


def test_right_redis_over_tls_is_accepted(site: Site) -> None:
    with redis_client(site.redis_url()) as client:
        require_answer(client)


@pytest.mark.parametrize(
    ("what", "fact", "hint"),
    [
        ("wrong name", "its certificate is for another name", "connect by the name"),
        ("foreign authority", "nobody who is trusted here has signed", "ssl_ca_certs=FILE"),
        ("plain text", "it closes the connection at once", "rediss://"),
        ("wrong password", "no such login with this password", "mend login and password"),
        ("no login", "it wants a login", "LOGIN:PASSWORD"),
    ],
)
def test_wrong_link_to_redis_is_refused_and_said(site: Site, what: str, fact: str, hint: str) -> None:
    url = {
        "wrong name": site.redis_url(host=ADDRESS),
        "foreign authority": site.redis_url(authority=site.foreign),
        "plain text": site.redis_url(scheme="redis"),
        "wrong password": site.redis_url().replace(PASSWORD, "hunter3"),
        "no login": site.redis_url().replace(f"despensa:{PASSWORD}@", ""),
    }[what]

    with redis_client(url) as client, pytest.raises(BrokerUnreachable) as refused:
        require_answer(client)

    assert refused.value.exit_code == Exit.NO_BROKER
    assert fact in str(refused.value)
    assert hint in str(refused.value.hint)
    assert "hunter" not in f"{refused.value} {refused.value.hint}"


CALL = """
import asyncio, sys
import aiohttp
from models.outgoing import Outgoing
from workers.guard import Guard

async def call():
    async with Guard.open(Outgoing.parse(sys.argv[2]), calls=1, call_s=5) as guard:
        async with guard.request("GET", sys.argv[1], headers={}, timeout=aiohttp.ClientTimeout(5)) as answer:
            print(answer.status)

asyncio.run(call())
"""


@pytest.mark.parametrize(("trusted", "status"), [(True, "200\n"), (False, "")])
def test_authority_of_ones_own_is_trusted_for_issuers_and_stores(
    site: Site, tmp_path: Path, trusted: bool, status: str
) -> None:
    """As workers call them: by SSL_CERT_FILE."""
    ours = Authority(tmp_path, "ours")
    server = ours.sign(NAME)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.file, server.key)
    with HTTPServer((ADDRESS, 0), Answering) as listening, ThreadPoolExecutor(1) as threads:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        serving = threads.submit(listening.serve_forever, 0.1)
        file = ours.certificate.file if trusted else site.authority
        called = subprocess.run(
            [sys.executable, "-c", CALL, f"https://{NAME}:{listening.server_port}/", HERE_NAMED],
            cwd=ROOT, text=True, check=False, env={"SSL_CERT_FILE": str(file)}, capture_output=True,
        )  # fmt: skip
        listening.shutdown()
        serving.result()

    assert called.stdout == status
    assert ("CERTIFICATE_VERIFY_FAILED" in called.stderr) is not trusted


class Answering(BaseHTTPRequestHandler):
    """Yes to everything."""

    def do_GET(self) -> None:
        """200."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""

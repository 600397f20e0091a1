"""The guard, counted and fed: to whom calls connect, and how much of an answer they take."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict

import orjson
import pytest

from models.deadlines import steady_s
from models.outgoing import INTERNET
from tests.addresses import FORBIDDEN, ODD_URLS, PUBLIC
from tests.commands import ROOT
from tests.counted import SECRET, Case, Counted
from tests.fakes import HERE, HERE_NAMED, FakeStore
from workers.guard import Refused, guarded_connector
from workers.issuers import http
from workers.issuers.answers import Answer, Credit, Unknown
from workers.issuers.http import IssuerClient
from workers.stores import webhook
from workers.stores.webhook import Delivered, Envelope, TryLater, deliver

WHO = ("store", "issuer", "asked", "statement")
NAMED = "https://store.example/notices"
PUBLIC_ADDRESS, PRIVATE_ADDRESS = "93.184.216.34", "10.0.0.1"
#: With names of one's own allowed the address alone decides.
VPN = "10.8.0.0/24"
SOON_S = 0.5
#: For a machine that is busy with other tests.
NOISE_S = 5
#: What sockets and kernel hold of it besides what was read.
BUFFERED_BYTES = 24 * 1024 * 1024


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


REFUSED = [
    *(Case(who, NAMED, ((address,),), named) for who in WHO for address in FORBIDDEN for named in ("", VPN)),
    *(Case(who, f"https://{_host(address)}/", ((PUBLIC_ADDRESS,),)) for who in WHO for address in FORBIDDEN),
    *(Case(who, url, ((PUBLIC_ADDRESS,),)) for who in ("store", "issuer") for url in ODD_URLS[:-1]),
    Case("store", "http://issuer:8080/", ((PUBLIC_ADDRESS,),), VPN),
    Case("store", "https://store.example:8443/", ((PUBLIC_ADDRESS,),), VPN),
    Case("store", "http://issuer:8080/", (("10.8.1.7",),), VPN),
]
MIXED = [
    Case(who, NAMED, (answer,))
    for who in WHO
    for answer in ((PUBLIC_ADDRESS, PRIVATE_ADDRESS), (PRIVATE_ADDRESS, PUBLIC_ADDRESS), (PUBLIC_ADDRESS, "::1"))
]
REBOUND = [Case(who, NAMED, ((PUBLIC_ADDRESS,), ("169.254.169.254",))) for who in WHO]
CALLED = {
    **{Case("statement", NAMED, ((address,),)): f"{address} 443" for address in PUBLIC},
    Case("asked", NAMED, ((PUBLIC[0],),)): f"{PUBLIC[0]} 443",
    **{Case("statement", f"https://{_host(address)}/"): f"{address} 443" for address in PUBLIC},
    **{Case("store", NAMED, ((address,),)): f"{address} 443" for address in (PUBLIC[0], PUBLIC[-1])},
    Case("store", "http://issuer:8080/", (("10.8.0.7",),), VPN): "10.8.0.7 8080",
    Case("issuer", "https://issuer.internal:8443/", (("10.8.0.7",),), VPN): "10.8.0.7 8443",
}


def count(cases: Sequence[Case]) -> dict[Case, Counted]:
    """What a process connects to, in whose environment a proxy is set."""
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "tests.counted"], input=orjson.dumps([asdict(case) for case in cases]), cwd=ROOT,
        env={**os.environ, **proxy}, stdout=subprocess.PIPE, check=True, timeout=60,
    )  # fmt: skip
    return dict(zip(cases, (Counted(**each) for each in orjson.loads(done.stdout)), strict=True))


@pytest.fixture(scope="module")
def counted() -> dict[Case, Counted]:
    """All cases that need no server: one process for them."""
    return count([*REFUSED, *MIXED, *REBOUND, *CALLED])


def test_no_connection_is_made_to_what_is_refused_however_it_is_led_to(counted: dict[Case, Counted]) -> None:
    """Every address that is no host of the internet, as a name's and as its own; and every odd spelling."""
    for case in REFUSED:
        assert counted[case].connected == [], case
        assert "refused: " in counted[case].answer, case


def test_answer_with_one_refused_address_among_others_is_refused_whole(counted: dict[Case, Counted]) -> None:
    """Otherwise the next address is tried where the first does not answer: who owns the name decides when."""
    for case in MIXED:
        assert (counted[case].connected, counted[case].looked_up) == ([], ["store.example"]), case


def test_name_that_leads_elsewhere_at_the_next_look_leads_nobody_there(counted: dict[Case, Counted]) -> None:
    """DNS rebinding: what was asked about is what is connected to."""
    for case in REBOUND:
        assert set(counted[case].connected) == {f"{PUBLIC_ADDRESS} 443"}, case
        assert counted[case].looked_up == ["store.example"], case


def test_what_is_allowed_is_connected_to_by_its_address_and_no_proxy(counted: dict[Case, Counted]) -> None:
    """Also a network that is named, by http and at any port; the internet is not, then, either."""
    for case, place in CALLED.items():
        assert set(counted[case].connected) == {place}, case
        assert "refused: " not in counted[case].answer, case
        assert len(counted[case].looked_up) <= 1, case


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "169.254.169.254"])
def test_last_word_is_at_the_socket_whatever_was_looked_up(address: str) -> None:
    async def connect_to() -> None:
        connector = guarded_connector(INTERNET, limit=1, call_s=1)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            connector._socket_factory((family, socket.SOCK_STREAM, 0, "", (address, 443)))  # type: ignore[misc]
        finally:
            await connector.close()

    with pytest.raises(Refused):
        asyncio.run(connect_to())


def test_no_redirect_is_followed_not_even_to_where_one_may_call() -> None:
    with _serving(b"") as (elsewhere, _):
        location = f"location: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
        with _serving(b"HTTP/1.1 307 Temporary Redirect\r\n" + location.encode()) as (port, _):
            found = count([Case(who, f"http://127.0.0.1:{port}/", named=HERE_NAMED) for who in WHO])

    assert [each.connected for each in found.values()] == [[f"127.0.0.1 {port}"]] * len(WHO)
    assert all("http 307" in each.answer for case, each in found.items() if case.who != "statement")


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = OK + b"transfer-encoding: chunked\r\n\r\n"
#: What a hostile server answers with, and goes on with.
HOSTILE = {
    "a body without an end": (OK + b"\r\n", b"x" * 65_536),
    "a body of 100 MB": (OK + b"content-length: 104857600\r\n\r\n", b"x" * 65_536),
    "a body in chunks without an end": (CHUNKS, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "a bomb that is unpacked": (OK + b"content-encoding: gzip\r\n\r\n", b"\x1f\x8b" + b"\0" * 65_536),
    "headers without an end": (OK, b"x-header: x\r\n" * 4096),
    "one header without an end": (OK + b"x-header: ", b"x" * 65_536),
    "a status without an end": (b"HTTP/1.1 200 ", b"x" * 65_536),
    "interim answers without an end": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1024),
    "trailers without an end": (CHUNKS + b"0\r\n", b"x-trailer: x\r\n" * 4096),
    "no HTTP": (b"", b"\0\xff" * 32_768),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls end after half a second."""
    monkeypatch.setattr(webhook, "STORE_CALL_S", SOON_S)
    monkeypatch.setattr(http, "ISSUER_CALL_S", SOON_S)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("name", HOSTILE)
def test_answer_without_an_end_takes_neither_time_nor_room(name: str) -> None:
    """A store may have taken the notice, whatever it goes on to say. An issuer's answer is unknown."""
    begin, more = HOSTILE[name]
    with _serving(begin, more) as (port, sent):
        began = time.monotonic()
        to_store = deliver(Envelope(f"http://127.0.0.1:{port}/", "msg_1", b"{}", [SECRET]), HERE)
        to_issuer = asyncio.run(_send(f"http://127.0.0.1:{port}"))
        took_s = time.monotonic() - began

    assert isinstance(to_store, Delivered | TryLater)
    assert isinstance(to_issuer, Unknown)
    assert took_s < 2 * SOON_S + NOISE_S
    assert sum(sent) < 2 * BUFFERED_BYTES


@pytest.mark.usefixtures("soon")
def test_answer_that_drips_is_given_up() -> None:
    with _serving(OK + b"x: ", b"x", every_s=0.05) as (port, _):
        began = time.monotonic()
        to_store = deliver(Envelope(f"http://127.0.0.1:{port}/", "msg_1", b"{}", [SECRET]), HERE)
        to_issuer = asyncio.run(_send(f"http://127.0.0.1:{port}"))
        took_s = time.monotonic() - began

    assert to_store == TryLater("timeout")
    assert to_issuer == Unknown("no answer in time")
    assert took_s < 2 * SOON_S + NOISE_S


def test_nothing_packed_is_asked_for() -> None:
    """Nobody here unpacks: an issuer that answers gzip to whoever takes it would be one whose answers are unknown."""
    with FakeStore.open() as store:
        deliver(Envelope(store.url.format(store="a"), "msg_1", b"{}", [SECRET]), HERE)

        assert store.received[0][1]["accept-encoding"] == "identity"


async def _send(url: str) -> Answer:
    async with IssuerClient.open(url, "rehearsal", calls=1, outgoing=HERE) as client:
        return await client.send(Credit("a1" * 32, 1, "MXN"), until=steady_s() + 1)


@contextmanager
def _serving(begin: bytes, more: bytes = b"", *, every_s: float = 0.0) -> Iterator[tuple[int, list[int]]]:
    """A port at which everybody is told the same, and on and on, and how many bytes were taken of it."""
    sent: list[int] = []
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(begin)
            while more and not over.wait(every_s):
                connection.sendall(more)
                sent.append(len(more))

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()[1], sent
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)

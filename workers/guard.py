"""The one way to stores and issuers: a session that connects only where models.outgoing lets it, and bounds it all.

A name is looked up once for a connection, every address of the answer is asked about, and a connection is made to one
of these addresses and no other: a name that leads elsewhere at the next look leads nobody there. No redirect is
followed, no proxy of the environment is used, no cookie kept, nothing unpacked.

aiohttp's own resolver asks in a pool of threads that an event loop waits for when it ends, and a process too: a name
server that does not answer holds a worker, and its lease, for as long as the C library is patient. Here each look-up
has a thread of its own, that nobody waits for once the call has been given up.

A connection that is closed after a time-out is not gone: the kernel goes on sending what was written, for minutes, and
a request that was given up could arrive long after it was asked about. TCP_USER_TIMEOUT bounds that.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models.outgoing import Destination, Outgoing, RefusedUrl

#: Of an answer: bytes of a line or a header, and how many headers. aiohttp's own, written out: they are promised.
HEADER_BYTES_MAX, HEADERS_MAX = 8_190, 128


class Refused(Exception):
    """Nothing has left this host, nor will. The text says what was refused, without URL or address."""


class Guard:
    """Requests to what may be called, over one session."""

    def __init__(self, session: aiohttp.ClientSession, outgoing: Outgoing) -> None:
        self._session = session
        self._outgoing = outgoing

    @classmethod
    @asynccontextmanager
    async def open(cls, outgoing: Outgoing, *, calls: int, call_s: float) -> AsyncIterator["Guard"]:
        """For up to `calls` connections at once, until the context ends.

        What is not acknowledged within `call_s` is not sent any more.
        """
        async with aiohttp.ClientSession(
            trust_env=False,
            auto_decompress=False,
            headers={"user-agent": "despensa", "accept-encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            connector=guarded_connector(outgoing, limit=calls, call_s=call_s),
        ) as session:
            yield cls(session, outgoing)

    def request(
        self, verb: str, url: str, *, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout,
        body: bytes | None = None, query: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:  # fmt: skip
        """One request; read its answer with `read_up_to`. Raises Refused; and what aiohttp raises."""
        try:
            self._outgoing.destination(url)
        except RefusedUrl as error:
            raise Refused(str(error)) from None
        return self._session.request(
            verb, url, data=body, params=query, headers=headers, timeout=timeout, allow_redirects=False
        )


async def read_up_to(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Up to `most` bytes of a body and one more, by which one that is too long is known."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            break
    return b"".join(chunks)[: most + 1]


def connect(outgoing: Outgoing, to: Destination, *, timeout_s: float) -> socket.socket:
    """A connection by which nothing is sent. Raises Refused; OSError where it cannot be made."""
    *others, last = _look_up(outgoing, to.host, to.port)
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address["host"], to.port), timeout=timeout_s)
    return socket.create_connection((last["host"], to.port), timeout=timeout_s)


class GuardedResolver(AbstractResolver):
    """The C library's look-up, given up with whoever asked. An answer with one address that is refused is refused."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError where it has none, Refused where one may not be called."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(settle: Any, value: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if found.done() else settle(value))

        def look_up() -> None:
            try:
                addresses = _look_up(self._outgoing, host, port, family=family)
            except (OSError, Refused) as error:
                tell(found.set_exception, error)
            else:
                tell(found.set_result, addresses)

        threading.Thread(target=look_up, name="names", daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is kept open."""


def _look_up(
    outgoing: Outgoing, host: str, port: int, *, family: socket.AddressFamily = socket.AF_UNSPEC
) -> list[ResolveResult]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    except UnicodeError:
        raise OSError("not a host's name") from None
    addresses = [_result(host, port, each) for each in found]
    for address in addresses:
        _require(outgoing, address["host"], port)
    return addresses


def _require(outgoing: Outgoing, address: str, port: int) -> None:
    reason = outgoing.refusal(address, port)
    if reason:
        raise Refused(reason)


def guarded_connector(outgoing: Outgoing, *, limit: int, call_s: float) -> aiohttp.TCPConnector:
    """For up to `limit` connections at once; what is not acknowledged within `call_s` is not sent any more."""

    def make(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, place = address
        # aiohttp looks nothing up for a host that is an address; and whatever it looked up, this is where it goes.
        _require(outgoing, place[0], place[1])
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(call_s * 1000))
        return made

    return aiohttp.TCPConnector(limit=limit, resolver=GuardedResolver(outgoing), socket_factory=make)


def _result(host: str, port: int, address: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, place = address
    # An address with its zone, as the C library tells it, is connected to as it is.
    name, _ = socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return ResolveResult(
        hostname=host, host=name, port=port, family=family, proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )  # fmt: skip

"""Connections that end with the call they were made for: the look-up of the name, and what was written last.

aiohttp's own resolver asks in a pool of threads that an event loop waits for when it ends, and a process too: a name
server that does not answer holds a worker, and its lease, for as long as the C library is patient. Here each look-up
has a thread of its own, that nobody waits for once the call has been given up.

A connection that is closed after a time-out is not gone: the kernel goes on sending what was written, for minutes, and
a request that was given up could arrive long after it was asked about. TCP_USER_TIMEOUT bounds that.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class BoundedResolver(AbstractResolver):
    """The C library's look-up, given up with whoever asked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError where it has none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def tell(settle: Any, value: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if found.done() else settle(value))

        def look_up() -> None:
            try:
                addresses = socket.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
                )
            except OSError as error:
                tell(found.set_exception, error)
            except UnicodeError:
                tell(found.set_exception, OSError("not a host's name"))
            else:
                tell(found.set_result, [_result(host, port, each) for each in addresses])

        threading.Thread(target=look_up, name="names", daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is kept open."""


def bounded_connector(*, limit: int, call_s: float) -> aiohttp.TCPConnector:
    """For up to `limit` connections at once; what is not acknowledged within `call_s` is not sent any more."""

    def make(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(call_s * 1000))
        return made

    return aiohttp.TCPConnector(limit=limit, resolver=BoundedResolver(), socket_factory=make)


def _result(host: str, port: int, address: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, place = address
    # An address with its zone, as the C library tells it, is connected to as it is.
    name, _ = socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return ResolveResult(
        hostname=host, host=name, port=port, family=family, proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )  # fmt: skip

"""A TCP proxy that misbehaves when told to: cuts, delays, holds replies back, or swallows everything."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LIMIT_S = 10
POLL_S = 0.01


class Proxy:
    """Listens and forwards, in a thread of its own. Modes may change at any time."""

    def __init__(self, target: str | int, *, address: str = "127.0.0.1") -> None:
        """`target` is the path of a Unix socket, or a port of this host. It listens on `address`."""
        self._target, self._address = target, address
        self._mode = "pass"
        self._delay_s = 0.0
        self._content = b""
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self.port = 0  #: set when the context begins
        self.swallowed = 0  #: bytes that a black hole took, or replies that were held back
        self.delayed = 0  #: bytes
        self.cut_off = 0  #: connections that were cut, or not made

    def __enter__(self) -> Self:
        self._thread.start()
        self._server: asyncio.Server = self._do(asyncio.start_server(self._serve, self._address, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    def pass_on(self) -> None:
        """As if there were no proxy."""
        self._mode = "pass"

    def delay(self, seconds: float) -> None:
        """Everything arrives so much later."""
        self._mode, self._delay_s = "delay", seconds

    def hold_replies(self) -> None:
        """What is asked for happens, and nobody hears of it."""
        self._mode = "hold"

    def hold_replies_from(self, content: bytes) -> None:
        """As hold_replies, beginning with the first reply that has this in it."""
        self._content, self._mode = content, "watch"

    def hold_commits(self) -> None:
        """Everything passes but PostgreSQL's COMMIT, which waits until the mode changes."""
        self._mode = "commits"

    def black_hole(self) -> None:
        """Everything is acknowledged, and nothing arrives."""
        self._mode = "hole"

    def cut(self) -> None:
        """Every connection breaks, and no new one is served."""
        self._mode = "cut"
        self._do(self._close_all())

    @property
    def suffered(self) -> int:
        """Connections and bytes that met a trouble so far: none, and there was no trouble."""
        return self.swallowed + self.delayed + self.cut_off

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    async def _end(self) -> None:
        self._server.close()
        await self._close_all()

    async def _close_all(self) -> None:
        self.cut_off += len(self._writers) // 2
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # who was accepted a moment ago begins: a task that never began closes nothing
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._forward(reader, writer)
        finally:  # also of one that is cancelled before it is connected
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "cut":
            self.cut_off += 1
            return
        try:
            there, back = await self._connect()
        except OSError:  # the server is away: so is what stands in front of it
            return
        self._writers |= {writer, back}
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, back, reply=False), self._pump(there, writer, reply=True))
        finally:
            self._writers -= {writer, back}
            back.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(self._target)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, reply: bool) -> None:
        while chunk := await source.read(65_536):
            if self._mode == "delay":
                self.delayed += len(chunk)
                await asyncio.sleep(self._delay_s)
            while self._mode == "commits" and not reply and b"COMMIT\0" in chunk:
                await asyncio.sleep(POLL_S)
            if self._mode == "watch" and reply and self._content in chunk:
                self._mode = "hold"
            if self._mode == "hole" or (self._mode == "hold" and reply):
                self.swallowed += len(chunk)
                continue
            sink.write(chunk)
            await sink.drain()
        sink.transport.abort()


def postgresql_socket(url: str) -> str:
    """Where the server of this URL listens."""
    folder = parse_qs(urlsplit(url).query)["host"][0]
    return f"{folder}/.s.PGSQL.5432"


def proxied_postgresql(url: str, proxy: Proxy) -> str:
    """The same database, through the proxy."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return f"postgresql://{user}@127.0.0.1:{proxy.port}{parts.path}"


def redis_socket(url: str) -> str:
    """Where the server of this URL listens."""
    return url.removeprefix("unix://")


def proxied_redis(proxy: Proxy) -> str:
    """The same server, through the proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0"

"""The page's server: read-only, over the board alone.

A reader subscribes to one view at a time, and is sent it whole whenever it has changed: what is shown is small, and a
page that missed something is right again with the next message.
"""

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.dashboard.board import Board
from console.dashboard.show import show_head
from console.dashboard.show_months import show_months
from console.dashboard.show_run import show_find, show_run
from console.dashboard.show_work import show_all_cases, show_stores, show_workers

STATIC = Path(__file__).with_name("static")
#: How often the files are looked at, and how often at most a reader is sent a view.
POLL_S, SEND_EVERY_S = 0.25, 0.5
#: What depends on the clock alone is shown anew so often; it keeps a proxy from closing the stream, too.
REFRESH_S = 15.0
COOKIE, FORM_BYTES_MAX = "despensa_dashboard", 4096
#: What is looked for may be so long.
ASKED_MAX = 100
#: Readers at a time; and views that are kept ready for all who look at the same.
STREAMS_MAX, KEPT_MAX = 50, 50
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
VIEWS: dict[str, Callable[[Board, str, datetime], object]] = {
    "months": lambda board, _of, now: show_months(board, now=now),
    "run": lambda board, of, now: show_run(board, of, now=now),
    "cases": lambda board, _of, _now: show_all_cases(board),
    "stores": lambda board, _of, now: show_stores(board, now=now),
    "workers": lambda board, _of, now: show_workers(board, now=now),
    "find": lambda board, of, _now: show_find(board, of),
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Viewer:
    """The board, kept up to date in a thread of its own, and the views of it as JSON."""

    def __init__(self, board: Board, *, clock: Callable[[], datetime]) -> None:
        self._board = board
        self._clock = clock
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._shown: dict[tuple[str, str], tuple[int, float, bytes]] = {}
        self.streams = 0  #: readers that are being sent a view

    def start(self) -> None:
        """Read what is there, then follow it."""
        self._board.keep_up()
        self._thread.start()

    def stop(self) -> None:
        """Read no more, and end the streams. May be called from a signal's handler."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether the server is to end."""
        return self._stopping.is_set()

    @property
    def following(self) -> bool:
        """Whether the thread that keeps the board up to date lives."""
        return self._thread.is_alive()

    @property
    def version(self) -> int:
        """Another one wherever a view may have changed."""
        return self._board.version

    def show(self, name: str, of: str) -> tuple[int, bytes]:
        """`{"head": …, "view": …}`, null where there is no such run: of now, or of a moment ago for another reader.

        With the version of the board that it shows.
        """
        with self._lock:
            now, board = self._clock(), self._board
            version, at, body = self._shown.get((name, of), (-1, 0.0, b""))
            age_s = now.timestamp() - at
            if 0 <= age_s < (REFRESH_S if version == board.version else SEND_EVERY_S):
                return version, body
            body = orjson.dumps({"head": show_head(board, now=now), "view": VIEWS[name](board, of, now)})
            self._shown.pop((name, of), None)
            if len(self._shown) >= KEPT_MAX:
                del self._shown[next(iter(self._shown))]
            self._shown[name, of] = (board.version, now.timestamp(), body)
            return board.version, body

    def _follow(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._lock:
                self._board.keep_up()


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in who knows the token, where there is one: by header, or by the cookie that the login sets."""

    app: ASGIApp
    token: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """401, or the application."""
        if scope["type"] != "http" or not self.token or self._is_open(scope["path"]) or self._is_known(scope):
            await self.app(scope, receive, send)
        elif scope["path"] == "/":
            await RedirectResponse("/login", status_code=303)(scope, receive, send)
        else:
            await Response("a token is needed: /login\n", status_code=401)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in ("/login", "/healthz") or path.startswith("/static/")

    def _is_known(self, scope: Scope) -> bool:
        asking = HTTPConnection(scope)
        bearer = asking.headers.get("authorization", "").removeprefix("Bearer ")
        cookie = asking.cookies.get(COOKIE, "")
        return _same(bearer, self.token) or _same(cookie, cookie_of(self.token))


@dataclass(frozen=True, slots=True)
class Guard:
    """Adds the headers to every answer."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, with the headers."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        await self.app(scope, receive, send_guarded)


def application(viewer: Viewer, *, host: str, token: str = "") -> Starlette:
    """The dashboard over a board that is kept up to date while the application lives.

    Without a token it answers to the names of the loopback and to `host` alone: a page of another site must not read it
    through a name of its own that leads here.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(viewer.start)
        yield
        viewer.stop()

    async def page(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def healthz(_request: Request) -> Response:
        well = viewer.following
        return Response("ok\n" if well else "follows no file\n", status_code=200 if well else 503)

    async def api(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in VIEWS:
            return Response("there is no such view\n", status_code=404)
        _, body = await _show(viewer, name, request)
        return Response(body, media_type="application/json")

    async def stream(request: Request) -> Response:
        name = request.query_params.get("view", "")
        if name not in VIEWS:
            return Response("there is no such view\n", status_code=404)
        if viewer.streams >= STREAMS_MAX:
            return Response("too many readers\n", status_code=503)
        events = _events(viewer, name, request)
        return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def login(request: Request) -> Response:
        if request.method == "GET":
            return FileResponse(STATIC / "login.html")
        return await _let_in(request, token)

    routes = [
        Route("/", page),
        Route("/healthz", healthz),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/stream", stream),
        Route("/api/{name}", api),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]
    middleware = [Middleware(Guard), Middleware(Door, token=token)]
    if not token:
        middleware.insert(1, Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host], www_redirect=False))
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)


def cookie_of(token: str) -> str:
    """What a browser keeps instead of the token."""
    return hmac.new(token.encode(), b"despensa dashboard cookie", "sha256").hexdigest()


async def _let_in(request: Request, token: str) -> Response:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            return Response("too long\n", status_code=413)
    given = parse_qs(body.decode("utf-8", errors="replace")).get("token", [""])[0].strip()
    if not token or not _same(given, token):
        return RedirectResponse("/login?refused", status_code=303)
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(COOKIE, cookie_of(token), httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


async def _events(viewer: Viewer, name: str, request: Request) -> AsyncIterator[bytes]:
    """The view at once, then whenever it has changed, until the reader or the server goes."""
    loop = asyncio.get_running_loop()
    sent, version, sent_at = b"", -1, 0.0
    viewer.streams += 1
    try:
        while not viewer.stopping:
            if viewer.version != version or loop.time() - sent_at >= REFRESH_S:
                sent_at = loop.time()
                version, body = await _show(viewer, name, request)
                if body != sent:
                    sent = body
                    yield b"event: view\ndata: " + body + b"\n\n"
                else:
                    yield b": still here\n\n"
            await asyncio.sleep(SEND_EVERY_S)
    finally:
        viewer.streams -= 1


async def _show(viewer: Viewer, name: str, request: Request) -> tuple[int, bytes]:
    return await run_in_threadpool(viewer.show, name, request.query_params.get("of", "")[:ASKED_MAX])


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())

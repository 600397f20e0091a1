"""Stands in for the dashboard's server: the same addresses and headers, and the views that a test gives it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from console.dashboard.views import (
    CasesView,
    FindView,
    Head,
    MonthsView,
    RunView,
    StoresView,
    WorkersView,
)

STATIC = Path(__file__).parents[2] / "console" / "dashboard" / "static"
#: As the server's: nothing but what comes from itself, and no script or style within the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

View = MonthsView | RunView | CasesView | StoresView | WorkersView | FindView | None


class StandIn:
    """What a test tells the page, and what the page asked for."""

    def __init__(self) -> None:
        self.refusing = False  #: 401, as where a token is needed
        self.asked: list[str] = []
        self._told: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._version = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/"

    def tell(self, name: str, head: Head, view: View) -> None:
        """To whoever follows this view, and to whoever comes."""
        body = {"head": asdict(head), "view": None if view is None else asdict(view)}
        self.tell_json(name, body)

    def tell_json(self, name: str, body: dict[str, Any]) -> None:
        """As `tell`, where a test has changed what no dataclass would have."""
        with self._changed:
            self._told[name] = json.dumps(body).encode()
            self._version += 1
            self._changed.notify_all()

    def start(self) -> None:
        """On a free port; again after `stop`, on the one before."""
        server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (_Handler,), {"stand_in": self}))
        server.daemon_threads = True
        self.port = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """And end the streams."""
        assert self._server is not None and self._thread is not None
        server, self._server = self._server, None
        server.shutdown()
        self._thread.join()
        server.server_close()
        with self._changed:
            self._changed.notify_all()

    def streams_of(self, name: str) -> int:
        """How often the page began to follow a view."""
        return sum(asked.startswith(f"/stream?view={name}&") for asked in self.asked)

    def follow(self, name: str) -> Iterator[bytes]:
        """Each message once; ends with the server."""
        version = -1
        server = self._server
        while self._server is server:
            with self._changed:
                if self._version == version:
                    self._changed.wait(timeout=5)
                changed, version = self._version != version, self._version
                body = self._told.get(name)
            if self._server is not server:
                return
            yield b"event: view\ndata: " + body + b"\n\n" if changed and body else b": still here\n\n"

    def once(self, name: str) -> bytes | None:
        """The newest."""
        with self._changed:
            return self._told.get(name)


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.stand_in.asked.append(self.path)
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/login":
            self._file(STATIC / "login.html")
        elif parts.path.startswith("/static/"):
            self._file(STATIC / Path(parts.path).name)
        elif self.stand_in.refusing:
            self._answer(401, "text/plain", b"a token is needed: /login\n")
        elif parts.path == "/":
            self._file(STATIC / "index.html")
        elif parts.path == "/stream":
            self._stream(asked["view"])
        elif parts.path.startswith("/api/"):
            body = self.stand_in.once(Path(parts.path).name)
            self._answer(200 if body else 404, "application/json", body or b"{}")
        else:
            self._answer(404, "text/plain", b"")

    def _file(self, path: Path) -> None:
        if path.is_file():
            self._answer(200, f"{KINDS.get(path.suffix, 'text/plain')}; charset=utf-8", path.read_bytes())
        else:
            self._answer(404, "text/plain", b"")

    def _stream(self, name: str) -> None:
        self._head(200, "text/event-stream")
        with suppress(OSError):
            for message in self.stand_in.follow(name):
                self.wfile.write(message)
                self.wfile.flush()

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self._head(code, kind)
        with suppress(OSError):
            self.wfile.write(body)

    def _head(self, code: int, kind: str) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-security-policy", POLICY)
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Tests look at `asked`."""


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A server that runs."""
    server = StandIn()
    server.start()
    try:
        yield server
    finally:
        server.stop()

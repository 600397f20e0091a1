"""A server that names people in whatever it answers: an issuer, or a store, that knows no discretion."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import orjson


@dataclass
class Gossip:
    """What it was sent, heads and bodies; its answers go round, each with a name in it."""

    url: str = ""
    received: list[bytes] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, answers: list[Callable[[BaseHTTPRequestHandler], None]]) -> Iterator["Gossip"]:
        """A server on loopback until the context ends."""
        made = cls()
        numbers = count()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                made.received.append(f"{self.requestline}\n{self.headers}\n".encode() + body)
                answers[next(numbers) % len(answers)](self)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield made
        finally:
            server.shutdown()
            server.server_close()


def says(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status, reason_of(body))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def reason_of(body: bytes) -> str:
    """The text behind a status may hold a name, too."""
    return body.decode("ascii", "ignore").replace("\r", "").replace("\n", "")[:40] or "OK"


def of_issuer(name: str) -> list[Callable[[BaseHTTPRequestHandler], None]]:
    """Refusals, failures and nonsense that name somebody."""
    named = orjson.dumps({"error": name, "code": name, "reason": name, "message": name, "name": name})
    return [
        says(422, named), says(500, name.encode()), says(200, named), says(200, name.encode()),
        says(302, b"", location=f"https://example.org/{name.encode().hex()}"),
        says(429, named, retry_after="1"), says(404, named), says(409, named), says(401, named, x_name="Maria Nunez"),
        says(200, orjson.dumps({"reference": name, "credit_id": name, "amount_minor": name, "currency": name})),
    ]  # fmt: skip


def of_store(name: str) -> list[Callable[[BaseHTTPRequestHandler], None]]:
    """The same of a store; in the end it takes what it is sent."""
    return [
        says(500, name.encode(), retry_after="Maria Nunez"), says(400, name.encode()),
        says(302, b"", location="https://example.org/Maria"), says(200, name.encode()),
    ]  # fmt: skip

"""A store that answers as it is told, over real HTTP on a free loopback port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson

from models.outgoing import Outgoing

#: Where stores and issuers of tests are, for the setting and as it is passed on.
HERE_NAMED = "127.0.0.0/8,::1/128"
HERE = Outgoing.parse(HERE_NAMED)


@dataclass
class FakeStore:
    """What stores received, by store id; `answers` are used up one a request, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    headers_by_answer: dict[int, dict[str, str]] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, object]]:
        """What was said, request by request."""
        return [orjson.loads(body) for _, _, body in self.received]

    @property
    def webhook_ids(self) -> list[str]:
        """Of each request, in order."""
        return [headers["webhook-id"] for _, headers, _ in self.received]

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["FakeStore"]:
        """A server until the context ends; `url` holds `{store}` for the store's id."""
        store = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                store.received.append((self.path.strip("/"), headers, body))
                code = store.answers.pop(0) if store.answers else 200
                self.send_response(code)
                for name, value in store.headers_by_answer.get(code, {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test looks at what was received."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        store.url = f"http://127.0.0.1:{server.server_port}/{{store}}"
        try:
            yield store
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

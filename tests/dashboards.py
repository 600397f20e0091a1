"""The dashboard as an operator runs it, and what a browser asks of it, without one."""

import http.client
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from tests.commands import kill, start

ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)/")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its object."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One that is running."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def url(self) -> str:
        """Of its page."""
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request(method, path, body=body or None, headers=dict(headers or {}))
            said = link.getresponse()
            return Answer(said.status, {name.lower(): value for name, value in said.getheaders()}, said.read())
        finally:
            link.close()

    @contextmanager
    def stream(self, path: str) -> "Iterator[Iterator[dict[str, Any]]]":
        """What is sent of a view, as it comes."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request("GET", path)
            yield _events(link.getresponse())
        finally:
            link.close()


@contextmanager
def a_dashboard(*words: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Dashboard]:
    """The command, on a free port, while the context lasts."""
    process = start("dashboard", "--port", "0", *(str(word) for word in words), environment=environment or {})
    try:
        assert process.stderr is not None
        address = next((found for line in process.stderr if (found := ADDRESS.search(line))), None)
        assert address is not None, "it ended before it listened"
        yield Dashboard(process, int(address[1]))
    finally:
        kill(process)


def _events(said: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in said:
        if line.startswith(b"data: "):
            yield cast(dict[str, Any], orjson.loads(line.removeprefix(b"data: ")))

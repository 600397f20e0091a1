"""Debian's Prometheus on a free port, scraping what tests hand it, and asked over its API."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from ruamel.yaml import YAML

from tests.processes import end
from tests.scraping import free_port
from tests.waiting import until

Ask = Callable[[str], list[dict[str, Any]]]


@contextmanager
def a_prometheus(folder: Path, instances: Mapping[str, str], texts: Mapping[str, str]) -> Iterator[Ask]:
    """Scrapes each instance of a service once a second; yields what an expression is answered with."""
    program = shutil.which("prometheus")
    assert program, "apt-get install -y --no-install-recommends prometheus"
    port = free_port()
    with _serving(texts) as served:
        jobs = [
            {
                "job_name": f"despensa-{service}",
                "metrics_path": f"/{service}",
                "static_configs": [
                    {"targets": [served], "labels": {"instance": name}}
                    for name, of in instances.items() if of == service
                ],
            }
            for service in sorted(set(instances.values()))
        ]  # fmt: skip
        with (folder / "prometheus.yml").open("w") as file:
            YAML().dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}, file)
        process = subprocess.Popen(
            [
                program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            until(lambda: _answers(port), what="Prometheus")
            yield lambda expression: _ask(port, expression)
        finally:
            end(process)


def _answers(port: int) -> bool:
    try:
        return _get(port, "/-/ready")[0] == 200
    except OSError:
        return False


def _ask(port: int, expression: str) -> list[dict[str, Any]]:
    _, body = _get(port, "/api/v1/query?" + urlencode({"query": expression}))
    answer = orjson.loads(body)
    assert answer["status"] == "success", (expression, answer)
    assert answer["data"]["resultType"] == "vector", expression
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _get(port: int, path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


@contextmanager
def _serving(texts: Mapping[str, str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = texts[self.path.strip("/")].encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

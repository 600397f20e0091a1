"""The HTTP endpoint from which Prometheus reads a process's metrics: there is one only where a port is set.

It answers GET /metrics and nothing else, in threads that no process waits for when it ends.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from socketserver import TCPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer

from models.errors import Misconfigured
from models.log import Log

#: A client that says nothing is let go; and any after ten seconds, when Prometheus itself gives up.
CLIENT_S, CONNECTION_S = 5, 10
#: Clients at a time, each in a thread: more must not take a scheduler's files and threads.
CONNECTIONS_MAX = 8


class Endpoint:
    """A port that is taken already, and what answers there once it is served."""

    def __init__(self, server: ThreadingWSGIServer) -> None:
        self._server = server

    def serve(self, registry: CollectorRegistry) -> None:
        """Answer in this thread, for as long as the process lives."""
        self._server.set_app(_only_metrics(make_wsgi_app(registry)))
        self._server.serve_forever()

    def serve_aside(self, registry: CollectorRegistry) -> None:
        """Answer in a thread that ends with the process."""
        threading.Thread(target=self.serve, args=(registry,), daemon=True, name="metrics").start()

    @property
    def port(self) -> int:
        """Where it answers."""
        return self._server.server_port

    def close(self) -> None:
        """Let go of the port, in this process."""
        self._server.server_close()


def open_endpoint(host: str, port: int) -> Endpoint:
    """Take a port. Raises Misconfigured where it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return Endpoint(_server_of(family)((str(address[0]), port), _Request))
    except OSError as error:
        raise Misconfigured(
            f"metrics cannot be exposed on {host}:{port}: {error.strerror or type(error).__name__}",
            hint="set DESPENSA_METRICS_HOST and DESPENSA_METRICS_PORT to what is free; each service has its own port",
        ) from None


class BuildInfo:
    """Which program this is, and which version of it."""

    def __init__(self, log: Log) -> None:
        self._labels = (log.writer.service, log.writer.version, ".".join(map(str, sys.version_info[:3])))

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        info = GaugeMetricFamily(
            "despensa_build_info", "1; its labels say which program this is, and which version of it.",
            labels=("service", "version", "python"),
        )  # fmt: skip
        info.add_metric(self._labels, 1)
        yield info


def _server_of(family: int) -> type[ThreadingWSGIServer]:
    class Server(ThreadingWSGIServer):
        address_family = family
        room = threading.BoundedSemaphore(CONNECTIONS_MAX)

        def process_request(self, request: Any, client_address: Any) -> None:
            if self.room.acquire(blocking=False):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            hang_up = threading.Timer(CONNECTION_S, _hang_up, [request])
            hang_up.daemon = True
            hang_up.start()
            try:
                super().process_request_thread(request, client_address)
            finally:
                hang_up.cancel()
                self.room.release()

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's asks the name service who we are, and may wait for it
            self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
            self.setup_environ()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is none of our trouble."""

    return Server


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):  # it went meanwhile
        request.shutdown(socket.SHUT_RDWR)


class _Request(WSGIRequestHandler):
    timeout = CLIENT_S

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the parent's name
        """Nothing: the log speaks in events only."""


def _only_metrics(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"metrics are at /metrics\n"]
        return app(environ, start_response)

    return answer

"""The endpoint for metrics takes little of its process, whoever calls and however slowly."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from models import exposition
from models.exposition import CONNECTIONS_MAX, Endpoint, open_endpoint
from tests.waiting import until
from workers.metrics import KeptFiles


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Served, with nothing to tell."""
    endpoint = open_endpoint("127.0.0.1", 0)
    endpoint.serve_aside(CollectorRegistry())
    yield endpoint
    endpoint.close()


def answers(endpoint: Endpoint) -> bool:
    """Whether a scrape is answered."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return client.recv(12).startswith(b"HTTP/1.")
    return False


def test_more_clients_than_there_is_room_for_are_turned_away(endpoint: Endpoint) -> None:
    """Each would take a file and a thread of a scheduler's."""
    with ExitStack() as idle:
        for _ in range(CONNECTIONS_MAX):
            idle.enter_context(socket.create_connection(("127.0.0.1", endpoint.port)))

        assert not answers(endpoint)

    until(lambda: answers(endpoint), what="room for another one")


def test_client_that_goes_on_and_on_is_let_go(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """One header after the other, none of them late."""
    monkeypatch.setattr(exposition, "CONNECTION_S", 0.2)
    with socket.create_connection(("127.0.0.1", endpoint.port)) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n")

        def is_let_go() -> bool:
            try:
                client.sendall(b"x: y\r\n")
            except OSError:
                return True
            return False

        until(is_let_go, what="the end of the connection", within_s=20)


def test_files_of_figures_are_kept_from_being_tidied_away(tmp_path: Path) -> None:
    """Between two paydays nobody writes to them."""
    figures = tmp_path / "counter_1.db"
    figures.touch()
    for path in (figures, tmp_path):
        os.utime(path, (1, 1))
    began = time.time()

    assert list(KeptFiles(tmp_path).collect()) == []

    assert all(path.stat().st_mtime >= began - 1 for path in (figures, tmp_path))

"""Scraping real processes, as Prometheus does."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

from tests.commands import Service, running
from tests.installation import Installation
from tests.waiting import until

Labels = tuple[tuple[str, str], ...]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def scrape(port: int, *, path: str = "/metrics") -> str:
    """The text that a scrape gets; empty where nobody answers yet."""
    with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else ""
    return ""


def samples(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value_of(text: str, name: str, **labels: str) -> float | None:
    """One sample's value, or None."""
    return samples(text).get((name, tuple(sorted(labels.items()))))


@contextmanager
def exposing(installation: Installation, *words: str) -> Iterator[tuple[Service, int]]:
    """A service that exposes metrics on a port of its own, once it answers there."""
    port = free_port()
    with running(*words, environment={**installation.environment, "DESPENSA_METRICS_PORT": str(port)}) as service:
        until(lambda: scrape(port), what="an answer of the endpoint")
        yield service, port

"""Several hosts for real: what crosses their network is cut in mid-month. To see it told: tests/acceptance/hosts.py."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import network
from tests.acceptance.hosts import STORY_THREADS, main, month_with_a_rolling_restart, month_with_cuts, why_not
from tests.acceptance.site import Site
from tests.commands import ROOT
from tests.faults import plants
from tests.network import Network, left_behind

pytestmark = pytest.mark.debian
SILENT_S = 1
WORKS_AGAIN_WITHIN_S = 10
PORT = 5000


@pytest.fixture(autouse=True)
def _possible() -> None:
    """Where no network can be made nothing is skipped in silence."""
    lacking = why_not()
    if lacking:
        pytest.fail(f"hosts cannot be built here: {lacking}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Every host, and nobody at work yet."""
    with Site.open(tmp_path) as site:
        yield site


@pytest.mark.timeout(600)
def test_month_goes_on_while_hosts_are_cut_off_and_come_back(site: Site) -> None:
    """In mid-call, in mid-commit, one way, without Redis, and without the first scheduler. Nothing is lost or doubled.

    That the logs of all hosts are one unbroken chain, and tell the database's totals, is asserted on the way.
    """
    told: list[str] = []

    books = month_with_cuts(site, told.append)

    assert books.are_whole, "\n".join([*told, str(books)])


@pytest.mark.timeout(600)
def test_rolling_restart_in_mid_month_fails_no_attempt(tmp_path: Path) -> None:
    """As an upgrade restarts them. That no attempt is counted, and no call broken off, is asserted on the way."""
    told: list[str] = []

    with Site.open(tmp_path, threads=STORY_THREADS["restart"]) as site:
        books = month_with_a_rolling_restart(site, told.append)

    assert books.are_whole, "\n".join([*told, str(books)])


@pytest.mark.hand
@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", plants.HOSTS, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found_when_hosts_are_cut_off(plant: Callable[[], None], tmp_path: Path) -> None:
    """A minute and a half each. `./despensa test -m hand tests/acceptance/test_hosts.py`"""
    with Site.open(tmp_path, plant=plant.__name__) as site:
        found = _found(site)

    assert any(plants.HOSTS[plant] in each for each in found), found


def _found(site: Site) -> list[str]:
    """What is wrong with a month: that it did not go on, or what of its books is not whole."""
    try:
        books = month_with_cuts(site, lambda _: None)
    except TimeoutError as error:
        return [str(error)]
    return [name for name in ("doubled", "surplus", "unasked", "touched") if getattr(books, name)]


CUTS: dict[str, tuple[Callable[[Network], None], Callable[[Network], None]]] = {
    "silent": (lambda net: net["a"].silence(), lambda net: net["a"].unsilence()),
    "unplugged": (lambda net: net["a"].unplug(), lambda net: net["a"].plug()),
    "one way": (lambda net: net["b"].lose_answers_to(net["a"]), lambda net: net["b"].answer_again(net["a"])),
}


@pytest.mark.parametrize("kind", CUTS)
def test_connection_over_a_cut_hangs_and_goes_on_afterwards(kind: str) -> None:
    """What the others show rests on this: nobody is told of a cut, and none of them ends a connection."""
    cut, mend = CUTS[kind]
    with Network.open(["a", "b"]) as net, _echo(net), _connection(net) as connection:
        assert _echoed(connection, b"before")
        cut(net)
        connection.settimeout(SILENT_S)
        with pytest.raises(TimeoutError):
            _echoed(connection, b"lost for now")
        with pytest.raises(TimeoutError), _connection(net):
            pass
        mend(net)
        connection.settimeout(WORKS_AGAIN_WITHIN_S)

        assert connection.recv(100) == b"lost for now"

        with _connection(net) as another:
            assert _echoed(another, b"after")


def test_hosts_reach_each_other_and_nothing_else() -> None:
    devices = subprocess.check_output(["ip", "-oneline", "link"])

    with Network.open(["a", "b"]) as net, _echo(net):
        assert subprocess.check_output(["ip", "-oneline", "link"]) == devices  # nothing of it is outside
        with pytest.raises(ConnectionRefusedError):
            net["a"].do(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=SILENT_S))
        with pytest.raises(OSError, match="unreachable"):
            net["a"].do(lambda: socket.create_connection(("198.51.100.1", PORT), timeout=SILENT_S))
        with _connection(net) as connection:
            assert _echoed(connection, b"here")


def test_nothing_is_left_behind_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), Network.open(["a", "b"]):
        assert len(left_behind()) == 3
        raise ZeroDivisionError

    assert left_behind() == []


def test_command_runs_under_the_name_of_its_host() -> None:
    with Network.open(["a"]) as net:
        named = subprocess.check_output([*net["a"].prefix, "hostname"], text=True)

    assert named == "a\n"


def test_without_ip_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert main([]) == 2

    assert "apt-get install -y iproute2" in capsys.readouterr().err


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert network.missing() == "network namespaces need root: repeat with sudo"


def test_without_the_capability_it_names_it() -> None:
    """As root in a container: the kernel refuses, and what was made until then is gone."""
    bound = ("setpriv", "--bounding-set", "-net_admin,-sys_admin")
    program = (sys.executable, "-c", "from tests.network import missing; print(missing())")

    said = subprocess.check_output([*bound, *program], text=True, cwd=ROOT)

    assert "CAP_NET_ADMIN" in said


def _connection(net: Network) -> socket.socket:
    """From a to b."""
    return net["a"].do(lambda: socket.create_connection((net["b"].address, PORT), timeout=SILENT_S))


def _echoed(connection: socket.socket, content: bytes) -> bool:
    connection.sendall(content)
    return connection.recv(100) == content


class _echo:
    """A server on b that sends back what it hears, while the context lasts."""

    def __init__(self, net: Network) -> None:
        self._listener = net["b"].do(lambda: socket.create_server((net["b"].address, PORT)))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while content := connection.recv(100):
                connection.sendall(content)

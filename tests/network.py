"""Hosts on one machine, each in a network namespace with an address of its own, and a switch between them.

Nothing of it is reached from outside the namespaces, nor reaches outside. What is made carries the number of this
process, so that two runs do not meet. A host's cable can be pulled; its port of the switch can go silent, which nobody
is told of; and what one host sends to another can be lost on the way, while the other direction works.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

#: Of documentation (RFC 5737): what should leave the namespaces by a defect leads nowhere.
ADDRESSES = "192.0.2."
BRIDGE, CABLE = "switch", "eth0"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_numbers = count(1)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the network."""

    name: str
    address: str
    namespace: str
    _switch: str
    _port: str  #: of the switch

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that make it run on this host, under its name. The process id stays the same."""
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *named)

    def do(self, act: Callable[[], T]) -> T:
        """What `act` connects to or listens on is on this host's network; so are the threads that it starts."""

        def enter_and_act() -> T:
            with Path(f"/run/netns/{self.namespace}").open() as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), _NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), f"the network of {self.name} cannot be entered")
            return act()

        with ThreadPoolExecutor(1) as threads:  # a namespace belongs to a thread: this one ends with the call
            return threads.submit(enter_and_act).result()

    def unplug(self) -> None:
        """Its cable is pulled: it has no carrier, and what it sends is lost."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def plug(self) -> None:
        """The cable is back."""
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def silence(self) -> None:
        """Its port of the switch passes nothing any more, either way, and nobody is told: a black hole."""
        _ip("-n", self._switch, "link", "set", self._port, "nomaster")

    def unsilence(self) -> None:
        """The port passes everything again."""
        _ip("-n", self._switch, "link", "set", self._port, "master", BRIDGE)

    def lose_answers_to(self, other: "Host") -> None:
        """What this host sends to the other is lost; what the other sends arrives."""
        _ip("-n", self.namespace, "route", "add", "blackhole", other.address)

    def answer_again(self, other: "Host") -> None:
        """What this host sends to the other arrives again."""
        _ip("-n", self.namespace, "route", "del", "blackhole", other.address)

    def processes(self) -> list[int]:
        """The ids of all that run on this host."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]


@dataclass(slots=True)
class Network:
    """Hosts that reach each other."""

    hosts: dict[str, Host] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @classmethod
    @contextmanager
    def open(cls, names: Sequence[str]) -> Iterator["Network"]:
        """These hosts, and a switch; all of it is gone when the context ends. Raises RuntimeError where `missing`."""
        lacking = missing()
        if lacking:
            raise RuntimeError(lacking)
        prefix = f"despensa-{os.getpid()}-{next(_numbers)}"
        switch = f"{prefix}-switch"
        with ExitStack() as stack:
            stack.enter_context(_namespace(switch))
            _ip("-n", switch, "link", "add", BRIDGE, "type", "bridge")
            _ip("-n", switch, "link", "set", BRIDGE, "up")
            hosts = {}
            for number, name in enumerate(names, start=1):
                namespace = stack.enter_context(_namespace(f"{prefix}-{name}"))
                hosts[name] = Host(name, f"{ADDRESSES}{number}", namespace, switch, f"port{number}")
                _connect(hosts[name], number)
            for host in hosts.values():
                _know_the_others(host, list(hosts.values()))
            yield cls(hosts)


def missing() -> str:
    """Why no network can be made here, and what mends it; empty where one can. Tried, not guessed."""
    if shutil.which("ip") is None:
        return "`ip` is missing: apt-get install -y iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root: repeat with sudo"
    namespace = f"despensa-{os.getpid()}-probe"
    tries = [
        ("netns", "add", namespace),
        ("-n", namespace, "link", "add", BRIDGE, "type", "bridge"),
        ("-n", namespace, "link", "add", CABLE, "type", "veth", "peer", "name", "port1"),
    ]
    for words in tries:
        tried = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if tried.returncode:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
            needs = "CAP_NET_ADMIN and CAP_SYS_ADMIN, and a kernel with network namespaces, veth and bridge"
            return f"`ip {' '.join(words)}` is refused ({tried.stderr.strip()}): this needs {needs}"
    _ip("netns", "del", namespace)
    return ""


def left_behind() -> list[str]:
    """Namespaces that this process made and that are still there."""
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if f"despensa-{os.getpid()}-" in line]


@contextmanager
def _namespace(name: str) -> Iterator[str]:
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        _ip("netns", "del", name)  # with all its devices


def _connect(host: Host, number: int) -> None:
    """A cable from the host to its port of the switch."""
    switch, port = host._switch, host._port
    mac = ("address", _mac(number))
    _ip("-n", host.namespace, "link", "add", CABLE, *mac, "type", "veth", "peer", "name", port, "netns", switch)
    _ip("-n", switch, "link", "set", port, "master", BRIDGE, "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", CABLE)
    _ip("-n", host.namespace, "link", "set", CABLE, "up")


def _know_the_others(host: Host, hosts: Sequence[Host]) -> None:
    """By their hardware: where a host asks for another's in vain it is told so soon, and behind a router it is not."""
    for number, other in enumerate(hosts, start=1):
        if other is not host:
            words = ("neighbour", "replace", other.address, "lladdr", _mac(number), "dev", CABLE, "nud", "permanent")
            _ip("-n", host.namespace, *words)


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout

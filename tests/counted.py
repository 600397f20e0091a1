"""What calls of stores and issuers connect to, counted where Python makes a connection: `python -m tests.counted`.

Reads cases as JSON from standard input, and writes what came of each. Names are looked up in a table of the case. The
audit hook sees every connection that this process tries, by whatever library; one to anywhere but this host is seen and
not made.
"""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from models.deadlines import steady_s
from models.outgoing import Outgoing
from workers.issuers.answers import Credit
from workers.issuers.http import IssuerClient, NoStatement
from workers.stores.webhook import Envelope, deliver

SECRET = "whsec_" + "A" * 44  # of nobody


@dataclass(frozen=True, slots=True)
class Case:
    """A URL, by whom it is called, and how its name is answered: look-up by look-up, the last one again and again."""

    who: str  #: store, issuer, asked or statement
    url: str
    answers: tuple[tuple[str, ...], ...] = ()
    named: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of it."""

    answer: str
    connected: list[str]  #: ADDRESS PORT of every try, in order
    looked_up: list[str]


def count(cases: list[Case]) -> list[Counted]:
    """In this process, from now on."""
    connected: list[str] = []
    looked_up: list[str] = []
    answers: list[tuple[str, ...]] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
            address, port = arguments[1][:2]
            connected.append(f"{address} {port}")
            if not ipaddress.ip_address(address).is_loopback:
                raise ConnectionRefusedError
        if event == "socket.sendto":
            raise AssertionError("nothing is sent without a connection")

    def look_up(host: Any, port: int, *rest: Any, **named: Any) -> Any:
        try:
            return others(host, port, *rest, **{**named, "flags": socket.AI_NUMERICHOST})
        except socket.gaierror:
            looked_up.append(host)
            told = answers.pop(0) if len(answers) > 1 else answers[0]
            return [found for address in told for found in others(address, port, type=socket.SOCK_STREAM)]

    others: Callable[..., Any] = socket.getaddrinfo
    socket.getaddrinfo = look_up  # type: ignore[assignment]
    sys.addaudithook(watch)
    counted = []
    for case in cases:
        connected.clear()
        looked_up.clear()
        answers[:] = case.answers
        answer = _call(case)
        counted.append(Counted(answer, list(connected), list(looked_up)))
    return counted


def _call(case: Case) -> str:
    outgoing = Outgoing.parse(case.named)
    if case.who == "store":
        return str(deliver(Envelope(case.url, "msg_1", b"{}", [SECRET]), outgoing))
    return asyncio.run(_issuer(case.who, case.url.rstrip("/"), outgoing))


async def _issuer(who: str, url: str, outgoing: Outgoing) -> str:
    credit = Credit("a1" * 32, 1, "MXN")
    async with IssuerClient.open(url, "rehearsal", calls=1, outgoing=outgoing) as client:
        if who == "issuer":
            return str(await client.send(credit, until=steady_s() + 1))
        if who == "asked":
            return str(await client.ask(credit, until=steady_s() + 1))
        try:
            return str([each async for each in client.statement(datetime.now(UTC), datetime.now(UTC))])
        except NoStatement as error:
            return str(error)


def main() -> None:
    """Cases in, counts out."""
    cases = [
        Case(each["who"], each["url"], tuple(map(tuple, each["answers"])), each["named"])
        for each in orjson.loads(sys.stdin.buffer.read())
    ]
    sys.stdout.buffer.write(orjson.dumps([asdict(each) for each in count(cases)]))


if __name__ == "__main__":
    main()

"""Each fault of the simulated issuer, met by a plain HTTP client and by ours."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import orjson
import pytest

from models.deadlines import steady_s
from models.errors import RefusedInput
from tests.fakes import HERE
from workers.issuers import http
from workers.issuers.answers import Absent, Answer, Credit, Credited, Rejected, TryLater, Unknown
from workers.issuers.http import IssuerClient
from workers.issuers.simulated import SimulatedIssuer
from workers.issuers.simulated_book import Book
from workers.issuers.simulated_faults import ASK_FAULTS, FAULTS

#: What our client waits for an answer here. It connects, and is answered without a fault, in less.
CALL_S = 2.0
SLOW_S = 4.0
#: A plain client reads on for so long.
READ_S = 1.0
DROPPED, SILENT = "dropped", "silent"
PLAIN = b'{"status":"credited",.*"amount_minor":55000,"currency":"MXN",.*}'
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """What a fault is to look like."""

    status: str  #: on the wire
    body: bytes  #: on the wire, a pattern
    answer: Answer  #: our client's, to a call of its own
    made: bool = True  #: a credit, by each send
    shown: bool = True  #: what was made, to an ask once the fault is over
    made_again: bool = False  #: by another send


CASES = {
    "lost_before": Case(DROPPED, b"", Unknown("connection broke"), made=False),
    "lost_after": Case(DROPPED, b"", Unknown("connection broke")),
    "error_before": Case("500", b"", Unknown("http 500"), made=False),
    "error_after": Case("500", b"", Unknown("http 500")),
    "slow": Case(SILENT, b"", Unknown("no answer in time")),
    "slow_drip": Case("201", b'{"?s?', Unknown("no answer in time")),
    "garbage": Case("201", rb"[^{]*\xff.*", Unknown("no JSON object")),
    "huge_body": Case("201", b" {1000000,}", Unknown("no JSON object")),
    "wrong_echo": Case("201", b'.*("amount_minor":1,|"XTS"|"0{64}").*', Unknown("another credit echoed")),
    "duplicate_keys": Case("201", b'{"status":"refused",.*"status":"credited".*', Unknown("no JSON object")),
    "too_many": Case("429", b'{"status":"try_later",.*', TryLater("http 429", 1), made=False),
    "busy": Case("503", b'{"status":"try_later",.*', TryLater("http 503", 1), made=False),
    "refuse": Case("422", b'{"status":"refused",.*', Rejected("account_closed"), made=False),
    "forget": Case("201", PLAIN, Credited("sim-2"), shown=False, made_again=True),
    "late": Case("201", PLAIN, Credited("sim-2"), shown=False),
    "ask_lost": Case(DROPPED, b"", Unknown("connection broke"), made=False),
    "ask_error": Case("500", b"", Unknown("http 500"), made=False),
}


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedIssuer]:
    """One with all that any fault needs."""
    monkeypatch.setattr(http, "ISSUER_CALL_S", CALL_S)
    with SimulatedIssuer(slow_s=SLOW_S, visible_after_s=600) as issuer:
        yield issuer


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_what_it_says_and_is_taken_for_what_it_is(issuer: SimulatedIssuer, fault: str) -> None:
    """One that is added needs a case here."""
    case, verb = CASES[fault], "GET" if fault in ASK_FAULTS else "POST"
    issuer.set_faults({fault: "all"})

    status, body = on_the_wire(issuer, verb, credit(1))
    answer = call(issuer, verb, credit(2))
    made = [each.reference for each in issuer.book()]
    issuer.set_faults({})
    shown = call(issuer, "GET", credit(2))
    call(issuer, "POST", credit(2))

    assert status == case.status
    assert re.fullmatch(case.body, body, re.DOTALL)
    assert answer == case.answer
    assert made == ([credit(1).reference, credit(2).reference] if case.made else [])
    assert shown == (Credited("sim-2") if case.made and case.shown else Absent())
    assert issuer.doubled() == int(case.made_again)


def test_every_case_is_of_a_fault() -> None:
    assert CASES.keys() == FAULTS.keys()


def test_lateness_is_decided_for_each_credit_when_it_is_made() -> None:
    """All credits were late until the first was drawn."""
    drawn: list[list[bool]] = []
    for _ in range(2):
        with SimulatedIssuer({"late": "50%"}, seed=7, visible_after_s=600) as issuer:
            at_once = []
            for number in range(20):
                call(issuer, "POST", credit(number))
                at_once.append(call(issuer, "GET", credit(number)) == Absent())
            in_the_end = [call(issuer, "GET", credit(number)) == Absent() for number in range(20)]
        assert at_once == in_the_end
        drawn.append(at_once)

    assert drawn[0] == drawn[1]
    assert 5 < sum(drawn[0]) < 15


def test_late_credit_whose_answer_was_lost_is_absent_to_an_ask() -> None:
    with SimulatedIssuer({"late": "1", "lost_after": "2"}, visible_after_s=600) as issuer:
        sent = [call(issuer, "POST", credit(number)) for number in range(3)]
        shown = [call(issuer, "GET", credit(number)) for number in range(3)]

    assert sent == [Unknown("connection broke"), Unknown("connection broke"), Credited("sim-3")]
    assert shown == [Absent(), Credited("sim-2"), Credited("sim-3")]


def test_late_credit_is_shown_after_a_while_and_others_at_once() -> None:
    book = Book(keeps_s=None, visible_after_s=60)
    late, _ = book.make("a" * 64, 1, "MXN", now=NOW, late=True)
    plain, _ = book.make("b" * 64, 1, "MXN", now=NOW, late=False)

    assert book.find("a" * 64, now=NOW + timedelta(seconds=59)) is None
    assert book.find("a" * 64, now=NOW + timedelta(seconds=60)) == late
    assert book.find("b" * 64, now=NOW) == plain


def test_reference_is_forgotten_when_the_key_window_is_over() -> None:
    with SimulatedIssuer(keeps_s=0) as issuer:
        answers = [call(issuer, "POST", credit(1)), call(issuer, "GET", credit(1)), call(issuer, "POST", credit(1))]

    assert answers == [Credited("sim-1"), Absent(), Credited("sim-2")]
    assert issuer.doubled() == 1


@pytest.mark.parametrize(("fault", "option"), [("late", "--visible-after"), ("slow", "--slow")])
def test_fault_that_would_do_nothing_is_refused(fault: str, option: str) -> None:
    with pytest.raises(RefusedInput, match=f"the fault {fault} does nothing without {option}"):
        SimulatedIssuer({fault: "5%"}, slow_s=0)


def credit(number: int) -> Credit:
    return Credit(f"{number:064x}", 55_000, "MXN")


def call(issuer: SimulatedIssuer, verb: str, credit: Credit) -> Answer:
    """What our client makes of it."""

    async def once() -> Answer:
        async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
            ask_or_send = client.ask if verb == "GET" else client.send
            return await ask_or_send(credit, until=steady_s())  # one try

    return asyncio.run(once())


def on_the_wire(issuer: SimulatedIssuer, verb: str, credit: Credit) -> tuple[str, bytes]:
    """The status, or why there is none, and what of the body is read within READ_S."""
    said = {"reference": credit.reference, "amount_minor": credit.amount_minor, "currency": credit.currency}
    path, body = (f"/v1/credits/{credit.reference}", None) if verb == "GET" else ("/v1/credits", orjson.dumps(said))
    read_until = steady_s() + READ_S
    with closing(HTTPConnection(urlsplit(issuer.url).netloc, timeout=2 * READ_S)) as connection:
        try:
            connection.request(verb, path, body=body)
            response = connection.getresponse()
        except TimeoutError:
            return SILENT, b""
        except ConnectionError:
            return DROPPED, b""
        heard = b""
        while steady_s() < read_until and (chunk := response.read1(1_048_576)):
            heard += chunk
        return str(response.status), heard

"""The published protocol: the simulated issuer answers as it says, and our client asks as it says."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from sqlalchemy import CheckConstraint

from models.columns import instant_text
from models.deadlines import steady_s
from models.keys import KEY_BYTES, Key, KeyRing, credit_reference
from models.money import AMOUNT_MINOR_MAX
from models.tables import Issuer
from tests.fakes import HERE
from workers.issuers import http, simulated
from workers.issuers.answers import Credit
from workers.issuers.http import STATEMENT_PAGE_BYTES_MAX, IssuerClient, NoStatement
from workers.issuers.simulated import SimulatedIssuer

DOCUMENT = orjson.loads(Path("deploy/issuer-openapi.json").read_bytes())
REFERENCE = "a1" * 32
CREDIT = {"reference": REFERENCE, "amount_minor": 55_000, "currency": "MXN"}


@dataclass(frozen=True)
class Exchange:
    """One request, as it came in, and its answer."""

    verb: str
    pattern: str  #: the path, as the document has it
    path: Mapping[str, str]
    query: Mapping[str, str]
    authorization: str
    accept: str
    media_type: str
    asked: bytes
    status: int
    headers: dict[str, str]
    said: bytes


class Listening(SimulatedIssuer):
    """Keeps what was asked and answered."""

    def __init__(self) -> None:
        super().__init__(token="rehearsal")
        self.exchanges: list[Exchange] = []

    async def _credit(self, request: web.Request) -> web.StreamResponse:
        return await self._keep(request, await super()._credit(request))

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return await self._keep(request, await super()._show(request))

    async def _statement(self, request: web.Request) -> web.StreamResponse:
        return await self._keep(request, await super()._statement(request))

    async def _keep(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        resource = request.match_info.route.resource
        assert resource is not None
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        self.exchanges.append(
            Exchange(
                request.method.lower(), resource.canonical, dict(request.match_info), dict(request.query),
                request.headers["authorization"], request.headers["accept"], request.content_type, await request.read(),
                response.status, {name.lower(): value for name, value in response.headers.items()}, response.body,
            )
        )  # fmt: skip
        return response


@pytest.fixture
def issuer() -> Iterator[SimulatedIssuer]:
    """One that knows its token."""
    with SimulatedIssuer(token="rehearsal") as issuer:
        yield issuer


def call(
    issuer: SimulatedIssuer, verb: str, path: str, said: object = None, *, token: str = "rehearsal"
) -> tuple[int, dict[str, str], bytes]:
    """One request over HTTP."""
    connection = HTTPConnection(urlsplit(issuer.url).netloc, timeout=10)
    body = said if isinstance(said, bytes) else None if said is None else orjson.dumps(said)
    connection.request(verb, path, body=body, headers={"authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    try:
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def assert_as_published(path: str, verb: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """The answer is one that the document lists, its body fits the schema, and no header is missing."""
    responses = DOCUMENT["paths"][path][verb]["responses"]
    assert str(status) in responses
    response = resolve(responses[str(status)])
    schema = response["content"]["application/json"]["schema"]
    validate(orjson.loads(body), schema)
    assert headers["content-type"].startswith("application/json")
    for name, header in response.get("headers", {}).items():
        Draft202012Validator(header["schema"]).validate(headers[name.lower()])


def assert_asked_as_published(exchange: "Exchange") -> None:
    """The request is one that the document describes, with all that it must have, and nothing else."""
    operation = DOCUMENT["paths"][exchange.pattern][exchange.verb]
    described = {(each["in"], each["name"]): each for each in operation.get("parameters", [])}
    given = {("path", name): value for name, value in exchange.path.items()}
    given |= {("query", name): value for name, value in exchange.query.items()}
    assert {place for place, each in described.items() if each.get("required")} <= given.keys() <= described.keys()
    for place, value in given.items():
        validate(value, described[place]["schema"])
    if "requestBody" in operation:
        validate(orjson.loads(exchange.asked), operation["requestBody"]["content"][exchange.media_type]["schema"])
    else:
        assert exchange.asked == b""
    assert exchange.authorization == "Bearer rehearsal"
    assert exchange.accept == "application/json"


def validate(said: object, schema: dict[str, object]) -> None:
    """It is as one of the document's schemas has it."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(said)


def resolve(part: dict[str, object]) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    """What a `$ref` points to."""
    found: object = part
    if "$ref" in part:
        found = DOCUMENT
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found[name]  # type: ignore[index]
    return found  # type: ignore[return-value]


def test_every_schema_is_a_schema_and_every_reference_leads_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = orjson.dumps(DOCUMENT).decode()
    for pointer in {part.split('"')[0] for part in text.split('"$ref":"')[1:]}:
        assert resolve({"$ref": pointer})
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            assert operation["operationId"]
            assert operation["responses"]


def test_key_window_is_published_in_the_unit_and_bounds_of_its_setting() -> None:
    table = Issuer.metadata.tables["issuer"]
    checks = [each for each in table.constraints if isinstance(each, CheckConstraint)]
    found = [re.fullmatch(r"key_window_hours BETWEEN (\d+) AND (\d+)", str(each.sqltext)) for each in checks]
    bounds = next(each for each in found if each)

    assert f"in whole hours, from {bounds[1]} to {bounds[2]}" in DOCUMENT["info"]["description"]
    assert " days" not in DOCUMENT["info"]["description"]


@pytest.mark.parametrize(
    ("fault", "said", "status"),
    [
        ("", CREDIT, 201), ("too_many", CREDIT, 429), ("busy", CREDIT, 503), ("refuse", CREDIT, 422),
        ("", b"not JSON", 400), ("", CREDIT | {"amount_minor": 1.5}, 400), ("", CREDIT | {"name": "x"}, 400),
        ("", CREDIT | {"reference": "A" * 64}, 400), ("", CREDIT | {"currency": "pesos"}, 400),
    ],
)  # fmt: skip
def test_answers_to_a_send_are_as_published(issuer: SimulatedIssuer, fault: str, said: object, status: int) -> None:
    issuer.set_faults({fault: "all"} if fault else {})

    answered = call(issuer, "POST", "/v1/credits", said)

    assert answered[0] == status
    assert_as_published("/v1/credits", "post", *answered)
    assert len(issuer.book()) == (1 if status == 201 else 0)


def test_same_reference_again_is_the_same_credit_and_other_terms_are_a_conflict(issuer: SimulatedIssuer) -> None:
    first = call(issuer, "POST", "/v1/credits", CREDIT)
    again = call(issuer, "POST", "/v1/credits", CREDIT)
    other = call(issuer, "POST", "/v1/credits", CREDIT | {"amount_minor": 1})

    assert [first[0], again[0], other[0]] == [201, 200, 409]
    assert first[2] == again[2]
    assert_as_published("/v1/credits", "post", *again)
    assert_as_published("/v1/credits", "post", *other)
    assert len(issuer.book()) == 1


def test_answers_to_an_ask_are_as_published(issuer: SimulatedIssuer) -> None:
    absent = call(issuer, "GET", f"/v1/credits/{REFERENCE}")
    call(issuer, "POST", "/v1/credits", CREDIT)
    known = call(issuer, "GET", f"/v1/credits/{REFERENCE}")

    assert [absent[0], known[0]] == [404, 200]
    for answered in (absent, known):
        assert_as_published("/v1/credits/{reference}", "get", *answered)


@pytest.mark.parametrize(
    ("verb", "path", "pattern"),
    [
        ("POST", "/v1/credits", "/v1/credits"), ("GET", f"/v1/credits/{REFERENCE}", "/v1/credits/{reference}"),
        ("GET", "/v1/statement?from=x&to=y", "/v1/statement"),
    ],
)  # fmt: skip
def test_wrong_token_is_told_nothing(issuer: SimulatedIssuer, verb: str, path: str, pattern: str) -> None:
    answered = call(issuer, verb, path, CREDIT if verb == "POST" else None, token="guessed")

    assert answered[0] == 401
    assert_as_published(pattern, verb.lower(), *answered)
    assert issuer.book() == []


def test_statement_lists_the_credits_of_its_period_and_no_others(issuer: SimulatedIssuer) -> None:
    call(issuer, "POST", "/v1/credits", CREDIT)
    made = issuer.book()[0]
    for start, end, expected in (
        (made.credited_at, made.credited_at + timedelta(seconds=1), 1),
        (made.credited_at - timedelta(seconds=1), made.credited_at, 0),
    ):
        answered = call(issuer, "GET", f"/v1/statement?from={instant_text(start)}&to={instant_text(end)}")
        assert_as_published("/v1/statement", "get", *answered)
        assert len(orjson.loads(answered[2])["credits"]) == expected
    bad = call(issuer, "GET", "/v1/statement?from=yesterday&to=today")
    assert bad[0] == 400
    assert_as_published("/v1/statement", "get", *bad)


def test_our_client_reads_a_statement_of_several_pages(issuer: SimulatedIssuer) -> None:
    async def read() -> list[object]:
        async with IssuerClient.open(issuer.url, "rehearsal", calls=20, outgoing=HERE) as client:
            now = datetime.now(UTC)
            period = now - timedelta(hours=1), now + timedelta(hours=1)
            return [credit["reference"] async for credit in client.statement(*period)]

    connection = HTTPConnection(urlsplit(issuer.url).netloc, timeout=10)
    references = [f"{number:016}" for number in range(2_001)]
    for reference in references:
        said = orjson.dumps(CREDIT | {"reference": reference})
        connection.request("POST", "/v1/credits", body=said, headers={"authorization": "Bearer rehearsal"})
        connection.getresponse().read()
    connection.close()

    assert asyncio.run(read()) == references


class SaysNoStatement(SimulatedIssuer):
    """Something else instead."""

    def __init__(self, said: bytes | None, *, status: int = 200) -> None:
        super().__init__()
        self._said, self._status = said, status

    async def _statement(self, request: web.Request) -> web.StreamResponse:
        if self._said is None:
            await asyncio.sleep(10)
        return web.Response(body=self._said, status=self._status)


@pytest.mark.parametrize(
    ("said", "status", "trouble"),
    [
        (b'{"credits":[]}', 500, "http 500"),
        (b"<html>", 200, "JSONDecodeError"),
        (b"[]", 200, "no page of a statement"),
        (b'{"credits":[]}', 200, "no page of a statement"),
        (b'{"credits":[],"next":null}', 200, "of another time than was asked for"),
        (
            b'{"from":"2026-01-01T00:00:00Z","to":"2026-01-31T00:00:00Z","credits":[],"next":null}', 200,
            "of another time than was asked for",
        ),
        (
            b'{"from":"2025-12-31T18:00:00-06:00","to":"2026-02-01T00:00:00Z","credits":[],"next":"a"}', 200,
            "a page that leads to itself",
        ),
        (b'{"credits":[],"next":5}', 200, "a next page that is no text"),
        (b'{"credits":null,"next":null}', 200, "no list of credits"),
        (b'{"credits":[{},"x"],"next":null}', 200, "no list of credits"),
        (b'{"credits":["' + b"x" * STATEMENT_PAGE_BYTES_MAX + b'"]}', 200, "JSONDecodeError"),
        (None, 200, "TimeoutError"),
    ],
)  # fmt: skip
def test_what_is_no_statement_ends_with_an_error_that_says_no_more_than_its_kind(
    monkeypatch: pytest.MonkeyPatch, said: bytes | None, status: int, trouble: str
) -> None:
    monkeypatch.setattr(http, "ISSUER_PAGE_S", 0.5)

    async def read(issuer: SimulatedIssuer) -> None:
        async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
            async for _ in client.statement(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)):
                pass

    with SaysNoStatement(said, status=status) as issuer, pytest.raises(NoStatement, match=f"^{trouble}$"):
        asyncio.run(read(issuer))


class NeverEnds(SimulatedIssuer):
    """Each page leads to the next, and has no credit, so that nothing of what it says seems wrong."""

    asked = 0

    async def _statement(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        after = int(request.query.get("after", "0"))
        period = {name: request.query[name] for name in ("from", "to")}
        return web.json_response({**period, "credits": [], "next": str(after + 1)})


@pytest.mark.parametrize(
    ("limit", "most", "trouble"),
    [("STATEMENT_PAGES_MAX", 20, "more than 20 pages; "), ("STATEMENT_BYTES_MAX", 500, "more than 0 MiB; ")],
)
def test_statement_whose_pages_never_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int, trouble: str
) -> None:
    """They would fill the disk, or keep a command for ever."""
    monkeypatch.setattr(http, limit, most)

    async def read(issuer: SimulatedIssuer) -> None:
        async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
            async for _ in client.statement(datetime.now(UTC), datetime.now(UTC)):
                pass

    with NeverEnds() as issuer:
        with pytest.raises(NoStatement, match=f"^{trouble}ask for a shorter time$"):
            asyncio.run(read(issuer))
        assert issuer.asked <= 20


def test_statement_of_as_many_pages_as_there_may_be_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "PAGE", 1)
    monkeypatch.setattr(http, "STATEMENT_PAGES_MAX", 3)
    now = datetime.now(UTC)

    async def read(issuer: SimulatedIssuer) -> int:
        async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
            for number in range(3):
                await client.send(Credit(f"{number}" * 64, 100, "MXN"), until=steady_s() + 5)
            return len([each async for each in client.statement(now - timedelta(hours=1), now + timedelta(hours=1))])

    with SimulatedIssuer(token="rehearsal") as issuer:
        assert asyncio.run(read(issuer)) == 3


def test_our_client_asks_as_published_and_each_answer_that_it_gets_is_as_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated, "PAGE", 1)
    with Listening() as issuer:
        asyncio.run(_say_everything(issuer))

    for each in issuer.exchanges:
        assert_asked_as_published(each)
        assert_as_published(each.pattern, each.verb, each.status, each.headers, each.said)
    assert {(each.verb, each.pattern, each.status) for each in issuer.exchanges} == {
        *(("post", "/v1/credits", status) for status in (200, 201, 409, 422, 429, 503)),
        ("get", "/v1/credits/{reference}", 200), ("get", "/v1/credits/{reference}", 404), ("get", "/v1/statement", 200),
    }  # fmt: skip
    assert any("after" in each.query for each in issuer.exchanges)


async def _say_everything(issuer: SimulatedIssuer) -> None:
    """Each kind of call that despensa makes, to each kind of answer."""
    keys = KeyRing("reference", (Key(1, b"r" * KEY_BYTES),))
    one, other, third = (
        Credit(credit_reference(keys, programme="p", registration_id=name, cycle="2026-12"), AMOUNT_MINOR_MAX, "MXN")
        for name in ("1", "2", "3")
    )
    async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
        for fault in ("too_many", "busy", "refuse"):
            issuer.set_faults({fault: "all"})
            await client.send(third, until=steady_s())
        issuer.set_faults({})
        for credit in (one, one, replace(one, amount_minor=1), other):
            await client.send(credit, until=steady_s())
        for credit in (one, third):
            await client.ask(credit, until=steady_s())
        now = datetime.now(UTC)
        assert len([each async for each in client.statement(now - timedelta(hours=1), now + timedelta(hours=1))]) == 2

"""The published protocol: the simulated issuer answers as it says, and our client asks as it says."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from models.columns import instant_text
from workers.issuers.http import IssuerClient
from workers.issuers.simulated import SimulatedIssuer

DOCUMENT = orjson.loads(Path("deploy/issuer-openapi.json").read_bytes())
REFERENCE = "a1" * 32
CREDIT = {"reference": REFERENCE, "amount_minor": 55_000, "currency": "MXN"}


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
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(orjson.loads(body))
    assert headers["content-type"].startswith("application/json")
    for name, header in response.get("headers", {}).items():
        Draft202012Validator(header["schema"]).validate(headers[name.lower()])


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
        async with IssuerClient.open(issuer.url, "rehearsal", calls=20) as client:
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

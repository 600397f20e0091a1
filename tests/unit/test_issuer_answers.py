"""Which answer of an issuer means what: the table of workers.issuers.answers, row by row."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.deadlines import RETRY_AFTER_S_MAX
from workers.issuers.answers import (
    ANSWER_BYTES_MAX,
    Absent,
    Answer,
    Credit,
    Credited,
    Rejected,
    Response,
    TryLater,
    Unknown,
    of_ask,
    of_send,
)

CREDIT = Credit("a1" * 32, 55_000, "MXN")
GOOD = {
    "status": "credited",
    "reference": CREDIT.reference,
    "amount_minor": 55_000,
    "currency": "MXN",
    "credit_id": "c-1",
}


def response(code: int, retry_after: str = "", /, **said: object) -> Response:
    """An answer of this status that says this."""
    return Response(code, orjson.dumps(said), retry_after)


@pytest.mark.parametrize("status", [200, 201])
def test_credit_that_echoes_all_of_ours_is_credited(status: int) -> None:
    assert of_send(response(status, **GOOD), CREDIT) == Credited("c-1")


def test_asked_an_issuer_confirms_or_says_that_there_is_none() -> None:
    assert of_ask(response(200, **GOOD), CREDIT) == Credited("c-1")
    assert of_ask(response(404, status="absent", reference=CREDIT.reference), CREDIT) == Absent()


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_minor": 55_001}, {"amount_minor": 55_000.0}, {"amount_minor": "55000"}, {"amount_minor": True},
        {"currency": "USD"}, {"currency": None}, {"reference": "b2" * 32}, {"status": "ok"}, {"credit_id": ""},
        {"credit_id": 7}, {"credit_id": "María Núñez"},
    ],
)  # fmt: skip
def test_credit_that_contradicts_ours_is_unknown(wrong: dict[str, object]) -> None:
    assert isinstance(of_send(response(201, **GOOD | wrong), CREDIT), Unknown)
    assert isinstance(of_ask(response(200, **GOOD | wrong), CREDIT), Unknown)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_credit_that_leaves_something_out_is_unknown(missing: str) -> None:
    said = {name: value for name, value in GOOD.items() if name != missing}

    assert isinstance(of_send(response(201, **said), CREDIT), Unknown)


def test_refusal_needs_our_reference_and_a_reason() -> None:
    refusal = {"status": "refused", "reference": CREDIT.reference, "reason": "account_closed"}

    assert of_send(response(422, **refusal), CREDIT) == Rejected("account_closed")
    for wrong in ({"reference": "b2" * 32}, {"reason": "Calle 5, Tijuana"}, {"reason": None}, {"status": "credited"}):
        assert isinstance(of_send(response(422, **refusal | wrong), CREDIT), Unknown)
    assert isinstance(of_send(Response(422, b""), CREDIT), Unknown)
    assert isinstance(of_ask(response(422, **refusal), CREDIT), Unknown)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"credited", b"\xff\xfe", b"[]", b'"credited"', b"null", b"{", b"NaN", b'{"amount_minor":Infinity}',
        b'{"status":"refused",' + orjson.dumps(GOOD)[1:], b"[" * 100_000, b" " * (ANSWER_BYTES_MAX + 1),
        orjson.dumps(GOOD) + b" " * ANSWER_BYTES_MAX, b"9" * 10_000,
    ],
)  # fmt: skip
def test_body_that_is_no_plain_object_is_unknown(body: bytes) -> None:
    assert isinstance(of_send(Response(201, body), CREDIT), Unknown)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 408, 409, 410, 500, 502, 503, 504])
def test_anything_else_is_unknown_to_a_send(status: int) -> None:
    """A bare 503 or 404 may be a proxy's, with the issuer at work behind it."""
    assert of_send(Response(status, b""), CREDIT) == Unknown(f"http {status}")
    assert of_send(response(status, **GOOD), CREDIT) == Unknown(f"http {status}")


def test_only_an_explicit_503_and_429_ask_for_patience() -> None:
    explicit = response(503, "7", status="try_later", reference=CREDIT.reference)

    assert of_send(explicit, CREDIT) == of_ask(explicit, CREDIT) == TryLater("http 503", 7)
    assert of_send(Response(429, b"", "3"), CREDIT) == TryLater("http 429", 3)
    assert isinstance(of_send(response(503, "7", status="try_later", reference="b2" * 32), CREDIT), Unknown)


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [("", 0), ("-1", 0), ("1.5", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("٣", 0), ("99999", RETRY_AFTER_S_MAX)],
)
def test_wait_that_is_asked_for_has_bounds(said: str, waits_s: int) -> None:
    assert of_send(Response(429, b"", said), CREDIT) == TryLater("http 429", waits_s)


@given(
    status=st.integers(100, 599),
    body=st.one_of(
        st.binary(max_size=200),
        st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(["credited", "refused", "absent", "try_later", 1]),
                "reference": st.sampled_from([CREDIT.reference, "b2" * 32]),
                "amount_minor": st.sampled_from([55_000, 1, 55_000.0, "55000"]),
                "currency": st.sampled_from(["MXN", "USD"]),
                "credit_id": st.sampled_from(["c-1", "", 1]),
                "reason": st.sampled_from(["account_closed", ""]),
            },
        ).map(orjson.dumps),
    ),
)
def test_nothing_but_a_whole_echo_is_ever_credited(status: int, body: bytes) -> None:
    """Never raises, and no other answer, however it is put together, passes for a credit, a refusal or an absence."""
    answers: list[Answer] = [of_send(Response(status, body), CREDIT), of_ask(Response(status, body), CREDIT)]

    said: dict[str, object] = orjson.loads(body) if body.startswith(b"{") and body.endswith(b"}") else {}
    for answer in answers:
        if isinstance(answer, Credited):
            assert {name: said[name] for name in GOOD} == GOOD
            assert status in (200, 201)
        if isinstance(answer, Rejected | Absent):
            assert said["reference"] == CREDIT.reference

"""Messages: what scheduler and workers, who are strangers, must agree on, and a decoder that never raises."""

import inspect
from dataclasses import fields
from pathlib import Path

import dramatiq
import orjson
import pytest
from dramatiq.brokers.stub import StubBroker
from hypothesis import given
from hypothesis import strategies as st

from models.broker import MESSAGE_BYTES_MAX, StrictEncoder, embedded_client
from models.log import Log
from models.messages import ALL_MESSAGES, QUARANTINE_ACTOR, VERSION, CreditBatch, arguments
from models.settings import Settings
from workers import actors
from workers.attempts import AttemptLog
from workers.serve import worker_broker
from workers.watchdog import Watchdog


def test_actor_parameters_are_the_message_fields() -> None:
    broker = StubBroker(middleware=[])
    actors.declare(broker, None)  # type: ignore[arg-type]  # nothing is called

    assert {message.ACTOR for message in ALL_MESSAGES} == set(broker.actors) - {QUARANTINE_ACTOR}
    for message in ALL_MESSAGES:
        actor = broker.actors[message.ACTOR]
        assert [field.name for field in fields(message)] == list(inspect.signature(actor.fn).parameters)
        assert actor.queue_name == message.QUEUE


def test_workers_have_no_middleware_but_ours() -> None:
    """A retry of Dramatiq's is lost where Redis refuses it; its time limit falls between an answer and its commit."""
    settings = Settings(home=Path("/nowhere"), database_url="", redis_url="", namespace="unit")

    broker = worker_broker(embedded_client(), settings, Log.of_service("unit", file=None))

    assert [type(each) for each in broker.middleware] == [Watchdog, AttemptLog]


ID = "0d5a7c2e-8f1b-4c3d-9e6f-7a8b9c0d1e2f"


def a_message(**changes: object) -> dict[str, object]:
    """As Redis holds it."""
    message: dramatiq.Message[object] = dramatiq.Message(
        queue_name=CreditBatch.QUEUE, actor_name=CreditBatch.ACTOR, args=(), kwargs=arguments(CreditBatch(7)),
        options={"version": 1, "redis_message_id": ID},
    )  # fmt: skip
    return {**orjson.loads(orjson.dumps(message.asdict())), **changes}


def test_our_own_message_is_accepted() -> None:
    decoded = StrictEncoder().decode(orjson.dumps(a_message()))

    assert (decoded["actor_name"], decoded["kwargs"]) == ("credit_batch", {"batch_id": 7})


@pytest.mark.parametrize("version", [VERSION - 1, VERSION])
def test_message_of_this_version_and_of_the_one_before_is_accepted(version: int) -> None:
    decoded = StrictEncoder().decode(orjson.dumps(a_message(options={"version": version, "redis_message_id": ID})))

    assert (decoded["actor_name"], decoded["kwargs"]) == ("credit_batch", {"batch_id": 7})


@pytest.mark.parametrize("version", [VERSION - 2, VERSION + 1])
def test_message_of_any_other_version_goes_to_quarantine(version: int) -> None:
    """It may mean something else by the same words. Dispatch sends again what it was about."""
    decoded = StrictEncoder().decode(orjson.dumps(a_message(options={"version": version, "redis_message_id": ID})))

    assert (decoded["actor_name"], decoded["kwargs"]["rule"]) == (QUARANTINE_ACTOR, "unknown version")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"actor_name": "os.system"}, "unknown actor"),
        ({"actor_name": ["credit_batch"]}, "unknown actor"),
        ({"kwargs": {"batch_id": "7"}}, "an id that is no id"),
        ({"kwargs": {"batch_id": True}}, "an id that is no id"),
        ({"kwargs": {"batch_id": -7}}, "an id that is no id"),
        ({"kwargs": {"batch_id": 2**70}}, "an id that is no id"),
        ({"kwargs": {"batch_id": 7, "amount": 1}}, "wrong arguments"),
        ({"kwargs": {}}, "wrong arguments"),
        ({"args": [7]}, "wrong arguments"),
        ({"options": {"version": 99, "redis_message_id": ID}}, "unknown version"),
        ({"options": {"version": True, "redis_message_id": ID}}, "unknown version"),
        ({"options": {"version": 1, "redis_message_id": ID, "pipe_target": {}}}, "unknown options"),
        ({"options": {"version": 1, "redis_message_id": "Juana Núñez"}}, "a name that is no id"),
        ({"message_id": "Juana Núñez, Calle 5"}, "a name that is no id"),
        ({"message_id": 7}, "a name that is no id"),
        ({"options": []}, "unknown options"),
        ({"queue_name": "notify"}, "wrong queue"),
        ({"more": 1}, "wrong fields"),
    ],
)
def test_foreign_message_goes_to_quarantine_with_the_rule_it_broke(changes: dict[str, object], rule: str) -> None:
    import json

    decoded = StrictEncoder().decode(json.dumps(a_message(**changes)).encode())

    assert decoded["actor_name"] == QUARANTINE_ACTOR
    assert decoded["kwargs"]["rule"] == rule


@given(
    st.binary(max_size=200)
    | st.just(b"{" * (MESSAGE_BYTES_MAX + 1))
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: __import__("json").dumps(value).encode())
)
def test_decoder_never_raises(data: bytes) -> None:
    assert StrictEncoder().decode(data)["actor_name"] == QUARANTINE_ACTOR

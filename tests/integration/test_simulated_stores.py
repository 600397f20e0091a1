"""Each fault of a simulated store, met by a real delivery."""

from collections.abc import Iterator

import pytest

from models.errors import RefusedInput
from models.keys import KEY_BYTES, Key, KeyRing, store_secret
from tests.fakes import HERE
from workers.stores import webhook
from workers.stores.simulated import FAULTS, Answered, SimulatedStores
from workers.stores.webhook import Answer, Delivered, Envelope, Gone, TryLater, deliver

KEYS = KeyRing("webhook", (Key(1, b"w" * KEY_BYTES),))
SECRET = store_secret(KEYS, store_id="a", version=1)
#: Long enough for this host, short enough for a test that waits for it to pass.
TIMEOUT_S = 0.5


@pytest.fixture
def stores() -> Iterator[SimulatedStores]:
    """Verifying stores without faults."""
    with SimulatedStores(secrets={"a": [SECRET], "b": [SECRET]}, seed=7) as simulated:
        yield simulated


def send(stores: SimulatedStores, *, store: str = "a", webhook_id: str = "n_1", secret: str = SECRET) -> Answer:
    return deliver(Envelope(stores.url_of(store), webhook_id, b'{"type":"test"}', [secret]), HERE)


def test_store_without_faults_accepts_and_remembers(stores: SimulatedStores) -> None:
    assert send(stores) == Delivered()

    assert [(each.store, each.webhook_id, each.body) for each in stores.accepted()] == [
        ("a", "n_1", b'{"type":"test"}')
    ]
    assert stores.duplicates() == 0


def test_same_id_again_is_a_duplicate_not_another_notice(stores: SimulatedStores) -> None:
    send(stores)
    send(stores)
    send(stores, webhook_id="n_2")

    assert [each.times for each in stores.accepted("a")] == [2, 1]
    assert stores.duplicates("a") == 1


def test_wrong_signature_is_401_and_not_accepted(stores: SimulatedStores) -> None:
    other = store_secret(KEYS, store_id="other", version=1)

    assert send(stores, secret=other) == TryLater("http 401")
    assert stores.accepted() == []


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("error:1", TryLater("http 500")),
        ("down:1", TryLater("http 500")),
        ("refuse:1", TryLater("connection failed")),
        ("garbage:1", TryLater("connection failed")),
        ("redirect:1", TryLater("http 302")),
        ("gone:1", Gone()),
    ],
)
def test_counted_fault_ends_and_the_store_accepts(stores: SimulatedStores, fault: str, answer: Answer) -> None:
    stores.set_fault("a", fault)

    assert send(stores) == answer
    assert stores.accepted() == []
    assert send(stores) == Delivered()


def test_fault_without_a_number_never_ends(stores: SimulatedStores) -> None:
    stores.set_fault("a", "down")

    assert {send(stores) for _ in range(3)} == {TryLater("http 500")}


def test_store_that_hangs_ends_in_a_timeout(stores: SimulatedStores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "STORE_CALL_S", TIMEOUT_S)
    stores.set_fault("a", "hang:1")

    assert send(stores) == TryLater("timeout")
    assert stores.accepted() == []


def test_late_store_has_accepted_what_the_sender_sends_again(
    stores: SimulatedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that did not come is not a "no": the store drops the second by its id."""
    monkeypatch.setattr(webhook, "STORE_CALL_S", TIMEOUT_S)
    stores.set_fault("a", "late:1")

    assert send(stores) == TryLater("timeout")
    assert send(stores) == Delivered()
    assert [each.times for each in stores.accepted()] == [2]


def test_slow_store_accepts(stores: SimulatedStores) -> None:
    stores.set_fault("a", "slow:0")

    assert send(stores) == Delivered()


def test_fault_of_one_store_touches_no_other(stores: SimulatedStores) -> None:
    stores.set_fault("a", "down")

    assert send(stores, store="b") == Delivered()


def test_star_is_for_stores_without_a_fault_of_their_own() -> None:
    with SimulatedStores({"*": "down", "b": "ok"}) as stores:
        assert send(stores) == TryLater("http 500")
        assert send(stores, store="b") == Delivered()


def test_chance_is_the_same_for_the_same_seed() -> None:
    def outcomes(seed: int) -> list[Answer]:
        with SimulatedStores({"*": "flaky:50"}, seed=seed) as stores:
            return [send(stores, webhook_id=f"n_{number}") for number in range(20)]

    first = outcomes(1)

    assert first == outcomes(1)
    assert {type(answer) for answer in first} == {Delivered, TryLater}
    assert first != outcomes(2)


def test_watcher_sees_each_request() -> None:
    seen: list[Answered] = []
    with SimulatedStores({"a": "error:1"}, watch=seen.append) as stores:
        send(stores)
        send(stores)

    assert [(each.outcome, each.status) for each in seen] == [("error", 500), ("accepted", 204)]


def test_received_is_json_without_secrets(stores: SimulatedStores) -> None:
    send(stores)

    assert stores.as_json() == {
        "stores": {
            "a": {
                "accepted": 1,
                "duplicates": 0,
                "refused": 0,
                "notices": [{"webhook_id": "n_1", "times": 1, "body": {"type": "test"}}],
            }
        }
    }


@pytest.mark.parametrize("fault", ["explode", "error", "slow", "error:x", "error:-1", "flaky"])
def test_unknown_fault_is_refused(fault: str) -> None:
    with pytest.raises(RefusedInput):
        SimulatedStores({"a": fault})


def test_taken_port_is_refused(stores: SimulatedStores) -> None:
    with pytest.raises(RefusedInput, match="cannot be used"):
        SimulatedStores(port=stores.port).start()


def test_every_fault_is_explained() -> None:
    assert set(FAULTS) == {
        "ok", "error", "down", "refuse", "hang", "slow", "late", "gone", "garbage", "redirect", "flaky",
    }  # fmt: skip

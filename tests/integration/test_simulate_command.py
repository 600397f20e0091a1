"""`simulate stores` and `simulate issuer` as processes: what it prints, what it answers, how it ends."""

import asyncio
import re
import time
import urllib.request
from pathlib import Path

import orjson
import pytest

from console.simulate import parse_faults
from models.errors import RefusedInput
from tests.commands import despensa, end, kill, start
from tests.fakes import HERE
from workers.issuers.answers import Answer, Credit, Credited, Unknown
from workers.issuers.http import IssuerClient
from workers.stores.webhook import Delivered, Envelope, TryLater, deliver

SECRET = "whsec_" + "c2VjcmV0" * 4


def test_rehearsal_shows_each_request_and_ends_with_a_summary(tmp_path: Path) -> None:
    process = start(
        *("simulate", "stores", "--port", "0", "--fault", "a=error:1", "--json"),
        environment={"DESPENSA_HOME": str(tmp_path)},
    )
    try:
        assert process.stderr is not None
        found = re.search(r"(http://127\.0\.0\.1:\d+)/stores", process.stderr.readline())
        assert found is not None
        url = found[1]
        answers = [deliver(Envelope(f"{url}/stores/a/notices", "n_1", b"{}", [SECRET]), HERE) for _ in range(3)]
        with urllib.request.urlopen(f"{url}/received") as response:  # noqa: S310  # its own server
            received = orjson.loads(response.read())
        process.terminate()
        ended = end(process)
    finally:
        kill(process)

    assert answers == [TryLater("http 500"), Delivered(), Delivered()]
    assert received["stores"]["a"]["accepted"] == 1
    assert ended.code == 0
    assert ended.json == received
    assert ended.err.splitlines() == ["a  n_1  500  error", "a  n_1  204  accepted", "a  n_1  204  again"]


def test_rehearsed_issuer_keeps_a_book_and_says_in_the_end_what_it_credited(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("rehearsal\n")
    process = start(
        *("simulate", "issuer", "--port", "0", "--fault", "error_after=1", "--token-file", str(token)),
        environment={"DESPENSA_HOME": str(tmp_path)},
    )
    try:
        assert process.stderr is not None
        found = re.search(r"(http://127\.0\.0\.1:\d+);", process.stderr.readline())
        assert found is not None
        credit = Credit("a1" * 32, 123_456, "MXN")
        answers = asyncio.run(_send_twice_and_ask(found[1], credit))
        with urllib.request.urlopen(f"{found[1]}/book") as response:  # noqa: S310  # its own server
            book = orjson.loads(response.read())
        process.terminate()
        ended = end(process)
    finally:
        kill(process)

    assert answers == [Unknown("http 500"), Credited("sim-1"), Credited("sim-1")]
    assert (book["credits"], book["doubled"], book["total_minor"]) == (1, 0, 123_456)
    assert (ended.code, ended.out) == (0, "credited 1: 1,234.56 MXN; 0 doubled; 3 requests\n")
    assert ended.err.splitlines() == [
        "POST  a1a1a1a1a1a1  500  error_after", "POST  a1a1a1a1a1a1  200  known", "GET  a1a1a1a1a1a1  200  known",
    ]  # fmt: skip


def test_fault_that_is_none_is_refused_before_anything_listens(tmp_path: Path) -> None:
    ended = despensa("simulate", "issuer", "--fault", "lost=5%", environment={"DESPENSA_HOME": str(tmp_path)})

    assert ended.code == 2
    assert "lost=5% is no fault" in ended.err
    assert "lost_after" in ended.err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--fault", "late=5%"], "the fault late does nothing without --visible-after"),
        (["--fault", "slow=5%", "--slow", "0"], "the fault slow does nothing without --slow"),
        (["--visible-after", "10"], "--visible-after does nothing without the fault late"),
    ],
)
def test_rehearsal_of_what_would_not_happen_is_refused(tmp_path: Path, typed: list[str], said: str) -> None:
    ended = despensa("simulate", "issuer", *typed, environment={"DESPENSA_HOME": str(tmp_path)})

    assert ended.code == 2
    assert said in ended.err


async def _send_twice_and_ask(url: str, credit: Credit) -> list[Answer]:
    until = time.monotonic() + 10
    async with IssuerClient.open(url, "rehearsal", calls=1, outgoing=HERE) as client:
        sent = [await client.send(credit, until=until) for _ in range(2)]
        return [*sent, await client.ask(credit, until=until)]


@pytest.mark.parametrize("typed", [["a"], ["=down"], ["a=ok", "a=down"]])
def test_fault_without_a_store_or_twice_is_refused(typed: list[str]) -> None:
    with pytest.raises(RefusedInput):
        parse_faults(typed)

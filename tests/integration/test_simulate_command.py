"""`simulate stores` as a process: what it prints, what it answers, how it ends."""

import re
import urllib.request
from pathlib import Path

import orjson
import pytest

from console.simulate import parse_faults
from models.errors import RefusedInput
from tests.commands import end, kill, start
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
        answers = [deliver(Envelope(f"{url}/stores/a/notices", "n_1", b"{}", [SECRET])) for _ in range(3)]
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


@pytest.mark.parametrize("typed", [["a"], ["=down"], ["a=ok", "a=down"]])
def test_fault_without_a_store_or_twice_is_refused(typed: list[str]) -> None:
    with pytest.raises(RefusedInput):
        parse_faults(typed)

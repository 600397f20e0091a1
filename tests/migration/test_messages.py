"""Messages of the release before, and of the next: what waits in Redis while workers and schedulers are upgraded."""

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from models import broker
from models.messages import CREDIT_QUEUE, VERSION
from models.tables import Run
from scheduler.dispatch import dispatch
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.commands import running
from tests.installation import Installation
from tests.ledger import assert_books_agree, expire_stamps
from tests.waiting import until

FAMILIES, BATCHES = 40, 10


@pytest.fixture
def run(installation: Installation) -> Run:
    """Released; nothing was sent of it."""
    programme = a_programme(installation.database)
    families(installation.database, programme, FAMILIES, location=TIJUANA)
    return a_released_run(installation.database, programme, batch_lines=FAMILIES // BATCHES)


@contextmanager
def at_work(installation: Installation, lines: list[dict[str, object]]) -> Iterator[None]:
    """A worker, as its profile has it; what it logged is in `lines` afterwards."""
    if installation.distributed:
        with running("worker", environment=installation.environment) as worker:
            yield
        lines += [orjson.loads(line) for line in worker.output.splitlines()]
    else:
        with installation.workers():
            yield
        lines += installation.lines()


def in_redis(installation: Installation) -> int:
    """Messages that wait, or are in a worker's hand."""
    return int(installation.broker.client.hlen(f"{installation.settings.namespace}:{CREDIT_QUEUE}.msgs"))


@pytest.mark.long
def test_queue_left_full_by_the_release_before_is_worked_off(
    installation: Installation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scheduler is at work: it is these messages that are understood."""
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(broker, "VERSION", VERSION - 1)
    assert dispatch(installation.database, installation.broker) == in_redis(installation) == BATCHES

    with at_work(installation, lines):
        until(lambda: in_redis(installation) == 0, what="the queue to be empty")

    assert len(vouchers_of(installation.database, run)) == FAMILIES
    assert "message.quarantined" not in {line["event"] for line in lines}


@pytest.mark.long
def test_messages_of_the_next_release_harm_nothing_and_are_sent_again(
    installation: Installation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that was upgraded before the workers; then it goes back, or they follow."""
    lines: list[dict[str, object]] = []
    with monkeypatch.context() as next_release:
        next_release.setattr(broker, "VERSION", VERSION + 1)
        assert dispatch(installation.database, installation.broker) == BATCHES

    with at_work(installation, lines):
        until(lambda: in_redis(installation) == 0, what="the quarantine")
        assert vouchers_of(installation.database, run) == []
        assert [(batch.state, batch.attempts) for batch in batches_of(installation.database, run)] == [
            ("open", 0)
        ] * BATCHES
        assert dispatch(installation.database, installation.broker) == 0
        expire_stamps(installation.database)
        assert dispatch(installation.database, installation.broker) == BATCHES
        until(lambda: in_redis(installation) == 0, what="the queue to be empty")

    assert len(vouchers_of(installation.database, run)) == FAMILIES
    assert [line["rule"] for line in lines if line["event"] == "message.quarantined"] == ["unknown version"] * BATCHES
    assert_books_agree(installation.database)

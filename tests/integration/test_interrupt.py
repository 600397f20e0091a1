"""A command that was told to end does, also where the exception of the signal was lost."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from console import interrupt
from console.entry import Entry
from console.follow import follow
from scheduler.follow import Chosen
from tests.builders import TIJUANA, a_programme, a_released_run, families
from tests.installation import Installation


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers and memory of a process that has just begun."""
    monkeypatch.setattr(interrupt.Told, "seen", False)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    interrupt.end_when_told()
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("untold")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_lost_exception_of_a_signal_is_raised_again_where_it_waits(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """No worker runs: it would wait until its time-out."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    a_released_run(installation.database, programme)
    ticker = installation.ticker()
    work = type(ticker).work
    worked: list[int] = []

    def losing(*arguments: object) -> object:
        worked.append(1)
        with suppress(KeyboardInterrupt):  # as a destructor does
            signal.raise_signal(number)
        return work(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(ticker), "work", losing)
    desk = Entry(installation.settings, installation.database, installation.log)
    with pytest.raises(KeyboardInterrupt):
        follow(desk, ticker, Chosen(), since=datetime.now(UTC), timeout_s=60, now=installation.clock)

    assert len(worked) == 1

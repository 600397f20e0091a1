"""The long-lived loop of `despensa scheduler`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from scheduler.tick import Ticker, TickResult

#: Pause between ticks that found nothing to do.
IDLE_S = 1.0


def tick_until_stopped(ticker: Ticker, *, side_by_side: bool) -> None:
    """Tick until `ticker.stopping` is set. Raises what a tick raises: a fault of the program ends it.

    `side_by_side` decides in one thread and works in another, so that workers do not run dry while a city of a
    million families is planned, or latecomers are looked for. On SQLite nothing is won by it: it has one writer.
    """
    if not side_by_side:
        _repeat(ticker, ticker.tick)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="work") as beside:
        work = beside.submit(_repeat, ticker, ticker.work)
        _repeat(ticker, ticker.decide)
    work.result()


def _repeat(ticker: Ticker, step: Callable[[], TickResult]) -> None:
    try:
        while not ticker.stopping.is_set():
            if not step().busy:
                ticker.stopping.wait(IDLE_S)
    finally:
        ticker.stopping.set()  # the one does not go on without the other

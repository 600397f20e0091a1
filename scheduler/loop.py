"""The long-lived loop of `despensa scheduler`."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from models.deadlines import LEASE_S
from models.errors import DespensaError, Exit, Restored
from models.events import TickFailed
from scheduler.tick import Ticker, TickResult

#: Pause between ticks: short after one that found something to do, so that workers do not run dry; then longer and
#: longer, up to the second.
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 1.0
#: How long the calling thread sleeps at a time.
LOOK_UP_S = 1.0


def tick_until_stopped(ticker: Ticker, *, side_by_side: bool) -> None:
    """Tick until `ticker.stopping` is set. Raises what a tick raises: a fault of the program ends it.

    `side_by_side` decides in one thread and works in another, so that workers do not run dry while a city of a
    million families is planned, or latecomers are looked for. On SQLite nothing is won by it: it has one writer.

    The calling thread only waits: a signal is handled also while a statement of an hour is under way. Where one half
    has failed, and the other one does not end within a lease, the process ends with the exit code of what failed.
    """
    steps = (ticker.decide, ticker.work) if side_by_side else (ticker.tick,)
    with ThreadPoolExecutor(len(steps), thread_name_prefix="tick") as threads:
        halves = [threads.submit(_repeat, ticker, step) for step in steps]
        # In slices: a signal that comes just before the thread falls asleep is handled only once it wakes up.
        while not ticker.stopping.wait(LOOK_UP_S):
            pass
        if wait(halves, timeout=LEASE_S).not_done:
            os._exit(int(_exit_code([half.exception() for half in halves if half.done()])))
    for half in halves:
        half.result()


def _exit_code(faults: Sequence[BaseException | None]) -> Exit:
    """Of the halves that have ended."""
    fault = next((fault for fault in faults if fault is not None), None)
    if fault is None:
        return Exit.DONE
    return fault.exit_code if isinstance(fault, DespensaError) else Exit.FAILED


def _repeat(ticker: Ticker, step: Callable[[], TickResult]) -> None:
    pause_s = PAUSE_MIN_S
    try:
        while not ticker.stopping.is_set():
            pause_s = PAUSE_MIN_S if step().busy else min(2 * pause_s, PAUSE_MAX_S)
            ticker.stopping.wait(pause_s)
    except Restored:  # it is told already
        raise
    except Exception as error:  # raised again; but only once the other half has ended, or never
        ticker.tell(TickFailed(step=step.__name__, error=type(error).__name__, sqlstate=""))
        raise
    finally:
        ticker.stopping.set()  # the one does not go on without the other

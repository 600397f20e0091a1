"""Waiting for a condition, with a limit: the only way in which a test waits."""

import threading
import time
from collections.abc import Callable

POLL_S = 0.02


def until(condition: Callable[[], object], *, what: str, within_s: float = 30, poll_s: float = POLL_S) -> None:
    """Return when `condition` holds. Raises TimeoutError naming what did not happen."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s} s for {what}")
        pause.wait(poll_s)


def pass_really(seconds: float) -> None:
    """Real time passes, where what is shown is what happens meanwhile."""
    ends = time.monotonic() + seconds
    until(lambda: time.monotonic() > ends, what="time to pass", within_s=seconds + 5)

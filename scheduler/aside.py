"""What a long-lived scheduler does beside its ticks: in threads of its own, which delay no tick and no end."""

import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from models.events import TickFailed
from scheduler.tick import Ticker


def begin_aside(ticker: Ticker, name: str, step: Callable[[], object], *, every_s: float) -> None:
    """Repeat `step` until the ticker stops. What goes wrong is logged as a step of a tick, and tried again."""
    threading.Thread(target=_repeat, args=(ticker, name, step, every_s), daemon=True, name=name).start()


def _repeat(ticker: Ticker, name: str, step: Callable[[], object], every_s: float) -> None:
    while not ticker.stopping.is_set():
        try:
            step()
        except Exception as error:  # nobody's crediting ends for want of a figure, not even by a defect
            cause = error.orig if isinstance(error, DBAPIError) else error
            sqlstate = str(getattr(cause, "sqlstate", None) or "")
            ticker.tell(TickFailed(step=name, error=type(cause).__name__, sqlstate=sqlstate))
        ticker.stopping.wait(every_s)

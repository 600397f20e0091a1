"""Ctrl-C, and SIGTERM, which means the same: an exception in whatever a command does; and remembered.

An exception that a signal raises can be lost: in a destructor, which ignores it, or in the cleaning up of a driver,
which raises another one over it. A command that waits for hours would then wait on.
"""

import signal
from types import FrameType


class Told:
    """Whether this process was told to end."""

    seen: bool = False


def end_when_told() -> None:
    """From now on, in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def require_untold() -> None:
    """For whoever waits: raises KeyboardInterrupt where it was told to end, and goes on all the same."""
    if Told.seen:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    Told.seen = True
    signal.default_int_handler(number, frame)

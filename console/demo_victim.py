"""The process that the demo kills: it works on the month like any other, and dies in the middle of a credit.

Started as `python -m console.demo_victim HOME CLOCK CREDITS`. It never ends by itself with exit code 0.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def main() -> None:
    """Tick at a standing clock until the kill."""
    from console.demo import demo_entry
    from console.follow import follow
    from console.ticking import ticking
    from scheduler.follow import Chosen

    home, clock_text, credits_before = sys.argv[1:]
    clock = datetime.fromisoformat(clock_text)
    with demo_entry(Path(home)) as desk:
        _die_in_credit(desk.database.engine, int(credits_before))
        with ticking(desk, clock=lambda: clock, workers=True) as ticker:
            follow(desk, ticker, Chosen(), since=datetime.now(UTC), timeout_s=60, now=lambda: clock)
    sys.exit("the run ended before it could be killed")


def _die_in_credit(engine: Any, credits_before: int) -> None:
    """SIGKILL after so many credits, when the next one has its vouchers and not yet its counts."""
    from sqlalchemy import event

    from workers.credit import FINISH_BATCH

    seen = 0

    @event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        if f"-- {FINISH_BATCH.name}:" in statement:
            seen += 1
            if seen > credits_before:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

"""`despensa scheduler` with a clock that is ahead of the host's by as many seconds as a file says: for months in a row.

Leases, stamps and back-off are the database's clock as ever. What is planned is at the payday, and real time passes.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from console.entry import entry
from console.ticking import ticking
from scheduler.loop import tick_until_stopped


def set_ahead(file: Path, seconds: int) -> None:
    """At once, for whoever reads it meanwhile."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(str(seconds))
    fresh.replace(file)


def main(file: Path) -> None:
    """Tick until it is ended. The file is read whenever the scheduler asks what time it is, some times a tick."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=int(file.read_text()))

    with (
        entry(service="despensa-scheduler", to_stdout=True) as desk,
        ticking(desk, clock=now, workers=False) as ticker,
    ):
        tick_until_stopped(ticker, side_by_side=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

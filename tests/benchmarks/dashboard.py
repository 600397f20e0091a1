"""How soon the dashboard shows a month's log, and how soon a line that is written."""

import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from models.events import AttemptFinished, SchedulerSeen
from models.log import Log
from tests.benchmarks.log_file import write_log
from tests.benchmarks.month import Tell
from tests.benchmarks.samples import spread
from tests.benchmarks.site import Site
from tests.dashboards import a_dashboard

#: Lines of a batch of an outside issuer, the smallest there is: the most lines of log for a family.
ISSUER_LINES = 128
#: Lines that are written one after the other, each awaited.
WRITTEN = 30


def dashboard(site: Site, *, families: int, rounds: int, tell: Tell) -> None:
    """From the start of the command to the first answer, and from a line's write to its arrival at a reader."""
    path = site.folder / "dashboard" / "despensa.jsonl"
    path.parent.mkdir(exist_ok=True)
    batches = families // ISSUER_LINES
    write_log(path, lines=batches)
    with Log.to_file(path, "despensa-worker") as log:
        for batch_id in range(batches):
            log.observe(
                AttemptFinished(
                    actor="credit_batch", message_id=f"m{batch_id}", subject_id=batch_id, run_id=1, outcome="credited",
                    duration_ms=30,
                )
            )  # fmt: skip
    lines = sum(1 for _ in path.open("rb"))
    tell(f"{lines} lines, {path.stat().st_size / 1e6:.1f} MB: batches of {ISSUER_LINES} families")
    opened = [_opened_s(path) for _ in range(rounds)]
    tell(f"from the start of the command to the months: {spread(opened, '.2f')} s")
    arrived = sorted(second for _ in range(rounds) for second in _arrived_s(path))
    tell(f"from a line's write to its reader: {spread(arrived, '.2f')} s")


def _opened_s(path: Path) -> float:
    began = time.monotonic()
    with a_dashboard(path) as shown:
        assert shown.ask("/api/months").status == 200
        return time.monotonic() - began


def _arrived_s(path: Path) -> Iterator[float]:
    with a_dashboard(path) as shown, shown.stream("/stream?view=months") as events, Log.to_file(path, "bench") as log:
        next(events)
        for _ in range(WRITTEN):
            written = time.monotonic()
            log.observe(SchedulerSeen(schedulers="", workers=""))
            last = orjson.loads(path.read_bytes().splitlines()[-1])["timestamp"]
            next(event for event in events if event["head"]["last_line_at"] >= last)
            yield time.monotonic() - written

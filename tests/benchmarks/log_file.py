"""A big log file: years of months, sealed and chained as a scheduler would have, and what they come to."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from models.calendar import Cycle
from models.columns import instant_text
from models.events import BatchCredited, Journalled, NoticeDelivered, RunApproved, RunCompleted, RunPlanned, RunReleased
from models.journal import GENESIS, Writer, chain_hash, line
from models.runs import RunFields
from tests.builders import CITIES

#: Of each run: a city of a million families.
BATCHES = 1_000
LINES = 1_000
AMOUNT_MINOR = 80_000
#: Of each run, beside those of its batches.
OTHER_EVENTS = 5
BEGAN = datetime(2026, 12, 1, 20, tzinfo=UTC)
WRITER = Writer("despensa-scheduler", "0.1.0", "host:1")


def write_log(path: Path, *, lines: int) -> int:
    """As many whole runs as give so many lines, one at least. Returns how many vouchers they credited."""
    runs = max(lines // (BATCHES + OTHER_EVENTS), 1)
    seq, prev_hash = 0, GENESIS
    with path.open("wb") as file:
        for run_id in range(1, runs + 1):
            for event in _events(run_id):
                seq += 1
                timestamp, fields = instant_text(BEGAN + timedelta(milliseconds=8 * seq)), event.values()
                prev_hash = chain_hash(prev_hash, seq=seq, event=event.NAME, timestamp=timestamp, fields=fields)
                head = line(event.NAME, timestamp=timestamp, level=event.LEVEL, writer=WRITER)
                file.write(orjson.dumps({**head, **fields, "seq": seq, "hash": prev_hash}) + b"\n")
    return runs * BATCHES * LINES


def _events(run_id: int) -> Iterator[Journalled]:
    location = CITIES[run_id % len(CITIES)][0]
    cycle = str(Cycle(2026, 12).plus(run_id // len(CITIES)))
    of_run = RunFields(
        run_id=run_id, run=f"{cycle}/{location}", programme="northern-mexico", location=location, cycle=cycle, part=1
    )
    count, minor = BATCHES * LINES, BATCHES * LINES * AMOUNT_MINOR
    digest = hashlib.sha256(str(run_id).encode()).hexdigest()
    yield RunPlanned(
        **of_run, location_name=CITIES[run_id % len(CITIES)][1], time_zone="America/Tijuana",
        opens_at=instant_text(BEGAN), late=False, planned=count, planned_minor=minor, currency="MXN",
        batches=BATCHES, held_elsewhere=0,
        digest=digest, operator="despensa",
    )  # fmt: skip
    yield RunApproved(
        **of_run, approval="policy", digest=digest, planned=count, planned_minor=minor, currency="MXN",
        operator="despensa",
    )  # fmt: skip
    yield RunReleased(
        **of_run, planned=count, planned_minor=minor, currency="MXN", batches=BATCHES, operator="despensa"
    )
    for number in range(BATCHES):
        first_id = run_id * 10_000_000 + number * LINES + 1
        yield BatchCredited(
            **of_run, batch_id=run_id * BATCHES + number, first_id=first_id, last_id=first_id + LINES - 1,
            credited=LINES, credited_minor=LINES * AMOUNT_MINOR, currency="MXN", attempt=1,
        )  # fmt: skip
    yield RunCompleted(
        **of_run, state="completed", late=False, planned=count, planned_minor=minor, credited=count,
        credited_minor=minor, cases=0, not_owed=0, notices=1, currency="MXN",
    )  # fmt: skip
    yield NoticeDelivered(**of_run, notice_id=run_id, store=f"nor-{location}-1", number=1, attempts=1)

"""A log as schedulers and workers would write it: sealed, chained, and in the order of a month."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from models.columns import instant_text
from models.events import (
    AttemptFailed,
    AttemptFinished,
    BatchCredited,
    CaseOpened,
    Event,
    Journalled,
    NoticeCreated,
    NoticeDelivered,
    NoticeUndelivered,
    RunApproved,
    RunCompleted,
    RunPlanned,
    RunReleased,
    SchedulerSeen,
    SlotExpected,
    StoreFailed,
    StoreSuspended,
    WorkerSeen,
)
from models.journal import GENESIS, Writer, hash_of_line, observed_line
from models.tables import LINES_PER_RUN

VALUE_MINOR, BATCH_LINES, BATCHES = 720_000, 40, 10
PLANNED = BATCH_LINES * BATCHES
TIJUANA = ("02004", "Tijuana", "America/Tijuana")
JUAREZ = ("08037", "Ciudad Juárez", "America/Ojinaga")
OJINAGA = ("08052", "Ojinaga", "America/Ojinaga")
SCHEDULER = Writer("despensa-scheduler", "0.1.0", "host-a:1204")
WORKER = Writer("despensa-worker", "0.1.0", "host-b:977")


@dataclass
class WrittenLog:
    """Appends lines to a file."""

    path: Path
    seq: int = 0
    prev_hash: str = GENESIS

    def write(self, event: Event, *, ago: timedelta = timedelta(0), writer: Writer = SCHEDULER) -> None:
        """A line of so long ago, sealed if it is of the journal."""
        values = observed_line(event, now=datetime.now(UTC) - ago, writer=writer)
        if isinstance(event, Journalled):
            self.seq += 1
            values["seq"] = self.seq
            self.prev_hash = values["hash"] = hash_of_line(self.prev_hash, values)
        self.write_raw(orjson.dumps(values) + b"\n")

    def write_raw(self, raw: bytes) -> None:
        """Whatever somebody wrote."""
        with self.path.open("ab") as file:
            file.write(raw)

    def rotate(self) -> None:
        """As logrotate does it."""
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))


def of_run(run_id: int, city: tuple[str, str, str]) -> dict[str, Any]:
    """The fields of every event of a run."""
    return {
        "run_id": run_id,
        "run": f"2026-12/{city[0]}",
        "programme": "northern-mexico",
        "location": city[0],
        "cycle": "2026-12",
        "part": 1,
    }


def expect_slot(log: WrittenLog, city: tuple[str, str, str], *, opens: timedelta) -> None:
    """A payday of so long ago."""
    location, name, zone = city
    slot = SlotExpected(
        programme="northern-mexico",
        location=location,
        location_name=name,
        time_zone=zone,
        cycle="2026-12",
        opens_at=instant_text(datetime.now(UTC) - opens),
        opens_local="2026-12-01T09:00",
        families=PLANNED,
        amount_minor=PLANNED * VALUE_MINOR,
        currency="MXN",
        blocked="",
    )
    log.write(slot, ago=opens + timedelta(days=7))


def release_run(log: WrittenLog, run_id: int, city: tuple[str, str, str], *, ago: timedelta, **changes: Any) -> None:
    """Planned, approved, released."""
    money: dict[str, Any] = {"planned": PLANNED, "planned_minor": PLANNED * VALUE_MINOR, "currency": "MXN"}
    run, digest = of_run(run_id, city), "5b" * 32
    planned: dict[str, Any] = {
        "location_name": city[1],
        "time_zone": city[2],
        "opens_at": instant_text(datetime.now(UTC) - ago),
        "late": False,
        "held_elsewhere": 0,
        "operator": "ana",
        **changes,
    }
    log.write(RunPlanned(**run, **money, batches=BATCHES, digest=digest, **planned), ago=ago + timedelta(hours=2))
    log.write(
        RunApproved(**run, **money, approval="person", digest=digest, operator="luz"), ago=ago + timedelta(hours=1)
    )
    log.write(RunReleased(**run, **money, batches=BATCHES, operator="luz"), ago=ago)


def credit_batch(log: WrittenLog, run_id: int, city: tuple[str, str, str], place: int, *, ago: timedelta) -> None:
    """Batch number `place` of the run, from 0."""
    first_id = run_id * LINES_PER_RUN + place * BATCH_LINES + 1
    batch_id = run_id * 100 + place
    log.write(
        BatchCredited(
            **of_run(run_id, city),
            batch_id=batch_id,
            first_id=first_id,
            last_id=first_id + BATCH_LINES - 1,
            credited=BATCH_LINES,
            credited_minor=BATCH_LINES * VALUE_MINOR,
            currency="MXN",
            attempt=1,
        ),
        ago=ago,
    )
    attempt = AttemptFinished(
        actor="credit_batch",
        message_id=f"m-{batch_id}",
        subject_id=batch_id,
        run_id=run_id,
        outcome="credited",
        duration_ms=80 + 7 * place,
    )
    log.write(attempt, ago=ago, writer=WORKER)


def fail_store(log: WrittenLog, notice_id: int, store: str, *, ago: timedelta) -> None:
    """Its breaker opens."""
    for attempts in range(1, 6):
        failed = StoreFailed(
            store=store,
            notice_id=notice_id,
            attempts=attempts,
            error="HTTP 503",
            next_attempt_at=instant_text(datetime.now(UTC) + timedelta(minutes=4)),
        )
        log.write(failed, ago=ago - timedelta(seconds=attempts), writer=WORKER)
    until = instant_text(datetime.now(UTC) + timedelta(minutes=4))
    log.write(StoreSuspended(store=store, failures=5, until=until), ago=ago - timedelta(seconds=6), writer=WORKER)


def write_december(log: WrittenLog) -> None:
    """Tijuana under way with a case, Juárez completed with a failing and an undelivered store, Ojinaga missing."""
    for city in (TIJUANA, JUAREZ, OJINAGA):
        expect_slot(log, city, opens=timedelta(hours=5))
    release_run(log, 18, JUAREZ, ago=timedelta(minutes=50))
    for place in range(BATCHES):
        credit_batch(log, 18, JUAREZ, place, ago=timedelta(minutes=49 - place))
    tell_stores(log)
    release_run(log, 17, TIJUANA, ago=timedelta(minutes=10), late=True)
    for place in range(6):
        credit_batch(log, 17, TIJUANA, place, ago=timedelta(minutes=9 - place))
    opened = CaseOpened(
        **of_run(17, TIJUANA),
        case_id=320,
        disbursement_id=17 * LINES_PER_RUN + 300,
        reason="dead",
        attempts=2,
        next_attempt_at="",
        amount_minor=VALUE_MINOR,
        currency="MXN",
        error="IntegrityError",
    )
    log.write(opened, ago=timedelta(minutes=2))
    failed = AttemptFailed(
        actor="credit_batch",
        message_id="m-1707",
        subject_id=1707,
        run_id=17,
        error="OperationalError",
        sqlstate="40P01",
        constraint="",
        given_back=True,
        duration_ms=31,
    )
    log.write(failed, ago=timedelta(minutes=1), writer=WORKER)
    log.write(WorkerSeen(), writer=WORKER)
    log.write(SchedulerSeen(schedulers=SCHEDULER.instance, workers=WORKER.instance))


def tell_stores(log: WrittenLog) -> None:
    """Of Juárez: one is told, one is undelivered, one is suspended."""
    run = of_run(18, JUAREZ)
    completed = RunCompleted(
        **run,
        state="completed",
        late=False,
        planned=PLANNED,
        planned_minor=PLANNED * VALUE_MINOR,
        credited=PLANNED,
        credited_minor=PLANNED * VALUE_MINOR,
        cases=0,
        not_owed=0,
        notices=3,
        currency="MXN",
    )
    log.write(completed, ago=timedelta(minutes=39))
    for notice_id, store in ((41, "CJS-CENTRO"), (42, "CJS-SUR"), (43, "CJS-NORTE")):
        created = NoticeCreated(
            **run,
            notice_id=notice_id,
            store=store,
            number=1,
            vouchers=PLANNED,
            amount_minor=PLANNED * VALUE_MINOR,
            currency="MXN",
        )
        log.write(created, ago=timedelta(minutes=39))
    delivered = NoticeDelivered(**run, notice_id=41, store="CJS-CENTRO", number=1, attempts=1)
    log.write(delivered, ago=timedelta(minutes=38))
    undelivered = NoticeUndelivered(**run, notice_id=42, store="CJS-SUR", number=1, attempts=12, error="HTTP 410")
    log.write(undelivered, ago=timedelta(minutes=20))
    fail_store(log, 43, "CJS-NORTE", ago=timedelta(minutes=1))

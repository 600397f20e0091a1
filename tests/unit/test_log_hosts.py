"""A host whose lines are missing is named: the schedulers saw its processes, and these files have no line of them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from console import logs
from console.log_hosts import ANSWERED_WITHIN_S, RollCall
from models.columns import instant_text
from models.events import BrokerUnreachable, SchedulerSeen, WorkerSeen
from models.journal import Writer, observed_line
from models.sightings import SEEN_WITHIN_S
from tests.command_line import CommandLine

Line = dict[str, int | str | bool | None]
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
SCHEDULER, WORKER = "host-a:10", "host-b:412"


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def by(instance: str) -> Writer:
    return Writer("despensa", "0.1.0", instance)


def roll(minute: float, *workers: str, schedulers: str = SCHEDULER) -> Line:
    """What a scheduler says every minute."""
    event = SchedulerSeen(schedulers=schedulers, workers=" ".join(workers))
    return observed_line(event, now=at(minute), writer=by(schedulers.partition(" ")[0]))


def seen(minute: float, instance: str = WORKER) -> Line:
    """What a worker says every minute."""
    return observed_line(WorkerSeen(), now=at(minute), writer=by(instance))


def told(lines: Iterable[Line]) -> list[tuple[str, str, str, str]]:
    """Who is missing, and between which minutes after noon."""
    call = RollCall()
    for line in lines:
        call.hear(line)
    return [(each.role, each.instance, each.after[11:16], each.before[11:16]) for each in call.absences()]


def test_nobody_is_missing_where_everybody_wrote() -> None:
    assert told(line for minute in range(60) for line in (roll(minute, WORKER), seen(minute + 0.4))) == []


def test_process_without_any_line_is_missing_for_as_long_as_it_was_named() -> None:
    lines = [roll(minute, WORKER, "host-c:9") for minute in range(60)] + [seen(minute) for minute in range(60)]

    assert told(lines) == [("worker", "host-c:9", "12:00", "12:59")]


def test_scheduler_is_missed_like_a_worker() -> None:
    assert told(roll(minute, schedulers=f"{SCHEDULER} host-d:3") for minute in range(9)) == [
        ("scheduler", "host-d:3", "12:00", "12:08")
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_hole_in_its_lines_is_told_with_the_lines_around_it(order: int) -> None:
    """A rotated file of its host is not here. Files come in any order, and so may lines."""
    lines = [roll(minute, WORKER) for minute in range(60)] + [seen(each) for each in range(60) if not 20 <= each < 40]

    assert told(lines[::order]) == [("worker", WORKER, "12:19", "12:40")]


def test_lines_that_begin_late_or_end_early_are_told() -> None:
    calls = [roll(minute, WORKER) for minute in range(60)]

    assert told([*calls, *(seen(minute) for minute in range(10, 60))]) == [("worker", WORKER, "12:00", "12:10")]
    assert told([*calls, *(seen(minute) for minute in range(50))]) == [("worker", WORKER, "12:49", "12:59")]


@pytest.mark.parametrize("minutes", [-4.9, 4.9, 0])
def test_line_within_five_minutes_answers_a_roll_call(minutes: float) -> None:
    """A worker that ended is named for two minutes and a half more, and clocks differ."""
    assert told([roll(0, WORKER), seen(minutes)]) == []


@pytest.mark.parametrize("minutes", [-5.1, 5.1])
def test_line_farther_than_five_minutes_answers_none(minutes: float) -> None:
    assert told([roll(0, WORKER), seen(minutes)]) == [("worker", WORKER, "12:00", "12:00")]


def test_worker_that_ended_or_was_restarted_is_not_missing() -> None:
    """Its last sighting is told for as long as the database counts it as seen."""
    lines = [seen(minute) for minute in range(30)] + [seen(minute, "host-b:500") for minute in range(31, 60)]
    calls = [
        roll(minute, *([WORKER] if minute <= 29 + SEEN_WITHIN_S / 60 else []), *(["host-b:500"] if minute > 31 else []))
        for minute in range(60)
    ]

    assert told([*lines, *calls]) == []
    assert SEEN_WITHIN_S < ANSWERED_WITHIN_S


def test_two_holes_are_told_each() -> None:
    calls = [roll(minute, WORKER) for minute in range(60)]

    assert told([*calls, *(seen(minute) for minute in (*range(10), *range(25, 30), *range(50, 60)))]) == [
        ("worker", WORKER, "12:09", "12:25"),
        ("worker", WORKER, "12:29", "12:50"),
    ]


def test_days_without_a_scheduler_are_nobodys_fault() -> None:
    """Where nobody called the roll, nobody is missing."""
    day = 24 * 60
    lines = [line for minute in (0, 1, day, day + 1) for line in (roll(minute, WORKER), seen(minute))]

    assert told(lines) == []
    assert told([roll(0, WORKER), roll(day, WORKER), seen(day)]) == [("worker", WORKER, "12:00", "12:00")]


def test_any_operational_line_answers_and_a_broken_timestamp_says_nothing() -> None:
    event = BrokerUnreachable(error="ConnectionError")

    assert told([roll(0, WORKER), observed_line(event, now=at(1), writer=by(WORKER))]) == []
    assert told([{**roll(0, WORKER), "timestamp": "yesterday"}]) == []


def written(path: Path, lines: list[Line]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in lines))
    return path


def test_verify_names_the_missing_host_and_does_not_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing proves operational lines: what is missing of them is a hint, and the exit code is the chain's."""
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})
    path = written(tmp_path / "a.jsonl", [roll(minute, WORKER) for minute in range(9)])

    plain = command_line.run(logs.app, "verify", path)
    as_json = command_line.run(logs.app, "verify", path, "--json")

    sentence = (
        f"no line of worker {WORKER} between {instant_text(at(0))} and {instant_text(at(8))}, though a scheduler saw it"
    )
    assert (plain.error, as_json.error) == (None, None)
    assert plain.stderr == f"{sentence}: add that host's files\n"
    assert "unsealed  9 operational lines" in plain.stdout
    assert as_json.json["missing_hosts"] == [
        {"role": "worker", "instance": WORKER, "after": instant_text(at(0)), "before": instant_text(at(8))}
    ]
    assert as_json.json["agrees"] is True


def test_name_of_a_host_cannot_paint_on_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})
    path = written(tmp_path / "a.jsonl", [roll(0, "\x1b[2J")])

    assert "\\x1b[2J" in command_line.run(logs.app, "verify", path).stderr


@pytest.mark.parametrize(("minute", "missing"), [(10, False), (10.5, True), (11, True)])
def test_hole_is_one_from_twice_five_minutes_on(minute: float, missing: bool) -> None:
    calls = [roll(each, WORKER) for each in range(12)]

    assert bool(told([*calls, seen(0), seen(minute)])) is missing

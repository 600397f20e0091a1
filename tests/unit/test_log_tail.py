"""Looking at a log: which lines are meant, of which files, readable or as they are, followed across rotations."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from console import logs
from console.log_choice import LINES_PER_RUN, Chooser, parse_since
from console.log_examples import examples
from console.log_tail import Broken, as_it_is, follow, readable
from models import tables
from models.columns import instant_text
from models.errors import NotFound, RefusedInput
from models.events import CATALOGUE
from models.keys import voucher_number
from models.messages import CreditBatch
from tests.command_line import CommandLine, Outcome

Line = dict[str, int | str | bool | None]
NOW = datetime(2026, 12, 1, 17, tzinfo=UTC)
MONTH = list(examples().values())
#: The line of the month that has a case, and the batch that credited its neighbours.
DISBURSEMENT = 10_000_117


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    return CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})


def written(path: Path, lines: list[Line]) -> Path:
    """A log file of these lines, packed if it is called so."""
    content = b"".join(orjson.dumps(each) + b"\n" for each in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def like(event: str, /, **values: int | str | bool | None) -> Line:
    """The example of an event, with something else in it."""
    return {**examples()[event], **values}


def tailed(command_line: CommandLine, path: Path, *options: object) -> list[Line]:
    """The lines that `tail --json` prints."""
    outcome = command_line.run(logs.app, "tail", path, "--json", *options)
    assert outcome.error is None, outcome.error
    return [orjson.loads(text) for text in outcome.stdout.splitlines()]


def refused(command_line: CommandLine, path: Path, *options: object) -> RefusedInput:
    outcome = command_line.run(logs.app, "tail", path, *options)
    assert isinstance(outcome.error, RefusedInput)
    assert outcome.stdout == ""
    return outcome.error


def test_the_last_lines_of_the_log_of_the_settings(command_line: CommandLine, tmp_path: Path) -> None:
    written(tmp_path / "log" / "despensa.jsonl", MONTH)

    twenty = command_line.run(logs.app, "tail", "--json").stdout.splitlines()
    two = command_line.run(logs.app, "tail", "-n", 2, "--json").stdout.splitlines()

    assert twenty == [orjson.dumps(line).decode() for line in MONTH[-20:]]
    assert two == twenty[-2:]
    assert command_line.run(logs.app, "tail", "-n", 0).stdout == ""


def test_several_files_are_shown_together_in_the_order_of_time(command_line: CommandLine, tmp_path: Path) -> None:
    """Of two hosts, rotated and packed, in any order."""
    lines = [like("worker.seen", timestamp=instant_text(NOW + timedelta(seconds=each))) for each in range(9)]
    newest = written(tmp_path / "a.jsonl", lines[6:])
    oldest = written(tmp_path / "a.jsonl.1.gz", lines[0:6:2])
    other = written(tmp_path / "b.jsonl", lines[1:6:2])

    assert tailed(command_line, newest, other, oldest) == lines
    assert tailed(command_line, newest, other, oldest, "-n", 5) == lines[4:]


def test_a_file_that_is_named_twice_is_read_once(command_line: CommandLine, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", MONTH[:3])

    assert len(tailed(command_line, path, path)) == 3


@pytest.mark.parametrize(
    ("options", "takes"),
    [
        (["--run", "2026-12/08037"], lambda line: line.get("run") == "2026-12/08037"),
        (["--run", "northern-mexico/2026-12/02004.1"], lambda line: line.get("run") == "2026-12/02004"),
        (["--run", "shelters/2026-12/02004"], lambda line: False),
        (["--location", "26043"], lambda line: line.get("location") == "26043"),
        (["--location", "tijuana"], lambda line: line.get("location") == "02004"),
        (["--location", "TIJ"], lambda line: line.get("location") == "02004"),
        (["--event", "case.*"], lambda line: line["event"] in ("case.opened", "case.resolved")),
        (["--event", "run.paused"], lambda line: line["event"] == "run.paused"),
        (["--level", "info"], lambda line: True),
        (["--level", "warning"], lambda line: line["level"] in ("warning", "error")),
        (["--level", "error"], lambda line: line["level"] == "error"),
        (["--since", "2026-12-02"], lambda line: line["timestamp"] >= "2026-12-02"),
        (["--since", "2026-12-01T09:15:34.549907-08:00"], lambda line: line["timestamp"] >= "2026-12-01T17:15:34.5499"),
        (
            ["--level", "warning", "--location", "08037", "--event", "run.*"],
            lambda line: line.get("location") == "08037",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_lines_are_chosen(
    command_line: CommandLine, tmp_path: Path, options: list[str], takes: Callable[[Line], bool]
) -> None:
    """Every rule has a row; rules together are all kept."""
    path = written(tmp_path / "a.jsonl", MONTH)

    assert tailed(command_line, path, "-n", 1_000, *options) == [line for line in MONTH if takes(line)]


def test_another_part_of_a_run_is_another_run(command_line: CommandLine, tmp_path: Path) -> None:
    lines = [like("run.paused", run=run) for run in ("2026-12/02004", "2026-12/02004.2", "2026-12/02004.10")]
    path = written(tmp_path / "a.jsonl", lines)

    for typed, line in zip(("2026-12/02004", "2026-12/02004.2", "2026-12/02004.10"), lines, strict=True):
        assert tailed(command_line, path, "--run", typed) == [line]


def a_life() -> list[tuple[bool, Line]]:
    """Lines, and whether they are of the voucher of DISBURSEMENT."""
    other = DISBURSEMENT + 1
    return [
        (False, like("file.imported")),
        (False, like("scheduler.seen")),
        (True, like("run.planned")),
        (False, like("run.planned", run_id=2, run="2026-12/02004.2")),
        (True, like("attempt.failed", subject_id=7)),
        (False, like("attempt.failed", subject_id=7, actor="send_notice")),
        (False, like("attempt.failed", subject_id=8)),
        (True, like("batch.stuck", batch_id=7)),
        (False, like("batch.stuck", batch_id=8)),
        (True, like("batch.split", batch_id=7, first_id=DISBURSEMENT - 5, last_id=DISBURSEMENT)),
        (False, like("batch.split", batch_id=8, first_id=other, last_id=other + 3)),
        (True, like("case.opened")),
        (False, like("case.opened", disbursement_id=other)),
        (True, like("batch.retried", batch_id=9, first_id=DISBURSEMENT, last_id=DISBURSEMENT)),
        (True, like("attempt.finished", subject_id=9)),
        (False, like("batch.credited", batch_id=10, first_id=1, last_id=DISBURSEMENT - 1)),
        (True, like("batch.credited", batch_id=9, first_id=DISBURSEMENT, last_id=DISBURSEMENT)),
        (True, like("run.completed")),
        (True, like("notice.delivered")),
        (False, like("store.failed")),
        (False, like("batch.credited", first_id="1", last_id=None, batch_id=8)),
    ]


@pytest.mark.parametrize("option", [["--voucher", voucher_number(DISBURSEMENT)], ["--disbursement", DISBURSEMENT]])
def test_the_life_of_a_voucher(command_line: CommandLine, tmp_path: Path, option: list[object]) -> None:
    """Its case, its batches and their attempts, before these are named too, and what happened to its run."""
    life = a_life() * 3
    path = written(tmp_path / "a.jsonl", [line for _, line in life])

    assert tailed(command_line, path, *option) == [line for meant, line in life if meant]


def test_the_batch_of_a_voucher_may_be_named_in_another_file(command_line: CommandLine, tmp_path: Path) -> None:
    worker = written(tmp_path / "worker.jsonl", [like("attempt.failed", subject_id=7)])
    scheduler = written(tmp_path / "scheduler.jsonl.gz", [like("batch.credited", batch_id=7)])

    shown = tailed(command_line, worker, scheduler, "--disbursement", 10_000_003)

    assert [line["event"] for line in shown] == ["attempt.failed", "batch.credited"]


def test_what_a_line_is_divided_by_is_what_the_tables_say() -> None:
    assert LINES_PER_RUN == tables.LINES_PER_RUN
    assert CreditBatch.ACTOR == "credit_batch"
    assert {"disbursement_id", "first_id", "run_id", "actor", "subject_id", "batch_id", "location_name"} <= {
        name for kind in CATALOGUE.values() for name in kind.__dataclass_fields__
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--run", "Tijuana"], "--run 'Tijuana': a run is typed like 2026-12/02004"),
        (["--run", "2026-12/02004.0"], "--run '2026-12/02004.0'"),
        (["--level", "loud"], "--level 'loud' is none of info, warning, error"),
        (["--event", "case.open"], "--event 'case.open': no event is called so"),
        (["--voucher", "1235"], "--voucher '1235': the check digit does not fit"),
        (["--voucher", str(DISBURSEMENT)], "the check digit does not fit"),
        (["--voucher", voucher_number(1), "--disbursement", "1"], "say the same"),
        (["--since", "yesterday"], "--since 'yesterday' is no instant and no age"),
        (["--location", "Atlantis"], "no location is called 'Atlantis'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command_line: CommandLine, tmp_path: Path, options: list[str], told: str
) -> None:
    path = written(tmp_path / "a.jsonl", MONTH)

    assert told in str(refused(command_line, path, *options))


def test_a_near_miss_of_an_event_is_answered_with_its_name(command_line: CommandLine, tmp_path: Path) -> None:
    error = refused(command_line, written(tmp_path / "a.jsonl", MONTH), "--event", "case.open")

    assert error.hint is not None
    assert "case.opened" in error.hint


def test_a_name_of_two_locations_is_refused_with_their_codes(command_line: CommandLine, tmp_path: Path) -> None:
    lines = [
        like("run.planned", location_name=name, location=code)
        for name, code in (("Nogales", "26043"), ("Nogales", "30115"))
    ]
    path = written(tmp_path / "a.jsonl", [*lines, like("run.planned", location_name="Nogales Viejo", location="99999")])

    assert "several locations (26043, 30115) are called 'nogales'" in str(
        refused(command_line, path, "--location", "nogales")
    )
    assert len(tailed(command_line, path, "--location", "viejo")) == 1


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-12-01", NOW.replace(hour=0)),
        ("2026-12-01T17:00Z", NOW),
        ("2026-12-01T17:00", NOW),
        ("2026-12-01T09:00-08:00", NOW),
    ],
)
def test_since_is_an_instant_a_date_or_an_age(text: str, instant: datetime) -> None:
    assert parse_since(text, now=NOW) == instant_text(instant)


@pytest.mark.parametrize("options", [[], ["--level", "info"], ["--json"], ["--since", "2026-12-01"]])
def test_broken_lines_are_counted_passed_over_and_told(
    command_line: CommandLine, tmp_path: Path, options: list[str]
) -> None:
    """Torn by a full disk, or written by somebody else: none of them may end the reading, or hide the rest."""
    path = tmp_path / "a.jsonl"
    good = orjson.dumps(like("run.paused")) + b"\n"
    path.write_bytes(good + b'{"timestamp":"2026\n\n[1]\n{"event":"a"}\n"text"\n\xff\n' + good + good[:-30])

    outcome = command_line.run(logs.app, "tail", path, *options)

    assert outcome.error is None
    assert len(outcome.stdout.splitlines()) == 2
    assert outcome.stderr == f"6 lines are no log lines and were passed over; the first: {path}, line 2\n"


def test_a_file_that_is_not_there_is_named(command_line: CommandLine, tmp_path: Path) -> None:
    outcome = command_line.run(logs.app, "tail", written(tmp_path / "a.jsonl", MONTH), tmp_path / "b.jsonl")

    assert isinstance(outcome.error, NotFound)
    assert str(outcome.error).endswith("b.jsonl")


def test_a_packed_file_is_not_followed(command_line: CommandLine, tmp_path: Path) -> None:
    outcome: Outcome = command_line.run(logs.app, "tail", written(tmp_path / "a.jsonl.gz", MONTH), "--follow")

    assert isinstance(outcome.error, RefusedInput)


def test_readable_line_tells_the_event_and_its_fields() -> None:
    shown = readable(like("batch.credited"), colour=False)

    assert shown.startswith("2026-12-01T17:15:34.549907Z info    batch.credited #18 ")
    assert "run=2026-12/02004" in shown
    assert "credited_minor=8290000" in shown
    assert "location=" not in shown
    assert "\x1b" not in shown
    assert "\x1b[32m" in readable(like("batch.credited"), colour=True)


@pytest.mark.parametrize("field", ["timestamp", "level", "event", "reason", "\x1b[2J"])
def test_line_cannot_paint_on_the_terminal(command_line: CommandLine, tmp_path: Path, field: str) -> None:
    """ESC, the C1 form of it, carriage return, and the mark that turns the direction of writing."""
    path = written(tmp_path / "a.jsonl", [like("run.paused", **{field: "\x1b[2J \x9b2J \r \u202e \U000e0001"})])

    readable_out = command_line.run(logs.app, "tail", path).stdout
    json_out = command_line.run(logs.app, "tail", path, "--json").stdout

    for out in (readable_out, json_out):
        assert len(out.splitlines()) == 1
        assert out.removesuffix("\n").isprintable()
    assert orjson.loads(json_out) == orjson.loads(path.read_bytes())


def test_a_line_with_space_between_its_values_stays_json() -> None:
    assert orjson.loads(as_it_is('{"a":\t1,\r"b":"\x9b"}')) == {"a": 1, "b": "\x9b"}


class Over(Exception):
    """A follower has no end of its own."""


def followed(
    paths: list[Path], *steps: Callable[[], object], chooser: Chooser | None = None, broken: Broken | None = None
) -> list[object]:
    """Which reasons a follower shows from the last line on, when these steps happen between its looks."""
    rest = iter(steps)
    shown: list[object] = []

    def wait(_seconds: float) -> None:
        step = next(rest, None)
        if step is None:
            raise Over
        step()

    with pytest.raises(Over):
        shown.extend(
            row.line["reason"]
            for row in follow(paths, chooser or Chooser(), count=1, broken=broken or Broken(), wait=wait)
        )
    return shown


def paused(reason: str, **values: int | str | bool | None) -> bytes:
    return orjson.dumps(like("run.paused", reason=reason, **values)) + b"\n"


def append(path: Path, content: bytes) -> None:
    """As a writer of the log does."""
    with path.open("ab") as stream:
        stream.write(content)


def rotate(path: Path) -> None:
    """As logrotate does, after a last line."""
    append(path, paused("five"))
    path.rename(path.with_suffix(".1"))


def test_following_goes_on_across_growth_rotation_and_cutting(tmp_path: Path) -> None:
    """Also a line that was half written when it was looked at is shown once, whole."""
    path = tmp_path / "despensa.jsonl"
    three = paused("three")
    path.write_bytes(paused("one") + paused("two") + three[:50])

    shown = followed(
        [path],
        lambda: append(path, three[50:] + paused("four")),
        lambda: rotate(path),
        lambda: append(path, paused("six") + paused("six again")),
        lambda: None,
        lambda: path.write_bytes(paused("7")),
        lambda: None,
    )

    assert shown == ["two", "three", "four", "five", "six", "six again", "7"]


def test_following_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"

    assert followed([path], lambda: None, lambda: append(path, paused("one")), lambda: None) == ["one"]


def test_following_several_files_shows_what_comes_to_each(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(paused("old", timestamp="2026-12-01T00:00:00.000000Z"))
    second.write_bytes(paused("older", timestamp="2026-11-01T00:00:00.000000Z"))

    shown = followed(
        [first, second],
        lambda: append(second, paused("b")),
        lambda: append(first, paused("a")),
        lambda: rotate(second),
    )

    assert shown == ["old", "b", "a", "five"]


def test_following_chooses_counts_broken_lines_and_learns(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(orjson.dumps(like("slot.expected")) + b"\n" + paused("other", location="26043"))
    broken = Broken()

    shown = followed(
        [path],
        lambda: append(path, paused("other", location="26043") + b"torn\n" + paused("ours")),
        lambda: None,
        chooser=Chooser(location="Tijuana", event="run.*"),
        broken=broken,
    )

    assert shown == ["ours"]
    assert (broken.count, str(broken.first)) == (1, f"{path}, line 4")


def test_following_a_voucher_learns_its_batches_as_they_come(tmp_path: Path) -> None:
    path = written(tmp_path / "despensa.jsonl", [])
    lines = [like("batch.retried", batch_id=9), like("attempt.finished", subject_id=8, outcome="other"),
             like("attempt.finished", subject_id=9)]  # fmt: skip
    rest = iter(lines)
    shown: list[object] = []

    def wait(_seconds: float) -> None:
        line = next(rest, None)
        if line is None:
            raise Over
        append(path, orjson.dumps(line) + b"\n")

    with pytest.raises(Over):
        shown.extend(
            row.line
            for row in follow([path], Chooser(disbursement_id=DISBURSEMENT), count=1, broken=Broken(), wait=wait)
        )

    assert shown == [lines[0], lines[2]]


def test_following_finds_a_name_in_any_of_its_files(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", [])
    second = written(tmp_path / "b.jsonl", [like("slot.expected")])
    chooser = Chooser(location="Tijuana", event="run.*")

    assert followed([tmp_path / "c.jsonl", first, second], lambda: append(first, paused("a")), chooser=chooser) == ["a"]


def test_line_that_a_rotation_cut_off_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(paused("one") + b'{"torn')
    broken = Broken()

    shown = followed(
        [path],
        lambda: path.rename(path.with_suffix(".1")),
        lambda: append(path, paused("two")),
        broken=broken,
    )

    assert (shown, broken.count) == (["one", "two"], 1)

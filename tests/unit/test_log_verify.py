"""Whoever changes a sealed line, drops one, exchanges two or adds one is found.

Each kind of damage has its own row, so that a check that is taken out fails here.
"""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from console import logs
from console.log_verify import Verification, verify
from models.columns import instant_text
from models.errors import BooksDisagree, Exit, NotFound, RefusedInput
from models.events import BatchCredited, SchedulerSeen
from models.journal import GENESIS, Writer, chain_hash, hash_of_line, line, observed_line

Line = dict[str, int | str | bool | None]
NOW = datetime(2026, 12, 1, 15, tzinfo=UTC)
WRITER = Writer("despensa", "0.1.0", "host:1")


def a_chain(count: int = 6) -> list[Line]:
    """Sealed lines, as a scheduler writes them."""
    prev_hash, lines = GENESIS, []
    for seq in range(1, count + 1):
        event = BatchCredited(
            run_id=1, run="2026-12/02004", programme="p", location="02004", cycle="2026-12", part=1, batch_id=seq,
            first_id=seq, last_id=seq, credited=seq, credited_minor=100 * seq, currency="MXN", attempt=1,
        )  # fmt: skip
        timestamp = instant_text(NOW + timedelta(seconds=seq))
        prev_hash = chain_hash(prev_hash, seq=seq, event=event.NAME, timestamp=timestamp, fields=event.values())
        head = line(event.NAME, timestamp=timestamp, level="info", writer=WRITER)
        lines.append({**head, **event.values(), "seq": seq, "hash": prev_hash})
    return lines


def an_operational_line() -> Line:
    """One that has no place and no hash."""
    return observed_line(SchedulerSeen(schedulers="host:1", workers=""), now=NOW, writer=WRITER)


def written(path: Path, lines: list[Line]) -> Path:
    """A log file of these lines, packed if it is called so."""
    content = b"".join(orjson.dumps(each) + b"\n" for each in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def verified(tmp_path: Path, lines: list[Line]) -> Verification:
    """What reading one file of these lines comes to."""
    return verify([written(tmp_path / "despensa.jsonl", lines)])


def rehashed(lines: list[Line], index: int) -> None:
    """Give a changed line the hash that it ought to have: what a forger does who knows the rule."""
    prev_hash = str(lines[index - 1]["hash"]) if index else GENESIS
    lines[index]["hash"] = hash_of_line(prev_hash, lines[index])


def change_amount(lines: list[Line]) -> None:
    lines[2]["credited_minor"] = 999


def change_amount_and_hash(lines: list[Line]) -> None:
    lines[2]["credited_minor"] = 999
    rehashed(lines, 2)


def change_timestamp(lines: list[Line]) -> None:
    lines[2]["timestamp"] = instant_text(NOW)


def change_event(lines: list[Line]) -> None:
    lines[2]["event"] = "batch.split"


def add_field(lines: list[Line]) -> None:
    lines[2]["note"] = "more"


def drop_field(lines: list[Line]) -> None:
    del lines[2]["attempt"]


def drop_line(lines: list[Line]) -> None:
    del lines[2]


def drop_line_and_count_down(lines: list[Line]) -> None:
    del lines[2]
    for each in lines[2:]:
        each["seq"] = int(each["seq"] or 0) - 1


def swap_lines(lines: list[Line]) -> None:
    lines[2]["seq"], lines[3]["seq"] = lines[3]["seq"], lines[2]["seq"]


def forge_hash(lines: list[Line]) -> None:
    lines[2]["hash"] = "f" * 64


def add_line(lines: list[Line]) -> None:
    lines.append({**lines[5], "seq": 7})


def unseal_line(lines: list[Line]) -> None:
    del lines[2]["seq"]


def repeat_with_another_hash(lines: list[Line]) -> None:
    lines.append({**lines[2], "hash": "f" * 64})


def repeat_with_other_fields(lines: list[Line]) -> None:
    lines.append({**lines[2], "credited_minor": 999})


def change_first_amount(lines: list[Line]) -> None:
    lines[0]["credited_minor"] = 999


@pytest.mark.parametrize(
    ("damage", "seq", "line_number"),
    [
        (change_amount, 3, 3),
        (change_amount_and_hash, 4, 4),
        (change_timestamp, 3, 3),
        (change_event, 3, 3),
        (add_field, 3, 3),
        (drop_field, 3, 3),
        (drop_line, 4, 3),
        (drop_line_and_count_down, 3, 3),
        (swap_lines, 4, 3),
        (forge_hash, 3, 3),
        (add_line, 7, 7),
        (unseal_line, 4, 4),
        (repeat_with_another_hash, 3, 7),
        (repeat_with_other_fields, 3, 7),
        (change_first_amount, 1, 1),
    ],
)
def test_damage_is_found_and_its_first_line_named(
    tmp_path: Path, damage: Callable[[list[Line]], None], seq: int, line_number: int
) -> None:
    lines = a_chain()
    damage(lines)

    found = verified(tmp_path, lines)

    fault = found.faults[0]
    assert (fault.seq, fault.place.number, fault.place.path.name) == (seq, line_number, "despensa.jsonl")


def test_whole_log_is_proven_from_genesis(tmp_path: Path) -> None:
    lines = a_chain()

    found = verified(tmp_path, [lines[0], an_operational_line(), *lines[1:]])

    assert found.faults == []
    assert found.from_genesis
    assert (found.first_seq, found.last_seq, found.lines) == (1, 6, 6)
    assert (found.unsealed, found.repeated, found.hash) == (1, 0, lines[-1]["hash"])


def test_who_wrote_a_line_and_where_it_stands_is_not_part_of_its_proof(tmp_path: Path) -> None:
    """A line that another scheduler wrote again, and files in any order, prove the same."""
    lines = a_chain()
    again = [
        {**each, "service.name": "other", "service.version": "9", "service.instance.id": "b:2"} for each in lines[1:4]
    ]
    newest = written(tmp_path / "despensa.jsonl", [lines[5], *again, lines[4]])
    oldest = written(tmp_path / "despensa.jsonl.2.gz", lines[:3])
    middle = written(tmp_path / "despensa.jsonl.1", lines[3:5])

    found = verify([newest, oldest, middle])

    assert found.faults == []
    assert (found.first_seq, found.last_seq, found.lines, found.repeated) == (1, 6, 6, 4)
    assert found.hash == lines[-1]["hash"]


def test_missing_line_is_told_once_though_the_line_after_it_is_repeated(tmp_path: Path) -> None:
    lines = a_chain()

    found = verified(tmp_path, [*lines[:2], *lines[3:], *lines[3:]])

    assert [(fault.seq, fault.place.number) for fault in found.faults] == [(4, 3)]
    assert "seq 3, is missing" in found.faults[0].reason


def test_part_of_a_log_is_proven_after_its_first_line(tmp_path: Path) -> None:
    lines = a_chain()

    assert verified(tmp_path, lines[2:]).faults == []
    assert not verified(tmp_path, lines[2:]).from_genesis
    lines[3]["credited_minor"] = 999
    assert [fault.seq for fault in verified(tmp_path, lines[2:]).faults] == [4]


@pytest.mark.parametrize("change", [{"credited_minor": 999}, {"hash": "f" * 64}])
def test_first_line_of_a_part_must_at_least_say_the_same_each_time(tmp_path: Path, change: Line) -> None:
    lines = a_chain()

    found = verified(tmp_path, [*lines[2:], {**lines[2], **change}])

    assert [(fault.seq, fault.place.number) for fault in found.faults] == [(3, 5)]


def test_torn_last_line_is_passed_over_and_told(tmp_path: Path) -> None:
    path = written(tmp_path / "despensa.jsonl", a_chain())
    path.write_bytes(path.read_bytes()[:-40])

    found = verify([path])

    assert found.faults == []
    assert found.last_seq == 5
    assert [(place.path, place.number) for place in found.torn] == [(path, 6)]


@pytest.mark.parametrize("torn", [b'{"timestamp":"2026', b"\x00\x00\x00"])
def test_torn_line_in_the_middle_is_passed_over_and_told(tmp_path: Path, torn: bytes) -> None:
    """A disk was full, or a host crashed, and a writer went on."""
    path = written(tmp_path / "despensa.jsonl", a_chain())
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*content[:2], torn, b"\n", *content[2:]]))

    found = verify([path])

    assert (found.faults, found.last_seq) == ([], 6)
    assert [(place.path, place.number) for place in found.torn] == [(path, 3)]


def test_sealed_line_that_was_made_unreadable_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "despensa.jsonl", a_chain())
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*content[:2], content[2][:-9] + b"\n", *content[3:]]))

    found = verify([path])

    assert [fault.seq for fault in found.faults] == [4]
    assert "seq 3, is missing" in found.faults[0].reason


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"[1, 2]", "no log line"),
        (b'{"seq":3}', "no log line"),
        (b'{"event":"a","seq":"3","hash":"' + b"0" * 64 + b'"}', "whole number"),
        (b'{"event":"a","seq":true,"hash":"' + b"0" * 64 + b'"}', "whole number"),
        (b'{"event":"a","seq":3}', "64 hexadecimal"),
        (b'{"event":"a","seq":3,"hash":"' + b"X" * 64 + b'"}', "64 hexadecimal"),
        (b'{"event":"a","credited":1,"credited":2}', "given twice"),
        (b'{"event":"a","more":' + b"[" * 300 + b"]" * 300 + b"}", "a list or an object"),
    ],
)
def test_broken_line_is_refused_naming_file_and_line(tmp_path: Path, broken: bytes, why: str) -> None:
    content = written(tmp_path / "despensa.jsonl", a_chain()).read_bytes().splitlines(keepends=True)
    (tmp_path / "despensa.jsonl").write_bytes(b"".join([*content[:2], broken, b"\n\n", *content[2:]]))

    with pytest.raises(RefusedInput, match=rf"despensa\.jsonl, line 3: .*{why}"):
        verify([tmp_path / "despensa.jsonl"])


def test_last_line_that_is_json_but_no_log_line_was_not_torn(tmp_path: Path) -> None:
    path = written(tmp_path / "despensa.jsonl", [*a_chain(2), {"seq": 3}])

    with pytest.raises(RefusedInput, match="line 3"):
        verify([path])


def test_damaged_packed_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "despensa.jsonl.gz", a_chain())
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(RefusedInput, match="damaged gzip"):
        verify([path])


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.jsonl"):
        verify([tmp_path / "absent.jsonl"])


def test_command_prints_what_it_found_and_exits_13(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = a_chain()
    change_amount(lines)
    path = written(tmp_path / "despensa.jsonl", lines)

    with pytest.raises(BooksDisagree, match=r"seq 3 \(.*despensa\.jsonl, line 3\)") as raised:
        logs.verify([path], database=False, heads=[], heads_files=[], as_json=True)

    told = orjson.loads(capsys.readouterr().out)
    assert raised.value.exit_code == Exit.BOOKS_DISAGREE
    assert (told["schema"], told["agrees"], told["first_seq"], told["last_seq"]) == (1, False, 1, 6)
    assert [(fault["seq"], fault["line"]) for fault in told["faults"]] == [(3, 3)]


def test_command_tells_span_and_hash_of_a_whole_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = a_chain()

    logs.verify([written(tmp_path / "despensa.jsonl", lines)], database=False, heads=[], heads_files=[], as_json=False)

    told = capsys.readouterr().out
    assert "seq 1 to 6" in told
    assert str(lines[-1]["hash"]) in told


def by(lines: list[Line], instance: str) -> list[Line]:
    """The same lines, written by somebody else."""
    return [{**each, "service.instance.id": instance} for each in lines]


def test_gaps_are_told_with_the_time_and_the_writers_around_them(tmp_path: Path) -> None:
    """Two schedulers emitted by turns, and the file of one of them is not all here."""
    lines = a_chain(9)
    path = written(tmp_path / "a.jsonl", [lines[8], *by(lines[4:5], "host-b:7"), *by(lines[0:2], "host-b:7"), lines[6]])

    found = verify([path])

    assert [gap.as_json() for gap in found.gaps] == [
        {
            "first_seq": 3, "last_seq": 4, "after": lines[1]["timestamp"], "before": lines[4]["timestamp"],
            "writers": ["host-b:7"],
        },
        {
            "first_seq": 6, "last_seq": 6, "after": lines[4]["timestamp"], "before": lines[6]["timestamp"],
            "writers": ["host-b:7", "host:1"],
        },
        {
            "first_seq": 8, "last_seq": 8, "after": lines[6]["timestamp"], "before": lines[8]["timestamp"],
            "writers": ["host:1"],
        },
    ]  # fmt: skip
    assert str(found.gaps[0]) == (
        f"seq 3 to 4, recorded between {lines[1]['timestamp']} and {lines[4]['timestamp']}, missing here; "
        "the lines around were written by host-b:7"
    )


def test_command_says_what_is_missing_and_what_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = a_chain()
    path = written(tmp_path / "a.jsonl", lines[:2] + lines[4:])

    with pytest.raises(BooksDisagree, match=r"seq 3 to 4, recorded between .* missing here") as raised:
        logs.verify([path], database=False, heads=[], heads_files=[], as_json=True)

    assert raised.value.hint is not None
    assert "despensa logs emit --from 3 --to 4 > FILE" in raised.value.hint
    told = orjson.loads(capsys.readouterr().out)
    assert [(gap["first_seq"], gap["last_seq"]) for gap in told["missing"]] == [(3, 4)]


def test_many_gaps_are_named_as_far_as_one_can_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", a_chain(60)[::2])

    with pytest.raises(BooksDisagree, match=r"seq 40, recorded .*\n  and 9 more gaps$"):
        logs.verify([path], database=False, heads=[], heads_files=[], as_json=False)

    assert len(verify([path]).gaps) == 29


def test_writer_around_a_gap_cannot_paint_on_the_terminal(tmp_path: Path) -> None:
    lines = by(a_chain(), "\x1b[2J")
    path = written(tmp_path / "a.jsonl", lines[:2] + lines[4:])

    with pytest.raises(BooksDisagree) as raised:
        logs.verify([path], database=False, heads=[], heads_files=[], as_json=False)

    assert "\x1b" not in str(raised.value)


def test_whole_log_has_no_gap(tmp_path: Path) -> None:
    assert verified(tmp_path, a_chain()).gaps == []
    assert verified(tmp_path, a_chain()[3:]).gaps == []


def test_log_that_was_cut_off_after_a_kept_hash_is_found(tmp_path: Path) -> None:
    """The chain of what is left still holds: only who kept a hash can tell."""
    lines = a_chain()
    kept = [str(lines[3]["hash"]), str(lines[5]["hash"])]
    path = written(tmp_path / "a.jsonl", lines[:5])

    assert verify([path]).agrees
    assert verify([path], heads=kept).lost_heads == [kept[1]]
    assert verify([path], heads=[GENESIS, kept[0]]).agrees
    with pytest.raises(BooksDisagree, match=f"no line has the hash {kept[1]} that was kept") as raised:
        logs.verify([path], database=False, heads=kept, heads_files=[], as_json=False)
    assert raised.value.exit_code == Exit.BOOKS_DISAGREE


def test_empty_file_holds_no_kept_hash(tmp_path: Path) -> None:
    assert verify([written(tmp_path / "a.jsonl", [])], heads=["a" * 64]).lost_heads == ["a" * 64]

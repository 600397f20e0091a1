"""A log line may have been written by anybody: it is taken whole, or not at all."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.dashboard import lines
from console.dashboard.board import Board
from console.dashboard.chain import Chain
from console.dashboard.follow import Follower
from console.dashboard.lines import Foreign, Line, Torn, parse
from console.dashboard.traffic import INSTANCES_MAX, KINDS_MAX, Traffic
from console.dashboard.views import Fault, Gap
from models.events import CATALOGUE
from models.journal import GENESIS, hash_of_line
from tests.unit.test_log_reference import NAMES, a_line

pytestmark = pytest.mark.long

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def sealed(count: int, *, begin: int = 1) -> list[Line]:
    """So many lines of a chain, from a place on."""
    prev_hash, chained = GENESIS, []
    for seq in range(1, begin + count):
        values = a_line(CATALOGUE["run.resumed"]) | {"seq": seq}
        prev_hash = hash_of_line(prev_hash, values)
        chained.append(parse(orjson.dumps(values | {"hash": prev_hash})))
    return chained[begin - 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_line_of_every_event_is_taken(name: str) -> None:
    line = parse(orjson.dumps(a_line(CATALOGUE[name])))

    assert (line.event, line.at) == (name, 1796137200.0)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_line_with_a_field_of_another_type_is_not_taken(name: str, data: st.DataObject) -> None:
    values = a_line(CATALOGUE[name])
    field = data.draw(st.sampled_from(sorted(values)))
    if field in {"schema", "service.name", "service.version", "service.instance.id"}:
        return
    was = values.pop(field)
    other = data.draw(JSON_VALUES.filter(lambda value: type(value) is not type(was)))

    with pytest.raises(Foreign):
        parse(json.dumps(values | {field: other}).encode())


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    with pytest.raises((Torn, Foreign)):
        parse(raw)


@given(values=st.dictionaries(st.sampled_from(["event", "seq", "hash", "timestamp", "level", "run_id"]), JSON_VALUES))
def test_any_object_is_taken_or_refused(values: dict[str, object]) -> None:
    with pytest.raises((Torn, Foreign)):
        parse(json.dumps(values).encode())


def test_event_of_a_newer_version_is_shown_as_it_is() -> None:
    values = a_line(CATALOGUE["worker.seen"]) | {"event": "worker.warmed", "degrees": 40, "hot": False}

    shown = parse(orjson.dumps(values)).shown()

    assert (shown.event, shown.fields) == ("worker.warmed", {"degrees": 40, "hot": False})


def test_whole_chain_has_neither_gap_nor_fault() -> None:
    chain = Chain()
    for line in reversed(sealed(5)):
        assert chain.add(line)

    assert (chain.first_seq, chain.to_seq, chain.last_seq) == (1, 5, 5)
    assert (chain.gaps(), chain.faults()) == ([], [])


@given(order=st.permutations(range(8)))
def test_order_in_which_lines_come_does_not_matter(order: list[int]) -> None:
    chain, lines = Chain(), sealed(9)
    del lines[4]
    for place in order:
        chain.add(lines[place])

    assert (chain.to_seq, chain.last_seq, chain.gaps(), chain.faults()) == (4, 9, [Gap(5, 5)], [])


def test_line_that_says_again_what_is_known_is_no_news() -> None:
    chain, lines = Chain(), sealed(2)
    for line in lines:
        chain.add(line)

    assert not chain.add(lines[0])
    assert chain.faults() == []


def test_changed_line_is_found() -> None:
    chain, lines = Chain(), sealed(3)
    changed = parse(orjson.dumps(lines[1].fields | {"operator": "somebody"}))
    for line in (lines[0], changed, lines[2]):
        chain.add(line)

    assert chain.faults() == [Fault(2, "changed")]


def test_line_that_contradicts_another_is_found() -> None:
    chain, lines = Chain(), sealed(3)
    for line in lines:
        chain.add(line)

    assert not chain.add(parse(orjson.dumps(lines[1].fields | {"hash": "0" * 63 + "1"})))
    assert chain.faults() == [Fault(2, "contradicted")]


def test_log_that_begins_later_is_whole_from_there() -> None:
    chain = Chain()
    for line in sealed(3, begin=7):
        chain.add(line)

    assert (chain.first_seq, chain.to_seq, chain.faults()) == (7, 9, [])


def test_line_that_comes_late_is_told_in_its_place(tmp_path: Path) -> None:
    """From another host's file: a run's state is what its last event made it."""
    planned, approved, released = (
        a_line(CATALOGUE[name]) | {"run_id": 1, "seq": seq}
        for seq, name in enumerate(("run.planned", "run.approved", "run.released"), start=1)
    )
    here, there = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    here.write_bytes(orjson.dumps(planned) + b"\n" + orjson.dumps(released) + b"\n")
    board = Board([tmp_path])
    board.catch_up()

    there.write_bytes(orjson.dumps(approved) + b"\n")
    board.catch_up()

    assert board.told.runs[1].state == "released"
    assert board.told.runs[1].seqs == [1, 2, 3]


def test_number_that_no_page_can_show_is_not_taken() -> None:
    values = a_line(CATALOGUE["batch.credited"])

    parse(orjson.dumps(values | {"credited_minor": 2**53 - 1}))
    with pytest.raises(Foreign):
        parse(orjson.dumps(values | {"credited_minor": 2**53}))


@pytest.mark.parametrize("depth", [1, 300, 900])
def test_line_that_is_nested_is_not_taken(depth: int) -> None:
    """Ours are flat. What is deep enough can be read, and neither hashed nor shown."""
    values = orjson.dumps(a_line(CATALOGUE["run.resumed"]) | {"more": 0})

    with pytest.raises((Torn, Foreign)):
        parse(values.replace(b'"more":0', b'"more":' + b"[" * depth + b"]" * depth))


def test_place_far_beyond_all_others_is_a_fault_and_not_believed(tmp_path: Path) -> None:
    """It would make every later line one that comes late."""
    far = sealed(1)[0].fields | {"seq": 2**53 - 1}
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(orjson.dumps(far) + b"\n" + b"".join(line.raw + b"\n" for line in sealed(3)))
    board = Board([path])

    board.catch_up()

    assert (board.chain.last_seq, board.chain.gaps()) == (3, [])
    assert board.chain.faults() == [Fault(2**53 - 1, "leaps")]


def test_names_without_end_do_not_fill_the_memory() -> None:
    """Of a roll-call, of errors, of batches: the newest are kept."""
    traffic = Traffic()
    for number in range(8):
        names = " ".join(f"host-{number}:{each}" for each in range(400))
        roll = a_line(CATALOGUE["scheduler.seen"]) | {"workers": names, "service.instance.id": f"here:{number}"}
        traffic.take(parse(orjson.dumps(roll)))
    failed = a_line(CATALOGUE["attempt.failed"])
    for number in range(1_000):
        traffic.take(parse(orjson.dumps(failed | {"error": f"Error{number}", "run_id": 1})))

    assert len(traffic.instances) == INSTANCES_MAX
    assert "host-7:399" in traffic.instances
    assert len(traffic.errors) == len(traffic.errors_of_run[1]) == KINDS_MAX
    assert ("text", "Error999", "text", "text") in traffic.errors


def test_reading_that_fails_is_said_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "despensa.jsonl"
    path.write_bytes(sealed(1)[0].raw + b"\n")
    board = Board([path])
    monkeypatch.setattr(Follower, "read", lambda _: 1 / 0)
    board.keep_up()
    assert (board.failure, board.version) == ("ZeroDivisionError", 1)
    monkeypatch.undo()

    board.keep_up()

    assert (board.failure, board.chain.last_seq) == ("", 1)


def test_line_that_was_written_before_its_event_had_a_field_is_taken_and_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within a schema events gain fields; the log of the release before is still the log."""
    before, expected = sealed(2), lines._EXPECTED["run.resumed"]
    monkeypatch.setitem(lines._EXPECTED, "run.resumed", [*expected, ("degrees", (int,))])
    with pytest.raises(Foreign):
        parse(before[0].raw)
    monkeypatch.setitem(lines._DEFAULTS, "run.resumed", {"degrees": 0})
    chain = Chain()

    for line in before:
        chain.add(parse(line.raw))

    assert (chain.to_seq, chain.faults()) == (2, [])
    assert chain.lines[1].fields["degrees"] == 0

"""The campaign's table prints what was counted, and nothing that was not."""

from itertools import accumulate, pairwise

from tests.faults.report import Row, table


def printed(*rows: Row) -> list[list[str]]:
    """The rows of the table, cut into their columns."""
    lines = table([row.as_json() for row in rows])
    widths = (max(len(row.fault) for row in rows), 8, 17, 9, 6, 9, 9, 9)
    edges = [0, *accumulate(widths)]
    return [[line[begin:end].strip() for begin, end in pairwise(edges)] for line in lines[2:]]


def test_rows_of_one_fault_are_added_up() -> None:
    killed = Row(fault="killed", runs=90, points=96, rounds=1, doubled=1, lost=0, surplus=2)
    again = Row(fault="killed", runs=80, points=84, rounds=1, doubled=0, lost=3, surplus=0)

    assert printed(killed, again) == [["killed", "170", "96 × 2", "1", "3", "2", "", ""]]


def test_what_nobody_counted_is_blank() -> None:
    """A zero there would be a promise that nobody kept."""
    assert printed(Row(fault="black hole", runs=1), Row(fault="black hole", runs=1)) == [
        ["black hole", "2", "", "", "", "", "", ""]
    ]


def test_what_one_of_two_tests_counted_is_printed() -> None:
    counted = Row(fault="cut", runs=1, doubled=0, lost=0)

    assert printed(Row(fault="cut", runs=1), counted) == [["cut", "2", "", "0", "0", "", "", ""]]


def test_recovery_is_of_all_rows_of_a_fault_in_the_order_of_their_names() -> None:
    frozen = [Row(fault="frozen", runs=1, recovery_s=(each,)) for each in (9.04, 1.0, 4.0)]

    assert printed(*frozen, Row(fault="dead", runs=1, recovery_s=(2.5,))) == [
        ["dead", "1", "", "", "", "", "2.5 s", "2.5 s"],
        ["frozen", "3", "", "", "", "", "4.0 s", "9.0 s"],
    ]

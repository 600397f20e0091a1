"""Small cells: none is published, and none can be worked out of what is."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.report.sheet import CELL_MIN, Rule, Sheet, Value, small_places, suppressed

COLUMNS = ("cycle", "location", "part_of", "planned", "credited", "amount")
RULES = (
    Rule(("planned",), ("planned", "credited", "amount")),
    Rule(("planned", "credited"), ("credited", "amount")),
)


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([], set()),
        ([10, 400], set()),
        ([0, 12], set()),  # nobody is in an empty cell
        ([9], {0}),  # it is the sum itself
        ([9, 40, 12], {0, 2}),  # the smallest of the others, or the sum tells the nine
        ([3, 4, 12, 40], {0, 1, 2}),  # three and four make seven: the sum tells those
        ([6, 7, 40], {0, 1}),
        ([1, 0, 0], {0, 1, 2}),  # the sum is the one: nobody can tell whose it is
        ([0, 1, 0, 0], {0, 1}),
        ([1, 0, 0, 0], {0, 1}),
        ([0, 0, 0, 1, 0], {2, 3, 4}),
    ],
)
def test_small_counts_are_hidden_with_as_many_others_as_hide_them(counts: list[int], hidden: set[int]) -> None:
    assert small_places(counts) == hidden


@given(st.lists(st.integers(0, 40), max_size=6))
def test_what_is_published_leaves_several_ways_for_what_is_not(counts: list[int]) -> None:
    """Whoever knows the sum and every published count cannot say what a small one is."""
    hidden = sorted(small_places(counts))

    published = [count for place, count in enumerate(counts) if place not in hidden]
    assert all(count == 0 or count >= CELL_MIN for count in published)
    if hidden and any(published):  # something is left that could have been hidden, too
        assert len(hidden) > 1
        assert sum(counts[place] for place in hidden) >= CELL_MIN


def test_families_that_were_not_credited_are_a_cell_too() -> None:
    """Planned less credited is what anybody can subtract: three families whose voucher went wrong."""
    sheet = Sheet("month", COLUMNS, [("2026-12", "02004", "a", 40, 37, "1"), ("2026-12", "02004", "b", 50, 30, "2")])

    shown = suppressed(sheet, RULES, margins=[("cycle", "location")], hidden_cities=set())

    assert shown.rows == [("2026-12", "02004", "a", 40, None, None), ("2026-12", "02004", "b", 50, None, None)]


def test_nothing_is_published_of_a_city_whose_sum_is_hidden() -> None:
    rows: list[tuple[Value, ...]] = [
        ("2026-12", city, part, 40, 40, "1") for city, part in product(("02004", "26043"), ("a", "b"))
    ]

    shown = suppressed(
        Sheet("month", COLUMNS, rows), RULES, margins=[("cycle", "location")], hidden_cities={("2026-12", "26043")}
    )

    assert [row[3] for row in shown.rows] == [40, 40, None, None]


#: Of donors' reports: by city and fund. In each a small cell could be worked out of another margin's sum.
TABLES = [
    [("A", "1", 5), ("A", "2", 50), ("B", "1", 100), ("B", "2", 60), ("C", "1", 60), ("C", "2", 70)],
    [("H", "2", 5), ("K", "1", 12), ("B", "1", 100), ("B", "2", 80)],
    [("A", "1", 3), ("A", "2", 40), ("B", "1", 40), ("B", "2", 40)],
]


@pytest.mark.parametrize("table", TABLES)
def test_what_one_margin_hides_another_does_not_tell(table: list[tuple[str, str, int]]) -> None:
    """Whoever knows every city's sum and every fund's, solves for nothing: each hidden cell has another in its row and
    in its column, where there are any."""
    rows: list[tuple[Value, ...]] = [("2026-12", city, fund, count) for city, fund, count in table]
    sheet = Sheet("donor", ("cycle", "location", "fund", "vouchers"), rows)

    shown = suppressed(
        sheet, [Rule(("vouchers",), ("vouchers",))], margins=[("cycle", "location"), ("cycle", "fund")],
        hidden_cities={("2026-12", "H"), ("2026-12", "K")},
    )  # fmt: skip

    hidden = [(city, fund) for (_, city, fund, _), (*_, told) in zip(rows, shown.rows, strict=True) if told is None]
    for at in (0, 1):
        for name in {each[at] for each in hidden}:
            there = [each for each in hidden if each[at] == name]
            assert len(there) > 1 or sum(row[at + 1] == name for row in rows) == 1, (name, hidden)


def test_small_count_of_a_sheet_that_adds_up_to_nothing_is_hidden() -> None:
    sheet = Sheet("store", ("cycle", "location", "store", "vouchers"), [("2026-12", "02004", "a", 3)])

    shown = suppressed(sheet, [Rule(("vouchers",), ("vouchers",))], margins=[], hidden_cities=set())

    assert shown.rows == [("2026-12", "02004", "a", None)]

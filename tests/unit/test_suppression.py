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

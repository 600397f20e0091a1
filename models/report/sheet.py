"""A report as a sheet: named columns and rows of plain values, and which cells are not for outside.

A cell of under ten families could say who is in it (ICRC, metadata study). Such a cell is suppressed, and with it as
many others as keep it from being worked out of the sum: at least two, which hold at least ten families together.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product

#: The smallest number of families that a published cell may hold.
CELL_MIN = 10

Value = int | str | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows in the order in which they are shown; a suppressed cell is None, and is told from an empty one by that."""

    name: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]

    def as_json(self) -> dict[str, object]:
        """The object of the contract for scripts."""
        return {
            "report": self.name,
            "columns": list(self.columns),
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Rule:
    """A count that must not be published while it is small, and the columns from which it could be read.

    `count` is a column, or two of which the second is subtracted: families planned and not credited are a cell, too.
    """

    count: tuple[str, ...]
    hides: tuple[str, ...]

    def of(self, row: Mapping[str, Value]) -> int:
        """The count of one row."""
        values = [value if isinstance(value, int) else 0 for value in map(row.get, self.count)]
        return values[0] - sum(values[1:])


def small_places(counts: Sequence[int], *, hidden: Set[int] = frozenset()) -> set[int]:
    """Which of the counts that add up to a published sum are not published: the small ones, and others that hide them.

    `hidden` are places that are not published for another reason. An empty cell is published, since nobody is in it,
    unless there is no other to hide a small one: then its neighbour is not, which would be hidden for the other's sake
    as well, so that nobody can tell which of them it was.
    """
    hidden = {*hidden, *(place for place, count in enumerate(counts) if 0 < count < CELL_MIN)}
    rest = sorted((count, place) for place, count in enumerate(counts) if count >= CELL_MIN and place not in hidden)
    for _, place in rest if hidden else ():
        if len(hidden) > 1 and sum(counts[each] for each in hidden) >= CELL_MIN:
            break
        hidden.add(place)
    if len(hidden) == 1:
        pairs = max(1, len(counts) // 2)
        (alone,) = (min(place // 2, pairs - 1) for place in hidden)
        hidden = {place for place in range(len(counts)) if min(place // 2, pairs - 1) == alone}
    return hidden


def suppressed(
    sheet: Sheet, rules: Iterable[Rule], *, margins: Sequence[tuple[str, ...]], hidden_cities: Set[tuple[str, str]]
) -> Sheet:
    """The sheet as it may leave the organisation.

    `margins` are the columns in which rows agree whose sum is published somewhere. Of `hidden_cities`, each with its
    cycle, nothing is published.
    """
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    rules = list(rules)
    hidden: dict[int, set[str]] = defaultdict(set)
    for rule in rules:
        for place, row in enumerate(rows):
            if (row["cycle"], row["location"]) in hidden_cities or 0 < rule.of(row) < CELL_MIN:
                hidden[place].update(rule.hides)
    # What one margin hides may be all that another hides, and then it is told by that one's sum: until nothing changes.
    before = -1
    while before < (before := sum(map(len, hidden.values()))):
        for rule, margin in product(rules, margins):
            for places in _agreeing(rows, margin):
                counts = [rule.of(rows[place]) for place in places]
                known = {at for at, place in enumerate(places) if hidden[place].issuperset(rule.hides)}
                for at in small_places(counts, hidden=known):
                    hidden[places[at]].update(rule.hides)
    return Sheet(
        sheet.name,
        sheet.columns,
        [
            tuple(None if name in hidden[place] else value for name, value in row.items())
            for place, row in enumerate(rows)
        ],
    )


def _agreeing(rows: Sequence[Mapping[str, Value]], margin: tuple[str, ...]) -> list[list[int]]:
    places: dict[tuple[Value, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[tuple(row[name] for name in margin)].append(place)
    return list(places.values())

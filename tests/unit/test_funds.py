"""Which fund pays what: the first, by position, that may pay for it and still can pay all of it."""

import pytest

from models.funds import CAUSES_MAX, Left, Source, Sources, Wanted
from models.states import GROUPS

PREGNANT, DISABILITY = frozenset({"pregnant"}), frozenset({"disability"})
ANY: frozenset[str] = frozenset()
HERE, THERE = "02004", "26043"


def a_fund(
    fund_id: int,
    balance_minor: int,
    *,
    cap: int | None = None,
    places: tuple[str, ...] = (),
    groups: frozenset[str] = ANY,
) -> Source:
    return Source(fund_id, f"fund-{fund_id}", balance_minor, cap, frozenset(places), groups)


def of(*funds: Source, cap: int | None = None) -> Sources:
    return Sources(list(funds), Left({fund.fund_id: fund.room_minor for fund in funds}, cap))


def shown(sources: Sources, *wanted: Wanted) -> list[tuple[int, int, int, int]]:
    shares, _ = sources.share(wanted)
    return [(share.fund_id, share.amount_minor, share.first_id, share.last_id) for share in shares]


@pytest.mark.parametrize(
    ("amounts", "sources", "shares"),
    [
        ([10, 10], of(a_fund(7, 20)), [(7, 20, 1, 2)]),
        ([10, 10], of(a_fund(7, 15), a_fund(8, 10)), [(7, 10, 1, 1), (8, 10, 2, 2)]),
        ([10, 10], of(a_fund(7, 9), a_fund(8, 20)), [(8, 20, 1, 2)]),
        ([10, 20, 4], of(a_fund(7, 15), a_fund(8, 99)), [(7, 10, 1, 1), (8, 20, 2, 2), (7, 4, 3, 3)]),
        ([10, 10], of(a_fund(7, 19)), [(7, 10, 1, 1)]),
        ([10, 10], of(a_fund(7, 99, cap=10), a_fund(8, 99)), [(7, 10, 1, 1), (8, 10, 2, 2)]),
        ([10], of(a_fund(7, 99, cap=-5), a_fund(8, 99)), [(8, 10, 1, 1)]),
        ([10, 10], of(a_fund(7, 99), cap=15), [(7, 10, 1, 1)]),
        ([10], of(), []),
        ([], of(a_fund(7, 19)), []),
    ],
)
def test_each_batch_draws_on_the_first_fund_that_can_pay_all_of_it(
    amounts: list[int], sources: Sources, shares: list[tuple[int, int, int, int]]
) -> None:
    wanted = [Wanted(place, amount_minor) for place, amount_minor in enumerate(amounts, start=1)]

    assert shown(sources, *wanted) == shares


def test_batch_draws_on_no_fund_that_may_not_pay_for_its_groups() -> None:
    sources = of(a_fund(7, 99, groups=PREGNANT), a_fund(8, 99, groups=PREGNANT | DISABILITY), a_fund(9, 99))

    found = shown(sources, Wanted(1, 10, PREGNANT), Wanted(2, 10, DISABILITY), Wanted(3, 10, PREGNANT | DISABILITY),
                  Wanted(4, 10, frozenset({"victim_of_crime"})), Wanted(5, 10))  # fmt: skip

    assert found == [(7, 10, 1, 1), (8, 20, 2, 3), (9, 20, 4, 5)]


def test_fund_pays_for_its_locations_alone_and_what_it_paid_is_gone_elsewhere() -> None:
    sources = of(a_fund(7, 15, places=(HERE,)), a_fund(8, 15))

    assert shown(sources.at(HERE), Wanted(1, 10), Wanted(2, 10)) == [(7, 10, 1, 1), (8, 10, 2, 2)]
    assert shown(sources.at(THERE), Wanted(1, 10)) == []
    assert sources.at(THERE).left_minor == 5


def test_groups_that_the_same_funds_may_pay_for_are_one_class() -> None:
    """No more is told of a family than must be. Those with the fewest funds choose first."""
    others = frozenset(GROUPS) - PREGNANT - DISABILITY

    assert of(a_fund(1, 0), a_fund(2, 0)).classes() == []
    assert of(a_fund(1, 0), a_fund(2, 0, groups=PREGNANT | DISABILITY)).classes() == [others, PREGNANT | DISABILITY]
    assert of(a_fund(1, 0, groups=PREGNANT), a_fund(2, 0, groups=PREGNANT | DISABILITY)).classes() == [
        others, DISABILITY, PREGNANT,
    ]  # fmt: skip


def test_fund_of_another_city_parts_nobody() -> None:
    sources = of(a_fund(1, 0), a_fund(2, 0, groups=PREGNANT, places=(THERE,)))

    assert sources.at(HERE).classes() == []
    assert len(sources.at(THERE).classes()) == 2


def test_forecast_pours_into_the_funds_that_may_pay_alone() -> None:
    """A plan's batches are not known yet: a class is shared by as many funds as it takes."""
    sources = of(a_fund(1, 30), a_fund(2, 20, groups=PREGNANT))
    wanted = sources.wanted({"pregnant": 25, "disability": 28})

    assert [(each.amount_minor, each.groups == PREGNANT) for each in wanted] == [(28, False), (25, True)]
    assert sources.pour(wanted) == 28 + 2 + 20
    assert of(a_fund(1, 99), cap=40).pour([Wanted(0, 53)]) == 40


@pytest.mark.parametrize(
    ("sources", "wanted", "causes"),
    [
        (of(a_fund(1, 5)), Wanted(1, 10), ["fund-1 balance"]),
        (of(a_fund(1, 50, cap=5)), Wanted(1, 10), ["fund-1 cap"]),
        (of(a_fund(1, 50), a_fund(2, 5)), Wanted(1, 60), ["fund-1 balance", "fund-2 balance"]),
        (of(a_fund(1, 50, groups=PREGNANT), a_fund(2, 5)), Wanted(1, 10, DISABILITY),
         ["fund-1 restriction", "fund-2 balance"]),
        (of(a_fund(1, 50), cap=5), Wanted(1, 10), ["the programme's cap"]),
        (of(a_fund(1, 50, places=(THERE,))).at(HERE), Wanted(1, 10), [f"no fund may pay for {HERE}"]),
        (of(*(a_fund(n, 0) for n in range(20))), Wanted(1, 10),
         [*(f"fund-{n} balance" for n in range(CAUSES_MAX)), f"and {20 - CAUSES_MAX} more"]),
    ],
)  # fmt: skip
def test_cause_names_what_each_fund_lacks(sources: Sources, wanted: Wanted, causes: list[str]) -> None:
    _, unpaid = sources.share([wanted])

    assert sources.causes(unpaid) == causes
    assert not [group for group in GROUPS for cause in causes if group in cause]

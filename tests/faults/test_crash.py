"""A month killed by SIGKILL at every point that can be counted: nothing doubled, nothing lost, nothing in surplus.

Points are before and after each statement and commit, each HTTP call, each message put, fetched and acknowledged, and
each line of the log. They are counted in a first month that is not killed. The long form kills at all of them, three
times with other answers of the issuer; the short form only at the edges: whatever is killed within a transaction is
rolled back alike.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import PROFILES
from tests.faults import plants
from tests.faults.campaign import Stage, Verdict, at, at_random
from tests.faults.report import Row

pytestmark = pytest.mark.timeout(3600)
ISSUER_KINDS = ("closed loop", "issuer")
#: In the short form every n-th edge is killed.
STRIDE = {"embedded": 1, "distributed": 4}


@pytest.fixture(params=ISSUER_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Who creates the vouchers."""
    return str(request.param)


@pytest.fixture
def stage(profile: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """For months of this profile and kind."""
    server = request.getfixturevalue("postgresql") if profile == "distributed" else ""
    redis_url = request.getfixturevalue("redis_url") if profile == "distributed" else ""
    folder = tmp_path / f"stage-{profile}-{kind.replace(' ', '-')}"
    with Stage(folder, server=server, redis_url=redis_url, outside=kind == "issuer").open() as stage:
        yield stage


def count_points(stage: Stage, *, edges_only: bool) -> int:
    """How many points a month has that is not killed."""
    with stage.month(seed=0, edges_only=edges_only) as month:
        points = month.run(at(0))
        assert not month.verdict(), month.verdict()
    return points


def test_month_survives_being_killed_at_every_point(
    stage: Stage, profile: str, kind: str, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    edges_only = not long_campaign
    points = count_points(stage, edges_only=edges_only)
    rounds = 3 if long_campaign else 1
    stride = 1 if long_campaign else STRIDE[profile]
    wrong: list[tuple[int, int, Verdict]] = []
    runs = 0
    for seed in range(rounds):
        for point in range(1, points + 1, stride):
            with stage.month(seed=seed, edges_only=edges_only) as month:
                month.run(at(point))
                verdict = month.verdict()
                runs += 1
                if verdict:
                    wrong.append((seed, point, verdict))

    what = "at a commit, call, message or line" if edges_only else "at a point"
    record_fault(_row(f"killed {what}, {_database(profile)}, {kind}", runs, wrong))
    assert wrong == []
    assert points > 50


def test_month_survives_being_killed_again_while_it_recovers(
    stage: Stage, profile: str, kind: str, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    points = count_points(stage, edges_only=False)
    months = 200 if long_campaign else 4
    wrong: list[tuple[int, int, Verdict]] = []
    for seed in range(1, months + 1):
        with stage.month(seed=seed, edges_only=False) as month:
            month.run(at_random(seed, points=points // 2, crashes=4))
            verdict = month.verdict()
            if verdict:
                wrong.append((seed, month.kills, verdict))

    record_fault(_row(f"killed four times at random, {_database(profile)}, {kind}", months, wrong))
    assert wrong == []


@pytest.mark.parametrize("plant", [plant.__name__ for plant in (*plants.ISSUER, *plants.CLOSED_LOOP)])
def test_campaign_catches_a_planted_bug(plant: str, tmp_path: Path, record_fault: Callable[[Row], None]) -> None:
    """A campaign that finds nothing proves nothing unless it finds what is there."""
    outside = plant in {each.__name__ for each in plants.ISSUER}
    caught: Verdict | None = None
    months = 0
    with Stage(tmp_path / "stage", server="", redis_url="", outside=outside).open() as stage:
        points = count_points(stage, edges_only=True)
        for point in [0, *range(1, points + 1)]:
            with stage.month(seed=point, edges_only=True, plant=plant) as month:
                month.run(at(point))
                caught = month.verdict() or None
                months += 1
            if caught:
                break

    record_fault(Row(fault=f"planted: {plant}, caught after so many", runs=months))
    assert caught, f"{plant} was not caught at any of {points} points"


def _row(fault: str, runs: int, wrong: list[tuple[int, int, Verdict]]) -> Row:
    return Row(
        fault=fault,
        runs=runs,
        doubled=sum(verdict.doubled for *_, verdict in wrong),
        lost=sum(verdict.lost for *_, verdict in wrong),
        surplus=sum(verdict.surplus + len(verdict.disagreements) for *_, verdict in wrong),
    )


def _database(profile: str) -> str:
    return {"embedded": "SQLite", "distributed": "PostgreSQL"}[profile]


assert set(STRIDE) == set(PROFILES)

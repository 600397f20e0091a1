"""A month killed by SIGKILL at every point that can be counted: nothing doubled, nothing lost, nothing in surplus.

Points are before and after each statement and commit, each HTTP call, each message put, fetched and acknowledged, and
each line of the log. They are counted in a first month that is not killed. The long form kills at all of them, three
times over, with other answers of the issuer; the short form only at the edges: whatever is killed within a transaction
is rolled back alike.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median_low

import pytest
from sqlalchemy import text, update

import scheduler.plan as plan_module
from models.broker import redis_client
from models.errors import RefusedByState
from models.messages import CREDIT_QUEUE
from models.storage import Database
from models.tables import Household, Programme
from tests.builders import CITIES, CYCLE, NOGALES, PAYDAY, TIJUANA, a_programme, families
from tests.conftest import PROFILES
from tests.faults import plants
from tests.faults.campaign import ISSUER_FAULTS, LifeFailed, Stage, Verdict, at, at_random, row_of
from tests.faults.report import Row
from tests.races import Racer, waits_for_a_lock
from tests.waiting import until

pytestmark = pytest.mark.timeout(3600)
#: In the short form every n-th edge is killed. Most come in pairs: an even stride would see only the first of each.
STRIDE = {"embedded": 1, "distributed": 5}
#: The kinds of edges: a month is killed at the first one of each, too, for some a stride never meets.
EDGES = {f"{when} {what}" for when in ("before", "after") for what in ("commit", "enqueue", "_post", "ack", "write")}
EDGES |= {"after fetch"}  # before it nothing has changed since the edge that comes first
ISSUER_EDGES = {"before _call", "after _call"}


def count_points(stage: Stage, *, edges_only: bool, months: int = 1) -> int:
    """How many points a month has that is not killed; of several months with other faults of the issuer, the median.

    A few have twice as many: a line that is put off, or asked for often, makes its month longer.
    """
    points: list[int] = []
    for seed in range(months):
        with stage.month(seed=seed, edges_only=edges_only) as month:
            points.append(month.run(at(0)))
            assert not month.verdict(), month.verdict()
    return median_low(points)


def test_month_survives_being_killed_at_every_point(
    stage: Stage, profile: str, kind: str, seed: int, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    edges_only = not long_campaign
    outside = kind == "issuer"
    points = count_points(stage, edges_only=edges_only, months=5 if outside else 1)
    edges = EDGES | ISSUER_EDGES if outside else EDGES
    wrong: dict[tuple[int, int | str], Verdict] = {}
    killed_at: list[str] = []
    chosen = [*range(1, points + 1, 1 if long_campaign else STRIDE[profile]), *sorted(edges)]
    for faults, point in enumerate(chosen, start=seed * 10_000 + 1):
        # Other faults for each point: with the same ones, a month would meet few of them, or none.
        with stage.month(seed=faults, edges_only=edges_only) as month:
            month.run(at(point))
            verdict = month.verdict()
            killed_at += month.killed_at  # nowhere, where a month with fewer faults was over before
            if verdict:
                wrong[faults, point] = verdict

    what = "at a commit, call, message or line" if edges_only else "at a point"
    record_fault(
        row_of(f"killed {what}, {_database(profile)}, {kind}", len(killed_at), wrong.values(), points=len(chosen))
    )
    assert wrong == {}
    assert edges - set(killed_at) == set()
    statements = set(killed_at) - edges
    assert {each.split()[0] for each in statements} == (set() if edges_only else {"before", "after"})
    assert points > 50
    assert len(killed_at) > 0.8 * len(chosen)
    if outside:
        assert stage.faults_met() == ISSUER_FAULTS.keys()
        assert 0.15 < stage.share_gone_wrong() < 0.35


def test_month_survives_being_killed_again_while_it_recovers(
    stage: Stage, profile: str, kind: str, long_campaign: bool, record_fault: Callable[[Row], None]
) -> None:
    points = count_points(stage, edges_only=False)
    months = 200 if long_campaign else 4
    killed = 0
    wrong: dict[tuple[int, int | str], Verdict] = {}
    for seed in range(1, months + 1):
        with stage.month(seed=seed, edges_only=False) as month:
            # Of a quarter each, so that no month is over before its fourth.
            month.run(at_random(seed, points=points // 4, crashes=4))
            verdict = month.verdict()
            killed += len(month.killed_at)
            if verdict:
                wrong[seed, len(month.killed_at)] = verdict

    what = f"killed four times at random, {_database(profile)}, {kind}"
    record_fault(row_of(what, killed, wrong.values(), points=points, rounds=months))
    assert wrong == {}
    assert killed > 0.95 * 4 * months


@pytest.mark.parametrize("plant", [*plants.ISSUER, *plants.CLOSED_LOOP], ids=lambda plant: plant.__name__)
def test_campaign_catches_a_planted_bug(
    plant: Callable[[], None], tmp_path: Path, record_fault: Callable[[Row], None]
) -> None:
    """A campaign that finds nothing proves nothing unless it finds what is there, and for what it is."""
    finding = (plants.ISSUER | plants.CLOSED_LOOP)[plant]
    verdict = Verdict()
    others: list[Verdict] = []
    with Stage(tmp_path / "stage", server="", redis_url="", outside=plant in plants.ISSUER).open() as stage:
        points = count_points(stage, edges_only=True)
        for point in range(points + 1):
            with stage.month(seed=point, edges_only=True, plant=plant.__name__) as month:
                try:
                    month.run(at(point))
                except LifeFailed as failed:  # the database would not have it
                    verdict = Verdict(disagreements=[str(failed)])
                else:
                    verdict = month.verdict()
            if verdict.holds(finding):
                break
            if verdict:
                others.append(verdict)
        months = stage.months - 1  # the first one had no bug

    record_fault(Row(fault=f"planted: {plant.__name__}, caught after so many", runs=months))
    assert verdict.holds(finding), f"no {finding!r} at any of {points} points, but {others}"


@pytest.mark.parametrize("profile", ["distributed"])
@pytest.mark.parametrize("kind", ["closed loop"])
def test_message_acknowledged_too_early_costs_nothing(stage: Stage, record_fault: Callable[[Row], None]) -> None:
    """Elsewhere this is the bug that loses a job. Here the database says what is owed; a message says "look now"."""
    points = count_points(stage, edges_only=True)
    wrong: dict[tuple[int, int | str], Verdict] = {}
    killed_at: list[str] = []
    # The last one is always among them, wherever the stride comes: the message is gone, and nothing is done.
    chosen: list[int | str] = [*range(1, points + 1, STRIDE["distributed"]), "after fetch"]
    for point in chosen:
        with stage.month(seed=0, edges_only=True, plant="acknowledged_before_the_work") as month:
            month.run(at(point))
            verdict = month.verdict()
            killed_at += month.killed_at
            if verdict:
                wrong[0, point] = verdict

    what = "messages acknowledged before the work, and killed"
    record_fault(row_of(what, len(killed_at), wrong.values(), points=len(chosen)))
    assert wrong == {}
    assert len(killed_at) == len(chosen)
    assert "after fetch" in killed_at


@pytest.mark.parametrize("profile", ["distributed"])
@pytest.mark.parametrize("kind", ["closed loop"])
@pytest.mark.parametrize(("plant", "left"), [(plants.sent_once, 2), (plants.acknowledged_early_and_sent_once, 1)])
def test_message_acknowledged_too_early_is_lost_where_nobody_sends_again(
    stage: Stage, plant: Callable[[], None], left: int, redis_url: str, record_fault: Callable[[Row], None]
) -> None:
    """Killed with the first of two messages in hand: acknowledged, not even Redis has it."""
    with stage.month(seed=0, edges_only=True, plant=plant.__name__) as month:
        month.run(at("after fetch"))
        verdict = month.verdict()
        with redis_client(redis_url) as client:
            messages = client.hlen(f"{month.life.namespace}:{CREDIT_QUEUE}.msgs")

    if plant in plants.DISTRIBUTED:
        record_fault(Row(fault=f"planted: {plant.__name__}, caught after so many", runs=1))
    assert verdict.holds((plants.CLOSED_LOOP | plants.DISTRIBUTED)[plant])
    assert messages == left


@pytest.mark.parametrize("key", ["there", "missing"])
def test_only_the_unique_key_stops_two_plans_of_a_family_that_moves(
    key: str,
    postgresql: str,
    redis_url: str,
    tmp_path: Path,
    record_fault: Callable[[Row], None],
) -> None:
    """Two schedulers plan two cities while a family moves from one to the other: promise 1 rests on the key alone."""
    with Stage(
        tmp_path / f"stage-key-{key}", server=postgresql, redis_url=redis_url, outside=False, prepare=a_family
    ).open() as stage, stage.month(seed=0, edges_only=True) as month:  # fmt: skip
        url = month.life.database_url
        if key == "missing":
            _drop_the_key(month.database)
        first = Racer(url, partial(_plan, TIJUANA), stop_after=plan_module.INSERT_LINES).start()
        with month.database.transaction() as tx:
            tx.connection.execute(update(Household).values(location_code=NOGALES))
        second = Racer(url, partial(_plan, NOGALES))
        second.start()
        until(lambda: second.ended or waits_for_a_lock(month.database), what="the second plan")
        first.finish()
        second.finish()
        month.run(at(0))
        verdict = month.verdict()

    if key == "there":
        record_fault(row_of("two plans of a family that moves", 1, [verdict]))
        assert not verdict
    else:
        record_fault(Row(fault="planted: missing_unique_key, caught after so many", runs=1))
        assert verdict.doubled == 1


def a_family(database: Database, store_url: str) -> None:
    """In Tijuana, of a programme that runs in Nogales, too."""
    cities = [city for city in CITIES if city[0] in (TIJUANA, NOGALES)]
    families(database, a_programme(database, cities=cities, store_url=store_url), 1, location=TIJUANA)


def _plan(location: str, database: Database) -> bool:
    """As the scheduler does: a plan that finds nothing in the end is rolled back."""
    try:
        with database.transaction() as tx:
            return plan_module.plan_slot(
                tx, tx.get(Programme), location_code=location, cycle=CYCLE, now=PAYDAY, batch_lines=10
            ).created
    except (plan_module.NothingToPlan, RefusedByState):
        return False


def _drop_the_key(database: Database) -> None:
    with database.transaction() as tx:
        [name] = tx.connection.execute(
            text("SELECT conname FROM pg_constraint WHERE conrelid = 'disbursement'::regclass AND contype = 'u'")
        ).scalars()
        tx.connection.execute(text(f'ALTER TABLE disbursement DROP CONSTRAINT "{name}"'))


def _database(profile: str) -> str:
    return {"embedded": "SQLite", "distributed": "PostgreSQL"}[profile]


assert set(STRIDE) == set(PROFILES)
assert all(stride % 2 for stride in STRIDE.values())

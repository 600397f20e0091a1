"""What metrics say is what the database holds: in both profiles, and whatever the months before hold."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from models import books
from models.calendar import Cycle
from models.differences import close_by_person
from models.messages import CreditBatch, SendNotice
from models.states import DifferenceReason
from models.tables import Case, Fund
from scheduler import measures
from scheduler.dispatch import RESEND_S, Tally, dispatch
from scheduler.measures import Family, Measurer, Reading
from scheduler.seal import seal
from tests.builders import (
    CITIES,
    CYCLE,
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    families,
    notices_of,
    without_guards,
)
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.statements import Books, entry

PROGRAMME = "northern-mexico"
HERE = (PROGRAMME, TIJUANA)
THIS_CYCLE = (*HERE, str(CYCLE))


def measured(installation: Installation) -> Reading:
    """What a scheduler would expose now."""
    with installation.database.reading() as tx:
        return Measurer(installation.clock, distributed=installation.distributed).read(tx)


def sample(installation: Installation, family: Family, *labels: str) -> float | None:
    """One sample, or None."""
    return measured(installation).samples[family].get(labels)


def test_month_is_told_by_city(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 25, location=TIJUANA)
    run = a_released_run(database, programme)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))

    samples = measured(installation).samples

    assert samples[measures.PLANNED][THIS_CYCLE] == 25
    assert samples[measures.PLANNED_MINOR][*THIS_CYCLE, "MXN"] == run.planned_minor
    assert samples[measures.CREDITED][THIS_CYCLE] == 10
    assert samples[measures.CREDITED_MINOR][*THIS_CYCLE, "MXN"] == batches_of(database, run)[0].amount_minor
    assert samples[measures.NOT_OWED][THIS_CYCLE] == 0
    assert samples[measures.RUNS] == {(PROGRAMME, "released"): 1}
    assert samples[measures.BATCHES] == {(*HERE, "open"): 2, (*HERE, "done"): 1}
    assert samples[measures.UNRELEASED_MINOR] == {(PROGRAMME, "MXN"): 0}
    assert samples[measures.LOCATION][TIJUANA, "Tijuana", "America/Tijuana"] == 1


def test_what_persons_resolved_is_credited_or_not_owed(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 3, location=TIJUANA)
    run = a_released_run(database, programme)
    first_id = batches_of(database, run)[0].first_id
    with database.transaction() as tx:
        fund_id = tx.get(Fund).id
        for number, outcome in enumerate(("paid", "not_owed", None)):
            tx.add(
                Case(
                    disbursement_id=first_id + number, run_id=run.id, fund_id=fund_id, reason="dead", reserved=False,
                    state="closed" if outcome else "open", outcome=outcome, attempts=2, opened_at=tx.now,
                )
            )  # fmt: skip

    samples = measured(installation).samples

    assert samples[measures.CREDITED][THIS_CYCLE] == 1
    assert samples[measures.CREDITED_MINOR][*THIS_CYCLE, "MXN"] > 0
    assert samples[measures.NOT_OWED][THIS_CYCLE] == 1
    assert samples[measures.CASES][*HERE, "dead"] == 1
    assert samples[measures.CASES][*HERE, "unknown"] == 0


def test_difference_of_a_statement_is_told_by_its_reason_until_it_is_closed(
    installation: Installation, tmp_path: Path
) -> None:
    """A reason without any is 0: an alert must see it go, and not only a sample that is gone."""
    books = Books.open(installation.database, tmp_path)
    books.credit(0)
    none = {(PROGRAMME, str(reason)): 0 for reason in DifferenceReason}
    assert measured(installation).samples[measures.DIFFERENCES] == none
    books.import_(entry("c8", "e" * 64), entry("c9", "f" * 64))

    told = measured(installation).samples[measures.DIFFERENCES]

    assert told == none | {(PROGRAMME, "unknown_to_us"): 2, (PROGRAMME, "unknown_to_them"): 1}
    with installation.database.transaction() as tx:
        for number in (1, 2, 3):
            close_by_person(tx, number, evidence="letter")
    assert measured(installation).samples[measures.DIFFERENCES] == none


def test_run_whose_books_did_not_agree_at_its_close_is_told_by_city(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA)
    run = a_released_run(database, programme)
    for batch in batches_of(database, run):
        installation.receive(CreditBatch(batch.id))
    with database.transaction() as tx, without_guards(tx, "transfer"):
        tx.connection.execute(text("UPDATE transfer SET amount_minor = amount_minor + 1 WHERE kind = 'reserve'"))
    before = dict(measured(installation).samples[measures.DISAGREEING])

    installation.ticker().work()

    assert before[HERE] == 0
    assert measured(installation).samples[measures.DISAGREEING] == before | {HERE: 1}


def test_older_months_are_left_out_unless_their_run_is_not_over(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 2, location=TIJUANA, first_cycle=Cycle(2026, 10))
    families(database, programme, 2, location=NOGALES, first_cycle=Cycle(2026, 10))
    for location in (TIJUANA, NOGALES):
        a_planned_run(database, programme, location=location, cycle=Cycle(2026, 10))
    with database.transaction() as tx:
        over = "UPDATE run SET state = 'completed', completed_at = planned_at WHERE location_code = :location"
        with without_guards(tx, "run"):
            tx.connection.execute(text(over), {"location": TIJUANA})

    planned = measured(installation).samples[measures.PLANNED]

    assert planned == {(PROGRAMME, NOGALES, "2026-10"): 2}


def test_batch_waits_since_it_was_due_or_first_given_back(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 20, location=TIJUANA)
    assert sample(installation, measures.OPEN_AGE, *HERE) == 0
    run = a_released_run(database, programme)
    with database.transaction() as tx:
        earlier = tx.now - timedelta(minutes=20)
        later = tx.now + timedelta(seconds=5)
        batch = batches_of(database, run)[0]
        batch.given_back_at, batch.next_attempt_at = earlier, later
        tx.update(batch, ["given_back_at", "next_attempt_at"])

    age_s = sample(installation, measures.OPEN_AGE, *HERE)

    assert age_s is not None
    assert 1200 <= age_s < 1260
    assert sample(installation, measures.OPEN_AGE, PROGRAMME, NOGALES) == 0


def test_slot_with_families_and_without_a_run_is_late(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)

    late = measured(installation).samples[measures.LATE]

    assert late[HERE] == (PAYDAY - PAYDAY.replace(hour=17)).total_seconds()  # 09:00 in Tijuana
    assert {value for place, value in late.items() if place != HERE} == {0}  # there is nobody there
    a_planned_run(database, programme)
    assert sample(installation, measures.LATE, *HERE) == 0


def test_families_that_come_to_an_empty_slot_are_seen_within_minutes(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    measurer = Measurer(installation.clock, distributed=installation.distributed)
    with database.reading() as tx:
        measurer.read(tx)
    families(database, programme, 1, location=TIJUANA)

    with database.reading() as tx:
        at_once = measurer.read(tx).samples[measures.LATE][HERE]
    installation.clock.now += measures.NOBODY_FOR
    with database.reading() as tx:
        afterwards = measurer.read(tx).samples[measures.LATE][HERE]

    assert (at_once, afterwards > 0) == (0, True)


def test_run_that_waits_says_for_what_and_since_when(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database, approval="person")
    families(database, programme, 1, location=TIJUANA)
    installation.ticker().decide()

    samples = measured(installation).samples

    assert samples[measures.WAITING] == {(*HERE, "approval"): 1}
    assert samples[measures.WAITING_AGE][HERE] == 3 * 3600
    assert samples[measures.WAITING_AGE][PROGRAMME, NOGALES] == 0
    assert samples[measures.UNRELEASED_MINOR][PROGRAMME, "MXN"] == samples[measures.PLANNED_MINOR][*THIS_CYCLE, "MXN"]


def test_fund_is_told_as_it_is(installation: Installation) -> None:
    database = installation.database
    a_programme(database, funds_minor=(7, 9))
    with database.transaction() as tx:
        books.deposit(tx, fund_id=tx.list(Fund)[0].id, amount_minor=5, currency="MXN")

    funds = measured(installation).samples[measures.FUNDS]

    assert funds == {(PROGRAMME, "fund-1", "MXN"): 12, (PROGRAMME, "fund-2", "MXN"): 9}


def test_notices_and_stores(installation: Installation) -> None:
    database = installation.database
    with FakeStore.open() as store:
        programme = a_programme(database, cities=CITIES[:1], store_url=store.url)
        families(database, programme, 5, location=TIJUANA)
        run = a_released_run(database, programme)
        installation.receive(CreditBatch(batches_of(database, run)[0].id))
        installation.ticker().work()
        due = measured(installation).samples
        notice = notices_of(database, run)[0]
        store.answers = [410]
        installation.receive(SendNotice(notice.id))
        gone = measured(installation).samples

    assert due[measures.NOTICES] == {(*HERE, "due"): 1, (*HERE, "delivered"): 0, (*HERE, "undelivered"): 0}
    assert 0 < due[measures.NOTICE_AGE][PROGRAMME, "due"] < 60
    assert gone[measures.NOTICES][*HERE, "undelivered"] == 1
    assert gone[measures.NOTICE_AGE][PROGRAMME, "due"] == 0
    assert gone[measures.NOTICE_AGE][PROGRAMME, "undelivered"] > 0
    assert gone[measures.STORES] == {(TIJUANA,): 1}
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE store SET breaker_until = '2026-12-01T00:00:00.000000Z'"))
    assert sample(installation, measures.CUT_OFF, TIJUANA) == 1
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE store SET active = :no"), {"no": False})
    assert (sample(installation, measures.CUT_OFF, TIJUANA), sample(installation, measures.STORES, TIJUANA)) == (
        None,
    ) * 2
    assert sample(installation, measures.NOTICES, *HERE, "undelivered") == 0  # nobody waits for a store that is no more


def test_events_that_nobody_seals_grow_old(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    a_planned_run(database, programme)

    samples = measured(installation).samples
    assert (samples[measures.UNSEALED][()], samples[measures.UNEMITTED][()]) == (2, 0)
    assert samples[measures.UNSEALED_AGE][()] > 0
    seal(database)
    samples = measured(installation).samples
    assert (samples[measures.UNSEALED][()], samples[measures.UNSEALED_AGE][()]) == (0, 0)
    assert samples[measures.UNEMITTED][()] == 2


def test_who_was_seen(installation: Installation) -> None:
    """Embedded, no worker is ever seen: an alert must not miss one."""
    installation.ticker().work()

    seen = measured(installation).samples[measures.SEEN]

    expected = {("scheduler",): 1}
    assert seen == (expected | {("worker",): 0} if installation.distributed else expected)


def test_batch_that_is_sent_again_is_counted_apart(installation: Installation) -> None:
    database, tally = installation.database, Tally()
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    dispatch(database, installation.broker, tally)
    assert (tally.batches, tally.resent) == (3, 0)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE batch SET stamped_at = :at"), {"at": _before(tx.now, database.dialect)})

    dispatch(database, installation.broker, tally)

    assert (tally.batches, tally.resent, tally.notices) == (5, 2, 0)


def _before(now: object, dialect: str) -> object:
    from datetime import datetime

    from models.columns import instant_text

    assert isinstance(now, datetime)
    at = now - timedelta(seconds=RESEND_S + 1)
    return instant_text(at) if dialect == "sqlite" else at


def test_no_label_says_anything_of_a_family_or_a_run(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    registered = families(database, programme, 20, location=TIJUANA)
    run = a_released_run(database, programme)
    told = {label for values in measured(installation).samples.values() for labels in values for label in labels}

    assert told & {*registered, str(run.id), *(str(batch.id) for batch in batches_of(database, run))} == set()
    assert {name for family in measures.FAMILIES for name in family.labels} == {
        "programme", "location", "cycle", "currency", "state", "reason", "fund", "role", "name", "time_zone",
    }  # fmt: skip


@pytest.mark.parametrize("profile", ["embedded"], indirect=True)
def test_every_family_is_listed_once(installation: Installation) -> None:
    names = [family.name for family in measures.FAMILIES]

    assert len(names) == len(set(names)) == len(measured(installation).samples)

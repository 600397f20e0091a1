"""One bad line, batch, key, clock or time zone holds back nobody else, and nobody for long."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, text, update

from models.doubts import ASK_AGAIN
from models.errors import UnknownZone
from models.keys import Key, KeyRing, credit_reference
from models.messages import CreditBatch
from models.states import CaseState
from models.storage import Database
from models.tables import Batch, Case, Issuer, Run
from scheduler.cancel import cancel
from scheduler.pause import pause, resume
from tests.builders import (
    CYCLE,
    NOGALES,
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    cases_of,
    families,
    transferred_minor,
    vouchers_of,
)
from tests.fakes import HERE
from tests.installation import Installation
from tests.integration.test_outside import a_month, work
from tests.ledger import assert_books_agree, expire_lease, pass_time
from tests.races import failing_at
from workers import outside
from workers.credit import FINISH_BATCH, take_batch
from workers.issuers.calls import _record_intents, begin
from workers.issuers.simulated import Served, SimulatedIssuer

pytestmark = pytest.mark.long

OTHER_KEY = KeyRing("reference", (Key(1, b"another key of thirty-two bytes."),))


class PutsOff(SimulatedIssuer):
    """Says the explicit 503 to every send of one reference: nothing was done."""

    reference = ""

    def _fault(self, verb: str, reference: str) -> str:
        fault = super()._fault(verb, reference)
        return "busy" if verb == "POST" and reference == self.reference else fault


class RefusesBetweenDoubts(SimulatedIssuer):
    """Of each line in turn: a send without an answer, and a refusal."""

    def _fault(self, verb: str, reference: str) -> str:
        super()._fault(verb, reference)
        if verb == "GET":
            return ""
        return "lost_before" if self.sends[reference] % 2 else "refuse"


def reference_of(installation: Installation, registration_id: str) -> str:
    """Under which a family is called for."""
    keys = installation.place.reference_keys
    return credit_reference(keys, programme="northern-mexico", registration_id=registration_id, cycle=str(CYCLE))


def minutes(installation: Installation, count: int) -> None:
    """Every five seconds the scheduler ticks, and a worker takes what it is sent, in that order."""
    ticker = installation.ticker()
    for _ in range(count * 12):
        ticker.work()
        with installation.database.reading() as tx:
            since = tx.now - timedelta(seconds=4)
            sent = [batch for batch in tx.list(Batch, Batch.state == "open") if (batch.stamped_at or since) > since]
        for batch in sent:
            installation.receive(CreditBatch(batch.id))
        _let_pass(installation.database, timedelta(seconds=5))


def _let_pass(database: Database, time: timedelta) -> None:
    """Every instant that something waits for is so much earlier."""
    waiting: dict[type[Batch] | type[Case] | type[Issuer], tuple[str, ...]] = {
        Batch: ("next_attempt_at", "stamped_at", "lease_until", "given_back_at"),
        Case: ("next_attempt_at",),
        Issuer: ("breaker_until",),
    }
    with database.transaction() as tx:
        for table, names in waiting.items():
            for row in tx.list(table):
                for name in names:
                    if getattr(row, name) is not None:
                        setattr(row, name, getattr(row, name) - time)
                tx.update(row, list(names))


@pytest.mark.parametrize("profile", ["distributed"])
def test_line_that_its_issuer_puts_off_does_not_hold_back_another_city(installation: Installation) -> None:
    database = installation.database
    with PutsOff(retry_after_s=0) as issuer:
        programme = a_programme(database)
        an_issuer(database, programme, issuer.url)
        installation.write_token(programme.code)
        [registration_id] = families(database, programme, 1, location=TIJUANA)
        issuer.reference = reference_of(installation, registration_id)
        families(database, programme, 5, location=NOGALES)
        first = a_released_run(database, programme, location=TIJUANA)
        minutes(installation, 2)
        assert vouchers_of(database, first) == []
        second = a_released_run(database, programme, location=NOGALES)

        minutes(installation, 4)

        assert len(vouchers_of(database, second)) == 5
        assert_books_agree(database)


@pytest.mark.parametrize("profile", ["embedded"])
def test_line_that_is_put_off_after_an_outage_does_not_hold_back_its_mates(installation: Installation) -> None:
    """The issuer is probed with one call, and not with the same one each time."""
    database = installation.database
    with SimulatedIssuer() as gone:
        nobody = gone.url
    with PutsOff(retry_after_s=0) as issuer:
        programme = a_programme(database)
        an_issuer(database, programme, nobody)
        installation.write_token(programme.code)
        registration_ids = families(database, programme, 10, location=TIJUANA)
        issuer.reference = reference_of(installation, registration_ids[0])
        run = a_released_run(database, programme, location=TIJUANA)
        minutes(installation, 1)
        with database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(url=issuer.url))

        minutes(installation, 4)

        assert len(vouchers_of(database, run)) == 9
        assert_books_agree(database)


def test_batches_that_are_given_back_do_not_keep_others_of_their_run_from_being_sent(
    installation: Installation,
) -> None:
    """Two lines were called for under a key that this host has not: they alone wait for it."""
    database = installation.database
    with SimulatedIssuer() as issuer:
        programme = a_programme(database)
        an_issuer(database, programme, issuer.url, calls_max=32)
        installation.write_token(programme.code)
        families(database, programme, 6, location=TIJUANA)
        run = a_released_run(database, programme, location=TIJUANA, batch_lines=1)
        for batch in batches_of(database, run)[:2]:
            lease = take_batch(database, batch.id)
            assert lease is not None
            taken = begin(database, lease, keys=OTHER_KEY, stopping=installation.place.stopping)
            assert taken is not None
            _record_intents(database, taken)
            expire_lease(database, batch)

        minutes(installation, 3)

        assert len(vouchers_of(database, run)) == 4


def credit_by_a_host_with_another_key(installation: Installation, batch: Batch) -> None:
    """As workers.actors does."""
    lease = take_batch(installation.database, batch.id)
    assert lease is not None
    outside.credit_batch(
        installation.database, lease, key_version=1, references=OTHER_KEY, token=lambda: "rehearsal",
        stopping=installation.place.stopping, outgoing=HERE,
    )  # fmt: skip


def test_lines_of_which_nothing_was_sent_are_free_for_the_right_key(installation: Installation) -> None:
    """The issuer was down while a host with another key tried. Then both are mended."""
    with SimulatedIssuer() as gone:
        nobody = gone.url
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(url=nobody))
        credit_by_a_host_with_another_key(installation, batches_of(installation.database, run)[0])
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(url=issuer.url))
        pass_time(installation.database)

        work(installation, run, rounds=5)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 10


def test_known_credit_is_settled_by_a_host_with_another_key(installation: Installation) -> None:
    """There is nothing left to call for."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        [batch] = batches_of(installation.database, run)
        with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(batch.id))
        expire_lease(installation.database, batch)

        credit_by_a_host_with_another_key(installation, batch)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 2


def test_refusals_between_doubts_come_to_an_end(installation: Installation) -> None:
    with RefusesBetweenDoubts() as issuer, a_month(installation, issuer, count=1) as run:
        work(installation, run, rounds=2 * len(ASK_AGAIN) + 6)

        cases = cases_of(installation.database, run)
        assert len(cases) <= len(ASK_AGAIN) + 1
        assert (cases[-1].state, cases[-1].next_attempt_at) == (CaseState.OPEN, None)


@pytest.mark.parametrize("profile", ["distributed"])
def test_take_that_meets_a_pause_loses_its_lease_and_does_not_fail(installation: Installation) -> None:
    """The pause comes between the take and the look at its lines."""
    database = installation.database
    other = Database(database.url.render_as_string(hide_password=False))
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        [batch] = batches_of(database, run)
        steps: list[str] = []

        def meet(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if "-- take_batch:" in statement:
                steps.append("taken")
            elif steps == ["taken"] and "clock_timestamp" in statement:
                steps.append("paused")
                with other.transaction() as tx:
                    pause(tx, run.id, reason="test")

        event.listen(database.engine, "after_cursor_execute", meet)
        installation.receive(CreditBatch(batch.id))
        event.remove(database.engine, "after_cursor_execute", meet)
        other.close()
        attempts = [line for line in installation.lines() if str(line["event"]).startswith("attempt.")]
        with database.transaction() as tx:
            resume(tx, run.id)
        work(installation, run)

        assert steps == ["taken", "paused"]
        assert [(line["event"], line.get("outcome")) for line in attempts] == [("attempt.finished", "lease lost")]
        assert len(vouchers_of(database, run)) == 1


@pytest.fixture
def shift(installation: Installation) -> Callable[[timedelta], None]:
    """Shifts the clock of an embedded installation's database, which is its host's."""
    real = installation.database._now

    def shift_by(by: timedelta) -> None:
        def shifted() -> datetime:
            return real() + by

        installation.database._now = shifted

    return shift_by


def let_days_pass(
    installation: Installation, run: Run, shift: Callable[[timedelta], None], *, days: int, on: Callable[[int], None]
) -> None:
    """By a clock that is right."""
    for day in range(days):
        shift(timedelta(days=day))
        on(day)
        installation.ticker().tick()
        receive_open(installation, run)


def receive_open(installation: Installation, run: Run) -> None:
    """Deliver a message for each open batch."""
    for batch in batches_of(installation.database, run):
        if batch.state == "open":
            installation.receive(CreditBatch(batch.id))


def sent_by_a_clock_that_is_ahead(
    installation: Installation, issuer: SimulatedIssuer, shift: Callable[[timedelta], None]
) -> tuple[Run, str]:
    """A run whose one family was called for by a clock that is a month ahead; and that family."""
    database = installation.database
    programme = a_programme(database)
    an_issuer(database, programme, issuer.url, key_window_hours=168)
    installation.write_token(programme.code)
    [registration_id] = families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme, location=TIJUANA)
    shift(timedelta(days=30))
    pass_time(database)
    installation.receive(CreditBatch(batches_of(database, run)[0].id))
    return run, registration_id


@pytest.mark.parametrize("profile", ["embedded"])
def test_clock_that_was_ahead_and_is_set_right_doubles_nothing(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    """What was sent while it was a month ahead is asked for soon, and never sent again by itself."""
    database = installation.database
    with SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}) as issuer:
        run, registration_id = sent_by_a_clock_that_is_ahead(installation, issuer, shift)
        assert len(issuer.book()) == 1

        def on(day: int) -> None:
            if day == 0:
                issuer.set_faults({})
            if day == 8:
                issuer._book.forget(reference_of(installation, registration_id))

        let_days_pass(installation, run, shift, days=45, on=on)

        assert len(issuer.book()) == len(vouchers_of(database, run)) == 1
        assert_books_agree(database)


@pytest.mark.parametrize("profile", ["embedded"])
def test_send_by_a_clock_that_was_ahead_is_not_repeated_where_the_issuer_knows_of_none(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    """Nobody knows when it was sent, and so whether the issuer has forgotten it: a person looks."""
    database = installation.database
    with SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}) as issuer:
        run, registration_id = sent_by_a_clock_that_is_ahead(installation, issuer, shift)

        def on(day: int) -> None:
            if day == 8:
                issuer.set_faults({})
                issuer._book.forget(reference_of(installation, registration_id))

        let_days_pass(installation, run, shift, days=45, on=on)

        assert len(issuer.book()) == 1
        assert (cases_of(database, run)[-1].state, cases_of(database, run)[-1].next_attempt_at) == ("open", None)
        assert_books_agree(database)


@pytest.mark.parametrize("profile", ["embedded"])
def test_absence_told_to_a_clock_that_was_ahead_says_nothing_of_later_sends(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    """By their instants it is later; by their order it is not. The money is not given up on it."""
    database = installation.database

    def work_at(by: timedelta, faults: dict[str, str]) -> None:
        issuer.set_faults(faults)
        shift(by)
        installation.ticker().work()
        receive_open(installation, run)

    with SimulatedIssuer({"lost_before": "all", "ask_lost": "all"}) as issuer:
        programme = a_programme(database)
        an_issuer(database, programme, issuer.url, key_window_hours=168)
        installation.write_token(programme.code)
        families(database, programme, 1, location=TIJUANA)
        run = a_released_run(database, programme, location=TIJUANA)
        work_at(timedelta(), {"lost_before": "all", "ask_lost": "all"})
        work_at(timedelta(hours=3), {"too_many": "all"})
        shift(timedelta(minutes=2))
        installation.ticker().tick()
        work_at(timedelta(minutes=2), {"lost_after": "all", "ask_lost": "all"})
        assert len(issuer.book()) == 1
        with database.transaction() as tx:
            cancel(tx, run.id)

        work_at(timedelta(minutes=5), {"ask_lost": "all"})
        installation.ticker().work()

        assert transferred_minor(database, "unreserve") == 0
        assert_books_agree(database)


@pytest.mark.parametrize("profile", ["embedded"])
def test_clock_that_steps_back_by_seconds_after_a_send_leaves_no_person_to_look(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    def step_back(_served: Served) -> None:
        shift(timedelta())

    with (
        SimulatedIssuer({"lost_before": "1"}, watch=step_back) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        shift(timedelta(seconds=2))
        work(installation, run)

        assert cases_of(installation.database, run) == []
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1


@pytest.mark.parametrize("profile", ["embedded"])
def test_batch_given_back_by_a_clock_that_was_ahead_becomes_a_case_after_a_day(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    """It cannot be called for: there is no token."""
    database = installation.database
    with SimulatedIssuer() as issuer:
        programme = a_programme(database)
        an_issuer(database, programme, issuer.url)
        families(database, programme, 1, location=TIJUANA)
        run = a_released_run(database, programme, location=TIJUANA)
        shift(timedelta(days=90))
        pass_time(database)
        installation.receive(CreditBatch(batches_of(database, run)[0].id))
        for hours in range(0, 72, 6):
            for seconds in (0, 10):
                shift(timedelta(hours=hours, seconds=seconds))
                installation.ticker().tick()
                receive_open(installation, run)

    assert [case.state for case in cases_of(database, run)] == [CaseState.OPEN]


def test_part_planned_by_a_clock_that_was_ahead_holds_latecomers_back_no_longer_than_a_day(
    installation: Installation,
) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    right = installation.clock.now
    installation.clock.now = right + timedelta(days=20)
    installation.ticker().tick()
    installation.clock.now = right + timedelta(days=2)
    families(database, programme, 1, location=TIJUANA, prefix="LATE")

    installation.ticker().tick()

    with database.reading() as tx:
        assert [run.part for run in tx.list(Run, Run.cycle == str(CYCLE))] == [1, 2]


@pytest.mark.parametrize("profile", ["embedded"])
def test_lease_of_a_clock_that_was_ahead_ends_within_a_day(
    installation: Installation, shift: Callable[[timedelta], None]
) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    run = a_released_run(database, programme, location=TIJUANA)
    shift(timedelta(days=30))
    assert take_batch(database, batches_of(database, run)[0].id) is not None  # and its process is killed

    let_days_pass(installation, run, shift, days=2, on=lambda _day: None)

    assert len(vouchers_of(database, run)) == 1


def test_ticker_goes_on_looking_after_its_clock_was_set_back(installation: Installation) -> None:
    """By a clock that was a month ahead it looked for latecomers; it does so again now, and not in a month."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    ticker = installation.ticker()
    ticker.tick()
    with database.reading() as tx:
        assert [run.part for run in tx.list(Run)] == [1]
    right = installation.clock.now
    installation.clock.now = right + timedelta(days=30)
    ticker.tick()
    installation.clock.now = right + timedelta(days=1)
    families(database, programme, 1, location=TIJUANA, prefix="LATE")

    ticker.tick()

    with database.reading() as tx:
        assert [run.part for run in tx.list(Run, Run.cycle == str(CYCLE))] == [1, 2]


def test_lost_time_zone_of_one_city_does_not_stop_the_others(installation: Installation) -> None:
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1, location=TIJUANA)
    with database.transaction() as tx:
        lost = text("UPDATE location SET time_zone = 'America/Lost' WHERE code = :code")
        tx.connection.execute(lost, {"code": NOGALES})

    result = installation.ticker().tick()

    with database.reading() as tx:
        assert [run.location_code for run in tx.list(Run)] == [TIJUANA]
    assert [type(error) for error in result.errors] == [UnknownZone]

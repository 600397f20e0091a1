"""Crediting through an outside issuer: whatever it answers, one credit a line at most, and an end for every line."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from models.deadlines import steady_s
from models.doubts import ASK_AGAIN, SEND_LAG, is_window_over
from models.messages import CreditBatch
from models.states import BatchState, CallKind, CaseReason, RunState
from models.tables import Answer, Batch, Intent, Issuer, Run
from scheduler.cancel import cancel, settle_cancelled
from scheduler.dispatch import stamp_batches
from scheduler.pause import pause, resume
from scheduler.plan import ISSUER_BATCH_LINES
from scheduler.retry import Choice, retry
from scheduler.sweep import sweep_exhausted
from tests.builders import (
    TIJUANA,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    cases_of,
    families,
    run_again,
    transferred_minor,
    vouchers_of,
)
from tests.commands import despensa
from tests.fakes import HERE
from tests.installation import Installation
from tests.ledger import age_calls, assert_books_agree, credits_by_reference, expire_lease, pass_time
from tests.races import failing_at
from tests.waiting import until
from workers.credit import FINISH_BATCH, take_batch
from workers.issuers.answers import Absent, Credit, Unknown
from workers.issuers.answers import Answer as IssuersAnswer
from workers.issuers.calls import CALLS_START_WITHIN_S, Line, Work, _record_answers, _record_intents, begin, call_for
from workers.issuers.http import IssuerClient
from workers.issuers.simulated import Served, SimulatedIssuer
from workers.issuers.slots import BREAKER_FAILURES
from workers.outside import AnswersChanged, settle

#: Faults after which nobody can know whether the credit was made; without those that take the client's whole time-out.
AMBIGUOUS = ("lost_before", "lost_after", "error_before", "error_after", "garbage", "wrong_echo", "duplicate_keys")


@contextmanager
def a_month(
    installation: Installation,
    issuer: SimulatedIssuer,
    *,
    count: int = 10,
    batch_lines: int = 10,
    calls_max: int = 64,
    key_window_hours: int = 168,
) -> Iterator[Run]:
    """A released run of a programme with this issuer; in the end its books agree, with the issuer's, too."""
    programme = a_programme(installation.database)
    an_issuer(installation.database, programme, issuer.url, calls_max=calls_max, key_window_hours=key_window_hours)
    installation.write_token(programme.code)
    families(installation.database, programme, count, location=TIJUANA)
    yield a_released_run(installation.database, programme, batch_lines=batch_lines)
    assert_books_agree(installation.database)
    assert issuer.doubled() == 0
    assert issuer.total_minor() >= transferred_minor(installation.database, "credit")


def work(installation: Installation, run: Run, *, rounds: int = 1) -> None:
    """Deliver a message for each open batch, then let time pass and the scheduler look."""
    for _ in range(rounds):
        for batch in batches_of(installation.database, run):
            if batch.state == BatchState.OPEN:
                installation.receive(CreditBatch(batch.id))
        pass_time(installation.database)
        installation.ticker().work()


def work_off(installation: Installation, run: Run) -> None:
    """Until no batch is open: how often chance has an issuer refuse, nobody knows before."""
    for _ in range(200):
        work(installation, run)
        if all(batch.state != BatchState.OPEN for batch in batches_of(installation.database, run)):
            return
    raise AssertionError("after two hundred rounds a batch is still open")


def test_every_line_is_credited_once_under_its_reference(installation: Installation) -> None:
    with (
        SimulatedIssuer({"slow": "all"}, token="rehearsal", slow_s=0.02) as issuer,
        a_month(installation, issuer, count=200, batch_lines=1000) as run,
    ):
        assert max(batch.lines for batch in batches_of(installation.database, run)) == ISSUER_BATCH_LINES

        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 200
        assert issuer.total_minor() == run.planned_minor == transferred_minor(installation.database, "credit")
        assert run_again(installation.database, run).state == RunState.COMPLETED
        assert set(issuer.sends.values()) == {1}
        assert issuer.in_flight_max > 5


def test_same_message_twice_sends_once(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        batch = batches_of(installation.database, run)[0]

        installation.receive(CreditBatch(batch.id))
        installation.receive(CreditBatch(batch.id))

        assert issuer.requests == len(issuer.book()) == 10


@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_unknown_is_asked_for_before_anything_is_sent_again(installation: Installation, fault: str) -> None:
    """The first three sends end without a usable answer: their lines are asked for, and credited in the same take."""
    with SimulatedIssuer({fault: "3"}) as issuer, a_month(installation, issuer) as run:
        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 10
        again = [reference for reference, count in issuer.sends.items() if count > 1]
        assert len(again) == (3 if fault.endswith("before") else 0)
        assert run_again(installation.database, run).state == RunState.COMPLETED
        with installation.database.reading() as tx:
            asked = tx.list(Intent, Intent.kind == "ask")
            answers = {answer.intent_id: answer.outcome for answer in tx.list(Answer)}
        assert len(asked) == 3
        assert sorted(answers.values()).count("unknown") == 3
        assert {answers[intent.id] for intent in asked} == {"absent" if fault.endswith("before") else "credited"}


@pytest.mark.long
@pytest.mark.parametrize("fault", ["slow", "slow_drip", "huge_body"])
def test_answer_that_takes_too_long_or_is_too_long_is_unknown(installation: Installation, fault: str) -> None:
    with SimulatedIssuer({fault: "1"}) as issuer, a_month(installation, issuer, count=3) as run:
        work(installation, run, rounds=2)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 3
        assert set(issuer.sends.values()) == {1}


def test_line_in_doubt_becomes_a_case_that_asks_by_itself_and_its_mates_are_credited(
    installation: Installation,
) -> None:
    with (
        SimulatedIssuer({"lost_after": "1", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, batch_lines=10) as run,
    ):
        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == 9
        assert [(case.reason, case.reserved) for case in cases_of(installation.database, run)][:1] == [
            (CaseReason.UNKNOWN, True)
        ]

        issuer.set_faults({})
        work(installation, run, rounds=2)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 10
        assert set(issuer.sends.values()) == {1}
        assert run_again(installation.database, run).state == RunState.COMPLETED


def test_doubt_that_does_not_end_waits_for_a_person(installation: Installation) -> None:
    """No retry without an end."""
    with (
        SimulatedIssuer({"lost_before": "all", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        work(installation, run, rounds=len(ASK_AGAIN) + 3)
        before = issuer.requests
        work(installation, run, rounds=2)

        last = cases_of(installation.database, run)[-1]
        assert (last.reason, last.state, last.next_attempt_at) == (CaseReason.UNKNOWN, "open", None)
        assert issuer.requests == before


def test_refusal_is_a_case_and_binds_nothing(installation: Installation) -> None:
    with SimulatedIssuer({"refuse": "2"}) as issuer, a_month(installation, issuer) as run:
        work(installation, run)

        cases = cases_of(installation.database, run)
        assert [(case.reason, case.last_error, case.next_attempt_at) for case in cases] == [
            (CaseReason.REJECTED, "account_closed", None)
        ] * 2
        assert len(vouchers_of(installation.database, run)) == 8
        assert run_again(installation.database, run).state == RunState.COMPLETED_WITH_CASES

        _retry(installation, run)
        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 10
        assert max(issuer.sends.values()) == 2


@pytest.mark.parametrize("fault", ["too_many", "busy"])
def test_issuer_that_asks_for_patience_gets_it_and_no_attempt_is_spent(installation: Installation, fault: str) -> None:
    with SimulatedIssuer({fault: "all"}, retry_after_s=30) as issuer, a_month(installation, issuer, count=4) as run:
        batch = batches_of(installation.database, run)[0]
        for _ in range(4):
            installation.receive(CreditBatch(batch.id))
            pass_time(installation.database)

        put_off = batches_of(installation.database, run)[0]
        assert (put_off.attempts, put_off.state) == (0, BatchState.OPEN)
        assert put_off.given_back_at is not None
        assert cases_of(installation.database, run) == []

        issuer.set_faults({})
        work(installation, run, rounds=2)

        assert len(vouchers_of(installation.database, run)) == 4


def test_issuer_that_asks_for_a_moment_gets_it_within_one_call(installation: Installation) -> None:
    with SimulatedIssuer({"too_many": "1"}, retry_after_s=1) as issuer, a_month(installation, issuer, count=1) as run:
        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))

        assert len(vouchers_of(installation.database, run)) == 1
        assert list(issuer.sends.values()) == [2]


def test_lines_that_were_put_off_are_covered_by_new_batches_and_their_mates_are_settled(
    installation: Installation,
) -> None:
    with (
        SimulatedIssuer({"too_many": "30%"}, retry_after_s=30) as issuer,
        a_month(installation, issuer, count=30, batch_lines=30) as run,
    ):
        work_off(installation, run)

        batches = batches_of(installation.database, run)
        assert len(batches) > 1
        assert {batch.state for batch in batches} == {BatchState.DONE}
        assert sum(batch.credited or 0 for batch in batches) == 30
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 30


def test_line_that_is_put_off_again_and_again_keeps_the_time_of_the_first(installation: Installation) -> None:
    with (
        SimulatedIssuer({"too_many": "1"}, retry_after_s=30) as issuer,
        a_month(installation, issuer, count=3) as run,
    ):
        with installation.database.transaction() as tx:
            long_ago = tx.now - timedelta(hours=10)
            tx.connection.execute(update(Batch).values(given_back_at=long_ago))

        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))

        open_batches = [batch for batch in batches_of(installation.database, run) if batch.state == BatchState.OPEN]
        assert [batch.given_back_at for batch in open_batches] == [long_ago]
        work(installation, run)


def test_answer_that_arrives_after_its_line_became_a_case_is_not_lost(installation: Installation) -> None:
    """A worker lost its lease in mid-call; another was refused what the first one's call then credited."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        slow = _take(installation, run)
        calls = _record_intents(installation.database, slow)
        expire_lease(installation.database, batches_of(installation.database, run)[0])
        age_calls(installation.database, timedelta(minutes=2))  # so that the refusal is believed
        issuer.set_faults({"refuse": "all"})
        work(installation, run)
        assert [(case.reason, case.next_attempt_at) for case in cases_of(installation.database, run)] == [
            (CaseReason.REJECTED, None)
        ]
        issuer.set_faults({})

        answer = asyncio.run(_send(issuer.url, calls[0].line.credit))
        _record_answers(installation.database, slow, calls, [answer])
        assert settle(installation.database, slow, key_version=1).lease_lost
        work(installation, run, rounds=3)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1
        assert run_again(installation.database, run).state == RunState.COMPLETED


def test_answer_that_arrives_while_a_batch_is_settled_sends_it_round_again(installation: Installation) -> None:
    """Nothing is settled against the evidence: not a case for a line that another take saw credited."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        mine = _take(installation, run)
        calls = _record_intents(installation.database, mine)
        mine.lines[0].in_doubt = True
        answer = asyncio.run(_send(issuer.url, calls[0].line.credit))
        lines = deepcopy(mine.lines)
        lines[0].learn(CallKind.ASK, Unknown("no answer in time"), at=datetime.now(UTC))
        _record_answers(installation.database, mine, calls, [answer])
        mine.lines = lines  # as this take knows them, without the other's answer

        with pytest.raises(AnswersChanged):
            settle(installation.database, mine, key_version=1)
        assert cases_of(installation.database, run) == []
        expire_lease(installation.database, batches_of(installation.database, run)[0])
        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == 1


def test_due_case_of_a_paused_run_waits_for_its_resumption(installation: Installation) -> None:
    with (
        SimulatedIssuer({"lost_after": "1", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=2, batch_lines=1) as run,
    ):
        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))
        with installation.database.transaction() as tx:
            pause(tx, run.id, reason="test")
        pass_time(installation.database)

        result = installation.ticker().work()

        assert result.errors == []
        issuer.set_faults({})
        with installation.database.transaction() as tx:
            resume(tx, run.id)
        work(installation, run, rounds=3)
        assert len(vouchers_of(installation.database, run)) == 2


def test_key_window_counts_from_the_first_send_in_doubt() -> None:
    began = datetime(2026, 12, 1, tzinfo=UTC)
    line = Line(
        1, 1, Credit("a1" * 32, 1, "MXN"), in_doubt=False, credited=False, key_window=timedelta(hours=24),
        doubted_first_at=None, doubted_last_at=None, absent_at=None,
    )  # fmt: skip

    line.learn(CallKind.SEND, Unknown("x"), at=began)
    line.learn(CallKind.ASK, Absent(), at=began + timedelta(hours=1))
    line.learn(CallKind.SEND, Unknown("x"), at=began + timedelta(hours=2))

    assert (line.doubted_first_at, line.doubted_last_at) == (began, began + timedelta(hours=2))


@pytest.mark.long
def test_line_put_off_for_a_day_becomes_a_case(installation: Installation) -> None:
    with SimulatedIssuer({"busy": "all"}) as issuer, a_month(installation, issuer, count=1) as run:
        batch = batches_of(installation.database, run)[0]
        installation.receive(CreditBatch(batch.id))
        pass_time(installation.database)
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Batch).values(given_back_at=tx.now - timedelta(hours=25)))

        work(installation, run)

        assert [case.reason for case in cases_of(installation.database, run)] == [CaseReason.DEAD]
        assert run_again(installation.database, run).state == RunState.COMPLETED_WITH_CASES


def test_issuer_that_is_not_there_is_left_alone_for_a_while_and_then_probed(installation: Installation) -> None:
    with SimulatedIssuer() as issuer:
        url = issuer.url
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=40, batch_lines=10) as run:
        _point_at(installation, url)
        for batch in batches_of(installation.database, run)[:BREAKER_FAILURES]:
            installation.receive(CreditBatch(batch.id))
        held_back = batches_of(installation.database, run)[BREAKER_FAILURES]

        installation.receive(CreditBatch(held_back.id))

        with installation.database.reading() as tx:
            assert tx.get(Issuer).failures == BREAKER_FAILURES
            calls = len(tx.list(Intent))
        assert batches_of(installation.database, run)[BREAKER_FAILURES].attempts == 0
        assert any(line["event"] == "issuer.suspended" for line in installation.lines())

        pass_time(installation.database)
        installation.receive(CreditBatch(held_back.id))  # half-open: one call decides, and it fails
        with installation.database.reading() as tx:
            answers = tx.list(Answer, Answer.intent_id > calls)
        assert [answer.detail for answer in answers] == ["not connected"] + ["not called"] * 9

        _point_at(installation, issuer.url)
        pass_time(installation.database)
        work(installation, run, rounds=3)

        assert len(vouchers_of(installation.database, run)) == 40
        assert any(line["event"] == "issuer.resumed" for line in installation.lines())


def test_worker_told_to_stop_calls_no_more_and_puts_back_what_it_holds(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=3) as run:
        installation.place.stopping.set()
        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))

        put_back = batches_of(installation.database, run)[0]
        assert issuer.requests == 0
        assert (put_back.state, put_back.attempts, put_back.token) == (BatchState.OPEN, 0, None)

        installation.place.stopping.clear()
        pass_time(installation.database)
        work(installation, run)
        assert len(vouchers_of(installation.database, run)) == 3


def test_worker_whose_lease_began_too_long_ago_calls_no_more_and_another_credits(installation: Installation) -> None:
    """It was frozen between its take and its calls: what it sent now might arrive after its issuer's last word."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=3) as run:
        frozen = _take(installation, run, late_s=CALLS_START_WITHIN_S)
        assert frozen.needs_calls

        call_for(installation.database, frozen, token="rehearsal", outgoing=HERE)
        outcome = settle(installation.database, frozen, key_version=1)

        assert (outcome.credited, outcome.put_off, outcome.error) == (None, 3, "not called")
        assert issuer.requests == 0
        with installation.database.reading() as tx:
            assert tx.list(Intent) == []  # none is in doubt
        put_back = batches_of(installation.database, run)[0]
        assert (put_back.state, put_back.attempts, put_back.token) == (BatchState.OPEN, 0, None)

        work(installation, run, rounds=2)
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == issuer.requests == 3
        assert run_again(installation.database, run).state == RunState.COMPLETED


def test_batch_whose_time_for_calls_runs_out_is_settled_as_far_as_it_came_and_another_credits_the_rest(
    installation: Installation,
) -> None:
    def time_runs_out(_served: Served) -> None:
        if issuer.requests == 4:
            slow.calls_until = 0

    with (
        SimulatedIssuer(watch=time_runs_out) as issuer,
        a_month(installation, issuer, calls_max=1) as run,  # one call after another
    ):
        slow = _take(installation, run)

        call_for(installation.database, slow, token="rehearsal", outgoing=HERE)
        outcome = settle(installation.database, slow, key_version=1)

        assert issuer.requests == len(vouchers_of(installation.database, run)) == 4
        assert outcome.put_off == 6
        rest = [batch for batch in batches_of(installation.database, run) if batch.state == BatchState.OPEN]
        assert [(batch.lines, batch.attempts) for batch in rest] == [(6, 0)]
        assert cases_of(installation.database, run) == []

        pass_time(installation.database)
        work(installation, run, rounds=2)
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == issuer.requests == 10
        assert run_again(installation.database, run).state == RunState.COMPLETED


def test_issuer_that_asks_for_patience_is_not_called_again_after_the_time_for_calls() -> None:
    """One call may be tried three times; a try is a call, too."""
    with SimulatedIssuer({"too_many": "all"}) as issuer:
        asyncio.run(_send(issuer.url, Credit("a1" * 32, 1, "MXN"), until=steady_s() + 0.5))

        assert issuer.requests == 1  # which asked for a second


def test_window_of_a_line_is_over_for_a_send_that_may_start_as_late_as_its_lease_allows() -> None:
    sent = datetime(2026, 12, 1, tzinfo=UTC)
    ends = sent + timedelta(hours=1)

    assert SEND_LAG.total_seconds() > CALLS_START_WITHIN_S
    assert not is_window_over(sent, timedelta(hours=1), now=ends - SEND_LAG - timedelta(seconds=1))
    assert is_window_over(sent, timedelta(hours=1), now=ends - SEND_LAG)


def test_calls_under_way_stay_within_the_issuers_limit(installation: Installation) -> None:
    with (
        SimulatedIssuer({"slow": "all"}, slow_s=0.05) as issuer,
        a_month(installation, issuer, count=60, batch_lines=20, calls_max=3) as run,
        installation.workers(),
    ):
        ticker = installation.ticker()

        def done() -> bool:
            ticker.work()
            return run_again(installation.database, run).state == RunState.COMPLETED

        until(done, what="the run to complete", within_s=60)

        assert issuer.in_flight_max <= 3


def test_crash_after_the_calls_and_before_the_settlement_sends_nothing_again(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        batch = batches_of(installation.database, run)[0]
        with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(batch.id))
        assert vouchers_of(installation.database, run) == []
        expire_lease(installation.database, batch)

        installation.receive(CreditBatch(batch.id))

        assert len(vouchers_of(installation.database, run)) == 10
        assert set(issuer.sends.values()) == {1}


def test_beyond_the_key_window_nothing_is_sent_and_a_person_resolves(installation: Installation) -> None:
    """The issuer forgot a reference: what it says it does not have, it may have credited."""
    with (
        SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}, keeps_s=0) as issuer,
        a_month(installation, issuer, count=1, key_window_hours=1) as run,
    ):
        work(installation, run)
        issuer.set_faults({})
        age_calls(installation.database, timedelta(hours=2))

        work(installation, run, rounds=2)

        last = cases_of(installation.database, run)[-1]
        assert (last.reason, last.state, last.next_attempt_at) == (CaseReason.UNKNOWN, "open", None)
        assert "window" in last.last_error
        assert set(issuer.sends.values()) == {1}


@pytest.mark.parametrize("profile", ["embedded"])
def test_restored_backup_finds_by_reference_what_was_credited_after_it(
    installation: Installation, tmp_path: Path
) -> None:
    """Backed up in mid-month, while one batch is called for and not settled; what came later it knows nothing of."""
    database = installation.database
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=40) as run:
        settled, in_hand, later, _ = batches_of(database, run)
        installation.receive(CreditBatch(settled.id))
        with failing_at(database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(in_hand.id))
        _copy(Path(str(database.url.database)), tmp_path / "backup.sqlite3")
        issuer.set_faults({"lost_after": "3", "ask_lost": "all"})
        installation.receive(CreditBatch(later.id))
        assert len(issuer.book()) == 30

        database.engine.dispose()
        _copy(tmp_path / "backup.sqlite3", Path(str(database.url.database)))
        assert len(vouchers_of(database, run)) == 10
        issuer.set_faults({})
        pass_time(database)
        work(installation, run, rounds=3)

        assert run_again(database, run).state == RunState.COMPLETED
        ours = credits_by_reference(database, installation.settings.keys)
        assert ours == {made.reference: made.amount_minor for made in issuer.book()}
        assert len(ours) == len(vouchers_of(database, run)) == 40
        assert despensa("run", "reconcile", environment=installation.environment).code == 0


def test_cancelled_run_asks_for_what_is_in_doubt_before_it_gives_money_back(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=20, batch_lines=10) as run:
        batch = batches_of(installation.database, run)[0]
        with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(batch.id))
        with installation.database.transaction() as tx:
            cancel(tx, run.id)
        expire_lease(installation.database, batch)

        with installation.database.transaction() as tx:
            assert not settle_cancelled(tx, run.id)
        work(installation, run, rounds=3)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 10
        ended = run_again(installation.database, run)
        assert (ended.state, ended.completed_at is not None) == (RunState.CANCELLED, True)
        reasons = [case.reason for case in cases_of(installation.database, run) if case.state == "open"]
        assert reasons == [CaseReason.STOPPED] * 10
        assert transferred_minor(installation.database, "credit") == issuer.total_minor()


def test_cancelled_run_sends_nothing_more_and_gives_back_what_is_surely_absent(installation: Installation) -> None:
    """An ask may overtake a send that the issuer still has in hand: only after a minute is an absence the last word."""
    with (
        SimulatedIssuer({"lost_before": "all", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=2) as run,
    ):
        installation.receive(CreditBatch(batches_of(installation.database, run)[0].id))
        with installation.database.transaction() as tx:
            cancel(tx, run.id)
        issuer.set_faults({})
        for _ in range(2):
            pass_time(installation.database)
            installation.ticker().work()
            work(installation, run)
        assert run_again(installation.database, run).completed_at is None
        assert {case.reason for case in cases_of(installation.database, run)} == {CaseReason.UNKNOWN}

        age_calls(installation.database, timedelta(minutes=2))
        work(installation, run, rounds=3)

        reasons = [case.reason for case in cases_of(installation.database, run) if case.state == "open"]
        assert reasons == [CaseReason.STOPPED] * 2
        assert run_again(installation.database, run).completed_at is not None
        assert transferred_minor(installation.database, "unreserve") == run.planned_minor
        assert set(issuer.sends.values()) == {1}


def test_line_whose_workers_died_in_mid_call_is_asked_for_and_not_given_up(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        batch = batches_of(installation.database, run)[0]
        for _ in range(2):
            with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
                installation.receive(CreditBatch(batch.id))
            pass_time(installation.database)
        with installation.database.transaction() as tx:
            assert sweep_exhausted(tx, run.id) == 1
        assert [case.reason for case in cases_of(installation.database, run)] == [CaseReason.UNKNOWN]

        work(installation, run, rounds=2)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1
        assert run_again(installation.database, run).state == RunState.COMPLETED


def test_cancel_ends_although_the_worker_that_asks_dies_again_and_again(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=3) as run:
        batch = batches_of(installation.database, run)[0]
        with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(batch.id))
        with installation.database.transaction() as tx:
            cancel(tx, run.id)
        pass_time(installation.database)
        installation.ticker().work()
        installation.ticker().work()
        asking = batches_of(installation.database, run)[-1]
        for _ in range(2):
            with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
                installation.receive(CreditBatch(asking.id))
            pass_time(installation.database)

        work(installation, run, rounds=4)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 3
        assert run_again(installation.database, run).completed_at is not None


def test_no_more_batches_are_sent_than_find_a_slot_or_wait_for_one(installation: Installation) -> None:
    """The others would be taken, find no slot, and be sent again, for as long as the issuer is busy."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=40, batch_lines=1, calls_max=64) as run:
        with installation.database.transaction() as tx:
            assert len(stamp_batches(tx)) == 8  # twice four slots of sixteen calls
        work(installation, run)

        assert len(vouchers_of(installation.database, run)) == 40


def test_paused_run_sends_nothing_and_settles_what_was_credited_when_it_goes_on(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=20, batch_lines=10) as run:
        batch = batches_of(installation.database, run)[0]
        with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            installation.receive(CreditBatch(batch.id))
        with installation.database.transaction() as tx:
            pause(tx, run.id, reason="test")

        for each in batches_of(installation.database, run):
            installation.receive(CreditBatch(each.id))
        assert issuer.requests == 10
        assert vouchers_of(installation.database, run) == []
        expire_lease(installation.database, batch)
        with installation.database.transaction() as tx:
            resume(tx, run.id)
        work(installation, run, rounds=2)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == issuer.requests == 20


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE intent SET kind = 'ask'",
        "DELETE FROM intent",
        "UPDATE answer SET outcome = 'absent'",
        "DELETE FROM answer",
    ],
)
def test_database_refuses_to_rewrite_evidence(installation: Installation, statement: str) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer) as run:
        work(installation, run)

        with pytest.raises(DBAPIError), installation.database.transaction() as tx:
            tx.connection.execute(text(statement))


def test_nothing_of_a_family_reaches_the_issuer(installation: Installation) -> None:
    seen: list[str] = []
    issuer = SimulatedIssuer(watch=lambda served: seen.append(served.reference))
    with issuer, a_month(installation, issuer) as run:
        work(installation, run)

    assert len(set(seen)) == 10
    assert all(len(reference) == 64 and set(reference) <= set("0123456789abcdef") for reference in seen)


def _take(installation: Installation, run: Run, *, late_s: int = 0) -> Work:
    """A worker's hold on the run's first batch, before any call; by its clock it began so long ago."""
    lease = take_batch(installation.database, batches_of(installation.database, run)[0].id)
    assert lease is not None
    place = installation.place
    lease = replace(lease, began=lease.began - late_s)
    work = begin(installation.database, lease, keys=place.reference_keys, stopping=place.stopping)
    assert work is not None
    return work


async def _send(url: str, credit: Credit, *, until: float | None = None) -> IssuersAnswer:
    async with IssuerClient.open(url, "rehearsal", calls=1, outgoing=HERE) as client:
        return await client.send(credit, until=until or steady_s() + 5)


def _copy(source: Path, target: Path) -> None:
    """All of a SQLite database, as a backup in mid-work does."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def _retry(installation: Installation, run: Run) -> None:
    with installation.database.transaction() as tx:
        retry(tx, run.id, Choice())


def _point_at(installation: Installation, url: str) -> None:
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Issuer).values(url=url))

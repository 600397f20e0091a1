"""Lines in doubt at an outside issuer: money is given up only on its last word, and no asking goes on for ever."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import text, update

from models.deadlines import steady_s
from models.doubts import ASK_AGAIN, sure_from
from models.errors import Misconfigured, RefusedByState, RefusedInput
from models.intake.load import load
from models.keys import Key, KeyRing, token_path
from models.messages import CreditBatch
from models.states import BatchState, CallKind, CaseReason, RunState
from models.storage import Database, Tx
from models.tables import Batch, Case, Intent, Issuer, Run
from scheduler.cancel import cancel
from scheduler.pause import pause, resume
from scheduler.resolve import resolve_not_owed
from scheduler.retry import COVER_CASES, Choice, Retry, retry
from scheduler.sweep import sweep_put_off
from tests.builders import (
    NOGALES,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    cases_of,
    families,
    notices_of,
    run_again,
    transferred_minor,
    vouchers_of,
)
from tests.fakes import HERE
from tests.installation import Installation
from tests.integration.test_outside import a_month
from tests.ledger import age_calls, exhaust, expire_lease, pass_time
from tests.races import Racer, failing_at, in_transaction, until_blocked
from tests.waiting import until
from workers.credit import FINISH_BATCH, Lease, take_batch
from workers.issuers.answers import Answer, Credit, Credited
from workers.issuers.calls import WAKE_CASES, Work, _Call, _record_answers, _record_intents, begin
from workers.issuers.http import IssuerClient
from workers.issuers.simulated import SimulatedIssuer
from workers.outside import credit_batch, settle

pytestmark = pytest.mark.long

#: Longer than an issuer may be at work on what it was sent.
A_WHILE = timedelta(minutes=2)
#: The programme of tests.builders, as a file.
PROGRAMME = """
code = "northern-mexico"
name = "northern-mexico"
currency = "MXN"
cycles = 3
validity_days = 60
[value]
currency = "MXN"
base = "500.00"
per_member = "100.00"
cap = "1500.00"
round_to = "1.00"
[payday]
day = 1
time = "09:00"
[approval]
by = "policy"
run_max = "1000000.00"
[goods]
permitted = ["food"]
excluded = ["alcohol"]
[issuer]
url = "https://other.example"
calls_max = 64
key_window_hours = 168
"""


def test_cancelled_run_asks_once_more_after_a_minute_before_it_gives_money_back(installation: Installation) -> None:
    """The first absence may have overtaken the send."""
    with (
        SimulatedIssuer({"lost_before": "all", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)
        _cancel(installation, run)
        issuer.set_faults({})
        _ask_again(installation, run)
        [case] = _open_cases(installation, run)
        assert (case.reason, case.next_attempt_at) == (CaseReason.UNKNOWN, sure_from(_sent_at(installation)))
        requests = issuer.requests

        age_calls(installation.database, A_WHILE)
        _ask_again(installation, run)
        installation.ticker().work()

        assert issuer.requests == requests + 1
        assert [case.reason for case in _open_cases(installation, run)] == [CaseReason.STOPPED]
        assert transferred_minor(installation.database, "unreserve") == run.planned_minor
        assert run_again(installation.database, run).completed_at is not None


def test_credit_that_is_visible_a_minute_after_the_cancel_becomes_a_voucher(installation: Installation) -> None:
    with (
        SimulatedIssuer({"late": "all", "lost_after": "all", "ask_lost": "all"}, visible_after_s=3600) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)
        _cancel(installation, run)
        issuer.set_faults({})
        _ask_again(installation, run)
        assert [case.last_error for case in _open_cases(installation, run)] == ["absent so far"]

        _show_all(issuer)
        age_calls(installation.database, A_WHILE)
        _ask_again(installation, run)
        installation.ticker().work()

        assert len(vouchers_of(installation.database, run)) == 1
        assert _open_cases(installation, run) == []
        assert transferred_minor(installation.database, "unreserve") == 0
        assert run_again(installation.database, run).completed_at is not None


def test_line_absent_too_early_and_then_put_off_is_asked_for_before_a_cancel_gives_its_money_back(
    installation: Installation,
) -> None:
    with (
        SimulatedIssuer(
            {"late": "all", "lost_after": "1", "too_many": "all"}, visible_after_s=3600, retry_after_s=30
        ) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)
        assert cases_of(installation.database, run) == []
        _cancel(installation, run)

        _show_all(issuer)
        age_calls(installation.database, A_WHILE)
        installation.ticker().work()
        _ask_again(installation, run)
        installation.ticker().work()

        assert len(vouchers_of(installation.database, run)) == 1
        assert transferred_minor(installation.database, "unreserve") == 0
        assert run_again(installation.database, run).completed_at is not None


def test_cancelled_run_keeps_the_money_of_a_line_that_is_absent_beyond_the_key_window(
    installation: Installation,
) -> None:
    """The issuer forgot the reference: it may have credited what it says it does not hold."""
    with (
        SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}, keeps_s=0) as issuer,
        a_month(installation, issuer, count=1, key_window_hours=1) as run,
    ):
        _deliver(installation, run)
        _cancel(installation, run)
        issuer.set_faults({})
        age_calls(installation.database, timedelta(hours=2))

        _ask_again(installation, run)
        installation.ticker().work()

        assert [(case.reason, case.next_attempt_at, case.reserved) for case in _open_cases(installation, run)] == [
            (CaseReason.UNKNOWN, None, True)
        ]
        assert transferred_minor(installation.database, "unreserve") == 0
        assert run_again(installation.database, run).completed_at is not None


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_late_answer_waits_for_a_retry_under_way_and_its_line_is_not_forgotten(installation: Installation) -> None:
    database, url = installation.database, _url(installation)
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2, batch_lines=1) as run:
        waits, record = _one_waits_and_one_is_due(installation, issuer, run)

        retrying = Racer(url, in_transaction(_retry_due(run)), stop_after=COVER_CASES).start()
        recording = Racer(url, record).start()
        until_blocked(database)
        assert retrying.finish().cases == 1
        recording.finish()

        [case] = _open_cases(installation, run)
        with database.reading() as tx:
            assert case.disbursement_id == waits.first_id
            assert case.next_attempt_at is not None
            assert case.next_attempt_at <= tx.now
        _ask_again(installation, run)
        assert len(vouchers_of(database, run)) == 2


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_retry_waits_for_a_late_answer_and_covers_its_line_too(installation: Installation) -> None:
    """Woken between the retry's two statements, its case would be closed, and its line covered by no batch."""
    database, url = installation.database, _url(installation)
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2, batch_lines=1) as run:
        _, record = _one_waits_and_one_is_due(installation, issuer, run)

        recording = Racer(url, record, stop_after=WAKE_CASES).start()
        retrying = Racer(url, in_transaction(_retry_due(run)), stop_after=COVER_CASES)
        starting = threading.Thread(target=retrying.start)
        starting.start()
        until(lambda: not starting.is_alive() or _is_blocked(database), what="the retry to wait, or not to wait")
        recording.finish()
        starting.join()
        retrying.finish()

        assert _open_cases(installation, run) == []
        assert len(_open_batches(installation, run)) == 2
        _deliver(installation, run)
        assert len(vouchers_of(database, run)) == 2


def test_line_that_its_issuer_credited_is_not_resolved_as_not_owed(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        late, calls = _refused_meanwhile(installation, issuer, batches_of(installation.database, run)[0])
        answer = asyncio.run(_send(issuer, calls[0].line.credit))
        _record_answers(installation.database, late, calls, [answer])
        [case] = _open_cases(installation, run)

        with pytest.raises(RefusedByState, match="credited by its issuer"), installation.database.transaction() as tx:
            resolve_not_owed(tx, case.id)

        with installation.database.transaction() as tx:
            retry(tx, run.id, Choice(case_id=case.id))
        _deliver(installation, run)
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1


def test_line_that_is_still_asked_about_is_not_resolved_as_not_owed(installation: Installation) -> None:
    """Its issuer has credited it, and nobody would ever have asked again."""
    with (
        SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)
        [case] = _open_cases(installation, run)

        with pytest.raises(RefusedByState, match="is asked about it"), installation.database.transaction() as tx:
            resolve_not_owed(tx, case.id)

        issuer.set_faults({})
        _ask_again(installation, run)
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1


def test_known_credit_is_settled_although_nobody_can_be_called(installation: Installation) -> None:
    """A missing token, for more than a day: what the issuer said is enough for a voucher."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        _die_before_settling(installation, run)
        token_path(installation.settings.keys, "northern-mexico").unlink()
        _give_back_before(installation, timedelta(hours=26))

        _deliver(installation, run)

        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 2
        installation.write_token("northern-mexico")


def test_known_credit_whose_batch_was_given_up_is_settled_by_itself(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        _die_before_settling(installation, run)
        _give_back_before(installation, timedelta(hours=26))
        with installation.database.transaction() as tx:
            assert sweep_put_off(tx, run.id) == 1

        _ask_again(installation, run)

        assert len(vouchers_of(installation.database, run)) == 2


def test_lines_are_tried_again_after_a_standstill_before_they_are_given_up(installation: Installation) -> None:
    """Put off on Friday, everything switched off until Monday, and the issuer is well again."""
    with SimulatedIssuer({"busy": "all"}) as issuer, a_month(installation, issuer, count=2) as run:
        _deliver(installation, run)
        with installation.database.transaction() as tx:
            friday = tx.now - timedelta(hours=60)
            tx.connection.execute(update(Batch).values(given_back_at=friday, next_attempt_at=friday))
            tx.connection.execute(update(Issuer).values(breaker_until=None))
        issuer.set_faults({})

        installation.ticker().work()
        _deliver(installation, run)

        assert cases_of(installation.database, run) == []
        assert len(vouchers_of(installation.database, run)) == 2


def test_cancel_opens_one_case_for_a_line_in_doubt_however_many_ticks_pass(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        _die_in_mid_call(installation, run)
        _cancel(installation, run)

        for _ in range(5):
            installation.ticker().work()

        assert len(cases_of(installation.database, run)) == 1
        assert [batch.state for batch in batches_of(installation.database, run)].count(BatchState.OPEN) == 1
        assert len(batches_of(installation.database, run)) == 2


def test_line_of_a_cancelled_run_whose_worker_always_dies_waits_for_a_person_in_the_end(
    installation: Installation,
) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        _die_in_mid_call(installation, run)
        _cancel(installation, run)

        for _ in range(2 * len(ASK_AGAIN) + 6):
            pass_time(installation.database)
            installation.ticker().work()
            for batch in _open_batches(installation, run):
                exhaust(installation.database, batch)

        assert len(batches_of(installation.database, run)) - 1 <= len(ASK_AGAIN) + 1
        assert [(case.reason, case.next_attempt_at, case.reserved) for case in _open_cases(installation, run)] == [
            (CaseReason.UNKNOWN, None, True)
        ]
        assert run_again(installation.database, run).completed_at is not None


def test_lines_that_could_not_be_called_for_since_more_than_a_day_wait_for_a_person(
    installation: Installation,
) -> None:
    """Without its token nobody calls the issuer, so that no take ever comes to an end of its own."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        token_path(installation.settings.keys, "northern-mexico").unlink()
        _deliver(installation, run)
        [batch] = _open_batches(installation, run)
        assert (batch.attempts, batch.given_back_at is not None) == (0, True)

        _give_back_before(installation, timedelta(hours=26))
        installation.ticker().work()

        assert [(case.reason, case.next_attempt_at) for case in _open_cases(installation, run)] == [
            (CaseReason.DEAD, None)
        ] * 2
        assert run_again(installation.database, run).state == RunState.COMPLETED_WITH_CASES
        assert issuer.requests == 0


def test_lines_that_were_never_called_for_are_not_given_up(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        _give_back_before(installation, timedelta(hours=25))
        lease = _take(installation, batches_of(installation.database, run)[0])
        installation.place.stopping.set()

        credit_batch(
            installation.database, lease, key_version=1, references=installation.place.reference_keys,
            token=lambda: "rehearsal", stopping=installation.place.stopping, outgoing=HERE,
        )  # fmt: skip

        assert issuer.requests == 0
        assert cases_of(installation.database, run) == []
        assert [batch.attempts for batch in _open_batches(installation, run)] == [0]


def test_lines_not_called_for_yet_where_others_were_answered_begin_their_day_anew(installation: Installation) -> None:
    stopping = installation.place.stopping
    issuer = SimulatedIssuer(watch=lambda _served: stopping.set())
    with issuer, a_month(installation, issuer, count=3, calls_max=1) as run:
        _give_back_before(installation, timedelta(hours=25))

        _deliver(installation, run)

        assert len(vouchers_of(installation.database, run)) == issuer.requests == 1
        assert cases_of(installation.database, run) == []
        assert [(batch.lines, batch.given_back_at) for batch in _open_batches(installation, run)] == [(2, None)]


def test_batch_that_waits_as_its_issuer_asked_is_not_hurried_by_a_message_that_finds_no_slot(
    installation: Installation,
) -> None:
    with (
        SimulatedIssuer({"too_many": "all"}, retry_after_s=300) as issuer,
        a_month(installation, issuer, count=2, batch_lines=1, calls_max=1) as run,
    ):
        waits, other = batches_of(installation.database, run)
        installation.receive(CreditBatch(waits.id))
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(breaker_until=None))
        _take(installation, other)
        before = batches_of(installation.database, run)[0]
        assert _wait_of(installation, before) > timedelta(seconds=200)

        installation.receive(CreditBatch(waits.id))

        assert batches_of(installation.database, run)[0] == before


@pytest.mark.parametrize(("lives", "attempts"), [(True, 1), (False, 0)])
def test_attempts_are_never_negative_when_a_worker_puts_off_a_batch_that_was_paused_and_resumed(
    installation: Installation, lives: bool, attempts: int
) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        [batch] = batches_of(installation.database, run)
        work = _begin(installation, batch)
        with installation.database.transaction() as tx:
            pause(tx, run.id, reason="test")
        if not lives:
            expire_lease(installation.database, batch)
        with installation.database.transaction() as tx:
            resume(tx, run.id)
        assert batches_of(installation.database, run)[0].attempts == attempts

        settle(installation.database, work, key_version=1)

        [put_off] = batches_of(installation.database, run)
        assert (put_off.state, put_off.attempts, put_off.token) == (BatchState.OPEN, 0, None)


def test_another_reference_key_calls_for_nothing_that_was_called_for_before(installation: Installation) -> None:
    """Under another reference the issuer would credit it a second time."""
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2) as run:
        _die_in_mid_call(installation, run)
        lease = _take(installation, batches_of(installation.database, run)[0])
        other = KeyRing("reference", (Key(1, b"another key of thirty-two bytes."),))

        with pytest.raises(Misconfigured, match="another reference"):
            begin(installation.database, lease, keys=other, stopping=installation.place.stopping)

        with installation.database.reading() as tx:
            assert len(tx.list(Intent)) == 2
        assert issuer.requests == 0


def test_address_of_an_issuer_is_fixed_while_a_line_is_in_doubt_there(
    installation: Installation, tmp_path: Path
) -> None:
    """Another issuer knows nothing of what the first one credited."""
    file = tmp_path / "programme.toml"
    file.write_text(PROGRAMME)
    with (
        SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)

        with pytest.raises(RefusedInput, match=r"issuer.url: is fixed while 1 lines are in doubt"):
            _import(installation.database, file)
        issuer.set_faults({})
        _ask_again(installation, run)
        assert len(vouchers_of(installation.database, run)) == 1
        _import(installation.database, file)

        with installation.database.reading() as tx:
            assert tx.get(Issuer).url == "https://other.example"


def test_absence_that_may_not_be_the_last_word_fixes_the_address(installation: Installation, tmp_path: Path) -> None:
    """It is enough for sending again to the same issuer, and to no other."""
    file = tmp_path / "programme.toml"
    file.write_text(PROGRAMME)
    with (
        SimulatedIssuer(
            {"late": "all", "lost_after": "1", "too_many": "all"}, visible_after_s=3600, retry_after_s=30
        ) as issuer,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)

        with pytest.raises(RefusedInput, match=r"issuer.url: is fixed while 1 lines are in doubt"):
            _import(installation.database, file)

        issuer.set_faults({})
        _show_all(issuer)
        _ask_again(installation, run)
        assert len(vouchers_of(installation.database, run)) == len(issuer.book()) == 1


def test_address_of_an_issuer_is_fixed_while_a_worker_may_call_it(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "programme.toml"
    file.write_text(PROGRAMME)
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1) as run:
        [batch] = batches_of(installation.database, run)
        _take(installation, batch)

        with pytest.raises(RefusedInput, match=r"issuer.url: is fixed while its issuer is being called"):
            _import(installation.database, file)

        expire_lease(installation.database, batch)
        _deliver(installation, run)
        _import(installation.database, file)


def test_reason_code_of_an_issuer_stands_in_the_case_and_not_in_the_log(installation: Installation) -> None:
    with SimulatedIssuer({"refuse": "all"}) as issuer, a_month(installation, issuer, count=1) as run:
        _deliver(installation, run)
        installation.ticker().work()

        assert [case.last_error for case in cases_of(installation.database, run)] == ["account_closed"]
        assert [line["error"] for line in installation.lines() if line["event"] == "case.opened"] == ["refused"]
        assert b"account_closed" not in installation.settings.log.read_bytes()


def test_programmes_with_the_same_issuer_share_its_slots(installation: Installation) -> None:
    database = installation.database
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=1, calls_max=1) as run:
        other = a_programme(database, code="other")
        an_issuer(database, other, issuer.url, calls_max=1)
        families(database, other, 1, location=NOGALES, prefix="O")
        [batch] = batches_of(database, a_released_run(database, other, location=NOGALES))
        [held] = batches_of(database, run)
        _take(installation, held)

        assert take_batch(database, batch.id) is None

        expire_lease(database, held)
        expire_lease(database, batch)
        assert take_batch(database, batch.id) is not None


def test_ask_that_is_put_off_spends_no_step_and_is_repeated_later(installation: Installation) -> None:
    with (
        SimulatedIssuer({"lost_after": "all", "ask_lost": "all"}) as issuer,
        an_issuer_that_asks_for_patience() as busy,
        a_month(installation, issuer, count=1) as run,
    ):
        _deliver(installation, run)
        _point_at(installation, busy)

        _ask_again(installation, run)

        assert len(cases_of(installation.database, run)) == 1
        [batch] = _open_batches(installation, run)
        assert (batch.attempts, batch.given_back_at is not None) == (0, True)
        with installation.database.reading() as tx:
            assert tx.list(Intent)[-1].kind == CallKind.ASK
        assert _wait_of(installation, batch) > timedelta()

        _point_at(installation, issuer.url)
        issuer.set_faults({})
        _ask_again(installation, run)
        assert len(vouchers_of(installation.database, run)) == 1
        assert len(cases_of(installation.database, run)) == 1


def test_stores_are_told_once_while_a_line_in_doubt_retries_itself(installation: Installation) -> None:
    with (
        SimulatedIssuer({"lost_after": "1", "ask_lost": "all"}) as issuer,
        a_month(installation, issuer, count=2) as run,
    ):
        _deliver(installation, run)
        installation.ticker().work()
        for _ in range(3):
            _ask_again(installation, run)
            installation.ticker().work()
        assert len(cases_of(installation.database, run)) == 4
        assert run_again(installation.database, run).state == RunState.COMPLETED_WITH_CASES
        assert [(notice.number, notice.vouchers) for notice in notices_of(installation.database, run)] == [(1, 1)]

        issuer.set_faults({})
        _ask_again(installation, run)
        installation.ticker().work()

        assert [(notice.number, notice.vouchers) for notice in notices_of(installation.database, run)] == [
            (1, 1),
            (2, 2),
        ]


def test_batch_held_back_counts_as_given_back_only_while_its_issuer_is_left_alone(installation: Installation) -> None:
    with SimulatedIssuer() as issuer, a_month(installation, issuer, count=2, batch_lines=1, calls_max=1) as run:
        first, second = batches_of(installation.database, run)
        _take(installation, first)

        installation.receive(CreditBatch(second.id))
        assert batches_of(installation.database, run)[1].given_back_at is None

        pass_time(installation.database)
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Issuer).values(breaker_until=tx.now + timedelta(seconds=20)))
        installation.receive(CreditBatch(second.id))
        assert batches_of(installation.database, run)[1].given_back_at is not None
        assert issuer.requests == 0


@contextmanager
def an_issuer_that_asks_for_patience() -> Iterator[str]:
    """Answers 429 to every ask. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(429)
            self.send_header("retry-after", "30")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at what came of it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _deliver(installation: Installation, run: Run) -> None:
    """A message for each open batch."""
    for batch in _open_batches(installation, run):
        installation.receive(CreditBatch(batch.id))


def _ask_again(installation: Installation, run: Run) -> None:
    """Time passes, the scheduler looks, and a worker takes what is open then."""
    pass_time(installation.database)
    installation.ticker().work()
    _deliver(installation, run)


def _cancel(installation: Installation, run: Run) -> None:
    with installation.database.transaction() as tx:
        cancel(tx, run.id)


def _take(installation: Installation, batch: Batch) -> Lease:
    lease = take_batch(installation.database, batch.id)
    assert lease is not None
    return lease


def _begin(installation: Installation, batch: Batch) -> Work:
    """A worker's hold on a batch, before any call."""
    place = installation.place
    work = begin(installation.database, _take(installation, batch), keys=place.reference_keys, stopping=place.stopping)
    assert work is not None
    return work


def _die_in_mid_call(installation: Installation, run: Run) -> None:
    """A worker was about to send the lines of the first batch; nobody knows whether it did."""
    batch = batches_of(installation.database, run)[0]
    _record_intents(installation.database, _begin(installation, batch))
    expire_lease(installation.database, batch)


def _die_before_settling(installation: Installation, run: Run) -> None:
    """A worker has heard that the lines of the first batch were credited, and no more."""
    [batch] = batches_of(installation.database, run)
    with failing_at(installation.database, FINISH_BATCH, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        installation.receive(CreditBatch(batch.id))
    expire_lease(installation.database, batch)


def _refused_meanwhile(installation: Installation, issuer: SimulatedIssuer, batch: Batch) -> tuple[Work, list[_Call]]:
    """A worker lost its lease in mid-call; another was refused the line: a case for a person. The first one's calls."""
    late = _begin(installation, batch)
    calls = _record_intents(installation.database, late)
    expire_lease(installation.database, batch)
    age_calls(installation.database, A_WHILE)  # so that the refusal is believed
    issuer.set_faults({"refuse": "all"})
    installation.receive(CreditBatch(batch.id))
    issuer.set_faults({})
    return late, calls


def _one_waits_and_one_is_due(
    installation: Installation, issuer: SimulatedIssuer, run: Run
) -> tuple[Batch, Callable[[Database], None]]:
    """The first line is a case for a person, the second one asks by itself now.

    Returns the first batch, and how the worker that lost its lease records that its line was credited.
    """
    waits, retries = batches_of(installation.database, run)
    late, calls = _refused_meanwhile(installation, issuer, waits)
    issuer.set_faults({"lost_after": "all", "ask_lost": "all"})
    installation.receive(CreditBatch(retries.id))
    issuer.set_faults({})
    pass_time(installation.database)
    answer = asyncio.run(_send(issuer, calls[0].line.credit))
    return waits, lambda database: _record_answers(database, late, calls, [answer])


def _retry_due(run: Run) -> Callable[[Tx], Retry]:
    return lambda tx: retry(tx, run.id, Choice(due_only=True))


def _url(installation: Installation) -> str:
    return installation.database.url.render_as_string(hide_password=False)


def _is_blocked(database: Database) -> bool:
    """Whether a session waits for a lock (PostgreSQL)."""
    waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.reading() as tx:
        return bool(tx.connection.execute(text(waiting)).scalar_one())


async def _send(issuer: SimulatedIssuer, credit: Credit) -> Answer:
    async with IssuerClient.open(issuer.url, "rehearsal", calls=1, outgoing=HERE) as client:
        answer = await client.send(credit, until=steady_s() + 5)
    assert isinstance(answer, Credited)
    return answer


def _show_all(issuer: SimulatedIssuer) -> None:
    """As if so long had passed that an ask finds every credit."""
    issuer._book._visible_after = timedelta()


def _open_cases(installation: Installation, run: Run) -> list[Case]:
    return [case for case in cases_of(installation.database, run) if case.state == "open"]


def _open_batches(installation: Installation, run: Run) -> list[Batch]:
    return [batch for batch in batches_of(installation.database, run) if batch.state == BatchState.OPEN]


def _sent_at(installation: Installation) -> datetime:
    with installation.database.reading() as tx:
        return max(intent.recorded_at for intent in tx.list(Intent, Intent.kind == "send"))


def _give_back_before(installation: Installation, age: timedelta) -> None:
    """As if every batch had been put off for so long."""
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Batch).values(given_back_at=tx.now - age))


def _wait_of(installation: Installation, batch: Batch) -> timedelta:
    """For how long nobody takes it."""
    with installation.database.reading() as tx:
        return (batch.next_attempt_at or tx.now) - tx.now


def _point_at(installation: Installation, url: str) -> None:
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Issuer).values(url=url))


def _import(database: Database, file: Path) -> None:
    load(database, file, programme=None, dry_run=False, show=lambda _: None)

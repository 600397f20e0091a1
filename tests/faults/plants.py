"""Bugs that a campaign must catch: each a mistake that somebody could make, planted into a life before it begins."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from models import books, journal
from models.broker import SafeRedisBroker
from models.log import Log
from models.storage import Database, Query, Tx
from models.tables import Intent, JournalHead, Run
from scheduler import close, dispatch, seal, tick
from scheduler.advance import advance
from workers import credit
from workers.issuers import answers, calls, http
from workers.issuers.answers import Rejected, Unknown


def new_reference_per_attempt() -> None:
    """A take does not look at the references of those before it, and draws its own: whoever died pays again."""
    line_of: Any = calls._line

    def hasty(row: Any, access: Any, **named: Any) -> Any:
        forgetful = dict(row._mapping) | {"first_reference": None, "last_reference": None}
        line = line_of(SimpleNamespace(**forgetful), access, **named)
        if row.first_reference is not None and not line.credited:
            line.credit = replace(line.credit, reference=secrets.token_hex(32))
            line.in_doubt = False
        return line

    plant(calls, "_line", hasty)


def retry_on_unknown() -> None:
    """A send without a usable answer is simply sent again."""
    next_call = calls.Line.next_call

    def hasty(line: calls.Line, *, ask_only: bool) -> Any:
        line.in_doubt = False
        return next_call(line, ask_only=ask_only)

    plant(calls.Line, "next_call", hasty)


def call_before_intent() -> None:
    """The intent is recorded with the answer, after the call."""
    record_answers = calls._record_answers

    def no_intents(database: Database, work: calls.Work) -> list[calls._Call]:
        with database.reading() as tx:
            now = tx.now
        kinds = [(line, line.next_call(ask_only=work.ask_only)) for line in work.lines]
        return [calls._Call(0, line, kind, now) for line, kind in kinds if kind is not None]

    def intents_and_answers(database: Database, work: calls.Work, made: Sequence[Any], said: Sequence[Any]) -> None:
        rows = [
            Intent(
                disbursement_id=call.line.id, batch_id=work.lease.batch_id, kind=call.kind,
                reference=call.line.credit.reference, recorded_at=call.at,
            )
            for call in made
        ]  # fmt: skip
        with database.transaction() as tx:
            tx.add_all(rows)
        known = [calls._Call(row.id, call.line, call.kind, call.at) for row, call in zip(rows, made, strict=True)]
        record_answers(database, work, known, said)

    plant(calls, "_record_intents", no_intents)
    plant(calls, "_record_answers", intents_and_answers)


def unknown_taken_for_a_refusal() -> None:
    """What is not understood is refused."""

    def hasty(response: answers.Response, wanted: answers.Credit) -> answers.Answer:
        answer = answers.of_send(response, wanted)
        return Rejected("not_understood") if isinstance(answer, Unknown) else answer

    plant(http, "of_send", hasty)


def done_before_the_vouchers() -> None:
    """The batch is marked done in a transaction of its own, before its vouchers."""
    credit_batch = credit.credit_batch
    mark = Query(
        "-- mark: done too early\nUPDATE batch SET state = 'done', credited_at = :now, credited = 0, "
        "credited_minor = 0 WHERE id = :id"
    )
    reopen = Query(
        "-- reopen: for the real one\nUPDATE batch SET state = 'open', credited_at = NULL, credited = NULL, "
        "credited_minor = NULL WHERE id = :id"
    )

    def hasty(database: Database, lease: credit.Lease, *, key_version: int) -> Any:
        with database.transaction() as tx:
            tx.execute(mark, id=lease.batch_id, now=tx.now)
        with database.transaction() as tx:
            tx.execute(reopen, id=lease.batch_id)
        return credit_batch(database, lease, key_version=key_version)

    plant(credit, "credit_batch", hasty)


def transfer_after_the_vouchers() -> None:
    """The money moves in a transaction of its own, after the vouchers."""
    transfer = books.credit
    late: list[dict[str, Any]] = []
    plant(books, "credit", lambda _tx, **named: late.append(named))
    _afterwards(lambda tx: transfer(tx, **late.pop()) if late else None)


def event_after_the_fact() -> None:
    """The business event is written when its fact is long committed."""
    late: list[Any] = []
    plant(credit, "append", lambda _tx, happened: late.append(happened))
    _afterwards(lambda tx: journal.append(tx, late.pop()) if late else None)


def emitted_before_it_is_written() -> None:
    """Lines are marked as emitted, then written."""
    mark = Query("-- mark: too early\nUPDATE journal_head SET emitted_seq = seq WHERE id = 1")

    def hasty(database: Database, log: Log) -> int:
        with database.transaction() as tx:
            before = tx.get(JournalHead).emitted_seq
            tx.execute(mark)
        return seal.emit_again(database, log, from_seq=before + 1)

    plant(tick, "emit", hasty)


def reserved_after_it_is_open() -> None:
    """The batches are opened in one transaction, the money reserved in the next."""
    reserve = books.reserve
    late: list[dict[str, Any]] = []
    plant(books, "reserve", lambda _tx, **named: late.append(named))

    def hasty(database: Database, run_id: int, *, now: Any) -> bool:
        released = advance(database, run_id, now=now)
        with database.transaction() as tx:
            while late:
                reserve(tx, **late.pop())
        return released

    plant(tick, "advance", hasty)


def notices_after_the_end() -> None:
    """A run is completed in one transaction, its stores are told in the next."""
    tell_stores, work = close.tell_stores, tick.Ticker.work
    late: list[tuple[int, dict[str, Any]]] = []

    def later(_tx: Tx, run: Run, **named: Any) -> int:
        late.append((run.id, named))
        return 1

    def hasty(ticker: tick.Ticker, result: tick.TickResult | None = None) -> tick.TickResult:
        result = work(ticker, result)
        with ticker.database.transaction() as tx:
            while late:
                run_id, named = late.pop()
                tell_stores(tx, tx.get(Run, Run.id == run_id), **named)
        return result

    plant(close, "tell_stores", later)
    plant(tick.Ticker, "work", hasty)


def sent_once() -> None:
    """A batch is stamped for ever: a message that is lost is not sent again."""
    stamp = Query("""
-- stamp_batches: only what was never stamped
UPDATE batch SET stamped_at = :now
WHERE id IN (SELECT id FROM batch
             WHERE run_id = :run_id AND state = 'open' AND attempts < :takes_max AND next_attempt_at <= :now
               AND (lease_until IS NULL OR lease_until < :now) AND stamped_at IS NULL AND :resend_at <= :now
             ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING id
""")
    plant(dispatch, "STAMP_BATCHES", stamp)


def acknowledged_before_the_work() -> None:
    """A message is acknowledged as soon as it is fetched: whoever dies then has lost it for good."""
    consume = SafeRedisBroker.consume
    plant(SafeRedisBroker, "consume", lambda broker, *named, **more: _Hasty(consume(broker, *named, **more)))


def acknowledged_early_and_sent_once() -> None:
    """A message is the only record of what is owed, and gone before its work is done."""
    acknowledged_before_the_work()
    sent_once()


def lease_without_end() -> None:
    """A batch is its worker's for ten minutes: it is thought alive for so long."""
    plant(credit, "LEASE_S", 600)


def given_back_by_anybody() -> None:
    """A worker gives a batch back that may long be another's: the token is not looked at."""
    careful = str(credit.RETURN_BATCH.on("postgresql"))
    plant(credit, "RETURN_BATCH", Query(careful.replace("AND token = :token", "AND :token <> ''")))


class _Hasty:
    """A consumer whose messages are acknowledged before anybody has seen them."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __next__(self) -> Any:
        message = next(self._consumer)
        if message is not None:
            self._consumer.ack(message)
        return message

    def ack(self, message: Any) -> None:
        """It was done already."""


def plant(owner: Any, name: str, bug: Any) -> None:
    """Put something else in the place of a function, a method or a query, until the process ends."""
    setattr(owner, name, bug)


def _afterwards(act: Callable[[Tx], object]) -> None:
    """Something that belongs into the transaction of a credit is done in the one after it."""
    credit_batch = credit.credit_batch

    def hasty(database: Database, lease: credit.Lease, *, key_version: int) -> Any:
        credited = credit_batch(database, lease, key_version=key_version)
        with database.transaction() as tx:
            act(tx)
        return credited

    plant(credit, "credit_batch", hasty)


#: How a life ends that the database stops: before the money, not after it.
REFUSED = "a life ended with 1: IntegrityError: (sqlite3.IntegrityError)"
#: Each with the finding by which it must be caught (Verdict.holds): deploy/GUARANTEES.md lists them, too. Only an
#: outside issuer shows these; the others are shown by the closed loop.
ISSUER = {
    new_reference_per_attempt: "doubled",
    retry_on_unknown: "sent again without having asked",
    call_before_intent: "sent again without having asked",
    unknown_taken_for_a_refusal: "surplus",
}
CLOSED_LOOP = {
    done_before_the_vouchers: "lost",
    transfer_after_the_vouchers: "outstanding",  # a check of models/reconcile.py
    event_after_the_fact: "the log does not tell of every voucher",
    emitted_before_it_is_written: "the log is not one unbroken chain",
    reserved_after_it_is_open: f"{REFUSED} a run credits no more of a fund than it reserved",
    notices_after_the_end: "the stores were not told of each run",
    sent_once: "the month does not end",
}
#: With a Redis that outlives the worker.
DISTRIBUTED = {acknowledged_early_and_sent_once: "the month does not end"}
#: Shown by hosts that are cut off and come back: what the story of tests/acceptance/hosts.py then says.
HOSTS = {
    sent_once: "credited elsewhere",
    lease_without_end: "credited elsewhere",
    given_back_by_anybody: "touched",
    new_reference_per_attempt: "surplus",
    retry_on_unknown: "unasked",
}
#: No bug here, although it is one wherever a message is the record of what is owed.
HARMLESS = (acknowledged_before_the_work,)
PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant for plant in (*ISSUER, *CLOSED_LOOP, *DISTRIBUTED, *HOSTS, *HARMLESS)
}

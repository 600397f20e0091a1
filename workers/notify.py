"""Telling a store about a run: take, call, settle. No transaction is open during the call.

Failures retry by the database's `next_attempt_at`. A store that fails in a row is cut off for a while (its breaker),
after which one notice tries; nobody else waits for it.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from models.columns import instant_text
from models.deadlines import LEASE_S
from models.events import NoticeDelivered, NoticeUndelivered, Observed, StoreFailed, StoreResumed, StoreSuspended
from models.journal import append
from models.keys import KeyRing, store_secret
from models.outgoing import Outgoing
from models.runs import of_run
from models.storage import Database, Query, Tx, seconds
from models.tables import Notice, Programme, Run, Store, run_code
from workers.stores.webhook import Answer, Delivered, Envelope, Gone, TryLater, deliver, encode

#: Wait after the first, second, … failed attempt; after the last one the notice is undelivered. A day in all.
BACK_OFF = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=15),
)
ATTEMPTS_MAX = len(BACK_OFF) + 1
#: After so many failures in a row a store is cut off for this long, then one notice tries.
BREAKER_FAILURES = 3
BREAKER_OPEN = timedelta(seconds=30)

TAKE_NOTICE = Query("""
-- take_notice: own a due notice without a live lease, and count the attempt
UPDATE notice SET token = :token, lease_until = :lease_until, attempts = attempts + 1
WHERE id = :notice_id AND state = 'due' AND attempts < :attempts_max AND next_attempt_at <= :now
  AND (lease_until IS NULL OR lease_until < :now)
  AND EXISTS (SELECT 1 FROM store s WHERE s.id = notice.store_id
              AND (s.breaker_until IS NULL OR s.breaker_until <= :now))
""")

SETTLE_NOTICE = Query("""
-- settle_notice: what the attempt came to, if this token still owns it
UPDATE notice SET state = :state, token = NULL, lease_until = NULL, stamped_at = NULL, tried_at = :now,
                  next_attempt_at = :next_attempt_at, delivered_at = :delivered_at, last_error = :last_error
WHERE id = :notice_id AND token = :token AND state = 'due'
""")

STORE_ANSWERED = Query("""
-- store_answered: the breaker closes
UPDATE store SET failures = 0, breaker_until = NULL WHERE id = :store_id
""")

STORE_FAILED = Query("""
-- store_failed: one more in a row; from :failures_max on the breaker opens
UPDATE store SET failures = failures + 1,
       breaker_until = CASE WHEN failures + 1 >= :failures_max THEN :open_until ELSE breaker_until END
WHERE id = :store_id
""")

ABANDON_NOTICE = Query("""
-- abandon_notice: its last attempt died with its worker
UPDATE notice SET state = 'undelivered', token = NULL, lease_until = NULL, tried_at = :now
WHERE id = :notice_id AND state = 'due' AND attempts >= :attempts_max AND (lease_until IS NULL OR lease_until < :now)
""")


@dataclass(frozen=True, slots=True)
class Taken:
    """A notice this worker owns, and what to send."""

    token: str
    attempts: int
    run_id: int
    store_id: str
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Settled:
    """What an attempt came to: nothing, delivered, later, undelivered, lease lost; and what the log is to say of it."""

    outcome: str
    run_id: int = 0  #: of the notice, where it was taken
    told: tuple[Observed, ...] = ()


def send_notice(database: Database, notice_id: int, *, keys: KeyRing, outgoing: Outgoing) -> Settled:
    """One attempt at one notice."""
    taken = take_notice(database, notice_id, keys=keys)
    if taken is None:
        return Settled("nothing")
    answer = deliver(taken.envelope, outgoing)
    return settle_notice(database, notice_id, taken, answer)


def take_notice(database: Database, notice_id: int, *, keys: KeyRing) -> Taken | None:
    """Own a due notice for LEASE_S; None where there is nothing to do. The attempt is counted before the call."""
    token = secrets.token_hex(16)
    with database.transaction() as tx:
        if _abandon(tx, notice_id):
            return None
        owned = tx.execute(
            TAKE_NOTICE,
            notice_id=notice_id,
            token=token,
            lease_until=tx.now + seconds(LEASE_S),
            now=tx.now,
            attempts_max=ATTEMPTS_MAX,
        )
        if owned != 1:
            return None
        notice = tx.get(Notice, Notice.id == notice_id)
        store = tx.get(Store, Store.id == notice.store_id)
        body = _body(tx, notice)
        signing = secrets_of(store, keys=keys, now=tx.now)
    return Taken(token, notice.attempts, notice.run_id, store.id, Envelope(store.url, notice.webhook_id, body, signing))


def settle_notice(database: Database, notice_id: int, taken: Taken, answer: Answer) -> Settled:
    """Record what an attempt came to, unless the lease was lost meanwhile: whoever took over will tell."""
    with database.transaction() as tx:
        state = _next_state(answer, attempts=taken.attempts)
        again_at = tx.now + _wait(answer, attempts=taken.attempts)
        settled = tx.execute(
            SETTLE_NOTICE,
            notice_id=notice_id,
            token=taken.token,
            state=state,
            now=tx.now,
            next_attempt_at=again_at,
            delivered_at=tx.now if state == "delivered" else None,
            last_error=answer.error if not isinstance(answer, Delivered) else "",
        )
        if settled != 1:
            return Settled("lease lost", taken.run_id)
        told = _change_breaker(tx, taken.store_id, answer)
        _journal(tx, notice_id, state)
    if isinstance(answer, TryLater) and state == "due":
        told.append(
            StoreFailed(
                store=taken.store_id, notice_id=notice_id, attempts=taken.attempts, error=answer.error,
                next_attempt_at=instant_text(again_at),
            )
        )  # fmt: skip
    return Settled("later" if state == "due" else state, taken.run_id, tuple(told))


def secrets_of(store: Store, *, keys: KeyRing, now: datetime) -> list[str]:
    """The secrets that sign for a store now: its own, and during a rotation the one before.

    So by every version of the key that is in its file, the latest first: a store verifies with one of them.
    """
    versions = [store.secret_version]
    if store.previous_secret_until is not None and store.previous_secret_until > now:
        versions.append(store.secret_version - 1)
    return [
        store_secret(keys, store_id=store.id, version=version, key_version=key_version)
        for key_version in reversed(keys.versions)
        for version in versions
    ]


def _change_breaker(tx: Tx, store_id: str, answer: Answer) -> list[Observed]:
    """One more failure in a row, or none any more. Returns what is news about it."""
    before = tx.get(Store, Store.id == store_id, lock=True)
    failures = before.failures
    if not isinstance(answer, TryLater):
        tx.execute(STORE_ANSWERED, store_id=store_id)
        return [StoreResumed(store=store_id)] if failures >= BREAKER_FAILURES else []
    until = tx.now + BREAKER_OPEN
    tx.execute(STORE_FAILED, store_id=store_id, failures_max=BREAKER_FAILURES, open_until=until)
    if failures + 1 < BREAKER_FAILURES:
        return []
    return [StoreSuspended(store=store_id, failures=failures + 1, until=instant_text(until))]


def _next_state(answer: Answer, *, attempts: int) -> str:
    if isinstance(answer, Delivered):
        return "delivered"
    return "undelivered" if isinstance(answer, Gone) or attempts >= ATTEMPTS_MAX else "due"


def _wait(answer: Answer, *, attempts: int) -> timedelta:
    back_off = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
    asked = timedelta(seconds=answer.retry_after_s) if isinstance(answer, TryLater) else timedelta()
    return max(back_off, asked)


def _abandon(tx: Tx, notice_id: int) -> bool:
    if tx.execute(ABANDON_NOTICE, notice_id=notice_id, now=tx.now, attempts_max=ATTEMPTS_MAX) != 1:
        return False
    _journal(tx, notice_id, "undelivered")
    return True


def _journal(tx: Tx, notice_id: int, state: str) -> None:
    if state == "due":
        return
    notice = tx.get(Notice, Notice.id == notice_id)
    fields = of_run(tx, tx.get(Run, Run.id == notice.run_id))
    if state == "delivered":
        append(
            tx,
            NoticeDelivered(
                **fields, notice_id=notice_id, store=notice.store_id, number=notice.number, attempts=notice.attempts
            ),
        )
    else:
        append(
            tx,
            NoticeUndelivered(
                **fields,
                notice_id=notice_id,
                store=notice.store_id,
                number=notice.number,
                attempts=notice.attempts,
                error=notice.last_error,
            ),
        )


def _body(tx: Tx, notice: Notice) -> bytes:
    run = tx.get(Run, Run.id == notice.run_id)
    programme = tx.get(Programme, Programme.id == run.programme_id)
    fields: dict[str, object] = {
        "programme": programme.code,
        "run": run_code(run),
        "location": run.location_code,
        "cycle": run.cycle,
        "part": run.part,
        "number": notice.number,
        "vouchers": notice.vouchers,
        "amount_minor": notice.amount_minor,
        "currency": run.currency,
        "validity_days": run.validity_days,
        "permitted_goods": orjson.loads(programme.permitted_goods),
        "excluded_goods": orjson.loads(programme.excluded_goods),
    }
    return encode("run.completed", now=notice.made_at, fields=fields)

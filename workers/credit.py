"""Crediting a batch, in two transactions. What an outside issuer credits: workers.outside.

*Take* counts the attempt before the work, so that a crash counts. *Work* locks the batch by its token and inserts
the vouchers, the transfer, the counts and the event together: all of them, or none. The primary key of `voucher` is
the disbursement: a second voucher for a line is a defect, and rolls back.
"""

import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from models import books
from models.cases import unsettled
from models.deadlines import LEASE_S, RETRY_AFTER_S, steady_s
from models.errors import DespensaError
from models.events import BatchCredited
from models.journal import append
from models.runs import fields_of_run
from models.storage import Database, Query, Tx, describe, seconds
from models.tables import Batch
from workers.issuers.slots import Access, find_access, hold_back

#: A batch that was taken so often without success is split by the sweep. Source: design.md, Poison.
TAKES_MAX = 2
#: A batch that is given back for longer is an alarm. Source: design.md, Poison.
STUCK_AFTER = timedelta(minutes=5)
#: How long a worker tries to tell the database that it gives a batch back: a restart of PostgreSQL fits in.
GIVE_BACK_WITHIN_S = 60
#: The database does not answer, or has no connection to spare.
AWAY_ERRORS = (OperationalError, InterfaceError, NoConnectionFree)
#: Trouble of the place, not of the batch: the attempt is given back.
PLACE_ERRORS = (*AWAY_ERRORS, InternalError, ProgrammingError, DespensaError, OSError, MemoryError)

TAKE_BATCH = Query("""
-- take_batch: own an open batch without a live lease, and count the attempt; of which run it is. Everything that pays,
-- calls of an issuer too, begins here: a database that was restored gives nothing
UPDATE batch SET token = :token, lease_until = :lease_until, attempts = attempts + 1
WHERE id = :batch_id AND state = 'open' AND attempts < :takes_max AND next_attempt_at <= :now
  AND (lease_until IS NULL OR lease_until < :now) AND EXISTS (SELECT 1 FROM custody WHERE held = '')
RETURNING run_id
""")

LOCK_BATCH = Query("""
-- lock_batch: the batch, if this token still owns it and it is still open; with what its event says of its run
SELECT b.id, b.run_id, b.first_id, b.last_id, b.lines, b.amount_minor, b.fund_id, b.attempts, b.given_back_at,
       r.location_code, r.cycle, r.part, r.currency, p.code AS programme
FROM batch b JOIN run r ON r.id = b.run_id JOIN programme p ON p.id = r.programme_id
WHERE b.id = :batch_id AND b.token = :token AND b.state = 'open' FOR UPDATE OF b
""")

INSERT_VOUCHERS = Query(f"""
-- insert_vouchers: for the lines of a range that have no voucher, no open case, and were not found not owed
INSERT INTO voucher (id, batch_id, key_version)
SELECT d.id, :batch_id, :key_version FROM disbursement d
WHERE d.id BETWEEN :first_id AND :last_id
  AND {unsettled("d.id")}
""")  # noqa: S608  # of constants, of no input

SUM_VOUCHERS = Query("""
-- sum_vouchers: what this batch inserted, where that is not all of its lines
SELECT CAST(COALESCE(SUM(d.amount_minor), 0) AS BIGINT)
FROM voucher v JOIN disbursement d ON d.id = v.id
WHERE d.id BETWEEN :first_id AND :last_id AND v.id BETWEEN :first_id AND :last_id AND v.batch_id = :batch_id
""")

FINISH_BATCH = Query("""
-- finish_batch: its write-once counts
UPDATE batch SET state = 'done', credited = :credited, credited_minor = :credited_minor, credited_at = :now,
                 token = NULL, lease_until = NULL, given_back_at = NULL
WHERE id = :batch_id AND token = :token AND state = 'open'
""")

RETURN_BATCH = Query("""
-- return_batch: end a lease without success; :given_back is 1 where the attempt is not counted, :keeps_place where the
-- database failed: the first time such a batch does not wait behind all that its run has never sent
UPDATE batch SET token = NULL, lease_until = NULL,
                 attempts = CASE WHEN attempts > 0 THEN attempts - :given_back ELSE 0 END,
                 next_attempt_at = CASE WHEN :keeps_place = 1 AND given_back_at IS NULL THEN next_attempt_at
                                        ELSE :next_attempt_at END,
                 last_error = :last_error,
                 given_back_at = CASE WHEN :given_back = 1 THEN COALESCE(given_back_at, :now) ELSE given_back_at END
WHERE id = :batch_id AND token = :token
""")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a batch, which its row holds until `lease_until`."""

    batch_id: int
    run_id: int  #: 0 where the take had no answer
    token: str
    began: float  #: this host's steady clock before the take: it ends LEASE_S later at the latest
    access: Access | None  #: to the outside issuer that credits it; None in the closed loop


@dataclass(frozen=True, slots=True)
class Credited:
    """What a batch's work came to."""

    vouchers: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that ended in an error: what may be logged of it."""

    error: str  #: the type
    sqlstate: str
    constraint: str
    given_back: bool
    stuck_since: datetime | None  #: set where it has been given back for longer than STUCK_AFTER


class NotTaken(Exception):
    """The database did not answer a take: whether it was made is not known, and its attempt is not to count."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


def take_batch(database: Database, batch_id: int, *, stopping: threading.Event | None = None) -> Lease | None:
    """Own a batch for LEASE_S, or None where there is nothing to do: done, stopped, paused, held, or not yet due.

    None also where nobody may call its issuer now: it was then postponed. Raises NotTaken.
    """
    token, began = secrets.token_hex(16), steady_s()
    try:
        with database.transaction() as tx:
            # Losing this commit in a crash of the database loses a lease, which then fences nobody's work: harmless.
            tx.commit_asynchronously()
            access = find_access(tx, batch_id)
            if access is not None and hold_back(tx, batch_id, access):
                return None
            taken = tx.first(
                TAKE_BATCH, batch_id=batch_id, token=token, lease_until=tx.now + seconds(LEASE_S), now=tx.now,
                takes_max=TAKES_MAX,
            )  # fmt: skip
    except AWAY_ERRORS as error:
        # The commit may have been made, and its answer lost: an attempt that nobody works on must not be counted.
        raise NotTaken(_untake(database, Lease(batch_id, 0, token, began, None), error, stopping=stopping)) from error
    return Lease(batch_id, int(taken.run_id), token, began, access) if taken is not None else None


def credit_batch(database: Database, lease: Lease, *, key_version: int) -> Credited | None:
    """Insert the batch's vouchers and move their sum to vouchers outstanding, in one transaction.

    None where the lease was lost, or the batch was paused, split or stopped meanwhile: then nothing was changed.
    """
    with database.transaction() as tx:
        batch = tx.first(LOCK_BATCH, batch_id=lease.batch_id, token=lease.token)
        if batch is None:
            return None
        span: dict[str, object] = {"batch_id": batch.id, "first_id": batch.first_id, "last_id": batch.last_id}
        vouchers = tx.execute(INSERT_VOUCHERS, key_version=key_version, **span)
        # Lines are never updated: where all of them were credited, their sum is the batch's.
        amount_minor = batch.amount_minor if vouchers == batch.lines else int(tx.scalar(SUM_VOUCHERS, **span))
        finish_batch(tx, lease, batch, vouchers=vouchers, amount_minor=amount_minor)
        return Credited(vouchers, amount_minor)


def put_off(database: Database, lease: Lease, *, wait_s: int, reason: str) -> datetime | None:
    """Give a batch back untouched, to be taken again after `wait_s`. Returns since when, if that is long."""
    return _return(database, lease, error=reason, given_back=True, wait_s=wait_s)


def return_batch(
    database: Database, lease: Lease, error: Exception, *, stopping: threading.Event | None = None
) -> Failure:
    """End a lease after a failed attempt. The attempt is given back unless the data, or our own code, was at fault.

    Tries for a minute, or until `stopping` is set, where the database does not answer: an attempt that cannot be given
    back stays counted, and a restart of the database must not split a batch.
    """
    given_back = isinstance(error, PLACE_ERRORS)
    constraint, sqlstate = describe(error)
    retrying = Retrying(
        retry=retry_if_exception_type(AWAY_ERRORS),
        stop=stop_any(stop_after_delay(GIVE_BACK_WITHIN_S), stop_when_event_set(stopping or threading.Event())),
        wait=wait_random_exponential(multiplier=0.1, max=3),
        reraise=True,
    )
    since = retrying(
        _return, database, lease, error=f"{type(error).__name__} {sqlstate}".strip(), given_back=given_back,
        keeps_place=isinstance(error, AWAY_ERRORS),
    )  # fmt: skip
    return Failure(type(error).__name__, sqlstate, constraint, given_back, since)


def release_lease(database: Database, lease: Lease) -> None:
    """Let go of a batch that turned out to be stopped or paused, so that a cancel need not wait for the lease."""
    with database.transaction() as tx:
        tx.execute(
            RETURN_BATCH, batch_id=lease.batch_id, token=lease.token, given_back=1, keeps_place=0, last_error="",
            next_attempt_at=tx.now, now=tx.now,
        )  # fmt: skip


def finish_batch(tx: Tx, lease: Lease, batch: Row[Any], *, vouchers: int, amount_minor: int) -> None:
    """The counts of a batch that LOCK_BATCH gave, its one transfer and its event, for the vouchers inserted for it."""
    finished = tx.execute(
        FINISH_BATCH, batch_id=lease.batch_id, token=lease.token, now=tx.now,
        credited=vouchers, credited_minor=amount_minor,
    )  # fmt: skip
    if finished != 1:
        raise RuntimeError(f"batch {lease.batch_id} was locked and could not be finished")
    books.credit(
        tx, fund_id=batch.fund_id, run_id=batch.run_id, batch_id=batch.id, amount_minor=amount_minor,
        currency=batch.currency,
    )  # fmt: skip
    append(
        tx,
        BatchCredited(
            **fields_of_run(batch), batch_id=batch.id, first_id=batch.first_id, last_id=batch.last_id,
            credited=vouchers, credited_minor=amount_minor, currency=batch.currency, attempt=batch.attempts,
        ),
    )  # fmt: skip


def _untake(database: Database, lease: Lease, error: Exception, *, stopping: threading.Event | None) -> Failure:
    try:
        return return_batch(database, lease, error, stopping=stopping)
    except AWAY_ERRORS:
        constraint, sqlstate = describe(error)
        return Failure(type(error).__name__, sqlstate, constraint, given_back=False, stuck_since=None)


def _return(
    database: Database, lease: Lease, *, error: str, given_back: bool, wait_s: int = RETRY_AFTER_S,
    keeps_place: bool = False,
) -> datetime | None:  # fmt: skip
    with database.transaction() as tx:
        tx.execute(
            RETURN_BATCH, batch_id=lease.batch_id, token=lease.token, given_back=int(given_back),
            keeps_place=int(keeps_place), last_error=error, next_attempt_at=tx.now + seconds(wait_s), now=tx.now,
        )  # fmt: skip
        batch = tx.find(Batch, Batch.id == lease.batch_id)
        since = batch.given_back_at if batch else None
        return since if since is not None and since < tx.now - STUCK_AFTER else None

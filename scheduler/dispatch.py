"""Dispatch: the only sender of messages. Stamp and commit, then send; what is lost on the way is sent again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from models.broker import SafeRedisBroker, send, waiting
from models.errors import BrokerUnreachable
from models.messages import CREDIT_QUEUE, NOTIFY_QUEUE, CreditBatch, Message, SendNotice
from models.storage import Database, Query, Tx, seconds
from models.tables import slots_of
from scheduler.notices import list_due_notices, stamp_notices

#: Batches stamped and unfinished at once, over all runs: what Redis and the workers have in hand.
WINDOW = 500
#: And of how many lines: what is sent again waits behind them, a few seconds of the database's work.
WINDOW_LINES = 200_000
#: Messages that wait in a queue before no more are sent to it.
WAITING_MAX = 2 * WINDOW
#: Notices sent a tick.
NOTICES_MAX = 200
#: Without a live lease, a batch is sent again so long after its stamp.
RESEND_S = 10

COUNT_IN_FLIGHT = Query("""
-- count_in_flight: of each run with batches that are due or under way, how many are stamped or leased, the lines of the
-- largest, how many wait for an answer to their stamp, and its issuer with the calls that it takes at once, '' and 0 in
-- the closed loop; bounded by the open runs
SELECT b.run_id, COALESCE(MIN(i.url), '') AS issuer, COALESCE(MIN(i.calls_max), 0) AS calls_max,
       MAX(b.lines) AS lines_max,
       SUM(CASE WHEN b.stamped_at < :resend_at AND (b.lease_until IS NULL OR b.lease_until < :now)
                THEN 1 ELSE 0 END) AS unanswered,
       SUM(CASE WHEN b.stamped_at >= :resend_at OR b.lease_until >= :now THEN 1 ELSE 0 END) AS in_flight
FROM batch b JOIN run r ON r.id = b.run_id LEFT JOIN issuer i ON i.programme_id = r.programme_id
WHERE b.state = 'open' GROUP BY b.run_id
HAVING MAX(CASE WHEN b.stamped_at >= :resend_at OR b.lease_until >= :now OR b.next_attempt_at <= :now
                THEN 1 ELSE 0 END) = 1
ORDER BY b.run_id
""")

STAMP_BATCHES = Query("""
-- stamp_batches: one run's due open batches without a live lease; :limit is its share of the window
UPDATE batch SET stamped_at = :now
WHERE id IN (SELECT id FROM batch
             WHERE run_id = :run_id AND state = 'open' AND attempts < :takes_max AND next_attempt_at <= :now
               AND (lease_until IS NULL OR lease_until < :now)
               AND (stamped_at IS NULL OR stamped_at < :resend_at)
             ORDER BY next_attempt_at, id LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING id
""")

LIST_UNANSWERED = Query("""
-- list_unanswered: one run's open batches that were sent once, and not finished or given back since; bounded by the
-- window
SELECT id FROM batch WHERE run_id = :run_id AND state = 'open' AND stamped_at < :resend_at ORDER BY id LIMIT :limit
""")
#: As workers.credit.TAKES_MAX: what was taken so often waits for the sweep. A test keeps the two equal.
TAKES_MAX = 2


@dataclass(slots=True)
class Tally:
    """What this process did since it began, for metrics."""

    batches: int = 0  #: sent
    resent: int = 0  #: of these, sent before: the message was lost, or its worker
    notices: int = 0  #: sent
    failures: Counter[str] = field(default_factory=Counter)  #: steps of ticks, by their names


def dispatch(database: Database, broker: SafeRedisBroker, tally: Tally | None = None) -> int:
    """Send what is due. Returns how many messages Redis took. Raises BrokerUnreachable; the stamps then expire.

    A queue that no worker empties gets no more: what is in it says "look now" as well as a second copy would, and
    copies every ten seconds of a night would fill Redis.
    """
    credit_room, notify_room = (_has_room(broker, queue) for queue in (CREDIT_QUEUE, NOTIFY_QUEUE))
    tally = tally or Tally()
    with database.transaction() as tx:
        batches = stamp_batches(tx, tally) if credit_room else []
        notices = list_due_notices(tx, limit=NOTICES_MAX) if notify_room else []
        stamp_notices(tx, notices)
    tally.batches += len(batches)
    tally.notices += len(notices)
    return send_all(broker, [*map(CreditBatch, batches), *map(SendNotice, notices)])


def stamp_batches(tx: Tx, tally: Tally | None = None) -> list[int]:
    """Stamp each run's share of the window, and return what to send."""
    tally = tally or Tally()
    times: dict[str, object] = {"now": tx.now, "resend_at": tx.now - seconds(RESEND_S)}
    runs = tx.all(COUNT_IN_FLIGHT, **times)
    if not runs:
        return []
    stamped: list[int] = []
    at_issuer = Counter({run.issuer: 0 for run in runs})
    for run in runs:
        at_issuer[run.issuer] += run.in_flight
    for run in runs:
        room = share_of(len(runs), lines_max=run.lines_max) - run.in_flight
        if run.issuer:
            room = min(room, issuer_window(run.calls_max) - at_issuer[run.issuer])
        if room > 0:
            before = _unanswered(tx, run.run_id, times["resend_at"]) if run.unanswered else set()
            rows = tx.all(STAMP_BATCHES, run_id=run.run_id, limit=room, takes_max=TAKES_MAX, **times)
            stamped += sorted(row.id for row in rows)
            tally.resent += sum(row.id in before for row in rows)
            at_issuer[run.issuer] += len(rows)
    return stamped


def share_of(runs: int, *, lines_max: int) -> int:
    """A run's share of the window, in batches of up to `lines_max` lines; at least one."""
    return max(1, min(WINDOW, WINDOW_LINES // lines_max) // runs)


def issuer_window(calls_max: int) -> int:
    """How many batches an outside issuer has in hand, over all runs, the oldest first: twice as many as find a slot.

    What is sent beyond that is taken, put off and sent again.
    """
    return 2 * slots_of(calls_max)


def send_all(broker: SafeRedisBroker, messages: Sequence[Message]) -> int:
    """Hand messages to Redis. Raises BrokerUnreachable: the database still knows what is owed."""
    try:
        for message in messages:
            send(broker, message)
    except redis.RedisError as error:
        raise _unreachable(error) from None
    return len(messages)


def _unanswered(tx: Tx, run_id: int, resend_at: object) -> set[int]:
    return {row.id for row in tx.all(LIST_UNANSWERED, run_id=run_id, resend_at=resend_at, limit=WINDOW)}


def _has_room(broker: SafeRedisBroker, queue: str) -> bool:
    try:
        return waiting(broker, queue) < WAITING_MAX
    except redis.RedisError as error:
        raise _unreachable(error) from None


def _unreachable(error: redis.RedisError) -> BrokerUnreachable:
    return BrokerUnreachable(
        f"Redis does not take messages: {type(error).__name__}",
        cause=type(error).__name__,
        hint="nothing is lost; start Redis, or mend DESPENSA_REDIS_URL: despensa doctor",
    )

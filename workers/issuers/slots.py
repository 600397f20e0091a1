"""Who may call an issuer now: a limit over all processes, and a breaker.

A slot is the lease of a batch, so a dead worker's slot comes back by itself. While the breaker is open nobody calls;
afterwards (half-open) one batch at a time does, and its first call alone decides whether the others are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.cases import forgotten_sends
from models.doubts import ForgottenSends
from models.states import AnswerOutcome
from models.storage import Query, Tx, seconds
from models.tables import Issuer, slots_of
from workers.issuers.answers import Answer, TryLater

#: After so many takes in a row without a usable answer, nobody calls for a while.
BREAKER_FAILURES = 3
BREAKER_OPEN = timedelta(seconds=20)
#: A batch that found no slot is looked at again: about when a batch of an issuer that answers quickly has ended.
NO_SLOT_S = 0.2
#: An issuer that asks every caller to wait is believed so far.
PAUSE_S_MAX = 300
#: What a call that was never made is recorded as: it says nothing of the issuer.
NOT_CALLED = "not called"
USABLE = (AnswerOutcome.CREDITED, AnswerOutcome.REJECTED, AnswerOutcome.ABSENT)

FIND_ISSUER = Query("""
-- find_issuer: of a batch's programme; no row where it is closed loop
SELECT i.programme_id, p.code AS programme, r.cycle
FROM batch b JOIN run r ON r.id = b.run_id JOIN programme p ON p.id = r.programme_id
JOIN issuer i ON i.programme_id = r.programme_id
WHERE b.id = :batch_id
""")

COUNT_SLOTS = Query("""
-- count_slots: batches under way at an issuer, of any programme; a stopped or paused batch may still be called for
SELECT COUNT(*) FROM batch b JOIN run r ON r.id = b.run_id JOIN issuer i ON i.programme_id = r.programme_id
WHERE i.url = :url AND b.lease_until >= :now AND b.state IN ('open', 'paused', 'stopped')
""")

POSTPONE_BATCH = Query("""
-- postpone_batch: not taken, and to be sent again then; :refused is 1 where its issuer is left alone, from which on
-- it counts as given back. What waits for longer already goes on waiting
UPDATE batch SET stamped_at = NULL, next_attempt_at = :next_attempt_at,
                 given_back_at = CASE WHEN :refused = 1 THEN COALESCE(given_back_at, :now) ELSE given_back_at END
WHERE id = :batch_id AND state = 'open' AND next_attempt_at <= :now AND (lease_until IS NULL OR lease_until < :now)
""")

ISSUER_ANSWERED = Query("""
-- issuer_answered: the breaker closes
UPDATE issuer SET failures = 0, breaker_until = NULL
WHERE programme_id = :programme_id AND (failures > 0 OR breaker_until IS NOT NULL)
""")

ISSUER_FAILED = Query("""
-- issuer_failed: one more take without a usable answer; from :failures_max on the breaker opens
UPDATE issuer SET failures = failures + 1,
       breaker_until = CASE WHEN failures + 1 >= :failures_max THEN :open_until ELSE breaker_until END
WHERE programme_id = :programme_id
""")

ISSUER_ASKED_FOR_TIME = Query("""
-- issuer_asked_for_time: nobody calls before :open_until
UPDATE issuer SET breaker_until = :open_until WHERE programme_id = :programme_id
""")


@dataclass(frozen=True, slots=True)
class Access:
    """The right to call an issuer for a batch."""

    programme_id: int
    programme: str
    url: str
    calls: int  #: under way at once
    key_window: timedelta
    probing: bool  #: half-open: the first call decides
    forgotten: ForgottenSends | None = None  #: by a restored database


@dataclass(frozen=True, slots=True)
class Health:
    """A change that operators want to know of."""

    programme: str
    failures: int
    suspended_until: datetime | None  #: None: it answers again


def find_access(tx: Tx, batch_id: int) -> Access | None:
    """How to call the issuer of a batch's programme; None where that is closed loop. Holds the issuer's row."""
    found = tx.first(FIND_ISSUER, batch_id=batch_id)
    if found is None:
        return None
    # Held until the take commits: two takes, be it for two programmes, must not both find the last slot free.
    url = tx.get(Issuer, Issuer.programme_id == found.programme_id).url
    held = {each.programme_id: each for each in tx.list(Issuer, Issuer.url == url, lock=True)}
    issuer = held.get(found.programme_id) or tx.get(Issuer, Issuer.programme_id == found.programme_id, lock=True)
    return Access(
        programme_id=issuer.programme_id,
        programme=found.programme,
        url=issuer.url,
        calls=issuer.calls_max // slots_of(issuer.calls_max),
        key_window=timedelta(hours=issuer.key_window_hours),
        probing=issuer.failures >= BREAKER_FAILURES,
        # Later months were not due yet: they cost no look at the restores.
        forgotten=forgotten_sends(tx, issuer) if found.cycle <= issuer.forgotten_cycle else None,
    )


def hold_back(tx: Tx, batch_id: int, access: Access) -> bool:
    """Whether nobody may call for this batch now; then it is postponed until somebody may."""
    issuer = tx.get(Issuer, Issuer.programme_id == access.programme_id)
    # What lies further ahead than any breaker opens was written by a clock that was ahead.
    longest_until = tx.now + seconds(PAUSE_S_MAX)
    refused = issuer.breaker_until is not None and tx.now < issuer.breaker_until <= longest_until
    if issuer.breaker_until is not None and refused:
        again_at = issuer.breaker_until
    elif _slots_taken(tx, access) >= (1 if access.probing else slots_of(issuer.calls_max)):
        again_at = tx.now + seconds(NO_SLOT_S)
    else:
        return False
    tx.execute(POSTPONE_BATCH, batch_id=batch_id, next_attempt_at=again_at, refused=int(refused), now=tx.now)
    return True


def note_answers(tx: Tx, access: Access, answers: Sequence[Answer]) -> Health | None:
    """Open or close the breaker by what one take's calls came to."""
    # A host whose settings refuse the issuer must not cut it off for the others.
    called = [answer for answer in answers if answer.detail != NOT_CALLED and not _was_refused(answer)]
    if not called:
        return None
    if any(answer.OUTCOME in USABLE for answer in called):
        closed = tx.execute(ISSUER_ANSWERED, programme_id=access.programme_id)
        return Health(access.programme, 0, None) if closed else None
    asked_s = [answer.retry_after_s for answer in called if isinstance(answer, TryLater) and answer.retry_after_s]
    if len(asked_s) == len(called):  # it is there, and said when to come back
        until = tx.now + seconds(min(max(asked_s), PAUSE_S_MAX))
        tx.execute(ISSUER_ASKED_FOR_TIME, programme_id=access.programme_id, open_until=until)
        return None
    tx.execute(
        ISSUER_FAILED, programme_id=access.programme_id, failures_max=BREAKER_FAILURES, open_until=tx.now + BREAKER_OPEN
    )
    issuer = tx.get(Issuer, Issuer.programme_id == access.programme_id)
    if issuer.failures < BREAKER_FAILURES:
        return None
    return Health(access.programme, issuer.failures, issuer.breaker_until)


def _was_refused(answer: Answer) -> bool:
    return isinstance(answer, TryLater) and answer.refused


def _slots_taken(tx: Tx, access: Access) -> int:
    return int(tx.scalar(COUNT_SLOTS, url=access.url, now=tx.now))

"""Crediting a batch through an outside issuer: its lines are called for, then the batch is settled by its token.

Every line comes to an end of its own. Credited: a voucher. Refused, or still in doubt: a case. Put off by the issuer,
or not called in time: covered by a new batch, so that its mates are settled now.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from models import books
from models.cases import count_doubts, open_case, unsettled
from models.deadlines import RETRY_AFTER_S, RETRY_AFTER_S_MAX
from models.doubts import ASK_AGAIN, KEY_WINDOW_OVER, PUT_OFF_MAX, ask_again_at, sure_from
from models.errors import DespensaError
from models.keys import KeyRing
from models.outgoing import Outgoing
from models.states import BatchState, CaseReason
from models.storage import Database, Query, Tx, seconds
from models.tables import Batch, Run
from workers.credit import LOCK_BATCH, Credited, Lease, finish_batch, put_off
from workers.issuers.answers import TryLater
from workers.issuers.calls import Line, Work, begin, call_for
from workers.issuers.slots import BREAKER_OPEN, Health

INSERT_CREDITED = Query(f"""
-- insert_credited: vouchers for the lines of a range that the issuer credited, as INSERT_VOUCHERS has it
INSERT INTO voucher (id, batch_id, key_version)
SELECT d.id, :batch_id, :key_version FROM disbursement d
WHERE d.id BETWEEN :first_id AND :last_id
  AND EXISTS (SELECT 1 FROM intent i JOIN answer a ON a.intent_id = i.id
              WHERE i.disbursement_id = d.id AND a.outcome = 'credited')
  AND {unsettled("d.id")}
RETURNING id
""")  # noqa: S608  # of constants, of no input


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a take came to."""

    credited: Credited | None  #: None where nothing was settled
    cases: int = 0
    put_off: int = 0  #: lines
    lease_lost: bool = False
    stuck_since: datetime | None = None
    error: str = ""  #: why the whole batch was put off
    health: Health | None = None  #: of the issuer, where it changed


class AnswersChanged(DespensaError):
    """Another take recorded an answer while this one settled: the batch is given back, and taken again."""


def credit_batch(
    database: Database, lease: Lease, *, key_version: int, references: KeyRing, token: Callable[[], str],
    stopping: threading.Event, outgoing: Outgoing,
) -> Outcome:  # fmt: skip
    """Bring each line of a batch to its end, as far as the issuer answers within the lease.

    `token` reads the issuer's access token; it is not asked for where all that is left is to settle what is known.
    """
    work = begin(database, lease, keys=references, stopping=stopping)
    if work is None:
        return Outcome(None, lease_lost=True)
    if work.needs_calls:
        call_for(database, work, token=token(), outgoing=outgoing)
    return settle(database, work, key_version=key_version)


def settle(database: Database, work: Work, *, key_version: int) -> Outcome:
    """Vouchers, cases, and a batch for what was put off, in one transaction; or, where all was, the batch back."""
    with database.transaction() as tx:
        # Locked first: what was put off is covered by new batches of the run.
        run = tx.get(Run, Run.id == work.run_id, lock=True)
        batch = tx.first(LOCK_BATCH, batch_id=work.lease.batch_id, token=work.lease.token)
        if batch is None:
            return Outcome(None, lease_lost=True, health=work.health)
        ends = _ends(tx, work, given_back_at=batch.given_back_at)
        behind = work.health is not None and work.health.suspended_until is not None
        if work.lines and len(ends.put_off) == len(work.lines):
            waits = _wait_s(ends.put_off, behind=behind)
        else:
            credited = _insert_vouchers(tx, work, key_version=key_version)
            for line, case in ends.cases:
                _open_case(tx, run, line, case, fund_id=batch.fund_id)
            finish_batch(tx, work.lease, batch, vouchers=credited.vouchers, amount_minor=credited.amount_minor)
            since = batch.given_back_at or tx.now
            _cover(tx, run, [line for line in ends.put_off if line.was_called], batch.fund_id, given_back_at=since)
            # Where the issuer answers others, those that were not called yet were only not called yet.
            waiting = [line for line in ends.put_off if not line.was_called]
            _cover(tx, run, waiting, batch.fund_id, given_back_at=None if work.was_answered else since)
            return Outcome(credited, len(ends.cases), len(ends.put_off), health=work.health)
    reason = ends.put_off[0].last
    error = reason.detail if reason else "not called"
    stuck = put_off(database, work.lease, wait_s=waits, reason=f"put off: {error}")
    return Outcome(None, put_off=len(ends.put_off), stuck_since=stuck, error=error, health=work.health)


@dataclass(frozen=True, slots=True)
class _CaseOf:
    """Why a line becomes a case, and when it is tried again by itself."""

    reason: CaseReason
    error: str
    attempts: int
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Ends:
    cases: list[tuple[Line, _CaseOf]]
    put_off: list[Line]


def _ends(tx: Tx, work: Work, *, given_back_at: datetime | None) -> _Ends:
    """To what end each line comes that was not credited."""
    doubts = count_doubts(tx, first_id=work.first_id, last_id=work.last_id)
    too_long = given_back_at is not None and given_back_at < tx.now - PUT_OFF_MAX
    ends = _Ends([], [])
    for line in work.lines:
        if line.credited:
            continue
        case = _case_of(line, work, doubts=doubts.get(line.id, 0), too_long=too_long, now=tx.now)
        if case is None:
            ends.put_off.append(line)
        else:
            ends.cases.append((line, case))
    return ends


def _case_of(line: Line, work: Work, *, doubts: int, too_long: bool, now: datetime) -> _CaseOf | None:
    """Why a line that was not credited becomes a case; None where it is put off, which spends no attempt."""
    if line.surely_absent and work.ask_only:
        return _CaseOf(CaseReason.STOPPED, "", doubts)
    if line.surely_absent and line.window_over:
        return _CaseOf(CaseReason.UNKNOWN, f"absent, and {KEY_WINDOW_OVER}", doubts + 1)
    if line.last is None or isinstance(line.last, TryLater):
        # What was never called for is not given up here, however long it has waited: the sweep bounds that.
        if not too_long or not line.was_called:
            return None
        reason = CaseReason.DEAD if line.surely_absent else CaseReason.UNKNOWN
        return _CaseOf(reason, f"put off for a day: {line.last.detail if line.last else ''}", doubts + 1)
    if line.rejected and line.surely_absent:
        return _CaseOf(CaseReason.REJECTED, line.last.detail, doubts + 1)
    if line.in_doubt:
        again_at = None if line.window_over else ask_again_at(doubts, now=now)
        return _CaseOf(
            CaseReason.UNKNOWN, KEY_WINDOW_OVER if line.window_over else line.last.detail, doubts + 1, again_at
        )
    if line.window_over:
        return _CaseOf(CaseReason.UNKNOWN, f"absent, and {KEY_WINDOW_OVER}", doubts + 1)
    if not work.ask_only and not line.rejected:
        return None  # absent: there was no time left to send it again
    # The answer may have overtaken a send that the issuer still has in hand: only a later one is the last word.
    assert line.doubted_last_at is not None  # otherwise it would be surely absent
    again_at = max(now, sure_from(line.doubted_last_at)) if doubts < len(ASK_AGAIN) else None
    return _CaseOf(CaseReason.UNKNOWN, "refused so far" if line.rejected else "absent so far", doubts + 1, again_at)


def _insert_vouchers(tx: Tx, work: Work, *, key_version: int) -> Credited:
    rows = tx.all(
        INSERT_CREDITED, batch_id=work.lease.batch_id, first_id=work.first_id, last_id=work.last_id,
        key_version=key_version,
    )  # fmt: skip
    inserted = {int(row.id) for row in rows}
    expected = {line.id for line in work.lines if line.credited}
    if inserted != expected:
        # Another take's answer came between: what is true now decides, at the next take.
        raise AnswersChanged("answers of another take arrived while this one was being settled")
    return Credited(len(inserted), sum(line.amount_minor for line in work.lines if line.credited))


def _open_case(tx: Tx, run: Run, line: Line, case: _CaseOf, *, fund_id: int) -> None:
    stopped = case.reason == CaseReason.STOPPED
    row = open_case(
        tx, run, line.id, fund_id=fund_id, reason=case.reason, attempts=case.attempts, error=case.error,
        reserved=not stopped, next_attempt_at=case.next_attempt_at,
    )  # fmt: skip
    if stopped:
        books.unreserve(
            tx, fund_id=fund_id, run_id=run.id, case_id=row.id, amount_minor=line.amount_minor, currency=run.currency
        )


def _cover(tx: Tx, run: Run, lines: Sequence[Line], fund_id: int, *, given_back_at: datetime | None) -> None:
    """New batches over exactly these lines: unbroken stretches of ids, on the same fund."""
    stretches: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: each.id):
        if stretches and stretches[-1][-1].id == line.id - 1:
            stretches[-1].append(line)
        else:
            stretches.append([line])
    tx.add_all(
        [
            Batch(
                run_id=run.id, first_id=stretch[0].id, last_id=stretch[-1].id, lines=len(stretch),
                amount_minor=sum(line.amount_minor for line in stretch), fund_id=fund_id, state=BatchState.OPEN,
                next_attempt_at=tx.now + seconds(_wait_s(stretch)), given_back_at=given_back_at,
            )
            for stretch in stretches
        ]
    )  # fmt: skip


def _wait_s(lines: Sequence[Line], *, behind: bool = False) -> int:
    """How long to wait before these are taken again: as the issuer asked, within bounds.

    `behind` lines that its silence holds back, where these broke the silence in vain: otherwise they would be the next
    probe, too, and the next, and hold the others back for a day.
    """
    asked = [line.last.retry_after_s for line in lines if isinstance(line.last, TryLater)]
    wait_s = min(max([RETRY_AFTER_S, *asked]), RETRY_AFTER_S_MAX)
    return max(wait_s, int(BREAKER_OPEN.total_seconds())) + RETRY_AFTER_S if behind else wait_s

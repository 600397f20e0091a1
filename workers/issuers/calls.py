"""The calls for a batch's lines: intents, commit, calls, answers, commit; round by round, within the lease.

An intent is committed before its call and the answer after it, both append-only, whether the lease still holds or
not. A line whose send has no usable answer is *in doubt*: it is asked for by reference before anything is sent again,
always under the same reference. No transaction is open during a call.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.deadlines import ISSUER_CALL_S, LEASE_S
from models.keys import KeyRing, credit_reference
from models.states import AnswerOutcome, CallKind, RunState
from models.storage import Database, Query
from models.tables import Answer as AnswerRow
from models.tables import Intent, Run
from workers.credit import LOCK_BATCH, Lease
from workers.issuers.answers import Answer, Credit, TryLater
from workers.issuers.http import IssuerClient
from workers.issuers.slots import NOT_CALLED, USABLE, Access, Health, note_answers

#: Kept of a lease for recording the answers and settling.
SETTLE_S = 3
#: No call starts later than this after a take: it ends, and is settled, within the lease.
CALLS_START_WITHIN_S = LEASE_S - ISSUER_CALL_S - SETTLE_S
#: Calls for one line in one take: a send, an ask, and a send of what was absent.
CALLS_PER_LINE = 3
#: So many calls in a row without a usable answer end the calls of a take: what is not sent is not in doubt.
FAILED_CALLS_MAX = 5
#: An issuer ends what it was sent within this. Source: deploy/issuer-openapi, duties of an issuer.
PROCESSING = timedelta(seconds=60)

LIST_LINES = Query("""
-- list_lines: those of a batch that may be credited, and what is known of their calls; bounded by the batch
SELECT d.id, d.amount_minor, d.cycle, h.registration_id, r.currency,
       MIN(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.recorded_at END)
         AS doubted_first_at,
       MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.recorded_at END)
         AS doubted_last_at,
       COALESCE(MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.id END), 0)
         AS doubt,
       COALESCE(MAX(CASE WHEN a.outcome = 'absent' THEN i.id END), 0) AS absence,
       COALESCE(MAX(CASE WHEN a.outcome = 'credited' THEN 1 END), 0) AS credited
FROM disbursement d JOIN household h ON h.id = d.household_id JOIN run r ON r.id = :run_id
LEFT JOIN intent i ON i.disbursement_id = d.id LEFT JOIN answer a ON a.intent_id = i.id
WHERE d.id BETWEEN :first_id AND :last_id
  AND NOT EXISTS (SELECT 1 FROM voucher v WHERE v.id = d.id)
  AND NOT EXISTS (SELECT 1 FROM cases c
                  WHERE c.disbursement_id = d.id AND (c.state = 'open' OR c.outcome = 'not_owed'))
GROUP BY d.id, d.amount_minor, d.cycle, h.registration_id, r.currency ORDER BY d.id
""")

WAKE_CASES = Query("""
-- wake_cases: of lines whose credit became known after another take had made them a case: they are due
UPDATE cases SET next_attempt_at = :now
WHERE run_id = :run_id AND state = 'open' AND reason <> 'stopped' AND disbursement_id BETWEEN :first_id AND :last_id
  AND EXISTS (SELECT 1 FROM intent i JOIN answer a ON a.intent_id = i.id
              WHERE i.disbursement_id = cases.disbursement_id AND a.outcome = 'credited')
""")


@dataclass(slots=True)
class Line:
    """A line of the batch, and what this take and those before it found out about it."""

    id: int
    amount_minor: int
    credit: Credit
    in_doubt: bool
    credited: bool
    doubted_first_at: datetime | None  #: from here on the issuer's key window is counted
    doubted_last_at: datetime | None
    window_over: bool = False  #: a send might be a second credit
    asked_in_vain: bool = False  #: in this take
    answers: list[Answer] = field(default_factory=list)  #: of this take

    @property
    def last(self) -> Answer | None:
        """The last answer of this take."""
        return self.answers[-1] if self.answers else None

    @property
    def rejected(self) -> bool:
        """Refused for good, in this take."""
        return self.last is not None and self.last.OUTCOME == AnswerOutcome.REJECTED

    def next_call(self, *, ask_only: bool) -> CallKind | None:
        """What is to be called for next, if anything."""
        ended = self.last is not None and self.last.OUTCOME in (AnswerOutcome.REJECTED, AnswerOutcome.LATER)
        if self.credited or ended or len(self.answers) >= CALLS_PER_LINE:
            return None
        if self.in_doubt:
            return None if self.asked_in_vain else CallKind.ASK
        return None if ask_only or self.window_over else CallKind.SEND

    def learn(self, kind: CallKind, answer: Answer, *, at: datetime) -> None:
        """What a call came to."""
        self.answers.append(answer)
        if answer.OUTCOME == AnswerOutcome.CREDITED:
            self.credited = True
        elif answer.OUTCOME == AnswerOutcome.ABSENT:
            self.in_doubt = False
        elif kind == CallKind.ASK:
            self.asked_in_vain = True
        elif answer.OUTCOME == AnswerOutcome.UNKNOWN:
            self.in_doubt = True
            self.doubted_first_at = self.doubted_first_at or at
            self.doubted_last_at = at


@dataclass(slots=True)
class Work:
    """A batch under way at its issuer."""

    lease: Lease
    access: Access
    run_id: int
    first_id: int
    last_id: int
    ask_only: bool  #: its run was cancelled: nothing is sent any more
    lines: list[Line]
    stopping: threading.Event  #: set when this worker is told to end: no call starts any more
    calls_until: float = 0.0  #: monotonic; no call starts later
    health: Health | None = None

    def __post_init__(self) -> None:
        self.calls_until = self.lease.began + CALLS_START_WITHIN_S

    def may_call(self) -> bool:
        """Whether a call may still start."""
        return time.monotonic() < self.calls_until and not self.stopping.is_set()


def begin(database: Database, lease: Lease, *, keys: KeyRing, stopping: threading.Event) -> Work | None:
    """The lines of a batch that this take is to bring to an end; None where the lease was lost."""
    assert lease.access is not None  # whoever calls this has looked
    with database.reading() as tx:
        batch = tx.first(LOCK_BATCH, batch_id=lease.batch_id, token=lease.token)
        if batch is None:
            return None
        run = tx.get(Run, Run.id == batch.run_id)
        rows = tx.all(LIST_LINES, run_id=run.id, first_id=batch.first_id, last_id=batch.last_id)
    lines = [
        Line(
            id=row.id,
            amount_minor=row.amount_minor,
            credit=Credit(
                credit_reference(
                    keys, programme=lease.access.programme, registration_id=row.registration_id, cycle=row.cycle
                ),
                row.amount_minor,
                row.currency,
            ),
            in_doubt=row.doubt > row.absence and not row.credited,
            credited=bool(row.credited),
            doubted_first_at=row.doubted_first_at,
            doubted_last_at=row.doubted_last_at,
        )
        for row in rows
    ]
    return Work(
        lease, lease.access, run.id, batch.first_id, batch.last_id, ask_only=run.state == RunState.CANCELLED,
        lines=lines, stopping=stopping,
    )  # fmt: skip


def call_for(database: Database, work: Work, *, token: str) -> None:
    """Make the calls of one take, round by round, each between the commit of its intents and that of its answers."""
    asyncio.run(_rounds(database, work, token=token))


async def _rounds(database: Database, work: Work, *, token: str) -> None:
    gate = _Gate(probing=work.access.probing)
    async with IssuerClient.open(work.access.url, token, calls=work.access.calls) as client:
        while work.may_call() and not gate.closed:
            calls = _record_intents(database, work)
            if not calls:
                break
            answers = await _call_all(client, work, gate, calls)
            _record_answers(database, work, calls, answers)
    all_answers = [answer for line in work.lines for answer in line.answers]
    with database.transaction() as tx:
        work.health = note_answers(tx, work.access, all_answers)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a round."""

    intent_id: int
    line: Line
    kind: CallKind
    at: datetime


class _Gate:
    """Ends the calls of a take once an issuer plainly does not answer. A probe's first call goes alone."""

    def __init__(self, *, probing: bool) -> None:
        self.closed = False
        self.probing = probing
        self._failed = 0

    def see(self, answer: Answer) -> None:
        """An answer came, or did not."""
        if answer.OUTCOME in USABLE:
            self._failed, self.probing = 0, False
            return
        self._failed += 1
        self.closed = self.closed or self.probing or self._failed >= FAILED_CALLS_MAX


def _record_intents(database: Database, work: Work) -> list[_Call]:
    """The calls of the next round, their intents committed; none where the batch is no longer ours to call for."""
    with database.transaction() as tx:
        if tx.first(LOCK_BATCH, batch_id=work.lease.batch_id, token=work.lease.token) is None:
            return []
        now = tx.now
        todo: list[tuple[Line, CallKind]] = []
        for line in work.lines:
            line.window_over = _window_over(line, work.access, now=now)
            kind = line.next_call(ask_only=work.ask_only)
            if kind is not None:
                todo.append((line, kind))
        intents = tx.add_all(
            [
                Intent(
                    disbursement_id=line.id, batch_id=work.lease.batch_id, kind=kind, reference=line.credit.reference,
                    recorded_at=now,
                )
                for line, kind in todo
            ]
        )  # fmt: skip
    return [_Call(intent.id, line, kind, now) for intent, (line, kind) in zip(intents, todo, strict=True)]


def _window_over(line: Line, access: Access, *, now: datetime) -> bool:
    """Whether the issuer may have forgotten the reference by the time a send arrives."""
    if line.doubted_first_at is None:
        return False
    return now + timedelta(seconds=LEASE_S) >= line.doubted_first_at + access.key_window


async def _call_all(client: IssuerClient, work: Work, gate: _Gate, calls: Sequence[_Call]) -> list[Answer]:
    room = asyncio.Semaphore(work.access.calls)

    async def one(call: _Call) -> Answer:
        async with room:
            if gate.closed or not work.may_call():
                return TryLater(NOT_CALLED)
            ask_or_send: Callable[..., object] = client.ask if call.kind == CallKind.ASK else client.send
            answer: Answer = await ask_or_send(call.line.credit, until=work.calls_until)  # type: ignore[misc]
            gate.see(answer)
            return answer

    first = [await one(calls[0])] if gate.probing else []
    return first + list(await asyncio.gather(*(one(call) for call in calls[len(first) :])))


def _record_answers(database: Database, work: Work, calls: Sequence[_Call], answers: Sequence[Answer]) -> None:
    with database.transaction() as tx:
        tx.add_all(
            [
                AnswerRow(
                    intent_id=call.intent_id, outcome=answer.OUTCOME, detail=answer.detail,
                    credit_id=answer.credit_id, answered_at=tx.now,
                )
                for call, answer in zip(calls, answers, strict=True)
            ]
        )  # fmt: skip
        tx.execute(WAKE_CASES, run_id=work.run_id, first_id=work.first_id, last_id=work.last_id, now=tx.now)
    for call, answer in zip(calls, answers, strict=True):
        call.line.learn(call.kind, answer, at=call.at)

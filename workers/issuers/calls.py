"""The calls for a batch's lines: intents, commit, calls, answers, commit; round by round, within the lease.

An intent is committed before its call and the answer after it, both append-only, whether the lease still holds or
not. A line whose send has no usable answer is *in doubt*: it is asked for by reference before anything is sent again,
always under the same reference. No transaction is open during a call.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Row
from sqlalchemy.exc import OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from models.cases import DOUBT, unsettled
from models.deadlines import ISSUER_CALL_S, LEASE_S, steady_s
from models.doubts import Sends, is_surely_absent, is_window_over
from models.errors import Misconfigured
from models.keys import KeyRing, credit_reference
from models.outgoing import Outgoing
from models.runs import lock_run
from models.states import AnswerOutcome, CallKind, RunState
from models.storage import Database, Query, Tx
from models.tables import Run
from workers.credit import GIVE_BACK_WITHIN_S, LOCK_BATCH, Lease
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

LIST_LINES = Query(f"""
-- list_lines: those of a batch that may be credited, and what is known of their calls; whom nobody called for longest
-- comes first: a probe makes the first call alone, and the same line must not fail it each time. Bounded by the batch
SELECT d.id, d.amount_minor, d.cycle, h.registration_id, r.currency,
       {DOUBT},
       COALESCE(MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.id END), 0)
         AS doubt,
       COALESCE(MAX(CASE WHEN a.outcome = 'absent' THEN i.id END), 0) AS absence,
       COALESCE(MAX(CASE WHEN a.outcome = 'credited' THEN 1 END), 0) AS credited,
       MIN(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.reference END)
         AS first_reference,
       MAX(CASE WHEN i.kind = 'send' AND COALESCE(a.outcome, 'unknown') = 'unknown' THEN i.reference END)
         AS last_reference
FROM disbursement d JOIN household h ON h.id = d.household_id JOIN run r ON r.id = :run_id
LEFT JOIN intent i ON i.disbursement_id = d.id LEFT JOIN answer a ON a.intent_id = i.id
WHERE d.id BETWEEN :first_id AND :last_id
  AND {unsettled("d.id")}
GROUP BY d.id, d.amount_minor, d.cycle, h.registration_id, r.currency
ORDER BY COALESCE(MAX(CASE WHEN a.detail <> :not_called THEN i.id END), 0), d.id
""")  # noqa: S608  # of constants, of no input

# A round's rows in one parameter: written out, they are hundreds, and take the driver longer than the calls themselves.
INSERT_INTENTS = Query(
    """
-- insert_intents: one for each call of a round
INSERT INTO intent (disbursement_id, batch_id, kind, reference, recorded_at)
SELECT c.disbursement_id, :batch_id, c.kind, c.reference, :now
FROM json_to_recordset(CAST(:calls AS JSON)) AS c (disbursement_id BIGINT, kind TEXT, reference TEXT)
RETURNING id, disbursement_id
""",
    sqlite="""
-- insert_intents: one for each call of a round
INSERT INTO intent (disbursement_id, batch_id, kind, reference, recorded_at)
SELECT json_extract(value, '$.disbursement_id'), :batch_id, json_extract(value, '$.kind'),
       json_extract(value, '$.reference'), :now
FROM json_each(:calls)
RETURNING id, disbursement_id
""",
)

INSERT_ANSWERS = Query(
    """
-- insert_answers: one for each call of a round
INSERT INTO answer (intent_id, outcome, detail, credit_id, answered_at)
SELECT a.intent_id, a.outcome, a.detail, a.credit_id, :now
FROM json_to_recordset(CAST(:answers AS JSON)) AS a (intent_id BIGINT, outcome TEXT, detail TEXT, credit_id TEXT)
""",
    sqlite="""
-- insert_answers: one for each call of a round
INSERT INTO answer (intent_id, outcome, detail, credit_id, answered_at)
SELECT json_extract(value, '$.intent_id'), json_extract(value, '$.outcome'), json_extract(value, '$.detail'),
       json_extract(value, '$.credit_id'), :now
FROM json_each(:answers)
""",
)

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
    key_window: timedelta
    doubted_first_at: datetime | None  #: from here on the issuer's key window is counted
    doubted_last_at: datetime | None
    absent_at: datetime | None  #: when the issuer last said that it holds nothing
    window_over: bool = False  #: a send might be a second credit
    asked: bool = False  #: in this take
    asked_in_vain: bool = False  #: in this take, without a usable answer
    answers: list[Answer] = field(default_factory=list)  #: of this take

    @property
    def last(self) -> Answer | None:
        """The last answer of this take."""
        return self.answers[-1] if self.answers else None

    @property
    def was_called(self) -> bool:
        """In this take: a call for it was made, whatever came of it."""
        return any(answer.detail != NOT_CALLED for answer in self.answers)

    @property
    def rejected(self) -> bool:
        """Refused for good, in this take."""
        return self.last is not None and self.last.OUTCOME == AnswerOutcome.REJECTED

    @property
    def surely_absent(self) -> bool:
        """The issuer holds nothing of what was sent so far, and never will: the money may be given up."""
        return is_surely_absent(
            doubted_first_at=self.doubted_first_at, doubted_last_at=self.doubted_last_at, absent_at=self.absent_at,
            key_window=self.key_window,
        )  # fmt: skip

    def next_call(self, *, ask_only: bool) -> CallKind | None:
        """What is to be called for next, if anything."""
        ended = self.last is not None and self.last.OUTCOME in (AnswerOutcome.REJECTED, AnswerOutcome.LATER)
        if self.credited or ended or len(self.answers) >= CALLS_PER_LINE:
            return None
        if self.in_doubt:
            return None if self.asked_in_vain else CallKind.ASK
        if ask_only or self.window_over:
            return None if self.asked or self.surely_absent else CallKind.ASK
        return CallKind.SEND

    def learn(self, kind: CallKind, answer: Answer, *, at: datetime) -> None:
        """What a call came to."""
        self.answers.append(answer)
        self.asked = self.asked or kind == CallKind.ASK
        if answer.OUTCOME in (AnswerOutcome.ABSENT, AnswerOutcome.REJECTED):
            self.absent_at = at
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
            self.absent_at = None  # it was said of earlier sends


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
    calls_until: float = 0.0  #: steady clock; no call starts later
    health: Health | None = None

    def __post_init__(self) -> None:
        self.calls_until = self.lease.began + CALLS_START_WITHIN_S

    @property
    def was_answered(self) -> bool:
        """Whether the issuer gave a usable answer to any call of this take."""
        return any(answer.OUTCOME in USABLE for line in self.lines for answer in line.answers)

    @property
    def needs_calls(self) -> bool:
        """Whether there is anything to ask or send, and not only to settle."""
        return any(line.next_call(ask_only=self.ask_only) is not None for line in self.lines)

    def may_call(self) -> bool:
        """Whether a call may still start."""
        return steady_s() < self.calls_until and not self.stopping.is_set()


def begin(database: Database, lease: Lease, *, keys: KeyRing, stopping: threading.Event) -> Work | None:
    """The lines of a batch that this take is to bring to an end; None where the lease was lost.

    Raises Misconfigured, with nothing called, where a line was called for under another reference: with another
    reference key its credit would not be found, and be made again.
    """
    assert lease.access is not None  # whoever calls this has looked
    with database.transaction() as tx:  # not `reading`: there it is an error to hold what was changed meanwhile
        now = tx.now
        batch = tx.first(LOCK_BATCH, batch_id=lease.batch_id, token=lease.token)
        if batch is None:
            return None
        run = tx.get(Run, Run.id == batch.run_id)
        rows = tx.all(
            LIST_LINES, run_id=run.id, first_id=batch.first_id, last_id=batch.last_id, not_called=NOT_CALLED
        )  # fmt: skip
    lines = [_line(row, lease.access, keys=keys, now=now) for row in rows]
    return Work(
        lease, lease.access, run.id, batch.first_id, batch.last_id, ask_only=run.state == RunState.CANCELLED,
        lines=lines, stopping=stopping,
    )  # fmt: skip


def _line(row: Row[Any], access: Access, *, keys: KeyRing, now: datetime) -> Line:
    reference = credit_reference(keys, programme=access.programme, registration_id=row.registration_id, cycle=row.cycle)
    if not row.credited and {row.first_reference, row.last_reference} - {None, reference}:
        raise Misconfigured(
            f"disbursement {row.id} was called for under another reference: this host has another reference.key",
            hint="copy the key files from the host that has credited so far, then restart the worker",
        )
    sends = Sends(row.doubted_first_at, row.doubted_last_at, row.absent_at)
    in_doubt = row.doubt > row.absence
    forgotten = access.forgotten
    if forgotten is not None and forgotten.is_open(row.cycle, sends, key_window=access.key_window):
        # As if it had been sent, and its answer lost: it is asked for before anything is sent.
        sends = forgotten.join(row.cycle, sends)
        in_doubt = in_doubt or sends.absent_at is None
    return Line(
        id=row.id,
        amount_minor=row.amount_minor,
        credit=Credit(reference, row.amount_minor, row.currency),
        in_doubt=in_doubt and not row.credited,
        credited=bool(row.credited),
        key_window=access.key_window,
        doubted_first_at=sends.doubted_first_at,
        doubted_last_at=sends.doubted_last_at,
        absent_at=sends.absent_at,
        window_over=is_window_over(sends.doubted_first_at, access.key_window, now=now),
    )


def call_for(database: Database, work: Work, *, token: str, outgoing: Outgoing) -> None:
    """Make the calls of one take, round by round, each between the commit of its intents and that of its answers."""
    asyncio.run(_rounds(database, work, token=token, outgoing=outgoing))


async def _rounds(database: Database, work: Work, *, token: str, outgoing: Outgoing) -> None:
    gate = _Gate(probing=work.access.probing)
    async with IssuerClient.open(work.access.url, token, calls=work.access.calls, outgoing=outgoing) as client:
        while work.needs_calls and work.may_call() and not gate.closed:
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
            line.window_over = is_window_over(line.doubted_first_at, line.key_window, now=now)
            kind = line.next_call(ask_only=work.ask_only)
            if kind is not None:
                todo.append((line, kind))
        rows = [{"disbursement_id": line.id, "kind": kind, "reference": line.credit.reference} for line, kind in todo]
        intents = tx.all(INSERT_INTENTS, batch_id=work.lease.batch_id, calls=orjson.dumps(rows).decode(), now=now)
    intent_ids = {intent.disbursement_id: intent.id for intent in intents}
    return [_Call(intent_ids[line.id], line, kind, now) for line, kind in todo]


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
    for call, answer in zip(calls, answers, strict=True):
        call.line.learn(call.kind, answer, at=call.at)
    with database.transaction() as tx:
        if tx.first(LOCK_BATCH, batch_id=work.lease.batch_id, token=work.lease.token) is not None:
            _add_answers(tx, calls, answers)
            return
    # The lease was lost. Others may be settling these lines, or deciding about their cases, by what they know, and hold
    # the run meanwhile: it is waited for, in a transaction that holds no batch, for as long as they take.
    waiting = Retrying(
        retry=retry_if_exception_type(OperationalError), stop=stop_after_delay(GIVE_BACK_WITHIN_S), wait=wait_fixed(1),
        reraise=True,
    )  # fmt: skip
    waiting(_record_late, database, work, calls, answers)


def _record_late(database: Database, work: Work, calls: Sequence[_Call], answers: Sequence[Answer]) -> None:
    with database.transaction() as tx:
        lock_run(tx, work.run_id, states=tuple(RunState), verb="told")
        _add_answers(tx, calls, answers)
        tx.execute(WAKE_CASES, run_id=work.run_id, first_id=work.first_id, last_id=work.last_id, now=tx.now)


def _add_answers(tx: Tx, calls: Sequence[_Call], answers: Sequence[Answer]) -> None:
    rows = [
        {
            "intent_id": call.intent_id, "outcome": answer.OUTCOME, "detail": answer.detail,
            "credit_id": answer.credit_id,
        }
        for call, answer in zip(calls, answers, strict=True)
    ]  # fmt: skip
    tx.execute(INSERT_ANSWERS, answers=orjson.dumps(rows).decode(), now=tx.now)

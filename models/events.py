"""The closed catalogue of events: what the log can say, one class each.

A business event (`Journalled`) is written to the journal in the transaction of its fact, then sealed, chained and
emitted: it fires after the commit, at least once. An operational event (`Observed`) is written to the log at once
and never to the journal. Every line carries all the fields of its event. The JSON Schema and the reference page are
generated from these classes: `despensa logs schema`. A field that is added after a release stands at the end of its
class, with a default: lines that were written before lack it, and are read all the same.

No field holds a registration id, a household, or anything of a family: ids of disbursements, counts and sums only.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

#: Of the line format. Raised when a field changes its meaning or goes away.
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has."""

    NAME: ClassVar[str] = ""
    LEVEL: ClassVar[str] = "info"

    def values(self) -> dict[str, int | str | bool | None]:
        """Its fields by name, all of them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journalled(Event):
    """A business event: true when its transaction commits, emitted afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Event):
    """An operational event: written to the log at once, never to the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRun(Journalled):
    """A business event of one run."""

    run_id: int
    run: str  #: as operators type it: 2026-12/02004
    programme: str
    location: str
    cycle: str
    part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotExpected(Journalled):
    """Seven days before a payday: what is going to happen, and what stands in its way. Once per slot."""

    NAME: ClassVar[str] = "slot.expected"

    programme: str
    location: str
    location_name: str
    time_zone: str  #: IANA, of the location
    cycle: str
    opens_at: str
    opens_local: str
    families: int
    amount_minor: int
    currency: str
    blocked: str  #: rate, funds or approval, with what is missing; empty where nothing stands in the way


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(OfRun):
    """Lines, amounts and batches were frozen."""

    NAME: ClassVar[str] = "run.planned"

    location_name: str
    time_zone: str  #: IANA, of the location
    opens_at: str  #: its payday: not released before
    late: bool
    planned: int
    planned_minor: int
    currency: str
    batches: int
    held_elsewhere: int
    digest: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiscarded(OfRun):
    """A plan was dropped before release; its lines are gone, this keeps their sums."""

    NAME: ClassVar[str] = "run.discarded"
    LEVEL: ClassVar[str] = "warning"

    planned: int
    planned_minor: int
    currency: str
    digest: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunApproved(OfRun):
    """A person or the policy approved the lines with this digest, their total and their rate: nobody else has to."""

    NAME: ClassVar[str] = "run.approved"

    approval: str
    digest: str
    planned: int
    planned_minor: int
    currency: str
    operator: str
    approvals: int = 1  #: 2 where another person had approved before: first_operator
    first_operator: str = ""
    rate_millionths: int = 0  #: 0 where nothing is converted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFirstApproved(OfRun):
    """The first of two persons approved the lines with this digest. The run stays planned, and waits for the second."""

    NAME: ClassVar[str] = "run.first_approved"

    digest: str
    planned: int
    planned_minor: int
    currency: str
    rate_millionths: int  #: 0 where nothing is converted
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBlocked(OfRun):
    """A tick could not go on with a run: approval, funds, or a changed line. Once per reason."""

    NAME: ClassVar[str] = "run.blocked"
    LEVEL: ClassVar[str] = "warning"

    blocked: str
    required_minor: int
    available_minor: int
    shortfall_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReleased(OfRun):
    """The total was reserved and the batches opened."""

    NAME: ClassVar[str] = "run.released"

    planned: int
    planned_minor: int
    currency: str
    batches: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(OfRun):
    """No batch of the run is taken until it is resumed."""

    NAME: ClassVar[str] = "run.paused"
    LEVEL: ClassVar[str] = "warning"

    reason: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(OfRun):
    """A paused run goes on."""

    NAME: ClassVar[str] = "run.resumed"

    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(OfRun):
    """A person cancelled a released run: it takes no more batches. `run.cancelled` follows once no lease is live."""

    NAME: ClassVar[str] = "run.stopped"
    LEVEL: ClassVar[str] = "warning"

    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled(OfRun):
    """The open lines of a stopped run became cases, and their reserve went back; `operator` did that, or ticked."""

    NAME: ClassVar[str] = "run.cancelled"
    LEVEL: ClassVar[str] = "warning"

    cases: int
    returned_minor: int
    notices: int
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetried(OfRun):
    """Cases were closed and their lines covered by new batches."""

    NAME: ClassVar[str] = "run.retried"

    state: str  #: the run's afterwards: released; or cancelled, where it only asks for what is in doubt
    cases: int
    reserved_minor: int
    batches: int
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRetried(OfRun):
    """A new batch covers lines whose cases were closed for it: every open case from first_id to last_id of the run."""

    NAME: ClassVar[str] = "batch.retried"

    batch_id: int
    first_id: int
    last_id: int
    cases: int
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted(OfRun):
    """No batch of the run is open. `level` is info even with cases: each case has its own warning."""

    NAME: ClassVar[str] = "run.completed"

    state: str
    late: bool
    planned: int
    planned_minor: int
    credited: int
    credited_minor: int
    cases: int
    not_owed: int
    notices: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReconciled(OfRun):
    """After a run closed, its books agree: vouchers, reserve, cases, events, and the funds that it drew on."""

    NAME: ClassVar[str] = "run.reconciled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDisagreed(OfRun):
    """After a run closed, its books do not agree. Its close stands: what was given was given. Stop releasing."""

    NAME: ClassVar[str] = "run.disagreed"
    LEVEL: ClassVar[str] = "error"

    differences: int
    checks: str  #: which found them, as `run reconcile` calls them, which shows them


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCredited(OfRun):
    """A batch was credited: the vouchers whose ids lie from first_id to last_id and that had none before."""

    NAME: ClassVar[str] = "batch.credited"

    batch_id: int
    first_id: int
    last_id: int
    credited: int
    credited_minor: int
    currency: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSplit(OfRun):
    """A batch failed twice and was split, to credit the mates of a line that cannot be credited."""

    NAME: ClassVar[str] = "batch.split"
    LEVEL: ClassVar[str] = "warning"

    batch_id: int
    first_id: int
    last_id: int
    parts: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOpened(OfRun):
    """A line needs another try or a person. A cancelled run opens its cases with one `run.cancelled` instead."""

    NAME: ClassVar[str] = "case.opened"
    LEVEL: ClassVar[str] = "warning"

    case_id: int
    disbursement_id: int
    reason: str
    attempts: int
    next_attempt_at: str  #: it retries itself then; empty where it waits for a person
    amount_minor: int
    currency: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResolved(OfRun):
    """A person closed a case: paid, with a voucher recorded, or not owed, with its reserve given back."""

    NAME: ClassVar[str] = "case.resolved"

    case_id: int
    disbursement_id: int
    reason: str  #: for which it was opened
    outcome: str
    amount_minor: int
    credited: int
    credited_minor: int
    notices: int
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeCreated(OfRun):
    """A store is to be told of a run: of all that it has credited so far. It replaces the notice before it."""

    NAME: ClassVar[str] = "notice.created"

    notice_id: int
    store: str
    number: int
    vouchers: int
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDelivered(OfRun):
    """A store answered 2xx to a notice."""

    NAME: ClassVar[str] = "notice.delivered"

    notice_id: int
    store: str
    number: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeUndelivered(OfRun):
    """A notice ran out of attempts, or the store said 410. `despensa store resend` sends it again."""

    NAME: ClassVar[str] = "notice.undelivered"
    LEVEL: ClassVar[str] = "error"

    notice_id: int
    store: str
    number: int
    attempts: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeResent(OfRun):
    """A person put an undelivered notice back to due."""

    NAME: ClassVar[str] = "notice.resent"

    notice_id: int
    store: str
    number: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundDeposited(Journalled):
    """Money was added to a fund by an import."""

    NAME: ClassVar[str] = "fund.deposited"

    programme: str
    fund: str
    amount_minor: int
    balance_minor: int
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundRestricted(Journalled):
    """An import has said what releases from now on may draw on a fund for, and how much of a month."""

    NAME: ClassVar[str] = "fund.restricted"

    programme: str
    fund: str
    locations: str  #: that it may pay for, with blanks between them; empty for every one
    groups: int  #: how many groups it may pay for; 0 for every one. Which ones, the database says
    capped: bool
    cycle_max_minor: int  #: what it reserves of a cycle at most; 0 where it is not capped
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeCapped(Journalled):
    """An import has said how much all funds of a programme together may reserve of a month, from now on."""

    NAME: ClassVar[str] = "programme.capped"

    programme: str
    capped: bool
    cycle_max_minor: int  #: 0 where it is not capped
    currency: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileImported(Journalled):
    """A file was loaded whole. `kind` is programme, locations, stores, funds, rates or households."""

    NAME: ClassVar[str] = "file.imported"

    kind: str
    file_digest: str
    added: int
    changed: int
    unchanged: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdsReduced(Journalled):
    """Families whose stated time is over: of each its lines are left, and its group and city in sums. Once for some."""

    NAME: ClassVar[str] = "household.reduced"

    programme: str  #: of which they were; of another one, too, where they are of several
    households: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictFound(Journalled):
    """Families are held, whose person is enrolled already: two operators decide. Once an import, or a decision."""

    NAME: ClassVar[str] = "conflict.found"
    LEVEL: ClassVar[str] = "warning"

    programme: str
    conflicts: int
    first_conflict_id: int  #: of those of this programme between these two
    last_conflict_id: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictDecided(Journalled):
    """An operator said whether two registrations are one person. `outcome` is empty until two of them say the same."""

    NAME: ClassVar[str] = "conflict.decided"

    programme: str
    conflict_id: int
    decision: str  #: same or different
    outcome: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementImported(Journalled):
    """An outside issuer's statement was held against our books. A file for a period that it was imported for: nothing.

    The same statement's number again: it was imported for another period, which corrects the first.
    """

    NAME: ClassVar[str] = "statement.imported"

    programme: str
    statement_id: int
    file_digest: str
    from_at: str  #: the period that it covers
    to_at: str  #: not included
    lines: int
    credits: int
    credited_minor: int  #: of those in this currency
    reversals: int
    reversed_minor: int
    currency: str
    added: int  #: entries of which no statement spoke before
    restated: int  #: entries of which an earlier statement said something else
    dropped: int  #: entries that an earlier statement had, and this one has not
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceOpened(Journalled):
    """Lines of an issuer's statement do not agree with our books. Once for each reason that an import finds."""

    NAME: ClassVar[str] = "difference.opened"
    LEVEL: ClassVar[str] = "warning"

    programme: str
    statement_id: int
    reason: str
    differences: int
    first_difference_id: int  #: of those of this programme and reason between these two
    last_difference_id: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceClosed(Journalled):
    """Differences came to agree, or a person said why they do not matter any more."""

    NAME: ClassVar[str] = "difference.closed"

    programme: str
    reason: str
    differences: int
    first_difference_id: int  #: so many of those of this programme and reason between these two
    last_difference_id: int
    closed: str  #: by what: a statement, a voucher, or a person
    operator: str  #: that person; who imported the statement; the login that ticked


@dataclass(frozen=True, slots=True, kw_only=True)
class VouchersExported(OfRun):
    """A hand-over file was written. Its digest, never its content."""

    NAME: ClassVar[str] = "vouchers.exported"
    LEVEL: ClassVar[str] = "warning"

    vouchers: int
    file_digest: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateCreated(OfRun):
    """A certificate of a run was written. A later one of the run replaces it; the head that it names has as_of_seq."""

    NAME: ClassVar[str] = "certificate.created"

    state: str  #: the run's, as certified
    credited: int
    credited_minor: int
    cases: int  #: that were open: what is credited of them later is in a later certificate
    currency: str
    as_of_seq: int  #: the place in the log as of which all that it says is true: before this line's own
    key_version: int  #: of the certificate key
    file_digest: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRotated(Journalled):
    """A store's signing secret has a new version; the one before signs too until `previous_until`."""

    NAME: ClassVar[str] = "secret.rotated"

    store: str
    version: int
    previous_until: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMade(Journalled):
    """A version of a key was made, by `keys init` or `keys rotate`, and is about to be put into its file.

    Or it was made before this database, or forgotten by a restore, and is recorded now.
    """

    NAME: ClassVar[str] = "key.made"
    LEVEL: ClassVar[str] = "warning"

    kind: str
    version: int
    fingerprint: str  #: by which hosts tell that they have the same key; nothing leads back from it to the key
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRetired(Journalled):
    """A version of a key, on which nothing rests any more, is about to be taken out of its file. Once."""

    NAME: ClassVar[str] = "key.retired"
    LEVEL: ClassVar[str] = "warning"

    kind: str
    version: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRestored(Journalled):
    """A restored backup goes on. Every line after kept_seq up to forgotten_seq is void, wherever this line stands."""

    NAME: ClassVar[str] = "database.restored"
    LEVEL: ClassVar[str] = "warning"

    kept_seq: int  #: the last place that the backup had
    forgotten_seq: int  #: the last place that the logs had
    forgotten_hash: str  #: of the line there
    forgotten_from: str  #: since when payments may be forgotten
    forgotten_cycle: str  #: of months up to this one
    missing: int  #: places in between that no file had
    lost_runs: int
    lost_vouchers: int  #: of these runs, by the logs
    paused_runs: int  #: that a person had halted
    discarded_runs: int  #: whose plan a person had discarded, and that are discarded again
    held_cases: int  #: open ones of runs that a person had halted: they wait, and do not retry themselves
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLost(OfRun):
    """The logs know this run, a restored backup does not. Its programme waits until a person says what was paid."""

    NAME: ClassVar[str] = "run.lost"
    LEVEL: ClassVar[str] = "error"

    planned: int
    planned_minor: int
    credited: int  #: by the logs
    credited_minor: int
    currency: str
    halted: bool  #: a person had paused or cancelled it, or resolved a case: what is released of its slot is paused
    disowned_by: str  #: who said before this restore that nothing of it was handed over; empty for nobody
    exported: int  #: hand-over files that were written of it, by the logs
    file_digests: str  #: of these, with spaces between


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRemembered(OfRun):
    """A restored backup has this run as a plan; by the logs it was released, or lines are missing that may say so."""

    NAME: ClassVar[str] = "run.remembered"
    LEVEL: ClassVar[str] = "warning"

    released: bool  #: by the logs: it cannot be discarded, since vouchers with its numbers may be in people's hands
    halted: bool  #: a person had paused or cancelled it, or resolved a case: it is paused as soon as it is released
    credited: int  #: by the logs
    credited_minor: int
    currency: str
    exported: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecovered(OfRun):
    """A lost run was entered again from its hand-over files. The events of its course follow."""

    NAME: ClassVar[str] = "run.recovered"
    LEVEL: ClassVar[str] = "warning"

    vouchers: int
    amount_minor: int
    currency: str
    files: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDisowned(OfRun):
    """A person showed that nothing of a lost run was handed over: its families are planned anew."""

    NAME: ClassVar[str] = "run.disowned"
    LEVEL: ClassVar[str] = "warning"

    credited: int  #: by the logs
    credited_minor: int
    currency: str
    exported: int
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSeen(Observed):
    """Every minute, by each scheduler, with a roll-call: whose lines are missing here is found by it."""

    NAME: ClassVar[str] = "scheduler.seen"

    schedulers: str  #: instances that the database has seen lately, with spaces between
    workers: str  #: likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen(Observed):
    """Every minute, by each worker process."""

    NAME: ClassVar[str] = "worker.seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFailed(Observed):
    """A thread of a worker died, and its process ends: its supervisor restarts it. `thread` is consumer or worker."""

    NAME: ClassVar[str] = "worker.failed"
    LEVEL: ClassVar[str] = "error"

    thread: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Observed):
    """The canonical line of one attempt at a message, after its transactions. `outcome` says what it came to."""

    NAME: ClassVar[str] = "attempt.finished"

    actor: str
    message_id: str
    subject_id: int  #: of the batch or the notice
    run_id: int  #: 0 where nothing was taken
    outcome: str
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Observed):
    """As attempt.finished, for an attempt that ended in an error: its type, SQLSTATE and constraint, never its text."""

    NAME: ClassVar[str] = "attempt.failed"
    LEVEL: ClassVar[str] = "warning"

    actor: str
    message_id: str
    subject_id: int  #: of the batch or the notice
    run_id: int  #: 0 where it is not known whether something was taken
    error: str
    sqlstate: str
    constraint: str
    given_back: bool
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStuck(Observed):
    """A batch was given back for five minutes: connection, resource or configuration trouble. Look at the error."""

    NAME: ClassVar[str] = "batch.stuck"
    LEVEL: ClassVar[str] = "error"

    batch_id: int
    error: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSuspended(Observed):
    """An issuer gave no usable answer three times in a row: nobody calls it before `until`."""

    NAME: ClassVar[str] = "issuer.suspended"
    LEVEL: ClassVar[str] = "error"

    programme: str
    failures: int
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerResumed(Observed):
    """An issuer that had failed answers again."""

    NAME: ClassVar[str] = "issuer.resumed"

    programme: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed(Observed):
    """An attempt to tell a store came to nothing. The notice is tried again at `next_attempt_at`."""

    NAME: ClassVar[str] = "store.failed"
    LEVEL: ClassVar[str] = "warning"

    store: str
    notice_id: int
    attempts: int
    error: str
    next_attempt_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSuspended(Observed):
    """A store failed too often in a row, its breaker is open: nobody calls it before `until`."""

    NAME: ClassVar[str] = "store.suspended"
    LEVEL: ClassVar[str] = "error"

    store: str
    failures: int
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResumed(Observed):
    """A store that had failed answers again."""

    NAME: ClassVar[str] = "store.resumed"

    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuarantined(Observed):
    """A message was not ours: its digest and the rule it broke. It had no effect."""

    NAME: ClassVar[str] = "message.quarantined"
    LEVEL: ClassVar[str] = "error"

    digest: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUnreachable(Observed):
    """Redis did not take a scheduler's message, or did not answer a worker. Nothing is lost: all is sent again."""

    NAME: ClassVar[str] = "broker.unreachable"
    LEVEL: ClassVar[str] = "error"

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFailed(Observed):
    """One step of a scheduler's tick failed; the next tick tries again."""

    NAME: ClassVar[str] = "tick.failed"
    LEVEL: ClassVar[str] = "error"

    step: str
    error: str
    sqlstate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHeld(Observed):
    """The database was restored, or copied: nothing is paid from it until `db restored`. By whoever notices, and ends.

    `kept_seq` is the furthest head of the journal that was kept outside the database, 0 without one.
    """

    NAME: ClassVar[str] = "database.held"
    LEVEL: ClassVar[str] = "error"

    reason: str
    head_seq: int
    kept_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSaved(Observed):
    """`despensa db backup` has written a file, whole and verified. `head_seq` is the last place of its journal."""

    NAME: ClassVar[str] = "database.saved"

    file: str  #: its name, without its folder
    bytes: int
    head_seq: int
    file_digest: str  #: SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksReconciled(Observed):
    """Every balance was compared with its rows: by `run reconcile`, or by a scheduler, at most once an hour."""

    NAME: ClassVar[str] = "books.reconciled"

    differences: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksDisagreed(Observed):
    """What follows books.reconciled where something differs. Stop releasing; `despensa run reconcile` shows it."""

    NAME: ClassVar[str] = "books.disagreed"
    LEVEL: ClassVar[str] = "error"

    differences: int
    checks: str  #: which checks found them, as `run reconcile` calls them


def _leaves(root: type[Event]) -> list[type[Event]]:
    return [leaf for kind in root.__subclasses__() for leaf in ([kind] if kind.NAME else _leaves(kind))]


#: Every event by its name.
CATALOGUE: dict[str, type[Event]] = {kind.NAME: kind for kind in _leaves(Event)}

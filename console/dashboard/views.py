"""What the page is told: one frozen object per view, as JSON. Nothing else passes between the server and the page.

Instants are text, as in the log (UTC, `Z`); the page shows them in the city's time zone and in UTC. Amounts are whole
minor units with their currency. Empty text means: there is none. Lists are bounded; `more` says how many were left out.
"""

from dataclasses import dataclass, field

#: Of the JSON objects of this module. Raised when a field changes its meaning or goes away.
VIEWS_SCHEMA = 1

Value = int | str | bool | float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Sealed lines that no file has."""

    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A sealed line that does not hold."""

    seq: int
    #: changed: its hash is not that of its fields; contradicted: another line has this seq; leaps: it lies a million
    #: places beyond all others
    rule: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup was restored, and has forgotten events: they do not count."""

    at: str
    forgotten: int  #: events
    kept_seq: int  #: the last one that it had
    forgotten_seq: int  #: the last one that it forgot
    lost_runs: int  #: that it did not have; each waits for a person, or did


@dataclass(frozen=True, slots=True)
class Missing:
    """An instance that a scheduler has seen, and of which the files have no line since."""

    instance: str
    role: str  #: scheduler or worker
    since: str  #: its last line; empty where there is none
    seen_at: str  #: the last roll-call that named it


@dataclass(frozen=True, slots=True)
class File:
    """A file that is read."""

    name: str
    state: str  #: followed, packed, gone, unreadable
    size: int  #: bytes read of it
    torn: int  #: lines that are no JSON: cut off, or still being written
    foreign: int  #: lines of JSON that are none of this log


@dataclass(frozen=True, slots=True)
class Head:
    """What stands at the top of every view."""

    schema: int
    version: str  #: of despensa
    now: str  #: the server's clock
    files: list[File]
    from_seq: int  #: the first sealed line; 0: there is none
    to_seq: int  #: up to here nothing is missing
    to_at: str  #: and when that was recorded
    last_seq: int  #: the last sealed line; beyond to_seq where lines are missing
    gaps: list[Gap]
    faults: list[Fault]
    restored: list[Restored]  #: newest first
    books: str  #: agree, differ, unknown: what `run reconcile` last said in the log
    books_at: str
    books_differences: int
    last_line_at: str
    last_seen_at: str  #: of any scheduler or worker
    silent_after_s: int  #: two heartbeats missed
    missing: list[Missing]
    missing_more: int
    reading_failed: str  #: the type of an error that keeps the files from being read; empty: they are
    slots_missing: int  #: of all cities: payday is over, and no run was planned
    cases_waiting: int  #: for a person
    stores_failing: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a city's row."""

    run_id: int
    run: str  #: as operators type it
    part: int
    state: str  #: models.states.RunState
    late: bool
    blocked: str
    planned: int
    credited: int
    cases: int
    not_owed: int
    planned_minor: int
    credited_minor: int
    stores: int  #: notices made, to the newest of each store
    stores_told: int
    stores_undelivered: int
    remaining_s: int | None  #: at the rate of the last minutes; None where nothing moves, or all is done


@dataclass(frozen=True, slots=True)
class City:
    """A city in a month: what was expected, and its runs."""

    programme: str
    location: str
    name: str
    time_zone: str  #: IANA; UTC where the log does not say
    opens_at: str  #: its payday
    #: expected: before payday · due: payday has come, no run yet · missing: two hours later still none · blocked: a run
    #: waits for rate, funds or approval · running · paused · completed · completed_with_cases · cancelled
    state: str
    late: bool
    blocked: str
    currency: str
    families: int  #: planned, or expected where there is no run
    credited: int
    cases: int
    not_owed: int
    expected_minor: int
    credited_minor: int
    difference_minor: int  #: expected less credited
    stores: int
    stores_told: int
    stores_undelivered: int
    remaining_s: int | None
    runs: list[RunRow]


@dataclass(frozen=True, slots=True)
class Total:
    """Of a month, for each programme and currency."""

    programme: str
    currency: str
    cities: int
    families: int
    credited: int
    cases: int
    not_owed: int
    expected_minor: int
    credited_minor: int
    difference_minor: int
    stores: int
    stores_told: int
    remaining_s: int | None


@dataclass(frozen=True, slots=True)
class Month:
    """A cycle over all cities."""

    cycle: str
    cities: list[City]
    totals: list[Total]


@dataclass(frozen=True, slots=True)
class MonthsView:
    """Newest cycle first."""

    months: list[Month]


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers over time, one every `step_s` seconds from `start_s` (Unix time) on."""

    start_s: int
    step_s: int
    values: list[int]


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Failures of attempts with one error."""

    actor: str
    error: str
    sqlstate: str
    constraint: str
    count: int
    given_back: int  #: of these, whose attempt does not count
    first_at: str
    last_at: str
    subjects: list[int]  #: of batches or notices, a few


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one store about one run."""

    notice_id: int
    run_id: int
    run: str
    store: str
    number: int
    state: str  #: models.states.NoticeState
    attempts: int
    created_at: str
    ended_at: str
    error: str
    next_attempt_at: str


@dataclass(frozen=True, slots=True)
class CaseGroup:
    """Open cases of one run with the same reason and error."""

    run_id: int
    run: str
    programme: str
    location: str
    name: str
    time_zone: str
    reason: str  #: models.states.CaseReason
    error: str
    waits_for: str  #: person; itself: it is tried again at next_attempt_at
    count: int
    amount_minor: int
    currency: str
    oldest_at: str
    next_attempt_at: str  #: the first of the group
    commands: list[str]  #: what mends them, ready to copy
    cases: list["CaseRow"]  #: the oldest
    more: int


@dataclass(frozen=True, slots=True)
class CaseRow:
    """An open case."""

    case_id: int
    disbursement_id: int
    attempts: int
    amount_minor: int
    opened_at: str
    next_attempt_at: str


@dataclass(frozen=True, slots=True)
class EventLine:
    """A line of the log. Everything in it is untrusted text."""

    seq: int  #: 0 for an operational event
    timestamp: str
    level: str
    event: str
    instance: str
    fields: dict[str, Value]  #: those of the event alone


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its course."""

    row: RunRow
    programme: str
    location: str
    name: str
    time_zone: str
    cycle: str
    currency: str
    opens_at: str
    planned_at: str
    approved_at: str
    released_at: str
    first_credit_at: str
    last_credit_at: str
    completed_at: str
    batches: int  #: planned
    batches_done: int
    batches_open: int
    batches_retried: int  #: credited at a second attempt or later
    batches_split: int
    attempts: int
    attempts_failed: int
    course: Series  #: families credited in each step
    errors: list[ErrorClass]
    notices: list[Notice]
    cases: list[CaseGroup]
    events: list[EventLine]  #: newest first
    more: int  #: events left out
    commands: list[str]  #: what an operator may want to do now


@dataclass(frozen=True, slots=True)
class CasesView:
    """What waits for a person first, then what retries itself."""

    groups: list[CaseGroup]


@dataclass(frozen=True, slots=True)
class StoreRow:
    """How a store is told."""

    store: str
    location: str
    name: str  #: of its city
    time_zone: str
    state: str  #: ok, failing (its last attempt failed), suspended (its breaker is open), undelivered
    delivered: int
    due: int
    undelivered: int
    failures: int  #: in a row
    suspended_until: str
    last_delivered_at: str
    last_error: str
    last_error_at: str
    oldest_waiting_at: str  #: when its oldest notice that is not delivered was made
    latency_p50_ms: int | None  #: of its last attempts
    latency_p95_ms: int | None
    notices: list[Notice]  #: not delivered, oldest first
    commands: list[str]


@dataclass(frozen=True, slots=True)
class StoresView:
    """Those with trouble first."""

    stores: list[StoreRow]


@dataclass(frozen=True, slots=True)
class Duration:
    """Of an actor's attempts in the last hour."""

    actor: str
    count: int
    failed: int
    p50_ms: int
    p95_ms: int
    max_ms: int


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A scheduler or worker process."""

    instance: str
    role: str
    state: str  #: seen, silent (two heartbeats missed), missing (seen by a scheduler, its lines are not here)
    first_at: str
    last_at: str


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """A run's batches that are not credited yet."""

    run_id: int
    run: str
    name: str
    open: int
    since: str  #: when the run was released, or last credited something


@dataclass(frozen=True, slots=True)
class WorkersView:
    """Workers, queues and their troubles."""

    finished: Series  #: attempts that ended well, each minute of the last hour
    failed: Series
    durations: list[Duration]
    outcomes: dict[str, int]  #: of attempts in the last hour, by outcome
    open_batches: list[OpenBatches]  #: the oldest first
    instances: list[InstanceRow]
    errors: list[ErrorClass]
    troubles: list[EventLine]  #: operational warnings and errors, newest first


@dataclass(frozen=True, slots=True)
class FindView:
    """Every event of one voucher, batch or run."""

    asked: str
    kind: str  #: voucher, batch, run, nothing
    #: Why nothing was found: "", not_a_number, check_digit, unknown
    refusal: str
    run: str
    run_id: int
    name: str
    time_zone: str
    first_id: int  #: of the disbursements that are meant
    last_id: int
    events: list[EventLine] = field(default_factory=list)  #: oldest first
    more: int = 0

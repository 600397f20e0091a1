"""The tables. A `#:` comment says what a column holds and who sets it.

Instants are UTC and end in `_at` or `_until`; amounts are minor units and end in `_minor`.
Rows of `disbursement`, `voucher`, `transfer`, `intent`, `answer`, `journal` and `seal` are never updated: triggers
in the migrations refuse it, and refuse deletes (of lines: once their run was released). On PostgreSQL triggers take the
place of five foreign keys, too: voucher to line, line to household, household to location, and enrolment to household
and to programme (migration 0003 says why).
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Index, MetaData, Row, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from models.columns import big, flag, identity, instant, integer, text
from models.states import (
    AnswerOutcome,
    Approval,
    BatchState,
    CallKind,
    CaseOutcome,
    CaseReason,
    CaseState,
    ConflictDecision,
    DifferenceReason,
    DifferenceState,
    EntryKind,
    NoticeState,
    RunState,
)

#: A run's lines have ids run id × this + row number: disjoint ranges by construction.
LINES_PER_RUN = 10_000_000
#: Calls to an issuer under way for one batch, or some more; so many of its batches have a slot as fit into its limit.
CALLS_PER_BATCH = 16
#: Range check of every amount, in minor units. A hundred billion: far above any fund, far below 2**63.
AMOUNT_MINOR_MAX = 10**13


def slots_of(calls_max: int) -> int:
    """How many batches call an issuer at once that takes so many calls."""
    return max(1, calls_max // CALLS_PER_BATCH)


class Table(SQLModel):
    """What all tables share: names for constraints, so that migrations and errors can speak of them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _table(*args: Any, counted: bool = False) -> Any:
    return (*args, {"sqlite_strict": True, "sqlite_autoincrement": counted})


def _amount(column: str, *, low: int = 0) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN {low} AND {AMOUNT_MINOR_MAX}", name=column)


def _one_of(column: str, values: Any) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def _cycle(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} >= '2000-01' AND {column} < '2200-01' AND length({column}) = 7", name=column)


_DECISIONS = ", ".join(repr(str(each)) for each in ConflictDecision)


class Programme(Table, table=True):
    """Rules and money of one voucher programme. Set by `despensa import`."""

    __table_args__ = _table(
        _amount("base_minor"),
        _amount("per_member_minor"),
        _amount("cap_minor", low=1),
        _amount("policy_run_max_minor"),
        CheckConstraint("cycles BETWEEN 1 AND 120", name="cycles"),
        CheckConstraint("validity_days BETWEEN 1 AND 3660", name="validity_days"),
        CheckConstraint("payday_day BETWEEN 1 AND 28", name="payday_day"),
        CheckConstraint("round_to_minor BETWEEN 1 AND 1000000", name="round_to_minor"),
        _one_of("approval", Approval),
        counted=True,
    )
    id: int = identity()
    code: str = text(unique=True)  #: as operators type it: northern-mexico
    name: str = text()
    currency: str = text()  #: ISO 4217, of the vouchers and the funds
    value_currency: str = text()  #: ISO 4217, of the transfer value
    base_minor: int = big()  #: transfer value, in value_currency
    per_member_minor: int = big()
    cap_minor: int = big()
    round_to_minor: int = big()  #: amounts are rounded half even to a multiple of this, in currency
    cycles: int = integer()  #: months of an enrolment whose row does not say another number
    validity_days: int = integer()
    payday_day: int = integer()
    payday_time: str = text()  #: local, HH:MM
    approval: str = text()
    policy_run_max_minor: int = big()  #: the policy approves runs up to this total, in currency
    permitted_goods: str = text()  #: JSON list of text
    excluded_goods: str = text()  #: JSON list of text
    two_approvals_above_minor: int | None = big(default=None)  #: above this total two persons approve; None: never
    # The guard rails of the policy, each of which the view `policy_rail` reads; None: it is off (migration 0008).
    policy_families_percent: int | None = big(default=None)  #: up or down, on the month before, in a location
    policy_amount_percent: int | None = big(default=None)
    policy_location_max_minor: int | None = big(default=None)  #: of a location's month, over all its parts
    policy_cycle_max_minor: int | None = big(default=None)  #: of the programme's month
    policy_rate_percent: int | None = big(default=None)  #: up or down, on the last month's rate
    policy_file_families_max: int | None = big(default=None)  #: families that one file may enrol
    cycle_max_minor: int | None = big(default=None)  #: all funds together reserve no more of a cycle; None: no cap
    rules_after_id: int = big(default=0)  #: the newest transfer when that cap was last changed: it binds those after
    retention_months: int | None = integer(default=None)  #: so long after its last a family is kept; None: for good


class Issuer(Table, table=True):
    """The outside service that credits a programme's vouchers; a programme without a row is closed loop.

    Set by `despensa import`; the last two columns by workers.outside.
    """

    __table_args__ = _table(
        CheckConstraint("calls_max BETWEEN 1 AND 1024", name="calls_max"),
        CheckConstraint("key_window_hours BETWEEN 1 AND 8784", name="key_window_hours"),
    )
    programme_id: int = big(references="programme.id", key=True)
    url: str = text()  #: before /v1/credits
    calls_max: int = integer()  #: calls under way at once, over all processes
    key_window_hours: int = integer()  #: so long the issuer keeps a reference, and a repeated send is harmless
    failures: int = integer(default=0)  #: takes in a row without a usable answer; 0 after one
    breaker_until: datetime | None = instant(default=None)  #: database clock; nothing is called before
    # Set by `despensa db restored`, over all restores: of months up to this one, sends of this span may be forgotten.
    # Which months in which span, each restore's own event says, and a line is in doubt by those (models.doubts).
    forgotten_cycle: str = text(default="")  #: empty where nothing was ever restored
    forgotten_from: datetime | None = instant(default=None)
    forgotten_until: datetime | None = instant(default=None)


class Location(Table, table=True):
    """A municipality, by its five-digit INEGI code. Set by `despensa import`."""

    __table_args__ = _table(CheckConstraint("length(code) = 5", name="code"))
    code: str = text(key=True)
    name: str = text()
    state: str = text()
    time_zone: str = text()  #: IANA name, checked against the installed data at import


class ProgrammeLocation(Table, table=True):
    """Where a programme runs, and since when. Set by `despensa import`."""

    __tablename__ = "programme_location"
    __table_args__ = _table(_cycle("first_cycle"))
    programme_id: int = big(references="programme.id", key=True)
    location_code: str = text(references="location.code", key=True)
    first_cycle: str = text()


class Store(Table, table=True):
    """A partner shop of one location. Set by `despensa import`; the last three columns by workers.notify."""

    __table_args__ = _table(
        Index("ix_store_location_code", "location_code"),
        CheckConstraint("secret_version >= 1", name="secret_version"),
    )
    id: str = text(key=True)  #: as the programme's files call it: TIJ-01
    name: str = text()
    location_code: str = text(references="location.code")
    url: str = text()  #: where notices are posted
    active: bool = flag()
    secret_version: int = integer(default=1)  #: the signing secret is derived from the webhook key and this
    #: UTC; until then the secret before this version signs too. Set by `store secret --rotate`
    previous_secret_until: datetime | None = instant(default=None)
    failures: int = integer(default=0)  #: consecutive failed attempts; 0 after a delivery
    breaker_until: datetime | None = instant(default=None)  #: database clock; nothing is sent before


class Fund(Table, table=True):
    """A donor's money for a programme, kept in the voucher's currency. The only stored balance."""

    __table_args__ = _table(
        _amount("balance_minor"),
        UniqueConstraint("programme_id", "code"),
        UniqueConstraint("programme_id", "position"),
        counted=True,
    )
    id: int = identity()
    programme_id: int = big(references="programme.id")
    code: str = text()
    donor: str = text()
    currency: str = text()
    position: int = integer()  #: releases draw on the lowest first
    balance_minor: int = big()  #: free money; changed only by models.books
    cycle_max_minor: int | None = big(default=None)  #: what it reserves of a cycle at most; None: no cap
    rules_after_id: int = big(default=0)  #: the newest transfer when its cap or restrictions were last changed


class FundLocation(Table, table=True):
    """A location that a fund may pay for; a fund without a row may pay for every one. Set by `despensa import`."""

    __tablename__ = "fund_location"
    __table_args__ = _table()
    fund_id: int = big(references="fund.id", key=True)
    location_code: str = text(references="location.code", key=True)


class FundGroup(Table, table=True):
    """A group that a fund may pay for; a fund without a row may pay for every one. Set by `despensa import`."""

    __tablename__ = "fund_group"
    __table_args__ = _table()
    fund_id: int = big(references="fund.id", key=True)
    group_code: str = text(key=True)


class ExchangeRate(Table, table=True):
    """One unit of `from_currency` in `to_currency`, for one cycle. Set by `despensa import`."""

    __tablename__ = "exchange_rate"
    __table_args__ = _table(_cycle("cycle"), CheckConstraint("rate_millionths > 0", name="rate_millionths"))
    programme_id: int = big(references="programme.id", key=True)
    cycle: str = text(key=True)
    from_currency: str = text()
    to_currency: str = text()
    rate_millionths: int = big()
    source: str = text()
    rate_date: str = text()  #: YYYY-MM-DD, as the source states it


class Household(Table, table=True):
    """A family. Personal data: these columns never leave the database but in hand-over files and backups.

    After the time that its programmes state, scheduler.retention leaves of it what names nobody (models.retention).
    """

    __table_args__ = _table(
        UniqueConstraint("registration_id"),
        CheckConstraint("members BETWEEN 1 AND 40", name="members"),
        Index("ix_household_location_code", "location_code"),
        counted=True,
    )
    id: int = identity()
    registration_id: str = text()
    location_code: str = text(references="location.code")
    members: int = integer()
    group_code: str = text()


class Enrolment(Table, table=True):
    """A household's place in a programme: its window of months, and whether they are paid.

    Of one person one is active: the unique key over programme, hash and seat says so, not code.
    """

    __table_args__ = _table(
        _cycle("first_cycle"),
        _cycle("last_cycle"),
        CheckConstraint("first_cycle <= last_cycle", name="window"),
        _one_of("status", ("active", "held", "stopped")),
        CheckConstraint("length(person_hash) = 64", name="person_hash"),
        CheckConstraint("(person_hash IS NULL) = (person_key_version IS NULL)", name="person_key_version"),
        Index(
            "uq_enrolment_person",
            "programme_id",
            "person_hash",
            "person_seat",
            unique=True,
            sqlite_where=sql("status = 'active' AND person_hash IS NOT NULL"),
            postgresql_where=sql("status = 'active' AND person_hash IS NOT NULL"),
        ),
    )
    programme_id: int = big(references="programme.id", key=True)
    household_id: int = big(references="household.id", key=True)
    first_cycle: str = text()
    last_cycle: str = text()  #: first_cycle + cycles − 1
    status: str = text()  #: EnrolmentStatus; read by the next plan
    reason_code: str = text(default="")  #: why held or stopped
    person_hash: str | None = text(default=None)  #: models.person_keys; None where no file has said who it is
    person_key_version: int | None = integer(default=None)  #: of the person key
    person_seat: int = big(default=0)  #: 0, or the conflict by which two operators said: another person. A trigger asks
    file_id: int | None = big(default=None)  #: the imported_file that enrolled it; None: of before there were any


class EnrolmentConflict(Table, table=True):
    """One household was to be active beside another of the same person: two operators say whether it is.

    Made by `despensa import`, decided by `despensa enrolment decide`; never deleted. The newcomer is not active while
    this is undecided, or decided `same`. On PostgreSQL a trigger says that whoever decides is the session's login.
    """

    __tablename__ = "enrolment_conflict"
    __table_args__ = _table(
        UniqueConstraint("programme_id", "household_id", "other_household_id"),
        CheckConstraint("household_id <> other_household_id", name="two_households"),
        CheckConstraint(f"first_decision IN ({_DECISIONS})", name="first_decision"),
        CheckConstraint("(first_decision IS NULL) = (first_decided_by IS NULL)", name="first_decided_by"),
        CheckConstraint("(first_decision IS NULL) = (first_decided_at IS NULL)", name="first_decided_at"),
        # A second decision makes the outcome, if it is another operator's and the same as the first.
        CheckConstraint("outcome IS NULL OR (first_decision IS NOT NULL AND outcome = first_decision)", name="outcome"),
        CheckConstraint("(outcome IS NULL) = (decided_by IS NULL)", name="decided_by"),
        CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name="decided_at"),
        CheckConstraint("decided_by <> first_decided_by", name="four_eyes"),
        counted=True,
    )
    id: int = identity()
    programme_id: int = big(references="programme.id")
    household_id: int = big(references="household.id")  #: the newcomer
    other_household_id: int = big(references="household.id")
    found_at: datetime = instant()
    first_decision: str | None = text(default=None)  #: ConflictDecision, of the operator who decided last alone
    first_decided_by: str | None = text(default=None)
    first_decided_at: datetime | None = instant(default=None)
    outcome: str | None = text(default=None)  #: ConflictDecision, once a second operator agreed
    decided_by: str | None = text(default=None)  #: that one
    decided_at: datetime | None = instant(default=None)


class ImportedFile(Table, table=True):
    """A file of families that was imported: how many it enrolled. Never updated, never deleted."""

    __tablename__ = "imported_file"
    __table_args__ = _table(counted=True)
    id: int = identity()
    programme_id: int = big(references="programme.id")
    kind: str = text()  #: households
    digest: str = text()  #: SHA-256 of the file
    added: int = integer()  #: families
    changed: int = integer()
    operator: str = text()
    imported_at: datetime = instant()


class ExpectedSlot(Table, table=True):
    """A slot whose `slot.expected` was journalled. Set by scheduler.due."""

    __tablename__ = "expected_slot"
    __table_args__ = _table(_cycle("cycle"))
    programme_id: int = big(references="programme.id", key=True)
    location_code: str = text(references="location.code", key=True)
    cycle: str = text(key=True)


class Run(Table, table=True):
    """One programme, location, cycle and part: what is planned, approved, released and completed."""

    __table_args__ = _table(
        UniqueConstraint("programme_id", "location_code", "cycle", "part"),
        CheckConstraint("part >= 1", name="part"),
        _one_of("state", RunState),
        _amount("planned_minor"),
        _cycle("cycle"),
        CheckConstraint("approved_by IS NULL OR approved_by <> planned_by OR approval = 'policy'", name="four_eyes"),
        Index("ix_run_state", "state"),
        counted=True,
    )
    id: int = identity()
    programme_id: int = big(references="programme.id")
    location_code: str = text(references="location.code")
    cycle: str = text()
    part: int = integer()
    state: str = text(default=RunState.PLANNED)
    late: bool = flag(default=False)  #: planned after its slot was late, or by catch-up
    opens_at: datetime = instant()  #: the payday, from which it may be released
    lines: int = integer(default=0)  #: set by plan
    planned_minor: int = big(default=0)  #: sum of the lines, set by plan
    digest: str = text(default="")  #: over its salt and the digests of its batches, set by plan
    salt: str = text(default="")  #: secret: without it nobody can try whose lines a digest is of; "" before 0007
    currency: str = text()
    value_currency: str = text()
    rate_millionths: int | None = big(default=None)  #: frozen at plan; None where the currencies are the same
    rate_source: str = text(default="")
    rate_date: str = text(default="")
    round_to_minor: int = big()
    validity_days: int = integer()
    batch_lines_max: int = integer()
    planned_by: str = text()
    planned_at: datetime = instant()
    approval: str | None = text(default=None)  #: 'person' or 'policy', set by approve
    approved_by: str | None = text(default=None)
    approved_at: datetime | None = instant(default=None)
    approved_digest: str | None = text(default=None)  #: what the approval binds, as the next two; release compares
    released_at: datetime | None = instant(default=None)
    completed_at: datetime | None = instant(default=None)
    blocked: str = text(default="")  #: why the last tick could not go on; journalled when it changes
    first_approved_by: str | None = text(default=None)  #: of two persons, above the programme's threshold
    first_approved_at: datetime | None = instant(default=None)
    approved_minor: int | None = big(default=None)  #: None: by a release that did not record it
    approved_rate_millionths: int | None = big(default=None)
    released_by: str | None = text(default=None)  #: who released it: a person, or the scheduler's login
    #: The `completed_at` of the close whose books were compared last; None: never. Set by scheduler.compare.
    reconciled_close_at: datetime | None = instant(default=None)
    differences: int | None = integer(default=None)  #: that were found then; None: never compared


class RunGroup(Table, table=True):
    """Families and amount per group, frozen at plan; for suppressed reports only."""

    __tablename__ = "run_group"
    __table_args__ = _table()
    run_id: int = big(references="run.id", key=True)
    group_code: str = text(key=True)
    families: int = integer()
    amount_minor: int = big()


class ReducedGroup(Table, table=True):
    """Of a run's families that were reduced: what reports say by their group, which they have forgotten.

    Set by scheduler.retention, in the transaction in which a family forgets its group; only ever added to.
    """

    __tablename__ = "reduced_group"
    __table_args__ = _table()
    run_id: int = big(references="run.id", key=True)
    group_code: str = text(key=True)
    uncredited: int = integer()  #: lines that were never credited
    uncredited_minor: int = big()
    completed: int = integer()  #: families that were credited in each of their months, of which this run's was the last


class RunAmount(Table, table=True):
    """What a household of so many members gets in this run: converted once, at plan."""

    __tablename__ = "run_amount"
    __table_args__ = _table(_amount("amount_minor", low=1))
    run_id: int = big(references="run.id", key=True)
    members: int = big(key=True)
    amount_minor: int = big()


class Disbursement(Table, table=True):
    """One line of a run: this household is owed this amount. Never updated.

    The unique key over programme, household and cycle is promise 1. On SQLite the household comes before the cycle.
    """

    __table_args__ = _table(
        UniqueConstraint("programme_id", "cycle", "household_id"),
        _amount("amount_minor", low=1),
    )
    id: int = big(key=True)  #: run id × LINES_PER_RUN + row number
    programme_id: int = big()
    household_id: int = big(references="household.id")
    cycle: str = text()
    amount_minor: int = big()


class Batch(Table, table=True):
    """A contiguous range of one run's lines."""

    __table_args__ = _table(
        _one_of("state", BatchState),
        CheckConstraint("first_id <= last_id", name="range"),
        CheckConstraint("(state = 'done') = (credited_at IS NOT NULL)", name="done"),
        Index("ix_batch_run_id", "run_id", "first_id"),
        Index(
            "ix_batch_open", "run_id", "id", sqlite_where=sql("state = 'open'"), postgresql_where=sql("state = 'open'")
        ),
        counted=True,
    )
    id: int = identity()
    run_id: int = big(references="run.id")
    first_id: int = big()
    last_id: int = big()
    lines: int = integer()  #: lines that this batch is to credit, when it was made
    amount_minor: int = big()
    digest: str = text(default="")  #: SHA-256 over its lines, set by plan
    fund_id: int | None = big(default=None, references="fund.id")  #: fixed at release: every voucher is one donor's
    state: str = text()
    attempts: int = integer(default=0)  #: takes that were not given back
    token: str | None = text(default=None)  #: of the take that holds it
    lease_until: datetime | None = instant(default=None)  #: database clock; set by take, cleared when work ends
    stamped_at: datetime | None = instant(default=None)  #: database clock; set by dispatch before it sends
    next_attempt_at: datetime | None = instant(default=None)
    given_back_at: datetime | None = instant(default=None)  #: first of the attempts given back in a row
    last_error: str = text(default="")  #: type and SQLSTATE of the last failed attempt, never its text
    ended_at: datetime | None = instant(default=None)  #: split, or stopped: its lines are other batches' or cases
    credited: int | None = integer(default=None)  #: vouchers it inserted; write-once
    credited_minor: int | None = big(default=None)
    credited_at: datetime | None = instant(default=None)


class BatchGroup(Table, table=True):
    """A group of which a batch may hold families, frozen at plan: of those that the same funds may pay for.

    A batch without a row may hold families of every group: it was planned where no fund was kept for some of them.
    Set by scheduler.plan; never updated, and deleted by the database, with its batch.
    """

    __tablename__ = "batch_group"
    __table_args__ = _table()
    batch_id: int = big(references="batch.id", key=True)
    group_code: str = text(key=True)


class Voucher(Table, table=True):
    """The credit given for a disbursement. Its number is the id with a check digit; its PIN is never stored."""

    __table_args__ = _table()
    id: int = big(references="disbursement.id", key=True)
    batch_id: int | None = big(default=None)  #: the batch that credited it; None where a person resolved its case
    key_version: int = integer()  #: of the PIN key


class Intent(Table, table=True):
    """A call to an issuer that is about to be made for a line. Committed before the call; never updated."""

    __table_args__ = _table(
        _one_of("kind", CallKind),
        Index("ix_intent_disbursement_id", "disbursement_id"),
        counted=True,
    )
    id: int = identity()
    disbursement_id: int = big(references="disbursement.id")
    batch_id: int = big(references="batch.id")
    kind: str = text()
    reference: str = text()  #: ours, derived from programme, household and cycle: the same on every call for the line
    recorded_at: datetime = instant()


class Answer(Table, table=True):
    """What a call came to. A send without one may have been credited: the line is in doubt. Never updated."""

    __table_args__ = _table(_one_of("outcome", AnswerOutcome))
    intent_id: int = big(references="intent.id", key=True)
    outcome: str = text()
    detail: str = text(default="")  #: a class of trouble, or the issuer's reason code; never its text
    credit_id: str = text(default="")  #: the issuer's own, of a credit
    answered_at: datetime = instant()


class Case(Table, table=True):
    """A line that needs another try or a person."""

    __tablename__ = "cases"
    __table_args__ = _table(
        _one_of("reason", CaseReason),
        _one_of("state", CaseState),
        CheckConstraint("(state = 'open') = (outcome IS NULL)", name="outcome"),
        CheckConstraint(f"outcome IS NULL OR outcome IN ({', '.join(repr(str(o)) for o in CaseOutcome)})", name="how"),
        Index(
            "uq_cases_open",
            "disbursement_id",
            unique=True,
            sqlite_where=sql("state = 'open'"),
            postgresql_where=sql("state = 'open'"),
        ),
        Index("ix_cases_disbursement_id", "disbursement_id"),
        Index("ix_cases_run_id", "run_id", "state"),
        counted=True,
    )
    id: int = identity()
    disbursement_id: int = big(references="disbursement.id")
    run_id: int = big(references="run.id")
    fund_id: int = big(references="fund.id")
    reason: str = text()
    state: str = text(default=CaseState.OPEN)
    reserved: bool = flag()  #: whether the run's reserve still holds its amount
    attempts: int = integer()
    next_attempt_at: datetime | None = instant(default=None)  #: None waits for a person
    last_error: str = text(default="")
    opened_at: datetime = instant()
    closed_at: datetime | None = instant(default=None)
    outcome: str | None = text(default=None)
    closed_by: str | None = text(default=None)
    evidence: str = text(default="")  #: a person's reference to the proof, for `resolve --paid`


class Transfer(Table, table=True):
    """A double entry: one amount, out of one account and into another. Never updated, never deleted.

    deposit: donor → fund. reserve: fund → run reserve. credit: run reserve → vouchers outstanding.
    unreserve: run reserve → fund.
    """

    __table_args__ = _table(
        _one_of("kind", ("deposit", "reserve", "credit", "unreserve")),
        _amount("amount_minor", low=1),
        CheckConstraint("(kind = 'deposit') = (run_id IS NULL)", name="run_id"),
        Index(
            "uq_transfer_credit_batch_id",
            "batch_id",
            unique=True,
            sqlite_where=sql("kind = 'credit' AND batch_id IS NOT NULL"),
            postgresql_where=sql("kind = 'credit' AND batch_id IS NOT NULL"),
        ),
        Index("ix_transfer_run_id", "run_id"),
        Index("ix_transfer_fund_id", "fund_id"),
        counted=True,
    )
    id: int = identity()
    kind: str = text()
    fund_id: int = big(references="fund.id")
    run_id: int | None = big(default=None, references="run.id")
    batch_id: int | None = big(default=None, references="batch.id")
    case_id: int | None = big(default=None, references="cases.id")
    amount_minor: int = big()
    currency: str = text()
    transferred_at: datetime = instant()


class Notice(Table, table=True):
    """One message to one store about one run."""

    __table_args__ = _table(
        UniqueConstraint("run_id", "store_id", "number"),
        UniqueConstraint("webhook_id"),
        _one_of("state", NoticeState),
        Index("ix_notice_due", "id", sqlite_where=sql("state = 'due'"), postgresql_where=sql("state = 'due'")),
        Index("ix_notice_store_id", "store_id"),
        counted=True,
    )
    id: int = identity()
    run_id: int = big(references="run.id")
    store_id: str = text(references="store.id")
    number: int = integer()  #: a later notice of the same run and store has the next one
    webhook_id: str = text()  #: the same on every attempt
    vouchers: int = integer()  #: the run's so far, frozen when the notice was made
    amount_minor: int = big()
    state: str = text(default=NoticeState.DUE)
    attempts: int = integer(default=0)
    token: str | None = text(default=None)
    lease_until: datetime | None = instant(default=None)
    stamped_at: datetime | None = instant(default=None)
    made_at: datetime = instant()  #: on the body, which is the same on every attempt
    next_attempt_at: datetime = instant()
    tried_at: datetime | None = instant(default=None)  #: end of the last attempt
    delivered_at: datetime | None = instant(default=None)
    last_error: str = text(default="")


class Journal(Table, table=True):
    """A business event, written in the transaction of the fact. Never updated, never deleted."""

    __table_args__ = _table(Index("ix_journal_run_id", "run_id"), counted=True)
    id: int = identity()
    event: str = text()
    level: str = text()
    run_id: int | None = big(default=None)
    recorded_at: datetime = instant()
    fields: str = text()  #: canonical JSON object: sorted keys, no spaces, integers and text only


class Seal(Table, table=True):
    """The place of a committed event in the log. Inserted by scheduler.seal, never updated."""

    __table_args__ = _table(UniqueConstraint("journal_id"), UniqueConstraint("prev_hash"))
    seq: int = big(key=True)
    journal_id: int = big(references="journal.id")
    prev_hash: str = text()
    hash: str = text()


class JournalHead(Table, table=True):
    """One row, id 1: the last seal, and how far the log has been written. Its lock makes one sealer at a time."""

    __tablename__ = "journal_head"
    __table_args__ = _table(CheckConstraint("id = 1", name="single"))
    id: int = big(key=True)
    seq: int = big()
    hash: str = text()
    emitted_seq: int = big()


class Custody(Table, table=True):
    """One row, id 1: where this database lies, and whether it may pay. Set by `db upgrade` and `db restored`."""

    __table_args__ = _table(CheckConstraint("id = 1", name="single"))
    id: int = big(key=True)
    place: str = text()  #: where it was when it was last found whole; a restored copy finds itself in another one
    held: str = text(default="")  #: why nothing is paid; empty where it may be. Workers ask at every take


class LostRun(Table, table=True):
    """A closed-loop run that the logs know and a restored backup does not, until a person decides what it paid.

    Its programme plans and releases nothing meanwhile. Set by `despensa db restored`; the last four by `run recover`.
    """

    __tablename__ = "lost_run"
    __table_args__ = _table(
        _cycle("cycle"),
        _amount("planned_minor"),
        _amount("credited_minor"),
        CheckConstraint("outcome IS NULL OR outcome IN ('handed_over', 'not_handed_over')", name="outcome"),
        CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name="decided"),
    )
    run_id: int = big(key=True)  #: as the logs have it; never given to another run
    programme_id: int = big(references="programme.id")
    location_code: str = text(references="location.code")
    cycle: str = text()
    part: int = integer()
    planned: int = integer()  #: families
    planned_minor: int = big()
    credited: int = integer()  #: vouchers, by its events in the logs
    credited_minor: int = big()
    currency: str = text()
    digest: str = text()  #: of its lines, as `run.planned` told it
    exported: int = integer()  #: hand-over files that were written of it
    outcome: str | None = text(default=None)
    evidence: str = text(default="")  #: a person's reference to the proof, or the digest of the hand-over file
    decided_by: str | None = text(default=None)
    decided_at: datetime | None = instant(default=None)


class Statement(Table, table=True):
    """A statement of an outside issuer that was imported. Set by `statement import`; never deleted."""

    __table_args__ = _table(
        UniqueConstraint("programme_id", "digest", "from_at", "to_at"),
        CheckConstraint("from_at < to_at", name="period"),
        CheckConstraint("lines >= credits + reversals", name="lines"),
        counted=True,
    )
    id: int = identity()
    programme_id: int = big(references="programme.id")
    digest: str = text()  #: SHA-256 of the file
    from_at: datetime = instant()  #: the period that it covers; importing the same file for another one corrects it
    to_at: datetime = instant()  #: not included
    lines: int = integer()  #: of the file
    credits: int = integer()  #: of them, each counted once however often it is listed
    credited_minor: int = big()  #: of those in the programme's currency
    reversals: int = integer()
    reversed_minor: int = big()  #: likewise
    imported_by: str = text()
    imported_at: datetime = instant()


class StatementCredit(Table, table=True):
    """What an issuer says of one credit or reversal, by the statement that spoke of it last. Never deleted."""

    __tablename__ = "statement_credit"
    __table_args__ = _table(
        _one_of("kind", EntryKind),
        _amount("amount_minor", low=1),
        CheckConstraint("(kind = 'reversed') = (reverses <> '')", name="reverses"),
        CheckConstraint("listed >= 0", name="listed"),
        Index("ix_statement_credit_reference", "programme_id", "reference"),
        Index(
            "ix_statement_credit_reverses",
            "programme_id",
            "reverses",
            sqlite_where=sql("kind = 'reversed'"),
            postgresql_where=sql("kind = 'reversed'"),
        ),
    )
    programme_id: int = big(references="programme.id", key=True)
    credit_id: str = text(key=True)  #: the issuer's own, of this entry
    kind: str = text()
    reference: str = text()  #: ours, as in intent
    amount_minor: int = big()
    currency: str = text()
    booked_at: datetime = instant()  #: by the issuer's clock
    reverses: str = text(default="")  #: of a reversal, the credit that it takes back
    listed: int = integer()  #: how often that statement lists it; 0: it covers the instant, and has it no more
    statement_id: int = big(references="statement.id")  #: that statement


class StatementDifference(Table, table=True):
    """Where an issuer's statement and our books do not agree: one line, one reason. Never deleted.

    Opened by `statement import`. Closed by a later statement, or by the sweep, once it agrees; or by a person.
    """

    __tablename__ = "difference"
    __table_args__ = _table(
        _one_of("reason", DifferenceReason),
        _one_of("state", DifferenceState),
        CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="closed_at"),
        CheckConstraint("closed_by IS NULL OR evidence <> ''", name="evidence"),
        Index(
            "uq_difference_open",
            "programme_id",
            "reason",
            "reference",
            "credit_id",
            unique=True,
            sqlite_where=sql("state = 'open'"),
            postgresql_where=sql("state = 'open'"),
        ),
        Index("ix_difference_reference", "programme_id", "reference"),
        Index(
            "ix_difference_open",
            "disbursement_id",
            sqlite_where=sql("state = 'open'"),
            postgresql_where=sql("state = 'open'"),
        ),
        counted=True,
    )
    id: int = identity()
    programme_id: int = big(references="programme.id")
    statement_id: int = big(references="statement.id")  #: that showed it
    reason: str = text()
    reference: str = text()
    credit_id: str = text(default="")  #: of the issuer's entry; empty where it has none
    disbursement_id: int | None = big(default=None)  #: None where we know no line; no foreign key: a plan that is
    #: dropped would look through all differences for each of its lines
    expected_minor: int | None = big(default=None)  #: by our books, or by the credit that is reversed
    expected_currency: str = text(default="")
    found_minor: int | None = big(default=None)  #: by the issuer
    found_currency: str = text(default="")
    state: str = text(default=DifferenceState.OPEN)
    opened_at: datetime = instant()
    closed_at: datetime | None = instant(default=None)
    closed_by: str | None = text(default=None)  #: a person; None where it came to agree
    evidence: str = text(default="")  #: a person's reference to the proof, or what made it agree: statement 7, voucher


class Sighting(Table, table=True):
    """When a scheduler or a worker was last seen."""

    __table_args__ = _table(_one_of("role", ("scheduler", "worker")))
    role: str = text(key=True)
    instance: str = text(key=True)  #: host and process id
    seen_at: datetime = instant()
    revision: str = text(default="")  #: the newest migration of its code


class CodeFloor(Table, table=True):
    """One row, id 1: the oldest code that may work on this schema. Raised by each migration that contracts it."""

    __tablename__ = "code_floor"
    __table_args__ = _table(CheckConstraint("id = 1", name="single"))
    id: int = big(key=True)
    revision: str = text()  #: the newest migration that the code must know


def run_code(run: Run | LostRun | Row[Any]) -> str:
    """A run, or a row with its columns, as operators type it: `2026-12/02004`, with `.2` for part 2."""
    return f"{run.cycle}/{run.location_code}" + (f".{run.part}" if run.part > 1 else "")

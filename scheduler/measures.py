"""What the database says for dashboards and alerts: a bounded set of queries, read at one instant.

Looked at are runs that are not over and those of the cycles from :since_cycle on. No query goes through lines,
vouchers, or the batches, cases and notices of other runs. Amounts are whole minor units: so they stay exact in a
metric's floating-point number, and add up to the log's.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from models.calendar import Cycle, Slot, slot_of
from models.lost import list_lost
from models.sightings import SEEN_WITHIN_S
from models.states import CaseReason, DifferenceReason, NoticeState
from models.storage import Query, Tx, seconds
from scheduler.due import has_families, list_due, list_places

#: The runs looked at. Found by their places and by their states, which have indexes.
CHOSEN = """chosen AS (
    SELECT r.id, p.code AS programme, r.location_code, r.cycle, r.state, r.currency, r.lines, r.planned_minor
    FROM programme_location pl JOIN programme p ON p.id = pl.programme_id
    JOIN run r ON r.programme_id = pl.programme_id AND r.location_code = pl.location_code AND r.cycle >= :since_cycle
    UNION ALL
    SELECT r.id, p.code, r.location_code, r.cycle, r.state, r.currency, r.lines, r.planned_minor
    FROM run r JOIN programme p ON p.id = r.programme_id
    WHERE r.state IN ('planned', 'approved', 'released', 'paused', 'cancelled') AND r.completed_at IS NULL
      AND r.cycle < :since_cycle)"""

MEASURE_RUNS = Query(f"""
-- measure_runs: the chosen runs, their lines and amounts; bounded by the locations
WITH {CHOSEN}
SELECT programme, location_code, cycle, state, currency, COUNT(*) AS runs, SUM(lines) AS planned,
       CAST(SUM(planned_minor) AS BIGINT) AS planned_minor
FROM chosen GROUP BY programme, location_code, cycle, state, currency
""")  # noqa: S608  # of constants, of no input

MEASURE_BATCHES = Query(f"""
-- measure_batches: the chosen runs' batches, and what they credited, from their write-once counts
WITH {CHOSEN}
SELECT c.programme, c.location_code, c.cycle, c.currency, b.state, COUNT(*) AS batches,
       COALESCE(SUM(b.credited), 0) AS credited, CAST(COALESCE(SUM(b.credited_minor), 0) AS BIGINT) AS credited_minor
FROM chosen c JOIN batch b ON b.run_id = c.id
GROUP BY c.programme, c.location_code, c.cycle, c.currency, b.state
""")  # noqa: S608  # of constants, of no input

MEASURE_RESOLVED = Query(f"""
-- measure_resolved: what persons found of the chosen runs' lines: paid, or not owed
WITH {CHOSEN}
SELECT c.programme, c.location_code, c.cycle, c.currency, k.outcome, COUNT(*) AS lines,
       CAST(SUM(d.amount_minor) AS BIGINT) AS amount_minor
FROM chosen c JOIN cases k ON k.run_id = c.id AND k.state = 'closed' AND k.outcome IN ('paid', 'not_owed')
JOIN disbursement d ON d.id = k.disbursement_id
GROUP BY c.programme, c.location_code, c.cycle, c.currency, k.outcome
""")  # noqa: S608  # of constants, of no input

MEASURE_NOTICES = Query(f"""
-- measure_notices: the chosen runs' notices to active stores, and the oldest of each state
WITH {CHOSEN}
SELECT c.programme, c.location_code, n.state, COUNT(*) AS notices, MIN(n.made_at) AS made_at
FROM chosen c JOIN notice n ON n.run_id = c.id JOIN store s ON s.id = n.store_id AND s.active = :yes
GROUP BY c.programme, c.location_code, n.state
""")  # noqa: S608  # of constants, of no input

MEASURE_OPEN = Query("""
-- measure_open: of the open batches that are due, since when the oldest waits: since it was due or, where attempts were
-- given back in a row, since the first of them; bounded by the open batches
SELECT p.code AS programme, r.location_code,
       MIN(CASE WHEN b.given_back_at < b.next_attempt_at THEN b.given_back_at ELSE b.next_attempt_at END) AS waits_at
FROM batch b JOIN run r ON r.id = b.run_id JOIN programme p ON p.id = r.programme_id
WHERE b.state = 'open' AND (b.next_attempt_at <= :now OR b.given_back_at IS NOT NULL)
GROUP BY p.code, r.location_code
""")

MEASURE_CASES = Query("""
-- measure_cases: open cases by reason, of every run that can have one; bounded by the open cases
SELECT p.code AS programme, r.location_code, k.reason, COUNT(*) AS cases
FROM run r JOIN programme p ON p.id = r.programme_id JOIN cases k ON k.run_id = r.id AND k.state = 'open'
WHERE r.state IN ('released', 'paused', 'completed_with_cases', 'cancelled')
GROUP BY p.code, r.location_code, k.reason
""")

MEASURE_WAITING = Query("""
-- measure_waiting: runs whose payday has come and that are not released, and why; bounded by the locations
SELECT p.code AS programme, r.location_code, r.blocked, COUNT(*) AS runs, MIN(r.opens_at) AS opens_at
FROM run r JOIN programme p ON p.id = r.programme_id
WHERE r.state IN ('planned', 'approved') AND r.opens_at <= :payday_at
GROUP BY p.code, r.location_code, r.blocked
""")

MEASURE_FUNDS = Query("""
-- measure_funds: each fund's free money; bounded by the funds
SELECT p.code AS programme, f.code AS fund, f.currency, f.balance_minor
FROM fund f JOIN programme p ON p.id = f.programme_id
""")

MEASURE_STORES = Query("""
-- measure_stores: of each location's active stores, how many there are and how many are cut off; bounded by the stores
SELECT location_code, COUNT(*) AS stores, SUM(CASE WHEN breaker_until IS NULL THEN 0 ELSE 1 END) AS cut_off
FROM store WHERE active = :yes GROUP BY location_code
""")

MEASURE_DISAGREEING = Query("""
-- measure_disagreeing: runs in whose books something differed at their close; bounded by the locations
SELECT p.code AS programme, r.location_code, COUNT(*) AS runs
FROM run r JOIN programme p ON p.id = r.programme_id
WHERE r.differences > 0 AND r.reconciled_close_at = r.completed_at GROUP BY p.code, r.location_code
""")

MEASURE_DIFFERENCES = Query("""
-- measure_differences: of each programme with an issuer, where its statements differ; bounded by the reasons
SELECT p.code AS programme, COALESCE(d.reason, '') AS reason, COUNT(d.id) AS differences
FROM issuer i JOIN programme p ON p.id = i.programme_id
LEFT JOIN difference d ON d.programme_id = p.id AND d.state = 'open' GROUP BY p.code, COALESCE(d.reason, '')
""")

MEASURE_SEEN = Query("""
-- measure_seen: schedulers and workers seen lately
SELECT role, COUNT(*) AS seen FROM sighting WHERE seen_at >= :since_at GROUP BY role
""")

MEASURE_SEALED = Query("""
-- measure_sealed: the newest event that has a place in the log
SELECT COALESCE(MAX(journal_id), 0) AS journal_id FROM seal
""")

MEASURE_UNSEALED = Query("""
-- measure_unsealed: events without a place in the log among those after :after_id, and the first of them. Not as the
-- sealer asks, through the whole journal: an event that is committed late is among the last ids all the same
SELECT COUNT(*) AS events, MIN(j.recorded_at) AS recorded_at FROM journal j
WHERE j.id > :after_id
  AND NOT EXISTS (SELECT 1 FROM seal s WHERE s.journal_id = j.id AND s.journal_id > :after_id)
""")

MEASURE_UNEMITTED = Query("""
-- measure_unemitted: sealed events that were written to no log yet
SELECT seq - emitted_seq AS events FROM journal_head WHERE id = 1
""")

MEASURE_NAMES = Query("""
-- measure_names: what the codes of locations are called; bounded by the locations
SELECT DISTINCT l.code, l.name, l.time_zone FROM programme_location pl JOIN location l ON l.code = pl.location_code
""")

LIST_CODES = Query("""
-- list_codes: what programmes are called; bounded by the programmes
SELECT id AS programme_id, code AS programme FROM programme
""")

#: An event that is committed so many ids after it was numbered is not looked for.
LATE_EVENTS = 10_000
#: For so long it is believed that a due slot has no families.
NOBODY_FOR = timedelta(minutes=10)

PLACE = ("programme", "location")


@dataclass(frozen=True, slots=True)
class Family:
    """One gauge: what it is called, what it says, and the labels of its samples."""

    name: str
    says: str
    labels: tuple[str, ...] = ()
    grows: bool = False  #: an age: it goes on growing after it was read, where it is not 0


RUNS = Family("despensa_runs", "Runs that are not over, and of this cycle and the last.", ("programme", "state"))
PLANNED = Family(
    "despensa_disbursements_planned", "Lines of runs: families that are owed a voucher.", (*PLACE, "cycle")
)
PLANNED_MINOR = Family(
    "despensa_planned_minor_units", "What the lines of runs come to, in minor units.", (*PLACE, "cycle", "currency")
)
CREDITED = Family("despensa_vouchers_credited", "Vouchers credited.", (*PLACE, "cycle"))
CREDITED_MINOR = Family(
    "despensa_credited_minor_units", "What was credited, in minor units.", (*PLACE, "cycle", "currency")
)
NOT_OWED = Family("despensa_disbursements_not_owed", "Lines that a person found were not owed.", (*PLACE, "cycle"))
UNRELEASED_MINOR = Family(
    "despensa_unreleased_minor_units", "What planned runs will reserve once they are released, in minor units.",
    ("programme", "currency"),
)  # fmt: skip
BATCHES = Family("despensa_batches", "Batches by state.", (*PLACE, "state"))
OPEN_AGE = Family(
    "despensa_oldest_open_batch_age_seconds",
    "For how long the oldest due batch waits to be credited; 0 where none does.", PLACE, grows=True,
)  # fmt: skip
CASES = Family("despensa_cases_open", "Lines that need another try or a person.", (*PLACE, "reason"))
NOTICES = Family("despensa_notices", "Notices to active stores by state.", (*PLACE, "state"))
NOTICE_AGE = Family(
    "despensa_oldest_notice_age_seconds", "Age of the oldest notice that no store has got; 0 where there is none.",
    ("programme", "state"), grows=True,
)  # fmt: skip
WAITING = Family(
    "despensa_runs_waiting", "Runs whose payday has come and that are not released, by what they wait for.",
    (*PLACE, "reason"),
)  # fmt: skip
WAITING_AGE = Family(
    "despensa_oldest_waiting_run_age_seconds", "Time since the payday of the oldest run that waits; 0 where none does.",
    PLACE, grows=True,
)  # fmt: skip
LATE = Family(
    "despensa_slot_late_seconds", "Time since the payday of a slot with families and without a run; 0 where none is.",
    PLACE, grows=True,
)  # fmt: skip
FUNDS = Family("despensa_fund_balance_minor_units", "A fund's free money, in minor units.",
               ("programme", "fund", "currency"))  # fmt: skip
STORES = Family("despensa_stores", "Active stores.", ("location",))
CUT_OFF = Family("despensa_stores_cut_off", "Active stores that failed several times in a row.", ("location",))
DISAGREEING = Family("despensa_runs_disagreeing", "Runs in whose books something differed when they closed.", PLACE)
DIFFERENCES = Family(
    "despensa_statement_differences", "Where statements of an issuer and our books do not agree, open ones.",
    ("programme", "reason"),
)  # fmt: skip
SEEN = Family("despensa_seen", "Schedulers and worker processes that said in the last minutes that they live.",
              ("role",))  # fmt: skip
UNSEALED = Family("despensa_events_unsealed", "Business events without a place in the log.")
UNSEALED_AGE = Family(
    "despensa_oldest_unsealed_event_age_seconds", "Age of the oldest event without a place in the log; 0 if none.",
    grows=True,
)  # fmt: skip
UNEMITTED = Family("despensa_events_unemitted", "Sealed events that were written to no log yet.")
LOCATION = Family("despensa_location_info", "1; its labels say what a location is called.",
                  ("location", "name", "time_zone"))  # fmt: skip

FAMILIES = (
    RUNS, PLANNED, PLANNED_MINOR, CREDITED, CREDITED_MINOR, NOT_OWED, UNRELEASED_MINOR, BATCHES, OPEN_AGE, CASES,
    NOTICES, NOTICE_AGE, WAITING, WAITING_AGE, LATE, FUNDS, STORES, CUT_OFF, DISAGREEING, DIFFERENCES, SEEN, UNSEALED,
    UNSEALED_AGE, UNEMITTED, LOCATION,
)  # fmt: skip

#: What the sum is looked up by: the values of a family's labels, in their order.
Values = dict[tuple[str, ...], float]


@dataclass(slots=True)
class Reading:
    """Every family's samples, as of one instant."""

    samples: dict[Family, Values] = field(default_factory=lambda: {family: defaultdict(int) for family in FAMILIES})

    def add(self, family: Family, *labels: str, value: float) -> None:
        """To the sample with these labels, which begins at 0."""
        self.samples[family][labels] += value

    def raise_to(self, family: Family, *labels: str, value: float) -> None:
        """For ages: the oldest counts."""
        self.samples[family][labels] = max(self.samples[family][labels], value)


@dataclass(slots=True)
class Measurer:
    """Reads the database. It remembers which due slots have no families: to find nobody takes a look at each."""

    clock: Callable[[], datetime]
    distributed: bool
    _nobody: dict[Slot, datetime] = field(default_factory=dict)

    def read(self, tx: Tx) -> Reading:
        """All families. A clock that is an argument decides what is due; the database's own how old things are."""
        reading = Reading()
        now = self.clock()
        since = Cycle(now.year, now.month).plus(-1)  # a city that is in another month has one cycle more, or one less
        self._read_places(tx, reading)
        _read_runs(reading, tx.all(MEASURE_RUNS, since_cycle=str(since)))
        _read_batches(reading, tx.all(MEASURE_BATCHES, since_cycle=str(since)))
        _read_resolved(reading, tx.all(MEASURE_RESOLVED, since_cycle=str(since)))
        _read_notices(reading, tx.all(MEASURE_NOTICES, since_cycle=str(since), yes=True), now=tx.now)
        for row in tx.all(MEASURE_OPEN, now=tx.now):
            reading.raise_to(OPEN_AGE, row.programme, row.location_code, value=_age_s(row.waits_at, now=tx.now))
        for row in tx.all(MEASURE_CASES):
            reading.add(CASES, row.programme, row.location_code, row.reason, value=row.cases)
        self._read_waiting(tx, reading)
        for row in tx.all(MEASURE_FUNDS):
            reading.add(FUNDS, row.programme, row.fund, row.currency, value=row.balance_minor)
        for row in tx.all(MEASURE_STORES, yes=True):
            reading.add(STORES, row.location_code, value=row.stores)
            reading.add(CUT_OFF, row.location_code, value=row.cut_off)
        for row in tx.all(MEASURE_DISAGREEING):
            reading.add(DISAGREEING, row.programme, row.location_code, value=row.runs)
        for row in tx.all(MEASURE_DIFFERENCES):
            for reason in DifferenceReason:
                reading.add(DIFFERENCES, row.programme, str(reason), value=row.differences * (row.reason == reason))
        self._read_seen(tx, reading)
        _read_journal(tx, reading)
        return reading

    def _read_places(self, tx: Tx, reading: Reading) -> None:
        """What there is of every place, and is 0 until something happens there; and the slots that have no run."""
        for row in tx.all(MEASURE_NAMES):
            reading.add(LOCATION, row.code, row.name, row.time_zone, value=1)
        places = list_places(tx, lost=[])
        codes = {row.programme_id: row.programme for row in tx.all(LIST_CODES)}
        for place in places:
            labels = (codes[place.programme_id], place.location_code)
            for family in (OPEN_AGE, WAITING_AGE, LATE, DISAGREEING):
                reading.raise_to(family, *labels, value=0)
            for state in (NoticeState.DUE, NoticeState.UNDELIVERED):
                reading.raise_to(NOTICE_AGE, labels[0], str(state), value=0)
            for reason in CaseReason:
                reading.add(CASES, *labels, str(reason), value=0)
            for state in NoticeState:
                reading.add(NOTICES, *labels, str(state), value=0)
        now = self.clock()
        for lost in list_lost(tx, undecided=True):
            labels = (codes[lost.programme_id], lost.location_code)
            reading.add(WAITING, *labels, "lost", value=1)
            for place in places:
                if (place.programme_id, place.location_code) == (lost.programme_id, lost.location_code):
                    opened_at = slot_of(place, Cycle.parse(lost.cycle)).opens_at
                    reading.raise_to(WAITING_AGE, *labels, value=_age_s(opened_at, now=now))
        for due in list_due(tx, places, now=now):
            if self._has_families(tx, due.slot, now=now):
                labels = (codes[due.slot.programme_id], due.slot.location_code)
                reading.raise_to(LATE, *labels, value=_age_s(due.slot.opens_at, now=now))

    def _has_families(self, tx: Tx, slot: Slot, *, now: datetime) -> bool:
        looked_at = self._nobody.get(slot)
        if looked_at is not None and looked_at <= now < looked_at + NOBODY_FOR:
            return False
        if has_families(tx, slot):
            self._nobody.pop(slot, None)
            return True
        self._nobody[slot] = now
        return False

    def _read_waiting(self, tx: Tx, reading: Reading) -> None:
        now = self.clock()
        for row in tx.all(MEASURE_WAITING, payday_at=now):
            reason = row.blocked.partition(":")[0] or "tick"
            reading.add(WAITING, row.programme, row.location_code, reason, value=row.runs)
            age_s = _age_s(row.opens_at, now=now)
            reading.raise_to(WAITING_AGE, row.programme, row.location_code, value=age_s)

    def _read_seen(self, tx: Tx, reading: Reading) -> None:
        """Embedded, the scheduler's own threads are the workers: none is seen, and none is missed."""
        for role in ("scheduler", "worker") if self.distributed else ("scheduler",):
            reading.add(SEEN, role, value=0)
        for row in tx.all(MEASURE_SEEN, since_at=tx.now - seconds(SEEN_WITHIN_S)):
            reading.add(SEEN, row.role, value=row.seen)


def _read_runs(reading: Reading, rows: Sequence[Row[Any]]) -> None:
    for row in rows:
        reading.add(RUNS, row.programme, row.state, value=row.runs)
        place = (row.programme, row.location_code, row.cycle)
        reading.add(PLANNED, *place, value=row.planned)
        reading.add(PLANNED_MINOR, *place, row.currency, value=row.planned_minor)
        reading.add(CREDITED, *place, value=0)
        reading.add(CREDITED_MINOR, *place, row.currency, value=0)
        reading.add(NOT_OWED, *place, value=0)
        unreleased = row.planned_minor if row.state in ("planned", "approved") else 0
        reading.add(UNRELEASED_MINOR, row.programme, row.currency, value=unreleased)


def _read_batches(reading: Reading, rows: Sequence[Row[Any]]) -> None:
    for row in rows:
        reading.add(BATCHES, row.programme, row.location_code, row.state, value=row.batches)
        place = (row.programme, row.location_code, row.cycle)
        reading.add(CREDITED, *place, value=row.credited)
        reading.add(CREDITED_MINOR, *place, row.currency, value=row.credited_minor)


def _read_resolved(reading: Reading, rows: Sequence[Row[Any]]) -> None:
    for row in rows:
        place = (row.programme, row.location_code, row.cycle)
        if row.outcome == "not_owed":
            reading.add(NOT_OWED, *place, value=row.lines)
        else:
            reading.add(CREDITED, *place, value=row.lines)
            reading.add(CREDITED_MINOR, *place, row.currency, value=row.amount_minor)


def _read_notices(reading: Reading, rows: Sequence[Row[Any]], *, now: datetime) -> None:
    for row in rows:
        reading.add(NOTICES, row.programme, row.location_code, row.state, value=row.notices)
        if row.state != NoticeState.DELIVERED:
            reading.raise_to(NOTICE_AGE, row.programme, row.state, value=_age_s(row.made_at, now=now))


def _read_journal(tx: Tx, reading: Reading) -> None:
    unsealed = tx.one(MEASURE_UNSEALED, after_id=tx.scalar(MEASURE_SEALED) - LATE_EVENTS)
    reading.add(UNSEALED, value=unsealed.events)
    age_s = 0 if unsealed.recorded_at is None else _age_s(unsealed.recorded_at, now=tx.now)
    reading.raise_to(UNSEALED_AGE, value=age_s)
    reading.add(UNEMITTED, value=tx.scalar(MEASURE_UNEMITTED))


def _age_s(since: datetime, *, now: datetime) -> float:
    """Never below 0: hosts' clocks differ, and a fact may be younger than the transaction that reads it."""
    return max(0, (now - since).total_seconds())

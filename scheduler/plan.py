"""Planning: one statement freezes the lines of a run, one more its batches.

Where some funds may pay for some groups alone, a batch holds families of one class: of groups that the same funds may
pay for. Then lines are ordered by class, and batches end where a class does.

The unique key of `disbursement` over programme, household and cycle decides whose line it is: the first plan to
insert it owns it, wherever the family is later. Planning again finds only the families that came since.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from sqlalchemy.exc import IntegrityError, OperationalError

from models.calendar import Cycle, Payday, Slot, is_late, opens_at, zone
from models.columns import instant_text
from models.errors import LOCK_NOT_AVAILABLE, DespensaError, Misconfigured, RefusedByState
from models.events import RunPlanned
from models.funds import list_sources
from models.journal import append
from models.lost import refuse_while_lost
from models.runs import of_run
from models.storage import Query, Tx, describe
from models.tables import LINES_PER_RUN, ExchangeRate, Issuer, Location, Programme, ProgrammeLocation, Run
from scheduler.batches import CLASS, DIGEST_BATCHES, insert_batches, places_of
from scheduler.due import ENTITLED, EXISTS_RUN, find_rate, has_families, slot_amounts

#: At most one new part of a run a day, so that a trickle of late imports does not become a trickle of runs.
PART_INTERVAL = timedelta(days=1)

LAST_PART = Query("""
-- last_part: the newest part of a slot
SELECT part, planned_at FROM run
WHERE programme_id = :programme_id AND location_code = :location_code AND cycle = :cycle ORDER BY part DESC LIMIT 1
""")

HOLD_ENROLMENTS = Query("""
-- hold_enrolments: no import changes a programme's families until the lines are there; refused at once while one does
SELECT id FROM programme WHERE id = :programme_id FOR SHARE NOWAIT
""")

CLAIM_SLOT = Query(
    """
-- claim_slot: held until its plan has ended; false where another planner has it, or one whose slot has the same hash
SELECT pg_try_advisory_xact_lock(
    hashtextextended(CAST(:programme_id AS TEXT) || '/' || CAST(:location_code AS TEXT) || '/' || :cycle, 0))
""",
    sqlite="-- claim_slot: there is one writer, and it plans\nSELECT 1",
)

#: Lines of a batch that an outside issuer credits: called for, and settled, within one lease, where sixteen calls at
#: once take less than a second each. What was not called in time is covered by another batch.
ISSUER_BATCH_LINES = 128
#: Lines of a batch where several funds pay: one that cannot pay a whole batch keeps what is left in it.
FUNDS_BATCH_LINES = 1_000

#: Promise 1, as PostgreSQL names it.
LINE_KEY = "uq_disbursement_programme_id_cycle_household_id"

INSERT_RUN = Query("""
-- insert_run: claim a slot's part; no row comes back if another plan has it
INSERT INTO run (programme_id, location_code, cycle, part, state, late, opens_at, lines, planned_minor, digest,
                 currency, value_currency, rate_millionths, rate_source, rate_date, round_to_minor, validity_days,
                 batch_lines_max, planned_by, planned_at, blocked, salt)
VALUES (:programme_id, :location_code, :cycle, :part, 'planned', :late, :opens_at, 0, 0, '', :currency,
        :value_currency, :rate_millionths, :rate_source, :rate_date, :round_to_minor, :validity_days,
        :batch_lines_max, :planned_by, :planned_at, '', :salt)
ON CONFLICT (programme_id, location_code, cycle, part) DO NOTHING
RETURNING id
""")

INSERT_AMOUNTS = Query("""
-- insert_amounts: what a household of so many members gets in this run
INSERT INTO run_amount (run_id, members, amount_minor) VALUES (:run_id, :members, :amount_minor)
""")

_INSERT_LINES_IN_ORDER = f"""
INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor)
SELECT :first_id - 1 + ROW_NUMBER() OVER (ORDER BY {{order}}), e.programme_id, h.id, CAST(:cycle AS TEXT),
       a.amount_minor
FROM household h CROSS JOIN enrolment e
JOIN run_amount a ON a.run_id = :run_id AND a.members = h.members
WHERE {ENTITLED}
"""  # noqa: S608  # of constants, of no input
INSERT_LINES = Query(
    """
-- insert_lines: a line for each entitled family of the location that has none in this cycle. No ON CONFLICT: it would
-- cost a quarter more, for a family that another plan takes at this very moment. What the run says is said again in
-- parameters: joined to it, PostgreSQL would believe that a location has a handful of families"""
    + _INSERT_LINES_IN_ORDER.format(order="h.id")
)
INSERT_LINES_BY_CLASS = Query(
    """
-- insert_lines_by_class: as insert_lines, and families of one class have numbers in a row"""
    + _INSERT_LINES_IN_ORDER.format(order=f"{CLASS}, h.id")
)

INSERT_GROUPS = Query("""
-- insert_groups: families and amount per group, frozen for reports
INSERT INTO run_group (run_id, group_code, families, amount_minor)
SELECT :run_id, h.group_code, COUNT(*), SUM(d.amount_minor)
FROM disbursement d JOIN household h ON h.id = d.household_id
WHERE d.id BETWEEN :first_id AND :last_id GROUP BY h.group_code
""")

COUNT_RUNS_OF_CYCLE = Query("""
-- count_runs_of_cycle: with this one
SELECT COUNT(*) FROM run WHERE programme_id = :programme_id AND cycle = :cycle
""")

SUM_BATCHES = Query("""
-- sum_batches: what a plan came to: from its batches, not once more from its lines
SELECT COUNT(*) AS batches, CAST(COALESCE(SUM(lines), 0) AS BIGINT) AS lines,
       CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) AS amount_minor
FROM batch WHERE run_id = :run_id
""")

COUNT_HELD_ELSEWHERE = Query("""
-- count_held_elsewhere: entitled families of the location whose line of this cycle is in a run of another place. Joined
-- in this order: SQLite would begin with the enrolments of all places
SELECT COUNT(*)
FROM household h CROSS JOIN disbursement d CROSS JOIN enrolment e
WHERE h.location_code = :location_code
  AND d.programme_id = :programme_id AND d.household_id = h.id AND d.cycle = :cycle
  AND d.id / 10000000 NOT IN (SELECT id FROM run WHERE location_code = :location_code)
  AND e.programme_id = :programme_id AND e.household_id = h.id
  AND e.status = 'active' AND e.first_cycle <= :cycle AND e.last_cycle >= :cycle
""")

SET_PLAN = Query("""
-- set_plan: freeze a run's totals and digest
UPDATE run SET lines = :lines, planned_minor = :planned_minor, digest = :digest WHERE id = :run_id
""")


class NothingToPlan(DespensaError):
    """No entitled family of this location is without a line: there is nothing to plan."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan came to."""

    run: Run
    created: bool  #: False where the slot had its run already
    held_elsewhere: int  #: families here now whose line another location's run owns


def claim_slot(tx: Tx, *, programme_id: int, location_code: str, cycle: Cycle, part: int | None) -> bool:
    """Whether a planner is to plan it: False while another one does, or where it has just made the first part.

    So any number of planners, of any number of schedulers, share the cities, and none waits for another's.
    """
    slot: dict[str, object] = {"programme_id": programme_id, "location_code": location_code, "cycle": str(cycle)}
    if not tx.scalar(CLAIM_SLOT, **slot):
        return False
    return part is None or tx.first(EXISTS_RUN, **slot) is None


def plan_slot(
    tx: Tx,
    programme: Programme,
    *,
    location_code: str,
    cycle: Cycle,
    now: datetime,
    batch_lines: int,
    part: int | None = 1,
) -> Planned:
    """Plan a slot's part, or its next part with `part=None`. Planning what is planned changes nothing.

    Raises Misconfigured without the cycle's rate; RefusedByState for a location where the programme does not run,
    before its first cycle, while the programme is imported, or while a run of it is lost; NothingToPlan where nobody is
    entitled without a line.
    """
    tx.allow_long_statement()
    _hold_enrolments(tx, programme)
    programme = tx.get(Programme, Programme.id == programme.id)  # the rules as they are now
    slot = get_slot(tx, programme, location_code=location_code, cycle=cycle)
    if part is None:
        part = next_part(tx, slot, now=now)
    existing = tx.find(Run, *_is_part(slot, part))
    if existing is not None:
        return Planned(existing, created=False, held_elsewhere=_held_elsewhere(tx, slot))
    refuse_while_lost(tx, programme.id)
    if not has_families(tx, slot):
        raise NothingToPlan(f"no family of {location_code} is entitled in {cycle} and without a line")
    rate = _get_rate(tx, programme, cycle)
    if tx.find(Issuer, Issuer.programme_id == programme.id) is not None:
        batch_lines = min(batch_lines, ISSUER_BATCH_LINES)
    sources = list_sources(tx, programme, cycle=str(cycle)).at(location_code)
    if len(sources.funds) > 1:
        batch_lines = min(batch_lines, FUNDS_BATCH_LINES)
    run_id = _claim(tx, programme, slot, part=part, rate=rate, now=now, batch_lines=batch_lines)
    if run_id is None:
        return Planned(tx.get(Run, *_is_part(slot, part)), created=False, held_elsewhere=_held_elsewhere(tx, slot))
    amounts = slot_amounts(programme, rate)
    return _freeze(tx, slot, run_id, amounts=amounts, batch_lines=batch_lines, classes=sources.classes())


def get_slot(tx: Tx, programme: Programme, *, location_code: str, cycle: Cycle) -> Slot:
    """The slot with its payday. Raises RefusedByState where the programme does not run, or not yet."""
    place = tx.find(
        ProgrammeLocation,
        ProgrammeLocation.programme_id == programme.id,
        ProgrammeLocation.location_code == location_code,
    )
    if place is None:
        raise RefusedByState(f"programme {programme.code} does not run in {location_code}")
    if str(cycle) < place.first_cycle:
        raise RefusedByState(f"{location_code} begins with cycle {place.first_cycle}: {cycle} is before it")
    location = tx.get(Location, Location.code == location_code)
    payday = Payday(day=programme.payday_day, time=time.fromisoformat(programme.payday_time))
    return Slot(programme.id, location_code, cycle, opens_at(cycle, payday, zone(location.time_zone)))


def next_part(tx: Tx, slot: Slot, *, now: datetime) -> int:
    """The number of the next part. Raises NothingToPlan if the last one is less than a day old."""
    row = tx.first(LAST_PART, **_key(slot))
    if row is None:
        return 1
    if row.planned_at <= now < row.planned_at + PART_INTERVAL:  # not for longer, should a clock have been ahead
        raise NothingToPlan(f"{slot.cycle}/{slot.location_code} had a new part less than a day ago")
    return int(row.part) + 1


def line_range(run_id: int) -> tuple[int, int]:
    """The first and last id that a run's lines can have."""
    return run_id * LINES_PER_RUN + 1, (run_id + 1) * LINES_PER_RUN - 1


def _freeze(
    tx: Tx, slot: Slot, run_id: int, *, amounts: dict[int, int], batch_lines: int, classes: Sequence[frozenset[str]]
) -> Planned:
    first_id, last_id = line_range(run_id)
    tx.execute_many(
        INSERT_AMOUNTS,
        [{"run_id": run_id, "members": members, "amount_minor": amount} for members, amount in amounts.items()],
    )
    try:
        if classes:
            tx.execute(INSERT_LINES_BY_CLASS, run_id=run_id, first_id=first_id, **_key(slot), **places_of(classes))
        else:
            tx.execute(INSERT_LINES, run_id=run_id, first_id=first_id, **_key(slot))
    except IntegrityError as error:
        if describe(error)[0] != LINE_KEY:
            raise
        raise RefusedByState(
            f"a family of {slot.location_code} was planned elsewhere at this moment",
            hint="nothing was planned; repeat it",
        ) from None
    if _counts_anew(int(tx.scalar(COUNT_RUNS_OF_CYCLE, programme_id=slot.programme_id, cycle=str(slot.cycle)))):
        tx.refresh_statistics("disbursement")
    insert_batches(tx, run_id, first_id=first_id, last_id=last_id, batch_lines=batch_lines, classes=classes)
    tx.execute(INSERT_GROUPS, run_id=run_id, first_id=first_id, last_id=last_id)
    sums = tx.one(SUM_BATCHES, run_id=run_id)
    if sums.lines == 0:
        raise NothingToPlan(f"every family of {slot.location_code} has its line of {slot.cycle} in another run")
    salt = tx.get(Run, Run.id == run_id).salt
    digest = str(tx.scalar(DIGEST_BATCHES, run_id=run_id, salt=salt))
    tx.execute(SET_PLAN, run_id=run_id, lines=sums.lines, planned_minor=sums.amount_minor, digest=digest)
    run = tx.get(Run, Run.id == run_id)
    held = _held_elsewhere(tx, slot)
    location = tx.get(Location, Location.code == slot.location_code)
    append(
        tx,
        RunPlanned(
            **of_run(tx, run), location_name=location.name, time_zone=location.time_zone,
            opens_at=instant_text(slot.opens_at), late=bool(run.late), planned=run.lines,
            planned_minor=run.planned_minor, currency=run.currency, batches=sums.batches, held_elsewhere=held,
            digest=digest, operator=run.planned_by,
        ),
    )  # fmt: skip
    return Planned(run, created=True, held_elsewhere=held)


def _counts_anew(runs: int) -> bool:
    """So often are a cycle's lines counted anew: for its first run, fourth, sixteenth…, and for the next one.

    PostgreSQL must know that the cycle has lines, and about how many. To count takes its time where years of lines lie
    there, and need not be done for each city. The next one, too, since two that are planned side by side see the same
    number.
    """
    return _is_power_of_four(runs) or _is_power_of_four(runs - 1)


def _is_power_of_four(number: int) -> bool:
    return number.bit_count() == 1 and number.bit_length() % 2 == 1


def _claim(
    tx: Tx, programme: Programme, slot: Slot, *, part: int, rate: ExchangeRate | None, now: datetime, batch_lines: int
) -> int | None:
    run_id = tx.scalar(
        INSERT_RUN,
        **_key(slot),
        part=part,
        late=is_late(slot, now=now),
        opens_at=slot.opens_at,
        currency=programme.currency,
        value_currency=programme.value_currency,
        rate_millionths=rate.rate_millionths if rate else None,
        rate_source=rate.source if rate else "",
        rate_date=rate.rate_date if rate else "",
        round_to_minor=programme.round_to_minor,
        validity_days=programme.validity_days,
        batch_lines_max=batch_lines,
        planned_by=tx.operator,
        planned_at=now,
        salt=secrets.token_hex(32),
    )
    return None if run_id is None else int(run_id)


def _hold_enrolments(tx: Tx, programme: Programme) -> None:
    """Otherwise an import could shift the window of a family whose line of the old window is just being inserted."""
    try:
        tx.one(HOLD_ENROLMENTS, programme_id=programme.id)
    except OperationalError as error:
        if describe(error)[1] != LOCK_NOT_AVAILABLE:
            raise
        raise RefusedByState(
            f"{programme.code} is being imported", hint="nothing was planned; repeat it afterwards"
        ) from None


def _get_rate(tx: Tx, programme: Programme, cycle: Cycle) -> ExchangeRate | None:
    rate = find_rate(tx, programme, cycle)
    if rate is None and programme.currency != programme.value_currency:
        raise Misconfigured(
            f"there is no rate {programme.value_currency} to {programme.currency} for {cycle}",
            hint="add it to rates.csv, then: despensa import rates.csv",
        )
    return rate


def _held_elsewhere(tx: Tx, slot: Slot) -> int:
    return int(tx.scalar(COUNT_HELD_ELSEWHERE, **_key(slot)))


def _key(slot: Slot) -> dict[str, object]:
    return {"programme_id": slot.programme_id, "location_code": slot.location_code, "cycle": str(slot.cycle)}


def _is_part(slot: Slot, part: int) -> tuple[object, ...]:
    return (
        Run.programme_id == slot.programme_id,
        Run.location_code == slot.location_code,
        Run.cycle == str(slot.cycle),
        Run.part == part,
    )

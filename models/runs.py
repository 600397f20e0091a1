"""Runs: how they are typed, found, locked and counted."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from sqlalchemy import Row

from models.calendar import BadCycle, Cycle
from models.errors import NotFound, RefusedByState, RefusedInput
from models.states import RunState
from models.storage import Query, Tx
from models.tables import Location, Programme, Run, run_code

_RUN_CODE = re.compile(
    r"(?:(?P<programme>[a-z0-9-]+)/)?(?P<cycle>\d{4}-\d{2})/(?P<location>\d{5})(?:\.(?P<part>\d{1,4}))?"
)


class RunFields(TypedDict):
    """The fields that every event of a run has (models.events.OfRun)."""

    run_id: int
    run: str
    programme: str
    location: str
    cycle: str
    part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of one run, or summed over several: lines, cases and notices; amounts in minor units."""

    planned: int = 0
    credited: int = 0
    cases: int = 0
    planned_minor: int = 0
    credited_minor: int = 0
    not_owed: int = 0
    notices_due: int = 0
    notices_delivered: int = 0
    notices_undelivered: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        mine, theirs = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as `run start`, `run status` and `logs totals` show it."""

    run: str
    programme: str
    location: str
    cycle: str
    part: int
    state: str
    late: bool
    currency: str
    counts: Counts
    blocked: str
    differences: int | None = None  #: in its books, at its last close; None while it goes on, and before it is compared

    def as_json(self) -> dict[str, object]:
        """The object of the contract for scripts; with `differences` where its books have any."""
        head = {
            name: getattr(self, name) for name in ("run", "programme", "location", "cycle", "part", "state", "late")
        }
        books = {"differences": self.differences} if self.differences else {}
        return {**head, "currency": self.currency, **asdict(self.counts), **books}


COUNT_RUNS = Query("""
-- count_runs: lines, cases and notices of each run from :first_run_id to :last_run_id; bounded by that range
SELECT r.id AS run_id, p.code AS programme, r.location_code, r.cycle, r.part, r.state, r.late, r.currency, r.blocked,
       r.lines AS planned, r.planned_minor, CASE WHEN r.reconciled_close_at = r.completed_at THEN r.differences END
         AS differences,
       COALESCE(b.credited, 0) + COALESCE(c.paid, 0) AS credited,
       COALESCE(b.credited_minor, 0) + COALESCE(c.paid_minor, 0) AS credited_minor,
       COALESCE(c.open, 0) AS cases, COALESCE(c.not_owed, 0) AS not_owed,
       COALESCE(n.due, 0) AS notices_due, COALESCE(n.delivered, 0) AS notices_delivered,
       COALESCE(n.undelivered, 0) AS notices_undelivered
FROM run r JOIN programme p ON p.id = r.programme_id
LEFT JOIN (SELECT run_id, SUM(credited) AS credited, SUM(credited_minor) AS credited_minor
           FROM batch WHERE run_id BETWEEN :first_run_id AND :last_run_id GROUP BY run_id) b ON b.run_id = r.id
LEFT JOIN (SELECT k.run_id, SUM(CASE WHEN k.state = 'open' THEN 1 ELSE 0 END) AS open,
                  SUM(CASE WHEN k.outcome = 'not_owed' THEN 1 ELSE 0 END) AS not_owed,
                  SUM(CASE WHEN k.outcome = 'paid' THEN 1 ELSE 0 END) AS paid,
                  SUM(CASE WHEN k.outcome = 'paid' THEN d.amount_minor ELSE 0 END) AS paid_minor
           FROM cases k JOIN disbursement d ON d.id = k.disbursement_id
           WHERE k.run_id BETWEEN :first_run_id AND :last_run_id GROUP BY k.run_id) c ON c.run_id = r.id
LEFT JOIN (SELECT run_id, SUM(CASE WHEN state = 'due' THEN 1 ELSE 0 END) AS due,
                  SUM(CASE WHEN state = 'delivered' THEN 1 ELSE 0 END) AS delivered,
                  SUM(CASE WHEN state = 'undelivered' THEN 1 ELSE 0 END) AS undelivered
           FROM notice WHERE run_id BETWEEN :first_run_id AND :last_run_id GROUP BY run_id) n ON n.run_id = r.id
WHERE r.id BETWEEN :first_run_id AND :last_run_id
ORDER BY r.cycle, r.location_code, r.part
""")

BLOCK_RUN = Query("""
-- block_run: remember why a tick could not go on; nothing if that is known already, or another ticker went on
UPDATE run SET blocked = :blocked WHERE id = :run_id AND blocked <> :blocked AND state IN ('planned', 'approved')
""")


def of_run(tx: Tx, run: Run) -> RunFields:
    """The fields of a run's events."""
    programme = tx.get(Programme, Programme.id == run.programme_id)
    return _fields(run, run_id=run.id, programme=programme.code)


def fields_of_run(row: Row[Any]) -> RunFields:
    """As `of_run`, from a row with a run's columns, its id as `run_id` and its programme's code as `programme`."""
    return _fields(row, run_id=row.run_id, programme=row.programme)


def _fields(run: Run | Row[Any], *, run_id: int, programme: str) -> RunFields:
    return RunFields(
        run_id=run_id,
        run=run_code(run),
        programme=programme,
        location=run.location_code,
        cycle=run.cycle,
        part=run.part,
    )


def lock_run(tx: Tx, run_id: int, *, states: Sequence[RunState], verb: str) -> Run:
    """The run, held until the transaction ends. Whatever changes a run's state or adds batches comes through here.

    Raises RefusedByState unless its state is one of `states`.
    """
    run = tx.get(Run, Run.id == run_id, lock=True)
    if run.state not in states:
        raise RefusedByState(
            f"run {run_code(run)} is {run.state}: it cannot be {verb}", hint=f"despensa run status {run_code(run)}"
        )
    return run


def summarise(tx: Tx, run_id: int) -> RunSummary:
    """One run with its counts."""
    return list_summaries(tx, [run_id])[0]


def list_summaries(tx: Tx, run_ids: Sequence[int]) -> list[RunSummary]:
    """Runs with their counts, by cycle and location. Bounded by the number of runs asked for."""
    rows = [row for run_id in run_ids for row in tx.all(COUNT_RUNS, first_run_id=run_id, last_run_id=run_id)]
    summaries = [
        RunSummary(
            run=run_code(row),
            programme=row.programme,
            location=row.location_code,
            cycle=row.cycle,
            part=row.part,
            state=row.state,
            late=bool(row.late),
            currency=row.currency,
            blocked=row.blocked,
            differences=row.differences,
            counts=Counts(**{name: int(getattr(row, name)) for name in Counts.__slots__}),
        )
        for row in rows
    ]
    return sorted(summaries, key=lambda each: (each.cycle, each.location, each.part))


def total(summaries: Sequence[RunSummary]) -> Counts:
    """The sums over these runs."""
    counts = Counts()
    for summary in summaries:
        counts = counts.plus(summary.counts)
    return counts


@dataclass(frozen=True, slots=True)
class Typed:
    """What an operator means by a run's code."""

    programme: str  #: empty where it was not typed
    cycle: str
    location_code: str
    part: int


def parse_run(typed: str) -> Typed:
    """Raises RefusedInput for another form."""
    found = _RUN_CODE.fullmatch(typed)
    if found is None:
        raise RefusedInput("a run is typed like 2026-12/02004, with .2 for part 2", hint="despensa run list")
    return Typed(found["programme"] or "", found["cycle"], found["location"], int(found["part"] or 1))


def find_run(tx: Tx, typed: str) -> Run:
    """The run an operator means by `2026-12/02004`, `.2` for part 2, the programme in front where there are several.

    Raises RefusedInput for another form, NotFound for none or, without a programme, more than one.
    """
    meant = parse_run(typed)
    where = [Run.cycle == meant.cycle, Run.location_code == meant.location_code, Run.part == meant.part]
    if meant.programme:
        where.append(Run.programme_id == tx.get(Programme, Programme.code == meant.programme).id)
    runs = tx.list(Run, *where, limit=2)
    if len(runs) > 1:
        raise NotFound(f"run {typed} is in several programmes", hint="put the programme in front: CODE/" + typed)
    if not runs:
        raise NotFound(f"there is no run {typed}", hint="despensa run list")
    return runs[0]


def find_location(tx: Tx, typed: str) -> Location:
    """The location an operator means by its code or an unambiguous name. Raises NotFound."""
    by_code = tx.find(Location, Location.code == typed)
    if by_code is not None:
        return by_code
    named = [place for place in tx.list(Location) if place.name.casefold() == typed.casefold()]
    named = named or [place for place in tx.list(Location) if typed.casefold() in place.name.casefold()]
    if len(named) != 1:
        what = "several locations are" if named else "no location is"
        # Not repeated: whoever mistypes may have typed a family's name or place, and cron mails what is said.
        raise NotFound(f"{what} called so", hint="use the five-digit code, as in locations.csv")
    return named[0]


def parse_cycle(typed: str) -> Cycle:
    """A cycle from the command line. Raises RefusedInput."""
    try:
        return Cycle.parse(typed)
    except BadCycle as error:
        raise RefusedInput(str(error), hint="a cycle is typed like 2026-12") from None


def only_programme(tx: Tx, code: str | None = None) -> Programme:
    """The programme of this code, or the only one. Raises NotFound, or RefusedInput where it must be named."""
    if code is not None:
        return tx.get(Programme, Programme.code == code)
    programmes = tx.list(Programme, limit=2)
    if not programmes:
        raise NotFound(
            "there is no programme in this database", hint="despensa import deploy/programmes/northern-mexico"
        )
    if len(programmes) > 1:
        raise RefusedInput("there are several programmes: name one with --programme")
    return programmes[0]

"""Going on with a restored backup: in one transaction it learns what it has forgotten, as far as the logs tell.

No place of the journal and no number is given twice. Runs that the logs know and the backup does not wait for a person
(models.lost); decisions of people that were forgotten stop what they had stopped; an outside issuer is asked about
every line that may have been sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.calendar import CATCH_UP_CYCLES, Cycle, local_cycle, zone
from models.columns import instant_text, parse_instant
from models.custody import find_backup_instant, release
from models.errors import BooksDisagree, RefusedByState, RefusedInput
from models.events import DatabaseRestored, RunLost, RunRemembered
from models.forgotten import Forgotten, RunForgotten
from models.journal import append
from models.lost import HALTED
from models.runs import RunFields, of_run
from models.states import UNRELEASED, RunState
from models.storage import Query, Tx
from models.tables import Issuer, Location, LostRun, Programme, Run, run_code
from scheduler.discard import discard
from scheduler.pause import pause
from scheduler.seal import LOCK_HEAD

#: Beyond the highest number that a log mentions, and one for every place that no file has: a run, a notice and a case
#: each have a line of their own in the journal. This much more is for lines that nobody knows of, and for transactions
#: that were rolled back. One line may tell of many batches or conflicts; but giving their numbers twice pays nobody.
MARGINS = {"run": 1_000, "batch": 1_000_000, "notice": 100_000, "cases": 100_000, "enrolment_conflict": 1_000_000}
#: A run's lines have numbers that JSON can carry exactly. Source: models.tables, LINES_PER_RUN; RFC 8259, 6.
RUN_ID_MAX = 900_000_000
#: Since when payments may be forgotten where nothing in the backup tells: every key window is over.
NOBODY_KNOWS = datetime(1970, 1, 1, tzinfo=UTC)
#: Of hand-over files, in `run.lost`.
DIGESTS_MAX = 200

LAST_SEALED = Query("""
-- last_sealed: when the event with the last seal was recorded. What has none may be of after the restore: an import
SELECT j.recorded_at FROM seal s JOIN journal j ON j.id = s.journal_id ORDER BY s.seq DESC LIMIT 1
""")

LAST_INTENT = Query("""
-- last_intent: when a call to an issuer was last recorded
SELECT recorded_at FROM intent ORDER BY id DESC LIMIT 1
""")

LAST_SIGHTING = Query("""
-- last_sighting: when anybody was last seen at work
SELECT MAX(seen_at) AS seen_at FROM sighting
""")

LAST_NUMBER = Query(
    """
-- last_number: the last number that a table has given; none where it never gave one
SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, 'id') AS regclass))
""",
    sqlite="""
-- last_number: the last number that a table has given; none where it never gave one
SELECT MAX(seq) FROM sqlite_sequence WHERE name = :name
""",
)

CONTINUE_NUMBERS = Query(
    """
-- continue_numbers: a table's next number is one more than this
SELECT setval(CAST(pg_get_serial_sequence(:name, 'id') AS regclass), :number)
""",
    sqlite="""
-- continue_numbers: a table's next number is one more than this
UPDATE sqlite_sequence SET seq = :number WHERE name = :name
""",
)

BEGIN_NUMBERS = Query("""
-- begin_numbers: of a SQLite table that never gave one
INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)
""")

MAY_CONTINUE = Query(
    """
-- may_continue: whether this login may move a table's numbers on
SELECT has_sequence_privilege(pg_get_serial_sequence(:name, 'id'), 'UPDATE')
""",
    sqlite="""
-- may_continue: whether this login may move a table's numbers on; whoever may write the file may
SELECT :name IS NOT NULL
""",
)

LEAVE_OUT = Query("""
-- leave_out: the next seal goes on behind what was forgotten, which is in logs already
UPDATE journal_head SET seq = :seq, hash = :hash, emitted_seq = :seq WHERE id = 1
""")

DOUBT_SENDS = Query("""
-- doubt_sends: of every issuer; what an earlier restore has put in doubt stays so. Each one's own span is in its event
UPDATE issuer SET
  forgotten_cycle = CASE WHEN forgotten_cycle > :cycle THEN forgotten_cycle ELSE :cycle END,
  forgotten_from = CASE WHEN forgotten_from < :forgotten_from_at THEN forgotten_from ELSE :forgotten_from_at END,
  forgotten_until = :now
""")


COUNT_DUE_CASES = Query("""
-- count_due_cases: open cases that retry themselves sooner or later, by run; bounded by the runs
SELECT run_id, COUNT(*) AS cases FROM cases WHERE state = 'open' AND next_attempt_at IS NOT NULL GROUP BY run_id
""")

HOLD_CASES = Query("""
-- hold_cases: a run's open cases wait for a person
UPDATE cases SET next_attempt_at = NULL WHERE run_id = :run_id AND state = 'open' AND next_attempt_at IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Places:
    """From where to where the backup has forgotten."""

    kept_seq: int
    kept_hash: str
    last_seq: int  #: the last place that anybody is known to have written
    last_hash: str
    missing: int  #: places in between that no file has


@dataclass(slots=True)
class Findings:
    """What going on with the backup does."""

    lost: list[LostRun] = field(default_factory=list)
    told: dict[int, RunForgotten] = field(default_factory=dict)  #: what the logs know of a lost run
    codes: dict[int, RunFields] = field(default_factory=dict)  #: of a lost run
    remembered: list[tuple[Run, RunForgotten]] = field(default_factory=list)
    anew: list[tuple[RunForgotten, bool]] = field(default_factory=list)  #: of an issuer; whether catch-up is too short
    paused: list[Run] = field(default_factory=list)
    discarded: list[Run] = field(default_factory=list)
    held: list[tuple[Run, int]] = field(default_factory=list)  #: with so many cases that would retry themselves
    doubted: list[str] = field(default_factory=list)  #: programmes with an outside issuer
    numbers: dict[str, int] = field(default_factory=dict)  #: the last one that counts as given, by table
    cycle: str = ""  #: of months up to this one payments may be forgotten
    from_at: datetime | None = None  #: since when


def require_owner(tx: Tx) -> None:
    """Raises RefusedByState for a login that may work with the database and not move its numbers on."""
    if not all(tx.scalar(MAY_CONTINUE, name=name) for name in MARGINS):
        raise RefusedByState(
            f"{tx.operator} may not move the numbers on, which a restored database must; nothing was changed",
            hint="repeat it with a login that is a member of despensa_owner: deploy/SECURITY.md",
        )


def foresee(tx: Tx, places: Places, forgotten: Forgotten) -> Findings:
    """What `restore` would do. Raises RefusedInput for a number too high, RefusedByState for a programme that is gone.

    A run that was planned and never released is not held: it reserved nothing, nobody was paid, and what a file shows
    of it cannot exist. Where places are missing its release may be among them: then it is held like the others.
    """
    found = Findings(from_at=_since(tx, places, forgotten), cycle=_latest_cycle(tx, forgotten))
    programmes = {programme.code: programme for programme in tx.list(Programme)}
    issuers = {issuer.programme_id for issuer in tx.list(Issuer)}
    known = {run.id: run for run in tx.list(Run, limit=10_000_000)}
    for told in forgotten.runs():
        run = known.get(told.run_id)
        if run is not None:
            _require_same(run, told, programmes)
            _sort_known(found, run, told)
        elif not told.dropped:
            _sort_unknown(tx, found, told, programmes, issuers=issuers, missing=places.missing)
    if places.missing:
        _distrust(found, list(known.values()))
    halted = {told.run_id for told in forgotten.runs() if told.halted}
    found.held = [
        (known[row.run_id], int(row.cases)) for row in tx.all(COUNT_DUE_CASES) if places.missing or row.run_id in halted
    ]
    found.doubted = [code for code, programme in programmes.items() if programme.id in issuers]
    found.numbers = {name: _last_number(tx, name, forgotten.numbers[name], places.missing) for name in MARGINS}
    return found


def restore(tx: Tx, places: Places, forgotten: Forgotten) -> Findings:
    """Go on with the backup, which pays again from this transaction on.

    Raises BooksDisagree, with nothing changed, where its journal grew meanwhile.
    """
    tx.allow_long_statement()
    head = tx.one(LOCK_HEAD)
    if (head.seq, head.hash) != (places.kept_seq, places.kept_hash):
        raise BooksDisagree("the journal grew meanwhile: something still works with this database", hint="stop it")
    found = foresee(tx, places, forgotten)
    assert found.from_at is not None  # foresee sets it
    append(
        tx,
        DatabaseRestored(
            kept_seq=places.kept_seq, forgotten_seq=places.last_seq, forgotten_hash=places.last_hash,
            forgotten_from=instant_text(found.from_at), forgotten_cycle=found.cycle, missing=places.missing,
            lost_runs=len(found.lost), lost_vouchers=sum(lost.credited for lost in found.lost),
            paused_runs=len(found.paused), discarded_runs=len(found.discarded),
            held_cases=sum(cases for _, cases in found.held), operator=tx.operator,
        ),
    )  # fmt: skip
    for lost in found.lost:
        _hold(tx, lost, found.codes[lost.run_id], found.told[lost.run_id])
    for run, told in found.remembered:
        append(
            tx,
            RunRemembered(
                **of_run(tx, run), released=told.released, halted=told.halted, credited=told.credited,
                credited_minor=told.credited_minor, currency=run.currency, exported=len(told.exports),
            ),
        )  # fmt: skip
    for run in found.paused:
        pause(tx, run.id, reason=HALTED)
    for run in found.discarded:
        discard(tx, run.id)
    for run, _ in found.held:
        tx.execute(HOLD_CASES, run_id=run.id)
    tx.execute(DOUBT_SENDS, cycle=found.cycle, forgotten_from_at=found.from_at, now=tx.now)
    for name, number in found.numbers.items():
        _continue(tx, name, number)
    tx.execute(LEAVE_OUT, seq=places.last_seq, hash=places.last_hash)
    release(tx)
    return found


def _require_same(run: Run, told: RunForgotten, programmes: dict[str, Programme]) -> None:
    """A backup that went on by itself may have given a number that others had given after it was made."""
    programme = programmes.get(told.programme)
    mine = (run.programme_id, run.cycle, run.location_code, run.part)
    theirs = (programme.id if programme else 0, told.cycle, told.location, told.part)
    if mine != theirs or (told.digest and told.digest != run.digest):
        raise BooksDisagree(
            f"run id {run.id} is {run_code(run)} in this database, and another run, or another plan, in the logs: the "
            "backup went on by itself before it was compared",
            hint="restore the backup once more, and compare it before anything else",
        )


def _sort_known(found: Findings, run: Run, told: RunForgotten) -> None:
    """A run that the backup has: its lines keep their numbers, so crediting them again pays nobody twice."""
    if run.state in UNRELEASED and told.released:
        found.remembered.append((run, told))
    elif run.state in UNRELEASED and told.dropped:
        found.discarded.append(run)
    elif run.state == RunState.RELEASED and told.halted:
        found.paused.append(run)


def _sort_unknown(
    tx: Tx, found: Findings, told: RunForgotten, programmes: dict[str, Programme], *, issuers: set[int], missing: int
) -> None:
    programme = programmes.get(told.programme)
    location = tx.find(Location, Location.code == told.location)
    if programme is None or location is None:
        if not told.released:
            return
        raise RefusedByState(
            f"run {told.run} is of programme {told.programme} in {told.location}, which this backup does not have",
            hint="import its programme and locations first, then repeat: despensa import DIR",
        )
    # What an issuer credited is found again by its reference; but that a person halted the run, nobody else knows.
    held = told.halted if programme.id in issuers else told.released or missing > 0
    known = tx.find(LostRun, LostRun.run_id == told.run_id)
    if not held or known is not None:
        if known is None and told.released and programme.id in issuers:
            reach = local_cycle(tx.now, zone(location.time_zone)).plus(-CATCH_UP_CYCLES)
            found.anew.append((told, told.cycle < str(reach)))
        return
    found.lost.append(
        LostRun(
            run_id=told.run_id, programme_id=programme.id, location_code=told.location, cycle=told.cycle,
            part=told.part, planned=told.planned, planned_minor=told.planned_minor, credited=told.credited,
            credited_minor=told.credited_minor, currency=told.currency or programme.currency, digest=told.digest,
            exported=len(told.exports),
        )
    )  # fmt: skip
    found.told[told.run_id] = told
    found.codes[told.run_id] = RunFields(
        run_id=told.run_id, run=told.run, programme=told.programme, location=told.location, cycle=told.cycle,
        part=told.part,
    )  # fmt: skip


def _distrust(found: Findings, runs: Sequence[Run]) -> None:
    """With places missing, any decision and any release may be among them: every run waits for a person's look."""
    paused = {run.id for run in found.paused}
    remembered = {run.id: told for run, told in found.remembered}
    found.paused += [run for run in runs if run.state == RunState.RELEASED and run.id not in paused]
    dropped = {run.id for run in found.discarded}
    found.remembered = []
    for run in runs:
        if run.state in UNRELEASED and run.id not in dropped:
            told = remembered.get(run.id) or RunForgotten(run.id, "", "", "", "", run.part)
            told.halted = True
            found.remembered.append((run, told))


def _hold(tx: Tx, lost: LostRun, fields: RunFields, told: RunForgotten) -> None:
    tx.add(lost)
    append(
        tx,
        RunLost(
            **fields, planned=lost.planned, planned_minor=lost.planned_minor, credited=lost.credited,
            credited_minor=lost.credited_minor, currency=lost.currency, halted=told.halted,
            disowned_by=told.disowned_by, exported=lost.exported, file_digests=" ".join(told.exports[-DIGESTS_MAX:]),
        ),
    )  # fmt: skip


def _since(tx: Tx, places: Places, forgotten: Forgotten) -> datetime:
    """Not after the backup was made, and no longer before it than can be shown.

    In a quiet week nothing is journalled, but somebody is seen every minute. What still ran after the restore was seen
    then, too: so that counts only where the logs are whole, of which the first forgotten line is no earlier.
    """
    known = [tx.scalar(LAST_SEALED), tx.scalar(LAST_INTENT), find_backup_instant(tx)]
    if not places.missing:
        known.append(tx.scalar(LAST_SIGHTING))
    last_known: datetime | None = max((instant for instant in known if instant is not None), default=None)
    first_forgotten = parse_instant(forgotten.first_at) if forgotten.first_at else None
    if last_known is not None:
        return min(last_known, first_forgotten or last_known)
    return first_forgotten if first_forgotten and not places.missing else NOBODY_KNOWS


def _latest_cycle(tx: Tx, forgotten: Forgotten) -> str:
    now = [str(local_cycle(tx.now, zone(location.time_zone))) for location in tx.list(Location)]
    return max([*now, forgotten.latest_cycle(), str(Cycle(tx.now.year, tx.now.month))])


def _last_number(tx: Tx, name: str, mentioned: int, missing: int) -> int:
    number = max(mentioned, int(tx.scalar(LAST_NUMBER, name=name) or 0)) + missing + MARGINS[name]
    if name == "run" and missing and number > RUN_ID_MAX:
        raise RefusedInput(
            f"{missing:,} places are missing, and there are not as many run ids left",
            hint="is a head that was kept another installation's? see deploy/RUNBOOK.md, A database that was restored",
        )
    if name == "run" and number > RUN_ID_MAX:
        raise RefusedInput(
            f"a line mentions run id {mentioned}, which no installation reaches",
            hint="find the line, and leave its file out: despensa logs query",
        )
    return number


def _continue(tx: Tx, name: str, number: int) -> None:
    if tx.dialect == "sqlite":
        if tx.execute(CONTINUE_NUMBERS, name=name, number=number) == 0:
            tx.execute(BEGIN_NUMBERS, name=name, number=number)
        return
    tx.scalar(CONTINUE_NUMBERS, name=name, number=number)

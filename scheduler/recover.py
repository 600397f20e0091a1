"""A person's exit from a lost run: what was handed over is entered again, or nothing was and all is planned anew."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import orjson

from models import books
from models.calendar import Cycle, zone
from models.columns import instant_text
from models.errors import BooksDisagree, RefusedByState, RefusedInput
from models.events import BatchCredited, RunDisowned, RunPlanned, RunRecovered
from models.funds import Sources, Wanted, list_sources
from models.handed_over import Files, HandedOver
from models.journal import append
from models.lost import list_told
from models.runs import RunFields, of_run
from models.states import Approval, BatchState
from models.storage import Query, Tx
from models.tables import Batch, Issuer, Location, LostRun, Programme, Run, run_code
from scheduler.approve import approve
from scheduler.batches import digest_of_lines, insert_groups
from scheduler.close import complete
from scheduler.due import find_rate
from scheduler.plan import INSERT_GROUPS, SET_PLAN, get_slot, line_range
from scheduler.release import reserve

EVIDENCE_MAX = 200
#: As whose plan a recovered run goes: not that of the person who enters it, and so approves it.
PLANNED_BY = "restored"
#: Lines of a recovered run's batches, each of which one fund pays: fewer, where the funds have no room for those.
BATCH_LINES = (1_000, 100, 10, 1)
#: Families looked up in one statement.
CHUNK = 10_000

FIND_FAMILIES = Query(
    """
-- find_families: by their registrations; bounded by the list
SELECT h.id, h.registration_id, h.group_code FROM household h
WHERE h.registration_id IN (SELECT value FROM json_array_elements_text(CAST(:registrations AS JSON)) AS r (value))
""",
    sqlite="""
-- find_families: by their registrations; bounded by the list
SELECT h.id, h.registration_id, h.group_code FROM household h
WHERE h.registration_id IN (SELECT value FROM json_each(:registrations))
""",
)

COUNT_OTHER_LINES = Query(
    """
-- count_other_lines: of these families in this cycle, by run; bounded by the list
SELECT d.id / 10000000 AS run_id, COUNT(*) AS lines FROM disbursement d
WHERE d.programme_id = :programme_id AND d.cycle = :cycle
  AND d.household_id IN (SELECT CAST(value AS BIGINT)
                         FROM json_array_elements_text(CAST(:families AS JSON)) AS f (value))
GROUP BY d.id / 10000000
""",
    sqlite="""
-- count_other_lines: of these families in this cycle, by run; bounded by the list
SELECT d.id / 10000000 AS run_id, COUNT(*) AS lines FROM disbursement d
WHERE d.programme_id = :programme_id AND d.cycle = :cycle
  AND d.household_id IN (SELECT value FROM json_each(:families))
GROUP BY d.id / 10000000
""",
)

INSERT_LINE = Query("""
-- insert_line: of a recovered run, under the number that it had
INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor)
VALUES (:id, :programme_id, :household_id, :cycle, :amount_minor)
""")

INSERT_RECOVERED = Query("""
-- insert_recovered: a voucher of a recovered run, as it was handed over
INSERT INTO voucher (id, batch_id, key_version) VALUES (:id, :batch_id, :key_version)
""")

FINISH_RECOVERED = Query("""
-- finish_recovered: a batch of a recovered run: all of its lines were credited, on that day
UPDATE batch SET state = 'done', attempts = 1, credited = lines, credited_minor = amount_minor,
                 credited_at = :credited_at
WHERE id = :batch_id AND state = 'open'
""")


@dataclass(frozen=True, slots=True)
class _Family:
    """Of a hand-over file."""

    id: int
    groups: frozenset[str]  #: that the same funds may pay for as its own; empty where all groups are one


def get_digests(tx: Tx, lost: LostRun) -> list[str]:
    """SHA-256 of the hand-over files that were written of a lost run, as far as the logs tell."""
    return [digest for told in list_told(tx, lost) for digest in told["file_digests"].split()]


def disown(tx: Tx, run_id: int, *, evidence: str, count: int | None) -> LostRun:
    """Nothing of a lost run was handed over: its families are planned anew, under other numbers.

    Raises RefusedByState for a run that is decided; and where the logs know of hand-over files, unless `count` is the
    number of its vouchers, so that nobody says so without having looked.
    """
    lost = _lock(tx, run_id)
    _require_evidence(evidence)
    if lost.exported and count != lost.credited:
        raise RefusedByState(
            f"the logs know of {lost.exported} hand-over files of run {run_code(lost)}: families may hold its vouchers",
            hint="if all of them were destroyed unused, say how many vouchers were credited: --count NUMBER",
        )
    _decide(tx, lost, outcome="not_handed_over", evidence=evidence)
    append(
        tx,
        RunDisowned(
            **_fields(tx, lost), credited=lost.credited, credited_minor=lost.credited_minor, currency=lost.currency,
            exported=lost.exported, operator=tx.operator,
        ),
    )  # fmt: skip
    return lost


def recover(tx: Tx, run_id: int, files: Files, *, evidence: str) -> Run:
    """Enter a lost run again as its hand-over files have it: under its old numbers, credited, and drawn on the funds.

    `evidence`, that the rest was not handed over, is needed where the files hold fewer vouchers than the logs say were
    credited. Families that are not in the files become the next part by themselves. A run that was disowned by mistake
    is entered as well, as long as no other run has a line of its families. Raises RefusedByState, RefusedInput,
    FundTooSmall or BooksDisagree, with nothing changed.
    """
    tx.allow_long_statement()
    lost = _lock(tx, run_id, disowned_too=True)
    _require_sums(tx, lost, files, evidence=evidence)
    programme = tx.get(Programme, Programme.id == lost.programme_id)
    sources = list_sources(tx, programme, cycle=lost.cycle, lock=True).at(lost.location_code)
    families = _find_families(tx, files.vouchers, classes=sources.classes())
    _refuse_other_lines(tx, lost, [family.id for family in families.values()])
    batch_lines = _choose_batch_lines(sources, files.vouchers, families)
    _decide(tx, lost, outcome="handed_over", evidence=evidence or " ".join(files.digests)[:EVIDENCE_MAX])
    run = _enter(tx, lost, programme, files, families, batch_lines=batch_lines)
    append(
        tx,
        RunRecovered(
            **of_run(tx, run), vouchers=len(files.vouchers), amount_minor=files.amount_minor, currency=run.currency,
            files=len(files.digests), operator=tx.operator,
        ),
    )  # fmt: skip
    batches = _plan(tx, run, files.vouchers, families, amount_minor=files.amount_minor)
    reserve(tx, tx.get(Run, Run.id == run.id))
    for batch, vouchers in batches:
        _credit(tx, run, batch, vouchers)
    complete(tx, tx.get(Run, Run.id == run.id))
    return tx.get(Run, Run.id == run.id)


def _lock(tx: Tx, run_id: int, *, disowned_too: bool = False) -> LostRun:
    lost = tx.get(LostRun, LostRun.run_id == run_id, lock=True)
    if lost.outcome is not None and not (disowned_too and lost.outcome == "not_handed_over"):
        raise RefusedByState(f"run {run_code(lost)} was decided by {lost.decided_by}", hint="despensa run lost --all")
    return lost


def _require_evidence(evidence: str) -> None:
    if not evidence.strip() or len(evidence) > EVIDENCE_MAX:
        raise RefusedInput(f"--not-handed-over needs a reference to the evidence, at most {EVIDENCE_MAX} characters")


def _require_sums(tx: Tx, lost: LostRun, files: Files, *, evidence: str) -> None:
    """What the files hold, against what the logs say. More than these is believed: every row proves itself, and lines
    of the last seconds may never have been shipped.
    """
    typed, count = run_code(lost), len(files.vouchers)
    if tx.find(Issuer, Issuer.programme_id == lost.programme_id) is not None:
        raise RefusedByState(
            f"run {typed} was credited by an outside issuer, which is asked about each of its lines",
            hint=f"despensa run recover {typed} --not-handed-over EVIDENCE: it is planned anew",
        )
    if count == 0:
        raise RefusedInput("the files hold no voucher")
    if count < lost.credited and not evidence.strip():
        raise RefusedInput(
            f"the files hold {count} vouchers of run {typed}, and {lost.credited} were credited: the rest is missing",
            hint="add the other files; if the rest was not handed over: --not-handed-over EVIDENCE, too",
        )
    if evidence:
        _require_evidence(evidence)
    if count == lost.credited and files.amount_minor != lost.credited_minor:
        raise BooksDisagree(
            f"the files' vouchers come to {files.amount_minor} minor units, and by the logs to {lost.credited_minor}",
            hint="take the files as they were written",
        )


def _find_families(tx: Tx, vouchers: Sequence[HandedOver], *, classes: Sequence[frozenset[str]]) -> dict[str, _Family]:
    """By registration."""
    class_of = {group: groups for groups in classes for group in groups}
    families: dict[str, _Family] = {}
    for start in range(0, len(vouchers), CHUNK):
        wanted = [voucher.registration_id for voucher in vouchers[start : start + CHUNK]]
        for row in tx.all(FIND_FAMILIES, registrations=orjson.dumps(wanted).decode()):
            families[row.registration_id] = _Family(int(row.id), class_of.get(row.group_code, frozenset()))
    missing = len(vouchers) - len(families)
    if missing:
        raise RefusedByState(
            f"{missing} families of the files are not in this database",
            hint="import the households that were imported since the backup, then repeat: despensa import FILE",
        )
    return families


def _refuse_other_lines(tx: Tx, lost: LostRun, families: Sequence[int]) -> None:
    """One family, one line a month: whoever has one in another run would be paid twice."""
    for start in range(0, len(families), CHUNK):
        chosen = orjson.dumps(families[start : start + CHUNK]).decode()
        rows = tx.all(COUNT_OTHER_LINES, programme_id=lost.programme_id, cycle=lost.cycle, families=chosen)
        for row in rows:
            other = tx.get(Run, Run.id == row.run_id)
            raise RefusedByState(
                f"{row.lines} families of the files have a line of {lost.cycle} in run {run_code(other)}, which is "
                f"{other.state}",
                hint=f"if it was not released: despensa run discard {run_code(other)}; then repeat",
            )


def _enter(
    tx: Tx, lost: LostRun, programme: Programme, files: Files, families: dict[str, _Family], *, batch_lines: int
) -> Run:
    """The run's row and its lines, as a plan that is not ended."""
    slot = get_slot(tx, programme, location_code=lost.location_code, cycle=Cycle.parse(lost.cycle))
    known = tx.find(
        Run, Run.programme_id == lost.programme_id, Run.location_code == lost.location_code, Run.cycle == lost.cycle,
        Run.part == lost.part,
    )  # fmt: skip
    if known is not None:
        raise RefusedByState(
            f"there is another run {run_code(known)}, which is {known.state}", hint="despensa run list"
        )
    rate = find_rate(tx, programme, slot.cycle)
    run = tx.add(
        Run(
            id=lost.run_id, programme_id=lost.programme_id, location_code=lost.location_code, cycle=lost.cycle,
            part=lost.part, opens_at=slot.opens_at, currency=lost.currency, value_currency=programme.value_currency,
            rate_millionths=rate.rate_millionths if rate else None, rate_source=rate.source if rate else "",
            rate_date=rate.rate_date if rate else "", round_to_minor=programme.round_to_minor,
            validity_days=programme.validity_days, batch_lines_max=batch_lines, salt=secrets.token_hex(32),
            planned_by=PLANNED_BY,
            planned_at=tx.now,
        )
    )  # fmt: skip
    tx.execute_many(
        INSERT_LINE,
        [
            {
                "id": voucher.voucher_id, "programme_id": lost.programme_id,
                "household_id": families[voucher.registration_id].id, "cycle": lost.cycle,
                "amount_minor": voucher.amount_minor,
            }
            for voucher in files.vouchers
        ],
    )  # fmt: skip
    first_id, last_id = line_range(run.id)
    tx.execute(INSERT_GROUPS, run_id=run.id, first_id=first_id, last_id=last_id)
    return run


def _plan(
    tx: Tx, run: Run, vouchers: Sequence[HandedOver], families: dict[str, _Family], *, amount_minor: int
) -> list[tuple[Batch, Sequence[HandedOver]]]:
    """The run's batches, each of vouchers of one day and of families of one class; its plan ends with them, and whoever
    enters it approves it.
    """
    parts = list(_parts(vouchers, families, batch_lines=run.batch_lines_max))
    batches = tx.add_all(
        [
            Batch(
                run_id=run.id, first_id=part[0].voucher_id, last_id=part[-1].voucher_id, lines=len(part),
                amount_minor=sum(voucher.amount_minor for voucher in part), state=BatchState.PLANNED,
            )
            for part in parts
        ]
    )  # fmt: skip
    for batch, part in zip(batches, parts, strict=True):
        groups = families[part[0].registration_id].groups
        insert_groups(tx, run.id, groups, first_id=batch.first_id, last_id=batch.last_id)
    digest = digest_of_lines(tx, run)
    tx.execute(SET_PLAN, run_id=run.id, lines=len(vouchers), planned_minor=amount_minor, digest=digest)
    run = tx.get(Run, Run.id == run.id)
    location = tx.get(Location, Location.code == run.location_code)
    append(
        tx,
        RunPlanned(
            **of_run(tx, run), location_name=location.name, time_zone=location.time_zone,
            opens_at=instant_text(run.opens_at), late=bool(run.late), planned=run.lines,
            planned_minor=run.planned_minor, currency=run.currency, batches=len(batches), held_elsewhere=0,
            digest=run.digest, operator=run.planned_by,
        ),
    )  # fmt: skip
    approve(tx, run, approval=Approval.PERSON, operator=tx.operator)
    return list(zip(batches, parts, strict=True))


def _choose_batch_lines(
    sources: Sources, vouchers: Sequence[HandedOver], families: dict[str, _Family]
) -> int:  # fmt: skip
    """The largest batches that fit into the funds; whether the smallest do, releasing says."""
    for batch_lines in BATCH_LINES:
        wanted = [
            Wanted(place, sum(voucher.amount_minor for voucher in part), families[part[0].registration_id].groups)
            for place, part in enumerate(_parts(vouchers, families, batch_lines=batch_lines))
        ]
        if sources.would_pay(wanted):
            break
    return batch_lines


def _parts(
    vouchers: Sequence[HandedOver], families: dict[str, _Family], *, batch_lines: int
) -> Iterator[Sequence[HandedOver]]:
    """Unbroken stretches, none longer than a batch: of one last day, since a batch is credited at one instant, and of
    families of one class.
    """
    start = 0
    for place in range(1, len(vouchers) + 1):
        if place < len(vouchers) and place - start < batch_lines:
            now, first = vouchers[place], vouchers[start]
            groups = (families[now.registration_id].groups, families[first.registration_id].groups)
            if now.valid_until == first.valid_until and groups[0] == groups[1]:
                continue
        yield vouchers[start:place]
        start = place


def _credit(tx: Tx, run: Run, planned: Batch, vouchers: Sequence[HandedOver]) -> None:
    """As on the day on which it was credited, so that its vouchers stay valid as long as their holders were told."""
    batch = tx.get(Batch, Batch.id == planned.id)
    assert batch.fund_id is not None  # fixed by reserve
    tx.execute_many(
        INSERT_RECOVERED,
        [
            {"id": voucher.voucher_id, "batch_id": batch.id, "key_version": voucher.key_version}
            for voucher in vouchers
        ],
    )  # fmt: skip
    credited_at = _credited_at(tx, run, vouchers[0])
    if tx.execute(FINISH_RECOVERED, batch_id=batch.id, credited_at=credited_at) != 1:
        raise RuntimeError(f"batch {batch.id} was just opened and could not be finished")
    books.credit(
        tx, fund_id=batch.fund_id, run_id=run.id, batch_id=batch.id, amount_minor=batch.amount_minor,
        currency=run.currency,
    )  # fmt: skip
    append(
        tx,
        BatchCredited(
            **of_run(tx, run), batch_id=batch.id, first_id=batch.first_id, last_id=batch.last_id,
            credited=batch.lines, credited_minor=batch.amount_minor, currency=run.currency, attempt=1,
        ),
    )  # fmt: skip


def _credited_at(tx: Tx, run: Run, voucher: HandedOver) -> datetime:
    """Noon of the local day from which the voucher's validity counts."""
    time_zone = zone(tx.get(Location, Location.code == run.location_code).time_zone)
    day = voucher.valid_until - timedelta(days=run.validity_days)
    return datetime.combine(day, time(12), tzinfo=time_zone).astimezone(UTC)


def _decide(tx: Tx, lost: LostRun, *, outcome: str, evidence: str) -> None:
    lost.outcome, lost.evidence, lost.decided_by, lost.decided_at = outcome, evidence.strip(), tx.operator, tx.now
    tx.update(lost, ["outcome", "evidence", "decided_by", "decided_at"])


def _fields(tx: Tx, lost: LostRun) -> RunFields:
    return RunFields(
        run_id=lost.run_id, run=run_code(lost), programme=tx.get(Programme, Programme.id == lost.programme_id).code,
        location=lost.location_code, cycle=lost.cycle, part=lost.part,
    )  # fmt: skip

"""Every operation that somebody may do, or may not: each command and each step of a service, as its own code does it.

For tests of who may do what: an operation runs in a transaction that is rolled back, on a database in which there is
something to do for each of them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import orjson
from sqlalchemy import Connection, text

from models import conflicts, custody, handover, key_rotation, server, sightings
from models.calendar import Cycle
from models.case_groups import CaseChoice, list_groups
from models.certify import create_certificate
from models.differences import close_by_person, list_differences
from models.handed_over import Files, HandedOver
from models.intake.load import load
from models.intake.statement import COLUMNS
from models.keys import KeyRing, init_keys, load_keys
from models.lost import list_lost
from models.reconcile import reconcile
from models.report.by import By
from models.report.fund import fund_statement
from models.report.month import month_report
from models.report.others import approval_report, case_report, donor_report, store_report
from models.retention import NOWHERE
from models.runs import list_summaries
from models.schema import look_at, upgrade
from models.statements import import_statement
from models.states import CallKind, CaseReason, ConflictDecision
from models.storage import Database, Tx
from models.tables import Batch, Case, Enrolment, EnrolmentConflict, Location, LostRun, Notice, Programme, Run, run_code
from scheduler import (
    approve,
    cancel,
    close,
    discard,
    dispatch,
    due,
    notices,
    pause,
    plan,
    preview,
    recover,
    release,
    resolve,
    retry,
    seal,
    sweep,
)
from scheduler.measures import Measurer
from scheduler.restore import require_owner
from scheduler.retention import reduce_over
from tests.builders import (
    CITIES,
    CYCLE,
    PAYDAY,
    a_planned_run,
    a_programme,
    a_released_run,
    an_issuer,
    batches_of,
    families,
)
from tests.commands import ROOT
from tests.statements import JANUARY
from workers import credit, notify, outside
from workers.issuers import calls
from workers.issuers.answers import Answer, Credited, Rejected, TryLater
from workers.issuers.slots import find_access, note_answers
from workers.stores.webhook import TryLater as StoreAway

SAMPLE = ROOT / "deploy" / "programmes" / "northern-mexico"
#: Families of a run: three lines, for an issuer's three answers.
FAMILIES = 3
TOKEN = "t" * 32


class OneTransaction(Database):
    """A database whose transactions are steps of one, which whoever has made this rolls back."""

    connection: Connection

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """A step."""
        self.connection.execution_options(stream_results=False, yield_per=None)  # of a stream before it
        with self.connection.begin_nested():
            yield Tx(self.connection, now=self._now)

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """Sees the steps before it."""
        yield Tx(self.connection, now=self._now)


@dataclass(slots=True)
class Prepared:
    """Something to do for every operation."""

    folder: Path  #: keys, and files to import and to export to
    programme: Programme
    places: list[str]  #: whose runs are named below, and some without one
    runs: dict[str, Run] = field(default_factory=dict)  #: by what is to be done with it
    case: int = 0
    notice: int = 0
    lost: LostRun | None = None
    conflict: int = 0
    store: str = ""


@dataclass(slots=True)
class Desk:
    """Who works, on what."""

    database: OneTransaction
    prepared: Prepared
    url: str  #: of the login, for what opens a connection of its own

    @contextmanager
    def tx(self) -> Iterator[Tx]:
        """One step."""
        with self.database.transaction() as tx:
            yield tx

    def run(self, name: str) -> Run:
        """The run of which this is to be done."""
        return self.prepared.runs[name]

    def keys(self, kind: str) -> KeyRing:
        """Of this host."""
        return load_keys(self.prepared.folder / "keys", kind)


def prepare(database: Database, folder: Path) -> Prepared:
    """By the owner, and kept."""
    init_keys(folder / "keys")
    load(database, SAMPLE, programme=None, dry_run=False, show=lambda _: None)
    places = [code for code, _, _ in CITIES]
    ours = a_programme(database, code="ours", approval="policy")
    issued = a_programme(database, code="issued", approval="policy")
    forgotten = a_programme(database, code="forgotten", approval="policy")  # it plans and releases nothing
    families(database, forgotten, 1, location=places[0], prefix=forgotten.code)
    an_issuer(database, issued, "https://issuer.example")
    _keep_no_longer(database, forgotten, places[0])
    for programme in (ours, issued):
        for place in places:
            families(database, programme, FAMILIES, location=place, prefix=programme.code)
    prepared = Prepared(folder, ours, places)
    runs = prepared.runs
    runs["planned"] = a_planned_run(database, ours, location=places[0])
    runs["approved"] = a_planned_run(database, ours, location=places[1])
    for name, place in zip(("released", "taken", "paused", "ended", "exhausted"), places[2:], strict=True):
        runs[name] = a_released_run(database, ours, location=place)
    runs["called"] = a_released_run(database, issued, location=places[0])
    runs["cancelled"] = a_released_run(database, issued, location=places[1])
    runs["with cases"] = a_released_run(database, issued, location=places[2])
    with database.transaction() as tx:
        assert approve.approve_by_policy(tx, runs["approved"].id, now=PAYDAY) == ""
        pause.pause(tx, runs["paused"].id, reason="asked for")
        cancel.cancel(tx, runs["cancelled"].id)
        _take(tx, runs["taken"], runs["called"])
        prepared.case = _open_a_case(tx, runs["with cases"])
        _exhaust(tx, runs["exhausted"])
        prepared.lost = _lose_a_run(tx, forgotten, places[0])
        prepared.conflict = _find_a_double(tx, ours)
    while seal.seal(database):
        pass  # what is over can be certified; what comes now waits to be sealed
    _end(database, runs["ended"])
    with database.transaction() as tx:
        notice = tx.list(Notice, Notice.run_id == runs["ended"].id)[0]
        prepared.notice, prepared.store = notice.id, notice.store_id
    return prepared


def _keep_no_longer(database: Database, programme: Programme, place: str) -> None:
    """A family whose stated time is over."""
    families(database, programme, 1, location=place, first_cycle=Cycle(2004, 1), cycles=1, prefix="over")
    with database.transaction() as tx:
        assert tx.find(Location, Location.code == NOWHERE) is not None  # of the sample, which states a time
        tx.connection.execute(text("UPDATE programme SET retention_months = 12 WHERE id = :id"), {"id": programme.id})


def _take(tx: Tx, *runs: Run) -> None:
    for run in runs:
        tx.connection.execute(
            text("UPDATE batch SET token = :token, lease_until = :until, attempts = 1 WHERE run_id = :run_id"),
            {"token": TOKEN, "until": tx.now + timedelta(days=1), "run_id": run.id},
        )


def _open_a_case(tx: Tx, run: Run) -> int:
    """The whole run is stopped, and completed; its first line is the case."""
    batch = tx.list(Batch, Batch.run_id == run.id)[0]
    assert batch.fund_id is not None
    tx.connection.execute(text("UPDATE batch SET state = 'stopped', ended_at = now() WHERE id = :id"), {"id": batch.id})
    rows = [
        Case(
            disbursement_id=line, run_id=run.id, fund_id=batch.fund_id, reason=CaseReason.DEAD, reserved=True,
            attempts=2, opened_at=tx.now,
        )
        for line in range(batch.first_id, batch.last_id + 1)
    ]  # fmt: skip
    first, *_ = tx.add_all(rows)
    tx.connection.execute(
        text("UPDATE run SET state = 'completed_with_cases', completed_at = now() WHERE id = :id"), {"id": run.id}
    )
    return first.id


def _exhaust(tx: Tx, run: Run) -> None:
    tx.connection.execute(
        text("UPDATE batch SET attempts = 2, last_error = 'X' WHERE run_id = :run_id"), {"run_id": run.id}
    )


def _end(database: Database, run: Run) -> None:
    """Its batches are credited, and it can be closed; its store has a notice that nobody took."""
    for batch in batches_of(database, run):
        lease = credit.take_batch(database, batch.id)
        assert lease is not None
        assert credit.credit_batch(database, lease, key_version=1)
    with database.transaction() as tx:
        close.tell_stores(tx, run, vouchers=0, amount_minor=0)


def _find_a_double(tx: Tx, programme: Programme) -> int:
    """The newcomer is held, and one operator has found two people."""
    newcomer, other = tx.list(Enrolment, Enrolment.programme_id == programme.id, limit=2)
    newcomer.status, newcomer.reason_code = "held", "double_enrolment"
    tx.update(newcomer, ["status", "reason_code"])
    conflict = tx.add(
        EnrolmentConflict(
            programme_id=programme.id, household_id=newcomer.household_id, other_household_id=other.household_id,
            found_at=tx.now,
        )
    )  # fmt: skip
    conflicts.decide(tx, conflict.id, ConflictDecision.DIFFERENT)
    return conflict.id


def _lose_a_run(tx: Tx, programme: Programme, place: str) -> LostRun:
    return tx.add(
        LostRun(
            run_id=900, programme_id=programme.id, location_code=place, cycle="2026-11", part=1, planned=1,
            planned_minor=60_000, credited=1, credited_minor=60_000, currency="MXN", digest="", exported=0,
        )
    )  # fmt: skip


# Commands.


def _list_conflicts(desk: Desk) -> None:
    with desk.database.reading() as tx:
        assert conflicts.list_conflicts(tx)


def _decide(desk: Desk) -> None:
    """As the second of two operators: a seat of its own, and active from then on."""
    with desk.tx() as tx:
        conflicts.decide(tx, desk.prepared.conflict, ConflictDecision.DIFFERENT)


def _record_keys(desk: Desk) -> None:
    with desk.database.reading() as tx:
        key_rotation.uses_of(tx, "pin")
    key_rotation.record(desk.database, desk.keys("pin"))


def _rotate_persons(desk: Desk) -> None:
    with desk.database.reading() as tx:
        key_rotation.uses_of(tx, "person")
    key_rotation.record(desk.database, desk.keys("person"))


def _import(name: str, change: Callable[[str], str]) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        file = desk.prepared.folder / name
        file.write_text(change((SAMPLE / name).read_text()))
        (report,) = load(desk.database, file, programme="northern-mexico", dry_run=False, show=lambda _: None)
        assert report.changes_anything

    return act


def _import_again(desk: Desk) -> None:
    """The whole folder as it was, with one family more: what did not change is nobody's to refuse."""
    folder = desk.prepared.folder / "again"
    folder.mkdir(exist_ok=True)
    for file in SAMPLE.iterdir():
        added = "SAMPLE-9998,02004,1,pregnant,2026-12,3,active\n" if file.name == "households.csv" else ""
        (folder / file.name).write_text(file.read_text() + added)
    load(desk.database, folder, programme=None, dry_run=False, show=lambda _: None)


def _plan(desk: Desk) -> None:
    with desk.tx() as tx:
        programme = tx.get(Programme, Programme.code == "issued")
        place = desk.prepared.places[3]
        assert plan.claim_slot(tx, programme_id=programme.id, location_code=place, cycle=CYCLE, part=1)
        planned = plan.plan_slot(tx, programme, location_code=place, cycle=CYCLE, now=PAYDAY, batch_lines=10, part=1)
        assert planned.created


def _preview(desk: Desk) -> None:
    with desk.tx() as tx:
        preview.preview(tx, tx.get(Programme, Programme.code == "issued"), cycle=CYCLE)


def _approve_by_policy(desk: Desk) -> None:
    with desk.tx() as tx:
        assert approve.approve_by_policy(tx, desk.run("planned").id, now=PAYDAY) == ""


def _of_run(name: str, change: Callable[[Tx, int], object]) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        with desk.tx() as tx:
            change(tx, desk.run(name).id)

    return act


def _resolve(desk: Desk) -> None:
    with desk.tx() as tx:
        resolve.resolve_paid(tx, desk.prepared.case, evidence="receipt 1", key_version=1)


def _resolve_not_owed(desk: Desk) -> None:
    with desk.tx() as tx:
        resolve.resolve_not_owed(tx, desk.prepared.case, evidence="asked")


def _disown(desk: Desk) -> None:
    assert desk.prepared.lost is not None
    with desk.tx() as tx:
        recover.disown(tx, desk.prepared.lost.run_id, evidence="asked", count=None)


def _recover(desk: Desk) -> None:
    lost = desk.prepared.lost
    assert lost is not None
    place = desk.prepared.places[0]
    handed = HandedOver(lost.run_id * 10_000_000 + 1, f"forgotten-{place}-0000000", 60_000, PAYDAY.date(), 1)
    with desk.tx() as tx:
        recover.recover(tx, lost.run_id, Files([handed], ["digest"]), evidence="")


def _look_at_runs(desk: Desk) -> None:
    """`run list`, `status`, `cases` and `lost`."""
    with desk.database.reading() as tx:
        list_summaries(tx, [run.id for run in desk.prepared.runs.values()])
        list_groups(tx, CaseChoice())
        list_lost(tx)


def _reconcile(desk: Desk) -> None:
    with desk.database.reading() as tx:
        reconcile(tx)
        list(list_differences(tx))


def _import_statement(desk: Desk) -> None:
    """With a line that nobody knows, which a person then closes."""
    path = desk.prepared.folder / "statement.csv"
    path.write_text(f"{','.join(COLUMNS)}\ncredited,c-1,{'f' * 64},600,MXN,2026-01-15T12:00:00Z,\n")
    report = import_statement(desk.database, path, JANUARY, programme="issued", dry_run=False)
    with desk.tx() as tx:
        close_by_person(tx, report.opened[0].first_id, evidence="asked")


def _show_voucher(desk: Desk) -> None:
    with desk.database.reading() as tx:
        assert handover.find_life(tx, desk.run("ended").id * 10_000_000 + 1) is not None


def _export(desk: Desk) -> None:
    path = desk.prepared.folder / "vouchers.csv"
    try:
        handover.export_run(desk.database, desk.run("ended"), keys=desk.keys("pin"), path=path)
    finally:
        path.unlink(missing_ok=True)


def _certify(desk: Desk) -> None:
    path = desk.prepared.folder / "certificate"
    typed = f"issued/{run_code(desk.run('with cases'))}"
    try:
        create_certificate(desk.database, typed, keys=desk.keys("certificate"), path=path)
    finally:
        path.unlink(missing_ok=True)


def _look_at_stores(desk: Desk) -> None:
    """`store list`, `store test`, and `store secret` without a rotation."""
    with desk.database.reading() as tx:
        handover.list_stores(tx)
        handover.get_store(tx, desk.prepared.store)


def _resend(desk: Desk) -> None:
    with desk.tx() as tx:
        notices.resend(tx, desk.prepared.store)
        tx.execute(notices.RESEND_NOTICE, notice_id=desk.prepared.notice, now=tx.now)


def _rotate_secret(desk: Desk) -> None:
    with desk.tx() as tx:
        handover.rotate_secret(tx, desk.prepared.store)


def _report_months(desk: Desk) -> None:
    with desk.database.reading() as tx:
        for by in By:
            month_report(
                tx, desk.prepared.programme, first_cycle=str(CYCLE), last_cycle=str(CYCLE), by=by, outside=True
            )


def _report(outside: bool) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        months = {"first_cycle": str(CYCLE), "last_cycle": str(CYCLE)}
        with desk.database.reading() as tx:
            for report in (store_report, donor_report, case_report):
                report(tx, desk.prepared.programme, outside=outside, **months)
            approval_report(tx, desk.prepared.programme, **months)

    return act


def _fund_statement(desk: Desk) -> None:
    with desk.database.reading() as tx:
        assert fund_statement(tx, desk.prepared.programme).adds_up


def _doctor(desk: Desk) -> None:
    """All that it asks every login; what it leaves out where families are not shown, `test_roles.py` says."""
    look_at(desk.database)
    with desk.database.reading() as tx:
        server.login(tx)
        server.durability(tx)
        server.connections(tx)
        custody.get_head(tx)
    sightings.roll_call(desk.database)


def _read_logs(desk: Desk) -> None:
    """`logs emit`, and what totals are compared with."""
    with desk.database.reading() as tx:
        tx.all(seal.LIST_SEALED, after_seq=0, to_seq=seal.SEQ_MAX, limit=10)


def _measure(desk: Desk) -> None:
    with desk.database.reading() as tx:
        Measurer(lambda: PAYDAY, distributed=True).read(tx)


def _upgrade(desk: Desk) -> None:
    """On a connection of its own; the schema is this code's already."""
    database = Database(desk.url)
    try:
        upgrade(database)
    finally:
        database.close()


def _restored(desk: Desk) -> None:
    with desk.tx() as tx:
        require_owner(tx)
        custody.release(tx)


def _backup(desk: Desk) -> None:
    """What `pg_dump` asks for: every table, and where every sequence is."""
    with desk.database.reading() as tx:
        names = tx.connection.execute(
            text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')")
        ).scalars()
        for name in names.all():
            tx.connection.execute(text(f'SELECT * FROM "{name}" LIMIT 1'))


# A scheduler's steps.


def _due(desk: Desk) -> None:
    with desk.tx() as tx:
        assert due.journal_expected(tx, due.list_places(tx, lost=[]), now=PAYDAY + timedelta(days=27)) > 0


def _reduce(desk: Desk) -> None:
    assert reduce_over(desk.database) == 1


def _move(desk: Desk) -> None:
    """By a statement of one's own: no command has a family move but an import."""
    with desk.tx() as tx:
        tx.connection.execute(text("UPDATE household SET location_code = :place WHERE id = 2"), {"place": CITIES[1][0]})


def _dispatch(desk: Desk) -> None:
    with desk.tx() as tx:
        tx.all(
            dispatch.STAMP_BATCHES, run_id=desk.run("released").id, limit=10, takes_max=2, now=tx.now,
            resend_at=tx.now,
        )  # fmt: skip
        notices.stamp_notices(tx, [desk.prepared.notice])


def _sweep(desk: Desk) -> None:
    with desk.tx() as tx:
        assert sweep.sweep_exhausted(tx, desk.run("exhausted").id) == 1
        sweep.sweep_put_off(tx, desk.run("called").id)
        sweep.wake(tx, desk.run("called").id)


def _seal(desk: Desk) -> None:
    assert seal.seal(desk.database) > 0
    with desk.tx() as tx:
        tx.execute(seal.MARK_EMITTED, seq=1)


def _hold(desk: Desk) -> None:
    with desk.tx() as tx:
        custody.hold(tx, "it was restored")


def _block(desk: Desk) -> None:
    from scheduler.advance import block

    with desk.tx() as tx:
        block(tx, tx.get(Run, Run.id == desk.run("planned").id), "funds")


# A worker's steps.


def _see(desk: Desk) -> None:
    sightings.see(desk.database, "worker")


def _take_batch(desk: Desk) -> None:
    (batch,) = batches_of(desk.database, desk.run("released"))
    assert credit.take_batch(desk.database, batch.id) is not None


def _lease(desk: Desk, name: str) -> credit.Lease:
    (batch,) = batches_of(desk.database, desk.run(name))
    with desk.tx() as tx:
        access = find_access(tx, batch.id)
    return credit.Lease(batch.id, batch.run_id, TOKEN, 0.0, access)


def _credit(desk: Desk) -> None:
    assert credit.credit_batch(desk.database, _lease(desk, "taken"), key_version=1)


def _give_back(desk: Desk) -> None:
    credit.put_off(desk.database, _lease(desk, "taken"), wait_s=1, reason="put off")


def _call(desk: Desk) -> None:
    """One line credited, one refused, one put off: a voucher, a case, and another batch."""
    lease = _lease(desk, "called")
    work = calls.begin(desk.database, lease, keys=desk.keys("reference"), stopping=threading.Event())
    assert work is not None
    assert lease.access is not None
    answers: list[Answer] = [Credited("c-1"), Rejected("closed"), TryLater("http 429")]
    with desk.tx() as tx:
        rows = [
            {"disbursement_id": line.id, "kind": CallKind.SEND, "reference": line.credit.reference}
            for line in work.lines
        ]
        intents = tx.all(calls.INSERT_INTENTS, batch_id=lease.batch_id, calls=orjson.dumps(rows).decode(), now=tx.now)
        told = [
            {"intent_id": intent.id, "outcome": answer.OUTCOME, "detail": answer.detail, "credit_id": answer.credit_id}
            for intent, answer in zip(intents, answers, strict=True)
        ]
        tx.execute(calls.INSERT_ANSWERS, answers=orjson.dumps(told).decode(), now=tx.now)
        for line, answer in zip(work.lines, answers, strict=True):
            line.learn(CallKind.SEND, answer, at=tx.now)
        note_answers(tx, lease.access, [TryLater("http 429", 5)])
        tx.execute(calls.WAKE_CASES, run_id=work.run_id, first_id=work.first_id, last_id=work.last_id, now=tx.now)
    outcome = outside.settle(desk.database, work, key_version=1)
    assert (outcome.credited, outcome.cases, outcome.put_off) != (None, 0, 0)


def _notify(desk: Desk) -> None:
    taken = notify.take_notice(desk.database, desk.prepared.notice, keys=desk.keys("webhook"))
    assert taken is not None
    notify.settle_notice(desk.database, desk.prepared.notice, taken, StoreAway("http 503"))


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the published matrix."""

    name: str
    act: Callable[[Desk], None]
    commands: tuple[str, ...] = ()  #: of which it is all that they do in the database, or a part of it


#: By who does it: persons' commands, then a scheduler's steps, a worker's, and the owner's.
OPERATIONS = (
    Operation(
        "import families",
        _import("households.csv", lambda file: file + "SAMPLE-9999,02004,1,pregnant,2026-12,3,active\n"),
        ("import",),
    ),
    Operation("import a folder whose families changed", _import_again, ("import",)),
    Operation(
        "import rules: `programme.toml`",
        _import("programme.toml", lambda file: file.replace("5000000.00", "5000001.00")),
        ("import",),
    ),
    Operation(
        "import locations", _import("locations.csv", lambda file: file.replace("Mexicali,", "Mexicali 2,")), ("import",)
    ),
    Operation("import stores", _import("stores.csv", lambda file: file.replace("/tij-01/", "/tij-1/")), ("import",)),
    Operation("import rates", _import("rates.csv", lambda file: file.replace("18.25", "18.26")), ("import",)),
    Operation("import funds", _import("funds.csv", lambda file: file.replace("5000000.00", "5000001.00")), ("import",)),
    Operation("`enrolment conflicts`", _list_conflicts, ("enrolment conflicts",)),
    Operation("`enrolment decide`", _decide, ("enrolment decide",)),
    Operation("`run plan --dry-run`", _preview, ("run plan",)),
    Operation("`run plan`", _plan, ("run plan",)),
    Operation("`run discard`", _of_run("planned", discard.discard), ("run discard",)),
    Operation("`run approve`", _of_run("planned", approve.approve_by_person), ("run approve",)),
    Operation(
        "`run release`",
        _of_run("approved", lambda tx, run_id: release.release(tx, run_id, now=PAYDAY)),
        ("run release",),
    ),
    Operation(
        "`run pause`",
        _of_run("released", lambda tx, run_id: pause.pause(tx, run_id, reason="asked for")),
        ("run pause",),
    ),
    Operation("`run resume`", _of_run("paused", pause.resume), ("run resume",)),
    Operation("`run cancel`", _of_run("released", cancel.cancel), ("run cancel",)),
    Operation(
        "`run retry`", _of_run("with cases", lambda tx, run_id: retry.retry(tx, run_id, retry.Choice())), ("run retry",)
    ),
    Operation("`run resolve --paid`", _resolve, ("run resolve",)),
    Operation("`run resolve --not-owed`", _resolve_not_owed, ("run resolve",)),
    Operation("`run recover --not-handed-over`", _disown, ("run recover",)),
    Operation("`run recover --handed-over`", _recover, ("run recover",)),
    Operation(
        "`run list`, `status`, `cases`, `lost`", _look_at_runs, ("run list", "run status", "run cases", "run lost")
    ),
    Operation("`run reconcile`, `statement differences`", _reconcile, ("run reconcile", "statement differences")),
    Operation("`statement import`, `statement close`", _import_statement, ("statement import", "statement close")),
    Operation("`voucher show`", _show_voucher, ("voucher show",)),
    Operation("`voucher export`", _export, ("voucher export",)),
    Operation("`certificate create`", _certify, ("certificate create",)),
    Operation("`report month`", _report_months, ("report month",)),
    Operation(
        "`report store`, `donor`, `cases`, `approvals`",
        _report(outside=False),
        ("report store", "report donor", "report cases", "report approvals"),
    ),
    Operation("the same `--outside`", _report(outside=True), ("report store", "report donor", "report cases")),
    Operation("`fund statement`", _fund_statement, ("fund statement",)),
    Operation(
        "`store list`, `test`, `secret`",
        _look_at_stores,
        ("store list", "store test", "store secret", "simulate stores"),
    ),
    Operation("`store secret --rotate`", _rotate_secret, ("store secret",)),
    Operation("`store resend`", _resend, ("store resend",)),
    Operation("`doctor`, `config check`, `db check`", _doctor, ("doctor", "config check", "db check")),
    Operation("`logs emit`, `logs totals`", _read_logs, ("logs emit", "logs totals")),
    Operation("scheduler: say what is due", _due, ("scheduler", "run start")),
    Operation("scheduler: approve by policy", _approve_by_policy, ("scheduler", "run start")),
    Operation("scheduler: remember what blocks a run", _block, ("scheduler", "run start")),
    Operation("scheduler: dispatch", _dispatch, ("scheduler", "run start")),
    Operation("scheduler: sweep", _sweep, ("scheduler", "run start")),
    Operation(
        "scheduler: settle a cancelled run", _of_run("cancelled", cancel.settle_cancelled), ("scheduler", "run start")
    ),
    Operation("scheduler: close a run", _of_run("ended", close.close), ("scheduler", "run start")),
    Operation("scheduler: seal and emit", _seal, ("scheduler", "run start")),
    Operation("scheduler: reduce families whose stated time is over", _reduce, ("scheduler", "run start")),
    Operation("move a family to another city, by SQL", _move, ("import",)),
    Operation("scheduler: hold a restored database", _hold, ("scheduler", "run start")),
    Operation("scheduler: measure", _measure, ("scheduler",)),
    Operation("services: say that one lives", _see, ("scheduler", "worker", "run start")),
    Operation("worker: take a batch", _take_batch, ("worker",)),
    Operation("worker: credit a batch", _credit, ("worker",)),
    Operation("worker: credit through an issuer", _call, ("worker",)),
    Operation("worker: give a batch back", _give_back, ("worker",)),
    Operation("worker: tell a store", _notify, ("worker",)),
    Operation("`keys rotate`, `keys retire`", _record_keys, ("keys init", "keys rotate", "keys retire")),
    Operation("the same of the person key", _rotate_persons, ("keys init", "keys rotate", "keys retire")),
    Operation("`db backup`", _backup, ("db backup",)),
    Operation("`db upgrade`", _upgrade, ("db upgrade",)),
    Operation("`db restored`", _restored, ("db restored",)),
)

#: Commands that ask no database: they read files, or make one of their own.
ELSEWHERE = frozenset({
    "certificate key", "certificate verify", "demo", "rehearse", "dashboard", "config show", "simulate issuer",
    "logs tail", "logs query", "logs verify", "logs schema",
})  # fmt: skip

"""Who decides about a run is who is logged in, and nobody alone: what plain SQL must not get past."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from models.errors import BooksDisagree, RefusedByState
from models.states import RunState
from models.storage import Database, Tx
from models.tables import Programme, Run
from scheduler.approve import SECOND_PERSON, approve_by_person, approve_by_policy
from scheduler.discard import discard
from scheduler.release import release
from tests.builders import (
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    as_if_planned_by_another,
    families,
    run_again,
    vouchers_of,
    without_guards,
)
from tests.ledger import count, events
from tests.roles import Site, a_copy, a_site

pytestmark = pytest.mark.long

APPROVE = """
UPDATE run SET state = 'approved', approval = 'person', approved_by = {by}, approved_at = planned_at,
               approved_digest = {digest}, approved_minor = planned_minor, approved_rate_millionths = rate_millionths
WHERE id = :run
"""
FIRST = "UPDATE run SET first_approved_by = {by}, first_approved_at = planned_at WHERE id = :run"
POLICY = APPROVE.replace("'person'", "'policy'").format(by="'policy'", digest="digest")
RELEASE = "UPDATE run SET state = 'released', released_at = planned_at{more} WHERE id = :run"
INSERT_RUN = """
INSERT INTO run (programme_id, location_code, cycle, part, state, late, opens_at, lines, planned_minor, digest,
                 currency, value_currency, rate_source, rate_date, round_to_minor, validity_days, batch_lines_max,
                 planned_by, planned_at, blocked{columns})
SELECT programme_id, location_code, cycle, part + 1, {state}, late, opens_at, lines, planned_minor, {digest},
       currency, value_currency, rate_source, rate_date, round_to_minor, validity_days, batch_lines_max,
       {by}, planned_at, ''{values} FROM run WHERE id = :run
"""
INSERT_LINE = """
INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor)
SELECT :run * 10000000 + 900, programme_id, household_id, '2027-05', amount_minor FROM disbursement
WHERE id = :run * 10000000 + 1
"""
INSERT_BATCH = """
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error)
VALUES (:run, :run * 10000000 + 1, :run * 10000000 + 5, 5, 1, '', {state}, 0, '')
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Plain SQL by whoever planned the run, where `state` has come."""

    sql: str
    state: str = "planned"
    login_matters: bool = False  #: SQLite knows none


#: By name: what a clerk with all rights of a service might try.
ATTEMPTS = {
    "approves an own plan": Attempt(APPROVE.format(by="planned_by", digest="digest")),
    "approves by a forged name": Attempt(APPROVE.format(by="'bruno'", digest="digest"), login_matters=True),
    "approves by nobody": Attempt(APPROVE.format(by="NULL", digest="digest")),
    "approves another digest": Attempt(APPROVE.format(by="'bruno'", digest="'00'")),
    "approves no digest": Attempt(APPROVE.format(by="'bruno'", digest="NULL")),
    "approves by nothing": Attempt("UPDATE run SET state = 'approved' WHERE id = :run"),
    "approves as neither a person nor the policy": Attempt(
        APPROVE.replace("'person'", "'committee'").format(by="'bruno'", digest="digest")
    ),
    "forges the policy": Attempt(POLICY),
    "takes a part in two approvals": Attempt(FIRST.format(by="planned_by")),
    "forges the first of two approvals": Attempt(FIRST.format(by="'bruno'"), login_matters=True),
    "gives the plan another planner": Attempt("UPDATE run SET planned_by = 'bruno' WHERE id = :run"),
    "plans by a forged name": Attempt(
        INSERT_RUN.format(columns="", values="", by="'bruno'", state="'planned'", digest="''"), login_matters=True
    ),
    "plans as if restored": Attempt(
        INSERT_RUN.format(columns="", values="", by="'restored'", state="'planned'", digest="''"), login_matters=True
    ),
    "copies an approval": Attempt(
        INSERT_RUN.format(
            columns=", approval, approved_by, approved_at, approved_digest",
            values=", approval, approved_by, approved_at, approved_digest",
            by="planned_by", state="state", digest="digest",
        ),
        "approved",
    ),
    "enters a run that is released": Attempt(
        INSERT_RUN.format(columns="", values="", by="planned_by", state="'released'", digest="''")
    ),
    "raises the policy's limit": Attempt("UPDATE programme SET policy_run_max_minor = 1", login_matters=True),
    "lets the policy approve": Attempt("UPDATE programme SET approval = 'policy'", login_matters=True),
    "releases without an approval": Attempt(RELEASE.format(more="")),
    "releases by a forged name": Attempt(RELEASE.format(more=", released_by = 'bruno'"), "approved", True),
    "pauses what is not released": Attempt("UPDATE run SET state = 'paused' WHERE id = :run", "approved"),
    "takes an approval back": Attempt("UPDATE run SET state = 'planned' WHERE id = :run", "approved"),
    "edits a line": Attempt("UPDATE disbursement SET amount_minor = amount_minor + 1", "approved"),
    "edits the total": Attempt("UPDATE run SET planned_minor = planned_minor + 1 WHERE id = :run", "approved"),
    "edits the total of a plan": Attempt("UPDATE run SET planned_minor = planned_minor + 1 WHERE id = :run"),
    "edits the approved total": Attempt("UPDATE run SET approved_minor = 1 WHERE id = :run", "approved"),
    "edits the digest": Attempt("UPDATE run SET digest = '00', approved_digest = '00' WHERE id = :run", "approved"),
    "edits the rate": Attempt("UPDATE run SET rate_millionths = 1 WHERE id = :run", "approved"),
    "edits the currency": Attempt("UPDATE run SET currency = 'USD' WHERE id = :run", "approved"),
    "edits the size of batches": Attempt("UPDATE run SET batch_lines_max = 1 WHERE id = :run", "approved"),
    "edits the month": Attempt("UPDATE run SET cycle = '2027-01' WHERE id = :run", "approved"),
    "edits a batch": Attempt("UPDATE batch SET amount_minor = 1", "approved"),
    "adds a line to a plan": Attempt(INSERT_LINE),
    "adds a line to what is approved": Attempt(INSERT_LINE, "approved"),
    "adds a line to what is released": Attempt(INSERT_LINE, "released"),
    "adds a batch to a plan": Attempt(INSERT_BATCH.format(state="'planned'")),
    "adds a batch to what is approved": Attempt(INSERT_BATCH.format(state="'open'"), "approved"),
    "adds a batch of another run's lines": Attempt(
        INSERT_BATCH.format(state="'open'").replace(":run * 10000000 + 5", "(:run + 1) * 10000000 + 5"), "released"
    ),
    "takes a line away": Attempt("DELETE FROM disbursement WHERE id = :run * 10000000 + 1", "approved"),
    "takes a batch away": Attempt("DELETE FROM batch WHERE run_id = :run", "released"),
    "takes the released run away": Attempt("DELETE FROM run WHERE id = :run", "released"),
    "enters a voucher": Attempt("INSERT INTO voucher (id, key_version) VALUES (:run * 10000000 + 1, 1)", "approved"),
    "gives a released run another approver": Attempt("UPDATE run SET approved_by = 'x' WHERE id = :run", "released"),
    "gives a release another name": Attempt("UPDATE run SET released_by = 'x' WHERE id = :run", "released"),
    "releases once more": Attempt("UPDATE run SET state = 'approved' WHERE id = :run", "released"),
    "credits more than is reserved": Attempt(
        "INSERT INTO transfer (kind, fund_id, run_id, amount_minor, currency, transferred_at) SELECT 'credit', "
        "fund_id, run_id, amount_minor + 1, currency, transferred_at FROM transfer WHERE kind = 'reserve'",
        "released",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def logins(postgresql: str) -> Iterator[Site]:
    """With roles and logins. Ana and Bruno may do all that a person may: what keeps them apart is the runs alone."""
    with a_site(postgresql, "four_eyes") as site:
        site.run("GRANT despensa_enrol, despensa_plan, despensa_approve TO ana, bruno")
        site.run("CREATE ROLE carla LOGIN IN ROLE despensa_approve")
        try:
            yield site
        finally:
            site.run("DROP ROLE carla")


@pytest.fixture
def site(postgresql: str, logins: Site) -> Iterator[Site]:
    """One's own."""
    with a_copy(postgresql, "four_eyes_own", logins) as site:
        yield site


def by_another(tx: Tx, run_id: int) -> None:
    with without_guards(tx, "run"):
        tx.connection.execute(text(APPROVE.format(by="'bruno'", digest="digest").replace(":run", str(run_id))))


def runs_by_state(database: Database) -> dict[str, Run]:
    """Each of a programme of its own that asks for a person."""
    runs = {}
    for state in ("released", "approved", "planned"):
        programme = a_programme(database, code=state, approval="person")
        families(database, programme, 5, location=TIJUANA, prefix=state)
        run = a_planned_run(database, programme)
        with database.transaction() as tx:
            if state != "planned":
                by_another(tx, run.id)
            if state == "released":
                release(tx, run.id, now=PAYDAY)
        runs[state] = run_again(database, run)
    return runs


def test_nobody_gets_past_the_second_pair_of_eyes(database: Database) -> None:
    """In both databases; the planner is who runs this. What only a login can refuse is PostgreSQL's alone."""
    runs = runs_by_state(database)
    accepted = []

    for name, attempt in ATTEMPTS.items():
        if attempt.login_matters and database.dialect == "sqlite":
            continue
        run = runs[attempt.state]
        with suppress(IntegrityError), database.transaction() as tx:
            tx.connection.execute(text(attempt.sql), {"run": run.id} if ":run" in attempt.sql else {})
            accepted.append(name)

    assert accepted == []
    assert {state: run_again(database, run) for state, run in runs.items()} == runs
    assert vouchers_of(database) == []


def test_no_attempt_succeeds_with_the_login_of_an_operator(site: Site) -> None:
    """Ana has every right of a person, and planned. Bruno approves as himself, and only once it was not his plan."""
    accepted = []
    for number, (name, attempt) in enumerate(ATTEMPTS.items()):
        ana, bruno = Database(site.url("ana")), Database(site.url("bruno"))
        programme = a_programme(ana, code=f"p{number}", approval="person")
        families(ana, programme, 5, location=TIJUANA, prefix=f"P{number}")
        run = a_planned_run(ana, programme)
        if attempt.state != "planned":
            with bruno.transaction() as tx:
                assert approve_by_person(tx, run.id).complete
        if attempt.state == "released":
            with ana.transaction() as tx:
                assert release(tx, run.id, now=PAYDAY).released_by == "ana"
        try:
            site.run(attempt.sql.replace(":run", str(run.id)), login="ana")
            accepted.append(name)
        except psycopg.Error as error:
            assert error.sqlstate in ("23001", "23503", "42501"), name  # noqa: PT017
        ana.close()
        bruno.close()

    assert accepted == []


def test_two_logins_plan_approve_and_release_in_their_own_names(site: Site) -> None:
    """Also within a role that another took on, and for a plan that was discarded and made anew."""
    ana, bruno = Database(site.url("ana")), Database(site.url("bruno"))
    programme = a_programme(ana, approval="person")
    families(ana, programme, 5, location=TIJUANA)
    run = a_planned_run(ana, programme)
    with bruno.transaction() as tx:
        tx.connection.execute(text("SET LOCAL ROLE despensa_approve"))
        approved = approve_by_person(tx, run.id).run
    with bruno.transaction() as tx:
        discard(tx, run.id)
    again = a_planned_run(bruno, programme)

    assert (approved.planned_by, approved.approved_by) == ("ana", "bruno")
    assert (again.planned_by, again.state, again.approved_digest) == ("bruno", RunState.PLANNED, None)
    with pytest.raises(RefusedByState, match="planned by bruno"), bruno.transaction() as tx:
        approve_by_person(tx, again.id)
    with ana.transaction() as tx:
        approve_by_person(tx, again.id)
        assert release(tx, again.id, now=PAYDAY).released_by == "ana"
    ana.close()
    bruno.close()


def test_above_the_threshold_two_others_approve(site: Site) -> None:
    ana, bruno, carla = (Database(site.url(login)) for login in ("ana", "bruno", "carla"))
    programme = a_programme(ana, approval="person")
    with ana.transaction() as tx:
        tx.connection.execute(update(Programme).values(two_approvals_above_minor=1))
    families(ana, programme, 5, location=TIJUANA)
    run = a_planned_run(ana, programme)

    with bruno.transaction() as tx:
        first = approve_by_person(tx, run.id)
    for database in (ana, bruno):
        with pytest.raises(RefusedByState, match="somebody else"), database.transaction() as tx:
            approve_by_person(tx, run.id)
        with pytest.raises(psycopg.errors.RestrictViolation):
            by = database.url.username or ""
            site.run(APPROVE.format(by=f"'{by}'", digest="digest").replace(":run", str(run.id)), login=by)
    with carla.transaction() as tx:
        second = approve_by_person(tx, run.id)

    assert (first.complete, first.run.state, first.run.blocked) == (False, RunState.PLANNED, SECOND_PERSON)
    assert (second.complete, second.run.first_approved_by, second.run.approved_by) == (
        True, "bruno", "carla",
    )  # fmt: skip
    for database in (ana, bruno, carla):
        database.close()


def two_needed(database: Database, *, approval: str = "person") -> Run:
    """A run of another planner, above the threshold."""
    programme = a_programme(database, approval=approval)
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(two_approvals_above_minor=1))
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    as_if_planned_by_another(database, run)
    return run


def test_first_of_two_approvals_is_journalled_and_approves_nothing(database: Database) -> None:
    run = two_needed(database)

    with database.transaction() as tx:
        first = approve_by_person(tx, run.id)
    with pytest.raises(RefusedByState, match="approved a first time"), database.transaction() as tx:
        approve_by_person(tx, run.id)
    with pytest.raises(RefusedByState, match="cannot be released"), database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)

    for undo in ("first_approved_by = NULL", "first_approved_by = 'x'", "first_approved_at = opens_at"):
        with pytest.raises(IntegrityError), database.transaction() as tx:
            tx.connection.execute(text(f"UPDATE run SET {undo}"))
    with pytest.raises(IntegrityError), database.transaction() as tx:  # nor is the second one the first
        tx.connection.execute(text(APPROVE.format(by=f"'{tx.operator}'", digest="digest")), {"run": run.id})
    assert (first.level, first.levels, first.complete) == (1, 2, False)
    assert [told["digest"] for told in events(database, "run.first_approved")] == [run.digest]
    assert events(database, "run.approved") == []


def test_one_approval_is_not_enough_above_the_threshold_whoever_writes_it(database: Database) -> None:
    run = two_needed(database)

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(APPROVE.format(by=f"'{tx.operator}'", digest="digest")), {"run": run.id})

    assert run_again(database, run).state == RunState.PLANNED


#: What an approval that is in order else says it binds.
BINDS = ("approved_digest = digest", "approved_minor = planned_minor", "approved_rate_millionths = rate_millionths")


@pytest.mark.parametrize(("said", "instead"), list(zip(BINDS, ("'00'", "planned_minor - 1", "17"), strict=True)))
def test_approval_that_binds_something_else_is_refused(database: Database, said: str, instead: str) -> None:
    """By whoever may approve; and a release by an approval that does not fit, however it came about."""
    programme = a_programme(database, approval="person")
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    as_if_planned_by_another(database, run)
    other = f"{said.split(' = ', maxsplit=1)[0]} = {instead}"
    with database.reading() as tx:
        approve = APPROVE.format(by=f"'{tx.operator}'", digest="digest")

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(approve.replace(said, other)), {"run": run.id})
    with database.transaction() as tx:
        tx.connection.execute(text(approve), {"run": run.id})
        with without_guards(tx, "run"):
            tx.connection.execute(text(f"UPDATE run SET {other}"))
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(RELEASE.format(more="")), {"run": run.id})
    with pytest.raises(BooksDisagree), database.transaction() as tx:
        release(tx, run.id, now=PAYDAY)


def test_policy_approves_by_no_other_name(database: Database) -> None:
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(POLICY.replace("approved_by = 'policy'", "approved_by = 'bruno'")), {"run": run.id})


def test_nobody_works_on_a_plan_that_another_has_not_ended(site: Site) -> None:
    """Otherwise its lines would be of whoever approves it afterwards."""
    ana = Database(site.url("ana"))
    programme = a_programme(ana, approval="person")
    families(ana, programme, 5, location=TIJUANA)
    run = a_planned_run(ana, programme)
    site.run(INSERT_RUN.format(columns="", values="", by="'ana'", state="'planned'", digest="''").replace(
        ":run", str(run.id)), login="ana")  # fmt: skip
    with ana.reading() as tx:
        begun = tx.get(Run, Run.digest == "").id
    line = INSERT_LINE.replace(":run * 10000000 + 900", f"{begun} * 10000000 + 1").replace(":run", str(run.id))
    batch = f"""
        INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error)
        SELECT {begun}, id, id, 1, amount_minor, '', 'planned', 0, '' FROM disbursement
        WHERE id = {begun} * 10000000 + 1
    """
    wrong = f"UPDATE run SET digest = '00', lines = 1, planned_minor = 1 WHERE id = {begun}"
    end = wrong.replace("= 1 WHERE", f"= (SELECT amount_minor FROM batch WHERE run_id = {begun}) WHERE")

    for statement in (line, batch, end):
        with pytest.raises(psycopg.errors.RestrictViolation):
            site.run(statement, login="bruno")
        if statement is end:
            with pytest.raises(psycopg.errors.RestrictViolation, match="totals of a plan are those of its lines"):
                site.run(wrong, login="ana")
        site.run(statement, login="ana")
    ana.close()


def test_line_of_an_open_transaction_is_in_the_plan_or_nowhere(site: Site) -> None:
    """It was inserted before the plan ended, and is committed after the approval."""
    with closing(Database(site.url("ana"))) as ana, psycopg.connect(site.url("ana")) as late:
        programme = a_programme(ana, approval="person", code="late")
        families(ana, programme, 5, location=TIJUANA, prefix="late")
        run = a_planned_run(ana, programme)
        site.run(INSERT_RUN.format(columns="", values="", by="'ana'", state="'planned'", digest="''").replace(
            ":run", str(run.id)), login="ana")  # fmt: skip
        with ana.reading() as tx:
            begun = tx.get(Run, Run.digest == "", Run.programme_id == programme.id).id
        line = INSERT_LINE.replace(":run * 10000000 + 900", f"{begun} * 10000000 + 1").replace(":run", str(run.id))
        late.execute(line.encode())
        end = f"UPDATE run SET digest = '00', lines = 0, planned_minor = 0 WHERE id = {begun}"

        with pytest.raises(psycopg.errors.LockNotAvailable):
            site.run(f"SET lock_timeout = '200ms'; {end}", login="ana")
        late.commit()
        with pytest.raises(psycopg.errors.RestrictViolation, match="totals of a plan are those of its lines"):
            site.run(end, login="ana")


def test_run_reserves_no_more_than_was_planned_and_none_before_it_is_approved(database: Database) -> None:
    """So nobody who may write transfers pays lines that stand behind an approval."""
    programme = a_programme(database, approval="person")
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    reserve = """
        INSERT INTO transfer (kind, fund_id, run_id, amount_minor, currency, transferred_at)
        SELECT 'reserve', f.id, r.id, r.planned_minor{more}, 'MXN', r.planned_at FROM fund f, run r
    """

    def attempt(more: str) -> None:
        with database.transaction() as tx:
            tx.connection.execute(text(reserve.format(more=more)))

    with pytest.raises(IntegrityError):
        attempt("")
    as_if_planned_by_another(database, run)
    with database.transaction() as tx:
        approve_by_person(tx, run.id)
    with pytest.raises(IntegrityError):
        attempt(" + 1")
    attempt("")
    with pytest.raises(IntegrityError):
        attempt(" - r.planned_minor + 1")


def test_policy_never_approves_what_needs_two_persons(database: Database) -> None:
    """Nor does its statement."""
    run = two_needed(database, approval="policy")

    with database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == "approval: the total needs two persons"
    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(POLICY), {"run": run.id})


def test_run_up_to_the_threshold_needs_one_person(database: Database) -> None:
    programme = a_programme(database, approval="person")
    families(database, programme, 5, location=TIJUANA)
    run = a_planned_run(database, programme)
    as_if_planned_by_another(database, run)
    with database.transaction() as tx:
        with without_guards(tx, "programme"):
            tx.connection.execute(update(Programme).values(two_approvals_above_minor=run.planned_minor))
        approved = approve_by_person(tx, run.id)

    assert (approved.level, approved.complete) == (1, True)
    bound = approved.run
    assert (bound.approved_digest, bound.approved_minor) == (run.digest, run.planned_minor)


def test_what_an_approval_of_one_run_binds_is_no_other_run(database: Database) -> None:
    """Its digest, taken over to another plan of the same programme."""
    programme = a_programme(database)
    families(database, programme, 5, location=TIJUANA)
    families(database, programme, 5, location=NOGALES)
    run, other = a_planned_run(database, programme), a_planned_run(database, programme, location=NOGALES)
    with database.transaction() as tx:
        approve_by_policy(tx, run.id, now=PAYDAY)
    replay = POLICY.replace("approved_digest = digest", f"approved_digest = '{run.digest}'")

    with pytest.raises(IntegrityError), database.transaction() as tx:
        tx.connection.execute(text(replay), {"run": other.id})

    assert count(database, "SELECT COUNT(*) FROM run WHERE state = 'approved'") == 1

"""Least privilege on PostgreSQL: a month runs with logins that own nothing, and what they must not do is refused."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import orjson
import psycopg
import pytest
import typer
from sqlalchemy import text, update

from console.config import app as config_app
from console.database import app as db_app
from console.doctor import doctor
from console.doctor_database import encryption_check
from console.run import app as run_app
from console.store import app as store_app
from models.calendar import Cycle, local_cycle, zone
from models.errors import Exit, Misconfigured
from models.keys import init_keys
from models.reconcile import reconcile
from models.rights import ROLES
from models.schema import look_at
from models.server import Login
from models.storage import Database
from models.tables import Programme
from scheduler.approve import approve_by_policy
from tests.builders import (
    CITIES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    families,
    families_due,
    vouchers_of,
)
from tests.command_line import CommandLine
from tests.commands import despensa, running
from tests.conftest import url_of
from tests.fakes import HERE_NAMED, FakeStore
from tests.ledger import assert_books_agree
from tests.roles import FOLDER, Site, a_copy, a_site, granted_by

pytestmark = pytest.mark.long

#: A login that only reads says so of itself; it may take that back.
WRITES = "SET default_transaction_read_only = off"
FAMILIES = 70
doctor_app = typer.Typer()
doctor_app.command()(doctor)
MOVED = "INSERT INTO transfer (kind, fund_id, run_id, amount_minor, currency, transferred_at) VALUES"


@pytest.fixture(scope="module")
def site(postgresql: str) -> Iterator[Site]:
    """With roles, logins and schema, for tests that leave nothing in it."""
    with a_site(postgresql, "roles") as site:
        yield site


@pytest.fixture
def own_site(postgresql: str, site: Site) -> Iterator[Site]:
    """For a test that does."""
    with a_copy(postgresql, "own_roles", site) as own_site:
        yield own_site


@contextmanager
def database_of(site: Site, login: str) -> Iterator[Database]:
    database = Database(site.url(login))
    try:
        yield database
    finally:
        database.close()


def refused(site: Site, login: str, *statements: str) -> str:
    """The SQLSTATE with which they are."""
    with pytest.raises(psycopg.Error) as caught:
        site.run(*statements, login=login)
    return str(caught.value.sqlstate)


@pytest.mark.long
def test_month_runs_with_services_and_operators_that_own_nothing(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, approval by a second person, credits, notices, books: with the published logins, and no other role."""
    schedulers, workers = (
        environment_of(own_site, f"despensa_{each}", redis_url, tmp_path) for each in ("scheduler", "worker")
    )
    ana, bruno = (
        CommandLine(monkeypatch, environment_of(own_site, login, redis_url, tmp_path)) for login in ("ana", "bruno")
    )
    cycle = this_cycle()
    runs = [f"{cycle}/{code}" for code, *_ in CITIES]
    init_keys(tmp_path / "keys")
    with FakeStore.open() as store, database_of(own_site, "ana_upgrades") as database:
        programme = a_programme(database, store_url=store.url, approval="person")
        with database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        families_due(database, programme, FAMILIES, now=datetime.now(UTC))

        ana.set(environment_of(own_site, "ana", redis_url, tmp_path))
        planned = ana.run(run_app, "plan", "--cycle", cycle)
        alone = ana.run(run_app, "approve", runs[0], "--yes")
        bruno.set(environment_of(own_site, "bruno", redis_url, tmp_path))
        approved = [bruno.run(run_app, "approve", run, "--yes") for run in runs]
        with running("worker", environment=workers):
            started = despensa("run", "start", "--json", environment=schedulers)
        reconciled = bruno.run(run_app, "reconcile")

        assert [planned.code, alone.code, *(each.code for each in approved)] == [0, 1, *(0 for _ in runs)]
        assert (started.code, reconciled.code) == (0, 0), started.err
        assert len(vouchers_of(database)) == FAMILIES
        assert len(set(store.webhook_ids)) == len(CITIES)
        assert_books_agree(database)
        with database.reading() as tx:
            operators = tx.connection.execute(text("SELECT DISTINCT planned_by, approved_by FROM run")).all()
        assert operators == [("ana", "bruno")]


def environment_of(site: Site, login: str, redis_url: str, home: Path) -> dict[str, str]:
    """With Redis keys of this home alone: a head that another test kept there would say that lines are lost."""
    return {
        "DESPENSA_HOME": str(home), "DESPENSA_DATABASE_URL": site.url(login), "DESPENSA_REDIS_URL": redis_url,
        "DESPENSA_NAMESPACE": f"roles-{sha256(bytes(home)).hexdigest()[:12]}", "DESPENSA_BATCH_LINES": "10",
        "DESPENSA_OUTGOING_NETWORKS": HERE_NAMED,
    }  # fmt: skip


def this_cycle() -> str:
    """The month that is due now in the west: commands use the clock of this host."""
    return str(local_cycle(datetime.now(UTC), zone("America/Tijuana")))


def test_only_who_owns_the_schema_goes_on_with_a_restored_database(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything, also by a rehearsal: the month waits for the right login, not for a report."""
    log = tmp_path / "log.jsonl"
    log.touch()
    own_site.run("UPDATE custody SET held = 'it was restored'")

    works = CommandLine(monkeypatch, environment_of(own_site, "ana", redis_url, tmp_path))
    rehearsed = works.run(db_app, "restored", log, "--dry-run")
    refused_ = works.run(db_app, "restored", log, "--yes")
    owns = CommandLine(monkeypatch, environment_of(own_site, "ana_upgrades", redis_url, tmp_path))
    done = owns.run(db_app, "restored", log, "--yes", "--json")

    for outcome in (rehearsed, refused_):
        assert outcome.code == Exit.FAILED
        assert outcome.error is not None
        assert "a member of despensa_owner" in str(outcome.error.hint)
    assert done.json["changed"] is True


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE voucher SET key_version = 2",
        "DELETE FROM voucher",
        "TRUNCATE voucher CASCADE",
        "UPDATE disbursement SET amount_minor = 1",
        "UPDATE transfer SET amount_minor = 1",
        "DELETE FROM journal",
        "DELETE FROM seal",
        "UPDATE intent SET reference = ''",
        "UPDATE code_floor SET revision = '0001'",
        "DELETE FROM alembic_version",
        "ALTER TABLE run ADD COLUMN note TEXT",
        "DROP TABLE sighting",
        "ALTER TABLE voucher DISABLE TRIGGER ALL",
        "DROP TRIGGER voucher_refuses_change ON voucher",
        "SET session_replication_role = replica",
        "CREATE TABLE mine (id INT)",
        "CREATE SCHEMA mine",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SELECT setval(pg_get_serial_sequence('journal', 'id'), 1)",
        "SET ROLE despensa_owner",
        "ALTER ROLE ana SUPERUSER",
        "SELECT refresh_statistics(ARRAY['pg_authid'])",
    ],
)
def test_nobody_gets_around_the_ledger(site: Site, statement: str) -> None:
    """But for the owner: not services, and not persons."""
    for login in ("despensa_scheduler", "despensa_worker", "ana", "bruno"):
        assert refused(site, login, statement) == "42501", login


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO household (registration_id, location_code, members, group_code) VALUES ('X', '02004', 1, 'x')",
        "INSERT INTO run (programme_id, location_code, cycle, part) VALUES (1, '02004', '2026-12', 1)",
        "INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor) VALUES (1, 1, 1, '2026-12', 1)",
        "INSERT INTO fund (programme_id, code) VALUES (1, 'x')",
        "UPDATE run SET state = 'released'",
        "UPDATE run SET approval = 'policy', approved_by = 'policy'",
        "UPDATE batch SET fund_id = 1",
        "UPDATE batch SET amount_minor = 1",
        "UPDATE store SET url = 'https://elsewhere.example'",
        "UPDATE issuer SET url = 'https://elsewhere.example'",
        "UPDATE custody SET held = ''",
        "UPDATE cases SET state = 'closed', outcome = 'paid'",
        "INSERT INTO seal (seq, journal_id, prev_hash, hash) VALUES (1, 1, '', '')",
        "DELETE FROM batch",
        "SELECT group_code FROM household",
        "SELECT location_code FROM household",
        "SELECT * FROM enrolment",
        "SELECT * FROM run_group",
        "CREATE TEMPORARY TABLE mine (id INT)",
    ],
)
def test_stolen_worker_settles_lines_and_nothing_else(site: Site, statement: str) -> None:
    assert refused(site, "despensa_worker", statement) == "42501"


def test_stolen_worker_gives_a_fund_nothing_that_no_donor_gave(own_site: Site) -> None:
    """A fund's balance it may give back to; a deposit beside it would make books that agree."""
    with database_of(own_site, "ana_upgrades") as database:
        a_programme(database)
    deposit = (
        "INSERT INTO transfer (kind, fund_id, amount_minor, currency, transferred_at) "
        "VALUES ('deposit', 1, 100, 'MXN', now())"
    )

    for login in ("despensa_worker", "despensa_scheduler", "ana"):
        assert refused(own_site, login, deposit) == "42501"
    own_site.run(deposit, login="bruno")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fund SET balance_minor = balance_minor + 100",
        f"{MOVED} ('unreserve', 1, 1, 100, 'MXN', now()); UPDATE fund SET balance_minor = balance_minor + 100",
        (
            f"{MOVED} ('unreserve', 1, 1, 100, 'MXN', now()), ('reserve', 1, 1, 50, 'MXN', now()); "
            "UPDATE fund SET balance_minor = balance_minor + 50"
        ),
        f"{MOVED} ('credit', 1, 1, 100, 'MXN', now())",
        "INSERT INTO voucher (id, batch_id, key_version) VALUES (10000001, 1, 1)",
    ],
)
def test_what_a_stolen_worker_can_do_to_the_books_is_found(own_site: Site, statement: str) -> None:
    """It has to give a stopped line's reserve back, and so may write where the money is."""
    with database_of(own_site, "ana_upgrades") as database:
        programme = a_programme(database)
        families(database, programme, 2, location=TIJUANA)
        a_released_run(database, programme)
        assert_books_agree(database)

        own_site.run(statement, login="despensa_worker")

        with database.reading() as tx:
            assert reconcile(tx) != []


@pytest.mark.parametrize("login", ["despensa_scheduler", "ana"])
def test_who_plans_approves_nothing_as_a_person(own_site: Site, login: str) -> None:
    """A scheduler writes the policy's approval into the same columns."""
    with database_of(own_site, "ana_upgrades") as database:
        programme = a_programme(database)
        families(database, programme, 2, location=TIJUANA)
        run = a_planned_run(database, programme)
    forged = (
        "UPDATE run SET state = 'approved', approval = 'person', approved_by = 'bruno', approved_at = now(), "
        f"approved_digest = digest WHERE id = {run.id}"
    )

    assert refused(own_site, login, forged) == "42501"
    with database_of(own_site, login) as database, database.transaction() as tx:
        assert approve_by_policy(tx, run.id, now=PAYDAY) == ""
    assert refused(own_site, login, f"UPDATE run SET approval = 'person' WHERE id = {run.id}") == "42501"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM household",
        "SELECT * FROM enrolment",
        "SELECT * FROM run_group",
        "INSERT INTO sighting (role, instance, seen_at) VALUES ('worker', 'x', now())",
        "UPDATE run SET state = 'paused'",
        "DELETE FROM issuer",
        "CREATE TEMPORARY TABLE mine (id INT)",
        "SELECT nextval(pg_get_serial_sequence('journal', 'id'))",
    ],
)
def test_who_reads_writes_nothing_and_sees_no_family(site: Site, statement: str) -> None:
    """Also where it turns off that its transactions only read."""
    assert refused(site, "despensa_report", WRITES, statement) == "42501"


def test_who_reads_sees_runs_and_books(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database_of(own_site, "ana_upgrades") as database:
        programme = a_programme(database)
        families(database, programme, 2, location=TIJUANA)
        a_released_run(database, programme)
    command_line = CommandLine(monkeypatch, environment_of(own_site, "despensa_report", redis_url, tmp_path))

    outcomes = [command_line.run(run_app, word) for word in ("list", "status", "cases", "reconcile")]
    outcomes.append(command_line.run(store_app, "list"))

    assert [each.code for each in outcomes] == [0] * 5


def test_login_that_is_no_member_does_not_come_in(site: Site) -> None:
    site.run("CREATE ROLE stranger LOGIN")
    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(site.url("stranger"))
    finally:
        site.run("DROP ROLE stranger")


def test_table_that_nobody_thought_of_can_be_read_by_who_works_and_written_by_nobody(own_site: Site) -> None:
    """From the migration that makes it, and until somebody has said in models/rights.py who may do what."""
    own_site.run("CREATE TABLE later (id BIGSERIAL PRIMARY KEY, note TEXT)", login="ana_upgrades")

    for _ in ("before the end of the upgrade", "after it"):
        own_site.run("SELECT * FROM later", login="despensa_worker")
        for login in ("despensa_scheduler", "despensa_worker", "ana", "bruno"):
            assert refused(own_site, login, "INSERT INTO later (id, note) VALUES (1, 'a')") == "42501"
        for login in ("ana", "bruno", "despensa_report"):
            assert refused(own_site, login, "SELECT * FROM later") == "42501"
        own_site.upgrade()


def test_family_tables_are_never_open_to_who_only_looks(own_site: Site) -> None:
    """Not between the migration that makes one and the end of the upgrade either: it may be broken off there."""
    made = "ALTER TABLE household RENAME TO household_old; CREATE TABLE household (id BIGINT)"

    own_site.run(made, login="ana_upgrades")

    assert refused(own_site, "despensa_report", "SELECT * FROM household") == "42501"


def test_upgrade_alone_gives_the_roles_what_they_need(own_site: Site) -> None:
    """Whatever somebody took or gave by hand: a superuser has nothing to do after an upgrade."""
    before = {role: granted_by(own_site, role) for role in ROLES}
    own_site.run(f"GRANT ALL ON voucher, household, code_floor TO PUBLIC, {', '.join(ROLES)}")
    own_site.run("GRANT UPDATE (rate_millionths), SELECT ON run TO despensa_enrol, despensa_plan")
    own_site.run("REVOKE ALL ON run, journal, journal_id_seq FROM despensa_work, despensa_plan")
    own_site.run("GRANT UPDATE (members) ON household TO despensa_work")

    own_site.upgrade()

    assert {role: granted_by(own_site, role) for role in ROLES} == before
    own_site.run("SELECT nextval(pg_get_serial_sequence('journal', 'id'))", login="despensa_worker")


@pytest.mark.parametrize("login", ["ana_upgrades", "postgres"])
def test_whoever_upgrades_makes_what_the_owner_owns(own_site: Site, login: str) -> None:
    """A member that says nothing of its role when it logs in, and the superuser: what they make is not theirs."""
    own_site.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "ALTER ROLE ana_upgrades RESET role")
    try:
        own_site.apply_roles()
        own_site.upgrade(login)
    finally:
        own_site.run("ALTER ROLE ana_upgrades SET role = 'despensa_owner'")

    with psycopg.connect(own_site.admin) as connection:
        owners = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert owners == [("despensa_owner",)]
    assert granted_by(own_site, "despensa_work")["voucher"] == {"SELECT", "INSERT"}


@pytest.mark.parametrize("login", ["ana", "bruno", "despensa_scheduler", "despensa_worker", "despensa_report"])
def test_upgrade_by_who_does_not_own_the_schema_is_refused_before_anything(own_site: Site, login: str) -> None:
    own_site.run("REVOKE INSERT ON voucher FROM despensa_work")

    with pytest.raises(Misconfigured, match=f"{login} is no member of it") as caught:
        own_site.upgrade(login)

    assert "deploy/SECURITY.md" in str(caught.value.hint)
    assert granted_by(own_site, "despensa_work")["voucher"] == {"SELECT"}


def test_upgrade_where_a_role_is_missing_says_which_and_what_makes_it(own_site: Site) -> None:
    """A database from before there was this role: its roles.sql ran once."""
    own_site.run("ALTER ROLE despensa_enrol RENAME TO despensa_enrolled")
    try:
        with pytest.raises(Misconfigured, match="no role despensa_enrol") as caught:
            own_site.upgrade()
    finally:
        own_site.run("ALTER ROLE despensa_enrolled RENAME TO despensa_enrol")

    assert caught.value.exit_code == Exit.MISUSED
    assert "roles.sql again" in str(caught.value.hint)


def test_what_an_installation_without_roles_made_goes_to_the_owner(own_site: Site) -> None:
    """Its tables belong to whoever ran its first `db upgrade`."""
    own_site.run("CREATE TABLE old (id BIGSERIAL PRIMARY KEY); CREATE VIEW older AS SELECT id FROM old")

    own_site.apply_roles()
    own_site.upgrade()

    own_site.run("SELECT * FROM older", login="despensa_worker")
    own_site.run("ALTER TABLE old ADD COLUMN note TEXT; DROP VIEW older; DROP TABLE old", login="ana_upgrades")


def test_roles_are_made_without_a_superuser(postgresql: str, site: Site) -> None:
    """On a managed server its administrator owns the database and made the roles, but is no member of them."""
    managed = Site(url_of(postgresql, "managed"))
    with psycopg.connect(postgresql) as connection:
        as_maker = ", INHERIT FALSE, SET FALSE" if connection.info.server_version >= 160_000 else ""
    site.run(
        "CREATE ROLE administrator LOGIN CREATEROLE",
        f"GRANT despensa_owner TO administrator WITH ADMIN {'TRUE' if as_maker else 'OPTION'}{as_maker}",
        "CREATE DATABASE managed OWNER administrator",
    )
    try:
        managed.run((FOLDER / "roles.sql").read_text(), login="administrator")
        managed.upgrade()

        assert granted_by(managed, "despensa_work") == granted_by(site, "despensa_work")
        with psycopg.connect(managed.url("despensa_worker")) as connection:
            assert connection.execute("SELECT COUNT(*) FROM voucher").fetchone() == (0,)
    finally:
        site.run("DROP DATABASE managed WITH (FORCE)", "DROP OWNED BY administrator", "DROP ROLE administrator")


def test_server_log_names_no_family(own_site: Site) -> None:
    """Whoever runs the server reads its log, and it is kept for years."""
    with database_of(own_site, "ana_upgrades") as database:
        families(database, a_programme(database), 1, location=TIJUANA, prefix="SECRET")
    before = len(server_log(own_site))

    twice = (
        "INSERT INTO household (registration_id, location_code, members, group_code) "
        "SELECT registration_id, location_code, members, group_code FROM household"
    )
    assert refused(own_site, "ana", twice) == "23505"
    assert refused(own_site, "ana", "UPDATE household SET members = 99") == "23514"
    with (
        psycopg.connect(own_site.url("ana")) as connection,
        pytest.raises(psycopg.DataError),
        connection.cursor().copy("COPY household (registration_id, members) FROM STDIN") as copy,
    ):
        copy.write(b"SECRET-2\n")

    said = server_log(own_site)[before:]
    assert all(each in said for each in ("duplicate key value", "violates check constraint", "missing data for column"))
    assert "SECRET" not in said


def server_log(site: Site) -> str:
    """Of the tests' own server: the wheel's is in its data folder, Debian's beside it."""
    with psycopg.connect(site.admin) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    return next(path for path in (data / "log", data.parent / "log") if path.is_file()).read_text()


def test_statistics_are_renewed_for_who_does_not_own_the_tables(own_site: Site) -> None:
    """Without them PostgreSQL believes a table empty, and compares every row with every other."""
    with database_of(own_site, "ana_upgrades") as database:
        families(database, a_programme(database), 100, location=TIJUANA)
    with database_of(own_site, "ana") as database, database.transaction() as tx:
        tx.refresh_statistics("household", "enrolment")
        rows = tx.connection.execute(text("SELECT reltuples FROM pg_class WHERE oid = 'household'::regclass"))
        counted = rows.scalar_one()

    assert counted == 100


def test_login_that_looks_elsewhere_first_still_finds_the_schema(own_site: Site) -> None:
    """Every login may say so of itself: one statement by somebody who has a service's, and it would stand still."""
    own_site.run("ALTER ROLE CURRENT_USER SET search_path = pg_temp", login="despensa_scheduler")
    try:
        with database_of(own_site, "despensa_scheduler") as database:
            assert look_at(database).usable
    finally:
        own_site.run("ALTER ROLE despensa_scheduler RESET search_path")


def test_temporary_table_hides_no_line_from_the_check_of_vouchers(own_site: Site) -> None:
    """Whoever may import families may make one."""
    own_site.run("GRANT despensa_work TO ana")
    with database_of(own_site, "ana_upgrades") as database:
        programme = a_programme(database)
        families(database, programme, 2, location=TIJUANA)
        line = a_released_run(database, programme).id * 10_000_000 + 900
        hiding = (
            f"CREATE TEMPORARY TABLE disbursement AS SELECT CAST({line} AS BIGINT) AS id; "
            f"SET search_path = pg_temp, public; INSERT INTO voucher (id, key_version) VALUES ({line}, 1)"
        )

        try:
            assert refused(own_site, "ana", hiding) == "23503"
        finally:
            own_site.run("REVOKE despensa_work FROM ana")
        assert vouchers_of(database) == []


@pytest.mark.parametrize(
    ("login", "state", "said"),
    [
        ("despensa_scheduler", "ok", "despensa_scheduler"),
        ("despensa_worker", "ok", "despensa_worker"),
        ("ana", "ok", "ana"),
        ("bruno", "ok", "bruno"),
        ("ana_upgrades", "warning", "ana_upgrades owns the schema, or the server"),
        ("postgres", "warning", "postgres owns the schema, or the server"),
    ],
)
def test_check_says_who_could_take_the_guards_away(
    site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str, state: str, said: str
) -> None:
    command_line = CommandLine(monkeypatch, environment_of(site, login, redis_url, tmp_path))
    init_keys(tmp_path / "keys")

    outcome = command_line.run(config_app, "check")

    assert outcome.code == 0
    assert re.search(rf"^{state} +database login +{said}$", outcome.stdout, re.MULTILINE)
    assert re.search(r"^ok +database TLS +the database is on this host$", outcome.stdout, re.MULTILINE)


def test_check_says_where_who_works_has_too_many_rights(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_site.run("GRANT UPDATE ON voucher TO despensa_work")
    command_line = CommandLine(monkeypatch, environment_of(own_site, "despensa_worker", redis_url, tmp_path))

    outcome = command_line.run(config_app, "check")

    assert re.search(r"^warning +database login +despensa_worker may change vouchers$", outcome.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("role", "to", "said"),
    [
        ("despensa_approve", "despensa_scheduler", "despensa_scheduler approves, and credits"),
        ("despensa_approve", "ana", "ana plans, and approves"),
    ],
)
def test_check_says_who_holds_more_than_one_person_should(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, to: str, said: str
) -> None:
    command_line = CommandLine(monkeypatch, environment_of(own_site, to, redis_url, tmp_path))
    own_site.run(f"GRANT {role} TO {to}")
    try:
        outcome = command_line.run(config_app, "check")
    finally:
        own_site.run(f"REVOKE {role} FROM {to}")

    assert len(re.findall(rf"^warning +database login +{said}$", outcome.stdout, re.MULTILINE)) == 1


@pytest.mark.parametrize("login", ["despensa_scheduler", "despensa_worker", "ana", "bruno", "despensa_report"])
def test_doctor_looks_at_what_its_login_may_see(
    own_site: Site, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Most see no family, and so not which slots are late; everything else is looked at."""
    with database_of(own_site, "ana_upgrades") as database:
        families(database, a_programme(database), 2, first_cycle=Cycle.parse(this_cycle()))
    init_keys(tmp_path / "keys")
    command_line = CommandLine(monkeypatch, environment_of(own_site, login, redis_url, tmp_path))

    outcome = command_line.run(doctor_app, "--json")

    checks = orjson.loads(outcome.stdout)["checks"]
    left_out = {check["check"] for check in checks if "sees no family" in check["detail"]}
    sees_families = login in ("despensa_scheduler", "ana")
    assert ("late slots" in left_out) is not sees_families
    assert outcome.code in (Exit.DONE, Exit.FAILED) and outcome.error is None
    assert left_out <= {"late slots", "reference key", "key person in use"}


def test_worker_says_that_its_login_may_do_more_than_it_needs(own_site: Site, redis_url: str, tmp_path: Path) -> None:
    """Services of one host may share a file with the URL, and so the scheduler's login."""
    shared, own = (
        despensa("worker", environment={**environment_of(own_site, login, "redis://127.0.0.1:9/0", tmp_path)})
        for login in ("despensa_scheduler", "despensa_worker")
    )

    assert "warning: despensa_scheduler is a member of despensa_plan, which no worker needs" in shared.err
    assert "warning: despensa_worker is a member" not in own.err


@pytest.mark.parametrize(
    ("encrypted", "verified", "other_host", "state"),
    [
        (False, False, False, "ok"),
        (False, False, True, "warning"),
        (True, False, True, "warning"),
        (True, True, True, "ok"),
    ],
)
def test_check_wants_tls_to_another_host(encrypted: bool, verified: bool, other_host: bool, state: str) -> None:
    login = Login("ana", False, False, encrypted=encrypted, other_host=other_host, verified=verified)

    assert encryption_check(login).state == state

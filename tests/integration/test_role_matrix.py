"""Who may do what on PostgreSQL, cell by cell: the published tables are what the server accepts and refuses.

Where a table of deploy/SECURITY.md is not what is so, the failure shows it as it has to be.
"""

import re
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from models.errors import INSUFFICIENT_PRIVILEGE, Misconfigured, RefusedByState
from models.rights import DEFINERS, OWNER, ROLES
from models.storage import Database
from tests.commands import ROOT
from tests.operations import OPERATIONS, Desk, OneTransaction, Operation, Prepared, prepare
from tests.roles import Site, a_site, granted_by

pytestmark = pytest.mark.long

PAGE = ROOT / "deploy" / "SECURITY.md"
#: A login that is a member of one role, and of no other.
MEMBERS = {role: f"only_{role.removeprefix('despensa_')}" for role in (OWNER, *ROLES)}
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture(scope="module")
def site(postgresql: str) -> Iterator[Site]:
    """With a login for each role."""
    with a_site(postgresql, "matrix") as site:
        for role, login in MEMBERS.items():
            site.run(f"CREATE ROLE {login} LOGIN IN ROLE {role}")
        try:
            yield site
        finally:
            for login in MEMBERS.values():
                site.run(f"DROP ROLE {login}")


@pytest.fixture(scope="module")
def prepared(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Something to do for every operation."""
    database = Database(site.admin)
    try:
        return prepare(database, tmp_path_factory.mktemp("matrix"))
    finally:
        database.close()


@pytest.fixture(scope="module")
def desks(site: Site, prepared: Prepared) -> Iterator[dict[str, Desk]]:
    """One for each role."""
    databases = {role: OneTransaction(site.url(login)) for role, login in MEMBERS.items()}
    yield {role: Desk(database, prepared, site.url(MEMBERS[role])) for role, database in databases.items()}
    for database in databases.values():
        database.close()


def is_accepted(desk: Desk, operation: Operation) -> bool:
    """Whether the database lets this login do it. What it did is rolled back; any other trouble is raised."""
    with desk.database.engine.connect() as connection:
        desk.database.connection = connection
        try:
            operation.act(desk)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
                raise
            return False
        except (Misconfigured, RefusedByState) as error:  # who asks first says so in words
            if OWNER not in f"{error} {error.hint}":
                raise
            return False
        finally:
            connection.rollback()
    return True


def test_every_operation_is_accepted_and_refused_as_published(desks: dict[str, Desk]) -> None:
    """Each by a login that is a member of that role alone."""
    rows = [
        (operation.name, *("yes" if is_accepted(desk, operation) else "no" for desk in desks.values()))
        for operation in OPERATIONS
    ]

    assert_published(("operation", *map(short, desks)), rows)


def test_rights_of_every_table_are_as_published(site: Site) -> None:
    """As the catalogue has them: of each table that is there, and of no other."""
    granted = {role: granted_by(site, role) for role in ROLES}
    tables = sorted(granted[ROLES[0]])

    rows = [(f"`{table}`", *(told_rights(granted[role][table]) for role in ROLES)) for table in tables]

    assert_published(("table", *map(short, ROLES)), rows)


def test_rights_of_columns_are_as_published(site: Site) -> None:
    granted = {role: granted_by(site, role) for role in ROLES}

    rows = [
        (f"`{table}`", short(role), verb.lower(), ", ".join(f"`{column}`" for column in columns))
        for table in sorted(granted[ROLES[0]])
        for role in ROLES
        for verb in VERBS
        if (
            columns := [
                each.partition(" ")[2] for each in in_order(granted[role][table]) if each.startswith(f"{verb} ")
            ]
        )
    ]

    assert_published(("table", "role", "right", "columns"), rows)


def test_function_that_acts_as_the_owner_is_called_by_whom_it_is_listed_for(site: Site) -> None:
    """One that a migration makes, and that nobody has listed, nobody may call."""
    with psycopg.connect(site.admin) as connection:
        definers = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        ).fetchall()
        may = connection.execute(
            "SELECT p.proname, r.rolname FROM pg_proc p CROSS JOIN pg_roles r "
            "WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND r.rolname = ANY(%s) "
            "AND has_function_privilege(r.oid, p.oid, 'EXECUTE')",
            [list(ROLES)],
        ).fetchall()

    assert {name for (name,) in definers} == set(DEFINERS)
    assert set(may) == {(name, role) for name, roles in DEFINERS.items() for role in roles}


def test_lost_run_is_entered_again_by_who_plans_and_approves(site: Site, desks: dict[str, Desk]) -> None:
    """One role alone does not do it: it is planned, approved and credited at once."""
    (recover,) = (each for each in OPERATIONS if "--handed-over" in each.name)
    site.run(f"GRANT despensa_plan TO {MEMBERS['despensa_approve']}")
    try:
        assert is_accepted(desks["despensa_approve"], recover)
    finally:
        site.run(f"REVOKE despensa_plan FROM {MEMBERS['despensa_approve']}")


def short(role: str) -> str:
    """As the page calls it."""
    return role.removeprefix("despensa_")


def in_order(rights: set[str]) -> list[str]:
    """As VERBS has them."""
    return sorted(rights, key=lambda each: (VERBS.index(each.partition(" ")[0]), each))


def told_rights(rights: set[str]) -> str:
    """Of one cell; a star for what is of some columns only."""
    whole = {each: each.lower() for each in rights if " " not in each}
    some = {each.partition(" ")[0]: each.partition(" ")[0].lower() + "*" for each in rights if " " in each}
    return (
        ", ".join(told for _, told in sorted({**whole, **some}.items(), key=lambda each: VERBS.index(each[0]))) or "–"
    )


def assert_published(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """That the page has this table, row by row."""
    wanted = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    _, _, after = PAGE.read_text().partition(f"\n{wanted[0]}\n")
    found = [wanted[0], *re.findall(r"\A(?:\|.*\n)*", after)[0].splitlines()]

    assert found == wanted, "deploy/SECURITY.md has to say:\n" + "\n".join(wanted)

"""A database with the roles and logins of deploy/postgresql, as its pages tell an operator to make it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from models import custody, schema
from models.storage import Database
from tests.conftest import url_of

FOLDER = Path(__file__).parents[1] / "deploy" / "postgresql"
LOGINS = (
    "despensa_scheduler", "despensa_worker", "ana", "bruno", "ana_upgrades", "despensa_report", "despensa_backup",
)  # fmt: skip

VERBS_OF_COLUMNS = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@dataclass(frozen=True, slots=True)
class Site:
    """A database of a server, and whom it knows."""

    admin: str  #: the superuser's URL of the database

    def url(self, login: str) -> str:
        """As this login; the server trusts whoever comes by its socket."""
        return make_url(self.admin).set(username=login).render_as_string(hide_password=False)

    def run(self, *statements: str, login: str = "") -> None:
        """As the superuser, or as a login."""
        with psycopg.connect(self.url(login) if login else self.admin, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def apply_roles(self) -> None:
        """What a superuser does once in a database."""
        self.run((FOLDER / "roles.sql").read_text())

    def upgrade(self, login: str = "ana_upgrades") -> None:
        """As whoever upgrades."""
        database = Database(self.url(login))
        schema.upgrade(database, contract=True)
        database.close()


@contextmanager
def a_site(server: str, name: str) -> Iterator[Site]:
    """With roles and logins, upgraded; its logins are gone afterwards, and the roles, which are the server's, stay."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        site = Site(url_of(server, name))
        try:
            site.apply_roles()
            site.run((FOLDER / "logins.sql").read_text())
            site.upgrade()
            yield site
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for login in LOGINS:
                connection.execute(f"DROP ROLE IF EXISTS {login}")


@contextmanager
def a_copy(server: str, name: str, of: Site) -> Iterator[Site]:
    """Of a site that nobody is connected to: quicker than another one."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {make_url(of.admin).database}")
        site = Site(url_of(server, name))
        try:
            site.apply_roles()  # what belongs to the database itself is not copied
            database = Database(site.url("ana_upgrades"))
            with database.transaction() as tx:
                custody.release(tx)  # a copy pays nothing by itself
            database.close()
            yield site
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def granted_by(site: Site, role: str) -> dict[str, set[str]]:
    """What the server lets a role do with each table: `SELECT`, or with some of its columns: `SELECT id`."""
    with psycopg.connect(site.admin) as connection:
        rows = connection.execute(
            "SELECT c.relname, v, has_table_privilege(%s, c.oid, v) FROM pg_class c CROSS JOIN unnest(%s::text[]) AS v "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')",
            [role, list(VERBS)],
        ).fetchall()
        columns = connection.execute(
            "SELECT c.relname, v, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "CROSS JOIN unnest(%s::text[]) AS v "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') "
            "AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(%s, c.oid, a.attnum, v)",
            [list(VERBS_OF_COLUMNS), role],
        ).fetchall()
    granted: dict[str, set[str]] = {table: set() for table, _, _ in rows}
    for table, verb, may in rows:
        if may:
            granted[table].add(verb)
    for table, verb, column in columns:
        if verb not in granted[table]:
            granted[table].add(f"{verb} {column}")
    return granted

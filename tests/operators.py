"""Several operators over one database: logins of their own on PostgreSQL, of the operating system on SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy.engine import make_url

from models import storage
from models.storage import Database

#: No names of deploy/postgresql/logins.sql, which tests make anew; they stay until the server goes away.
ANA, BRUNO, CARLA = "operator_ana", "operator_bruno", "operator_carla"


def url_as(database_url: str, operator: str) -> str:
    """Of a PostgreSQL database, as this login, which is made where it is not there."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [operator]).fetchone():
            connection.execute(f"CREATE ROLE {operator} LOGIN SUPERUSER".encode())
    return make_url(database_url).set(username=operator).render_as_string(hide_password=False)


@contextmanager
def acting_as(operator: str, database: Database) -> Iterator[Database]:
    """The database as this operator has it, while the context lasts."""
    if database.dialect == "sqlite":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage, "os_login", lambda: operator)
            yield database
        return
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    own = Database(url_as(url, operator))
    try:
        yield own
    finally:
        own.close()

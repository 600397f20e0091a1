"""Databases that tests copy from a template, and that lie where they lie: nobody has restored them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import psycopg

from models.storage import Database


def create_copy(server: str, name: str, *, template: str = "migrated") -> str:
    """A copy of a database on the same server, as whole as `db upgrade` leaves one. Returns its URL."""
    from tests.conftest import url_of

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    url = url_of(server, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE custody SET place = (SELECT system_identifier FROM pg_control_system()) || '/' "
            "|| (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    return url


def drop_copy(server: str, name: str) -> None:
    """Whoever is connected to it."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def take_copy(database: Database) -> Callable[[], None]:
    """A copy of the database as it is now. What is returned puts it back in its place, over what is there then.

    As point-in-time recovery does: the place stays the same, the journal is shorter. Nobody else may be connected
    while the copy is taken; whoever is connected when it is put back is cut off on PostgreSQL.
    """
    if database.dialect == "sqlite":
        path = str(database.url.database)
        _copy_file(path, f"{path}.copy")
        return lambda: _copy_file(f"{path}.copy", path)
    name, server = str(database.url.database), database.url.set(database="postgres", drivername="postgresql")
    address = server.render_as_string(hide_password=False)
    database.engine.dispose()
    create_copy(address, f"{name}_copy", template=name)

    def put_back() -> None:
        drop_copy(address, name)
        with psycopg.connect(address, autocommit=True) as connection:
            # Renamed, so that whoever looks at once finds it whole: its place is the one that it was given.
            connection.execute(f'ALTER DATABASE "{name}_copy" RENAME TO "{name}"')
        database.engine.dispose()

    return put_back


def _copy_file(source: str, target: str) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)

"""Backups of a test's database, put back in its place: it lies where it lay, and has forgotten what came after."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
from sqlalchemy import text

from models.storage import Database

_NUMBERS = itertools.count(1)


@contextmanager
def backups(database: Database) -> Iterator[Callable[[], Callable[[], None]]]:
    """What takes a backup; calling what that returns puts it back, as often as one likes.

    Nobody else may be connected meanwhile.
    """
    made: list[str] = []

    def take() -> Callable[[], None]:
        name = f"{database.url.database}_b{next(_NUMBERS)}"
        made.append(name)
        _copy(database, str(database.url.database), name)
        return lambda: _put_back(database, name)

    yield take
    if database.dialect != "sqlite":
        with psycopg.connect(_server(database), autocommit=True) as connection:
            for name in made:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _server(database: Database) -> str:
    return database.url.set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)


def _copy(database: Database, source: str, target: str) -> None:
    database.engine.dispose()
    if database.dialect == "sqlite":
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)
        return
    with psycopg.connect(_server(database), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')


def _put_back(database: Database, name: str) -> None:
    here = str(database.url.database)
    database.engine.dispose()
    if database.dialect != "sqlite":
        with psycopg.connect(_server(database), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{here}" WITH (FORCE)')
    _copy(database, name, here)
    _say_where(database)


def _say_where(database: Database) -> None:
    """As point-in-time recovery leaves it: the place is the same, the journal is shorter."""
    if database.dialect == "sqlite":
        return
    with database.transaction() as tx:
        tx.connection.execute(
            text(
                "UPDATE custody SET place = (SELECT system_identifier FROM pg_control_system()) || '/' "
                "|| (SELECT oid FROM pg_database WHERE datname = current_database()) WHERE place <> ''"
            )
        )

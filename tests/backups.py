"""Backups of a test's database, put back in its place: it lies where it lay, and has forgotten what came after."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from console import database as db_commands
from console.dashboard.board import Board
from console.dashboard.show import show_head
from console.log_files import working
from console.log_query import ask
from console.log_totals import read_totals
from console.log_verify import compare, verify
from console.tables import runs_as_json
from models.messages import CreditBatch
from models.restores import list_restores
from models.runs import list_summaries
from models.storage import Database, Tx
from models.tables import Run
from scheduler.seal import emit, seal
from tests.builders import batches_of
from tests.command_line import CommandLine, Outcome
from tests.installation import Installation
from tests.ledger import assert_books_agree

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


@dataclass
class Site:
    """An installation, its backups, and the command that goes on after a restore."""

    installation: Installation
    backup: Callable[[], Callable[[], None]]
    command: CommandLine

    def write_log(self) -> None:
        """Seal and emit all that happened."""
        while seal(self.installation.database):
            pass
        emit(self.installation.database, self.installation.log)

    def credit(self, run: Run, *, batches: int = 1_000) -> None:
        """What workers do with a run's open batches."""
        open_ = [batch for batch in batches_of(self.installation.database, run) if batch.state == "open"]
        for batch in open_[:batches]:
            self.installation.receive(CreditBatch(batch.id))

    def act(self, change: Callable[[Tx, int], object], run: Run) -> None:
        """One decision, in its own transaction."""
        with self.installation.database.transaction() as tx:
            change(tx, run.id)

    def restored(self, *words: object, files: list[Path] | None = None) -> Outcome:
        """`despensa db restored`."""
        return self.command.run(
            db_commands.app, "restored", *(files or [self.installation.settings.log]), "--yes", *words
        )

    def assert_log_equals_database(self) -> None:
        """Promise 6, over the restores, by every reader; and the books agree."""
        self.write_log()
        path = self.installation.settings.log
        totals = read_totals([path])
        proven = verify([path])
        with self.installation.database.reading() as tx:
            kept = list_summaries(tx, [run.id for run in tx.list(Run)])
            restores = list_restores(tx)
            behind = compare(tx, proven)
        assert (proven.faults, behind) == ([], 0)
        assert set(restores) <= set(proven.restores)
        assert runs_as_json(totals.summaries) == runs_as_json(kept)
        board = Board([path])
        board.catch_up()
        shown = {(run.run, run.state, run.credited, run.open_cases) for run in board.told.runs.values()}
        assert shown == {(each.run, each.state, each.counts.credited, each.counts.cases) for each in kept}
        told = show_head(board, now=self.installation.clock())
        assert (told.gaps, told.faults, len(told.restored)) == ([], [], len(proven.restores))
        with working() as connection:
            answer = ask(
                connection,
                "SELECT CAST(SUM(credited) AS BIGINT) FROM log WHERE event IN ('batch.credited', 'case.resolved')",
                [path],
            )
            ((credited,),) = answer.rows
        assert (credited or 0) == sum(each.counts.credited for each in kept)
        assert_books_agree(self.installation.database)


@contextmanager
def site_of(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Its backups are dropped in the end."""
    with backups(installation.database) as take:
        yield Site(installation, take, CommandLine(monkeypatch, installation.environment))

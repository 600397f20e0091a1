"""`db upgrade` and `db check`: the only way to a database, one at a time."""

import fcntl
import shutil
import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from console.database import app
from models import schema
from models.errors import Exit
from models.schema import DB_COMMAND_LOCK
from models.storage import Database
from tests.command_line import CommandLine
from tests.migration.planted import expand, plant, planted_revision

#: A leaf of an index without cells, whose content would begin at 4096. Source: SQLite's file format, 1.6.
EMPTY_INDEX_PAGE = bytes([10, 0, 0, 0, 0, 16, 0, 0])


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> CommandLine:
    """Of a migrated database."""
    redis = "redis://127.0.0.1:1" if database_url.startswith("postgresql") else ""
    settings = {"DESPENSA_HOME": str(tmp_path / "home"), "DESPENSA_DATABASE_URL": database_url}
    return CommandLine(monkeypatch, {**settings, "DESPENSA_REDIS_URL": redis})


@pytest.fixture
def newer_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This code, with one migration more than the database has."""
    monkeypatch.setattr(schema, "MIGRATIONS", plant(tmp_path, expand()))


def test_fresh_home_gets_a_database_for_its_owner_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(home)})

    missing = command_line.run(app, "check")
    upgraded = command_line.run(app, "upgrade")
    checked = command_line.run(app, "check", "--json")

    assert missing.code == Exit.NO_DATABASE
    assert missing.error is not None
    assert missing.error.hint == "despensa db upgrade"
    assert f"went from empty to {schema.head_revision()}" in upgraded.stderr
    assert checked.code == Exit.DONE
    assert checked.json["current"] is True
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "despensa.sqlite3").stat().st_mode & 0o777 == 0o600


def test_check_creates_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path / "none")})

    command_line.run(app, "check")

    assert not (tmp_path / "none").exists()


def test_upgrade_again_changes_nothing(command_line: CommandLine) -> None:
    outcome = command_line.run(app, "upgrade")

    assert outcome.code == Exit.DONE
    assert "nothing was changed" in outcome.stderr


def test_schema_behind_the_code_is_exit_10_until_upgraded(command_line: CommandLine, newer_code: None) -> None:
    before = command_line.run(app, "check")
    upgraded = command_line.run(app, "upgrade")
    after = command_line.run(app, "check")

    assert before.code == Exit.NO_DATABASE
    assert "hint: despensa db upgrade" in before.stderr
    assert f"to {planted_revision(1)}" in upgraded.stderr
    assert after.code == Exit.DONE


def test_schema_ahead_of_the_code_is_refused(command_line: CommandLine, database: Database) -> None:
    """An old worker must not write into a database whose rules it does not know."""
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))

    upgraded, checked = command_line.run(app, "upgrade"), command_line.run(app, "check")

    assert (upgraded.code, checked.code) == (Exit.NO_DATABASE, Exit.NO_DATABASE)
    assert "it is newer" in str(upgraded.error)


def test_second_db_command_is_refused_with_12(command_line: CommandLine, database_url: str, profile: str) -> None:
    if profile == "embedded":
        with Path(f"{database_url.removeprefix('sqlite:///')}.lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            outcome = command_line.run(app, "upgrade")
    else:
        with psycopg.connect(database_url, autocommit=True) as other_session:
            other_session.execute("SELECT pg_advisory_lock(%s)", [DB_COMMAND_LOCK])
            outcome = command_line.run(app, "upgrade")

    assert outcome.code == Exit.DB_COMMAND_AT_WORK
    assert command_line.run(app, "upgrade").code == Exit.DONE


def test_file_that_is_no_database_is_exit_10(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "despensa.sqlite3").write_bytes(b"this is text, and long enough to be taken for a header" * 9)
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})

    checked, upgraded = command_line.run(app, "check"), command_line.run(app, "upgrade")

    assert (checked.code, upgraded.code) == (Exit.NO_DATABASE, Exit.NO_DATABASE)
    assert "cannot be read as a database" in str(checked.error)


@pytest.mark.parametrize("header", [b"", EMPTY_INDEX_PAGE], ids=["page of zeros", "index without its rows"])
def test_damaged_file_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, migrated_sqlite: Path, header: bytes
) -> None:
    """What a bad disk leaves behind, and what a torn write does."""
    path = tmp_path / "despensa.sqlite3"
    shutil.copy(migrated_sqlite, path)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO journal (event, level, recorded_at, fields) VALUES ('e', 'info', 'now', '{}')")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ix_journal_run_id'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(header.ljust(size, b"\0"))
    command_line = CommandLine(monkeypatch, {"DESPENSA_HOME": str(tmp_path)})

    outcome = command_line.run(app, "check")

    assert outcome.code == Exit.FAILED
    assert "restore the last backup" in outcome.stderr

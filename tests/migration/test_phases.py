"""Expand, then contract: which code works on which schema, and what `db upgrade` may do while others are at work."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DatabaseError

from console.database import app
from models import schema
from models.errors import Exit, NoDatabase
from models.sightings import SEEN_WITHIN_S, see
from models.storage import Database, sqlite_url
from models.tables import CodeFloor, Sighting
from tests.command_line import CommandLine, Outcome
from tests.migration.planted import OURS, Planted, contract, expand, plant, planted_revision, sql

NEXT, AFTER_NEXT = planted_revision(1), planted_revision(2)
OWN = planted_revision(0)
NEW_COLUMN = sql("ALTER TABLE household ADD COLUMN note TEXT")
#: What the code of now reads with every list of its programmes.
DROPPED_COLUMN = sql("ALTER TABLE programme DROP COLUMN permitted_goods")

Release = Callable[..., None]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> CommandLine:
    """Of a migrated database."""
    redis = "redis://127.0.0.1:1" if database_url.startswith("postgresql") else ""
    settings = {"DESPENSA_HOME": str(tmp_path / "home"), "DESPENSA_DATABASE_URL": database_url}
    return CommandLine(monkeypatch, {**settings, "DESPENSA_REDIS_URL": redis})


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Release:
    """From now on commands are those of a release that knows these migrations besides ours; of none: this one."""

    def install(*migrations: Planted) -> None:
        monkeypatch.setattr(schema, "MIGRATIONS", plant(tmp_path, *migrations) if migrations else OURS)

    return install


def upgraded(command_line: CommandLine, *words: str) -> Outcome:
    return command_line.run(app, "upgrade", *words)


def floor_of(database: Database) -> str:
    with database.reading() as tx:
        return tx.get(CodeFloor).revision


def test_release_before_works_on_an_expanded_schema(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    """It says so, and its own `db upgrade`, as a roll-back runs it, leaves the schema as it is."""
    floor = floor_of(database)
    release(expand(NEW_COLUMN))
    assert upgraded(command_line).code == Exit.DONE

    release()
    checked = command_line.run(app, "check", "--json")
    again = upgraded(command_line)

    assert checked.code == Exit.DONE
    assert (checked.json["revision"], checked.json["usable"], checked.json["current"]) == (NEXT, True, False)
    assert "newer than this code" in str(checked.json["schema_fact"])
    assert "nothing was changed" in again.stderr
    assert floor_of(database) == floor


def test_release_before_is_refused_by_a_contracted_schema(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    release(contract(DROPPED_COLUMN))
    assert upgraded(command_line, "--contract").code == Exit.DONE

    release()
    checked, again = command_line.run(app, "check"), upgraded(command_line)

    assert (checked.code, again.code) == (Exit.NO_DATABASE, Exit.NO_DATABASE)
    assert f"needs code that knows {NEXT}" in checked.stdout
    assert "install the despensa that upgraded it" in checked.stderr
    assert floor_of(database) == NEXT


def test_contraction_waits_and_the_new_code_works_meanwhile(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    release(expand(NEW_COLUMN), contract(DROPPED_COLUMN))

    outcome = upgraded(command_line)
    found = schema.require_current(database)

    assert (outcome.code, schema.current_revision(database)) == (Exit.DONE, NEXT)
    assert f"{AFTER_NEXT} may follow" in outcome.stderr
    assert "hint: despensa db upgrade --contract" in outcome.stderr
    assert (found.usable, found.hint) == (True, "despensa db upgrade --contract")


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_contraction_is_refused_while_an_older_release_was_seen_lately(
    command_line: CommandLine, database: Database, release: Release, role: str
) -> None:
    see(database, role)
    release(expand(), contract(DROPPED_COLUMN))

    refused = upgraded(command_line, "--contract")
    with database.transaction() as tx:
        tx.connection.execute(update(Sighting).values(seen_at=tx.now - timedelta(seconds=SEEN_WITHIN_S + 1)))
    done = upgraded(command_line, "--contract")

    assert refused.code == Exit.FAILED
    assert f"{role} " in str(refused.error) and f"{AFTER_NEXT} waits" in str(refused.error)
    assert done.code == Exit.DONE
    assert (schema.current_revision(database), floor_of(database)) == (AFTER_NEXT, AFTER_NEXT)


def test_contraction_does_not_wait_for_its_own_release(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    release(contract(DROPPED_COLUMN))
    see(database, "worker")

    assert upgraded(command_line, "--contract").code == Exit.DONE


def test_sighting_by_code_that_did_not_say_what_it_is_counts_as_older(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    with database.transaction() as tx:
        tx.connection.execute(
            text("INSERT INTO sighting (role, instance, seen_at) VALUES ('worker', 'old:1', :now)"),
            {"now": tx.now if tx.dialect == "postgresql" else tx.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
        )
    release(contract(DROPPED_COLUMN))

    assert "worker old:1" in str(upgraded(command_line, "--contract").error)


def test_expansion_behind_a_contraction_waits_for_it(
    command_line: CommandLine, database: Database, release: Release
) -> None:
    """A month that skips a release: what this code needs is there only after what the older one cannot bear."""
    release(contract(), expand(NEW_COLUMN))

    stopped = upgraded(command_line)
    checked = command_line.run(app, "check")
    done = upgraded(command_line, "--contract")

    assert (stopped.code, checked.code, done.code) == (Exit.DONE, Exit.NO_DATABASE, Exit.DONE)
    assert "hint: despensa db upgrade --contract" in checked.stderr
    assert schema.require_current(database).current == AFTER_NEXT


def test_empty_database_gets_everything_at_once(tmp_path: Path, release: Release) -> None:
    release(expand(NEW_COLUMN), contract(DROPPED_COLUMN))
    database = Database(sqlite_url(tmp_path / "fresh.sqlite3"))

    before, after = schema.upgrade(database)

    assert (before, after, floor_of(database)) == (None, AFTER_NEXT, AFTER_NEXT)
    database.close()


def test_what_came_before_a_failed_migration_stays(database: Database, release: Release) -> None:
    """Each is a transaction of its own; of the failed one nothing is left."""
    release(expand(NEW_COLUMN), expand(sql("ALTER TABLE household ADD COLUMN more TEXT", "SELECT nonsense")))

    with pytest.raises((DatabaseError, NoDatabase)):
        schema.upgrade(database)

    assert schema.current_revision(database) == NEXT
    with database.reading() as tx:
        columns = set(tx.connection.execute(text("SELECT * FROM household")).keys())
    assert "note" in columns and "more" not in columns


@pytest.mark.parametrize("revision", ["f00d", "0000", "ae1027a6acf2"])
def test_schema_of_no_number_of_ours_is_refused(database: Database, revision: str) -> None:
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    with pytest.raises(NoDatabase, match="does not know"):
        schema.require_current(database)


def test_process_that_outlives_its_files_is_of_the_release_that_it_was_started_from(
    database: Database, release: Release, tmp_path: Path
) -> None:
    """An installation upgraded in place: the old worker must not be taken for a new one, and be contracted away."""
    release(expand())
    started_with = schema.head_revision()
    versions = schema.MIGRATIONS / "versions"
    newer = (versions / f"{NEXT}_planted.py").read_text().replace(NEXT, AFTER_NEXT).replace(f'"{OWN}"', f'"{NEXT}"')
    (versions / f"{AFTER_NEXT}_planted.py").write_text(newer)

    see(database, "worker")

    with database.reading() as tx:
        assert tx.get(Sighting).revision == started_with == NEXT


@pytest.mark.parametrize("path", sorted((OURS / "versions").glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_migration_says_why_and_which_phase_and_has_the_next_number(path: Path) -> None:
    """Code and schema are compared by these numbers."""
    text_of = path.read_text()

    found = {name: re.findall(rf'^{name} = "?(\w+)"?$', text_of, re.MULTILINE) for name in
             ("revision", "down_revision", "PHASE")}  # fmt: skip

    number = int(path.name[:4])
    assert found["revision"] == [f"{number:04}"]
    assert found["down_revision"] == ([f"{number - 1:04}"] if number > 1 else ["None"])
    assert found["PHASE"] in (["expand"], ["contract"])
    assert "\nWhy: " in text_of


def test_migration_of_no_phase_is_refused(release: Release, database: Database) -> None:
    release(Planted("contrat", "pass"))

    with pytest.raises(KeyError, match="contrat"):
        schema.look_at(database)

"""The two profiles, and what tests stand on: servers, migrated databases, installations.

Every test of behaviour that asks for `database` or `installation` runs in both profiles.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings

from models import schema
from models.storage import Database, sqlite_url
from tests import servers
from tests.copies import create_copy, drop_copy
from tests.faults import report
from tests.installation import Installation

PROFILES = ("embedded", "distributed")

hypothesis_settings.register_profile("despensa", deadline=None, derandomize=True)
hypothesis_settings.load_profile("despensa")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the servers of the distributed profile come from, and how often the campaign causes each fault."""
    parser.addoption("--servers", choices=("wheels", "debian"), default="wheels")
    parser.addoption("--faults", choices=("short", "long"), default="short")


@pytest.fixture
def servers_from(request: pytest.FixtureRequest) -> str:
    """Wheels, or Debian's: for tests that start servers of their own."""
    return str(request.config.getoption("--servers"))


@pytest.fixture
def long_campaign(request: pytest.FixtureRequest) -> bool:
    """Whether faults are caused as often as for the published table, and not only as often as CI has time for."""
    return bool(request.config.getoption("--faults") == "long")


@pytest.fixture
def record_fault(record_property: Callable[[str, object], None]) -> Callable[[report.Row], None]:
    """Puts a row into the table that ends the campaign. A test records before it asserts."""

    def record(row: report.Row) -> None:
        record_property(report.PROPERTY, row.as_json())

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the campaign's table."""
    tests = [each for outcome in ("passed", "failed") for each in terminalreporter.stats.get(outcome, [])]
    rows = [row for each in tests for name, row in each.user_properties if name == report.PROPERTY]
    if rows:
        terminalreporter.section("faults")
        for line in report.table(rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL server with the template `migrated`."""
    with servers.postgresql(request.config.getoption("--servers")) as server:
        url = server.url
        with psycopg.connect(url, autocommit=True) as connection:
            # No test pulls the plug of the server; what is shown is crashes of workers and schedulers.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET max_connections = 200")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE migrated")
        migrated = Database(url_of(url, "migrated"))
        schema.upgrade(migrated)
        migrated.close()
        yield url


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server; tests are kept apart by their namespace."""
    with servers.redis_server(request.config.getoption("--servers"), tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite3"
    database = Database(sqlite_url(path))
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    """Embedded or distributed."""
    return str(request.param)


@pytest.fixture
def database_url(profile: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    if profile == "embedded":
        path = tmp_path / "home" / "despensa.sqlite3"
        path.parent.mkdir()
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield sqlite_url(path)
        return
    server = request.getfixturevalue("postgresql")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    yield create_copy(server, name)
    drop_copy(server, name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def postgresql_database(postgresql: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """For what can only be shown on PostgreSQL: row locks, two sessions at a time."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    database = Database(create_copy(postgresql, name))
    yield database
    database.close()
    drop_copy(postgresql, name)


@pytest.fixture
def installation(
    profile: str, database: Database, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """Everything that a process of this profile works with."""
    redis_url = request.getfixturevalue("redis_url") if profile == "distributed" else ""
    namespace = f"t{abs(hash(request.node.nodeid)):x}"[:30]
    with Installation.open(
        tmp_path / "home", database, database_url=database_url, redis_url=redis_url, namespace=namespace
    ) as installation:
        yield installation


def url_of(server: str, name: str) -> str:
    """The URL of another database of the same server."""
    address, _, query = server.partition("?")
    return f"{address.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")

"""A database with roles is backed up by the login that is for it, and put back by the commands of the runbook."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from models.backup import Backup, save
from models.custody import find_reason
from models.errors import DespensaError
from models.kept_head import KeptHead
from models.rights import ROLES
from models.storage import Database
from tests.builders import TIJUANA, a_programme, families
from tests.commands import ROOT
from tests.conftest import url_of
from tests.ledger import count
from tests.roles import Site, a_site, granted_by
from tests.servers import postgresql_programs

pytestmark = pytest.mark.long

NOW = datetime(2026, 12, 1, 20, 15, 30, tzinfo=UTC)


@pytest.fixture
def site(postgresql: str, servers_from: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With two families in it, and PostgreSQL's programs at hand."""
    programs = postgresql_programs(servers_from)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with a_site(postgresql, "backed_up") as site:
        with opened(site.url("ana_upgrades")) as database:
            families(database, a_programme(database), 2, location=TIJUANA)
        yield site


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def backup_of(site: Site, folder: Path, *, login: str = "despensa_backup") -> Backup:
    with opened(site.url(login)) as database:
        return save(database, folder, now=NOW)


def commands_of_the_page() -> str:
    """What the runbook tells a superuser to do."""
    section = (ROOT / "deploy/RUNBOOK.md").read_text().partition("\n## Restoring\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^ *```\n(.*?)^ *```", section, flags=re.DOTALL | re.MULTILINE)
    return str(block)


@contextmanager
def restored(server: str, saved: Backup) -> Iterator[Site]:
    """By the page's commands, as the superuser; then upgraded, as it says."""
    where = make_url(server)
    environment = {**os.environ, "PGHOST": str(where.query["host"]), "PGUSER": str(where.username)}
    site = Site(url_of(server, "despensa_new"))
    try:
        script = commands_of_the_page().replace("FILE", str(saved.path))
        subprocess.run(["sh", "-euc", script], check=True, cwd=ROOT, env=environment)
        site.upgrade()
        yield site
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS despensa_new WITH (FORCE)")


def test_backup_is_made_by_its_own_login_and_put_back_by_the_page(site: Site, postgresql: str, tmp_path: Path) -> None:
    """The same tables, rights and doors as before; and it pays nothing yet."""
    saved = backup_of(site, tmp_path)

    with restored(postgresql, saved) as new, opened(new.url("despensa_worker")) as database:
        assert count(database, "SELECT COUNT(*) FROM household") == 2
        for role in ROLES:
            assert granted_by(new, role) == granted_by(site, role)
            assert "restored, or copied" in find_reason(database, KeptHead(tmp_path / "nothing-kept"))
        for each in (site, new):
            assert doors_of(each) == {"PUBLIC": set(), "setting": "search_path=public, pg_temp"}


def doors_of(site: Site) -> dict[str, object]:
    """What the database itself has, which no dump carries."""
    with psycopg.connect(site.admin) as connection:
        public = connection.execute(
            "SELECT privilege_type FROM pg_database, aclexplode(datacl) "
            "WHERE datname = current_database() AND grantee = 0"
        ).fetchall()
        settings = connection.execute(
            "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0 "
            "AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchall()
    (search_path,) = (each for (each,) in settings if each.startswith("search_path"))
    return {"PUBLIC": {name for (name,) in public}, "setting": search_path}


def test_backup_as_a_service_is_refused(site: Site, tmp_path: Path) -> None:
    """It may not read the sequences. Nothing half-made is left."""
    with pytest.raises(DespensaError, match=r"permission denied|SELECT privilege"):
        backup_of(site, tmp_path, login="despensa_worker")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET state = 'paused'",
        "INSERT INTO voucher (id, key_version) VALUES (70000001, 1)",
        "CREATE TABLE x (y INT)",
    ],
)
def test_who_makes_backups_writes_nothing(site: Site, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        site.run("SET default_transaction_read_only = off", statement, login="despensa_backup")


def test_large_object_of_somebody_does_not_stop_the_backup(site: Site, postgresql: str, tmp_path: Path) -> None:
    """Everybody may make one, and who makes backups may not read it; despensa has none."""
    site.run("SELECT lo_create(0)", login="ana")

    saved = backup_of(site, tmp_path)

    with restored(postgresql, saved) as new:
        new.run("SELECT 1 FROM run", login="despensa_worker")

"""What despensa writes is readable by its owner alone, and no core dump is left: both would hold keys and families."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from models.tables import Programme
from tests.builders import a_programme, families_due
from tests.commands import despensa, running
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def open_handed() -> Iterator[None]:
    """A host whose files anybody may read, unless a program says otherwise."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def test_files_are_readable_by_their_owner_alone(installation: Installation, open_handed: None) -> None:
    """Database, log, keys, heads, locks, hand-over files and backups, written by real commands."""
    home = installation.settings.home
    with FakeStore.open() as store:
        programme = a_programme(installation.database, store_url=store.url)
        with installation.database.transaction() as tx:
            tx.connection.execute(update(Programme).values(payday_time="00:00"))
        cycle = families_due(installation.database, programme, 70, now=datetime.now(UTC))
        keys, backups = home / "made-keys", home / "backups"
        backups.mkdir(mode=0o700)
        ours = {**installation.environment, "DESPENSA_KEYS_DIR": str(keys)}
        for words in (("keys", "init"), ("keys", "rotate", "pin")):
            done = despensa(*words, environment=ours)
            assert done.code == 0, done.err
        if installation.distributed:
            with running("worker", environment=ours):
                assert despensa("run", "start", environment=ours).code == 0
        else:
            assert despensa("run", "start", environment=ours).code == 0
        exported = despensa(
            "voucher", "export", f"{cycle}/02004", "--out", str(home / "v.csv"), "--yes", environment=ours
        )
        assert exported.code == 0, exported.err
        if not installation.distributed:  # that of PostgreSQL needs its programs: tests/integration/test_backup.py
            saved = despensa("db", "backup", str(backups), environment=ours)
            assert saved.code == 0, saved.err

    open_ = {
        str(path.relative_to(home)): oct(path.stat().st_mode & 0o777)
        for path in home.rglob("*")
        if path.stat().st_mode & 0o077 and not path.is_symlink() and path.is_file() and path.name != "despensa.sqlite3"
    }
    assert open_ == {}


def test_no_process_leaves_a_core_dump(installation: Installation) -> None:
    """Whatever the shell that started it allows."""
    with running("scheduler", environment=installation.environment) as service:
        limits = Path(f"/proc/{service.pid}/limits")
        until(lambda: "Max core file size        0                    0 " in limits.read_text(), what="the limit")

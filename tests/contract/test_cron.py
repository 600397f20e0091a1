"""The line for cron, run by a shell as cron runs it: what it does, and what of it is mailed."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from models.errors import Exit
from models.storage import Database
from models.tables import Programme
from tests.builders import CITIES, a_programme, cycle_due, families, families_due, vouchers_of
from tests.commands import LIMIT_S, ROOT
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.ledger import assert_books_agree

CRONTAB = ROOT / "deploy" / "cron" / "despensa"
#: Debian's cron takes no longer command.
COMMAND_MAX = 998
FAMILIES = 70

pytestmark = pytest.mark.parametrize("profile", ["embedded"], indirect=True)


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Every store of the programme."""
    with FakeStore.open() as store:
        yield store


@pytest.fixture
def command(installation: Installation, tmp_path: Path) -> str:
    """The line's command, with this installation's program and settings at the two places that it names."""
    program, settings = tmp_path / "despensa", tmp_path / "despensa.env"
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m console.main "$@"\n')
    program.chmod(0o755)
    settings.write_text(f"DESPENSA_HOME='{installation.settings.home}'\n")
    command = line_of_crontab().split(maxsplit=6)[6]
    for named, ours in (("/opt/despensa/.venv/bin/despensa", program), ("/etc/despensa/despensa.env", settings)):
        assert command.count(named) == 1
        command = command.replace(named, str(ours))
    return command


def line_of_crontab() -> str:
    """The one that is no comment and no variable."""
    lines = [
        line for line in CRONTAB.read_text().splitlines() if line and line[0] != "#" and "=" not in line.split()[0]
    ]
    assert len(lines) == 1
    return lines[0]


def mailed(*started: "subprocess.Popen[str]") -> list[str]:
    """What cron would mail of each: all that it prints."""
    return [process.communicate(timeout=LIMIT_S)[0] for process in started]


def start(command: str) -> "subprocess.Popen[str]":
    """With the little that cron sets."""
    return subprocess.Popen(
        ["/bin/sh", "-c", command], cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/", "LOGNAME": "despensa"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def enrol(database: Database, store: FakeStore, *, approval: str = "policy", fund_minor: int = 10**12) -> None:
    """Families whose payday was at the first minute of this month."""
    programme = a_programme(database, store_url=store.url, approval=approval, funds_minor=[fund_minor])
    with database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    families_due(database, programme, FAMILIES, now=datetime.now(UTC))


def test_line_is_one_that_cron_reads(command: str) -> None:
    """Hourly, as a user of its own; a percent sign would end the command."""
    fields = line_of_crontab().split(maxsplit=6)

    assert fields[:6] == ["0", "*", "*", "*", "*", "despensa"]
    assert "%" not in fields[6]
    assert len(fields[6]) <= COMMAND_MAX
    assert CRONTAB.read_text().endswith("\n")


def test_nothing_due_mails_nothing(installation: Installation, store: FakeStore, command: str) -> None:
    programme = a_programme(installation.database, store_url=store.url)
    families(installation.database, programme, 7, first_cycle=cycle_due(datetime.now(UTC)).plus(2))

    assert mailed(start(command)) == [""]


@pytest.mark.long
def test_month_is_credited_once_by_two_at_once_and_another(
    installation: Installation, store: FakeStore, command: str
) -> None:
    """An hour may begin before the last one's month is over. Nobody is mailed that all is well."""
    enrol(installation.database, store)

    at_once = mailed(start(command), start(command))
    again = mailed(start(command))

    assert (at_once, again) == (["", ""], [""])
    assert len(vouchers_of(installation.database)) == FAMILIES
    assert len(set(store.webhook_ids)) == len(CITIES)
    assert_books_agree(installation.database)


def test_what_waits_for_a_person_is_not_mailed(installation: Installation, store: FakeStore, command: str) -> None:
    """Not every hour of a night: cases and pauses neither, by the same list."""
    enrol(installation.database, store, approval="person")
    silent = {Exit.DONE, Exit.WITH_CASES, Exit.WAITING_FOR_APPROVAL, Exit.PAUSED_OR_CANCELLED}

    assert mailed(start(command)) == [""]
    assert "|".join(str(int(code)) for code in sorted(silent)) in command


def test_failure_is_mailed_with_its_reason(installation: Installation, store: FakeStore, command: str) -> None:
    enrol(installation.database, store, fund_minor=1)

    (mail,) = mailed(start(command))

    assert mail.endswith(f"despensa run start: exit {int(Exit.FAILED)}\n")
    assert "fund" in mail


@pytest.mark.parametrize("missing", ["despensa.env", "home/despensa.sqlite3"])
def test_line_without_its_settings_or_its_database_is_mailed(tmp_path: Path, command: str, missing: str) -> None:
    (tmp_path / missing).unlink()

    (mail,) = mailed(start(command))

    assert Path(missing).name in mail

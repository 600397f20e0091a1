"""The lines for cron, run by a shell as cron runs it: what it does, and what of it is mailed."""

import re
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

pytestmark = [pytest.mark.parametrize("profile", ["embedded"], indirect=True), pytest.mark.long]


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Every store of the programme."""
    with FakeStore.open() as store:
        yield store


@pytest.fixture
def commands(installation: Installation, tmp_path: Path) -> list[str]:
    """The lines' commands, with this installation's program, settings and folder where they name them."""
    program, settings = tmp_path / "despensa", tmp_path / "despensa.env"
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m console.main "$@"\n')
    program.chmod(0o755)
    outgoing = f"DESPENSA_OUTGOING_NETWORKS='{installation.settings.outgoing_networks}'\n"
    settings.write_text(f"DESPENSA_HOME='{installation.settings.home}'\n{outgoing}")
    commands = [line.split(maxsplit=6)[6] for line in lines_of_crontab()]
    for named, ours in (("/opt/despensa/.venv/bin/despensa", program), ("/etc/despensa/despensa.env", settings)):
        assert [command.count(named) for command in commands] == [1, 1]
        commands = [command.replace(named, str(ours)) for command in commands]
    return [command.replace("/var/backups/despensa", str(tmp_path / "backups")) for command in commands]


@pytest.fixture
def command(commands: list[str]) -> str:
    """Of the line that starts what is due."""
    return commands[0]


def lines_of_crontab() -> list[str]:
    """Those that are no comment and no variable: what is due, and the backup."""
    lines = CRONTAB.read_text().splitlines()
    return [line for line in lines if line and line[0] != "#" and "=" not in line.split()[0]]


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


@pytest.mark.parametrize(("number", "when"), [(0, "0 * * * *"), (1, "17 3 * * *")])
def test_line_is_one_that_cron_reads(profile: str, number: int, when: str) -> None:
    """Hourly, and nightly, as a user of its own; a percent sign would end the command."""
    fields = lines_of_crontab()[number].split(maxsplit=6)

    assert [*when.split(), "despensa"] == fields[:6]
    assert "%" not in fields[6]
    assert len(fields[6]) <= COMMAND_MAX
    assert CRONTAB.read_text().endswith("\n")


def test_backup_is_made_in_silence_and_its_failure_mailed(commands: list[str], tmp_path: Path) -> None:
    (failed,) = mailed(start(commands[1]))
    (tmp_path / "backups").mkdir(mode=0o700)
    (made,) = mailed(start(commands[1]))

    assert "there is no folder" in failed
    assert made == ""
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_page_makes_the_folders_that_systemd_would(profile: str) -> None:
    page = (ROOT / "deploy" / "README.md").read_text()
    shell = re.findall(r"(?m)^install -d -m (\S+) -o (\S+) -g (\S+) (.+)$", page)
    made = {(path, mode, owner, group) for mode, owner, group, paths in shell for path in paths.split()}
    lines = (ROOT / "deploy" / "systemd" / "tmpfiles.conf").read_text().splitlines()

    # The others are of distributed installations, and of whoever ships the log.
    assert len(made) == 4
    assert made <= {tuple(line.split()[1:]) for line in lines}


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

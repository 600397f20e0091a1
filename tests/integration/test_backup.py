"""`despensa db backup`: whole or not there, of one instant, and no bar to the month that is being paid meanwhile."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from console.database import app
from models import backup
from models.backup import Backup, find_programs, save
from models.custody import find_backup_instant, find_reason, get_head
from models.errors import AnotherCommandAtWork, DespensaError, Exit, Misconfigured, NoDatabase, RefusedInput, Restored
from models.kept_head import KEY, Head, KeptHead
from models.messages import CreditBatch
from models.schema import DB_COMMAND_LOCK
from models.storage import Database, sqlite_url
from models.tables import Programme
from tests.builders import TIJUANA, a_programme, a_released_run, batches_of, families, vouchers_of
from tests.command_line import CommandLine
from tests.commands import despensa
from tests.copies import create_copy, drop_copy
from tests.installation import Installation
from tests.integration.test_db_command import EMPTY_INDEX_PAGE
from tests.ledger import assert_books_agree
from tests.servers import postgresql_programs

pytestmark = pytest.mark.long

NOW = datetime(2026, 12, 1, 20, 15, 30, tzinfo=UTC)
#: A program of this name that is used before all others.
SCRIPT = "#!/bin/sh\n{}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For backups."""
    path = tmp_path / "backups"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def programs(profile: str, servers_from: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those of the server, found on PATH; Debian's are not looked for."""
    found = postgresql_programs(servers_from)
    monkeypatch.setenv("PATH", f"{found}:{os.environ['PATH']}")
    monkeypatch.setattr(backup, "DEBIAN_PROGRAMS", Path("/nowhere"))
    return found


def a_script(folder: Path, name: str, lines: str) -> None:
    """A program of the test's own."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(SCRIPT.format(lines))
    (folder / name).chmod(0o700)


@contextmanager
def restored(saved: Backup, database: Database, programs: Path) -> Iterator[Database]:
    """The backup, where nothing was before."""
    if saved.path.suffix == ".sqlite3":
        path = saved.path.with_name("restored")
        shutil.copy(saved.path, path)
        with closing(Database(sqlite_url(path))) as there:
            yield there
        path.unlink()
        return
    name = f"{database.url.database}_restored"
    server = database.url.set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    there_url = database.url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([programs / "pg_restore", f"--dbname={there_url}", "--exit-on-error", saved.path], check=True)
    with closing(Database(there_url)) as there:
        yield there
    drop_copy(server, name)


def test_backup_is_whole_private_and_told(
    installation: Installation, programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    families(installation.database, a_programme(installation.database), 3, location=TIJUANA)
    installation.ticker().tick()
    with installation.database.reading() as tx:
        head = get_head(tx)

    outcome = CommandLine(monkeypatch, installation.environment).run(app, "backup", folder, "--json")

    (path,) = folder.iterdir()
    assert outcome.code == Exit.DONE
    assert (outcome.json["path"], outcome.json["head_seq"]) == (str(path), head.seq)
    assert path.stat().st_mode & 0o777 == 0o600
    told = [line for line in installation.lines() if line["event"] == "database.saved"]
    assert [(line["file"], line["bytes"], line["head_seq"], line["file_digest"]) for line in told] == [
        (path.name, path.stat().st_size, head.seq, outcome.json["sha256"])
    ]
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
    assert digest == outcome.json["sha256"]


def test_name_says_when_and_of_which_schema(database: Database, programs: Path, folder: Path) -> None:
    from models.schema import head_revision

    saved = save(database, folder, now=NOW)

    assert saved.path.name.endswith(f"-20261201T201530Z-{head_revision()}{saved.path.suffix}")


@pytest.mark.long
def test_backup_while_vouchers_are_credited_reconciles_where_it_is_restored(
    installation: Installation, programs: Path, folder: Path
) -> None:
    """Batches are under way before, while and after it is written; in it, each is done or is not."""
    database = installation.database
    programme = a_programme(database)
    families(database, programme, 1200, location=TIJUANA)
    run = a_released_run(database, programme, batch_lines=4)
    ticker = installation.ticker()
    taken: list[tuple[int, Backup, int]] = []

    with installation.workers():
        while len(vouchers_of(database, run)) < 1200:
            ticker.work()
            before = len(vouchers_of(database, run))
            saved = save(database, folder, now=NOW + timedelta(seconds=len(taken)))
            taken.append((before, saved, len(vouchers_of(database, run))))

    half_way = [each for each in taken if 0 < each[0] < each[2]]
    assert half_way, taken
    before, saved, after = half_way[0]
    with restored(saved, database, programs) as there:
        assert before <= len(vouchers_of(there)) <= after
        assert_books_agree(there)
        with there.reading() as tx:
            assert get_head(tx).seq == saved.head_seq
            backup_at = find_backup_instant(tx)
        reason = find_reason(there, KeptHead(folder / "none"))
    assert backup_at == (NOW + timedelta(seconds=taken.index(half_way[0])) if not installation.distributed else None)
    assert reason.startswith("this is a backup of 2026-12-01" if not installation.distributed else "it lies at ")


def put_back(saved: Backup, installation: Installation, programs: Path) -> None:
    """As an operator does: the file to where the old one was, or a database of the old name."""
    installation.database.close()
    if not installation.distributed:
        path = Path(str(installation.database.url.database))
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        shutil.copy(saved.path, path)
        return
    name = installation.database.url.database
    server = installation.database.url.set(database="postgres", drivername="postgresql")
    address = server.render_as_string(hide_password=False)
    drop_copy(address, str(name))
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    where = f"--dbname={installation.settings.database_url}"
    subprocess.run([programs / "pg_restore", where, "--exit-on-error", saved.path], check=True)


def test_backup_that_is_put_back_pays_nothing(installation: Installation, programs: Path, folder: Path) -> None:
    """Though nobody has kept a head, and nothing was paid since: what it has forgotten only the logs know."""
    saved = save(installation.database, folder, now=NOW)
    put_back(saved, installation, programs)

    ended = despensa("run", "start", environment=installation.environment)

    assert ended.code == Exit.BOOKS_DISAGREE, ended.err
    assert "hint: despensa db restored" in ended.err


def test_drill_from_a_lost_database_to_the_rest_of_the_month(
    installation: Installation, programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved in mid-month, lost at its end: held, compared with the log, and every family has the voucher it had."""
    database, command_line = installation.database, CommandLine(monkeypatch, installation.environment)
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    batches = batches_of(database, run)
    installation.receive(CreditBatch(batches[0].id))
    installation.ticker().work()
    saved = save(database, folder, now=NOW)
    for batch in batches[1:]:
        installation.receive(CreditBatch(batch.id))
    installation.ticker().work()
    before = vouchers_of(database)

    put_back(saved, installation, programs)
    with pytest.raises(Restored):
        installation.ticker().work()
    installation.receive(CreditBatch(batches[1].id))
    forgotten = vouchers_of(database)
    outcome = command_line.run(app, "restored", installation.settings.log, "--yes")
    reason = find_reason(database, KeptHead.of(installation.settings, installation.broker.client))
    for batch in batches[1:]:
        installation.receive(CreditBatch(batch.id))
    installation.ticker().work()

    assert (len(before), len(forgotten)) == (30, 10)
    assert (outcome.code, reason) == (Exit.DONE, ""), outcome.stderr
    assert vouchers_of(database) == before
    assert_books_agree(database)


def test_comparison_releases_a_database_that_nobody_had_marked(
    installation: Installation, programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared at once, before any service came by; and nothing was forgotten: it still lies in another place."""
    families(installation.database, a_programme(installation.database), 1, location=TIJUANA)
    installation.ticker().tick()
    put_back(save(installation.database, folder, now=NOW), installation, programs)

    command_line = CommandLine(monkeypatch, installation.environment)
    outcome = command_line.run(app, "restored", installation.settings.log, "--yes")

    assert outcome.code == Exit.DONE, outcome.stderr
    installation.ticker().work()


@pytest.mark.parametrize(
    ("head", "code"),
    [(Head(1, "a" * 64), Exit.BOOKS_DISAGREE), (Head(999, "a" * 64), Exit.MISUSED)],
    ids=["of a rehearsal in the same home folder", "forged, beyond all logs"],
)
def test_head_of_another_database_holds_this_one_until_it_is_deleted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, head: Head, code: Exit
) -> None:
    """As the runbook goes on. No log can tell it from what was forgotten: a person must."""
    settings, command_line = installation.settings, CommandLine(monkeypatch, installation.environment)
    families(installation.database, a_programme(installation.database), 1, location=TIJUANA)
    installation.ticker().tick()
    KeptHead.of(settings, installation.broker.client).replace(head)
    with pytest.raises(Restored):
        installation.ticker().tick()
    refused = command_line.run(app, "restored", settings.log, "--yes")
    settings.head.unlink()
    installation.broker.client.delete(f"{settings.namespace}:{KEY}")

    outcome = command_line.run(app, "restored", settings.log, "--yes")

    assert refused.code == code
    assert outcome.code == Exit.DONE, outcome.stderr
    assert installation.ticker().tick().errors == []


def test_logs_that_end_before_the_kept_head_are_not_enough(
    installation: Installation, programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, log = installation.database, installation.settings.log
    families(database, a_programme(database, code="first"), 1, location=TIJUANA)
    installation.ticker().work()
    saved = save(database, folder, now=NOW)
    lines = log.read_bytes()
    a_programme(database, code="second")
    a_released_run(database, _with_a_family(database, "third"))
    installation.ticker().work()
    log.write_bytes(lines)
    put_back(saved, installation, programs)

    outcome = CommandLine(monkeypatch, installation.environment).run(app, "restored", log, "--yes")

    assert outcome.code == Exit.MISUSED
    assert "the head that was kept is beyond these files" in str(outcome.error)


def _with_a_family(database: Database, code: str) -> Programme:
    programme = a_programme(database, code=code)
    families(database, programme, 1, location=TIJUANA, prefix=code)
    return programme


def test_nothing_is_overwritten(database: Database, programs: Path, folder: Path) -> None:
    first = save(database, folder, now=NOW)
    before = first.path.read_bytes()

    with pytest.raises(RefusedInput, match="never overwritten"):
        save(database, folder, now=NOW)

    assert first.path.read_bytes() == before
    assert list(folder.iterdir()) == [first.path]


def test_oldest_go_only_once_the_new_one_is_whole(
    database: Database, programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not write itself it leaves alone; and the new one stays, though a clock was ahead before."""
    kept_by_hand = [folder / "despensa.sqlite3", folder / "other-20261201T201530Z-0005.dump"]
    for each in kept_by_hand:
        each.touch()
    first, second, third = (save(database, folder, now=NOW + timedelta(days=day)) for day in (1, 2, 3))

    with monkeypatch.context() as broken:
        broken.setattr(backup, "name_it", _fail)
        with pytest.raises(DespensaError, match="cannot be written"):
            save(database, folder, now=NOW, keep=1)
    before = set(folder.iterdir())
    behind = save(database, folder, now=NOW, keep=2)

    assert before == {first.path, second.path, third.path, *kept_by_hand}
    assert set(folder.iterdir()) == {behind.path, third.path, *kept_by_hand}
    assert behind.removed == (first.path, second.path)


def _fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_backups_of_another_installation_of_the_same_name_stay(
    database: Database, programs: Path, folder: Path, tmp_path: Path
) -> None:
    """Production's and a rehearsal's, on one disk for backups: both databases are called despensa."""
    theirs = save(database, folder, now=NOW)
    half_written = folder / f".{theirs.path.name}.part"
    half_written.touch()

    with closing(_another_of_its_name(database, tmp_path)) as other:
        ours = save(other, folder, now=NOW, keep=1)

    assert set(folder.iterdir()) == {theirs.path, half_written, ours.path}


def _another_of_its_name(database: Database, tmp_path: Path) -> Database:
    if database.dialect == "sqlite":
        path = tmp_path / "elsewhere" / "despensa.sqlite3"
        path.parent.mkdir()
        shutil.copy(str(database.url.database), path)
        return Database(sqlite_url(path))
    server = database.url.set(database="postgres", drivername="postgresql").render_as_string(hide_password=False)
    database.close()
    drop_copy(server, str(database.url.database))
    return Database(create_copy(server, str(database.url.database)))


def test_what_a_killed_backup_left_behind_is_removed(database: Database, programs: Path, folder: Path) -> None:
    saved = save(database, folder, now=NOW)
    left = folder / f".{saved.path.name}.part"
    left.write_bytes(b"half")

    later = save(database, folder, now=NOW + timedelta(days=1))

    assert set(folder.iterdir()) == {saved.path, later.path}


def test_another_db_command_at_work_is_exit_12(
    database: Database, database_url: str, programs: Path, folder: Path, profile: str
) -> None:
    if profile == "embedded":
        with Path(f"{database_url.removeprefix('sqlite:///')}.lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(AnotherCommandAtWork):
                save(database, folder, now=NOW)
    else:
        with psycopg.connect(database_url, autocommit=True) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [DB_COMMAND_LOCK])
            with pytest.raises(AnotherCommandAtWork):
                save(database, folder, now=NOW)

    assert list(folder.iterdir()) == []


def test_folder_that_is_not_there_is_exit_2(database: Database, programs: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedInput) as caught:
        save(database, tmp_path / "none", now=NOW)

    assert caught.value.hint == f"mkdir -p -m 700 {tmp_path / 'none'}"


def test_no_database_is_exit_10(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NoDatabase):
        save(Database(sqlite_url(tmp_path / "none.sqlite3")), folder, now=NOW)

    assert not (tmp_path / "none.sqlite3").exists()


@pytest.mark.parametrize("header", [b"", EMPTY_INDEX_PAGE], ids=["page of zeros", "index without its rows"])
def test_damaged_file_is_not_kept_as_a_backup(
    migrated_sqlite: Path, tmp_path: Path, folder: Path, header: bytes
) -> None:
    path = tmp_path / "damaged.sqlite3"
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

    with pytest.raises(DespensaError, match=r"damaged|could not be copied"):
        save(Database(sqlite_url(path)), folder, now=NOW)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
@pytest.mark.parametrize(
    "spoil",
    ["truncate -s -1000 $file", "head -c 3000 /dev/zero > $file", "exit 1"],
    ids=["cut short", "zeros", "failed"],
)
def test_dump_that_cannot_be_read_again_is_not_kept(
    database: Database, programs: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    """A full disk, a bad one: what has no end is no backup, though its list of contents can be read."""
    families(database, a_programme(database), 2000, location=TIJUANA)
    a_script(
        tmp_path / "bin", "pg_dump",
        f'{programs}/pg_dump "$@" || exit\nfor word; do case $word in --file=*) file=${{word#--file=}};; esac; done\n'
        f'[ "$1" = --version ] || {spoil}',
    )  # fmt: skip
    (tmp_path / "bin" / "pg_restore").symlink_to(programs / "pg_restore")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    with pytest.raises(DespensaError, match=r"pg_(restore|dump) failed"):
        save(database, folder, now=NOW)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_head_that_is_told_is_the_one_in_the_dump(
    database: Database, programs: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a scheduler seals before pg_dump has looked."""
    address = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    seal = f"{programs}/psql --quiet --dbname='{address}' --command='UPDATE journal_head SET seq = seq + 1'"
    a_script(tmp_path / "bin", "pg_dump", f'[ "$1" = --version ] || {seal} || exit\nexec {programs}/pg_dump "$@"')
    (tmp_path / "bin" / "pg_restore").symlink_to(programs / "pg_restore")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    saved = save(database, folder, now=NOW)

    with restored(saved, database, programs) as there, there.reading() as tx, database.reading() as now:
        assert (get_head(tx).seq, get_head(now).seq) == (saved.head_seq, saved.head_seq + 1)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
@pytest.mark.parametrize("in_query", [False, True])
def test_password_stands_on_no_command_line(
    database: Database, programs: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_query: bool
) -> None:
    told = tmp_path / "told"
    a_script(
        tmp_path / "bin", "pg_dump",
        f'echo "$@" >> {told}\necho "$PGPASSWORD" >> {told}.password\nexec {programs}/pg_dump "$@"',
    )  # fmt: skip
    (tmp_path / "bin" / "pg_restore").symlink_to(programs / "pg_restore")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    url = database.url.update_query_dict({"password": "hunter2"}) if in_query else database.url.set(password="hunter2")
    with_password = Database(url.render_as_string(hide_password=False))

    save(with_password, folder, now=NOW)

    with_password.close()
    assert "--format=custom" in told.read_text()
    assert "hunter2" not in told.read_text()
    assert "hunter2" in Path(f"{told}.password").read_text()


@pytest.mark.parametrize(
    ("versions", "used"),
    [({}, None), ({"path": 14}, None), ({"path": 15}, "path"), ({"path": 14, "17": 17, "16": 16}, "16")],
    ids=["none", "older", "the same", "the lowest that is new enough"],
)
def test_program_must_be_as_new_as_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, int], used: str | None
) -> None:
    for where, version in versions.items():
        programs = tmp_path / where / "bin"
        programs.parent.mkdir()
        a_script(programs, "pg_dump", f'echo "pg_dump (PostgreSQL) {version}.3 (Debian {version}.3-1)"')
        a_script(programs, "pg_restore", "")
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    monkeypatch.setattr(backup, "DEBIAN_PROGRAMS", tmp_path)

    if used is None:
        with pytest.raises(Misconfigured, match="needs pg_dump of 15 or newer") as caught:
            find_programs(15)
        assert "postgresql-client-15" in str(caught.value.hint)
    else:
        assert find_programs(15)[0] == tmp_path / used / "bin" / "pg_dump"

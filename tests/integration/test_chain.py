"""Whoever changes what the journal told is found, also whoever owns files or database and chains all of it anew.

Real months in real files, and in the database. A head that was kept elsewhere is what a forger cannot give back.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from console import logs
from console.main import app
from console.run import app as run_app
from models.columns import instant_text
from models.errors import Exit, Restored
from models.heads_file import ClosedHead, HeadsFile, read_heads
from models.journal import GENESIS, chain_hash, hash_of_line
from models.kept_head import Head, KeptHead
from models.messages import CreditBatch
from models.reconcile import reconcile
from models.storage import Query, Tx
from models.tables import JournalHead, Seal
from scheduler.books_watch import BooksWatch
from scheduler.cancel import cancel
from scheduler.heads import ClosedHeads
from scheduler.seal import seal
from tests.builders import NOGALES, TIJUANA, a_programme, a_released_run, batches_of, families
from tests.command_line import CommandLine
from tests.installation import Installation

pytestmark = pytest.mark.long

Line = dict[str, Any]

#: What it is about are files, whichever database they come from.
FILES_ALONE = pytest.mark.parametrize("profile", ["embedded"])

LIST_JOURNAL = Query("""
-- list_journal: what is sealed, in order
SELECT j.id, j.event, j.recorded_at, j.fields FROM seal s JOIN journal j ON j.id = s.journal_id ORDER BY s.seq
""")
COPY_EVENT = text(
    "INSERT INTO journal (id, event, level, run_id, recorded_at, fields) "
    "SELECT :new, event, level, run_id, recorded_at, fields FROM journal WHERE id = :id"
)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, installation: Installation) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def heads(installation: Installation, tmp_path: Path) -> Path:
    """What somebody elsewhere has kept of a month in two cities; a third one is at work, behind the last head."""
    database = installation.database
    programme = a_programme(database)
    for location in (TIJUANA, NOGALES, "08037"):
        families(database, programme, 20, location=location)
        run = a_released_run(database, programme, location=location)
        for batch in batches_of(database, run)[: 1 if location == "08037" else 9]:
            installation.receive(CreditBatch(batch.id))
        installation.ticker().work()
    copy = tmp_path / "elsewhere"
    copy.write_bytes(installation.settings.heads.read_bytes())
    assert len(read_heads(copy)) == 2
    return copy


def sealed_lines(installation: Installation) -> list[Line]:
    """Of the log, in order."""
    return sorted((line for line in installation.lines() if "seq" in line), key=lambda line: int(str(line["seq"])))


def chained(lines: list[Line]) -> list[Line]:
    """The same with places and hashes that hold: what a forger does who knows the rule."""
    prev_hash, done = GENESIS, []
    for seq, line in enumerate(lines, start=1):
        prev_hash = hash_of_line(prev_hash, {**line, "seq": seq})
        done.append({**line, "seq": seq, "hash": prev_hash})
    return done


def first_credit(lines: list[Line]) -> int:
    return next(place for place, line in enumerate(lines) if line["event"] == "batch.credited")


def edit(lines: list[Line]) -> None:
    lines[first_credit(lines)]["credited_minor"] -= 50_000


def delete(lines: list[Line]) -> None:
    del lines[first_credit(lines)]


def insert(lines: list[Line]) -> None:
    place = first_credit(lines)
    lines.insert(place, {**lines[place], "credited_minor": 100})


def swap(lines: list[Line]) -> None:
    place = first_credit(lines)
    before, after = lines[place - 1], lines[place]
    lines[place - 1], lines[place] = {**after, "seq": before["seq"]}, {**before, "seq": after["seq"]}


def cut(lines: list[Line]) -> None:
    last = max(place for place, line in enumerate(lines) if line["event"] == "run.completed")
    del lines[last:]


DAMAGES = [edit, delete, insert, swap, cut]


@FILES_ALONE
def test_damage_of_the_log_is_found_by_heads_that_were_kept(
    command_line: CommandLine, installation: Installation, heads: Path, tmp_path: Path
) -> None:
    """Each damage as it is, and chained anew."""
    forged = tmp_path / "forged.jsonl"
    for damage in DAMAGES:
        for rebuilt in (False, True):
            lines = sealed_lines(installation)
            damage(lines)
            forged.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in (chained(lines) if rebuilt else lines)))

            alone = command_line.run(logs.app, "verify", forged)
            held = command_line.run(logs.app, "verify", forged, "--heads", heads)

            # That the end is missing, and that all was chained anew, only a head shows.
            only_by_heads = rebuilt or damage is cut
            told = f"{damage.__name__}, {rebuilt}: {held.error}"
            assert held.code == Exit.BOOKS_DISAGREE, told
            assert alone.code == (Exit.DONE if only_by_heads else Exit.BOOKS_DISAGREE), told
            assert ("that was kept" in str(held.error)) >= only_by_heads, told


@FILES_ALONE
def test_whole_log_has_the_heads_that_were_kept(
    command_line: CommandLine, installation: Installation, heads: Path
) -> None:
    whole = command_line.run(logs.app, "verify", installation.settings.log, "--heads", heads)

    assert whole.code == Exit.DONE
    assert "heads     2 that were kept are where they were" in whole.stdout


def as_owner(tx: Tx) -> None:
    """Whoever owns the tables takes their guards away first."""
    for table in ("journal", "seal"):
        if tx.dialect == "sqlite":
            for verb in ("update", "delete"):
                tx.connection.execute(text(f"DROP TRIGGER {table}_refuses_{verb}"))
        else:
            tx.connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))


def forge_journal(tx: Tx, damage: Callable[[list[Line]], None]) -> None:
    """Make the database tell what the damaged lines tell, chained anew from the first line to the head."""
    as_owner(tx)
    connection, rows = tx.connection, tx.all(LIST_JOURNAL)
    lines = [{**orjson.loads(row.fields), "event": row.event, "seq": 0, "": row} for row in rows]
    damage(lines)
    connection.execute(text("DELETE FROM seal"))
    prev_hash, used = GENESIS, set()
    for seq, line in enumerate(lines, start=1):
        row, journal_id = line[""], line[""].id if line[""].id not in used else 10_000 + seq
        fields = {name: each for name, each in line.items() if name not in ("event", "seq", "")}
        if journal_id != row.id:
            connection.execute(COPY_EVENT, {"new": journal_id, "id": row.id})
        used.add(journal_id)
        told = {"fields": orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode(), "id": journal_id}
        connection.execute(text("UPDATE journal SET fields = :fields WHERE id = :id"), told)
        at = instant_text(row.recorded_at)
        digest = chain_hash(prev_hash, seq=seq, event=row.event, timestamp=at, fields=fields)
        values = {"seq": seq, "id": journal_id, "prev_hash": prev_hash, "hash": digest}
        connection.execute(text("INSERT INTO seal VALUES (:seq, :id, :prev_hash, :hash)"), values)
        prev_hash = digest
    for row in rows:
        if row.id not in used:
            connection.execute(text("DELETE FROM journal WHERE id = :id"), {"id": row.id})
    head = {"seq": len(lines), "hash": prev_hash}
    connection.execute(text("UPDATE journal_head SET seq = :seq, hash = :hash, emitted_seq = :seq"), head)


class _Undone(Exception):
    """So that the next damage is done to the whole journal again."""


def test_chain_that_the_owner_of_the_database_has_made_anew_is_found_by_heads_that_were_kept(
    installation: Installation, heads: Path
) -> None:
    """The chain alone holds: whoever made it anew knows the rule as well as we do."""
    for damage in DAMAGES:
        with suppress(_Undone), installation.database.transaction() as tx:
            forge_journal(tx, damage)

            found = [each.check for each in reconcile(tx, kept=read_heads(heads))]

            assert [each for each in found if each.startswith("seal")] == [], damage.__name__
            assert [each for each in found if each.startswith("kept head")] != [], damage.__name__
            raise _Undone


def test_command_compares_with_a_file_that_was_kept_elsewhere(
    command_line: CommandLine, installation: Installation, heads: Path
) -> None:
    """The owner of the database has reached this host's own file, too."""
    installation.settings.heads.unlink()
    (installation.settings.home / "journal-head").unlink()
    with installation.database.transaction() as tx:
        forge_journal(tx, edit)

    held = command_line.run(run_app, "reconcile", "--json", "--heads", heads)

    found: list[dict[str, str]] = held.json["differences"]  # type: ignore[assignment]
    assert held.code == Exit.BOOKS_DISAGREE
    assert any(each["check"].startswith("kept head") for each in found)


def test_scheduler_holds_the_books_against_the_heads_of_its_host(installation: Installation, heads: Path) -> None:
    """Once an hour, without anybody asking."""
    with installation.database.transaction() as tx:
        forge_journal(tx, edit)
        tx.connection.execute(text("UPDATE run SET state = 'paused' WHERE state = 'released'"))
    watch = BooksWatch(installation.database, installation.log, installation.settings.heads)

    watch.reconcile_if_due()

    told = [line for line in installation.lines() if line["event"] == "books.disagreed"]
    assert "kept" in str(told[0]["checks"])


def test_whole_journal_agrees_with_its_heads(command_line: CommandLine, heads: Path) -> None:
    outcome = command_line.run(run_app, "reconcile", "--heads", heads)

    assert outcome.code == Exit.DONE
    assert "ok  the chain has the hashes that were kept outside the database" in outcome.stdout


def test_head_is_kept_for_each_run_that_was_closed_with_the_hash_of_its_place(
    installation: Installation, heads: Path
) -> None:
    path = installation.settings.heads
    with installation.database.reading() as tx:
        seals = {each.seq: each.hash for each in tx.list(Seal)}
    lines = sealed_lines(installation)

    kept = [line.split() for line in path.read_text().splitlines()]

    assert [run for *_, run in kept] == ["northern-mexico/2026-12/02004", "northern-mexico/2026-12/26043"]
    for at, seq, digest, _ in kept:
        assert seals[int(seq)] == digest
        (line,) = (line for line in lines if line["seq"] == int(seq))
        assert (line["event"], line["timestamp"]) == ("run.completed", at)
    assert path.stat().st_mode & 0o777 == 0o600


def test_cancelled_run_has_its_head_too(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    with installation.database.transaction() as tx:
        cancel(tx, run.id)

    installation.ticker().work()

    assert "northern-mexico/2026-12/02004" in installation.settings.heads.read_text()


def test_head_that_a_crash_kept_from_the_file_is_added_by_the_next_tick(
    installation: Installation, heads: Path
) -> None:
    """Killed after the seal and before the file: another process goes on where the file ends."""
    path = installation.settings.heads
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first)

    installation.ticker().work()

    assert path.read_bytes() == first + second


def test_head_of_a_run_that_another_scheduler_has_sealed_is_added_on_this_host(
    installation: Installation, heads: Path, tmp_path: Path
) -> None:
    other = ClosedHeads(HeadsFile(tmp_path / "other-host" / "journal-heads"))

    assert (other.keep(installation.database), other.keep(installation.database)) == (2, 0)

    assert (tmp_path / "other-host" / "journal-heads").read_bytes() == heads.read_bytes()


@FILES_ALONE
def test_torn_line_is_passed_over_and_written_again_below(installation: Installation, heads: Path) -> None:
    path = installation.settings.heads
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:-30])

    installation.ticker().work()

    assert path.read_bytes() == first + second[:-30] + b"\n" + second
    assert [head.seq for head in read_heads(path)] == [int(line.split()[1]) for line in (first, second)]


@FILES_ALONE
def test_what_stands_in_the_file_is_never_changed(installation: Installation, heads: Path) -> None:
    before = installation.settings.heads.read_bytes()

    installation.ticker().work()
    ClosedHeads(HeadsFile(installation.settings.heads)).keep(installation.database)

    assert installation.settings.heads.read_bytes() == before


def test_file_that_cannot_be_written_stops_neither_crediting_nor_the_log_and_is_made_up_for(
    installation: Installation,
) -> None:
    """As a full disk does."""
    path = installation.settings.heads
    path.mkdir()
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    run = a_released_run(installation.database, programme)
    ticker = installation.ticker()
    for batch in batches_of(installation.database, run):
        installation.receive(CreditBatch(batch.id))

    result = ticker.work()
    path.rmdir()
    ticker.work()

    assert result.closed == 1
    assert any(line["event"] == "run.completed" for line in installation.lines())
    failed = [line for line in installation.lines() if line["event"] == "tick.failed"]
    assert {line["step"] for line in failed} == {"heads"}
    assert len(read_heads(path)) == 1


class FullOnce(HeadsFile):
    """On a disk that has room again at the second attempt."""

    full = True

    def append(self, heads: Iterable[ClosedHead]) -> None:
        """As the file's own, but once."""
        if self.full:
            self.full = False
            raise OSError(28, "No space left on device")
        HeadsFile.append(self, heads)


@FILES_ALONE
def test_head_for_which_there_was_no_room_is_added_by_the_same_process(
    installation: Installation, heads: Path, tmp_path: Path
) -> None:
    """It must not take for looked at what it could not write."""
    closed = ClosedHeads(FullOnce(tmp_path / "full"))
    with pytest.raises(OSError, match="No space left"):
        closed.keep(installation.database)

    closed.keep(installation.database)

    assert read_heads(tmp_path / "full") == read_heads(heads)


@FILES_ALONE
def test_heads_before_the_first_of_the_lines_are_counted_and_no_fault(
    command_line: CommandLine, installation: Installation, heads: Path, tmp_path: Path
) -> None:
    """A part of the log proves nothing of what was before it, and says so."""
    after = read_heads(heads)[0].seq
    part = tmp_path / "part.jsonl"
    part.write_bytes(
        b"".join(orjson.dumps(line) + b"\n" for line in sealed_lines(installation) if int(str(line["seq"])) > after)
    )

    outcome = command_line.run(logs.app, "verify", part, "--heads", heads)

    assert outcome.code == Exit.DONE
    assert "heads     1 that were kept are where they were" in outcome.stdout
    assert "heads     1 that were kept are of places before these lines" in outcome.stdout


@FILES_ALONE
@pytest.mark.parametrize("content", [None, "", "no head\n", "7 " + "a" * 64 + "\n", "\x00" * 100])
def test_file_that_holds_no_head_is_refused(command_line: CommandLine, tmp_path: Path, content: str | None) -> None:
    """Otherwise whoever empties it would have proven everything."""
    path = tmp_path / "heads"
    if content is not None:
        path.write_text(content)
    log = tmp_path / "log"
    log.write_bytes(b"")

    outcomes = [command_line.run(app, "logs", "verify", log, "--heads", path)]
    outcomes.append(command_line.run(app, "run", "reconcile", "--heads", path))

    assert [outcome.code for outcome in outcomes] == [Exit.MISUSED] * 2


@FILES_ALONE
def test_more_closes_than_fit_into_one_look_are_all_kept(
    installation: Installation, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.heads.CHUNK", 1)
    file = HeadsFile(tmp_path / "one-by-one")

    assert ClosedHeads(file).keep(installation.database) == 2
    assert read_heads(tmp_path / "one-by-one") == read_heads(heads)


def test_kept_head_notices_a_journal_that_was_chained_anew_before_anything_is_paid(
    installation: Installation, heads: Path
) -> None:
    """The last head of all, which schedulers keep for restores: nobody has to look."""
    with installation.database.transaction() as tx:
        forge_journal(tx, edit)
    ticker = installation.ticker()
    ticker.kept = KeptHead.of(installation.settings, installation.broker.client)

    with pytest.raises(Restored, match="has another line"):
        ticker.tick()


def test_line_of_a_head_is_read_as_it_was_written() -> None:
    closed = ClosedHead("2026-12-01T17:16:41.220069Z", Head(29, "a" * 64), "northern-mexico/2026-12/02004.2")

    assert closed.line() == b"2026-12-01T17:16:41.220069Z 29 " + b"a" * 64 + b" northern-mexico/2026-12/02004.2\n"


@FILES_ALONE
def test_seal_that_nobody_has_kept_is_what_the_head_row_says(installation: Installation, heads: Path) -> None:
    """What is behind the last close is bound by the journal's head alone: the page says so."""
    while seal(installation.database):
        pass
    with installation.database.reading() as tx:
        head = tx.get(JournalHead, JournalHead.id == 1)

    assert head.seq > read_heads(heads)[-1].seq

"""The log tells the whole truth: every committed event once in the chain, and nothing that was rolled back."""

import pytest
from sqlalchemy import TextClause, text

from models.journal import GENESIS, hash_of_line
from models.log import Log
from models.tables import Journal, JournalHead, Seal
from scheduler.seal import MARK_EMITTED, emit, emit_again, seal
from tests.builders import TIJUANA, a_planned_run, a_programme, a_released_run, families
from tests.installation import Installation
from tests.ledger import assert_books_agree
from tests.races import failing_at

AT = "2026-12-01T00:00:00.000000Z"


def journalled(installation: Installation) -> list[dict[str, object]]:
    """The sealed lines of the log."""
    return [line for line in installation.lines() if "seq" in line]


def test_lines_carry_an_unbroken_chain_from_genesis(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 30, location=TIJUANA)
    a_released_run(installation.database, programme)

    while seal(installation.database, limit=2):
        pass
    emit(installation.database, installation.log)

    prev_hash = GENESIS
    for seq, line in enumerate(journalled(installation), start=1):
        assert line["seq"] == seq
        prev_hash = hash_of_line(prev_hash, line)  # type: ignore[arg-type]
        assert line["hash"] == prev_hash
    assert [line["event"] for line in journalled(installation)[1:]] == ["run.planned", "run.approved", "run.released"]
    assert_books_agree(installation.database)


def test_changed_line_breaks_its_hash(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    a_planned_run(installation.database, programme)
    seal(installation.database)
    emit(installation.database, installation.log)
    line = journalled(installation)[0]

    line["planned"] = 4

    assert hash_of_line(GENESIS, line) != line["hash"]  # type: ignore[arg-type]


def test_event_of_a_transaction_that_rolled_back_is_never_told(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)

    from scheduler.batches import INSERT_BATCHES

    with failing_at(installation.database, INSERT_BATCHES, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        a_planned_run(installation.database, programme)
    installation.ticker().work()

    assert [line["event"] for line in journalled(installation)] == ["fund.deposited"]


def test_crash_between_writing_and_marking_writes_the_same_lines_again(installation: Installation) -> None:
    """At least once: a reader drops a repeated seq with an equal hash."""
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    a_planned_run(installation.database, programme)
    seal(installation.database)

    with failing_at(installation.database, MARK_EMITTED, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        emit(installation.database, installation.log)
    emit(installation.database, installation.log)

    lines = journalled(installation)
    assert len(lines) == 4
    assert lines[:2] == lines[2:]


def test_late_commit_of_an_early_event_is_sealed(installation: Installation) -> None:
    """What has no seal is asked for, never what lies above a watermark: ids are taken before they are committed."""
    database = installation.database
    with database.transaction() as tx:
        for event_id in (5, 7):
            tx.connection.execute(_journal_row(), {"id": event_id, "at": AT})
    seal(database)
    with database.transaction() as tx:
        tx.connection.execute(_journal_row(), {"id": 6, "at": AT})

    assert seal(database) == 1

    with database.reading() as tx:
        assert [row.journal_id for row in tx.list(Seal)] == [5, 7, 6]
        assert tx.get(JournalHead, JournalHead.id == 1).seq == 3
        assert len(tx.list(Journal)) == 3


def test_any_part_can_be_written_again_anywhere(installation: Installation) -> None:
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    a_released_run(installation.database, programme)
    installation.ticker().work()
    told = journalled(installation)

    elsewhere = installation.settings.home / "elsewhere.jsonl"
    with Log.to_file(elsewhere, "despensa") as log:
        assert emit_again(installation.database, log, from_seq=2) == len(told) - 1

    import orjson

    assert [orjson.loads(line) for line in elsewhere.read_bytes().splitlines()] == told[1:]


def test_log_that_was_rotated_goes_on_in_a_new_file(installation: Installation) -> None:
    log = installation.settings.log
    programme = a_programme(installation.database)
    families(installation.database, programme, 3, location=TIJUANA)
    a_planned_run(installation.database, programme)
    installation.ticker().work()
    log.rename(log.with_suffix(".1"))

    installation.ticker().tick()

    assert log.stat().st_mode & 0o777 == 0o600
    assert journalled(installation)[0]["event"] == "run.approved"


def _journal_row() -> TextClause:
    return text(
        "INSERT INTO journal (id, event, level, recorded_at, fields) VALUES (:id, 'secret.rotated', 'info', :at, '{}')"
    )

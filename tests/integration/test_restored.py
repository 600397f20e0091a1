"""A backup is put back: what the database has forgotten is learned from the logs, and nothing is paid twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from console.log_verify import verify
from models.custody import get_head, hold
from models.errors import Exit
from models.events import AttemptFinished
from models.kept_head import Head, KeptHead
from models.restores import list_restores
from models.tables import LostRun
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.discard import discard
from scheduler.pause import pause, resume
from scheduler.release import release
from scheduler.seal import emit_again, seal
from tests.backups import Site, site_of
from tests.builders import (
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    families,
    run_again,
    vouchers_of,
)
from tests.installation import Installation

pytestmark = pytest.mark.long

JUAREZ = "08037"


@pytest.fixture
def site(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nothing has happened yet."""
    with site_of(installation, monkeypatch) as found:
        yield found


def test_known_run_goes_on_with_the_same_numbers(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.credit(run, batches=1)
    site.write_log()
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    before = vouchers_of(database, run)
    put_back()

    outcome = site.restored("--json")
    site.credit(run)

    assert outcome.code == Exit.DONE, outcome.stderr
    assert vouchers_of(database, run) == before
    assert len(before) == 30
    site.assert_log_equals_database()


def test_run_that_the_backup_does_not_have_is_lost(site: Site) -> None:
    """Its number is never given again, and neither is any other that the logs mention."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 60)
    known = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    lost = a_released_run(database, programme, location=NOGALES)
    site.credit(lost)
    site.write_log()
    put_back()

    outcome = site.restored("--json")

    assert outcome.code == Exit.WAITING_FOR_APPROVAL
    assert [each["run"] for each in outcome.json["lost_runs"]] == [f"2026-12/{NOGALES}"]  # type: ignore[attr-defined]
    with database.reading() as tx:
        row = tx.get(LostRun)
    assert (row.run_id, row.credited, row.credited_minor, row.exported) == (
        lost.id, lost.lines, lost.planned_minor, 0,
    )  # fmt: skip
    assert [run_again(database, known).state] == ["released"]
    with database.transaction() as tx:
        tx.connection.execute(text("UPDATE lost_run SET outcome = 'not_handed_over', decided_at = opens_at FROM run"))
    assert a_planned_run(database, programme, location=JUAREZ).id == lost.id + 1_001
    site.assert_log_equals_database()


def test_plan_that_was_never_released_is_not_held(site: Site) -> None:
    """It reserved nothing, and nobody was paid: its slot is planned anew."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    a_planned_run(database, programme)
    site.write_log()
    put_back()

    outcome = site.restored("--json")

    assert outcome.code == Exit.DONE
    assert outcome.json["lost_runs"] == []
    site.assert_log_equals_database()


def test_repeating_it_changes_nothing_and_says_so(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    put_back()
    site.restored()

    at_once = site.restored("--json")
    site.write_log()
    later = site.restored("--json")

    assert (at_once.json["changed"], later.json["changed"]) == (False, False)
    assert (at_once.code, later.code) == (Exit.DONE, Exit.DONE)
    assert "nothing was changed" in later.stderr
    with database.reading() as tx:
        assert len(list_restores(tx)) == 1


def test_dry_run_changes_nothing(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    site.credit(a_released_run(database, programme))
    site.write_log()
    put_back()

    outcome = site.restored("--dry-run", "--json")

    assert outcome.json["changed"] is False
    assert len(outcome.json["lost_runs"]) == 1  # type: ignore[arg-type]
    with database.reading() as tx:
        assert (list_restores(tx), tx.list(LostRun)) == ([], [])


def test_halting_decisions_halt_again(site: Site) -> None:
    """Paused, cancelled and discarded runs must not go on as if nobody had said so; a resumed one goes on."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 70)
    paused = a_released_run(database, programme, location=TIJUANA)
    resumed = a_released_run(database, programme, location=NOGALES)
    cancelled = a_released_run(database, programme, location=JUAREZ)
    dropped = a_planned_run(database, programme, location="02002")
    planned = a_planned_run(database, programme, location="05025")
    site.write_log()
    put_back = site.backup()
    for run in (paused, resumed):
        site.act(lambda tx, run_id: pause(tx, run_id, reason="wrong list"), run)
    site.act(resume, resumed)
    site.act(cancel, cancelled)
    site.act(settle_cancelled, cancelled)
    site.act(discard, dropped)
    site.act(lambda tx, run_id: approve_by_policy(tx, run_id, now=PAYDAY), planned)
    site.act(lambda tx, run_id: release(tx, run_id, now=PAYDAY), planned)
    site.act(cancel, planned)
    site.write_log()
    put_back()

    outcome = site.restored("--json")

    assert outcome.code == Exit.DONE
    states = [run_again(database, run).state for run in (paused, resumed, cancelled, planned)]
    assert states == ["paused", "released", "paused", "planned"]
    assert outcome.json["discarded_runs"] == ["2026-12/02002"]
    assert outcome.json["remembered_runs"] == [{"run": "2026-12/05025", "halted": True}]
    again = {each["event"] for each in outcome.json["again"]}  # type: ignore[attr-defined]
    assert {"run.paused", "run.stopped", "run.discarded"} <= again
    site.assert_log_equals_database()


def test_logs_of_another_database_are_refused(site: Site, tmp_path: Path) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme)
    site.write_log()
    put_back()
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_bytes(site.installation.settings.log.read_bytes())
    families(database, programme, 5, location=NOGALES)
    other = a_released_run(database, programme, location=NOGALES)
    while seal(database):
        pass

    outcome = site.restored(files=[elsewhere])

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert "went on by itself" in str(outcome.error)
    assert run.id == other.id


def test_backup_that_gave_a_number_by_itself_is_refused(site: Site) -> None:
    """Its last seal is in the logs; but one run id means two runs by now."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme, location=TIJUANA)
    site.write_log()
    put_back()
    assert a_planned_run(database, programme, location=NOGALES).id == run.id

    outcome = site.restored()

    assert outcome.code == Exit.BOOKS_DISAGREE
    assert "went on by itself" in str(outcome.error)


def test_changed_line_is_refused(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    put_back = site.backup()
    a_released_run(database, programme)
    site.write_log()
    put_back()
    path = site.installation.settings.log
    path.write_bytes(path.read_bytes().replace(b'"planned":30', b'"planned":31'))

    outcome = site.restored()

    assert outcome.code == Exit.BOOKS_DISAGREE
    with database.reading() as tx:
        assert list_restores(tx) == []


def test_missing_lines_are_named_and_with_incomplete_every_run_waits(site: Site) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 60)
    released = a_released_run(database, programme, location=TIJUANA)
    planned = a_planned_run(database, programme, location=NOGALES)
    site.write_log()
    put_back = site.backup()
    lost = a_released_run(database, programme, location=JUAREZ)
    site.credit(lost)
    site.write_log()
    put_back()
    path = site.installation.settings.log
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"run.planned"' not in line or JUAREZ.encode() not in line))

    refused = site.restored()
    outcome = site.restored("--incomplete", "--json")

    assert refused.code == Exit.MISUSED
    assert "1 lines since the backup are in none of these files" in str(refused.error)
    assert outcome.code == Exit.WAITING_FOR_APPROVAL
    assert outcome.json["missing"] == 1
    assert run_again(database, released).state == "paused"
    assert outcome.json["remembered_runs"] == [{"run": f"2026-12/{NOGALES}", "halted": True}]
    assert run_again(database, planned).state == "planned"
    assert [each["credited"] for each in outcome.json["lost_runs"]] == [lost.lines]  # type: ignore[attr-defined]
    site.assert_log_equals_database()


def test_two_restores_in_a_row_are_both_left_out(site: Site) -> None:
    """The same backup twice, then a later one: what was paid in a time that was voided is still known as paid."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 60)
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    lost = a_released_run(database, programme, location=NOGALES)
    site.credit(lost)
    site.write_log()
    put_back()
    site.restored()
    site.write_log()
    put_back_later = site.backup()
    site.credit(run, batches=1)
    site.write_log()
    put_back()

    again = site.restored("--json")
    with database.reading() as tx:
        first = tx.get(LostRun)
    site.assert_log_equals_database()
    put_back_later()
    refused = site.restored("--json")

    assert [each["run_id"] for each in again.json["lost_runs"]] == [lost.id]  # type: ignore[attr-defined]
    assert (first.run_id, first.credited) == (lost.id, lost.lines)
    assert refused.code == Exit.BOOKS_DISAGREE
    assert "declared void" in str(refused.error)


def test_lost_run_of_a_programme_that_the_backup_does_not_have_needs_its_import(site: Site) -> None:
    database = site.installation.database
    site.write_log()
    put_back = site.backup()
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    site.credit(a_released_run(database, programme))
    site.write_log()
    put_back()

    refused = site.restored()
    a_programme(database)
    outcome = site.restored("--json")

    assert refused.code == Exit.FAILED
    assert "which this backup does not have" in str(refused.error)
    assert outcome.code == Exit.WAITING_FOR_APPROVAL
    assert len(outcome.json["lost_runs"]) == 1  # type: ignore[arg-type]
    site.assert_log_equals_database()


def test_operational_lines_count_for_numbers_and_an_absurd_one_is_refused(site: Site) -> None:
    """Nothing proves them; but a run that only an attempt mentions was there."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 10, location=TIJUANA)
    a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    put_back()
    with database.transaction() as tx:
        hold(tx, "it was restored")
    attempt = AttemptFinished(
        actor="credit_batch", message_id="m", subject_id=77, run_id=5_000, outcome="credited", duration_ms=1
    )
    site.installation.log.observe(attempt)

    outcome = site.restored("--json", "--dry-run")
    site.installation.log.observe(replace(attempt, run_id=10**12))
    refused = site.restored()

    numbers = outcome.json["numbers"]
    assert isinstance(numbers, dict)
    assert (numbers["run"], numbers["batch"]) == (6_000, 1_000_077)
    assert refused.code == Exit.MISUSED
    assert "which no installation reaches" in str(refused.error)


def test_every_missing_line_may_have_given_a_number(site: Site) -> None:
    """Otherwise a run that only lost lines tell of, and the next one, would share voucher numbers and PINs."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    put_back()
    last_seq = verify([site.installation.settings.log]).last_seq
    kept = KeptHead.of(site.installation.settings, site.installation.broker.client)
    kept.replace(Head(last_seq + 10**12, "a" * 64))

    refused = site.restored("--incomplete")
    kept.replace(Head(last_seq + 5_000, "a" * 64))
    outcome = site.restored("--incomplete", "--json")
    run = a_planned_run(database, programme)

    assert refused.code == Exit.MISUSED
    assert "not as many run ids left" in str(refused.error)
    assert outcome.json["missing"] == 5_000
    assert outcome.json["numbers"] == {
        "run": 6_000, "batch": 1_005_000, "notice": 105_000, "cases": 105_000, "enrolment_conflict": 1_005_000,
    }  # fmt: skip
    assert run.id == 6_001


def test_lines_that_are_lost_for_good_are_missed_by_nobody_afterwards(site: Site) -> None:
    """The kept head says how far the journal had come: it goes on behind that, and its chain from that hash."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30)
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    with database.reading() as tx:
        head = get_head(tx)
    put_back()
    KeptHead.in_file(site.installation.settings).keep(head)
    path = site.installation.settings.log
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if f'"seq":{head.seq},'.encode() not in line))

    refused = site.restored()
    outcome = site.restored("--incomplete", "--json")
    again = site.restored("--json")
    site.act(resume, run)
    site.credit(run)

    assert refused.code == Exit.MISUSED
    assert "the head that was kept is beyond these files" in str(refused.error)
    assert (outcome.json["missing"], outcome.json["forgotten_seq"]) == (1, head.seq)
    assert again.json["changed"] is False
    site.assert_log_equals_database()


def test_log_is_emitted_again_over_what_was_forgotten(site: Site, tmp_path: Path) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    forgotten = verify([site.installation.settings.log]).last_seq
    put_back()
    site.restored()
    site.credit(run)
    site.write_log()
    written: list[int] = []

    class Sink:
        writer = site.installation.log.writer

        def write(self, line: dict[str, object]) -> None:
            written.append(int(str(line["seq"])))

        def sync(self) -> None:
            """Nothing to wait for."""

    emit_again(database, Sink(), from_seq=1, to_seq=forgotten + 1)  # type: ignore[arg-type]

    with database.reading() as tx:
        (restore,) = list_restores(tx)
    assert written == [*range(1, restore.kept_seq + 1), forgotten + 1]


def test_database_held_again_before_anything_was_sealed_goes_on_once_more(site: Site) -> None:
    """Another host's head was further, or it was moved once more: no line can have the place where it ends."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    put_back()
    last_seq = verify([site.installation.settings.log]).last_seq
    kept = KeptHead.of(site.installation.settings, site.installation.broker.client)
    kept.replace(Head(last_seq + 2, "a" * 64))
    assert site.restored("--incomplete").error is None

    kept.replace(Head(last_seq + 5, "b" * 64))
    refused = site.restored()
    further = site.restored("--incomplete", "--json")
    with database.transaction() as tx:
        hold(tx, "it was moved")
    refused_too = site.restored()
    moved = site.restored("--incomplete", "--json")
    site.act(resume, run)
    site.credit(run)

    assert (refused.code, refused_too.code) == (Exit.MISUSED, Exit.MISUSED)
    assert f"seq {last_seq + 3} to {last_seq + 5}: the head that was kept is beyond" in str(refused.error)
    assert (further.json["missing"], further.json["forgotten_seq"]) == (3, last_seq + 5)
    assert (moved.json["missing"], moved.json["forgotten_seq"]) == (0, last_seq + 5)
    site.assert_log_equals_database()


def test_backup_of_before_the_first_seal_after_lost_lines_is_known_by_the_files(site: Site) -> None:
    """Its last place is in no line; but the line behind it is proven, or the files tell of that restore."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.write_log()
    first = site.backup()
    first()
    path = site.installation.settings.log
    last_seq = verify([path]).last_seq
    kept = KeptHead.of(site.installation.settings, site.installation.broker.client)
    kept.replace(Head(last_seq + 2, "a" * 64))
    assert site.restored("--incomplete").error is None
    put_back = site.backup()
    site.act(resume, run)
    site.credit(run)
    site.write_log()
    put_back()
    whole = path.read_bytes()

    outcome = site.restored("--json", "--dry-run")
    path.write_bytes(b"".join(line for line in whole.splitlines(True) if f'"seq":{last_seq + 3},'.encode() not in line))
    lacking = site.restored("--json", "--dry-run")
    path.write_bytes(whole)
    done = site.restored()
    site.act(resume, run)
    site.credit(run)

    assert (outcome.json["missing"], outcome.json["kept_seq"]) == (0, last_seq + 2)
    assert lacking.code == Exit.MISUSED
    assert done.error is None
    site.assert_log_equals_database()


def test_files_that_begin_right_behind_the_backup_are_proven_by_it(site: Site, tmp_path: Path) -> None:
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    run = a_released_run(database, programme)
    site.write_log()
    kept_seq = verify([site.installation.settings.log]).last_seq
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    put_back()
    lines = site.installation.settings.log.read_bytes().splitlines(keepends=True)
    since, later, changed = (tmp_path / f"{name}.jsonl" for name in ("since", "later", "changed"))
    behind = next(line for line in lines if f'"seq":{kept_seq + 1},'.encode() in line)
    since.write_bytes(b"".join(lines[lines.index(behind) :]))
    later.write_bytes(b"".join(lines[lines.index(behind) + 1 :]))
    changed.write_bytes(since.read_bytes().replace(b'"credited":10', b'"credited":11', 1))

    proven = site.restored("--json", "--dry-run", files=[since])
    lacking = site.restored(files=[later])
    other = site.restored(files=[changed])

    assert proven.code == Exit.DONE, proven.stderr
    assert (proven.json["kept_seq"], proven.json["missing"]) == (kept_seq, 0)
    assert lacking.code == Exit.MISUSED
    assert f"seq {kept_seq}" in str(lacking.error)
    assert f"despensa logs emit --from {kept_seq} > FILE" in str(lacking.error and lacking.error.hint)
    assert other.code == Exit.BOOKS_DISAGREE


def test_old_head_of_this_host_is_named_as_what_may_be_wrong(site: Site) -> None:
    """Another host sealed since an earlier restore: this one's file is of a time that has become void."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    last_seq = verify([site.installation.settings.log]).last_seq
    KeptHead.in_file(site.installation.settings).replace(Head(last_seq, "b" * 64))
    put_back()

    refused = site.restored()

    assert refused.code == Exit.BOOKS_DISAGREE
    assert refused.error is not None
    assert "DESPENSA_HEAD_FILE" in str(refused.error.hint)

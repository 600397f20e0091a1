"""A person's exit from a lost run: its hand-over files bring it back as it was, or its families are planned anew."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from console import run as run_commands
from console import voucher as voucher_commands
from models.errors import BooksDisagree, Exit, FundTooSmall, RefusedByState, RefusedInput
from models.states import GROUPS, RunState
from models.tables import Fund, FundGroup, LostRun, Programme, Run, RunGroup
from scheduler.discard import discard
from tests.backups import Site, site_of
from tests.builders import (
    NOGALES,
    PAYDAY,
    TIJUANA,
    a_planned_run,
    a_programme,
    a_released_run,
    batches_of,
    families,
    fund_balance_minor,
    give,
    run_again,
    vouchers_of,
    without_guards,
)
from tests.command_line import Outcome
from tests.installation import Installation
from tests.ledger import exhaust

pytestmark = pytest.mark.long

LOST = f"2026-12/{TIJUANA}"


@pytest.fixture(params=["embedded", pytest.param("distributed", marks=pytest.mark.long)])
def profile(request: pytest.FixtureRequest) -> str:
    """Both, of which PostgreSQL takes its time to copy databases."""
    return str(request.param)


@pytest.fixture
def site(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nothing has happened yet."""
    with site_of(installation, monkeypatch) as found:
        yield found


@dataclass
class Lost:
    """A lost run, as it was, with its hand-over file."""

    programme: Programme
    run: Run
    file: Path
    vouchers: list[int]


def a_lost_run(site: Site, tmp_path: Path, *, funds_minor: tuple[int, ...] = (10**12,)) -> Lost:
    """Of thirty families; the file is outside of the installation."""
    database = site.installation.database
    programme = a_programme(database, funds_minor=funds_minor)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme)
    site.credit(run)
    vouchers = vouchers_of(database, run)
    file = export(site, tmp_path / "handed.csv")
    site.write_log()
    put_back()
    assert site.restored().code == Exit.WAITING_FOR_APPROVAL
    return Lost(programme, run, file, vouchers)


def export(site: Site, path: Path, run: str = LOST) -> Path:
    """`voucher export`."""
    path.parent.chmod(0o700)
    outcome = site.command.run(voucher_commands.app, "export", run, "--out", path, "--yes")
    assert outcome.error is None, outcome.error
    return path


def recover(site: Site, *words: object) -> Outcome:
    """`run recover`."""
    return site.command.run(run_commands.app, "recover", LOST, *words, "--yes")


def rows(path: Path) -> list[list[str]]:
    """Of a hand-over file, with its header."""
    return list(csv.reader(path.read_text().splitlines()))


def write(path: Path, content: list[list[str]]) -> Path:
    """A hand-over file that somebody has changed."""
    with path.open("w", newline="") as sink:
        csv.writer(sink, lineterminator="\n").writerows(content)
    return path


def _runs(site: Site) -> int:
    with site.installation.database.reading() as tx:
        return len(tx.list(Run))


def test_hand_over_file_brings_the_run_back_as_it_was(site: Site, tmp_path: Path) -> None:
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database

    outcome = recover(site, "--handed-over", lost.file)

    assert outcome.error is None, outcome.error
    assert "warning" not in outcome.stderr
    run = run_again(database, lost.run)
    assert (run.state, run.lines, run.planned_minor) == (RunState.COMPLETED, 30, lost.run.planned_minor)
    assert vouchers_of(database, run) == lost.vouchers
    assert export(site, tmp_path / "again.csv").read_bytes() == lost.file.read_bytes()
    with database.reading() as tx:
        assert (tx.get(LostRun).outcome, len(tx.list(RunGroup))) == ("handed_over", 5)
    assert fund_balance_minor(database, lost.programme) == 10**12 - run.planned_minor
    site.assert_log_equals_database()


def test_families_that_hold_no_voucher_become_the_next_part(site: Site, tmp_path: Path) -> None:
    """The file was written when twenty were credited; that the other ten got nothing is shown otherwise."""
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database
    part = write(tmp_path / "part.csv", rows(lost.file)[:21])

    refused = recover(site, "--handed-over", part)
    outcome = recover(site, "--handed-over", part, "--not-handed-over", "partner letter 4")
    with database.transaction() as tx:
        run = tx.get(Run)
        run.planned_at = run.opens_at
        with without_guards(tx, "run"):
            tx.update(run, ["planned_at"])
    site.installation.clock.now = PAYDAY.replace(day=3)
    site.installation.ticker().tick()

    assert isinstance(refused.error, RefusedInput)
    assert "hold 20 vouchers" in str(refused.error)
    assert outcome.error is None
    assert "none that the logs know" in outcome.stderr
    with database.reading() as tx:
        first, second = tx.list(Run, order=[Run.part])
    assert (first.lines, second.part, second.lines) == (20, 2, 10)
    assert second.id > lost.run.id + 1_000
    site.assert_log_equals_database()


def test_nothing_handed_over_is_planned_anew_under_other_numbers(site: Site, tmp_path: Path) -> None:
    """Where a file was written, whoever decides must have looked how many vouchers there were."""
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database

    refused = recover(site, "--not-handed-over", "all destroyed, protocol 7")
    outcome = recover(site, "--not-handed-over", "all destroyed, protocol 7", "--count", 30)
    run = a_released_run(database, lost.programme)
    site.credit(run)

    assert isinstance(refused.error, RefusedByState)
    assert "1 hand-over files" in str(refused.error)
    assert outcome.error is None
    assert set(vouchers_of(database, run)).isdisjoint(lost.vouchers)
    assert len(vouchers_of(database, run)) == 30
    listed = site.command.run(run_commands.app, "lost", "--all", "--json")
    assert [each["outcome"] for each in listed.json["lost_runs"]] == ["not_handed_over"]  # type: ignore[attr-defined]
    assert listed.code == Exit.DONE
    site.assert_log_equals_database()


def test_decided_run_cannot_be_decided_again(site: Site, tmp_path: Path) -> None:
    lost = a_lost_run(site, tmp_path)
    recover(site, "--handed-over", lost.file)

    again = recover(site, "--handed-over", lost.file)
    given_up = recover(site, "--not-handed-over", "protocol 7", "--count", 30)

    assert isinstance(again.error, RefusedByState)
    assert isinstance(given_up.error, RefusedByState)
    assert vouchers_of(site.installation.database) == lost.vouchers


def test_run_that_was_given_up_by_mistake_is_entered_while_nothing_else_was_released(
    site: Site, tmp_path: Path
) -> None:
    """What was planned instead has a line of each family, and goes first."""
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database
    recover(site, "--not-handed-over", "protocol 7", "--count", 30)
    instead = a_planned_run(database, lost.programme)

    refused = recover(site, "--handed-over", lost.file)
    site.act(discard, instead)
    outcome = recover(site, "--handed-over", lost.file)

    assert isinstance(refused.error, RefusedByState)
    assert "30 families of the files have a line" in str(refused.error)
    assert outcome.error is None
    assert vouchers_of(database) == lost.vouchers
    with database.reading() as tx:
        assert tx.get(LostRun).outcome == "handed_over"
    site.assert_log_equals_database()


def test_run_that_was_given_up_cannot_be_entered_beside_what_was_released_instead(site: Site, tmp_path: Path) -> None:
    """Its families would hold two vouchers."""
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database
    recover(site, "--not-handed-over", "protocol 7", "--count", 30)
    site.credit(a_released_run(database, lost.programme))

    outcome = recover(site, "--handed-over", lost.file)

    assert isinstance(outcome.error, RefusedByState)
    assert len(vouchers_of(database)) == 30


def test_run_that_was_given_up_is_lost_again_when_the_backup_is_restored_again(site: Site, tmp_path: Path) -> None:
    """Whoever gave it up may have been wrong, and the way back is the same backup: a person decides again."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back = site.backup()
    site.credit(a_released_run(database, programme))
    file = export(site, tmp_path / "handed.csv")
    site.write_log()
    put_back()
    site.restored()
    recover(site, "--not-handed-over", "protocol 7", "--count", 30)
    site.write_log()
    put_back()

    outcome = site.restored()
    listed = site.command.run(run_commands.app, "lost", "--json")
    site.installation.ticker().tick()
    planned = _runs(site)
    recovered = recover(site, "--handed-over", file)

    assert outcome.code == Exit.WAITING_FOR_APPROVAL
    assert "said that nothing was handed over" in outcome.stdout
    (told,) = list(listed.json["lost_runs"])  # type: ignore[call-overload]
    assert (told["credited"], told["outcome"], bool(told["disowned_by"])) == (30, "", True)
    assert planned == 0
    assert recovered.error is None
    assert len(vouchers_of(database)) == 30
    site.assert_log_equals_database()


def test_changed_amount_is_refused_by_the_sum(site: Site, tmp_path: Path) -> None:
    lost = a_lost_run(site, tmp_path)
    content = rows(lost.file)
    content[3][3] = "9999.00"

    outcome = recover(site, "--handed-over", write(tmp_path / "changed.csv", content))

    assert isinstance(outcome.error, BooksDisagree)
    assert vouchers_of(site.installation.database) == []


def test_family_with_a_line_elsewhere_is_refused_by_its_run(site: Site, tmp_path: Path) -> None:
    """Its old plan was discarded before it moved, and the line that says so is lost: the old plan must go first."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 10, location=NOGALES)
    old = a_planned_run(database, programme, location=NOGALES)
    site.write_log()
    put_back = site.backup()
    site.act(discard, old)
    with database.transaction() as tx:
        tx.connection.exec_driver_sql(f"UPDATE household SET location_code = '{TIJUANA}'")
    run = a_released_run(database, programme)
    site.credit(run)
    file = export(site, tmp_path / "handed.csv")
    site.write_log()
    put_back()
    path = site.installation.settings.log
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"run.discarded"' not in line))
    site.restored("--incomplete")

    refused = recover(site, "--handed-over", file)
    site.act(discard, old)
    outcome = recover(site, "--handed-over", file)

    assert isinstance(refused.error, RefusedByState)
    assert f"10 families of the files have a line of 2026-12 in run 2026-12/{NOGALES}" in str(refused.error)
    assert outcome.error is None
    assert len(vouchers_of(database)) == 10
    site.assert_log_equals_database()


def test_fund_that_is_too_small_enters_nothing(site: Site, tmp_path: Path) -> None:
    """A deposit since the backup was forgotten: it is imported again first."""
    lost = a_lost_run(site, tmp_path, funds_minor=(3_000_000,))
    database = site.installation.database
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE fund SET balance_minor = 5")

    outcome = recover(site, "--handed-over", lost.file)

    assert isinstance(outcome.error, FundTooSmall)
    assert vouchers_of(database) == []
    with database.reading() as tx:
        assert tx.get(LostRun).outcome is None


def test_lines_that_were_credited_in_two_lives_in_batches_of_other_sizes_count_once(site: Site, tmp_path: Path) -> None:
    """After the first restore a batch was split, since workers died of it; then an older backup is put back."""
    database = site.installation.database
    programme = a_programme(database)
    families(database, programme, 30, location=TIJUANA)
    site.write_log()
    put_back_older = site.backup()
    run = a_released_run(database, programme)
    site.write_log()
    put_back = site.backup()
    site.credit(run)
    site.write_log()
    put_back()
    site.restored()
    exhaust(database, batches_of(database, run)[0])
    site.installation.ticker().work()
    assert len(batches_of(database, run)) > 3
    site.credit(run)
    file = export(site, tmp_path / "handed.csv")
    site.write_log()
    put_back_older()

    outcome = site.restored("--json")
    recovered = recover(site, "--handed-over", file)

    (told,) = list(outcome.json["lost_runs"])  # type: ignore[call-overload]
    assert (told["credited"], told["credited_minor"]) == (30, run.planned_minor)
    assert recovered.error is None
    site.assert_log_equals_database()


@pytest.mark.parametrize(("batch_lines", "again"), [(10, 10), (5, 1)])
def test_run_is_entered_where_its_funds_have_room_for_small_batches_alone(
    site: Site, tmp_path: Path, batch_lines: int, again: int
) -> None:
    """Two donors paid it, one its first batch and the other the rest; neither has enough for all."""
    database = site.installation.database
    programme = a_programme(database, funds_minor=(0, 0))
    families(database, programme, 30, location=TIJUANA)
    plan = a_planned_run(database, programme, batch_lines=batch_lines)
    first, *rest = [batch.amount_minor for batch in batches_of(database, plan)]
    site.act(discard, plan)
    with database.transaction() as tx:
        one, other = tx.list(Fund, order=[Fund.position])
        for fund, amount_minor in ((one, first), (other, sum(rest))):
            give(tx, programme, fund, amount_minor + 100)
    site.write_log()
    put_back = site.backup()
    run = a_released_run(database, programme, batch_lines=batch_lines)
    site.credit(run)
    file = export(site, tmp_path / "handed.csv")
    vouchers = vouchers_of(database)
    site.write_log()
    put_back()
    site.restored()

    outcome = recover(site, "--handed-over", file)

    assert outcome.error is None, outcome.error
    assert vouchers_of(database) == vouchers
    assert {batch.lines for batch in batches_of(database, run)} == {again}
    with database.reading() as tx:
        assert [fund.balance_minor for fund in tx.list(Fund)] == [100, 100]
    site.assert_log_equals_database()


def test_run_is_entered_in_batches_of_families_whom_the_same_funds_may_pay_for(site: Site, tmp_path: Path) -> None:
    """A fund was kept for a group since: it pays that group's families, and nobody else."""
    database = site.installation.database
    lost = a_lost_run(site, tmp_path, funds_minor=(10**12, 10**12))
    with database.transaction() as tx:
        tx.add(FundGroup(fund_id=tx.get(Fund, Fund.code == "fund-1").id, group_code="pregnant"))

    outcome = recover(site, "--handed-over", lost.file)

    assert outcome.error is None, outcome.error
    assert vouchers_of(database) == lost.vouchers
    with database.reading() as tx:
        paid = tx.connection.execute(text(
            "SELECT DISTINCT f.code, h.group_code FROM batch b JOIN fund f ON f.id = b.fund_id JOIN disbursement d "
            "ON d.id BETWEEN b.first_id AND b.last_id JOIN household h ON h.id = d.household_id"
        )).all()  # fmt: skip
    assert {group for fund, group in paid if fund == "fund-1"} == {"pregnant"}
    assert {group for fund, group in paid if fund == "fund-2"} == set(GROUPS) - {"pregnant"}
    site.assert_log_equals_database()


def test_lost_runs_are_listed_until_they_are_decided(site: Site, tmp_path: Path) -> None:
    lost = a_lost_run(site, tmp_path)

    waiting = site.command.run(run_commands.app, "lost", "--json")
    recover(site, "--handed-over", lost.file)
    decided = site.command.run(run_commands.app, "lost")

    (told,) = list(waiting.json["lost_runs"])  # type: ignore[call-overload]
    assert waiting.code == Exit.WAITING_FOR_APPROVAL
    assert (told["run"], told["credited"], told["exported"]) == (LOST, 30, 1)
    assert decided.code == Exit.DONE
    assert "no lost run waits" in decided.stderr


ENTER = """
INSERT INTO run (id, programme_id, location_code, cycle, part, state, late, opens_at, lines, planned_minor, digest,
                 currency, value_currency, rate_source, rate_date, round_to_minor, validity_days, batch_lines_max,
                 planned_by, planned_at, blocked)
SELECT l.run_id, l.programme_id, l.location_code, l.cycle, l.part, 'planned', :no, :now, 0, 0, '', 'MXN', 'MXN', '', '',
       100, 60, 1000, 'restored', :now, '' FROM lost_run l
"""
LINES = """
INSERT INTO disbursement (id, programme_id, household_id, cycle, amount_minor)
SELECT l.run_id * 10000000 + ROW_NUMBER() OVER (ORDER BY h.id), l.programme_id, h.id, l.cycle, :amount_minor
FROM household h CROSS JOIN lost_run l
"""
BATCH = """
INSERT INTO batch (run_id, first_id, last_id, lines, amount_minor, digest, state, attempts, last_error)
SELECT id / 10000000, MIN(id), MAX(id), COUNT(*), SUM(amount_minor), '', 'planned', 0, '' FROM disbursement
GROUP BY id / 10000000
"""
END = """
UPDATE run SET lines = 30, planned_minor = (SELECT SUM(amount_minor) FROM batch), digest = 'd'
WHERE planned_by = 'restored'
"""
DECIDE = "UPDATE lost_run SET outcome = 'handed_over', evidence = 'x', decided_by = :by, decided_at = :now"


def test_what_was_lost_is_no_pass_for_whoever_plans_by_hand(site: Site, tmp_path: Path) -> None:
    """Where logins are known nobody enters it who has not decided about it; and nobody with more than was planned."""
    lost = a_lost_run(site, tmp_path)
    database = site.installation.database
    each_minor = lost.run.planned_minor // 30 + 1

    def enter(*, decided: bool, amount_minor: int) -> None:
        with database.transaction() as tx:
            if decided:
                tx.connection.execute(text(DECIDE), {"by": tx.operator, "now": tx.now})
            for statement in (ENTER, LINES, BATCH, END):
                tx.connection.execute(text(statement), {"no": False, "now": tx.now, "amount_minor": amount_minor})

    if site.installation.distributed:
        with pytest.raises(IntegrityError, match="planned by who is logged in"):
            enter(decided=False, amount_minor=1)
    with pytest.raises(IntegrityError, match="not entered with more than was planned"):
        enter(decided=True, amount_minor=each_minor)
    enter(decided=True, amount_minor=1)

"""The restore drill: a month is played, a backup is put back, and no family ever holds two vouchers that count.

What families hold is what the union of all hand-over files ever written says, whatever the database forgot meanwhile.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from console import run as run_commands
from console import voucher as voucher_commands
from models.lost import list_lost
from models.states import RunState
from models.storage import Tx
from models.tables import Case, Programme, Run, run_code
from scheduler.approve import approve_by_policy
from scheduler.cancel import cancel, settle_cancelled
from scheduler.discard import discard
from scheduler.pause import resume
from scheduler.release import release
from scheduler.retry import Choice, retry
from tests.backups import Site, site_of
from tests.builders import CITIES, NOGALES, PAYDAY, TIJUANA, a_planned_run, a_programme, families
from tests.installation import Installation
from tests.ledger import count, pass_time

JUAREZ = "08037"
FAMILIES = 12


@dataclass
class Month:
    """A month in three cities, and every hand-over file that was ever written of it."""

    site: Site
    folder: Path
    programme: Programme
    files: dict[int, list[Path]] = field(default_factory=dict)  #: by run id
    latecomers: bool = False

    def run(self, location: str, part: int = 1) -> Run:
        """As it is now."""
        with self.site.installation.database.reading() as tx:
            return tx.get(Run, Run.location_code == location, Run.part == part)

    def plan(self, location: str) -> None:
        """The next part of a city."""
        part = None if location == TIJUANA and self.latecomers else 1
        now = PAYDAY.replace(day=3) if part is None else PAYDAY
        a_planned_run(
            self.site.installation.database, self.programme, location=location, batch_lines=5, now=now, part=part
        )

    def release(self, location: str, part: int = 1) -> None:
        """By the policy."""
        run = self.run(location, part)
        self.site.act(lambda tx, run_id: approve_by_policy(tx, run_id, now=PAYDAY), run)
        self.site.act(lambda tx, run_id: release(tx, run_id, now=PAYDAY), run)

    def credit(self, location: str, part: int = 1, *, batches: int = 100) -> None:
        """What workers do."""
        self.site.credit(self.run(location, part), batches=batches)

    def act(self, change: Callable[[Tx, int], object], location: str) -> None:
        """One decision about a city's first run."""
        self.site.act(change, self.run(location))

    def export(self, location: str, part: int = 1) -> None:
        """A hand-over file for the partner: from now on its families hold what stands in it."""
        run = self.run(location, part)
        path = self.folder / f"{len(list(self.folder.iterdir()))}.csv"
        told = self.site.command.run(voucher_commands.app, "export", run_code(run), "--out", path, "--yes")
        assert told.error is None, told.error
        self.files.setdefault(run.id, []).append(path)

    def import_latecomers(self) -> None:
        """Families that were not on the first list; importing them again changes nothing."""
        self.latecomers = True
        if count(self.site.installation.database, "SELECT COUNT(*) FROM household WHERE registration_id LIKE 'L-%'"):
            return
        families(self.site.installation.database, self.programme, 4, location=TIJUANA, prefix="L")

    def held(self) -> dict[str, set[str]]:
        """The numbers that each family was ever given."""
        held: dict[str, set[str]] = {}
        for path in sorted(self.folder.iterdir()):
            for row in csv.DictReader(path.read_text().splitlines()):
                held.setdefault(row["registration_id"], set()).add(row["voucher_number"])
        return held


#: A month, step by step: a run in parts, one that is discarded and planned again, one that is cancelled and retried.
STEPS: tuple[Callable[[Month], object], ...] = (
    lambda month: month.plan(TIJUANA),
    lambda month: month.release(TIJUANA),
    lambda month: month.credit(TIJUANA, batches=1),
    lambda month: month.plan(NOGALES),
    lambda month: month.act(discard, NOGALES),
    lambda month: month.credit(TIJUANA),
    lambda month: month.export(TIJUANA),
    lambda month: month.plan(NOGALES),
    lambda month: month.release(NOGALES),
    lambda month: month.credit(NOGALES),
    lambda month: month.export(NOGALES),
    lambda month: month.plan(JUAREZ),
    lambda month: month.release(JUAREZ),
    lambda month: month.credit(JUAREZ, batches=1),
    lambda month: month.act(cancel, JUAREZ),
    lambda month: month.act(settle_cancelled, JUAREZ),
    lambda month: month.act(lambda tx, run_id: retry(tx, run_id, Choice()), JUAREZ),
    lambda month: month.credit(JUAREZ),
    lambda month: month.export(JUAREZ),
    lambda month: month.import_latecomers(),
    lambda month: month.plan(TIJUANA),
    lambda month: month.release(TIJUANA, 2),
    lambda month: month.credit(TIJUANA, 2),
    lambda month: month.export(TIJUANA, 2),
)

#: In the quick suite: in mid-run, with a run lost and a plan discarded; and in mid-cancel.
QUICK = (4, 15)


@pytest.fixture
def month(installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Month]:
    """Its families are on the list; nothing is planned."""
    folder = tmp_path / "partner"
    folder.mkdir(mode=0o700)
    installation.batch_lines = 5
    cities = [city for city in CITIES if city[0] in (TIJUANA, NOGALES, JUAREZ)]
    programme = a_programme(installation.database, cities=cities)
    for code, _, _ in cities:
        families(installation.database, programme, FAMILIES, location=code)
    with site_of(installation, monkeypatch) as site:
        site.write_log()
        yield Month(site, folder, programme)


@pytest.mark.parametrize(
    "backed_up_before",
    [pytest.param(step, marks=() if step in QUICK else pytest.mark.long) for step in range(len(STEPS))],
)
def test_no_family_holds_two_vouchers_after_a_restore(month: Month, backed_up_before: int) -> None:
    """Wherever in the month the backup was made."""
    drill(month, backed_up_before)


def drill(month: Month, backed_up_before: int) -> None:
    """Play the month, put the backup back, decide what a person has to decide, and end the month."""
    put_back: Callable[[], None] | None = None
    for number, step in enumerate(STEPS):
        if number == backed_up_before:
            put_back = month.site.backup()
        step(month)
        month.site.write_log()
    assert put_back is not None
    given = month.held()
    put_back()
    month.latecomers = False

    month.site.restored()
    month.import_latecomers()
    decide(month)
    end(month)

    held = month.held()
    assert {family: numbers for family, numbers in held.items() if len(numbers) > 1} == {}
    assert all(held[family] == numbers for family, numbers in given.items())
    numbers = [number for each in held.values() for number in each]
    assert len(numbers) == len(set(numbers)) == 3 * FAMILIES + 4
    month.site.assert_log_equals_database()


def decide(month: Month) -> None:
    """What the partner has files of was handed over; what was paused goes on."""
    database = month.site.installation.database
    with database.reading() as tx:
        lost = list_lost(tx, undecided=True)
        paused = tx.list(Run, Run.state == RunState.PAUSED)
    for each in lost:
        files = [word for path in month.files.get(each.run_id, []) for word in ("--handed-over", path)]
        told = files or ["--not-handed-over", "the partner has no file of it"]
        outcome = month.site.command.run(run_commands.app, "recover", run_code(each), *told, "--yes")
        assert outcome.error is None, outcome.error
    for run in paused:
        month.site.act(resume, run)


def end(month: Month) -> None:
    """Tick and credit until nothing is left, as a scheduler and workers do over two days; then write all files anew."""
    installation = month.site.installation
    for day in (1, 3, 5):
        installation.clock.now = PAYDAY.replace(day=day)
        for _ in range(4):
            installation.ticker().tick()
            with installation.database.reading() as tx:
                runs = tx.list(Run)
                cases = {case.run_id for case in tx.list(Case, Case.state == "open")}
            for run in runs:
                if run.state == RunState.PAUSED:
                    month.site.act(resume, run)
                elif run.id in cases and run.state in (RunState.CANCELLED, RunState.COMPLETED_WITH_CASES):
                    month.site.act(lambda tx, run_id: retry(tx, run_id, Choice()), run)
                month.site.credit(run)
            pass_time(installation.database)
    with installation.database.reading() as tx:
        runs = tx.list(Run)
        assert {run.state for run in runs} == {RunState.COMPLETED}
        assert tx.list(Case, Case.state == "open") == []
    for run in runs:
        month.export(run.location_code, run.part)

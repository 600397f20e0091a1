"""`run status --watch`: until all runs are over, and only what has changed."""

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from console import run as run_commands
from console import watch
from console.watch import Pace, Screen
from models.errors import Exit
from models.messages import CreditBatch
from models.states import RunState
from models.storage import Database
from models.tables import Run, run_code
from scheduler.close import close
from tests.builders import NOGALES, TIJUANA, a_programme, a_released_run, batches_of, families, run_again
from tests.command_line import CommandLine
from tests.commands import ROOT
from tests.installation import Installation
from tests.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def commands(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Of the installation."""
    return CommandLine(monkeypatch, installation.environment)


@pytest.fixture
def runs(database: Database) -> list[Run]:
    """Released, of ten lines each, in Tijuana and in Nogales."""
    programme = a_programme(database)
    for city in (TIJUANA, NOGALES):
        families(database, programme, 10, location=city)
    return [a_released_run(database, programme, location=city) for city in (TIJUANA, NOGALES)]


def steps(monkeypatch: pytest.MonkeyPatch, *between: Callable[[], object]) -> list[float]:
    """What happens between the looks. Returns how long was waited before each."""
    waited: list[float] = []
    acts = iter(between)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        next(acts)()

    monkeypatch.setattr(watch, "wait", wait)
    return waited


def test_watch_ends_when_all_runs_are_over(
    commands: CommandLine, installation: Installation, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installation.database

    def credit(run: Run) -> None:
        for batch in batches_of(database, run):
            installation.receive(CreditBatch(batch.id))
        with database.transaction() as tx:
            assert close(tx, run.id)

    waited = steps(monkeypatch, lambda: credit(runs[0]), lambda: None, lambda: credit(runs[1]))
    outcome = commands.run(run_commands.app, "status", "--watch", "--every", 2)

    assert outcome.code == Exit.DONE
    assert waited == [2, 2, 2]
    said = [(line.split()[1], "Tijuana" in line, " 10/10 " in line) for line in outcome.stdout.splitlines()]
    assert said == [
        (run_code(runs[0]), True, False),
        (run_code(runs[1]), False, False),
        (run_code(runs[0]), True, True),
        (run_code(runs[1]), False, True),
    ]
    assert {run_again(database, run).state for run in runs} == {RunState.COMPLETED}
    assert "\x1b" not in outcome.stdout


def test_watch_of_one_run_follows_no_other(
    commands: CommandLine, database: Database, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        raise KeyboardInterrupt

    steps(monkeypatch, end)
    outcome = commands.run(run_commands.app, "status", run_code(runs[1]), "--watch")

    assert outcome.code == Exit.INTERRUPTED
    (line,) = outcome.stdout.splitlines()
    assert run_code(runs[1]) in line


#: Whoever starts the tests in the background has SIGINT ignored, in all that they start.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from console.main import main; main()"
)


def test_ctrl_c_on_a_real_terminal_ends_it_with_130(installation: Installation, runs: list[Run]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", INTERRUPTIBLE, "run", "status", "--watch"]
    environment = {**os.environ, **installation.environment, "COLUMNS": "150", "LINES": "30"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = bytearray()

    def shown() -> bool:
        if select.select([ours], [], [], 0)[0]:
            said.extend(os.read(ours, 4096))
        return b"2 runs" in said

    try:
        until(shown, what="the runs on the terminal")
        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=30) == Exit.INTERRUPTED
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Traceback" not in said


def test_watch_of_nothing_ends(commands: CommandLine) -> None:
    outcome = commands.run(run_commands.app, "status", "--watch")

    assert outcome.code == Exit.DONE
    assert "no run to follow" in outcome.stderr


def test_watch_is_for_people(commands: CommandLine) -> None:
    assert commands.run(run_commands.app, "status", "--watch", "--json").code == Exit.MISUSED


class Terminal:
    """What stands on a screen after text that only moves the cursor up."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.row = 0
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)
        if text.startswith("\x1b["):
            up, _, text = text.removeprefix("\x1b[").partition("A")
            self.row -= int(up)
        assert "\x1b" not in text
        assert self.row >= 0
        for line in text.split("\n")[:-1]:
            if self.row == len(self.rows):
                self.rows.append("")
            self.rows[self.row] = line + self.rows[self.row][len(line) :]
            self.row += 1

    @property
    def shown(self) -> list[str]:
        """Without what nobody sees."""
        return [row.rstrip() for row in self.rows]


def a_screen(terminal: Terminal, *, columns: int = 40, rows: int = 10) -> Screen:
    return Screen(terminal.write, terminal=True, size=lambda: (columns, rows))


def test_terminal_shows_the_last_lines_alone() -> None:
    terminal = Terminal()
    screen = a_screen(terminal)

    for lines in (["one", "two"], ["one", "a longer two", "three"], ["1"], ["one", "two"]):
        screen.show(lines, news=[])
        assert [row for row in terminal.shown if row] == lines


def test_nothing_is_written_where_nothing_changed_and_little_where_little_did() -> None:
    terminal = Terminal()
    screen = a_screen(terminal)
    screen.show(["one", "two", "three"], news=[])

    screen.show(["one", "two", "three"], news=[])
    screen.show(["one", "TWO", "three"], news=[])

    assert terminal.written[1:] == ["\x1b[3A\nTWO\n\n"]


def test_lines_that_would_fold_or_leave_the_screen_are_cut() -> None:
    terminal = Terminal()
    screen = a_screen(terminal, columns=12, rows=5)

    screen.show([f"line {number} of many" for number in range(8)] + ["sum"], news=[])

    assert terminal.shown == ["line 0 of m", "line 1 of m", "and 6 more:", "sum"]


def test_rate_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    for at_s, count in ((0, 0), (10, 1_000), (40, 1_300), (41, 1_300)):
        pace.add(at_s, count)

    assert round(pace.per_s) == 10  # not the hundred a second of the beginning
    assert pace.left(100) is not None
    for at_s in (70, 75):
        pace.add(at_s, 1_300)
    assert (pace.per_s, pace.left(100)) == (0, None)

"""`deploy/container/settled.py`: what waits for a person fails no Job, what failed does. And a pod's log."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import update

from models.errors import Exit
from models.states import RunState
from models.tables import Programme, Run
from tests.builders import a_programme, families_due
from tests.commands import LIMIT_S, ROOT, despensa
from tests.fakes import FakeStore
from tests.installation import Installation
from tests.waiting import until

SCRIPT = ROOT / "deploy" / "container" / "settled.py"
SETTLED = {Exit.WITH_CASES, Exit.WAITING_FOR_APPROVAL, Exit.PAUSED_OR_CANCELLED}


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Every store of the programme."""
    with FakeStore.open() as store:
        yield store


def settled(*words: str, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """As a pod calls it: the application is found in the environment, not beside the script."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
    return subprocess.Popen(
        [sys.executable, SCRIPT, *words],
        cwd="/",
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def code_of(process: "subprocess.Popen[str]") -> int:
    """Wait for it."""
    process.communicate(timeout=LIMIT_S)
    return process.returncode


def stand_in(folder: Path, end: str) -> dict[str, str]:
    """In the application's place, a command that ends so."""
    package = folder / "console"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(f"import sys\n\n\ndef main():\n    {end}\n")
    return {"PYTHONPATH": str(folder)}


def families_are_due(installation: Installation, store: FakeStore, *, approval: str = "policy") -> None:
    """Their payday was at the first minute of this month: commands use the clock of this host."""
    programme = a_programme(installation.database, approval=approval, store_url=store.url)
    with installation.database.transaction() as tx:
        tx.connection.execute(update(Programme).values(payday_time="00:00"))
    families_due(installation.database, programme, 7, now=datetime.now(UTC))


def released(installation: Installation) -> int:
    """How many runs."""
    with installation.database.reading() as tx:
        return sum(run.state == RunState.RELEASED for run in tx.list(Run, limit=100))


@pytest.mark.parametrize("code", [*Exit, 137])
def test_every_code_is_the_commands_own_but_three(tmp_path: Path, code: int) -> None:
    environment = stand_in(tmp_path, f"sys.exit({int(code)})")

    ended = code_of(settled("run", "start", environment=environment))

    assert ended == (0 if code in SETTLED else code)


def test_what_breaks_is_a_failure(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, "raise RuntimeError")

    ended = code_of(settled("run", "start", environment=environment))

    assert ended == Exit.FAILED


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_month_that_waits_for_a_person_is_no_failure(installation: Installation, store: FakeStore) -> None:
    families_are_due(installation, store, approval="person")

    told = despensa("run", "start", environment=installation.environment).code
    waits = code_of(settled("run", "start", environment=installation.environment))
    misspelt = code_of(settled("run", "start", environment={**installation.environment, "DESPENSA_HOEM": "x"}))

    assert (told, waits, misspelt) == (Exit.WAITING_FOR_APPROVAL, 0, Exit.MISUSED)


@pytest.mark.parametrize("profile", ["distributed"], indirect=True)
def test_signal_to_the_pod_reaches_the_command(installation: Installation, store: FakeStore) -> None:
    """No worker runs, so it would wait for hours."""
    families_are_due(installation, store)
    process = settled("run", "start", environment=installation.environment)
    until(lambda: released(installation) > 0, what="a run to be released")

    process.send_signal(signal.SIGTERM)

    assert code_of(process) == Exit.INTERRUPTED


def test_journal_that_a_command_writes_is_the_pods_output(installation: Installation, store: FakeStore) -> None:
    """A waiting `run start` seals: in a file of the pod its lines would be lost."""
    families_are_due(installation, store, approval="person")
    environment = {**installation.environment, "DESPENSA_LOG_FILE": "/proc/self/fd/1"}

    ended = despensa("run", "start", environment=environment)

    lines = [orjson.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
    sealed = [line["seq"] for line in lines if "seq" in line]
    assert sealed == list(range(1, len(sealed) + 1))
    assert "run.planned" in {line["event"] for line in lines}

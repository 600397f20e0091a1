"""Running `despensa` as operators and cron do: as a process, with an environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[1]
LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command said and came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """Its one object."""
        parsed: dict[str, object] = orjson.loads(self.out)
        return parsed


def despensa(*words: str, environment: Mapping[str, str], within_s: float = LIMIT_S) -> Ended:
    """Run a command to its end, without a terminal."""
    return end(start(*words, environment=environment), within_s=within_s)


def start(*words: str, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Begin a command. Only what the test says of DESPENSA_* is set. `prefix` is a command that becomes it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "console.main", *words],
        cwd=ROOT,
        env={**inherited, "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]", *, within_s: float = LIMIT_S) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=within_s)
    return Ended(process.returncode, out, err)


@dataclass(slots=True)
class Service:
    """A process that runs until it is told to stop."""

    pid: int
    output: str = ""  #: its standard output, once it has ended


@contextmanager
def running(*words: str, environment: Mapping[str, str]) -> Iterator[Service]:
    """A service while the context lasts, then SIGTERM; its whole group is gone afterwards."""
    process = start(*words, environment=environment)
    service = Service(process.pid)
    try:
        yield service
        process.terminate()
        service.output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to a process that the test started, and to its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

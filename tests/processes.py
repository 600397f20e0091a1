"""Processes that tests and benchmarks start, as Linux sees them, and their end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.commands import ROOT


def start_service(
    *words: str, environment: Mapping[str, str], log: Path, python_path: str = "", prefix: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    """A service of despensa, as `start_python` starts it."""
    module = ("-m", "console.main")
    return start_python(*module, *words, environment=environment, log=log, python_path=python_path, prefix=prefix)


def start_python(
    *words: str, environment: Mapping[str, str], log: Path, python_path: str = "", prefix: Sequence[str] = ()
) -> "subprocess.Popen[bytes]":
    """A Python program with only these DESPENSA_*, its log in a file. What lies on `python_path` comes first.

    `prefix` is a command that becomes the program, on another host, say.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DESPENSA_")}
    with log.open("wb") as out:
        return subprocess.Popen(
            [*prefix, sys.executable, *words], cwd=ROOT,
            env={**inherited, **environment, "PYTHONPATH": python_path},
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to a process that the test started, and to its group if it leads one."""
    with suppress(ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    """A signal to a service and all its processes."""
    os.killpg(process.pid, number)


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from its third on: state, parent, … Raises OSError where it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children_of(pid: int) -> list[int]:
    """From the kernel's own list, of each of its threads. Raises OSError where it is gone."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def peak_bytes_of(pid: int) -> int:
    """The most memory that a process had resident so far; 0 where it is gone, or ended and not waited for."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def is_running(pid: int) -> bool:
    """Whether it is there, and not only as what its parent has not waited for yet."""
    with suppress(OSError):
        return stat_of(pid)[0] not in "ZX"
    return False

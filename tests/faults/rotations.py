"""One command that changes a key file, in a process of its own, that may be killed before any line it comes to.

Run as a module it is a server: it has everything imported, holds no thread and no connection, and forks a process for
each line of JSON that it reads. A line of the modules that change key files is a point, the first times
that the command comes to it.
"""

import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import orjson

from models import key_files, key_rotation, whole_files
from models.key_files import held
from models.keys import key_path
from models.storage import Database

ROOT = Path(__file__).parents[2]
WHERE = frozenset(module.__file__ for module in (key_files, key_rotation, whole_files))
#: So often a line counts as a point: what is written is written twice at most, and the journal is read in a loop.
TIMES_MAX = 2
FAILED = 1


@dataclass(frozen=True, slots=True)
class Change:
    """A command, and the point at which it is killed; 0 never."""

    url: str
    folder: str
    command: str  #: init, rotate or retire
    kind: str
    version: int = 0  #: to retire
    kill_at: int = 0


class Changes:
    """A server of such processes."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.rotations"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def make(self, change: Change) -> bool:
        """Whether it came to its end; killed, it did not. Raises AssertionError where it failed in another way."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(asdict(change)) + b"\n")
        self._process.stdin.flush()
        code = orjson.loads(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL), f"{change.command} ended with {code}"
        return bool(code == 0)


def _run(change: Change) -> None:
    folder = Path(change.folder)
    database = Database(change.url)
    try:
        if change.command == "init":
            with held(folder):
                if not key_path(folder, change.kind).exists():
                    key_rotation.make(database, folder, change.kind)
        elif change.command == "rotate":
            key_rotation.rotate(database, folder, change.kind)
        else:
            key_rotation.retire(database, folder, change.kind, change.version)
    finally:
        database.close()


def _killing(kill_at: int) -> Callable[[FrameType, str, Any], Any]:
    count = 0
    came_to: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in WHERE:
            return None
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            came_to[line] += 1
            count += came_to[line] <= TIMES_MAX
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def _live(change: Change) -> None:
    code = FAILED
    try:
        if change.kill_at:
            sys.settrace(_killing(change.kill_at))
        _run(change)
        sys.settrace(None)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin.buffer:
        change = Change(**orjson.loads(line))
        child = os.fork()
        if child == 0:
            _live(change)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

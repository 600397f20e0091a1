"""The board: all that the log files have said so far, kept up to date. It reads files, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from console.dashboard.chain import Chain
from console.dashboard.follow import Follower
from console.dashboard.lines import Foreign, Line, Torn, parse
from console.dashboard.told import Told
from console.dashboard.traffic import Traffic
from models.restores import RESTORED, Restore, are_void, is_void


class Board:
    """Not safe to share between threads: whoever reads it while `catch_up` may run holds a lock."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.follower = Follower(paths)
        self.chain = Chain()
        self.told = Told()
        self.traffic = Traffic()
        self.restored: dict[int, tuple[Line, Restore]] = {}  #: by the place of its line
        self.last_line: tuple[float, str] = (0.0, "")
        self.version = 0  #: another one wherever something may have changed
        self.failure = ""  #: the type of the error that the last reading ended with
        self._taken_seq = 0

    def is_forgotten(self, first_seq: int, last_seq: int) -> bool:
        """Whether restored backups have voided all these places: what is missing there counts nowhere."""
        return are_void(first_seq, last_seq, [restore for _, restore in self.restored.values()])

    def keep_up(self) -> None:
        """Catch up, whatever stands in the files: who looks must see that nothing was read, not what was long ago."""
        try:
            self.catch_up()
            failure = ""
        except Exception as error:  # shown, and tried again
            failure = type(error).__name__
        self.version += failure != self.failure
        self.failure = failure

    def catch_up(self) -> bool:
        """Read what was written since the last time. Returns whether there was anything."""
        before = [(source.path, source.state) for source in self.follower.sources]
        sealed: list[Line] = []
        lines = 0
        for source, raw in self.follower.read():
            lines += 1
            try:
                line = parse(raw)
            except Torn:
                source.torn += 1
                continue
            except Foreign:
                source.foreign += 1
                continue
            self.last_line = max(self.last_line, (line.at, line.timestamp))
            if line.seq == 0:
                self.traffic.take(line)
            else:
                sealed.append(line)
            self.traffic.hear(line)
        sealed.sort(key=lambda line: line.seq)
        self._take([line for line in sealed if self.chain.add(line)])
        changed = lines > 0 or before != [(source.path, source.state) for source in self.follower.sources]
        self.version += changed
        return changed

    def _take(self, lines: list[Line]) -> None:
        """In the order of their places. What comes late, from another host's file, has all of it told once more.

        So has a restored backup: what it forgot does not count any more.
        """
        restored = {line.seq: (line, Restore.of(line.fields)) for line in lines if line.event == RESTORED}
        self.restored |= restored
        if lines and (restored or lines[0].seq < self._taken_seq):
            self.told = Told()
            lines = [self.chain.lines[seq] for seq in sorted(self.chain.lines)]
        restores = [restore for _, restore in self.restored.values()]
        for line in lines:
            if not is_void(line.seq, restores):
                self.told.take(line)
            self._taken_seq = line.seq

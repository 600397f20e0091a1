"""Whether the sealed lines are all there and unchanged, as they come, in whatever order."""

from bisect import bisect_right

from console.dashboard.lines import Line
from console.dashboard.views import Fault, Gap
from models.journal import GENESIS, hash_of_line

#: Gaps and faults that are shown; one is enough to look.
SHOWN_MAX = 20
#: No place lies so far beyond the last one: whoever says so only wants what follows to come too late.
LEAP_MAX = 1_000_000


class Chain:
    """Every sealed line once, by its place."""

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self._faults: dict[tuple[int, str], None] = {}
        self._spans: list[list[int]] = []  #: unbroken stretches [first, last], ascending, none touching the next

    def add(self, line: Line) -> bool:
        """Take a line in. False where its place is filled already: it says so again, or contradicts."""
        if self._spans and line.seq > self.last_seq + LEAP_MAX:
            self._fault(line.seq, "leaps")
            return False
        known = self.lines.get(line.seq)
        if known is not None:
            if known.hash != line.hash:
                self._fault(line.seq, "contradicted")
            return False
        self.lines[line.seq] = line
        self._extend(line.seq)
        self._prove(line)
        after = self.lines.get(line.seq + 1)
        if after is not None:
            self._prove(after)
        return True

    @property
    def first_seq(self) -> int:
        """0 where there is no line."""
        return self._spans[0][0] if self._spans else 0

    @property
    def to_seq(self) -> int:
        """Up to here, from the first line on, none is missing."""
        return self._spans[0][1] if self._spans else 0

    @property
    def last_seq(self) -> int:
        """The last place that is filled."""
        return self._spans[-1][1] if self._spans else 0

    def gaps(self) -> list[Gap]:
        """Places between lines that none fills."""
        pairs = zip(self._spans, self._spans[1:], strict=False)
        return [Gap(before[1] + 1, after[0] - 1) for before, after in list(pairs)[:SHOWN_MAX]]

    def faults(self) -> list[Fault]:
        """Lines that do not hold."""
        return [Fault(seq, rule) for seq, rule in sorted(self._faults)[:SHOWN_MAX]]

    def _prove(self, line: Line) -> None:
        """By the hash of the line before it; nothing proves the first line of files that begin later than the log."""
        before = self.lines.get(line.seq - 1)
        prev_hash = GENESIS if line.seq == 1 else before.hash if before else None
        if prev_hash is not None and hash_of_line(prev_hash, line.written) != line.hash:
            self._fault(line.seq, "changed")

    def _fault(self, seq: int, rule: str) -> None:
        self._faults[seq, rule] = None

    def _extend(self, seq: int) -> None:
        place = bisect_right(self._spans, seq, key=lambda span: span[0])
        before = self._spans[place - 1] if place else None
        after = self._spans[place] if place < len(self._spans) else None
        if before is not None and before[1] == seq - 1:
            before[1] = seq
            if after is not None and after[0] == seq + 1:
                before[1] = after[1]
                del self._spans[place]
        elif after is not None and after[0] == seq + 1:
            after[0] = seq
        else:
            self._spans.insert(place, [seq, seq])

"""Places of the log that no line of some files fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class Gap:
    """Places that no line of these files fills, and what the lines around them say."""

    first_seq: int
    last_seq: int
    after: str = ""  #: when the line before was recorded
    before: str = ""  #: and the line behind
    writers: list[str] = field(default_factory=list)  #: of these two: host and process. Whose file has them, probably

    def __str__(self) -> str:
        places = f"seq {self.first_seq}" + (f" to {self.last_seq}" if self.last_seq > self.first_seq else "")
        return (
            f"{places}, recorded between {self.after} and {self.before}, missing here; "
            f"the lines around were written by {' and '.join(self.writers)}"
        )

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "after": self.after,
            "before": self.before,
            "writers": self.writers,
        }

    def hear(self, line: Mapping[str, int | str | bool | None]) -> None:
        """One of the two lines around."""
        if line["seq"] == self.first_seq - 1:
            self.after = str(line.get("timestamp"))
        else:
            self.before = str(line.get("timestamp"))
        writer = str(line.get("service.instance.id"))
        if writer not in self.writers:
            self.writers.append(writer)


def find_gaps(places: Sequence[int]) -> list[Gap]:
    """Between places in ascending order."""
    return [Gap(before + 1, after - 1) for before, after in pairwise(places) if after > before + 1]

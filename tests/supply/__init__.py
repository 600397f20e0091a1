"""What is shipped beside our own code: whether it is known to be vulnerable, and under which licences it stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_LOCK, DEV_LOCK = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
_PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+?)?(?: \\)?$")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock."""

    name: str  #: as the index writes it: lower case, with hyphens
    version: str
    hashes: int  #: how many files of it may be installed


def read_lock(lock: Path) -> Iterator[Locked]:
    """The packages of a lock, in its order. Raises ValueError naming the line for one that is not understood."""
    text = "".join(line for line in lock.read_text().splitlines(keepends=True) if not line.lstrip().startswith("#"))
    entries = re.split(r"\n(?! )", text.strip()) if text.strip() else []
    for entry in entries:
        first = entry.partition("\n")[0]
        pinned = _PINNED.match(first)
        if pinned is None:
            raise ValueError(f"{lock.name}: {first!r} is not NAME==VERSION")
        yield Locked(pinned["name"], pinned["version"], entry.count("--hash=sha256:"))

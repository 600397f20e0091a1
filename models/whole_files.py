"""Files that get their name only once they are whole, and on the disk: hand-over files and backups."""

import glob
import os
import re
from pathlib import Path


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole: hidden beside it. What a process that was killed left there goes."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        found = re.fullmatch(r".*\.(\d+)\.part", left.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def name_it(part: Path, path: Path) -> None:
    """Give a whole file its name, unless that was taken meanwhile. A rename would overwrite; a link refuses to."""
    os.link(part, path)
    part.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """What was named or unnamed there stays so, whenever the machine stops."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

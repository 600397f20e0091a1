"""Files that get their name only once they are whole, and on the disk: hand-over files and backups."""

import os
from pathlib import Path


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

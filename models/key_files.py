"""How a key file changes: its next content is written beside it, whole and on the disk, and then takes its place.

Killed anywhere, there is the old file or the new one, whole. What was staged stays where it is, so that who repeats the
command goes on with the same key, and does not make another one.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import Misconfigured, RefusedByState
from models.whole_files import sync_folder

ELSEWHERE = "change key files where they are made, and copy them to where they are read"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """One command at a time changes the key files of a folder. Raises RefusedByState where another one is at work."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RefusedByState(f"another command changes the key files in {folder}", hint="repeat it") from None
    finally:
        os.close(descriptor)


def staged_path(path: Path) -> Path:
    """Where the next content of a key file waits. Only `stage` and `put` change it."""
    return path.with_name(f".{path.name}.next")


def stage(path: Path, text: str) -> None:
    """Write the next content of a key file, for its owner alone, and to the disk. The file itself stays as it is.

    Root writes for whom the file is, or the folder. Raises Misconfigured where it cannot be written.
    """
    staged = staged_path(path)
    if path.is_symlink():
        raise Misconfigured(f"{path} is a link", hint=ELSEWHERE)
    try:
        owner = path.stat() if path.exists() else path.parent.stat()
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as part:
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise Misconfigured(f"{path.parent} cannot keep a file from others", hint="take a local disk")
            part.write(text.encode())
            part.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be changed: {error.strerror}", hint=ELSEWHERE) from None


def put(path: Path) -> None:
    """Let what is staged take the place of a key file, or its empty place, at once and for good."""
    staged_path(path).replace(path)
    sync_folder(path.parent)

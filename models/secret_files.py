"""Files that hold a secret: a key, a token, a URL with its password. Nobody else of the host may read them."""

import os
import stat
from pathlib import Path

from models.errors import Misconfigured

#: More than any key file or URL; a setting that names a device by mistake ends here.
SECRET_BYTES_MAX = 65_536


def read_secret(path: Path, *, what: str, hint: str) -> str:
    """The text of such a file. `what` names it, `hint` mends one that is missing.

    Raises Misconfigured, which tells the path and never the content: missing, no file, too long, or readable by others.
    """
    try:
        # Nobody is waited for at the other end of a pipe; links are followed, as Kubernetes mounts secrets by them.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(SECRET_BYTES_MAX + 1) if stat.S_ISREG(found.st_mode) else b""
            text = content.decode()
    except (OSError, UnicodeDecodeError):
        raise Misconfigured(f"{what} {path} is missing or cannot be read", hint=hint) from None
    if not stat.S_ISREG(found.st_mode) or len(content) > SECRET_BYTES_MAX:
        raise Misconfigured(f"{what} {path} is no file, or too long for one", hint=hint)
    if is_exposed(found.st_mode, owner=found.st_uid, reader=os.geteuid()):
        raise Misconfigured(f"{what} {path} can be read by others", hint=f"chmod 600 {path}")
    return text


def is_exposed(mode: int, *, owner: int, reader: int) -> bool:
    """Whether others than its reader may read a file, or change it.

    systemd's credentials and Kubernetes' mounted secrets are root's, and their group is how the service may read them
    at all: that is accepted of a file that root owns, where we are not root. A group that may write never is.
    """
    mounted = owner == 0 and reader != 0
    return bool(mode & (stat.S_IRWXO | (stat.S_IRWXG & ~stat.S_IRGRP if mounted else stat.S_IRWXG)))

"""The health file: a long-lived service touches it whenever it has done its part, and a probe looks at its age.

Nothing is ever written into it: its time of change says all, so that no probe can read half of it, and a setting that
names the wrong file by mistake destroys nothing. All worker processes of a host touch one file. That is enough: a
process that dies ends the others with it (Dramatiq's master), and a dead thread its process (workers.watchdog).
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from models.errors import Misconfigured

#: Links are not followed, and nobody is waited for at the other end of a pipe.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def begin(path: Path | None) -> None:
    """Look at the start whether it can be touched, and make it old: nothing was done yet. Without a path, nothing.

    Raises Misconfigured: a service that cannot say that it is well would be restarted for ever.
    """
    if path is None:
        return
    try:
        _touch(path, (0, 0))
    except OSError as error:
        raise Misconfigured(
            f"the health file {path} cannot be touched: {error.strerror or type(error).__name__}",
            hint="name a file, in a folder that whoever runs the service may write to, in DESPENSA_HEALTH_FILE",
        ) from None


def mark(path: Path | None) -> None:
    """Say that this service has done its part just now. A failure stops no work: the probe will say so."""
    if path is not None:
        with suppress(OSError):
            _touch(path, None)


def _touch(path: Path, times: tuple[float, float] | None) -> None:
    descriptor = os.open(path, _FLAGS, 0o644)  # it holds nothing, and a probe may run under another login
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        os.utime(descriptor, times)
    finally:
        os.close(descriptor)

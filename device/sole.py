"""Files that one agent writes: a second one that is given the same path is refused, before both have spoilt it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat


def hold(descriptor: int) -> None:
    """Lock an open file until it is closed or its process ends, however it ends; who reads it sees nothing of that.

    What is no regular file, or lies where there are no locks, is left as it is.

    Raises:
        OSError: another agent holds it (EBUSY).
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise OSError(errno.EBUSY, "another agent writes it") from exc
    except OSError as exc:
        if exc.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise

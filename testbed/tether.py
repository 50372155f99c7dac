"""Become another program that dies with its parent: `python -I -S tether.py PARENT_PID PROGRAM [ARGUMENT ...]`.

Run as a script, never imported by a room: between fork and exec only a fresh interpreter may safely run Python, so
the tie is made after the first exec and kept over the second. Where there is no prctl (not Linux) it ties nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, program: list[str]) -> None:
    """Ask the kernel for SIGKILL when the parent's thread that started this ends, then run the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it ended before the tie was made
        os.execvp(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

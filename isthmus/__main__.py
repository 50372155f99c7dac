"""The command `isthmus`, also as `python -m isthmus`: Ctrl-C ends it quietly, even while it is still importing."""

from __future__ import annotations

import os
import signal
from typing import NoReturn


def main() -> None:
    """Run the command; exits the process."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else it is ignored, as of a shell's job in the background
        signal.signal(signal.SIGINT, _leave)
    from isthmus.cli.main import main as run

    signal.signal(signal.SIGINT, usual)
    run()


def _leave(_number: int, _frame: object) -> NoReturn:
    """End at once: what an import is told by an exception, it may swallow."""
    os._exit(130)


if __name__ == "__main__":
    main()

"""`python -m device CONFIG.toml [key=value ...]`: what `isthmus device` runs."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

from device.logs import set_logs
from device.notify import notify_of_this_process
from device.program import run
from device.settings import load
from protocol.errors import IsthmusError


def main(arguments: list[str]) -> int:
    """Run the agent; returns the exit code."""
    if not arguments or "=" in arguments[0]:
        print("usage: python -m device CONFIG.toml [key=value ...]", file=sys.stderr)
        return 2
    path, *overrides = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        pairs = [override.partition("=") for override in overrides]
        read = partial(load, Path(path), {key: value for key, _, value in pairs})
        settings = read()
        set_logs(settings.log.format, settings.log.level)
        asyncio.run(run(settings, reread=read, notify=notify_of_this_process()))
    except IsthmusError as exc:
        print(f"device: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

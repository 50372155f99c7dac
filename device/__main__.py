"""`python -m device CONFIG.toml [key=value ...]`: what `isthmus device` runs."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

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
        asyncio.run(run(load(Path(path), {key: value for key, _, value in pairs})))
    except IsthmusError as exc:
        print(f"device: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m cloud.control CONFIG.toml [key=value ...]`."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from cloud.control.program import run
from cloud.control.settings import load
from protocol.errors import IsthmusError


def main(arguments: list[str]) -> int:
    """Run the program; the exit code. Errors are one sentence on stderr."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    overrides = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    paths = [Path(argument) for argument in arguments if "=" not in argument]
    try:
        asyncio.run(run(load(paths[0] if paths else None, overrides)))
    except IsthmusError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m testbed.packets CONFIG.toml`, or `clean`, which removes what killed ones have left."""

from __future__ import annotations

import sys
from pathlib import Path

from protocol.errors import IsthmusError
from runtime.settings import load_settings
from testbed.packets.namespaces import clean
from testbed.packets.program import run
from testbed.packets.settings import Settings

USAGE = "usage: python -m testbed.packets CONFIG.toml | clean"


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if len(arguments) != 1:
        print(USAGE, file=sys.stderr)
        return 2
    if arguments == ["clean"]:
        print("\n".join(clean()) or "nothing was left")
        return 0
    try:
        run(load_settings(Settings, Path(arguments[0]), {}))
    except IsthmusError as error:
        print(f"packets: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

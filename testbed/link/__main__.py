"""`python -m testbed.link CONFIG.toml [key=value ...]`"""

from __future__ import annotations

import sys
from pathlib import Path

from protocol.errors import IsthmusError
from testbed.link.program import run
from testbed.link.settings import load

USAGE = "usage: python -m testbed.link CONFIG.toml [key=value ...]"


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if not arguments or any("=" not in argument for argument in arguments[1:]):
        print(USAGE, file=sys.stderr)
        return 2
    overrides: dict[str, object] = {key: value for key, _, value in (text.partition("=") for text in arguments[1:])}
    try:
        run(load(Path(arguments[0]), overrides))
    except IsthmusError as error:
        print(f"link: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

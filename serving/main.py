"""`python -m edge CONFIG.toml [key=value ...]`, and the same for the cloud."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from protocol.errors import IsthmusError
from runtime.logs import use_json_lines
from serving import loops
from serving.settings import TierSettings

Settings = TypeVar("Settings", bound=TierSettings)


def main(
    arguments: Sequence[str],
    load: Callable[[Path | None, Mapping[str, object]], Settings],
    run: Callable[[Settings], Coroutine[None, None, None]],
) -> int:
    """Run a tier from command line arguments; the exit code. Errors are one sentence on stderr."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    overrides = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    paths = [Path(argument) for argument in arguments if "=" not in argument]
    if len(paths) > 1:
        print(f"one configuration file at most, not {len(paths)}; settings are written key=value", file=sys.stderr)
        return 2
    try:
        settings = load(paths[0] if paths else None, overrides)
        if settings.json_logs:
            use_json_lines()
        loops.run(lambda: run(settings), settings.event_loop)
    except IsthmusError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    return 0

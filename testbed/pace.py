"""How fast the whole model runs where an emulated device will, as a program: `python -m testbed.pace CONFIG.toml`.

It is asked in the very place (a namespace, a container with libraries of its own), because a device is emulated by
multiples of what its parts take there. Prints `{"event": "ready", "whole_model_s": SECONDS}` and ends.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from device.sources import read_item
from protocol.errors import IsthmusError
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.manifest import Manifest
from runtime.settings import load_settings
from runtime.stage import Stage
from testbed.errors import ScenarioError

REST_S = 0.02
"""Before each run, for caches to go cold as they do from frame to frame; longer rests change little."""
BUDGET_S = 3.0
FEWEST, MOST = 15, 120
"""Runs: the median of 15 was off by 9 % now and then, which the emulated device multiplies as it does everything."""


class Settings(BaseModel):
    """All settings of the program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    items: tuple[Path, ...] = Field(min_length=1)
    """Inputs that the model is run on, in turn."""


def whole_model_s(
    bundle: Path,
    items: Sequence[Path],
    *,
    runs: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
    thread_time: Callable[[], float] = time.thread_time,
) -> float:
    """Processor seconds that the whole model takes on this machine: the median of runs with a rest before each.

    Args:
        runs: how many; None takes as many as fit into `BUDGET_S`, within bounds.

    Raises:
        BundleError: the bundle cannot be used.
        ScenarioError: no input fits the model.
    """
    with Bundle.open(bundle) as opened:
        given = fitting(items, opened.manifest)
        stage = Stage(opened, engine_named("onnxruntime", 1))

        def timed(item: NDArray[Any]) -> float:
            sleep(REST_S)
            began = thread_time()
            stage.run(item)
            return thread_time() - began

        stage.run(given[0])
        if runs is None:
            runs = min(max(round(BUDGET_S / (REST_S + timed(given[0]))), FEWEST), MOST)
        return statistics.median(timed(given[number % len(given)]) for number in range(runs))


def fitting(items: Sequence[Path], manifest: Manifest) -> list[NDArray[Any]]:
    """Those of the inputs that have the model's shape, each with a batch axis.

    Raises:
        ScenarioError: none of them has.
    """
    contents = [read_item(path) for path in items]
    found = [content[np.newaxis] for content in contents if not isinstance(content, str)]
    found = [item for item in found if item.shape[1:] == manifest.input.shape]
    if not found:
        raise ScenarioError(
            f"none of the first inputs in {str(items[0].parent)!r} is a {list(manifest.input.shape)} item, which "
            f"bundle {manifest.model_id!r} takes; give others"
        )
    return found


def main(path: Path) -> int:
    """Returns the exit code."""
    try:
        settings = load_settings(Settings, path)
        print(json.dumps({"event": "ready", "whole_model_s": whole_model_s(settings.bundle, settings.items)}))
    except IsthmusError as error:
        print(f"pace: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))

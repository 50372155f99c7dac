"""One engine on one bundle, tried in a process of its own.

`python -m device.engines.trial BUNDLE ENGINE THREADS SECONDS`: so an engine that is not taken leaves nothing in the
agent's memory, and one that this processor cannot run takes nobody with it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from device.items import items_for
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage

LEAST_RUNS = 3
SHOWN = 4096
"""Numbers of the answer that are told, to compare engines by."""


def main(bundle: Path, name: str, threads: int, seconds: float) -> None:
    """Print `{"frame_s": median seconds of the whole model, "answer": its numbers}`."""
    with Bundle.open(bundle) as opened:
        stage = Stage(opened, engine_named(name, threads))
        (item,) = items_for((), opened.manifest)
        answer = stage.run(item)[0]  # loads, which counts for nothing
        timer = time.thread_time if threads == 1 else time.monotonic  # other programs do not change the former
        taken: list[float] = []
        end_s = time.monotonic() + seconds
        while len(taken) < LEAST_RUNS or time.monotonic() < end_s:
            began_s = timer()
            stage.run(item)
            taken.append(timer() - began_s)
        told = [float(value) for value in answer.ravel()[:SHOWN]]
    print(json.dumps({"frame_s": statistics.median(taken), "answer": told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

"""`python -m tests.chaos --runs 1000`: kill, stall, cut off and confuse the programs at random, and read the histories.

Prints one JSON line for each run in which something was wrong, with the seed that does it again, and ends with 1 then.
With `--record FILE` every run's line goes there, and seeds that stand there are not run again: so a thousand runs may
be made in several sittings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LANES_PER_PROCESSOR: Final = 3
"""Runs at the same time: most of a run is waiting."""


def main(arguments: list[str]) -> int:
    """Run as many as asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; each takes the next")
    parser.add_argument("--lanes", type=int, default=LANES_PER_PROCESSOR * (os.cpu_count() or 1), help="at one time")
    parser.add_argument("--record", type=Path, help="file of lines; what stands there is not run again")
    options = parser.parse_args(arguments)
    before = _recorded(options.record)
    seeds = [seed for seed in range(options.seed, options.seed + options.runs) if seed not in before]
    told = [before[seed] for seed in range(options.seed, options.seed + options.runs) if seed in before]
    with tempfile.TemporaryDirectory() as folder:
        told += _run(seeds, options.lanes, Path(folder), options.record)
    wrong = [one for one in told if one["wrong"]]
    for one in wrong:
        print(json.dumps(one), flush=True)
    print(f"{len(told)} of {options.runs} runs, {len(wrong)} with something wrong", file=sys.stderr)
    return 1 if wrong or len(told) < options.runs else 0


def _recorded(path: Path | None) -> dict[int, dict[str, Any]]:
    """Earlier runs by seed."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["seed"]: line for line in lines}


def _run(seeds: Sequence[int], lanes: int, folder: Path, record: Path | None) -> list[dict[str, Any]]:
    """Share the seeds out among lanes, which are forks of this process; their reports, as they come."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # threads do not survive a fork
    from tests.chaos.forks import fork, preload, wait_for
    from tests.chaos.runs import line_of, report
    from tests.runtime.tiny_bundle import TinyBundle, build, pictures

    preload()
    if wait_for(fork(lambda: build(folder) and None)):  # ONNX Runtime's threads stay in the fork
        sys.exit("the bundle of the runs could not be made")
    bundle = TinyBundle(folder / "tiny.isthmus", folder / "whole.onnx", tuple(pictures(6)))
    reading, writing = os.pipe()

    def lane(mine: Sequence[int]) -> None:
        for seed in mine:
            with tempfile.TemporaryDirectory(dir=folder) as work:
                os.write(writing, line_of(report(seed, Path(work), bundle)))

    pids = [fork(lambda mine=seeds[number::lanes]: lane(mine)) for number in range(min(lanes, len(seeds)))]
    os.close(writing)
    told = []
    with open(reading) as lines:
        for line in lines:
            told.append(json.loads(line))
            if record is not None:
                record.parent.mkdir(parents=True, exist_ok=True)
                with record.open("a") as file:
                    file.write(line)
    for pid in pids:
        wait_for(pid)
    return told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

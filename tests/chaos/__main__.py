"""`python -m tests.chaos --runs 1000 --seed 0`: kill, stall and cut off the programs at random, and read the histories.

Prints one JSON line for each run in which something was wrong, with the seed that does it again, and ends with 1 then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.runs import report
from tests.runtime.tiny_bundle import build


def main(arguments: list[str]) -> int:
    """Run as many as asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; each takes the next")
    options = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        bundle = build(Path(folder))
        for seed in range(options.seed, options.seed + options.runs):
            with tempfile.TemporaryDirectory() as work:
                told = report(seed, Path(work), bundle)
            if told is not None:
                wrong += 1
                print(told, flush=True)
    print(f"{options.runs} runs, {wrong} with something wrong", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

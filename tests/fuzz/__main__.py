"""`python -m tests.fuzz [TARGET ...] --executions N`: mutate the corpus, find what breaks.

A failing input is written to `tests/fuzz/found/` and ends the run: any exception but a target's refusal, more than
100 ms for one input, or more memory than the limit, which the operating system enforces. `--seed-corpus` writes the
first inputs of a target that has none.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
from pathlib import Path
from typing import Final

from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
SLOW_S: Final = 0.1
MEMORY_BYTES: Final = 512 << 20
"""What one target may add to the address space, the mutation's own corpus included."""
KEPT: Final = 2000
"""Inputs of a new outcome kept in memory."""


def corpus_of(name: str) -> list[bytes]:
    """The kept inputs of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def fuzz(name: str, executions: int, seed: int) -> None:
    """Run one target; prints how it went.

    Raises:
        SystemExit: an input broke it.
    """
    target, corpus, chance = TARGETS[name], corpus_of(name), random.Random(seed)
    outcomes = {target(data) for data in corpus}
    slowest_s, began = 0.0, time.perf_counter()
    for _ in range(executions):
        data = mutated(corpus, chance)
        started, spent = time.perf_counter(), time.thread_time()
        try:
            outcome = target(data)
        except BaseException:
            _keep(name, data)
            raise
        if time.perf_counter() - started > SLOW_S:
            spent = time.thread_time() - spent  # another program may have had the processor meanwhile
            slowest_s = max(slowest_s, spent)
            if spent > SLOW_S:
                sys.exit(f"{name}: {_keep(name, data)} took {spent:.3f} s")
        if outcome not in outcomes and len(corpus) < KEPT:
            outcomes.add(outcome)
            corpus.append(data)
    rate = executions / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{name}: {executions} executions, {rate:.0f}/s, {len(outcomes)} outcomes, peak {peak} MiB", flush=True)


def _keep(name: str, data: bytes) -> Path:
    folder = HERE / "found"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)


def _write_seeds() -> None:
    for name, make in SEEDS.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            for number, data in enumerate(make()):
                (folder / f"{number:02}.bin").write_bytes(data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default all")
    parser.add_argument("--executions", type=int, default=10_000_000, help="over all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seed-corpus", action="store_true")
    given = parser.parse_args()
    if given.seed_corpus:
        _write_seeds()
    else:
        _limit_memory()
        names = given.targets or list(TARGETS)
        for one in names:
            fuzz(one, -(-given.executions // len(names)), given.seed)

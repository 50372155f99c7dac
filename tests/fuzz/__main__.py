"""`python -m tests.fuzz [TARGET ...] --executions N`: mutate the corpus, find what breaks.

Each target is a process of its own, as many at a time as there are processors. A failing input is written to
`tests/fuzz/found/` and ends its target: any exception but a target's refusal, more than 100 ms for one input, or more
memory than the limit, which the operating system enforces. The target `coder` is the C source under sanitisers.
`--seed-corpus` writes the first inputs of targets that have none.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.fuzz.coder import NoSanitisers, run_coder
from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

HERE: Final = Path(__file__).parent
C_CODER: Final = "coder"
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


def fuzz_coder(executions: int, seed: int) -> None:
    """The same for the C source.

    Raises:
        SystemExit: a sanitiser found something.
    """
    began = time.perf_counter()
    try:
        wrong = run_coder(executions, seed)
    except NoSanitisers as exc:
        print(f"{C_CODER}: left out, {exc}", flush=True)
        return
    if wrong:
        sys.exit(f"{C_CODER}: with --seed {seed}: {wrong}")
    rate = executions / (time.perf_counter() - began)
    print(f"{C_CODER}: {executions} executions under sanitisers, {rate:.0f}/s", flush=True)


def _side_by_side(names: Sequence[str], executions: int, seed: int) -> int:
    """Every target in a process of its own; how many of them failed."""

    def one(name: str) -> int:
        command = [sys.executable, "-m", "tests.fuzz", name, "--executions", str(executions), "--seed", str(seed)]
        return subprocess.run(command, check=False).returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(code != 0 for code in pool.map(one, names))


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; the exit code."""
    names = (*TARGETS, C_CODER)
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--executions", type=int, default=10_000_000, help="over all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seed-corpus", action="store_true")
    given = parser.parse_args(arguments)
    if given.seed_corpus:
        _write_seeds()
        return 0
    chosen = given.targets or names
    executions = -(-given.executions // len(chosen))
    if len(chosen) > 1:
        return 1 if _side_by_side(chosen, executions, given.seed) else 0
    if chosen[0] == C_CODER:
        fuzz_coder(executions, given.seed)
    else:
        _limit_memory()
        fuzz(chosen[0], executions, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

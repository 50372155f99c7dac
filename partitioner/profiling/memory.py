"""Peak memory of running the first segments of a bundle: in a process of its own, for a peak never goes down.

    python -m partitioner.profiling.memory BUNDLE ENGINE THREADS

prints a JSON list: for each segment, bytes that the peak has grown by when it has been loaded and run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from partitioner.errors import ProfileUnusable

STATUS = Path("/proc/self/status")


def peaks_of(bundle: Path, engine: str, threads: int = 1, *, timeout_s: float = 300.0) -> list[int] | None:
    """`SegmentFigures.peak_bytes` of each segment; None where the system does not tell.

    Raises:
        ProfileUnusable: the bundle does not run in a process of its own; tells its error.
    """
    if peak_bytes() is None:
        return None
    command = [sys.executable, "-m", "partitioner.profiling.memory", str(bundle.resolve()), engine, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ProfileUnusable(
            f"measuring the memory of {bundle} took more than {timeout_s:.0f} s; leave it out: --no-memory"
        ) from exc
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProfileUnusable(f"{bundle} does not run in a process of its own: {told}; leave memory out: --no-memory")
    peaks: list[int] = json.loads(done.stdout)
    return peaks


def peak_bytes() -> int | None:
    """The largest resident size of this process so far. Linux only.

    Not `getrusage`: a child's figure there starts from its parent's size.
    """
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _main(arguments: Sequence[str]) -> None:
    from partitioner.profiling.timing import inputs_for
    from runtime.bundle import Bundle
    from runtime.engines import engine_named
    from runtime.stage import Stage

    path, engine, threads = arguments
    with Bundle.open(path) as bundle:
        stage = Stage(bundle, engine_named(engine, int(threads)))
        (carried,) = inputs_for(bundle.manifest, 1)
        bare, peaks = peak_bytes() or 0, []
        for index in range(len(bundle.manifest.segments)):
            carried = stage.run(carried, index, index + 1)[0]
            peaks.append((peak_bytes() or 0) - bare)
    print(json.dumps(peaks))


if __name__ == "__main__":
    _main(sys.argv[1:])

"""What the agent costs a small board: disk, memory, an idle processor, and the time until `--help` is there."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from PIL import Image

from benchmarks import mobilenet
from benchmarks.figure import Figure
from isthmus.builtin.demo import BUNDLE
from runtime.bundle import Bundle

IDLE_S = 20.0
STREAMING_FRAMES = 300
HELP_RUNS = 9
MIB = 1 << 20


def figures() -> Sequence[Figure]:
    """The promises of a small install. MobileNetV2 is measured where its weights and torch, to make a bundle, are."""
    idle, streaming = asyncio.run(_measured())
    return [
        Figure("installed with its dependencies", _installed_bytes("device") / MIB, "MiB", 260.0),
        Figure("resident while streaming, built-in bundle", streaming, "MiB", 140.0),
        *_of_mobilenet(),
        Figure("idle agent", 100 * idle, "% of a core", 1.0, "below", f"{IDLE_S:g} s with a push source"),
        Figure.of_runs(
            "isthmus --help", [_help_s() * 1e3 for _ in range(HELP_RUNS)], "ms", 150.0, against="warm, processor time"
        ),
    ]


def _of_mobilenet() -> list[Figure]:
    if not mobilenet.can_be_made():
        return []
    with tempfile.TemporaryDirectory() as name:
        bundle, pictures = Path(name) / "mobilenet.bundle", Path(name) / "pictures"
        mobilenet.write_bundle(bundle, size=(224, 224), cuts=[3, 10])
        pictures.mkdir()
        _pictures(pictures, bundle)
        settings = {
            "bundle": str(bundle), "measure_s": 0.5, "source.path": str(pictures), "source.rate_hz": 10.0,
            "source.limit": STREAMING_FRAMES, "policy.name": "fixed", "policy.route": "device", "policy.cut": 3,
        }  # fmt: skip
        streaming = asyncio.run(_resident_mib(settings))
    return [Figure("resident while streaming, MobileNetV2 float32 whole", streaming, "MiB", 140.0)]


def _installed_bytes(extra: str) -> int:
    """Of isthmus and everything that `pip install isthmus[EXTRA]` brings: the files that their records name, in this
    environment, byte code included where it is compiled."""
    total, done = 0, set()
    for name in _closure("isthmus", extra):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if path not in done and path.is_file():
                done.add(path)
                total += path.stat().st_size
    return total + _room_bytes()


def _closure(name: str, extra: str) -> set[str]:
    found: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset({extra}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one, extras = waiting.pop()
        if (one, extras) in seen:
            continue
        seen.add((one, extras))
        found.add(one)
        for text in importlib.metadata.requires(one) or ():
            wanted = Requirement(text)
            markers = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if wanted.marker is None or any(wanted.marker.evaluate(one) for one in markers):
                waiting.append((wanted.name, frozenset(wanted.extras)))
    return found


def _room_bytes() -> int:
    """Our own files, which an editable install does not list."""
    root = Path(__file__).parents[1]
    rooms = ("protocol", "runtime", "partitioner", "adaptation", "transport", "serving", "edge", "cloud", "device")
    return sum(
        path.stat().st_size
        for room in (*rooms, "testbed", "isthmus")
        for path in (root / room).rglob("*")
        if path.is_file()
    )


async def _measured() -> tuple[float, float]:
    """Share of a core of an idle agent, and MiB of one that streams."""
    with tempfile.TemporaryDirectory() as folder:
        _pictures(Path(folder))
        base = {"bundle": str(BUNDLE), "measure_s": 0.5}
        idle = await _idle_share(base | {"source.kind": "push"})
        streaming = base | {"source.path": folder, "source.rate_hz": 20.0, "source.limit": STREAMING_FRAMES}
        return idle, await _resident_mib(streaming)


async def _idle_share(settings: dict[str, object]) -> float:
    async with asyncio.timeout(120):
        process = await _agent(settings)
        before_s, began_s = _cpu_s(process.pid), time.monotonic()
        await asyncio.sleep(IDLE_S)
        share = (_cpu_s(process.pid) - before_s) / (time.monotonic() - began_s)
        process.terminate()
        await process.communicate()
        return share


async def _resident_mib(settings: dict[str, object]) -> float:
    """At its most, over a run."""
    async with asyncio.timeout(300):
        process = await _agent(settings)
        most = 0.0
        while process.returncode is None:
            most = max([most, *_resident(process.pid)])
            await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.5)
        return most


async def _agent(settings: dict[str, object]) -> asyncio.subprocess.Process:
    code = (
        "import asyncio, json, sys; from device.program import run; from device.settings import load; "
        "asyncio.run(run(load(None, json.loads(sys.argv[1]))))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, json.dumps(settings), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _resident(pid: int) -> Iterator[float]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return
    yield from (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _help_s() -> float:
    """Processor seconds of the command: what its user waits for where nothing else runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "import sys; from isthmus.cli.main import main; main(['--help'])"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pictures(folder: Path, of: Path = BUNDLE) -> None:
    with Bundle.open(of) as bundle:
        shape = bundle.manifest.input.shape
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")

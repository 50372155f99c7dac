"""Whole models behind our tier, LitServe and Ray Serve: goodput over offered load, beside the engine alone.

    python -m benchmarks.peers digits        # measure, about 10 minutes each; writes results/peers/digits.json
    python -m benchmarks.peers mobilenet     # needs the shared data and torch
    isthmus bench peers                      # the figures of what was measured

Servers have all processors of the machine but the last, which the client has to itself (on two: one each); so has the
engine alone. All run the same graph in ONNX Runtime with the same options, take the same bytes and give all logits,
each in the form that costs it least, and are told the deadline. Every server's settings are first chosen by closed
loops of as many clients as serve it best; then rounds of open loops, each with a freshly started server: loads that
grow until the goodput falls, of which the best counts, and 1.5 times that load.

What was measured is kept step by step: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import Figure
from benchmarks.peer_models import RESULTS, ROOT, Model, model_named
from benchmarks.peer_servers import SERVERS, NotServing, Server, cores, running
from runtime.engines.onnxruntime import OnnxRuntimeEngine

DEADLINE_S: Final = 0.1
ROUNDS: Final = 3
SECONDS: Final = 3.0
LOADS: Final = tuple(0.6 * 1.15**step for step in range(9))
"""Offered loads, in parts of what closed loops got through, until the goodput has fallen twice."""
OVERLOAD: Final = 1.5
CONNECTIONS: Final = (2, 4, 8, 16)
"""Clients of closed loops: with too many of them, answers of a slow model come after their deadlines."""
BATCHES: Final = (1, 2, 4, 8)


class NotMeasured(RuntimeError):
    """There is nothing to tell yet."""


def play(
    port: int, request: bytes, *, rate: float = 0.0, connections: int = 1, seconds: float = SECONDS, seed: int = 1
) -> dict[str, float]:
    """One run of the client, on its own processor: an open loop at a rate, or without one closed loops."""
    path = RESULTS / "request"
    path.write_bytes(request)
    wanted = {
        "port": port, "request": str(path), "rate": rate, "seconds": seconds, "deadline_s": DEADLINE_S, "seed": seed,
        "connections": connections,
    }  # fmt: skip
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.open_loop"], input=json.dumps(wanted), capture_output=True, text=True,
        check=True, cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
    )  # fmt: skip
    found: dict[str, float] = json.loads(finished.stdout)
    return found


def choose(server: Server, model: Model) -> tuple[dict[str, Any], float]:
    """The best settings for a model, and answers in time per second of closed loops with them."""
    best: tuple[dict[str, Any], float] | None = None
    for settings in server.choices:
        try:
            with running(server, model, settings) as port:
                request = server.request(model, settings)
                play(port, request, seconds=1.0)
                loops = [play(port, request, connections=count, seconds=1.5) for count in CONNECTIONS]
                capacity = max(found["in_time_per_s"] for found in loops)
        except NotServing as exc:
            print(f"  {exc}", file=sys.stderr)
            continue
        print(f"  {settings}: {capacity:.0f} per s", file=sys.stderr)
        if best is None or capacity > best[1]:
            best = settings, capacity
    if best is None:
        raise NotServing("none of the settings serves; see above")
    return best


def one_round(server: Server, model: Model, settings: dict[str, Any], capacity: float, seed: int) -> dict[str, Any]:
    """The best goodput over growing loads, and that at an overload."""
    with running(server, model, settings) as port:
        request = server.request(model, settings)
        play(port, request, seconds=1.0)
        loads: list[dict[str, float]] = []
        for load in LOADS:
            loads.append(play(port, request, rate=capacity * load, seed=seed))
            peak = max(loads, key=lambda found: found["in_time_per_s"])
            if loads.index(peak) < len(loads) - 2:
                break
        over = play(port, request, rate=OVERLOAD * peak["offered_per_s"], seed=seed + 1)
    return {"peak": peak, "over": over, "loads": loads}


def engine_alone(model: Model, seconds: float = 1.0) -> float:
    """Items per second, at the best batch size, a thread for each of the servers' processors."""
    loaded = OnnxRuntimeEngine().load(model.whole)
    threads = len(cores()[0])
    return max(_items_per_s(loaded.run, np.stack([model.item] * size), threads, seconds) for size in BATCHES)


def _items_per_s(run: Callable[..., object], items: NDArray[np.uint8], threads: int, seconds: float) -> float:
    run([items])
    began_s = time.monotonic()

    def one(_: int) -> int:
        done = 0
        while time.monotonic() < began_s + seconds:
            run([items])
            done += len(items)
        return done

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores()[0])
    try:
        with ThreadPoolExecutor(threads) as pool:
            done = sum(pool.map(one, range(threads)))
    finally:
        os.sched_setaffinity(0, allowed)
    return done / (time.monotonic() - began_s)


def measure(name: str) -> None:
    """All servers with one model, into a file."""
    model, begun = model_named(name), RESULTS / f"{name}.begun"
    found: dict[str, Any] = {"model": name, "chosen": {}, "rounds": [], "cores": [len(part) for part in cores()]}
    if begun.exists():
        found = json.loads(begun.read_text())
    for title, server in SERVERS.items():
        if title not in found["chosen"]:
            print(title, file=sys.stderr)
            found["chosen"][title] = choose(server, model)
            begun.write_text(json.dumps(found))
    while len(found["rounds"]) < ROUNDS:
        number = len(found["rounds"])
        one: dict[str, Any] = {"engine": engine_alone(model)}
        for title, server in SERVERS.items():
            settings, capacity = found["chosen"][title]
            one[title] = one_round(server, model, settings, capacity, seed=10 * number)
            told = {key: round(one[title][key]["in_time_per_s"]) for key in ("peak", "over")}
            print(f"round {number}: {title} {told}, engine {one['engine']:.0f}", file=sys.stderr)
        found["rounds"].append(one)
        begun.write_text(json.dumps(found))
    begun.write_text(json.dumps(found, indent=1))
    begun.rename(RESULTS / f"{name}.json")


def figures() -> Sequence[Figure]:
    """Ratios of what was measured, round by round.

    Raises:
        NotMeasured: nothing was.
    """
    paths = sorted(RESULTS.glob("*.json"))
    if not paths:
        raise NotMeasured("there are no results/peers/*.json; run: python -m benchmarks.peers digits")
    return [figure for path in paths for figure in of_model(json.loads(path.read_text()))]


def of_model(found: dict[str, Any]) -> list[Figure]:
    """The figures of one model."""
    name, rounds = found["model"], found["rounds"]

    def goodput(server: str, when: str) -> list[float]:
        return [one[server][when]["in_time_per_s"] for one in rounds]

    def ratio(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
        return [one / max(other, 1.0) for one, other in zip(ours, theirs, strict=True)]

    told = []
    for peer, least in (("LitServe", 2.0), ("Ray Serve", 3.0)):
        peak = ratio(goodput("isthmus", "peak"), goodput(peer, "peak"))
        if name == "mobilenet":
            told.append(Figure.of_runs(f"{name}: peak goodput", peak, "times", 1.0, "above", peer))
        else:
            told.append(Figure.of_runs(f"{name}: peak goodput", peak, "times", least, "at least", peer))
        over = ratio(goodput("isthmus", "over"), goodput(peer, "over"))
        told.append(Figure.of_runs(f"{name}: goodput at 1.5 times overload", over, "times", 2.0, "at least", peer))
    engine = [one["engine"] for one in rounds]
    share = ratio(goodput("isthmus", "peak"), engine)
    target = 0.9 if name == "mobilenet" else None
    told.append(Figure.of_runs(f"{name}: peak goodput", share, "times", target, "at least", "engine alone"))
    told.append(Figure.of_runs(f"{name}: engine alone", engine, "items/s"))
    for peer in ("LitServe", "Ray Serve"):
        most = ratio(engine, goodput(peer, "peak"))
        told.append(Figure.of_runs(f"{name}: the most that any server could have", most, "times", against=peer))
    for server in SERVERS:
        told.append(Figure.of_runs(f"{name}: {server}: peak", goodput(server, "peak"), "answers/s"))
        told.append(Figure.of_runs(f"{name}: {server}: 1.5 times overload", goodput(server, "over"), "answers/s"))
    return told


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["digits", "mobilenet"]:
        measure(wanted)

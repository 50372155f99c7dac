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

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import mobilenet
from benchmarks.environments import python_with
from benchmarks.figure import Figure
from benchmarks.open_loop import Connection
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.manifest import RawLevel
from runtime.stage import Stage

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE.parent / "results" / "peers"
DIGITS: Final = HERE.parent / "isthmus" / "builtin" / "digits.bundle"
ENGINE: Final = ("onnxruntime==1.31.1", "numpy==1.26.4")
LITSERVE: Final = ("litserve", "litserve==0.2.19", "python-multipart==0.0.34", *ENGINE)
RAY: Final = ("ray", "ray[serve]==2.60.0", *ENGINE)
"""Name and requirements of the peers' environments."""
DEADLINE_S: Final = 0.1
TOLD_S: Final = 0.09
"""What servers are told of the deadline: the rest is for the way."""
ROUNDS: Final = 3
SECONDS: Final = 3.0
LOADS: Final = tuple(0.6 * 1.15**step for step in range(9))
"""Offered loads, in parts of what closed loops got through, until the goodput has fallen twice."""
OVERLOAD: Final = 1.5
START_S: Final = 90.0
CONNECTIONS: Final = (2, 4, 8, 16)
"""Clients of closed loops: with too many of them, answers of a slow model come after their deadlines."""
BATCHES: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Model:
    """One model in the forms that servers want it in.

    Attributes:
        bundle: for our tier, of one segment.
        whole: the same as one ONNX file.
        item: one input, uint8.
        truth: its logits, float32.
    """

    name: str
    bundle: Path
    whole: Path
    item: NDArray[np.uint8]
    truth: NDArray[np.float32]


@dataclass(frozen=True)
class Server:
    """How to start a server, ask it, and read its answer.

    Attributes:
        choices: settings to choose the best from.
        command: of a model, settings and a port.
        request: the bytes of a whole request, of a model and settings.
        logits: of an answer's body, and settings.
    """

    choices: Sequence[dict[str, Any]]
    command: Callable[[Model, dict[str, Any], int], list[str]]
    request: Callable[[Model, dict[str, Any]], bytes]
    logits: Callable[[bytes, dict[str, Any]], NDArray[np.float32]]


def model_named(name: str) -> Model:
    """Make what is missing of a model's files."""
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    cut, bundle, whole = DIGITS, folder / "uncut.bundle", folder / "whole.onnx"
    if name == "mobilenet":
        cut = folder / "cut.bundle"
        if not cut.exists():
            mobilenet.write_bundle(cut, size=(224, 224), cuts=[13])
    if not whole.exists():
        write_whole(cut, whole)
    if not bundle.exists():
        write_uncut(cut, whole, bundle)
    with Bundle.open(bundle) as opened:
        spec = opened.manifest.input
        item = np.random.default_rng(1).integers(0, 256, (1, *spec.shape), dtype=np.uint8)
        truth = Stage(opened, OnnxRuntimeEngine()).run(item)[0][0]
    return Model(name, bundle, whole, item[0], truth)


def write_whole(bundle: Path, target: Path) -> None:
    """All segments of a bundle as one graph with its weights in one file."""
    import onnx
    from onnx import compose

    with Bundle.open(bundle) as opened:
        merged = None
        for place, segment in enumerate(opened.manifest.segments):
            part = compose.add_prefix(onnx.load(opened.model(segment.model, segment.data)), f"{place}/")
            if merged is None:
                merged = part
                continue
            joint = [(merged.graph.output[0].name, part.graph.input[0].name)]
            merged = compose.merge_models(merged, part, io_map=joint)
        assert merged is not None, "a bundle has segments"
        onnx.save(merged, target)


def write_uncut(cut: Path, whole: Path, target: Path) -> None:
    """A bundle of one segment, for a tier that serves whole models to clients that know of no cuts."""
    with Bundle.open(cut) as opened:
        manifest = opened.manifest
    target.mkdir()
    shutil.copy(whole, target / "whole.onnx")
    one = manifest.segments[0].model_copy(update={"model": "whole.onnx", "data": ()})
    raw = tuple(level for level in manifest.cuts[0].levels if isinstance(level, RawLevel))
    changed: dict[str, Any] = {
        "segments": (one,),
        "cuts": (manifest.cuts[0].model_copy(update={"levels": raw}),),
        "exits": (),
        "profiles": (),
        "files": {"whole.onnx": file_entry(target / "whole.onnx")},
    }
    (target / MANIFEST_NAME).write_bytes(manifest.model_copy(update=changed).to_bytes())


def _post(path: str, body: bytes, **headers: str | int) -> bytes:
    named = {"Host": "127.0.0.1", "Content-Length": len(body)} | {
        key.replace("_", "-"): headers[key] for key in headers
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{key}: {value}" for key, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _our_request(model: Model, settings: dict[str, Any]) -> bytes:
    path = f"/v2/models/{_model_id(model)}/infer"
    data = model.item.tobytes()
    if settings["form"] == "raw":
        return _post(path, data, Inference_Header_Content_Length=0)
    with Bundle.open(model.bundle) as opened:
        name = opened.manifest.input.name
    tensor = {"name": name, "datatype": "UINT8", "shape": [1, *model.item.shape]}
    asked = {"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}
    head = json.dumps(asked | {"parameters": {"binary_data_output": True}}).encode()
    return _post(path, head + data, Inference_Header_Content_Length=len(head))


def _model_id(model: Model) -> str:
    with Bundle.open(model.bundle) as opened:
        return opened.manifest.model_id


def _our_logits(body: bytes, settings: dict[str, Any]) -> NDArray[np.float32]:
    if settings["form"] == "raw":
        return np.array(json.loads(body)["outputs"][0]["data"], np.float32)
    end = body.rindex(b"}") + 1 if body.endswith(b"}") else json.JSONDecoder().raw_decode(body.decode("latin-1"))[1]
    return np.frombuffer(body[end:], np.float32)


def _our_command(model: Model, settings: dict[str, Any], port: int) -> list[str]:
    return [
        sys.executable, "-m", "cloud", f"bundles={json.dumps([str(model.bundle)])}", "listen.port=0",
        f"oip.rest.port={port}", f"oip.timeout_s={TOLD_S}", f"workers={settings['workers']}",
        f"event_loop={settings['loop']}", "oip.requests=1024",
    ]  # fmt: skip


def _lit_request(model: Model, settings: dict[str, Any]) -> bytes:
    data = model.item.tobytes()
    if settings["body"] == "json":
        body = json.dumps({"item": base64.b64encode(data).decode()}).encode()
        return _post("/predict", body, Content_Type="application/json")
    head = b'--b\r\nContent-Disposition: form-data; name="item"; filename="item"\r\n\r\n'
    return _post("/predict", head + data + b"\r\n--b--\r\n", Content_Type="multipart/form-data; boundary=b")


def _peer_command(script: str, environment: tuple[str, ...]) -> Callable[[Model, dict[str, Any], int], list[str]]:
    def command(model: Model, settings: dict[str, Any], port: int) -> list[str]:
        wanted = {"model": str(model.whole), "shape": model.item.shape, "port": port, "deadline_s": TOLD_S} | settings
        return [str(python_with(*environment)), str(HERE / script), json.dumps(wanted)]

    return command


SERVERS: Final = {
    "isthmus": Server(
        [
            {"workers": workers, "loop": loop, "form": form}
            for workers, loop, form in (
                (1, "asyncio", "raw"),
                (1, "uvloop", "raw"),
                (1, "uvloop", "binary"),
                (2, "uvloop", "binary"),
            )
        ],
        _our_command,
        _our_request,
        _our_logits,
    ),
    "LitServe": Server(
        [
            {"batch": batch, "delay_s": delay_s, "workers": workers, "fast_queue": fast, "body": body}
            for batch, delay_s, workers, fast, body in (
                (1, 0.0, 1, False, "json"),
                (1, 0.0, 1, True, "json"),
                (1, 0.0, 1, True, "form"),
                (1, 0.0, 2, True, "json"),
                (4, 0.002, 1, True, "json"),
                (16, 0.01, 1, True, "json"),
            )
        ],
        _peer_command("peer_litserve.py", LITSERVE),
        _lit_request,
        lambda body, settings: np.frombuffer(base64.b64decode(json.loads(body)["output"]), np.float32),
    ),
    "Ray Serve": Server(
        [
            {"batch": batch, "delay_s": delay_s, "replicas": replicas, "ongoing": ongoing, "fast": fast}
            for batch, delay_s, replicas, ongoing, fast in (
                (1, 0.0, 1, 8, False),
                (1, 0.0, 1, 8, True),
                (1, 0.0, 2, 8, False),
                (4, 0.002, 1, 16, False),
                (16, 0.01, 1, 32, False),
            )
        ],
        _peer_command("peer_ray.py", RAY),
        lambda model, settings: _post("/", model.item.tobytes(), Content_Type="application/octet-stream"),
        lambda body, settings: np.frombuffer(body, np.float32),
    ),
}  # fmt: skip


def cores() -> tuple[set[int], set[int]]:
    """Processors of the servers, and of the client; the same one where there is no other."""
    *servers, client = sorted(os.sched_getaffinity(0))
    return set(servers) or {client}, {client}


class NotServing(RuntimeError):
    """A server does not start with these settings, or does not give the right answer."""


class NotMeasured(RuntimeError):
    """There is nothing to tell yet."""


@contextmanager
def running(server: Server, model: Model, settings: dict[str, Any]) -> Iterator[int]:
    """A started server that has given the right answer: its port. Everything that it started ends with it."""
    port = _free_port()
    log = RESULTS / "server.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            server.command(model, settings, port), stdout=said, stderr=said, start_new_session=True,
            cwd=HERE.parent, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]),
        )  # fmt: skip
    try:
        _await_truth(server, model, settings, port, process, log)
        yield port
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):  # what it has left behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await_truth(
    server: Server, model: Model, settings: dict[str, Any], port: int, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Ask until the server answers, and compare what it says with the model run here."""
    until_s = time.monotonic() + START_S
    while True:
        try:
            status, body = asyncio.run(_asked_once(port, server.request(model, settings)))
        except (OSError, TimeoutError) as exc:
            status, body = 0, str(exc).encode()
        if status == 200:
            np.testing.assert_allclose(server.logits(body, settings).ravel(), model.truth, rtol=1e-3, atol=1e-3)
            return
        if process.poll() is not None or time.monotonic() > until_s:
            raise NotServing(f"{settings} does not serve: {status} {body[:200]!r}; {log.read_text()[-2000:]}")
        time.sleep(0.2)


async def _asked_once(port: int, request: bytes) -> tuple[int, bytes]:
    async with asyncio.timeout(10):
        transport, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        try:
            return await connection.ask(request)
        finally:
            transport.abort()


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
        check=True, cwd=HERE.parent, preexec_fn=lambda: os.sched_setaffinity(0, cores()[1]),
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

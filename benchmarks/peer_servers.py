"""Our tier, LitServe and Ray Serve: how each is started, asked and read."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import python_with
from benchmarks.open_loop import Connection
from benchmarks.peer_models import RESULTS, ROOT, Model
from runtime.bundle import Bundle

HERE: Final = Path(__file__).resolve().parent
ENGINE: Final = ("onnxruntime==1.31.1", "numpy==1.26.4")
LITSERVE: Final = ("litserve", "litserve==0.2.19", "python-multipart==0.0.34", *ENGINE)
RAY: Final = ("ray", "ray[serve]==2.60.0", *ENGINE)
"""Name and requirements of the peers' environments."""
TOLD_S: Final = 0.09
"""What servers are told of the deadline of 0.1 s: the rest is for the way."""
START_S: Final = 90.0


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


class NotServing(RuntimeError):
    """A server does not start with these settings, or does not give the right answer."""


def cores() -> tuple[set[int], set[int]]:
    """Processors of the servers, and of the client; the same one where there is no other."""
    *servers, client = sorted(os.sched_getaffinity(0))
    return set(servers) or {client}, {client}


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


@contextmanager
def running(server: Server, model: Model, settings: dict[str, Any]) -> Iterator[int]:
    """A started server that has given the right answer: its port. Everything that it started ends with it."""
    port = _free_port()
    log = RESULTS / "server.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            server.command(model, settings, port), stdout=said, stderr=said, start_new_session=True,
            cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]),
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

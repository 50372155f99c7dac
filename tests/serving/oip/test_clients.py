"""Programs that others wrote: an unmodified Triton client with our server, and our kit with another server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from isthmus.conformance.running import run
from isthmus.conformance.target import Target
from tests.ports import reserved_port
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.oip.doors import open_doors, truth
from tests.serving.oip.environments import python_with

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
HERE = Path(__file__).parent


async def test_an_unmodified_triton_client_gets_the_logits_of_the_unsplit_model(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    python = python_with("tritonclient", "tritonclient[http,grpc]==2.73.0")
    items = np.concatenate(tiny_bundle.items)
    np.save(tmp_path / "items.npy", items)
    async with open_doors(tiny_bundle.path) as doors:
        process = await asyncio.create_subprocess_exec(
            str(python), str(HERE / "triton_session.py"), doors.rest.removeprefix("http://"), doors.grpc,
            str(tmp_path / "items.npy"), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0
    found = json.loads(said)
    logits = truth(tiny_bundle.whole, tiny_bundle.items)
    for way in (found["http"]["binary"], found["http"]["json"], found["http"]["async"], found["grpc"]["raw"],
                found["grpc"]["stream"], found["aio"]["http_aio"], found["aio"]["grpc_aio"]):  # fmt: skip
        np.testing.assert_allclose(way, logits, rtol=1e-3, atol=1e-4)
    assert found["grpc"]["async_errors"] == ["None"] * len(items)
    for way in (found["http"], found["grpc"]):
        assert [way[key] for key in ("live", "ready", "model_ready", "version_ready", "other_ready")] == [True] * 4 + [
            False
        ]
        assert (way["server"], way["inputs"], way["index"]) == ("isthmus", "image", ["tiny"])
        assert way["inferences"] >= 3 * len(items)
        assert "no model 'nowhere'" in way["refused"]


_SUMS = """
import numpy as np

def sums(rows):
    return np.stack([rows.sum(axis=1), rows.max(axis=1)], axis=1).astype(np.float32)
"""
_MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from sums import sums

class Sums(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        (given,) = payload.inputs
        output = NumpyCodec.encode_output("sums", sums(NumpyCodec.decode_input(given)))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
"""
_KSERVE = """
import sys
from kserve import InferOutput, InferResponse, Model, ModelServer
from sums import sums

class Sums(Model):
    def __init__(self):
        super().__init__("sums")
        self.ready = True

    async def get_input_types(self):
        return [{"name": "row", "datatype": "FP32", "shape": [-1, 8]}]

    async def get_output_types(self):
        return [{"name": "sums", "datatype": "FP32", "shape": [-1, 2]}]

    async def predict(self, payload, headers=None, response_headers=None):
        found = sums(payload.inputs[0].as_numpy())
        output = InferOutput("sums", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return InferResponse(payload.id or "", "sums", [output])

ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start([Sums()])
"""


@contextmanager
def an_mlserver(folder: Path) -> Iterator[tuple[str, str]]:
    """A server with a model of one input and one output: its REST and gRPC addresses."""
    python = python_with("mlserver", "mlserver==1.7.1")
    (folder / "model.py").write_text(_MLSERVER)
    row, sums = {"name": "row", "datatype": "FP32", "shape": [-1, 8]}, {"name": "sums", "datatype": "FP32"}
    model = {"name": "sums", "implementation": "model.Sums", "versions": ["1"], "parameters": {"version": "1"}}
    model |= {"inputs": [row], "outputs": [sums | {"shape": [-1, 2]}]}
    (folder / "model-settings.json").write_text(json.dumps(model))
    with reserved_port() as rest, reserved_port() as grpc, reserved_port() as metrics:
        ports = {"http_port": rest, "grpc_port": grpc, "metrics_port": metrics}
        (folder / "settings.json").write_text(json.dumps(ports | {"host": "127.0.0.1", "parallel_workers": 0}))
        with _running([str(python.parent / "mlserver"), "start", str(folder)], folder, rest):
            yield f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}"


@contextmanager
def a_kserve(folder: Path) -> Iterator[tuple[str, str]]:
    """The same of KServe's."""
    python = python_with("kserve", "kserve==0.21.0")
    (folder / "model.py").write_text(_KSERVE)
    with (
        reserved_port() as rest,
        reserved_port() as grpc,
        _running([str(python), str(folder / "model.py"), str(rest), str(grpc)], folder, rest),
    ):
        yield f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}"


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """A program in a folder, once its model is ready."""
    (folder / "sums.py").write_text(_SUMS)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        until_s = time.monotonic() + 120
        while not _is_ready(port):
            assert not _ends_within(process, 0.2), (folder / "log").read_text()
            assert time.monotonic() < until_s, (folder / "log").read_text()
        yield
    finally:
        process.terminate()
        if not _ends_within(process, 20):
            process.kill()
            process.wait()


def _ends_within(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/v2/models/sums/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


@pytest.mark.parametrize("a_server", [an_mlserver, a_kserve])
def test_the_kit_finds_that_another_server_keeps_most_of_the_protocol(
    tmp_path: Path, a_server: Callable[[Path], AbstractContextManager[tuple[str, str]]]
) -> None:
    """It is no fair kit if only its maker's server passes: what fails there is named in docs/oip.md, case by case."""
    with a_server(tmp_path) as (rest, grpc):
        target = Target(rest, grpc, model="sums")
        report = run(target)
        target.close()
    print(json.dumps(report.tree()))
    for area in ("rest.health", "rest.server", "rest.model", "rest.infer.batch", "grpc.server", "grpc.model"):
        mine = [verdict for verdict in report.verdicts if verdict.name.startswith(area)]
        assert mine
        assert all(verdict.outcome != "failed" for verdict in mine), mine
    assert report.counts["passed"] >= 8 * report.counts["failed"]

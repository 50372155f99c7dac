"""Whole models over gRPC: raw and typed tensors, streams, statuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.oip import messages
from serving.oip.messages import SERVICE, InferParameter, ModelInferRequest
from tests.runtime.tiny_bundle import SIDE, TinyBundle
from tests.serving.occupied import occupied
from tests.serving.oip.doors import Doors, open_doors, truth

IMAGE = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}


class Client:
    """Calls methods by name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def ask(self, method: str, timeout: float | None = 30, **fields: Any) -> Any:
        return await self.send(method, messages.message(f"{method}Request")(**fields).SerializeToString(), timeout)

    async def send(self, method: str, data: bytes, timeout: float | None = 30) -> Any:
        call = self._channel.unary_unary(f"/{SERVICE}/{method}")
        return messages.message(f"{method}Response").FromString(await call(data, timeout=timeout))

    async def refused(self, method: str, **fields: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await self.ask(method, **fields)
        return found.value

    def stream(self) -> Any:
        return self._channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(timeout=30)


@asynccontextmanager
async def a_client(path: Path) -> AsyncIterator[tuple[Client, Doors]]:
    async with open_doors(path) as doors, grpc.aio.insecure_channel(doors.grpc) as channel:
        yield Client(channel), doors


def asking(item: np.ndarray[Any, Any], *, raw: bool = True, **fields: Any) -> dict[str, Any]:
    if raw:
        return {"model_name": "tiny", "inputs": [IMAGE], "raw_input_contents": [item.tobytes()]} | fields
    contents = {"uint_contents": item.ravel().tolist()}
    return {"model_name": "tiny", "inputs": [IMAGE | {"contents": contents}]} | fields


async def test_raw_requests_get_raw_answers_and_typed_ones_typed(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    true = truth(tiny_bundle.whole, [item])
    async with a_client(tiny_bundle.path) as (client, _):
        raw = await client.ask("ModelInfer", **asking(item, id="7"))
        assert (raw.id, raw.model_name, raw.model_version, raw.outputs[0].name) == ("7", "tiny", "0", "logits")
        assert not raw.outputs[0].HasField("contents")
        np.testing.assert_allclose(np.frombuffer(raw.raw_output_contents[0], "<f4")[None], true, rtol=1e-4, atol=1e-5)
        typed = await client.ask("ModelInfer", **asking(item, raw=False))
        assert not typed.raw_output_contents
        np.testing.assert_allclose([list(typed.outputs[0].contents.fp32_contents)], true, rtol=1e-4, atol=1e-5)


async def test_a_wrong_request_gets_its_status_and_a_sentence(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    async with a_client(tiny_bundle.path) as (client, _):
        for fields, status, sentence in (
            (asking(item, model_name="huge"), missing, "no model 'huge'"),
            (asking(item, model_version="4"), missing, "no version '4'"),
            (asking(item, raw_input_contents=[b"x"]), invalid, "1 bytes"),
            (asking(item, raw_input_contents=[b"x", b"x"]), invalid, "2 raw_input_contents for 1 inputs"),
            (asking(item, inputs=[]), invalid, "1 raw_input_contents for 0 inputs"),
            (asking(item, inputs=[IMAGE | {"contents": {"uint_contents": [1]}}]), invalid, "beside raw"),
            (asking(item, inputs=[IMAGE | {"shape": [1 << 62] * 4}]), invalid, "has the shape"),
            (asking(item, inputs=[IMAGE | {"shape": [1 << 62, SIDE, SIDE, 3]}]), invalid, "1 to 64 items"),
            (asking(item, raw=False, inputs=[IMAGE | {"contents": {"uint_contents": [1]}}]), invalid, "needs 3072"),
            (asking(item, raw=False, inputs=[IMAGE | {"contents": {"uint_contents": [999] * 3072}}]), invalid, "UINT8"),
            (asking(item, raw=False, inputs=[IMAGE | {"contents": {"int64_contents": [1] * 3072}}]), invalid, "0 uint"),
            (asking(item, outputs=[{"name": "x"}]), invalid, "no output 'x'"),
            (asking(item, parameters={"sequence_id": InferParameter(int64_param=3)}), invalid, "no state"),
            (
                asking(item, parameters={"timeout": InferParameter(int64_param=1)}),
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "",
            ),
        ):
            error = await client.refused("ModelInfer", **fields)
            assert error.code() is status, (sentence, error)
            assert sentence in (error.details() or "")
        with pytest.raises(grpc.aio.AioRpcError, match="ModelInferRequest"):
            await client.send("ModelInfer", b"\xff\xff\xff")
        unknown = await client.refused("RepositoryModelLoad", model_name="tiny")
        assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
        assert len((await client.ask("ModelInfer", **asking(item))).raw_output_contents) == 1


async def test_a_stream_answers_in_order_and_survives_a_refusal(tiny_bundle: TinyBundle) -> None:
    async with a_client(tiny_bundle.path) as (client, _):
        stream = client.stream()
        requests = [asking(item, id=str(place)) for place, item in enumerate(tiny_bundle.items)]
        requests[2]["model_name"] = "another"
        for request in requests:
            await stream.write(ModelInferRequest(**request).SerializeToString())
        await stream.done_writing()
        answers = [messages.ModelStreamInferResponse.FromString(answer) async for answer in stream]
        assert [answer.infer_response.id for answer in answers] == ["0", "1", "", "3", "4", "5"]
        assert [bool(answer.error_message) for answer in answers] == [False, False, True, False, False, False]
        logits = [np.frombuffer(answers[place].infer_response.raw_output_contents[0], "<f4") for place in (0, 5)]
        true = truth(tiny_bundle.whole, [tiny_bundle.items[0], tiny_bundle.items[5]])
        np.testing.assert_allclose(logits, true, rtol=1e-3, atol=1e-4)


async def test_requests_that_come_together_go_in_batches(tiny_bundle: TinyBundle) -> None:
    async with a_client(tiny_bundle.path) as (client, doors):
        many = asking(tiny_bundle.items[0])
        many |= {
            "inputs": [IMAGE | {"shape": [16, SIDE, SIDE, 3]}],
            "raw_input_contents": [tiny_bundle.items[0].tobytes() * 16],
        }
        _teach_that_batches_are_free(doors)
        async with occupied(doors.tier.workers):
            asked = [asyncio.create_task(client.ask("ModelInfer", **many)) for _ in range(4)]
            async with asyncio.timeout(30):
                while doors.tier.load().queued < 64:
                    await client.ask("ServerLive")
        answers = await asyncio.gather(*asked)
        true = np.repeat(truth(tiny_bundle.whole, [tiny_bundle.items[0]]), 16, axis=0)
        for answer in answers:
            logits = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(16, 10)
            np.testing.assert_allclose(logits, true, rtol=1e-3, atol=1e-4)
        (found,) = (await client.ask("ModelStatistics")).model_stats
        assert found.inference_count == 64
        assert found.execution_count < 32
        assert doors.tier.explained()["taken"] == 65


def _teach_that_batches_are_free(doors: Doors) -> None:
    """Whatever a busy machine made the tier believe when it was warmed."""
    costs = doors.tier.workers.scheduler.costs
    for step in list(costs._curves):
        for size in (1, 2, 4, 8, 16) * 50:
            costs.learn(step, size, 0.001)


async def test_metadata_and_the_index_name_the_model(tiny_bundle: TinyBundle) -> None:
    async with a_client(tiny_bundle.path) as (client, _):
        server = await client.ask("ServerMetadata")
        assert set(server.extensions) >= {"binary_tensor_data", "statistics", "model_repository"}
        assert (await client.ask("ServerLive")).live
        assert (await client.ask("ServerReady")).ready
        assert (await client.ask("ModelReady", name="tiny")).ready
        model = await client.ask("ModelMetadata", name="tiny", version="0")
        assert (list(model.versions), list(model.inputs[0].shape)) == (["0"], [-1, SIDE, SIDE, 3])
        (entry,) = (await client.ask("RepositoryIndex", ready=True)).models
        assert (entry.name, entry.version, entry.state) == ("tiny", "0", "READY")


def test_the_compiled_descriptors_are_those_of_the_source(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    folder = Path(messages.__file__).parent
    target = tmp_path / "compiled.pb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(folder), "--descriptor_set_out", str(target)]
    subprocess.run([*command, "open_inference.proto"], check=True, timeout=60)
    assert target.read_bytes() == (folder / "open_inference.pb").read_bytes()


def test_the_descriptors_are_not_in_the_pool_that_other_libraries_share() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")

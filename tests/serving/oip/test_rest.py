"""Whole models over REST, with bodies written by hand and answers compared with the unsplit model."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from protocol.limits import MAX_MESSAGE_BYTES
from runtime.manifest import Manifest
from serving.oip.settings import OipSettings
from tests.runtime.tiny_bundle import SIDE, TinyBundle
from tests.serving.occupied import occupied
from tests.serving.oip.doors import Doors, open_doors, truth
from transport.settings import Listen

LENGTH = "Inference-Header-Content-Length"
SHAPE = [1, SIDE, SIDE, 3]


@pytest.fixture
async def doors(tiny_bundle: TinyBundle) -> AsyncIterator[Doors]:
    async with open_doors(tiny_bundle.path) as opened:
        yield opened


async def asked(
    doors: Doors, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, bytes]:
    """Status, the JSON of the answer, and the bytes behind it."""
    async with (
        ClientSession() as session,
        session.request(method, doors.rest + path, data=body, headers=headers or {}) as response,
    ):
        content = await response.read()
        length = int(response.headers.get(LENGTH, len(content)))
        return response.status, json.loads(content[:length]), content[length:]


async def infer(doors: Doors, request: object, binary: bytes | None = None) -> tuple[int, Any, bytes]:
    content = json.dumps(request).encode()
    headers = {} if binary is None else {LENGTH: str(len(content))}
    return await asked(doors, "POST", "/v2/models/tiny/infer", content + (binary or b""), headers)


def an_input(data: object = None, **changes: object) -> dict[str, object]:
    told = {"name": "image", "datatype": "UINT8", "shape": SHAPE} | ({} if data is None else {"data": data})
    return told | changes


async def test_json_gives_the_logits_of_the_unsplit_model(doors: Doors, tiny_bundle: TinyBundle) -> None:
    for item in tiny_bundle.items[:2]:
        for data in (item.ravel().tolist(), item.tolist()):
            status, told, rest = await infer(doors, {"id": "a", "inputs": [an_input(data)]})
            assert (status, told["id"], told["model_name"], told["model_version"], rest) == (200, "a", "tiny", "0", b"")
            (output,) = told["outputs"]
            assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [1, 10])
            np.testing.assert_allclose([output["data"]], truth(tiny_bundle.whole, [item]), rtol=1e-4, atol=1e-5)


async def test_a_batch_in_binary_gives_the_logits_of_each_item(doors: Doors, tiny_bundle: TinyBundle) -> None:
    items = tiny_bundle.items[:5]
    binary = b"".join(item.tobytes() for item in items)
    image = an_input(shape=[5, *SHAPE[1:]], parameters={"binary_data_size": len(binary)})
    status, told, rest = await infer(doors, {"inputs": [image], "parameters": {"binary_data_output": True}}, binary)
    assert status == 200
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 5 * 10 * 4}
    logits = np.array(struct.unpack("<50f", rest)).reshape(5, 10)
    np.testing.assert_allclose(logits, truth(tiny_bundle.whole, items), rtol=1e-3, atol=1e-4)


async def test_a_body_without_json_is_the_input(doors: Doors, tiny_bundle: TinyBundle) -> None:
    body = tiny_bundle.items[0].tobytes() + tiny_bundle.items[1].tobytes()
    status, told, _ = await asked(doors, "POST", "/v2/models/tiny/infer", body, {LENGTH: "0"})
    assert (status, told["outputs"][0]["shape"]) == (200, [2, 10])
    status, told, _ = await asked(doors, "POST", "/v2/models/tiny/infer", body[:-1], {LENGTH: "0"})
    assert (status, "no whole items" in told["error"]) == (400, True)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "another name": ({"name": "picture"}, "takes one input, 'image'"),
    "another type": ({"datatype": "FP32"}, "is UINT8"),
    "a type that no bundle has": ({"datatype": "BYTES"}, "is UINT8"),
    "an axis too few": ({"shape": SHAPE[1:]}, "has the shape"),
    "axes exchanged": ({"shape": [1, 3, SIDE, SIDE]}, "has the shape"),
    "no items": ({"shape": [0, *SHAPE[1:]], "data": []}, "1 to 64 items"),
    "more items than data": ({"shape": [2, *SHAPE[1:]]}, "elements"),
    "a dimension beyond all memory": ({"shape": [1 << 60, *SHAPE[1:]]}, "elements"),
    "a negative dimension": ({"shape": [-1, *SHAPE[1:]]}, "elements"),
    "a dimension of text": ({"shape": ["1", *SHAPE[1:]]}, r"inputs\.0\.shape\.0"),
    "numbers beyond the type": ({"data": [256] * (SIDE * SIDE * 3)}, "no UINT8 can be"),
    "numbers beyond 64 bits": ({"data": [1 << 70] * (SIDE * SIDE * 3)}, "no UINT8 can be"),
    "negative numbers": ({"data": [-1] * (SIDE * SIDE * 3)}, "no UINT8 can be"),
    "fractions": ({"data": [0.5] * (SIDE * SIDE * 3)}, "elements of type float"),
    "truth values": ({"data": [True] * (SIDE * SIDE * 3)}, "elements of type bool"),
    "text": ({"data": ["1"] * (SIDE * SIDE * 3)}, "elements of type str"),
    "unevenly nested": ({"data": [[1], [1, 2]]}, "unevenly"),
    "nested another way": ({"data": [[1] * 96] * 32}, "nested as"),
    "no data": ({"data": None}, "must be an array"),
    "data in shared memory": ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
    "binary without the header": ({"data": None, "parameters": {"binary_data_size": 3072}}, LENGTH),
}


async def test_a_wrong_input_is_named(doors: Doors) -> None:
    for kind, (changes, sentence) in WRONG.items():
        image = an_input([1] * (SIDE * SIDE * 3)) | changes
        status, told, _ = await infer(doors, {"inputs": [image]})
        assert (status, list(told)) == (400, ["error"]), kind
        assert re.search(sentence, told["error"]), (kind, told)


async def test_binary_data_must_be_what_they_are_said_to_be(doors: Doors) -> None:
    for changes, binary_bytes, sentence in (
        ({"parameters": {"binary_data_size": 4000}}, 3072, "4000 binary bytes where 3072"),
        ({"parameters": {"binary_data_size": -1}}, 3072, "-1 binary bytes"),
        ({"parameters": {"binary_data_size": True}}, 3072, "True binary bytes"),
        ({"parameters": {"binary_data_size": 3072}}, 3073, "1 bytes behind the JSON"),
        ({"parameters": {"binary_data_size": 3071}}, 3071, "needs 3072"),
        ({"data": [1], "parameters": {"binary_data_size": 3072}}, 3072, "both data and"),
    ):
        status, told, _ = await infer(doors, {"inputs": [an_input() | changes]}, bytes(binary_bytes))
        assert (status, sentence in told["error"]) == (400, True), told


async def test_bodies_are_refused_before_they_are_held(doors: Doors) -> None:
    path = "/v2/models/tiny/infer"
    for header in ("-1", "x", "99999999999999999999", "4"):
        status, told, _ = await asked(doors, "POST", path, b"{}", {LENGTH: header})
        assert (status, LENGTH in told["error"]) == (400, True)
    status, told, _ = await asked(doors, "POST", path, gzip.compress(b"{}"), {"Content-Encoding": "gzip"})
    assert (status, "compressed" in told["error"]) == (415, True)
    for body in (
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b'{"inputs": 3}',
        b'{"inputs": []}',
        b"\xff\xfe",
        b'{"inputs":[NaN]}',
    ):
        status, told, _ = await asked(doors, "POST", path, body)
        assert (status, list(told)) == (400, ["error"]), body


async def test_a_body_too_long_is_refused_before_it_comes(doors: Doors) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.oip.ports["rest"])
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {MAX_MESSAGE_BYTES + 1}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(20):
        status = await reader.readline()
    assert status.split()[1] == b"413"
    writer.close()
    await writer.wait_closed()


async def test_outputs_are_those_asked_for(doors: Doors, tiny_bundle: TinyBundle) -> None:
    image = an_input(tiny_bundle.items[0].ravel().tolist())
    for outputs, sentence in (
        ([{"name": "scores"}], "no output 'scores'; it has logits"),
        ([{"name": "logits"}, {"name": "logits"}], "asked for twice"),
        ([{"name": "logits", "parameters": {"classification": 3}}], "ask for the logits"),
    ):
        status, told, _ = await infer(doors, {"inputs": [image], "outputs": outputs})
        assert (status, sentence in told["error"]) == (400, True), told


async def test_a_time_that_cannot_be_kept_is_refused_as_expired(doors: Doors, tiny_bundle: TinyBundle) -> None:
    image = an_input(tiny_bundle.items[0].ravel().tolist())
    status, told, _ = await infer(doors, {"inputs": [image], "parameters": {"timeout": 1}})
    assert (status, list(told)) == (504, ["error"])
    for timeout in (-1, "1", 0.5, True):
        status, _, _ = await infer(doors, {"inputs": [image], "parameters": {"timeout": timeout}})
        assert status == 400
    status, _, _ = await infer(doors, {"inputs": [image], "parameters": {"timeout": 60_000_000}})
    assert status == 200
    _, told, _ = await asked(doors, "GET", "/v2/models/tiny/stats")
    (found,) = told["model_stats"]
    assert found["inference_stats"]["success"]["count"] == 1
    assert found["inference_stats"]["fail"]["count"] == 5


async def test_statistics_count_items_and_the_batches_that_they_went_in(doors: Doors, tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    image = an_input([item.tolist()[0]] * 3, shape=[3, *SHAPE[1:]])
    for _ in range(2):
        assert (await infer(doors, {"inputs": [image]}))[0] == 200
    _, told, _ = await asked(doors, "GET", "/v2/models/stats")
    (found,) = told["model_stats"]
    assert (found["name"], found["version"], found["inference_count"]) == ("tiny", "0", 6)
    assert found["inference_stats"]["success"]["count"] == 2
    assert 2 <= found["execution_count"] <= 6
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in found["batch_stats"]}
    assert sum(size * count for size, count in sizes.items()) == 6
    assert sum(sizes.values()) == found["execution_count"]
    assert found["last_inference"] > 1_700_000_000_000


async def test_a_request_with_an_item_too_many_is_refused_whole(tiny_bundle: TinyBundle) -> None:
    async with open_doors(tiny_bundle.path, capacity=2) as doors:
        items = np.concatenate(tiny_bundle.items[:4])
        image = an_input(items.ravel().tolist(), shape=[4, *SHAPE[1:]])
        async with (
            occupied(doors.tier.workers),
            ClientSession() as session,
            session.post(doors.rest + "/v2/models/tiny/infer", json={"inputs": [image]}) as response,
        ):
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "too much to do" in (await response.json())["error"]
        image = an_input(tiny_bundle.items[0].ravel().tolist())
        assert (await infer(doors, {"inputs": [image]}))[0] == 200


async def test_versions_are_the_counters_of_the_bundles(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    paths = [_recounted(tiny_bundle.path, tmp_path / str(counter), counter) for counter in (10, 9)]
    async with open_doors(*paths) as doors:
        _, told, _ = await asked(doors, "GET", "/v2/models/tiny")
        assert told["versions"] == ["9", "10"]
        assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 3]}]
        image = an_input(tiny_bundle.items[0].ravel().tolist())
        assert (await infer(doors, {"inputs": [image]}))[1]["model_version"] == "10"
        body = json.dumps({"inputs": [image]}).encode()
        _, told, _ = await asked(doors, "POST", "/v2/models/tiny/versions/9/infer", body)
        assert told["model_version"] == "9"
        status, told, _ = await asked(doors, "GET", "/v2/models/tiny/versions/11")
        assert (status, "no version '11'; it has 9, 10" in told["error"]) == (404, True)
        _, told, _ = await asked(doors, "POST", "/v2/repository/index", b"{}")
        assert [(model["version"], model["state"]) for model in told] == [("9", "READY"), ("10", "READY")]


async def test_a_draining_tier_is_alive_not_ready_and_refuses(tiny_bundle: TinyBundle) -> None:
    async with open_doors(tiny_bundle.path) as doors:
        door = doors.oip._rest
        assert door is not None
        door._service.drain()
        assert [(await asked(doors, "GET", f"/v2/health/{kind}"))[0] for kind in ("live", "ready")] == [200, 503]
        status, told, _ = await infer(doors, {"inputs": [an_input(tiny_bundle.items[0].ravel().tolist())]})
        assert (status, "shutting down" in told["error"]) == (503, True)


async def test_more_requests_than_may_be_here_are_refused(tiny_bundle: TinyBundle) -> None:
    settings = OipSettings(rest=Listen(), requests=1)
    async with open_doors(tiny_bundle.path, settings=settings) as doors, ClientSession() as session:
        begun, release = asyncio.Event(), asyncio.Event()

        async def slow_body() -> AsyncIterator[bytes]:
            begun.set()
            yield b"{"
            await release.wait()
            yield b"}"

        door = doors.oip._rest
        assert door is not None
        first = asyncio.create_task(session.post(doors.rest + "/v2/models/tiny/infer", data=slow_body()))
        async with asyncio.timeout(20):
            while not door._here:
                await begun.wait()
                await asyncio.sleep(0)
        status, told, _ = await infer(doors, {})
        assert (status, "1 requests are here" in told["error"]) == (503, True)
        release.set()
        async with await first as response:
            assert response.status == 400


def _recounted(path: Path, target: Path, counter: int) -> Path:
    """A copy of a bundle with another counter."""
    target.mkdir()
    for file in path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = Manifest.model_validate_json((path / "manifest.json").read_bytes())
    (target / "manifest.json").write_bytes(manifest.model_copy(update={"counter": counter}).to_bytes())
    return target

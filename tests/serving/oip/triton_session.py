"""What an unmodified Triton client does with a server. Runs in an environment of its own; prints JSON.

Usage: triton_session.py REST-HOST:PORT GRPC-HOST:PORT ITEMS.npy
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

MODEL = "tiny"


def inputs(room: Any, items: np.ndarray[Any, Any], **options: Any) -> list[Any]:
    tensor = room.InferInput("image", list(items.shape), "UINT8")
    tensor.set_data_from_numpy(items, **options)
    return [tensor]


def about(client: Any) -> dict[str, Any]:
    """Health, metadata, index and statistics by either client."""
    as_tree = {"as_json": True} if "grpc" in type(client).__module__ else {}
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL),
        "version_ready": client.is_model_ready(MODEL, "0"),
        "other_ready": not_ready(client),
        "server": client.get_server_metadata(**as_tree)["name"],
        "inputs": client.get_model_metadata(MODEL, **as_tree)["inputs"][0]["name"],
        "index": [entry["name"] for entry in models(client.get_model_repository_index(**as_tree))],
        "inferences": int(client.get_inference_statistics(MODEL, **as_tree)["model_stats"][0]["inference_count"]),
    }


def not_ready(client: Any) -> bool:
    """What a client says of a model that is not there; gRPC's raises."""
    try:
        return bool(client.is_model_ready("nowhere"))
    except tritonclient.utils.InferenceServerException:
        return False


def models(index: Any) -> Any:
    return index["models"] if isinstance(index, dict) else index


def refused(ask: Any) -> str:
    try:
        ask()
    except tritonclient.utils.InferenceServerException as exc:
        return str(exc)
    return ""


def over_http(address: str, items: np.ndarray[Any, Any]) -> dict[str, Any]:
    room = tritonclient.http
    with room.InferenceServerClient(address, concurrency=4) as client:
        found: dict[str, Any] = {}
        for name, binary in (("binary", True), ("json", False)):
            outputs = [room.InferRequestedOutput("logits", binary_data=binary)]
            given = inputs(room, items, binary_data=binary)
            result = client.infer(MODEL, given, outputs=outputs, request_id=name, timeout=30_000_000)
            assert result.get_response()["id"] == name
            found[name] = result.as_numpy("logits").tolist()
        waiting = [client.async_infer(MODEL, inputs(room, items[row : row + 1])) for row in range(len(items))]
        found["async"] = np.concatenate([one.get_result().as_numpy("logits") for one in waiting]).tolist()
        found["refused"] = refused(lambda: client.infer("nowhere", inputs(room, items)))
        return found | about(client)


def over_grpc(address: str, items: np.ndarray[Any, Any]) -> dict[str, Any]:
    room = tritonclient.grpc
    with room.InferenceServerClient(address) as client:
        result = client.infer(MODEL, inputs(room, items), request_id="g", client_timeout=30, timeout=30_000_000)
        assert result.get_response().id == "g"
        found: dict[str, Any] = {"raw": result.as_numpy("logits").tolist()}
        answers: queue.Queue[Any] = queue.Queue()
        for row in range(len(items)):
            client.async_infer(MODEL, inputs(room, items[row : row + 1]), lambda result, error: answers.put(error))
        found["async_errors"] = [str(answers.get(timeout=30)) for _ in items]
        client.start_stream(lambda result, error: answers.put((result, error)))
        for row in range(len(items)):
            client.async_stream_infer(MODEL, inputs(room, items[row : row + 1]), request_id=str(row))
        streamed = [answers.get(timeout=30) for _ in items]
        client.stop_stream()
        found["stream"] = np.concatenate([result.as_numpy("logits") for result, _ in streamed]).tolist()
        found["refused"] = refused(lambda: client.infer("nowhere", inputs(room, items)))
        return found | about(client)


async def by_asyncio(rest: str, grpc: str, items: np.ndarray[Any, Any]) -> dict[str, Any]:
    found = {}
    for name, room, plain, address in (
        ("http_aio", tritonclient.http.aio, tritonclient.http, rest),
        ("grpc_aio", tritonclient.grpc.aio, tritonclient.grpc, grpc),
    ):
        async with room.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            asked = [client.infer(MODEL, inputs(plain, items[row : row + 1])) for row in range(len(items))]
            results = await asyncio.gather(*asked)
            found[name] = np.concatenate([result.as_numpy("logits") for result in results]).tolist()
    return found


def main(rest: str, grpc: str, path: str) -> None:
    items = np.load(path)
    found = {"http": over_http(rest, items), "grpc": over_grpc(grpc, items)}
    print(json.dumps(found | {"aio": asyncio.run(by_asyncio(rest, grpc, items))}))


if __name__ == "__main__":
    main(*sys.argv[1:])

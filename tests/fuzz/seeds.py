"""The first inputs of each target, from the messages and bitstreams that the other tests use."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper

from protocol import packets, rans_numpy
from protocol.chunks import Chunk, Front, encode_chunk
from protocol.fragments import Cut, Note, encode_note
from protocol.messages import Cancel, Probe, Refusal, Result, encode_downward, encode_upward
from protocol.packing import pack
from protocol.partial import split_frame
from protocol.topics import Topics
from serving.oip.messages import ModelInferRequest
from tests.fuzz.targets import HYPERPRIOR, POSITIONS, TABLES, framed
from tests.protocol.samples import frame, sample
from tests.protocol.test_golden_messages import DOWNWARD, SINCE_2, UPWARD
from tests.runtime.hyper_level import draw
from tests.runtime.tiny_bundle import build

LONG: Final = 2000


def _upward() -> Iterator[bytes]:
    small = [data for data in map(encode_upward, (UPWARD | SINCE_2).values()) if len(data) < LONG]
    yield from small
    yield pack(small)
    yield encode_upward(frame(9, bytes(5000)))


def _downward() -> Iterator[bytes]:
    small = [data for data in map(encode_downward, DOWNWARD.values()) if len(data) < LONG]
    yield from small
    yield pack(small)
    yield encode_downward(DOWNWARD["result_long"])


def _tier() -> Iterator[bytes]:
    one, other = encode_upward(frame(1)), encode_upward(frame(2, b"more"))
    yield framed([one, other, encode_upward(Cancel(1)), encode_upward(Probe(3))])
    yield framed([one, one])
    yield framed([pack([one, other, encode_upward(frame(3)), encode_upward(frame(4))])])
    yield framed([encode_upward(UPWARD["hello"])])
    parts = [Chunk(2, len(other), at, other[at : at + 40]) for at in range(0, len(other), 40)]
    yield framed([encode_chunk(parts[0]), one, *map(encode_chunk, parts[1:]), encode_upward(Cancel(2))])
    long = encode_upward(frame(1, bytes(90)))
    yield framed([encode_chunk(Chunk(1, len(long), 0, long[:-50])), encode_upward(Front(1, len(long) - 50, 0)), one])


def _caller() -> Iterator[bytes]:
    answers = [encode_downward(Result(1, (), "edge")), encode_downward(DOWNWARD["result"])]
    yield framed(answers)
    yield framed([pack(answers), encode_downward(DOWNWARD["refusal_of_stream"])])
    yield framed([encode_downward(DOWNWARD["refusal"]), encode_downward(DOWNWARD["welcome"])])
    yield framed([encode_downward(Refusal(1, DOWNWARD["refusal"].code)), encode_downward(Probe(1))])  # type: ignore[union-attr]


def _bitstream() -> Iterator[bytes]:
    for log2_lanes in (0, 2, 4, 5):
        yield rans_numpy.encode(sample(TABLES, POSITIONS, seed=log2_lanes), TABLES, log2_lanes)


def _prefix() -> Iterator[bytes]:
    for payload in _bitstream():
        yield payload[: len(payload) // 2]


def _parts() -> Iterator[bytes]:
    symbols = sample(TABLES, POSITIONS, seed=9)
    for count in (1, 4, 16):
        yield framed(packets.split(symbols, TABLES, count))
    yield framed(packets.split(symbols, TABLES, 5)[1:4])


def _hyperprior() -> Iterator[bytes]:
    for seed in range(4):
        yield HYPERPRIOR.encode_symbols(draw(seed))


def _datagrams() -> Iterator[bytes]:
    one, other = Cut(1, b"a message of some length", 4), Cut(2, bytes(300), 3)
    yield framed([one.fragment(row) for row in (0, 5, 3, 4)])
    yield framed([one.fragment(0), other.fragment(2), encode_note(Note(3, (7, 8))), other.fragment(9)])
    yield framed([other.fragment(row) for row in (0, 1, 2, 2)])
    payload = packets.together(packets.split(sample(TABLES, POSITIONS, seed=9), TABLES, 3))
    parts = enumerate(split_frame(encode_upward(frame(5, payload))), 1)
    yield framed([Cut(number, part, 1).fragment(0) for number, part in parts])


def _manifest() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tree = json.loads((build(Path(folder)).path / "manifest.json").read_bytes())
    yield json.dumps(tree, separators=(",", ":")).encode()
    yield b'{"schema_version": 2}'


def _graph() -> Iterator[bytes]:
    shape = ["n", 4]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], bytes(64), raw=True)
    onnx.external_data_helper.set_external_data(weight, "weights.safetensors", 8, 64)
    weight.ClearField("raw_data")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    made = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    yield helper.make_model(made).SerializeToString()


def _topic() -> Iterator[bytes]:
    topics = Topics("edge")
    one = encode_upward(frame(1))
    yield topics.frames("camera-1").encode() + b"\0" + one
    yield topics.to("edge-1", "camera-1").encode() + b"\0" + encode_chunk(Chunk(1, 9, 0, b"x"))
    yield topics.results("camera-1").encode() + b"\0" + pack([encode_downward(Result(1, (), "edge"))] * 2)
    yield topics.workers("edge-1").encode() + b"\0" + encode_downward(DOWNWARD["refusal_of_stream"])


def _request() -> Iterator[bytes]:
    numbers = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [-3e4, 4]]}
    whole = {"name": "y", "datatype": "UINT8", "shape": [1, 3], "data": [0, 255, 7]}
    outputs = [{"name": "z", "parameters": {"binary_data": True}}]
    tree = {"id": "a", "parameters": {"timeout": 9}, "inputs": [numbers, whole], "outputs": outputs}
    yield bytes(2) + json.dumps(tree).encode()
    binary = {"name": "x", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
    content = json.dumps({"inputs": [binary]}).encode()
    yield len(content).to_bytes(2, "little") + content + bytes(8)


def _inference() -> Iterator[bytes]:
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1, 3]}
    raw = ModelInferRequest(model_name="m", id="a", inputs=[tensor], raw_input_contents=[b"abc"])
    raw.parameters["timeout"].int64_param = 9
    yield raw.SerializeToString(deterministic=True)
    for datatype, contents in (
        ("UINT8", {"uint_contents": [0, 255, 7]}),
        ("FP32", {"fp32_contents": [1.0, -2.5, 3.0]}),
        ("INT64", {"int64_contents": [1, -2, 1 << 62]}),
    ):
        typed = tensor | {"datatype": datatype, "contents": contents}
        yield ModelInferRequest(model_name="m", inputs=[typed], outputs=[{"name": "y"}]).SerializeToString()


SEEDS: Final[dict[str, Callable[[], Iterable[bytes]]]] = {
    "upward": _upward,
    "downward": _downward,
    "tier": _tier,
    "caller": _caller,
    "bitstream": _bitstream,
    "prefix": _prefix,
    "parts": _parts,
    "hyperprior": _hyperprior,
    "datagrams": _datagrams,
    "manifest": _manifest,
    "graph": _graph,
    "topic": _topic,
    "request": _request,
    "inference": _inference,
}

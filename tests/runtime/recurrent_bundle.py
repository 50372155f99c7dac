"""A bundle of three segments that keep state, and the same recurrence in NumPy. No torch.

Segment k, on x with state a and n: y = (k + 1) x + a + n / 8, a' = tanh(y) + a / 2, n' = n + 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle import MANIFEST_NAME, file_entry
from runtime.manifest import Cut, Manifest, RawLevel, Segment, TensorSpec, ZstdLevel

WIDTH = 4
SEGMENTS = 3
STATE = (
    TensorSpec(name="memory", dtype="float32", shape=(WIDTH,)),
    TensorSpec(name="count", dtype="int64", shape=(1,)),
)


def build(folder: Path) -> Path:
    """Write the bundle into an empty folder; its path."""
    root = folder / "recurrent.isthmus"
    root.mkdir()
    for segment in range(SEGMENTS):
        (root / f"segment_{segment}.onnx").write_bytes(_graph(segment).SerializeToString(deterministic=True))
    manifest = Manifest(
        schema_version=1,
        model_id="recurrent",
        task="tensor",
        input=crossing(0),
        outputs=(crossing(SEGMENTS),),
        segments=tuple(
            Segment(model=f"segment_{segment}.onnx", macs=WIDTH, parameters=0, state=STATE)
            for segment in range(SEGMENTS)
        ),
        cuts=tuple(
            Cut(index=cut, after="input" if cut == 0 else f"part {cut}", tensor=crossing(cut),
                levels=(ZstdLevel(), RawLevel()))
            for cut in range(SEGMENTS)
        ),
        files={path.name: file_entry(path) for path in sorted(root.iterdir())},
    )  # fmt: skip
    (root / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return root


def crossing(cut: int) -> TensorSpec:
    return TensorSpec(name=f"x{cut}", dtype="float32", shape=(WIDTH,))


def _graph(segment: int) -> Any:
    taken, given = crossing(segment).name, crossing(segment + 1).name
    node = helper.make_node
    nodes = [
        node("Mul", [taken, "factor"], ["scaled"]),
        node("Add", ["scaled", "memory"], ["joined"]),
        node("Cast", ["count"], ["counted"], to=TensorProto.FLOAT),
        node("Div", ["counted", "eight"], ["drift"]),
        node("Add", ["joined", "drift"], [given]),
        node("Tanh", [given], ["bent"]),
        node("Div", ["memory", "two"], ["faded"]),
        node("Add", ["bent", "faded"], ["next_memory"]),
        node("Add", ["count", "one"], ["next_count"]),
    ]
    floats = {"factor": float(segment + 1), "eight": 8.0, "two": 2.0}
    weights = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in floats.items()]
    weights.append(numpy_helper.from_array(np.array(1, np.int64), "one"))
    vector, number = ["batch", WIDTH], ["batch", 1]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "part",
        [
            info(taken, TensorProto.FLOAT, vector),
            info("memory", TensorProto.FLOAT, vector),
            info("count", TensorProto.INT64, number),
        ],
        [
            info(given, TensorProto.FLOAT, vector),
            info("next_memory", TensorProto.FLOAT, vector),
            info("next_count", TensorProto.INT64, number),
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def items(count: int, seed: int) -> list[NDArray[np.float32]]:
    """A stream's inputs, each [1, WIDTH]."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((1, WIDTH)).astype(np.float32) for _ in range(count)]


def answers(stream: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """What the model says to each of them in turn, each [WIDTH]."""
    memories = [np.zeros(WIDTH, np.float32) for _ in range(SEGMENTS)]
    found = []
    for count, item in enumerate(stream):
        x = item[0]
        for segment in range(SEGMENTS):
            y = (segment + 1) * x + memories[segment] + np.float32(count) / 8
            memories[segment] = np.tanh(y) + memories[segment] / 2
            x = y
        found.append(x)
    return found

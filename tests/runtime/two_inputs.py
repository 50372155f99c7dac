"""A bundle of a model that takes a picture and three readings, small enough for every test, and NumPy's truth of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle import MANIFEST_NAME, file_entry
from runtime.inputs import record_type
from runtime.manifest import Cut, Manifest, Postprocessor, RawLevel, Segment, TensorSpec, ZstdLevel

PICTURE = TensorSpec(name="picture", dtype="uint8", shape=(4, 4, 3))
READINGS = TensorSpec(name="readings", dtype="float32", shape=(3,))
STEP = TensorSpec(name="step", dtype="int64", shape=())
INPUTS = (PICTURE, READINGS, STEP)
HIDDEN = TensorSpec(name="hidden", dtype="float32", shape=(6,))
LOGITS = TensorSpec(name="logits", dtype="float32", shape=(4,))
_KINDS = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@dataclass(frozen=True)
class TwoInputs:
    """A bundle and its weights, [52, 6] and [6, 4]."""

    path: Path
    first: NDArray[np.float32]
    second: NDArray[np.float32]

    def truth(self, records: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [items, 4], by NumPy."""
        numbers = [records["picture"].reshape(len(records), -1) / 255.0, records["readings"], records["step"][:, None]]
        hidden = np.maximum(np.concatenate(numbers, 1).astype(np.float32) @ self.first, 0)
        return hidden @ self.second


def build(folder: Path, postprocessor: Postprocessor | None = None, outputs: tuple[TensorSpec, ...] = ()) -> TwoInputs:
    """Write the bundle into a folder that is not there yet."""
    folder.mkdir()
    generator = np.random.default_rng(3)
    first = generator.standard_normal((52, 6)).astype(np.float32) / 5
    second = generator.standard_normal((6, 4)).astype(np.float32)
    node = helper.make_node
    _save(
        folder / "segment_0.onnx",
        [
            node("Cast", ["picture"], ["pixels"], to=TensorProto.FLOAT),
            node("Flatten", ["pixels"], ["flat"]),
            node("Div", ["flat", "range"], ["scaled"]),
            node("Cast", ["step"], ["count"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["count", "axis"], ["column"]),
            node("Concat", ["scaled", "readings", "column"], ["numbers"], axis=1),
            node("MatMul", ["numbers", "first"], ["sums"]),
            node("Relu", ["sums"], ["hidden"]),
        ],
        INPUTS,
        HIDDEN,
        {"first": first, "range": np.array(255.0, np.float32), "axis": np.array([1])},
    )
    _save(
        folder / "segment_1.onnx", [node("MatMul", ["hidden", "second"], ["logits"])], (HIDDEN,), LOGITS,
        {"second": second},
    )  # fmt: skip
    row = TensorSpec.of_several(INPUTS)
    manifest = Manifest(
        schema_version=1,
        model_id="two-inputs",
        task="classification",
        input=row,
        inputs=INPUTS,
        outputs=outputs or (LOGITS,),
        postprocessor=postprocessor,
        segments=(
            Segment(model="segment_0.onnx", macs=312, parameters=312),
            Segment(model="segment_1.onnx", macs=24, parameters=24),
        ),
        cuts=(
            Cut(index=0, after="input", tensor=row, levels=(ZstdLevel(), RawLevel())),
            Cut(index=1, after="first", tensor=HIDDEN, levels=(RawLevel(),)),
        ),
        files={path.name: file_entry(path) for path in folder.iterdir()},
    )
    (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return TwoInputs(folder, first, second)


def records(count: int, seed: int = 0) -> NDArray[Any]:
    """Random records [count]."""
    generator = np.random.default_rng(seed)
    made = np.zeros(count, record_type(INPUTS))
    made["picture"] = generator.integers(0, 256, (count, *PICTURE.shape))
    made["readings"] = generator.standard_normal((count, *READINGS.shape))
    made["step"] = generator.integers(0, 5, count)
    return made


def _save(path: Path, nodes: list[Any], takes: tuple[TensorSpec, ...], gives: TensorSpec, weights: Any) -> None:
    inputs, outputs = (
        [helper.make_tensor_value_info(one.name, _KINDS[one.dtype], ["batch", *one.shape]) for one in specs]
        for specs in (takes, (gives,))
    )
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "segment", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))

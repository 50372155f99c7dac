"""A bundle with one cut whose payloads are long, and said to be worth something without their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from device.plan import EMBEDDED
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.manifest import Cut, LearnedLevel, Manifest, Measured, RawLevel, Segment, TensorSpec
from runtime.measure import time_parts
from runtime.stage import Stage
from tests.runtime.tiny_bundle import _cumulative

SIDE, CHANNELS, CLASSES = 96, 32, 10
GAINS: Final = (1.0, 4.0, 40.0)
ACCURACIES: Final = (0.88, 0.93, 0.96)
ALONE: Final = 0.3
INPUT = TensorSpec(name="image", dtype="uint8", shape=(SIDE, SIDE, 3))
FEATURES = TensorSpec(name="features", dtype="float32", shape=(CHANNELS, SIDE // 2, SIDE // 2))
LATENT = TensorSpec(name="latent", dtype="float32", shape=FEATURES.shape)
LOGITS = TensorSpec(name="logits", dtype="float32", shape=(CLASSES,))


def build(folder: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """The bundle, in an empty folder, and items like those it was measured with, uint8 [1, 96, 96, 3]."""
    generator = np.random.default_rng(3)
    items = [generator.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8) for _ in range(3)]
    node = helper.make_node
    kernel = (generator.standard_normal((CHANNELS, 3, 3, 3)) * 0.3).astype(np.float32)
    dense = generator.standard_normal((CHANNELS, CLASSES)).astype(np.float32)
    same = np.eye(CHANNELS, dtype=np.float32)[:, :, None, None]
    scaled = [
        node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        node("Constant", [], ["range"], value_float=127.5),
        node("Div", ["real", "range"], ["scaled"]),
        node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    head = [
        node("Conv", ["planes", "w"], ["out"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["out"], ["features"]),
    ]
    tail = [
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "w"], ["logits"]),
    ]
    _save(folder / "segment_0.onnx", [*scaled, *head], INPUT, FEATURES, kernel)
    _save(folder / "segment_1.onnx", tail, FEATURES, LOGITS, dense)
    _save(folder / "encoder.onnx", [node("Conv", ["features", "w"], ["latent"])], FEATURES, LATENT, same)
    _save(folder / "decoder.onnx", [node("Conv", ["latent", "w"], ["features"])], LATENT, FEATURES, same)
    save_file(_tables(folder, items), folder / "tables.safetensors")
    _write(folder, _manifest(folder, ()))
    with Bundle.open(folder) as bundle:
        codecs, stage = Codecs(bundle, OnnxRuntimeEngine()), Stage(bundle, OnnxRuntimeEngine())
        carried = [stage.run(item, 0, 1)[0] for item in items]
        sizes = [float(np.mean([len(codecs.at(1, k).encode(one)) for one in carried])) for k in range(len(GAINS))]
        profile = time_parts(bundle, OnnxRuntimeEngine(), items, budget_s=0)
    measured = [_measured(size, accuracy) for size, accuracy in zip(sizes, ACCURACIES, strict=True)]
    _write(folder, _manifest(folder, measured).model_copy(update={"profiles": (profile,)}))
    return folder, items


def _save(path: Path, nodes: list[Any], source: TensorSpec, target: TensorSpec, weight: NDArray[Any]) -> None:
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    values = [helper.make_tensor_value_info(one.name, kinds[one.dtype], ["n", *one.shape]) for one in (source, target)]
    graph = helper.make_graph(nodes, target.name, values[:1], values[1:], [onnx.numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _tables(folder: Path, items: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Smoothed histograms, one row for each gain."""
    latents = np.concatenate([OnnxRuntimeEngine().load(folder / "segment_0.onnx").run([item])[0] for item in items])
    rounded = [np.rint(latents * gain).astype(np.int64) for gain in GAINS]
    most = max(int(symbols.max()) for symbols in rounded) + 3
    cdf = np.zeros((len(GAINS), CHANNELS, most + 1), np.int32)
    size = np.zeros((len(GAINS), CHANNELS), np.int32)
    for row, symbols in enumerate(rounded):
        for channel in range(CHANNELS):
            size[row, channel] = symbols[:, channel].max() + 2
            counts = np.bincount(symbols[:, channel].ravel(), minlength=size[row, channel])
            cdf[row, channel, 1 : len(counts) + 1] = _cumulative(counts)
    gain = np.repeat(np.array(GAINS, np.float32)[:, None], CHANNELS, axis=1)
    return {"gain": gain, "inverse_gain": 1 / gain, "cdf": cdf, "size": size, "offset": np.zeros_like(size)}


def _measured(payload_bytes: float, accuracy: float) -> Measured:
    return Measured(payload_bytes=payload_bytes, accuracy=accuracy, agreement=accuracy, items=100)


def _manifest(folder: Path, measured: list[Measured] | tuple[()]) -> Manifest:
    levels = tuple(
        LearnedLevel(
            encoder="encoder.onnx", decoder="decoder.onnx", tables="tables.safetensors", row=row, latent=LATENT,
            encoder_macs=1, decoder_macs=1, measured=measured[row] if measured else None,
        )
        for row in range(len(GAINS))
    )  # fmt: skip
    return Manifest(
        schema_version=1,
        model_id="embedded",
        task="classification",
        classes=tuple(f"class {index}" for index in range(CLASSES)),
        input=INPUT,
        outputs=(LOGITS,),
        segments=tuple(Segment(model=f"segment_{index}.onnx", macs=1, parameters=1) for index in range(2)),
        cuts=(
            Cut(index=0, after="input", tensor=INPUT, levels=(RawLevel(),)),
            Cut(index=1, after="relu", tensor=FEATURES, levels=(*levels, RawLevel())),
        ),
        measured=_measured(0.0, ALONE),
        provenance={"codec": EMBEDDED},
        files={path.name: file_entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME},
    )


def _write(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())

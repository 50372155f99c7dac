"""A real bundle small enough for every test: three cuts, one exit, learned levels, weights stored once. No torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from runtime.answers import answer_of
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.manifest import (
    Cut,
    Exit,
    ImageLevel,
    LearnedLevel,
    Level,
    Manifest,
    Measured,
    RawLevel,
    Segment,
    TensorSpec,
    ZstdLevel,
)
from runtime.measure import time_parts
from runtime.stage import Stage

SIDE = 32
CLASSES = 10
LATENT_CHANNELS = 4
GAINS = (0.5, 2.0, 8.0)
DATA = ("weights.safetensors",)
INPUT = TensorSpec(name="image", dtype="uint8", shape=(SIDE, SIDE, 3))
CARRIED = {
    1: TensorSpec(name="features_1", dtype="float32", shape=(8, SIDE // 2, SIDE // 2)),
    2: TensorSpec(name="features_2", dtype="float32", shape=(12, SIDE // 4, SIDE // 4)),
}
LOGITS = TensorSpec(name="logits", dtype="float32", shape=(CLASSES,))


@dataclass(frozen=True)
class TinyBundle:
    """Where it lies, and an independent truth beside it.

    Attributes:
        path: the bundle's folder. Shared by all tests: copy it before changing it.
        whole: the unsplit model as one self-contained ONNX file, outside the bundle.
        items: a few inputs, each uint8 [1, 32, 32, 3].
    """

    path: Path
    whole: Path
    items: tuple[NDArray[np.uint8], ...]


def build(folder: Path) -> TinyBundle:
    """Write the bundle and the whole model into an empty folder."""
    root = folder / "tiny.isthmus"
    root.mkdir()
    items = pictures(6)
    weights = _trunk_weights()
    weights |= _transforms(weights, items)
    save_file(weights, root / DATA[0])
    external = _external_tensors(root / DATA[0])
    for name, (nodes, source, target) in _graphs().items():
        _save(root / f"{name}.onnx", nodes, source, target, external)
    whole = folder / "whole.onnx"
    _save(whole, _trunk_nodes(3), INPUT, LOGITS, _embedded(weights))
    _write_manifest(root, ())
    for cut in CARRIED:
        save_file(_tables(root, cut, items), root / f"tables_{cut}.safetensors")
    _write_manifest(root, items)
    return TinyBundle(root, whole, tuple(items))


def pictures(count: int, seed: int = 1) -> list[NDArray[np.uint8]]:
    """Smooth coloured pictures, each [1, 32, 32, 3]."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (5, 5, 3)).astype(np.float64)
        at = np.linspace(0, 3.999, SIDE)
        low, part = at.astype(int), (at % 1)[:, None, None]
        rows = coarse[low] * (1 - part) + coarse[low + 1] * part
        both = rows[:, low] * (1 - part[:, 0]) + rows[:, low + 1] * part[:, 0]
        made.append(both.astype(np.uint8)[None])
    return made


def _trunk_weights() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(7)
    shapes = {
        "conv_0": (8, 3, 3, 3),
        "conv_1": (12, 8, 3, 3),
        "dense_2": (12, CLASSES),
        "exit_dense": (8, CLASSES),
    }
    return {
        name: (generator.standard_normal(shape) * (2.0 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


def _transforms(trunk: dict[str, NDArray[Any]], items: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """Encoders onto the principal components of 2x2 patches, and decoders back from them."""
    made = {}
    for cut, spec in CARRIED.items():
        model = _model(_trunk_nodes(cut), INPUT, spec, _embedded(trunk))
        evaluator = onnx.reference.ReferenceEvaluator(model)
        features = np.concatenate([evaluator.run(None, {INPUT.name: item})[0] for item in items])
        count, channels, side, _ = features.shape
        patches = features.reshape(count, channels, side // 2, 2, side // 2, 2).transpose(0, 2, 4, 1, 3, 5)
        components = np.linalg.svd(patches.reshape(-1, channels * 4), full_matrices=False)[2][:LATENT_CHANNELS]
        kernel = np.ascontiguousarray(components.reshape(LATENT_CHANNELS, channels, 2, 2), np.float32)
        made |= {f"encode_{cut}": kernel, f"decode_{cut}": kernel}
    return made


def _trunk_nodes(segments: int) -> list[Any]:
    return [node for index in range(segments) for node in _graphs()[f"segment_{index}"][0]]


def _embedded(weights: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: onnx.numpy_helper.from_array(weight, name) for name, weight in weights.items()}


def _graphs() -> dict[str, tuple[list[Any], TensorSpec, TensorSpec]]:
    """Nodes, input and output of each graph. Node inputs that are weights go by the weight's name."""
    first, second = CARRIED[1], CARRIED[2]
    latents = {cut: latent_of(cut) for cut in CARRIED}
    node = helper.make_node
    graphs = {
        "segment_0": (
            [
                node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
                node("Constant", [], ["range"], value_float=127.5),
                node("Div", ["as_float", "range"], ["scaled"]),
                node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
                node("Conv", ["planes", "conv_0"], ["conv_0_out"], strides=[2, 2], pads=[1, 1, 1, 1]),
                node("Relu", ["conv_0_out"], [first.name]),
            ],
            INPUT,
            first,
        ),
        "segment_1": (
            [
                node("Conv", [first.name, "conv_1"], ["conv_1_out"], strides=[2, 2], pads=[1, 1, 1, 1]),
                node("Relu", ["conv_1_out"], [second.name]),
            ],
            first,
            second,
        ),
        "segment_2": (_classifier(second.name, "dense_2", "logits"), second, LOGITS),
        "exit_1": (_classifier(first.name, "exit_dense", "logits"), first, LOGITS),
    }
    for cut, spec in CARRIED.items():
        latent = latents[cut]
        graphs[f"encoder_{cut}"] = (
            [node("Conv", [spec.name, f"encode_{cut}"], [latent.name], strides=[2, 2])],
            spec,
            latent,
        )
        graphs[f"decoder_{cut}"] = (
            [node("ConvTranspose", [latent.name, f"decode_{cut}"], [spec.name], strides=[2, 2])],
            latent,
            spec,
        )
    return graphs


def latent_of(cut: int) -> TensorSpec:
    height = CARRIED[cut].shape[1] // 2
    return TensorSpec(name=f"latent_{cut}", dtype="float32", shape=(LATENT_CHANNELS, height, height))


def _classifier(source: str, weight: str, target: str) -> list[Any]:
    return [
        helper.make_node("GlobalAveragePool", [source], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", weight], [target]),
    ]


def _external_tensors(path: Path) -> dict[str, Any]:
    """Initializers that point into the data area of a safetensors file."""
    content = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        tensor.dims.extend(entry["shape"])
        pointers = {"location": path.name, "offset": 8 + header_bytes + begin, "length": end - begin}
        for key, value in pointers.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors[name] = tensor
    return tensors


def _save(path: Path, nodes: Sequence[Any], source: TensorSpec, target: TensorSpec, weights: dict[str, Any]) -> None:
    path.write_bytes(_model(nodes, source, target, weights).SerializeToString(deterministic=True))


def _model(nodes: Sequence[Any], source: TensorSpec, target: TensorSpec, weights: dict[str, Any]) -> Any:
    used = {name for node in nodes for name in node.input}
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes,
        target.name,
        [helper.make_tensor_value_info(source.name, kinds[source.dtype], ["batch", *source.shape])],
        [helper.make_tensor_value_info(target.name, kinds[target.dtype], ["batch", *target.shape])],
        [weights[name] for name in sorted(used & set(weights))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _tables(root: Path, cut: int, items: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """Smoothed histograms of the encoder's rounded output, one row for each gain."""
    engine = OnnxRuntimeEngine()
    with Bundle.open(root) as bundle:
        features = [Stage(bundle, engine).run(item, 0, cut)[0] for item in items]
    encoder = engine.load(root / f"encoder_{cut}.onnx")
    latents = np.concatenate([encoder.run([feature])[0] for feature in features])
    rounded = [np.rint(latents * gain).astype(np.int64) for gain in GAINS]
    most = max(int(np.ptp(symbols)) for symbols in rounded) + 3
    rows, channels = len(GAINS), LATENT_CHANNELS
    cdf = np.zeros((rows, channels, most + 1), np.int32)
    size = np.zeros((rows, channels), np.int32)
    offset = np.zeros((rows, channels), np.int32)
    for row, symbols in enumerate(rounded):
        for channel in range(channels):
            seen = symbols[:, channel].ravel()
            offset[row, channel] = seen.min() - 1
            size[row, channel] = np.ptp(seen) + 3
            counts = np.bincount(seen - offset[row, channel], minlength=size[row, channel])
            cdf[row, channel, 1 : len(counts) + 1] = _cumulative(counts)
    gain = np.repeat(np.array(GAINS, np.float32)[:, None], channels, axis=1)
    return {"gain": gain, "inverse_gain": 1 / gain, "cdf": cdf, "size": size, "offset": offset}


def _cumulative(counts: NDArray[np.int64], total: int = 1 << 14) -> NDArray[np.int64]:
    widths = 1 + np.floor(counts / counts.sum() * (total - len(counts))).astype(np.int64)
    widths[widths.argmax()] += total - widths.sum()
    return np.cumsum(widths)


def _write_manifest(root: Path, items: Sequence[NDArray[np.uint8]]) -> None:
    """Without items: segments only, to make the tables with. With them: all, and the figures that they give."""
    manifest = _manifest(root, complete=bool(items))
    (root / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    if not items:
        return
    with Bundle.open(root) as bundle:
        updates = _measurements(bundle, items)
    (root / MANIFEST_NAME).write_bytes(manifest.model_copy(update=updates).to_bytes())


def _manifest(root: Path, *, complete: bool) -> Manifest:
    names = sorted(path.name for path in root.iterdir() if path.name != MANIFEST_NAME)
    lossless = (ZstdLevel(), RawLevel())
    pictures_at_input = (ImageLevel(format="webp", quality=50), ImageLevel(format="jpeg", quality=75))
    macs = (SIDE**2 // 4 * 216, SIDE**2 // 16 * 864, 120)
    return Manifest(
        schema_version=1,
        model_id="tiny",
        task="classification",
        classes=tuple(f"class {index}" for index in range(CLASSES)),
        input=INPUT,
        outputs=(LOGITS,),
        segments=tuple(
            Segment(model=f"segment_{index}.onnx", data=DATA, macs=macs[index], parameters=(216, 864, 120)[index])
            for index in range(3)
        ),
        cuts=(
            Cut(index=0, after="input", tensor=INPUT, levels=pictures_at_input + lossless),
            *(
                Cut(
                    index=cut,
                    after=f"relu_{cut - 1}",
                    tensor=spec,
                    levels=(_learned_levels(cut) if complete else ()) + lossless,
                )
                for cut, spec in CARRIED.items()
            ),
        ),
        exits=(Exit(cut=1, model="exit_1.onnx", data=DATA, macs=80),),
        provenance={"made_by": "tests"},
        files={name: file_entry(root / name) for name in names},
    )


def _learned_levels(cut: int) -> tuple[Level, ...]:
    macs = latent_of(cut).elements * CARRIED[cut].shape[0] * 4
    return tuple(
        LearnedLevel(
            encoder=f"encoder_{cut}.onnx",
            decoder=f"decoder_{cut}.onnx",
            data=DATA,
            tables=f"tables_{cut}.safetensors",
            row=row,
            latent=latent_of(cut),
            encoder_macs=macs,
            decoder_macs=macs,
        )
        for row in range(len(GAINS))
    )


def _measurements(bundle: Bundle, items: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Measured figures of every level, the true label being the whole model's answer."""
    engine = OnnxRuntimeEngine()
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    truth = [answer_of(stage.run(item)[0]).label for item in items]

    def figures(labels: list[int], payload_bytes: float) -> Measured:
        share = float(np.mean([label == true for label, true in zip(labels, truth, strict=True)]))
        return Measured(payload_bytes=payload_bytes, accuracy=share, agreement=share, items=len(items))

    cuts = []
    for cut in bundle.manifest.cuts:
        levels = []
        for index, level in enumerate(cut.levels):
            codec = codecs.at(cut.index, index)
            payloads = [codec.encode(stage.run(item, 0, cut.index)[0]) for item in items]
            labels = [answer_of(stage.run(codec.decode(payload), cut.index)[0]).label for payload in payloads]
            measured = figures(labels, float(np.mean([len(payload) for payload in payloads])))
            levels.append(level.model_copy(update={"measured": measured}))
        cuts.append(cut.model_copy(update={"levels": tuple(levels)}))
    early = [answer_of(stage.exit(1, stage.run(item, 0, 1)[0])).label for item in items]
    return {
        "cuts": tuple(cuts),
        "exits": (bundle.manifest.exits[0].model_copy(update={"measured": figures(early, 0)}),),
        "measured": figures(truth, 0),
        "profiles": (time_parts(bundle, engine, items, budget_s=0),),
    }

"""Heads of fewer bits: a bundle whose first segments compute in int8, or keep their weights in float16.

int8: ONNX Runtime's static quantisation. Weights get a scale per output channel, activations one per tensor, from what
they are on samples of the user's. float16: weights are stored in half the bytes and widened when they are loaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime.quantization as quantisation
from numpy.typing import NDArray

from partitioner.bundle_writer import BundleWriter, replace_manifest
from partitioner.errors import NotQuantisable
from partitioner.metrics import Answer, Metric, Top1, agreement, name_of
from partitioner.weights import belongs_in_file
from runtime.activations import matches
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.inputs import parted, row_of
from runtime.manifest import FileEntry, LearnedLevel, Manifest, Measured
from runtime.stage import Stage

Bits = Literal["int8", "float16"]
QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "Concat", "GlobalAveragePool", "MaxPool")
"""Operators that compute in int8; what stands between them is widened to float32 and back."""
LEAST_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What became of a head.

    Attributes:
        agreement: of the answers with those of the bundle that it was made from, over the samples.
        quality: the metric's value on labelled samples, and `quality_before` that of the original; None without labels.
    """

    manifest: Manifest
    agreement: float
    quality: float | None
    quality_before: float | None


@dataclass(frozen=True)
class Samples:
    """Inputs of the user's: [items, ...] as cut 0 declares, what is true about each, and how answers are judged.

    The first `calibration` items set the scales; all the others are judged, or all where there are no others.
    """

    items: NDArray[Any]
    truths: Sequence[Answer] | None = None
    metric: Metric = field(default_factory=Top1)
    calibration: int = 100


def narrow_head(
    source: Path | str, target: Path | str, segments: int, bits: Bits, samples: Samples, *, overwrite: bool = False
) -> Narrowed:
    """Write a copy of a bundle whose first segments are int8 or float16; the others stay as they are.

    Args:
        source: a float32 bundle; it is not changed.
        target: the new bundle's folder.
        segments: how many; all of them for the whole model.
        overwrite: replace what is at the target.

    Raises:
        NotQuantisable: no such segments, or samples that do not fit.
        BundleExists: there is something at the target.
    """
    with Bundle.open(source) as bundle, tempfile.TemporaryDirectory(prefix="isthmus-head-") as folder:
        samples = replace(samples, items=row_of(samples.items, bundle.manifest))
        _check(bundle.manifest, segments, samples)
        with BundleWriter(target, overwrite=overwrite) as writer:
            _copy(bundle, writer, segments)
            carried = samples.items[: samples.calibration]
            stage = Stage(bundle, engine_named("onnxruntime", 1))
            for index in range(segments):
                segment = bundle.manifest.segments[index]
                model = bundle.model(segment.model, segment.data)
                given = parted(carried, bundle.manifest.inputs) if index == 0 and bundle.manifest.inputs else [carried]
                made = _halved(model) if bits == "float16" else _int8(model, Path(folder) / segment.model, given)
                writer.add_model(segment.model, made)
                if index + 1 < segments:
                    carried = np.concatenate([stage.run(item[None], index, index + 1)[0] for item in carried])
            manifest = writer.commit(lambda files: _declared(bundle.manifest, writer, files))
        narrowed = _judged(bundle, target, manifest, samples)
    narrowed = replace(narrowed, manifest=_told(narrowed, segments, bits, samples))
    replace_manifest(target, narrowed.manifest)
    return narrowed


def _check(manifest: Manifest, segments: int, samples: Samples) -> None:
    if not 1 <= segments <= len(manifest.segments):
        raise NotQuantisable(f"the bundle has {len(manifest.segments)} segments, and {segments} were asked for")
    if not matches(samples.items, manifest.input) or len(samples.items) < LEAST_SAMPLES:
        raise NotQuantisable(
            f"calibration needs at least {LEAST_SAMPLES} items of {manifest.input.dtype} "
            f"{list(manifest.input.shape)}, and was given {samples.items.dtype} {list(samples.items.shape)}"
        )
    if samples.truths is not None and len(samples.truths) != len(samples.items):
        raise NotQuantisable(f"{len(samples.items)} items came with {len(samples.truths)} truths; give one for each")


def _copy(bundle: Bundle, writer: BundleWriter, segments: int) -> None:
    """Graphs and tables that stay, weights to be stored anew."""
    manifest = bundle.manifest
    graphs = {segment.model: segment.data for segment in manifest.segments[segments:]}
    graphs |= {exit_.model: exit_.data for exit_ in manifest.exits}
    learned = [level for cut in manifest.cuts for level in cut.levels if isinstance(level, LearnedLevel)]
    for level in learned:
        graphs |= dict.fromkeys(level.graphs, level.data)
        writer.add_file(level.tables, bundle.file(level.tables).read_bytes())
    for path, data in graphs.items():
        writer.add_model(path, _read(bundle.model(path, data)))


def _read(path: Path) -> ir.Model:
    """A graph with its weights in memory."""
    return ir.serde.deserialize_model(onnx.load(path))


def _halved(path: Path) -> ir.Model:
    """The graph with large float32 weights as float16, each widened by a Cast that engines fold when loading."""
    model = _read(path)
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or not belongs_in_file(tensor):
            continue
        most = float(np.finfo(np.float16).max)
        narrow = ir.tensor(np.clip(tensor.numpy(), -most, most).astype(np.float16), name=f"{name}.half")
        half = ir.Value(
            name=narrow.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT16), const_value=narrow
        )
        cast = ir.Node("", "Cast", [half], [ir.AttrInt64("to", ir.DataType.FLOAT.value)])
        cast.outputs[0].name, cast.outputs[0].shape, cast.outputs[0].type = f"{name}.wide", value.shape, value.type
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        del graph.initializers[name]
        graph.initializers[half.name or ""] = half
        graph.insert_before(graph[0], cast)
    return model


def _int8(path: Path, beside: Path, inputs: Sequence[NDArray[Any]]) -> ir.Model:
    """The graph quantised, with scales from what its activations are on some items, [items, ...] of each input."""
    model = onnx.load(path)
    # The partitioner's graphs are optimised: that is what this mark says, and without it the library warns.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantisation.quantize_static(
        model,
        str(beside),
        _Reader(dict(zip([value.name for value in model.graph.input], inputs, strict=True))),
        quant_format=quantisation.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED),
        per_channel=True,
        activation_type=quantisation.QuantType.QUInt8,
        weight_type=quantisation.QuantType.QInt8,
        calibrate_method=quantisation.CalibrationMethod.MinMax,
        extra_options={"CalibMovingAverage": True},  # of each item's range: one odd item does not widen the scale
    )
    made = onnx.load(beside)
    del made.metadata_props[:]
    return ir.serde.deserialize_model(made)


class _Reader(quantisation.CalibrationDataReader):  # type: ignore[misc]
    """Hands one item after another to the calibration."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        count = min(map(len, inputs.values()))
        self._items = ({name: items[n : n + 1] for name, items in inputs.items()} for n in range(count))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._items, None)


def _declared(manifest: Manifest, writer: BundleWriter, files: dict[str, FileEntry]) -> Manifest:
    """The manifest of the new bundle. Figures of the old one do not hold any more."""
    changed = manifest.model_dump()
    for segment in changed["segments"]:
        segment["data"] = writer.data_of(segment["model"])
    for cut in changed["cuts"]:
        for level in cut["levels"]:
            level["measured"] = None
            if level["codec"] == "learned":
                prior = level["hyperprior"]
                named = (level["encoder"], level["decoder"], prior and prior["encoder"], level["view"])
                graphs = [path for path in named if path]
                level["data"] = tuple(dict.fromkeys(file for graph in graphs for file in writer.data_of(graph)))
    for exit_ in changed["exits"]:
        exit_["measured"] = None
        exit_["data"] = writer.data_of(exit_["model"])
    changed |= {"files": files, "measured": None, "profiles": ()}
    return Manifest.model_validate(changed)


def _told(made: Narrowed, segments: int, bits: Bits, samples: Samples) -> Manifest:
    """The manifest with the head's own figures: in words, and as the model's accuracy where labels were given."""
    manifest, items, metric = made.manifest, _judged_on(samples), name_of(samples.metric)
    text = f"{bits} in segments 0 to {segments - 1}, float32 in the others; on {items} samples {made.agreement:.4f} "
    text += f"agreement with float32 ({metric})"
    measured = None
    if made.quality is not None and made.quality_before is not None:
        text += f", {made.quality:.4f} right, before {made.quality_before:.4f}"
        measured = Measured(
            payload_bytes=manifest.input.nbytes, accuracy=made.quality, agreement=made.agreement, items=items
        )
    provenance = {**manifest.provenance, "precision": text}
    return manifest.model_copy(update={"provenance": provenance, "measured": measured})


def _judged_on(samples: Samples) -> int:
    """How many samples judge: those behind the calibration's, or all where there are no others."""
    return len(samples.items) - samples.calibration if len(samples.items) > samples.calibration else len(samples.items)


def _judged(before: Bundle, target: Path | str, manifest: Manifest, samples: Samples) -> Narrowed:
    first = len(samples.items) - _judged_on(samples)
    judged, truths = samples.items[first:], None if samples.truths is None else samples.truths[first:]
    with Bundle.open(target, verify=False) as after:
        old, new = (_answers(bundle, judged) for bundle in (before, after))
    return Narrowed(
        manifest,
        agreement(samples.metric, new, old),
        None if truths is None else samples.metric.quality(new, truths),
        None if truths is None else samples.metric.quality(old, truths),
    )


def _answers(bundle: Bundle, items: NDArray[Any]) -> list[Answer]:
    stage = Stage(bundle, engine_named("onnxruntime", 1))
    return [[output[0] for output in stage.run(item[None])] for item in items]

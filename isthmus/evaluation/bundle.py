"""Every level of a bundle through its real codecs, beside what one would send otherwise, on the same samples.

Classifiers are taken as they are. One that was tuned on a codec's output loses less at low rates, so small advantages
over picture files here are none; larger ones are, and the table says which column it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve, interval, rate_difference
from isthmus.evaluation.errors import BadItems, NoOverlap
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import Cut, ImageLevel, LearnedLevel, Level, Manifest
from runtime.stage import Stage

Report = Callable[[str], None]
_BATCH: Final = 25


@dataclass(frozen=True)
class Difference:
    """Bytes of a method beside another one at equal quality; -0.5 is half. `low` to `high` holds it with 95 %."""

    method: str
    against: str
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Curves on the same samples.

    Attributes:
        quality: "accuracy" where labels were given, else "agreement" with the whole model.
        whole: quality of the whole model.
        curves: methods of the bundle first, by cut, then what stands beside them.
        device_macs: by the name of a curve, multiply-accumulates that the device does at each level: head and encoder.
            Curves of files and of few bits are not in it.
    """

    items: int
    quality: str
    whole: float
    curves: tuple[Curve, ...]
    differences: tuple[Difference, ...]
    device_macs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class _Judge:
    """Runs the rest of the model and says which answers are right."""

    def __init__(self, stage: Stage, items: NDArray[Any], labels: NDArray[np.int64] | None) -> None:
        self.stage = stage
        whole = self.answers(items, 0)
        self.truth = whole if labels is None else labels
        self.whole = float((whole == self.truth).mean())

    def answers(self, activations: NDArray[Any], cut: int) -> NDArray[np.int64]:
        parts = [self.stage.run(activations[i : i + _BATCH], cut)[0] for i in range(0, len(activations), _BATCH)]
        found: NDArray[np.int64] = np.concatenate(parts).argmax(1)
        return found

    def right(self, activations: NDArray[Any], cut: int) -> NDArray[np.bool_]:
        return np.asarray(self.answers(activations, cut) == self.truth)


def evaluate(
    bundle: Bundle, items: NDArray[Any], labels: NDArray[np.int64] | None, report: Report, *, draws: int = 500
) -> Evaluation:
    """Measure all levels, picture files of the input, and the cuts' tensors in 2 to 8 bits under zstd.

    Args:
        items: [items, ...] of the bundle's input.
        labels: of the items; None compares with the whole model's answers.
        draws: of the bootstrap.

    Raises:
        BadItems: no classification, or items that the model does not take.
    """
    manifest = bundle.manifest
    if manifest.task != "classification":
        raise BadItems("only classifications can be evaluated so far: the answers of others have no right and wrong")
    if items.shape[1:] != manifest.input.shape or items.dtype != manifest.input.dtype:
        raise BadItems(
            f"the model takes {manifest.input.dtype} {list(manifest.input.shape)}, and the samples are {items.dtype} "
            f"{list(items.shape[1:])}; convert them"
        )
    engine = engine_named("onnxruntime", 1)
    judge = _Judge(Stage(bundle, engine), items, labels)
    codecs = Codecs(bundle, engine)
    ours: list[Curve] = []
    beside: dict[int, list[Curve]] = {}
    for cut in manifest.cuts:
        activations = items if cut.index == 0 else _at(judge.stage, items, cut.index)
        ours += _own(cut, codecs, judge, activations, report)
        beside[cut.index] = [*_exits(bundle, cut, judge, activations), *_others(cut, judge, activations, report)]
    differences = [
        difference
        for curve in ours
        for other in [*beside[0], *beside.get(_cut_of(curve), [])]
        for difference in _difference(other, curve, draws)
    ]
    curves = (*ours, *(curve for group in beside.values() for curve in group))
    quality = "agreement" if labels is None else "accuracy"
    macs = {curve.name: _device_macs(bundle.manifest, curve) for curve in ours}
    return Evaluation(len(items), quality, judge.whole, curves, tuple(differences), macs)


def _device_macs(manifest: Manifest, curve: Curve) -> tuple[int, ...]:
    cut = _cut_of(curve)
    head = sum(segment.macs for segment in manifest.segments[:cut])
    levels = (manifest.cuts[cut].levels[int(number)] for number in curve.levels)
    return tuple(head + (level.encoder_macs if isinstance(level, LearnedLevel) else 0) for level in levels)


def _at(stage: Stage, items: NDArray[Any], cut: int) -> NDArray[Any]:
    return np.concatenate([stage.run(items[i : i + _BATCH], 0, cut)[0] for i in range(0, len(items), _BATCH)])


def _cut_of(curve: Curve) -> int:
    return int(curve.name.split()[1])


def _own(cut: Cut, codecs: Codecs, judge: _Judge, activations: NDArray[Any], report: Report) -> Iterator[Curve]:
    """One curve for each codec of the cut."""
    groups: dict[str, list[tuple[int, Level]]] = {}
    for number, level in enumerate(cut.levels):
        groups.setdefault(level.format if isinstance(level, ImageLevel) else level.codec, []).append((number, level))
    for codec_name, levels in groups.items():
        name = f"cut {cut.index} {codec_name}"
        sizes, right = [], []
        for number, _ in levels:
            codec = codecs.at(cut.index, number)
            payloads = [codec.encode(item[None]) for item in activations]
            restored = np.concatenate([codec.decode(payload) for payload in payloads])
            sizes.append([float(len(payload)) for payload in payloads])
            right.append(judge.right(restored, cut.index))
            report(f"{name}: level {number}")
        yield Curve(name, tuple(str(number) for number, _ in levels), np.array(sizes), np.stack(right))


def _exits(bundle: Bundle, cut: Cut, judge: _Judge, activations: NDArray[Any]) -> Iterator[Curve]:
    """The answer of an exit at this cut for every sample: nothing is sent."""
    for exit_ in bundle.manifest.exits:
        if exit_.cut == cut.index:
            starts = range(0, len(activations), _BATCH)
            logits = [judge.stage.exit(cut.index, activations[i : i + _BATCH]) for i in starts]
            right = np.concatenate(logits).argmax(1) == judge.truth
            yield Curve(f"exit at cut {cut.index}, nothing sent", ("exit",), np.zeros((1, len(right))), right[None])


def _others(cut: Cut, judge: _Judge, activations: NDArray[Any], report: Report) -> Iterator[Curve]:
    """Picture files of a picture; the tensor in few bits elsewhere."""
    shape, dtype = cut.tensor.shape, cut.tensor.dtype
    if cut.index == 0 and dtype == "uint8" and len(shape) == 3 and shape[2] == 3:
        for format in baselines.formats():
            yield _pictures(format, judge, activations)
            report(f"beside: {format}")
    elif cut.index > 0 and dtype == "float32":
        yield _few_bits(cut.index, judge, activations)
        report(f"beside: cut {cut.index} in few bits")


def _pictures(format: baselines.Format, judge: _Judge, pictures: NDArray[np.uint8]) -> Curve:
    sizes, right = [], []
    qualities = baselines.QUALITIES[format]
    for quality in qualities:
        files = baselines.picture_files(list(pictures), format, quality)
        sizes.append([float(len(file)) for file in files])
        right.append(judge.right(baselines.read_pictures(files), 0))
    levels = tuple(f"q{quality}" for quality in qualities)
    return Curve(f"{format} of the picture, stock classifier", levels, np.array(sizes), np.stack(right))


def _few_bits(cut: int, judge: _Judge, activations: NDArray[np.float32]) -> Curve:
    sizes, right = [], []
    for bits in baselines.BITS:
        made = [baselines.quantised(item, bits) for item in activations]
        sizes.append([float(len(payload)) for payload, _ in made])
        right.append(judge.right(np.stack([restored for _, restored in made]), cut))
    return Curve(f"k bits + zstd at cut {cut}", tuple(map(str, baselines.BITS)), np.array(sizes), np.stack(right))


def _difference(other: Curve, curve: Curve, draws: int) -> list[Difference]:
    """None where the two have no quality in common."""
    try:
        rate = rate_difference(other.bytes, other.quality, curve.bytes, curve.quality)
        low, high = interval(other, curve, draws=draws)
    except NoOverlap:
        return []
    return [Difference(curve.name, other.name, rate, low, high)]

"""Every level of a bundle through its real codecs, beside what one would send otherwise, on the same samples.

Rivals stand there with the classifier as it is, and where a model and samples to tune it on are given, with one tuned
on each codec's output: that loses less at low rates, and small advantages over the first are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation.curves import Curve, interval, rate_difference
from isthmus.evaluation.efforts import Effort, effort_of, small_model, timed
from isthmus.evaluation.errors import BadItems, NoOverlap
from isthmus.evaluation.judge import Judge
from isthmus.evaluation.rivals import exits, rivals
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.inputs import row_of
from runtime.manifest import Cut, ImageLevel, Level, Manifest, Measured
from runtime.stage import Stage

if TYPE_CHECKING:
    from torch import nn

    from isthmus.evaluation.tuning import Tuner

Report = Callable[[str], None]


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
        efforts: by the name of a curve, what each of its levels asks of the device. Rival codecs are not in it.
        measured: by cut and number, each level's figures as a manifest holds them.
    """

    items: int
    quality: str
    whole: float
    curves: tuple[Curve, ...]
    differences: tuple[Difference, ...]
    efforts: Mapping[str, tuple[Effort, ...]] = field(default_factory=dict)
    measured: Mapping[tuple[int, int], Measured] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What else stands in the tables, if it is given.

    Attributes:
        tuner: of the bundle's model, for classifiers tuned on rivals' output.
        small: a model that is small enough for the device, for the row that sends nothing.
    """

    tuner: Tuner | None = None
    small: nn.Module | None = None


def evaluate(
    bundle: Bundle,
    items: NDArray[Any],
    labels: NDArray[np.int64] | None,
    report: Report,
    *,
    draws: int = 500,
    beside: Beside = Beside(),
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
    items = row_of(items, manifest)
    if items.shape[1:] != manifest.input.shape or items.dtype != manifest.input.dtype:
        raise BadItems(
            f"the model takes {manifest.input.dtype} {list(manifest.input.shape)}, and the samples are {items.dtype} "
            f"{list(items.shape[1:])}; convert them"
        )
    if beside.tuner is not None and beside.tuner.items.shape[1:] != items.shape[1:]:
        raise BadItems(f"samples to tune on are {list(beside.tuner.items.shape[1:])}, unlike the others; convert them")
    engine = engine_named("onnxruntime", 1)
    judge, codecs = Judge(Stage(bundle, engine), items, labels), Codecs(bundle, engine)
    efforts: dict[str, tuple[Effort, ...]] = {}
    measured: dict[tuple[int, int], Measured] = {}
    ours: list[tuple[int, Curve]] = []
    others: dict[int, list[Curve]] = {}
    for cut in manifest.cuts:
        activations = judge.at(items, cut.index)
        for name, levels in _by_codec(cut).items():
            report(name)
            curve, efforts[name], figures = _measured(name, levels, bundle, cut, codecs, judge, activations)
            measured |= figures
            ours.append((cut.index, curve))
        report(f"beside cut {cut.index}")
        others[cut.index] = [
            *exits(bundle, cut, judge, activations),
            *rivals(cut, judge, activations, beside.tuner),
        ]
    differences = [
        difference
        for cut_index, curve in ours
        for other in [*others[0], *(others[cut_index] if cut_index else [])]
        for difference in _difference(other, curve, draws)
    ]
    curves = [*(curve for _, curve in ours), *(curve for group in others.values() for curve in group)]
    if beside.small is not None:
        curve, effort = small_model(beside.small, items, judge.truth)
        curves.append(curve)
        efforts[curve.name] = (effort,)
    quality = "agreement" if labels is None else "accuracy"
    return Evaluation(len(items), quality, judge.whole, tuple(curves), tuple(differences), efforts, measured)


def recorded(manifest: Manifest, found: Evaluation) -> Manifest:
    """The manifest with what was measured of each level and of the whole model, for plans to choose by."""
    cuts = []
    for cut in manifest.cuts:
        levels = [
            level.model_copy(update={"measured": found.measured[cut.index, number]})
            for number, level in enumerate(cut.levels)
        ]
        cuts.append(cut.model_copy(update={"levels": tuple(levels)}))
    whole = Measured(payload_bytes=manifest.input.nbytes, accuracy=found.whole, agreement=1.0, items=found.items)
    return manifest.model_copy(update={"cuts": tuple(cuts), "measured": whole})


def _by_codec(cut: Cut) -> dict[str, list[tuple[int, Level]]]:
    """Levels with their numbers, by the name of their curve."""
    groups: dict[str, list[tuple[int, Level]]] = {}
    for number, level in enumerate(cut.levels):
        codec = level.format if isinstance(level, ImageLevel) else level.codec
        groups.setdefault(f"cut {cut.index} {codec}", []).append((number, level))
    return groups


def _measured(
    name: str,
    levels: list[tuple[int, Level]],
    bundle: Bundle,
    cut: Cut,
    codecs: Codecs,
    judge: Judge,
    activations: NDArray[Any],
) -> tuple[Curve, tuple[Effort, ...], dict[tuple[int, int], Measured]]:
    """The curve of one codec of a cut, over real payloads, what its levels ask of the device, and their figures."""
    sizes, right, efforts, figures = [], [], [], {}
    for number, level in levels:
        codec = codecs.at(cut.index, number)
        made = [timed(partial(codec.encode, item[None])) for item in activations]
        restored = np.concatenate([codec.decode(payload) for payload, _ in made])
        sizes.append([float(len(payload)) for payload, _ in made])
        answers = judge.answers(restored, cut.index)
        right.append(answers == judge.truth)
        figures[cut.index, number] = Measured(
            payload_bytes=float(np.mean(sizes[-1])),
            accuracy=float(right[-1].mean()),
            agreement=float((answers == judge.own).mean()),
            items=len(activations),
        )
        efforts.append(effort_of(bundle, cut.index, level, float(np.median([seconds for _, seconds in made]))))
    numbers = tuple(str(number) for number, _ in levels)
    return Curve(name, numbers, np.array(sizes), np.stack(right)), tuple(efforts), figures


def _difference(other: Curve, curve: Curve, draws: int) -> list[Difference]:
    """None where the two have no quality in common."""
    try:
        rate = rate_difference(other.bytes, other.quality, curve.bytes, curve.quality)
        low, high = interval(other, curve, draws=draws)
    except NoOverlap:
        return []
    return [Difference(curve.name, other.name, rate, low, high)]

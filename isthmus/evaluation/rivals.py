"""What one would do without a learned codec: files of the picture, few bits under zstd, a small model, an early exit.

Codecs' curves come twice where classifiers can be tuned on their output: with the network as it is, and tuned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve
from isthmus.evaluation.judge import BATCH, Judge
from runtime.bundle import Bundle
from runtime.manifest import Cut

if TYPE_CHECKING:
    from isthmus.evaluation.tuning import Tuner

TINY: Final = 64
"""Sides up to which a picture file is also counted without its constant bytes, which are most of it then."""
BARE: Final = ", constant bytes out of band"


def rivals(cut: Cut, judge: Judge, activations: NDArray[Any], tuner: Tuner | None) -> Iterator[Curve]:
    """Picture files of a picture at cut 0; the tensor in few bits elsewhere."""
    shape, dtype = cut.tensor.shape, cut.tensor.dtype
    if cut.index == 0 and dtype == "uint8" and len(shape) == 3 and shape[2] == 3:
        for format in baselines.formats():
            yield from _pictures(format, judge, activations, tuner)
    elif cut.index > 0 and dtype == "float32":
        yield from _few_bits(cut, judge, activations, tuner)


def exits(bundle: Bundle, cut: Cut, judge: Judge, activations: NDArray[Any]) -> Iterator[Curve]:
    """The answer of an exit at this cut for every sample: nothing is sent."""
    for exit_ in bundle.manifest.exits:
        if exit_.cut == cut.index:
            starts = range(0, len(activations), BATCH)
            logits = [judge.stage.exit(cut.index, activations[i : i + BATCH]) for i in starts]
            right = np.concatenate(logits).argmax(1) == judge.truth
            yield Curve(f"exit at cut {cut.index}, nothing sent", ("exit",), np.zeros((1, len(right))), right[None])


def _pictures(
    format: baselines.Format, judge: Judge, pictures: NDArray[np.uint8], tuner: Tuner | None
) -> Iterator[Curve]:
    qualities = baselines.QUALITIES[format]
    sizes, bare, stock, tuned = [], [], [], []
    tiny = max(pictures.shape[1:3]) <= TINY
    for quality in qualities:
        files = baselines.picture_files(list(pictures), format, quality)
        read = baselines.read_pictures(files)
        sizes.append([float(len(file)) for file in files])
        stock.append(judge.right(read, 0))
        if tiny:
            bare.append(baselines.bare_sizes(list(pictures), files, format, quality).astype(np.float64))
        if tuner is not None:
            left = baselines.read_pictures(baselines.picture_files(list(tuner.items), format, quality))
            tuned.append(tuner.whole(left)(read) == judge.truth)
    levels = tuple(f"q{quality}" for quality in qualities)
    for name, right in (("stock", stock), ("tuned", tuned)):
        if right:
            told = f"{format} of the picture, {name} classifier"
            yield Curve(told, levels, np.array(sizes), np.stack(right))
            if tiny:
                yield Curve(told + BARE, levels, np.stack(bare), np.stack(right))


def _few_bits(cut: Cut, judge: Judge, activations: NDArray[np.float32], tuner: Tuner | None) -> Iterator[Curve]:
    sizes, stock, tuned = [], [], []
    seen = None if tuner is None else judge.at(tuner.items, cut.index)
    for bits in baselines.BITS:
        made = [baselines.quantised(item, bits) for item in activations]
        restored = np.stack([restored for _, restored in made])
        sizes.append([float(len(payload)) for payload, _ in made])
        stock.append(judge.right(restored, cut.index))
        if tuner is not None and seen is not None:
            left = np.stack([baselines.quantised(item, bits)[1] for item in seen])
            tuned.append(tuner.behind(cut.after, left)(restored) == judge.truth)
    levels = tuple(map(str, baselines.BITS))
    for name, right in (("", stock), (", tuned tail", tuned)):
        if right:
            yield Curve(f"k bits + zstd at cut {cut.index}{name}", levels, np.array(sizes), np.stack(right))

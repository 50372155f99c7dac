"""Generalised head network distillation with a quantised bottleneck.

Y. Matsubara and M. Levorato, "Neural compression and filtering for edge-assisted real-time object detection in
challenged networks", ICPR 2020. The restored activation and the later ones it leads to are fitted to the network's
own; neither labels nor answers are looked at. Unlike there, later layers stay frozen and rounding is part of training.
"""

from __future__ import annotations

from torch import Tensor

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.losses import distance
from partitioner.compressors.methods.method import Lesson, Moment, Phase
from partitioner.compressors.quantised import Quantised

LEAST_BITS = 2


def bits_of(levels: int) -> tuple[int, ...]:
    """Bits of each level: 2 for the smallest, then one more each, so that eight levels end at 9; one level has 8."""
    return (8,) if levels == 1 else tuple(range(LEAST_BITS, LEAST_BITS + levels))


class Ghnd:
    """See above."""

    name = "ghnd"

    def make(self, shape: Shape) -> Bottleneck:
        return Quantised(shape, bits_of(shape.levels))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("features", 1.0, _features),)


def _features(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    restored, _ = compressor(lesson.activation, moment.level)
    feature = distance(lesson.passed(restored)[:-1], lesson.activations[:-1])
    return feature, f"{float(feature.detach()):.4f} of the variance"

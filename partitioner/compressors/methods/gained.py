"""Answers, features and bits at once, with gain units for many rates from one set of weights.

The gains are those of Z. Cui et al., "Asymmetric gained deep image compression with continuous rate adaptation", CVPR
2021. Bits that no answer depends on are given up, where a loss on features alone would pay for them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from partitioner.compressors.bottleneck import Bottleneck, Factorised, Shape
from partitioner.compressors.losses import distance, price
from partitioner.compressors.methods.method import Lesson, Moment, Phase

_FEATURES, _LABEL = 0.2, 0.3


class Gained:
    """See above."""

    name = "gained"

    def make(self, shape: Shape) -> Bottleneck:
        return Factorised(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("together", 1.0, together),)


def together(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    """Disagreement, bits, activations, and labels where there are any, in one sum."""
    restored, bits = compressor(lesson.activation, moment.level)
    passed = lesson.passed(restored)
    answer = passed[-1].float()
    disagreement = lesson.disagreement(answer).mean()
    share = price(moment.done)
    features = max(_FEATURES * (moment.bit_weights[-1] / moment.bit_weight) ** 0.5, 1.0 - share)
    loss = disagreement + share * moment.bit_weight * bits.mean()
    loss = loss + features * distance(passed[:-1], lesson.activations[:-1])
    if lesson.classifies and lesson.labels is not None:
        loss = loss + _LABEL * F.cross_entropy(answer, lesson.labels)
    return loss, f"{float(disagreement.detach()):.3f} nat, {float(bits.detach().mean()) / 8:.1f} B"

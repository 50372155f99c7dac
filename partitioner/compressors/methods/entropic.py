"""The Entropic Student: features against bits first, then the decoder alone learns the answers.

Y. Matsubara, R. Yang, M. Levorato and S. Mandt, "Supervised compression for resource-constrained edge computing
systems", WACV 2022, with the factorised prior of J. Balle et al., "Variational image compression with a scale
hyperprior", ICLR 2018, as CompressAI implements it. Unlike there, gains give several rates (one level is the paper's
case), and the layers behind the decoder stay frozen, for a bundle holds them once for all cuts.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from partitioner.compressors.bottleneck import Bottleneck, Factorised, Shape
from partitioner.compressors.losses import distance, price
from partitioner.compressors.methods.method import Lesson, Moment, Phase

_LABEL = 0.3


class Entropic:
    """See above."""

    name = "entropic"

    def make(self, shape: Shape) -> Bottleneck:
        return Factorised(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("features", 0.6, _features),
            Phase("answers", 0.4, _answers, ("encoder", "log_gain", "priors"), 0.5),
        )


def _features(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    restored, bits = compressor(lesson.activation, moment.level)
    feature = distance(lesson.passed(restored)[:-1], lesson.activations[:-1])
    loss = feature + price(moment.done) * moment.bit_weight * bits.mean()
    return loss, f"{float(feature.detach()):.4f} of the variance, {float(bits.detach().mean()) / 8:.0f} B"


def _answers(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    restored, bits = compressor(lesson.activation, moment.level)
    answer = lesson.passed(restored)[-1].float()
    loss = lesson.disagreement(answer).mean()
    if lesson.classifies and lesson.labels is not None:
        loss = loss + _LABEL * F.cross_entropy(answer, lesson.labels)
    return loss, f"{float(loss.detach()):.4f} nat, {float(bits.detach().mean()) / 8:.0f} B"

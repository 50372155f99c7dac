"""A narrow bottleneck trained in two phases, and quantised after training.

Y. Matsubara, D. Callegaro, S. Singh, M. Levorato and F. Restuccia, "BottleFit: Learning compressed representations in
deep neural networks for effective and efficient split computing", WoWMoM 2022. First the activations behind the
bottleneck are fitted to the network's own, then its answers. Unlike there, the layers behind the bottleneck stay
frozen, for a bundle holds them once for all cuts; the decoder in front of them learns instead.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.losses import distance
from partitioner.compressors.methods.ghnd import bits_of
from partitioner.compressors.methods.method import Lesson, Moment, Phase
from partitioner.compressors.quantised import Quantised

_OWN_ANSWER, _LABEL = 1.0, 0.3


class BottleFit:
    """See above."""

    name = "bottlefit"

    def make(self, shape: Shape) -> Bottleneck:
        return Quantised(shape, bits_of(shape.levels))

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("features", 0.5, _features),
            Phase("answers", 0.5, _answers, learning_rate=0.5),
        )


def _features(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    assert isinstance(compressor, Quantised)
    restored = compressor.unrounded(lesson.activation)
    feature = distance(lesson.passed(restored)[:-1], lesson.activations[:-1])
    return feature, f"{float(feature.detach()):.4f} of the variance"


def _answers(compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
    assert isinstance(compressor, Quantised)
    answer = lesson.passed(compressor.unrounded(lesson.activation))[-1].float()
    loss = _OWN_ANSWER * lesson.disagreement(answer).mean()
    if lesson.classifies and lesson.labels is not None:
        loss = loss + _LABEL * F.cross_entropy(answer, lesson.labels)
    return loss, f"{float(loss.detach()):.4f} nat"

"""How good answers are: one small file per task. Arrays in, a number from 0 to 1 out; no model, no torch.

To add one: a file here with `quality` and `truth_of`, a line in `_METRICS`, a case in tests/partitioner/test_metrics.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from partitioner.errors import UnknownMetric
from partitioner.metrics.mean_average_precision import MeanAveragePrecision
from partitioner.metrics.mean_iou import MeanIou
from partitioner.metrics.tokens import TokenAgreement
from partitioner.metrics.top1 import Top1

__all__ = [
    "Answer", "MeanAveragePrecision", "MeanIou", "Metric", "TokenAgreement", "Top1", "agreement", "metric_named",
    "name_of",
]  # fmt: skip

Answer = Sequence[NDArray[Any]]
"""What a model says about one item: its outputs, without the batch axis."""


class Metric(Protocol):
    """The quality of answers for one task."""

    def quality(self, answers: Sequence[Answer], truths: Sequence[Answer]) -> float:
        """From 0 to 1, over all items together."""
        ...

    def truth_of(self, answer: Answer) -> Answer:
        """The truth by which an answer would be right: what agreement with another model is measured against."""
        ...


_METRICS: dict[str, type[Metric]] = {
    "top-1": Top1,
    "mean average precision": MeanAveragePrecision,
    "mean IoU": MeanIou,
    "token agreement": TokenAgreement,
}


def metric_named(name: str) -> Metric:
    """Make a metric by name.

    Raises:
        UnknownMetric: names the nearest.
    """
    if name not in _METRICS:
        near = difflib.get_close_matches(name, _METRICS, n=1, cutoff=0.0)[0]
        raise UnknownMetric(f"there is no metric {name!r}; did you mean {near!r}? (known: {', '.join(_METRICS)})")
    return _METRICS[name]()


def name_of(metric: Metric) -> str:
    """The name by which `metric_named` makes it; of others, the class's."""
    return next((name for name, kind in _METRICS.items() if type(metric) is kind), type(metric).__name__)


def agreement(metric: Metric, answers: Sequence[Answer], of: Sequence[Answer]) -> float:
    """The quality of answers, were another model's answers the truth."""
    return metric.quality(answers, [metric.truth_of(answer) for answer in of])

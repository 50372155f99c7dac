"""Heads of fewer bits as options of `isthmus export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from partitioner.precision import Narrowed, Samples

Bits = Literal["int8", "float16"]
LIMIT = 1000
"""Samples read at most."""


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What a person asked for.

    Attributes:
        bits: of the segments in front of a cut.
        after: that cut; None for the last one.
        samples: a folder of pictures or a .npy file: the first hundred calibrate, the others judge.
        labels: a .npy file of classes; None where only agreement shall be told.
        metric: judges answers.
    """

    bits: Bits
    after: str | None
    samples: Path
    labels: Path | None
    metric: str

    def read(self, example: Tensor) -> Samples:
        """The samples, for a model that takes inputs such as this one.

        Raises:
            BadItems: a file that cannot be read.
            UnknownMetric: names the nearest.
        """
        import numpy as np

        from isthmus.evaluation.items import read_items, read_labels
        from partitioner.metrics import metric_named
        from partitioner.precision import Samples

        *_, height, width, channels = (0, 0, 0, *example.shape[1:])
        items = read_items(self.samples, LIMIT, side=(height, width) if channels == 3 else None)
        classes = None if self.labels is None else read_labels(self.labels, len(items))
        truths = None if classes is None else [(np.asarray(one),) for one in classes]
        return Samples(items, truths, metric_named(self.metric))


def options_from(
    bits: str | None, after: str | None, samples: Path | None, labels: Path | None, metric: str
) -> HeadOptions | None:
    """None where no head was asked for."""
    if bits is None:
        if samples is not None or labels is not None or after is not None:
            raise typer.BadParameter("these samples would serve no purpose; add --head int8", param_hint="--head")
        return None
    if bits not in ("int8", "float16"):
        raise typer.BadParameter(f"{bits!r} is neither int8 nor float16", param_hint="--head")
    if samples is None:
        raise typer.BadParameter(
            "a head of fewer bits is calibrated and judged on inputs; name a folder of pictures or a .npy file",
            param_hint="--samples",
        )
    return HeadOptions("int8" if bits == "int8" else "float16", after, samples, labels, metric)


def told(options: HeadOptions, made: Narrowed) -> str:
    """What became of the head, in one line."""
    text = f"{options.bits} head: {made.agreement:.1%} agreement with float32 ({options.metric})"
    if made.quality is None or made.quality_before is None:
        return text
    return f"{text}, {made.quality:.1%} right, before {made.quality_before:.1%}"


def as_object(options: HeadOptions, made: Narrowed) -> dict[str, Any]:
    """The same as plain values, for JSON."""
    return {
        "bits": options.bits,
        "agreement": made.agreement,
        "quality": made.quality,
        "quality_before": made.quality_before,
    }

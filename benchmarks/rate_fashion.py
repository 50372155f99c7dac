"""Fashion-MNIST: trained compressors against picture files, each with a network that was tuned on its output.

`make results-codec` (`python -m benchmarks.rate_fashion`) trains, for some tens of minutes on one free core, and
keeps every finished stage; `isthmus bench rate_fashion` reads those that are there and names the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from benchmarks import fashion, fashion_embedded
from benchmarks.figure import Figure
from benchmarks.task import accuracy, steps_of
from benchmarks.task_codecs import Codec, Found
from benchmarks.task_figures import Stage, Stages, against_pictures, bottlefit, missing, row, run, silent
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.trainer import Plan

QUALITIES: Final = (0.88, 0.905)


def _codec(cut: str, method: str, shape: Shape, bit_weights: tuple[float, ...], steps: int) -> Codec:
    return Codec(cut, method, shape, Plan(bit_weights, steps_of(steps)), ("blocks.4",))


_WEIGHTS = (4e-2, 2e-2, 1e-2, 4e-3, 1.5e-3)
_NEAR = Shape(64, 0, 32, 12, len(_WEIGHTS), 7)
_EARLY = Shape(32, 1, 32, 12, len(_WEIGHTS), 7)
_FINE = Shape(32, 0, 48, 8, 1, 0, 3)
"""A plane as large as the cut's, for little loss behind a tenth of the network: where it was halved first, answers
stayed two points below the network's at 40 bytes and at 74 (decision 161). Three convolutions, for the device may work
more than twice as much as it does there."""
_HYPER_WEIGHTS = (1e-3, 2e-4)
_HYPER = Shape(32, 1, 32, 16, len(_HYPER_WEIGHTS), 0)
_FEATURE_WEIGHTS = (2e-2, 8e-3, 3e-3, 1.2e-3, 5e-4)
"""Where bits stand beside shares of the features' variance."""
_LATER = ("blocks.3", "blocks.4")
STAGES: Final = Stages(
    fashion.TASK,
    (
        _codec("blocks.3", "gained", _NEAR, _WEIGHTS, 2_400),
        _codec("blocks.1", "gained", _EARLY, _WEIGHTS, 2_400),
        Codec("blocks.1", "gained", _FINE, Plan((5.5e-5,), steps_of(7_000)), _LATER, "fine "),
        Codec("blocks.1", "hyperprior", _HYPER, Plan(_HYPER_WEIGHTS, steps_of(2_400)), _LATER),
        _codec("blocks.3", "entropic", _NEAR, _FEATURE_WEIGHTS, 2_400),
        _codec("blocks.3", "bottlefit", _NEAR, _WEIGHTS, 1_600),
        _codec("blocks.3", "ghnd", _NEAR, _WEIGHTS, 1_600),
    ),
    (
        ("webp", 0), ("webp", 10), ("webp", 30), ("webp", 60),
        ("jpeg", 2), ("jpeg", 10), ("jpeg", 30),
        ("avif", 5), ("avif", 20), ("avif", 40),
    ),
)  # fmt: skip
EACH: Final[dict[str, Stage]] = {
    "embedded": fashion_embedded.measure,
    **STAGES.each(),
    "small network": lambda _, report: fashion.small_accuracy(report),
}


def figures() -> Sequence[Figure]:
    """Of the stages that are finished, and the names of those that are not; nothing before the first of them."""
    finished, embedded, small = STAGES.finished(), fashion_embedded.KEPT.is_file(), fashion.SMALL.is_file()
    there = {*finished.each(), *(["embedded"] if embedded else ()), *(["small network"] if small else ())}
    if not (fashion.at_hand() and there):
        return []
    network = fashion.network(silent)
    whole = accuracy(network, *fashion.TASK.tests)
    found, pictures = finished.found(network, silent)
    return [
        Figure("whole network, top-1", whole, "share", 0.92, "at least", "10,000 test pictures"),
        *missing([name for name in EACH if name not in there], "make results-codec"),
        *against_pictures(found, pictures, QUALITIES),
        *bottlefit(fashion.TASK, found, whole),
        *(_embedded(fashion_embedded.measure(network, silent)) if embedded else ()),
        *(_small(fashion.small_accuracy(silent), found) if small else ()),
        *(row(curve, QUALITIES[0]) for curve in (*(one.curve for one in found), *pictures)),
    ]


def _small(alone: float, found: Sequence[Found]) -> list[Figure]:
    """What a device gets that runs a network of a quarter of the size and sends nothing."""
    best = max((float(one.curve.quality.max()) for one in found if one.device_share <= 0.25), default=0.0)
    told = f"the best cut with no more MACs on the device: {best:.2%}"
    return [Figure("a network of a quarter of the MACs alone, 0 bytes, top-1", alone, "share", against=told)]


def _embedded(found: fashion_embedded.Embedded) -> list[Figure]:
    """One bitstream, cut in half; and in packets, of which each is lost with 20 %."""
    half, lossy = (100 * (found.whole - share) for share in (found.half, found.lossy))
    told = f"whole payloads: {found.payload_bytes:.1f} B {found.whole:.2%}"
    cuts = ", ".join(f"{share:.0%} {one:.2%}" for share, one in zip(fashion_embedded.SHARES, found.cut, strict=True))
    packets = f"{told}; {fashion_embedded.PACKETS} packets: {found.packets_bytes:.1f} B"
    return [
        Figure("embedded, half of the payload: points lost", half, "points", 2.0, "at most", f"{told}; cut to {cuts}"),
        Figure("embedded, 20 % of packets lost: points lost", lossy, "points", 1.5, "at most", packets),
    ]


if __name__ == "__main__":
    sys.exit(run(fashion.TASK, EACH, fashion.at_hand(), f"Fashion-MNIST in {fashion.DATA}"))

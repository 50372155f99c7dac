"""Option tables that the policies are compared on: the published probe's two sets, and two like real models'.

The probe's description gives sizes, times and the local model of each set; accuracies of the levels are not in it. They
are chosen here so that the oracle's and the local model's figures come out as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptation.plan import Choice, Option, Plan, Route
from device.figures import Figures
from device.plan import Planner
from runtime.bundle import Bundle
from testbed.errors import ScenarioError

TIER_S = 0.002


def table(
    heads_s: Sequence[float],
    top_bytes: Sequence[float],
    shares: Sequence[float],
    accuracies: Sequence[float],
    locals_: Sequence[tuple[int, float, float]],
    overhead_bytes: float = 0.0,
) -> Plan:
    """A plan over one tier.

    Args:
        heads_s: device seconds up to each cut, counted from 1.
        top_bytes: payload of the best level at each cut.
        shares: of that, for each level.
        accuracies: of each level.
        locals_: device answers as (cut, seconds, accuracy); a cut past the last is the whole model.
        overhead_bytes: of each message.
    """
    options = [
        Option(Choice(cut, None, Route.DEVICE), seconds, 0.0, 0.0, 0.0, right) for cut, seconds, right in locals_
    ]
    for cut, (head_s, top) in enumerate(zip(heads_s, top_bytes, strict=True), start=1):
        for level, (share, right) in enumerate(zip(shares, accuracies, strict=True)):
            options.append(
                Option(Choice(cut, level, Route.EDGE), head_s, top * share, 60.0, TIER_S, right, overhead_bytes)
            )
    return Plan(tuple(options))


def light() -> Plan:
    """The probe's set L: 300 bytes to 20 kB, heads of 5 to 60 ms, a good local model (90 ms, 90 %)."""
    return table(
        (0.005, 0.02, 0.04, 0.06), (20e3, 10e3, 5e3, 2.5e3), (0.12, 0.25, 0.5, 1.0), ACCURACIES, [(5, 0.09, 0.9)]
    )


def heavy_weak() -> Plan:
    """The probe's set HW: six times the bytes of L and a weak local model (25 ms, 70 %), an exit at the second cut."""
    return table(HEADS_S, (120e3, 60e3, 30e3, 15e3), SHARES, ACCURACIES, [(2, 0.025, 0.7)])


HEADS_S = (0.005, 0.02, 0.04, 0.06)
SHARES = (0.12, 0.25, 0.5, 1.0)
ACCURACIES = (0.92, 0.935, 0.945, 0.95)


def builtin_like() -> Plan:
    """Like the built-in digits on a slow device: features of 25 to 400 bytes, an exit in 115 ms, the whole in 200."""
    heads_s = (0.03, 0.07, 0.1, 0.12)
    locals_ = [(5, 0.2, 0.975), (3, 0.115, 0.965)]
    return table(heads_s, (400, 267, 160, 100), (0.25, 0.5, 0.75, 1.0), (0.95, 0.962, 0.97, 0.975), locals_, 70.0)


def mobilenet_like() -> Plan:
    """Like MobileNetV2 at 224 pixels on a small board: 0.6 to 14 kB, an early exit (55 ms), the whole in 180 ms."""
    heads_s = (0.018, 0.035, 0.06, 0.1)
    locals_ = [(5, 0.18, 0.718), (2, 0.055, 0.52)]
    return table(heads_s, (14e3, 8e3, 5e3, 3e3), (0.2, 0.4, 0.7, 1.0), (0.65, 0.69, 0.71, 0.716), locals_, 70.0)


def of_bundle(path: Path, whole_s: float) -> Plan:
    """A bundle's own table over an edge, on a device so slow that the whole model takes `whole_s`.

    Raises:
        BundleError: it cannot be read.
        ScenarioError: it does not say how long its parts take.
    """
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
    if not manifest.profiles:
        raise ScenarioError(f"bundle {str(path)!r} has no profile; measure its parts and write it again")
    profile = manifest.profiles[0]
    figures = Figures(profile, slowdown=whole_s / sum(profile.segment_s), clock=lambda: 0.0)
    return Planner(manifest, figures, (Route.EDGE,)).plan()


TABLES = {"L": light, "HW": heavy_weak, "builtin": builtin_like, "mobilenet": mobilenet_like}

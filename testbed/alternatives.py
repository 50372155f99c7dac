"""The ways to run the same frames that a comparison sets against one another.

To add one: a function here that reads the manifest and returns an `Alternative`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adaptation.plan import Choice, Route
from runtime.manifest import ImageLevel, Manifest
from testbed.errors import ScenarioError

TOLERATED_LOSS = 0.01
"""Accuracy that `cloud_jpeg` may lose against the whole model: one point."""

_WAYS: Mapping[Route, str] = {
    Route.EDGE: "to the edge",
    Route.CLOUD: "to the cloud",
    Route.EDGE_TO_CLOUD: "through the edge to the cloud",
}


@dataclass(frozen=True, slots=True)
class Alternative:
    """A name, and the `[policy]` table of the device's settings.

    Attributes:
        told: one sentence for the report: what it does.
    """

    name: str
    policy: Mapping[str, object]
    told: str


def device_only(manifest: Manifest) -> Alternative:
    """The whole model on the device, nothing sent."""
    return fixed("device_only", Choice(len(manifest.segments), None, Route.DEVICE), "the whole model on the device")


def cloud_jpeg(manifest: Manifest) -> Alternative:
    """A picture file of each frame, the whole model in the cloud.

    The smallest JPEG or WebP whose measured accuracy is within `TOLERATED_LOSS` of the whole model's.

    Raises:
        ScenarioError: the bundle has no measured picture level that keeps the accuracy.
    """
    if manifest.measured is None:
        raise ScenarioError(f"bundle {manifest.model_id!r} does not say how accurate its whole model is; measure it")
    floor = manifest.measured.accuracy - TOLERATED_LOSS
    kept = [
        (level.measured.payload_bytes, index, level)
        for index, level in enumerate(manifest.cuts[0].levels)
        if isinstance(level, ImageLevel) and level.measured is not None and level.measured.accuracy >= floor - 1e-9
    ]
    if not kept:
        raise ScenarioError(
            f"bundle {manifest.model_id!r} has no JPEG or WebP level at cut 0 within {TOLERATED_LOSS * 100:g} point of "
            "the whole model's accuracy; add a level of higher quality"
        )
    size, index, level = min(kept, key=lambda entry: entry[:2])
    told = f"{level.format.upper()} of quality {level.quality} ({size:,.0f} bytes on average), whole model in the cloud"
    return fixed("cloud_jpeg", Choice(0, index, Route.CLOUD), told)


def adaptive() -> Alternative:
    """Cut, level and tier chosen frame by frame from what the link and the tiers have shown."""
    return Alternative("adaptive", {"name": "deadline"}, "cut, level and tier chosen for every frame")


def fixed(name: str, choice: Choice, told: str) -> Alternative:
    """One choice for all frames."""
    policy: dict[str, object] = {"name": "fixed", "cut": choice.cut, "route": choice.route.value}
    if choice.level is not None:
        policy["level"] = choice.level
    if choice.handover is not None:
        policy["handover"] = list(choice.handover)
    return Alternative(name, policy, told)


def describe(choice: Choice, manifest: Manifest) -> str:
    """A choice in words: `cut 2 (features.5), level 1, to the edge`."""
    if choice.level is None:
        whole = choice.cut == len(manifest.segments)
        return "whole model on the device" if whole else f"exit at cut {choice.cut} on the device"
    after = manifest.cuts[choice.cut].after
    return f"cut {choice.cut} ({after}), level {choice.level}, {_WAYS[choice.route]}"

"""What a bundle takes on a machine: read from the machine's profile where it was measured there, else predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from partitioner.errors import ProfileUnusable
from partitioner.planning.network import Source
from partitioner.profiling.machine import MachineProfile, ModelFigures, SegmentFigures

LEAST_SEGMENTS = 3
"""A prediction from fewer measured segments is refused."""


@dataclass(frozen=True, slots=True)
class OnMachine:
    """A bundle on one machine.

    Attributes:
        seconds: of each segment.
        codec_s: [cut][level]: encoding, decoding.
        peak_bytes: [segments + 1], of a process that runs so many segments; None where it was not measured there.
        told: the source in words.
    """

    seconds: tuple[float, ...]
    codec_s: tuple[tuple[tuple[float, float], ...], ...]
    peak_bytes: tuple[int, ...] | None
    source: Source
    told: str


def measured_here(local: ModelFigures, machine: str) -> OnMachine:
    """A bundle on the machine that has just measured it."""
    return _taken_from(local, local, 1.0, "measured", f"on {machine}")


def on_machine(profile: MachineProfile, local: ModelFigures) -> OnMachine:
    """A bundle on another machine.

    Args:
        local: the bundle on this machine, which is taken for the reference of the profile's segments.

    Raises:
        ProfileUnusable: the profile knows neither this network nor enough segments to predict it.
    """
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    machine = f"{profile.machine}, {profile.engine}, {threads}"
    known = next((model for model in profile.models if _covers(model, local)), None)
    if known is not None:
        if profile.scale != 1.0:
            return _taken_from(known, local, profile.scale, "declared", f"{profile.scale:g} times what {machine} takes")
        return _taken_from(known, local, 1.0, "measured", f"on {machine}")
    return _predicted(profile, local, machine)


def _covers(known: ModelFigures, wanted: ModelFigures) -> bool:
    """Whether a network was measured with at least these cuts."""
    same = known.bundle == wanted.bundle or (known.graph != "" and known.graph == wanted.graph)
    return same and {_start(one) for one in wanted.segments} <= {_start(one) for one in known.segments}


def _start(segment: SegmentFigures) -> tuple[str, int, int]:
    return segment.after, segment.macs_before, segment.input_bytes


def _taken_from(known: ModelFigures, wanted: ModelFigures, scale: float, source: Source, told: str) -> OnMachine:
    """Seconds between the wanted cuts, added up from those between the known ones."""
    starts = [_start(one) for one in known.segments]
    places = [*(starts.index(_start(one)) for one in wanted.segments), len(starts)]
    times = [segment.time.median_s for segment in known.segments]
    peaks = [segment.peak_bytes for segment in known.segments]
    counted = [0 if place == 0 else peaks[place - 1] for place in places]
    return OnMachine(
        seconds=tuple(scale * sum(times[a:b]) for a, b in pairwise(places)),
        codec_s=_codec_seconds(known if known.bundle == wanted.bundle else wanted, scale),
        peak_bytes=None if None in counted else tuple(count or 0 for count in counted),
        source=source,
        told=told,
    )


def _codec_seconds(figures: ModelFigures, scale: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(
        tuple((scale * level.encode.median_s, scale * level.decode.median_s) for level in levels)
        for levels in figures.levels
    )


def _predicted(profile: MachineProfile, local: ModelFigures, machine: str) -> OnMachine:
    from partitioner.profiling.predictor import adapt  # needs scipy, which devices do not have

    known = [segment for model in profile.models for segment in model.segments if segment.reference_s]
    if len(known) < LEAST_SEGMENTS:
        raise ProfileUnusable(
            f"the profile of {profile.machine!r} has not measured this network, and with {len(known)} segments that "
            "were also timed where their bundle was written it cannot predict it; measure this network there "
            "(isthmus export, then isthmus profile), or add bundles to the profile"
        )
    own = as_reference(local.segments)
    seconds = [profile.scale * value for value in adapt(known).seconds(own)]
    ratio = sum(seconds) / max(local.seconds, 1e-9)
    return OnMachine(
        seconds=tuple(seconds),
        codec_s=_codec_seconds(local, ratio),
        peak_bytes=None,
        source="predicted",
        told=f"for {machine}, from {len(known)} segments measured there",
    )


def as_reference(segments: Sequence[SegmentFigures]) -> list[SegmentFigures]:
    """Segments whose reference is the machine that has just measured them."""
    return [segment.model_copy(update={"reference_s": segment.time.median_s}) for segment in segments]

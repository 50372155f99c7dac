"""What the programs take on this machine, so that simulated time is like its own: parts of the model, and the rest.

A bundle's profile says how its parts compare on the machine where it was made; another machine, or another day of the
same, has other proportions. Measured are the parts by themselves, and short runs of the programs over a link with no
bottleneck: how much longer device and tier take there (cold caches, a busy neighbour), and what of a frame's time is
neither computing nor link: sockets, event loops, decisions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.manifest import Profile
from runtime.measure import time_parts
from runtime.settings import sentence_of
from testbed.backends.backend import Line
from testbed.backends.process import ProcessBackend, pace, setting_of
from testbed.errors import ScenarioError
from testbed.hindsight import first_items, samples
from testbed.processes import Children
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario
from testbed.setting import Setting

WHOLE_MODEL_S = 0.2
_SECONDS = 6.0
_ONE_WAY_S = 0.005
_FIRST_S = 1.5
"""What comes earlier opens connections and warms caches."""
_PARTS_S = 40.0
"""Some twenty times each part: medians of four were off by a quarter."""
_PACES = 5
_ROUNDS = 2
"""Of each fixed choice, one after the other, so that a disturbance falls on all alike."""
_STALL = 8.0
"""Interquartile ranges beside the median from which on it was no device that took so long: stalls of 300 ms have been
met where all else was within 40. See docs/decisions/0236."""
_REST_S = 0.02
"""After so long a pause a part takes what it takes from frame to frame; longer ones change little."""


class Calibration(BaseModel):
    """What a simulated device and tier take, and what goes on around them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    profile: Profile
    pace_s: Annotated[float, Field(gt=0)] | None = None
    """Processor seconds of the whole model in one go, which a slowdown multiplies: less than its parts one by
    one, after a rest each. Without it, as long as all segments."""
    device_factor: Annotated[float, Field(gt=0)] = 1.0
    """How much longer the parts take on a running device than by themselves, relative to the whole model ..."""
    encode_factor: Annotated[float, Field(gt=0)] = 1.0
    """... and encoders besides: they come after a rest, the segments of a head one after the other."""
    tier_factor: Annotated[float, Field(gt=0)] = 1.0
    """How much longer they take in a running tier."""
    own_s: Annotated[float, Field(ge=0)] = 0.0
    """Of every frame on the device, besides computing: decisions, threads, event loops."""
    programs_s: Annotated[float, Field(ge=0)] = 0.0
    """From there to a tier's answer, at least: neither computing nor link."""
    jitter_s: Annotated[float, Field(ge=0)] = 0.0
    """Mean of what comes on top of that, exponential."""
    byte_s: Annotated[float, Field(ge=0)] = 0.0
    """The same for each byte of its message: copies, windows, the emulated link's own work."""
    device_noise: Annotated[tuple[float, ...], Field(min_length=1, max_length=1000)] = (0.0,)
    """What single frames take on a running device beside their mean, divided by its root, in roots of seconds: each as
    likely as the others. Disturbances of a longer work are more, and even one another out."""


def read_calibration(path: Path) -> Calibration:
    """Read what `isthmus testbed calibrate` has written.

    Raises:
        ScenarioError: there is no such file, or it is none.
    """
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise ScenarioError(
            f"timings {str(path)!r} cannot be read: {exc.strerror}; write them: isthmus testbed calibrate"
        ) from exc
    except ValidationError as exc:
        told = sentence_of(Calibration, exc, str(path))
        raise ScenarioError(f"these are no timings: {told}; write them anew: isthmus testbed calibrate") from exc


def calibrate(material: Material, folder: Path) -> Calibration:
    """Time the bundle's parts, then a device and an edge that run it: at two cuts, and with the usual policy.

    Args:
        folder: for the files of the runs.

    Raises:
        TestbedError: the programs do not run, or answered too little.
    """
    with Bundle.open(material.bundle) as bundle:
        manifest = bundle.manifest
        setting = setting_of(_scenario({}, 1.0), _scenario({}, 1.0).device["camera"], material)
        items, engine = samples(setting, manifest), engine_named("onnxruntime", 1)
        profile = time_parts(bundle, engine, items, budget_s=_PARTS_S, rest_s=lambda part: _REST_S)
    inner, whole = manifest.cuts[-1], manifest.cuts[0]
    levels = len(whole.levels)
    asked = [(0, level) for level in sorted({levels // 2, 3 * levels // 4})] + [(inner.index, len(inner.levels) // 2)]
    pace_s = _pace_s(setting, folder / "paces")
    slowdown = max(WHOLE_MODEL_S / pace_s, 1.0)
    runs: list[list[Line]] = [[] for _ in asked]
    for number in range(_ROUNDS):
        for lines, (cut, level) in zip(runs, asked, strict=True):
            lines += _answered(material, _fixed(cut, level), slowdown, folder / f"cut-{cut}-{level}-{number}")
    runs = [_steady(lines) for lines in runs]
    device_factor, encode_factor = _factors(profile, runs[:-1], runs[-1])
    usual = _answered(material, {}, slowdown, folder / "usual")
    raw = next((place for place, level in enumerate(whole.levels) if level.codec == "raw"), None)
    byte_s = 0.0 if raw is None else _byte_s(runs[0], _answered(material, _fixed(0, raw), slowdown, folder / "raw"))
    programs_s, jitter_s = _programs([_beside_s(line) - byte_s * line["message_bytes"] for line in usual])
    return Calibration(
        profile=profile,
        pace_s=pace_s,
        device_factor=device_factor,
        encode_factor=encode_factor,
        tier_factor=_over(runs, lambda line: _in_tier(line, profile)),
        own_s=max(statistics.fmean(map(_own_s, usual)), 0.0),
        programs_s=programs_s,
        jitter_s=jitter_s,
        byte_s=byte_s,
        device_noise=_noise(runs),
    )


def _fixed(cut: int, level: int) -> dict[str, object]:
    return {"name": "fixed", "cut": cut, "level": level, "route": "edge"}


def _programs(seconds: Sequence[float]) -> tuple[float, float]:
    """(at least, mean of the exponential on top): so that the tenth percentile and the mean come out."""
    tenth_s, mean_s = float(np.percentile(seconds, 10)), statistics.fmean(seconds)
    jitter_s = max(mean_s - tenth_s, 0.0) / (1 + math.log(0.9))
    return max(mean_s - jitter_s, 0.0), jitter_s


def _steady(lines: Sequence[Line]) -> list[Line]:
    """Of frames that all took the same choice, those during which the machine did not stand still.

    Of a few hundred frames nobody can tell how rare that is.
    """
    low, middle, high = (float(np.percentile([line["device_s"] for line in lines], share)) for share in (25, 50, 75))
    return [line for line in lines if abs(line["device_s"] - middle) <= _STALL * (high - low)]


def _noise(runs: Iterable[Sequence[Line]]) -> tuple[float, ...]:
    """Of every frame, what the device took beside the mean of its run, where all took the same choice."""
    taken = [[float(line["device_s"]) for line in lines] for lines in runs]
    means_s = [statistics.fmean(alike) for alike in taken]
    return tuple(
        round((seconds - mean_s) / math.sqrt(mean_s), 5)
        for mean_s, alike in zip(means_s, taken, strict=True)
        for seconds in alike
    )


def _factors(profile: Profile, whole: Sequence[Sequence[Line]], inner: Sequence[Line]) -> tuple[float, float]:
    """(of all parts, of encoders besides): from runs that only encode, and one that runs a head before.

    Means within the runs, since it is means that are to come out alike.
    """
    unit_s = WHOLE_MODEL_S / math.fsum(profile.segment_s)

    def encoding(lines: Sequence[Line]) -> float:
        return unit_s * profile.encode_s[lines[0]["cut"]][lines[0]["level"]]

    def mean_s(lines: Sequence[Line]) -> float:
        return statistics.fmean(float(line["device_s"]) for line in lines)

    encoders = statistics.geometric_mean(mean_s(lines) / encoding(lines) for lines in whole)
    if not inner[0]["cut"]:
        return encoders, 1.0
    head_s = max(mean_s(inner) - encoders * encoding(inner), 0.1 * mean_s(inner))
    heads = head_s / (unit_s * math.fsum(profile.segment_s[: inner[0]["cut"]]))
    return heads, encoders / heads


def _byte_s(few: Sequence[Line], many: Sequence[Line]) -> float:
    """What a byte more costs on its way through the programs."""
    seconds, size = (
        statistics.median(measure(line) for line in many) - statistics.median(measure(line) for line in few)
        for measure in (_beside_s, lambda line: float(line["message_bytes"]))
    )
    return max(seconds / size, 0.0) if size > 0 else 0.0


def _pace_s(setting: Setting, folder: Path) -> float:
    """The whole model's, by several programs that time it: they differ by a tenth."""
    folder.mkdir(parents=True)
    asked = setting.bundle, first_items(setting)
    with Children(folder) as children:
        return statistics.fmean(pace(children, folder, *asked, label=f"pace-{number}") for number in range(_PACES))


def _scenario(policy: Mapping[str, object], slowdown: float) -> Scenario:
    return Scenario.model_validate(
        {"about": "Calibration.", "seconds": _SECONDS, "edge": {},
         "device": {"camera": {"link": "wire", "slowdown": slowdown, "policy": policy, "deadline_s": 1.0}},
         "link": {"wire": {"uplink": {"kind": "unlimited", "delay_s": _ONE_WAY_S}}}}
    )  # fmt: skip


def _answered(material: Material, policy: Mapping[str, object], slowdown: float, folder: Path) -> list[Line]:
    """Lines of frames that the edge answered, once everything is warm."""
    outcome = ProcessBackend().play(_scenario(policy, slowdown), material, folder, 0, lambda sentence: None)
    lines = [line for line in outcome.devices[0].lines if line["by"] == "edge" and line["captured_s"] > _FIRST_S]
    if not lines:
        raise ScenarioError("no frame of the calibration was answered by the edge; is this machine busy? Try it again")
    return lines


def _in_tier(line: Line, profile: Profile) -> float:
    cut, level = line["cut"], line["level"]
    return float(line["tier_s"]) / (profile.decode_s[cut][level] + math.fsum(profile.segment_s[cut:]))


def _own_s(line: Line) -> float:
    """What a frame that waited for nobody was on the device besides computing."""
    return float(line["latency_s"] - line["device_s"] - line["tier_s"] - line["network_s"])


def _beside_s(line: Line) -> float:
    return float(line["network_s"]) - 2 * _ONE_WAY_S


def _over(runs: Iterable[Sequence[Line]], factor: Callable[[Line], float]) -> float:
    """Means within the runs, since it is means that are to come out alike; geometrically over the runs."""
    return statistics.geometric_mean(statistics.fmean(factor(line) for line in lines) for lines in runs)

"""Measure a bundle on this machine: every segment, encoder and decoder; several rounds, medians and spreads."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitioner.profiling.machine import LevelFigures, MachineProfile, ModelFigures, Power, SegmentFigures, Timing
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import Engine
from runtime.inputs import input_noise
from runtime.manifest import Manifest
from runtime.stage import Stage

GRAPH = "graph"
"""Key of a manifest's provenance that names the network that was cut."""

Part = tuple[str, int, int]
"""("segment", index, 0), or ("encode" or "decode", cut, level)."""
Work = Callable[[], object]
Report = Callable[[str], None]

_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        budget_s: seconds on the clock after the warm-up; the round in progress is completed.
        warm_up: rounds whose times are thrown away.
        rest_s: before each round, for frames come one by one and find caches cold.
        items: different inputs, taken in turn.
        clock: of the budget.
        sleep: takes seconds.
    """

    budget_s: float = 3.0
    warm_up: int = 2
    rest_s: float = 0.01
    items: int = 4
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


def measure_machine(
    bundles: Sequence[Bundle],
    engine: Engine,
    *,
    effort: Effort | None = None,
    power: Power | None = None,
    peaks: Mapping[str, Sequence[int]] | None = None,
    report: Report = lambda text: None,
) -> MachineProfile:
    """The profile of this machine from some bundles.

    Args:
        power: measured (`energy.measured_power`) or stated.
        peaks: by digest, `SegmentFigures.peak_bytes` of each segment (`memory.peaks_of`).
        report: progress.
    """
    models = []
    for bundle in bundles:
        report(f"timing {bundle.manifest.model_id}")
        models.append(measure_model(bundle, engine, effort=effort, peaks=(peaks or {}).get(bundle.digest.hex())))
    return MachineProfile(
        machine=f"{platform.node()} {platform.system()} {platform.machine()}",
        processor=f"{_processor()}, {os.cpu_count() or 1} cores",
        engine=engine.name,
        engine_version=_version_of(engine.name),
        threads=engine.threads,
        clock="processor" if engine.threads == 1 else "wall",
        power=power,
        models=tuple(models),
    )


def measure_model(
    bundle: Bundle, engine: Engine, *, effort: Effort | None = None, peaks: Sequence[int] | None = None
) -> ModelFigures:
    """One bundle's figures. All parts run in rounds, so that a disturbance falls on all of them alike.

    One thread is timed by its own processor time, which other programs do not change; several by the wall.
    """
    manifest, effort = bundle.manifest, effort or Effort()
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    works = [_works_of(manifest, stage, codecs, item) for item in inputs_for(manifest, effort.items)]
    timer = time.thread_time if engine.threads == 1 else time.perf_counter
    timings = time_works(works, effort, timer)
    return ModelFigures(
        model_id=manifest.model_id,
        bundle=bundle.digest.hex(),
        graph=manifest.provenance.get(GRAPH, ""),
        segments=_segments(manifest, timings, peaks),
        levels=tuple(
            tuple(
                LevelFigures(
                    codec=level.codec,
                    encode=timings["encode", cut.index, number],
                    decode=timings["decode", cut.index, number],
                )
                for number, level in enumerate(cut.levels)
            )
            for cut in manifest.cuts
        ),
    )


def time_works(works: Sequence[Mapping[Part, Work]], effort: Effort, timer: Callable[[], float]) -> dict[Part, Timing]:
    """Run parts in rounds, each round on the next item, and tell what each takes."""
    taken: dict[Part, list[float]] = {part: [] for part in works[0]}
    for _ in range(effort.warm_up):
        for work in works[0].values():
            work()
    end, rounds = effort.clock() + effort.budget_s, 0
    while rounds < _LEAST_ROUNDS or effort.clock() < end:
        effort.sleep(effort.rest_s)
        for part, work in works[rounds % len(works)].items():
            began = timer()
            work()
            taken[part].append(timer() - began)
        rounds += 1
    return {part: _timing(seconds) for part, seconds in taken.items()}


def inputs_for(manifest: Manifest, count: int, seed: int = 0) -> list[NDArray[Any]]:
    """Random inputs of the declared kind, each [1, ...]."""
    generator = np.random.default_rng(seed)
    return [input_noise(manifest, 1, generator) for _ in range(count)]


def _timing(seconds: Sequence[float]) -> Timing:
    low, _, high = statistics.quantiles(seconds, n=4)
    return Timing(median_s=statistics.median(seconds), spread_s=max(0.0, (high - low) / 2), runs=len(seconds))


def _works_of(manifest: Manifest, stage: Stage, codecs: Codecs, item: NDArray[Any]) -> dict[Part, Work]:
    """Every part's work on one item. Finding the parts' inputs runs each of them once."""
    works: dict[Part, Work] = {}
    carried = item
    for cut in manifest.cuts:
        works["segment", cut.index, 0] = _call(stage.run, carried, cut.index, cut.index + 1)
        for number in range(len(cut.levels)):
            codec = codecs.at(cut.index, number)
            works["encode", cut.index, number] = _call(codec.encode, carried)
            works["decode", cut.index, number] = _call(codec.decode, codec.encode(carried))
        carried = stage.run(carried, cut.index, cut.index + 1)[0]
    return works


def _call(work: Callable[..., object], *arguments: object) -> Work:
    return lambda: work(*arguments)


def _segments(
    manifest: Manifest, timings: Mapping[Part, Timing], peaks: Sequence[int] | None
) -> tuple[SegmentFigures, ...]:
    references = manifest.profiles[0].segment_s if manifest.profiles else ()
    outputs = [*(cut.tensor.nbytes for cut in manifest.cuts[1:]), sum(spec.nbytes for spec in manifest.gives)]
    figures, before = [], 0
    for number, (segment, cut) in enumerate(zip(manifest.segments, manifest.cuts, strict=True)):
        figures.append(
            SegmentFigures(
                after=cut.after,
                macs_before=before,
                macs=segment.macs,
                weight_bytes=4 * segment.parameters,
                input_bytes=cut.tensor.nbytes,
                output_bytes=outputs[number],
                time=timings["segment", number, 0],
                reference_s=references[number] if number < len(references) else None,
                peak_bytes=None if peaks is None else peaks[number],
            )
        )
        before += segment.macs
    return tuple(figures)


def _processor() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
            return next(named, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _version_of(engine: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(engine)
    except PackageNotFoundError:
        return ""

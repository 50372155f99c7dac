"""How long each part of a bundle takes on this machine: medians, processor seconds where one thread works."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.codecs import Codec, Codecs
from runtime.engines import Engine
from runtime.manifest import Profile
from runtime.stage import Stage

Part = tuple[str, int, int]
"""What is timed: ("segment", index, 0), ("exit", position, 0), ("encode" or "decode", cut, level)."""

_MINIMUM_RUNS = 3

_FRAME_REST_S = 0.005
"""A rest that leaves caches as cold as they are when the next frame comes: the built-in model's first segment takes 1.4
times and its encoders 2.2 times what they take back to back."""


def back_to_back(part: Part) -> float:
    """No rest."""
    return 0.0


def between_frames(part: Part) -> float:
    """A rest before the first segment, on which the others follow as they do in a frame, and before each encoder."""
    return _FRAME_REST_S if part[0] == "encode" or part == ("segment", 0, 0) else 0.0


def time_parts(
    bundle: Bundle,
    engine: Engine,
    items: Sequence[NDArray[Any]],
    *,
    budget_s: float = 2.0,
    rest_s: Callable[[Part], float] = back_to_back,
    clock: Callable[[], float] = time.monotonic,
    thread_clock: Callable[[], float] = time.thread_time,
    sleep: Callable[[float], None] = time.sleep,
    parts: tuple[Stage, Codecs] | None = None,
) -> Profile:
    """Time every segment, exit, encoder and decoder of a bundle in the calling thread.

    All parts run once to warm up, then in rounds over the items until the budget is spent, and three rounds at least;
    rounds, not one part after the other, so that a disturbance falls on all parts alike.

    Args:
        bundle: with its files.
        engine: of one thread is timed by that thread's processor time, which other programs do not change; of several,
            by the wall, for the others would not be counted.
        items: inputs, each [1, ...] as cut 0 declares; at least one.
        budget_s: wall seconds after the warm-up; the round in progress is completed.
        rest_s: how long to rest before a part, for caches to go cold; less where three rounds would rest for more than
            half of the budget.
        clock: of the budget, and of the parts where the engine has several threads.
        thread_clock: of the parts.
        sleep: how a rest is taken.
        parts: the bundle's on this engine, where they are loaded already or will be used afterwards; None loads them
            for the measurement alone.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("at least one item is needed to time a bundle")
    stage, codecs = parts or (Stage(bundle, engine), Codecs(bundle, engine))
    works = [_works_of(bundle, stage, codecs, item) for item in items]
    taken: dict[Part, list[float]] = {part: [] for part in works[0]}
    timer = thread_clock if engine.threads == 1 else clock
    rests_s = _within({part: rest_s(part) for part in taken}, 0.5 * budget_s / _MINIMUM_RUNS)
    end = clock() + budget_s
    rounds = 0
    while rounds < _MINIMUM_RUNS or clock() < end:
        for part, work in works[rounds % len(works)].items():
            if rests_s[part] > 0.0:
                sleep(rests_s[part])
            began = timer()
            work()
            taken[part].append(timer() - began)
        rounds += 1
    return _profile(bundle, engine, {part: statistics.median(seconds) for part, seconds in taken.items()})


def _within(rests_s: dict[Part, float], most_s: float) -> dict[Part, float]:
    """The rests of a round, all shortened alike where they are longer than that together."""
    together_s = sum(rests_s.values())
    share = 1.0 if together_s <= most_s else most_s / together_s
    return {part: share * seconds for part, seconds in rests_s.items()}


def _works_of(bundle: Bundle, stage: Stage, codecs: Codecs, item: NDArray[Any]) -> dict[Part, Callable[[], object]]:
    """Every part's work on one item. Finding the parts' inputs runs each of them once."""
    manifest = bundle.manifest
    works: dict[Part, Callable[[], object]] = {}
    carried = [item]
    for index in range(len(manifest.segments)):
        works["segment", index, 0] = _segment_work(stage, carried[index], index)
        if index + 1 < len(manifest.segments):
            carried.extend(stage.run(carried[index], index, index + 1))
        else:
            stage.run(carried[index], index)
    for position, exit_ in enumerate(manifest.exits):
        works["exit", position, 0] = _exit_work(stage, carried[exit_.cut], exit_.cut)
        stage.exit(exit_.cut, carried[exit_.cut])
    for cut in manifest.cuts:
        for level in range(len(cut.levels)):
            codec = codecs.at(cut.index, level)
            payload = codec.encode(carried[cut.index])
            codec.decode(payload)
            works["encode", cut.index, level] = _encode_work(codec, carried[cut.index])
            works["decode", cut.index, level] = _decode_work(codec, payload)
    return works


def _segment_work(stage: Stage, activation: NDArray[Any], index: int) -> Callable[[], object]:
    return lambda: stage.run(activation, index, index + 1)


def _exit_work(stage: Stage, activation: NDArray[Any], cut: int) -> Callable[[], object]:
    return lambda: stage.exit(cut, activation)


def _encode_work(codec: Codec, activation: NDArray[Any]) -> Callable[[], object]:
    return lambda: codec.encode(activation)


def _decode_work(codec: Codec, payload: bytes) -> Callable[[], object]:
    return lambda: codec.decode(payload)


def _profile(bundle: Bundle, engine: Engine, median_s: dict[Part, float]) -> Profile:
    manifest = bundle.manifest

    def per_level(kind: str) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(median_s[kind, cut.index, level] for level in range(len(cut.levels))) for cut in manifest.cuts
        )

    return Profile(
        machine=f"{platform.system()} {platform.machine()}",
        engine=engine.name,
        segment_s=tuple(median_s["segment", index, 0] for index in range(len(manifest.segments))),
        exit_s=tuple(median_s["exit", position, 0] for position in range(len(manifest.exits))),
        encode_s=per_level("encode"),
        decode_s=per_level("decode"),
    )

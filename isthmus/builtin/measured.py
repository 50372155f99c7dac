"""Figures of a bundle on labelled pictures: every level's real payloads through the real codecs and engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isthmus.builtin.training import Pictures
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import Exit, Manifest, Measured
from runtime.measure import time_parts
from runtime.stage import Stage

_BATCH = 50


def measure_bundle(bundle: Bundle, data: Pictures, report: Callable[[str, float], None]) -> Manifest:
    """The bundle's manifest with measured bytes, accuracy and agreement at every level, and a profile.

    Args:
        bundle: as exported.
        data: labelled pictures that training has not seen.
        report: called with a text and the share done.
    """
    manifest = bundle.manifest
    engine = engine_named("onnxruntime", 1)
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    whole = np.concatenate([stage.run(data.pictures[i : i + _BATCH])[0].argmax(1) for i in _starts(data)])
    total = sum(len(cut.levels) for cut in manifest.cuts)
    done, cuts = 0, []
    for cut in manifest.cuts:
        activations = np.concatenate([stage.run(data.pictures[i : i + _BATCH], 0, cut.index)[0] for i in _starts(data)])
        levels = []
        for number, level in enumerate(cut.levels):
            codec = codecs.at(cut.index, number)
            sizes, answers = [], []
            for start in _starts(data):
                payloads = [codec.encode(item[None]) for item in activations[start : start + _BATCH]]
                sizes += [len(payload) for payload in payloads]
                restored = np.concatenate([codec.decode(payload) for payload in payloads])
                answers.append(stage.run(restored, cut.index)[0].argmax(1))
            measured = _measured(np.concatenate(answers), whole, data, float(np.mean(sizes)))
            levels.append(level.model_copy(update={"measured": measured}))
            done += 1
            report(f"measuring: cut {cut.index} level {number}: {measured.payload_bytes:.0f} B", done / total)
        cuts.append(cut.model_copy(update={"levels": tuple(levels)}))
    exits = tuple(_measured_exit(exit_, stage, data, whole) for exit_ in manifest.exits)
    profile = time_parts(bundle, engine, [data.pictures[i : i + 1] for i in range(8)], budget_s=4.0)
    return manifest.model_copy(
        update={
            "cuts": tuple(cuts),
            "exits": exits,
            "measured": _measured(whole, whole, data, float(manifest.input.nbytes)),
            "profiles": (profile,),
        }
    )


def _starts(data: Pictures) -> range:
    return range(0, len(data.labels), _BATCH)


def _measured(answers: NDArray[np.int64], whole: NDArray[np.int64], data: Pictures, payload_bytes: float) -> Measured:
    return Measured(
        payload_bytes=round(payload_bytes, 2),
        accuracy=round(float((answers == data.labels).mean()), 5),
        agreement=round(float((answers == whole).mean()), 5),
        items=len(data.labels),
    )


def _measured_exit(exit_: Exit, stage: Stage, data: Pictures, whole: NDArray[np.int64]) -> Exit:
    answers = np.concatenate(
        [
            stage.exit(exit_.cut, stage.run(data.pictures[i : i + _BATCH], 0, exit_.cut)[0]).argmax(1)
            for i in _starts(data)
        ]
    )
    return exit_.model_copy(update={"measured": _measured(answers, whole, data, 0.0)})

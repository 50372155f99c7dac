"""Bytes and accuracy of the built-in bundle, read from its manifest and checked again on fresh pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.figure import Figure
from isthmus.builtin import digits
from isthmus.builtin.demo import BUNDLE
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import ImageLevel, LearnedLevel, Manifest
from runtime.stage import Stage

ITEMS = 400
FIRST_ITEM = 2_000_000


def figures() -> Sequence[Figure]:
    """The built-in model's promises."""
    with Bundle.open(BUNDLE) as bundle:
        manifest = bundle.manifest
        assert manifest.measured is not None
        floor = manifest.measured.accuracy - 0.01
        picture = min(
            level.measured.payload_bytes
            for level in manifest.cuts[0].levels
            if isinstance(level, ImageLevel) and level.measured and level.measured.accuracy >= floor
        )
        cut, number, level = _smallest(manifest, floor)
        assert level.measured is not None
        lost = manifest.measured.accuracy - level.measured.accuracy
        fresh_bytes, fresh_loss = _again(bundle, cut, number)
        return [
            Figure("whole model, top-1", manifest.measured.accuracy, "share", 0.95, "at least", "test set"),
            Figure("smallest picture within 1 point", picture, "bytes"),
            Figure(
                f"cut {cut} level {number}: bytes", level.measured.payload_bytes, "bytes", picture / 10, "at most",
                "a tenth of that picture",
            ),
            Figure(f"cut {cut} level {number}: points lost", lost * 100, "points", 1.0),
            Figure(f"cut {cut}: device share of MACs", _share(manifest, cut, level), "share", 0.5),
            Figure(f"cut {cut} level {number}: bytes, fresh pictures", fresh_bytes, "bytes", picture / 10),
            Figure(f"cut {cut} level {number}: points lost, fresh pictures", fresh_loss * 100, "points"),
        ]  # fmt: skip


def _share(manifest: Manifest, cut: int, level: LearnedLevel) -> float:
    total = sum(segment.macs for segment in manifest.segments)
    return (sum(segment.macs for segment in manifest.segments[:cut]) + level.encoder_macs) / total


def _smallest(manifest: Manifest, floor: float) -> tuple[int, int, LearnedLevel]:
    """Of the learned levels with at most half of the MACs on the device: that of fewest bytes which keeps the accuracy,
    or the most accurate one if none does."""
    light = [
        (cut.index, number, level, level.measured)
        for cut in manifest.cuts
        for number, level in enumerate(cut.levels)
        if isinstance(level, LearnedLevel) and level.measured and _share(manifest, cut.index, level) <= 0.5
    ]
    kept = [one for one in light if one[3].accuracy >= floor]
    chosen = min(kept, key=lambda one: one[3].payload_bytes) if kept else max(light, key=lambda one: one[3].accuracy)
    return chosen[:3]


def _again(bundle: Bundle, cut: int, number: int) -> tuple[float, float]:
    """Mean bytes and accuracy lost on pictures that nothing was fitted or measured on."""
    engine = engine_named("onnxruntime", 1)
    stage, codec = Stage(bundle, engine), Codecs(bundle, engine).at(cut, number)
    sizes, whole, split = [], [], []
    for item in digits.items("test", ITEMS, start=FIRST_ITEM):
        activation = stage.run(item.picture[None], 0, cut)[0]
        payload = codec.encode(activation)
        sizes.append(len(payload))
        split.append(int(stage.run(codec.decode(payload), cut)[0].argmax()) == item.label)
        whole.append(int(stage.run(activation, cut)[0].argmax()) == item.label)
    return float(np.mean(sizes)), float(np.mean(whole) - np.mean(split))

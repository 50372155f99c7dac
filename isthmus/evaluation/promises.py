"""Promises of a bundle: thresholds of its exits and lowest levels of its cuts for a risk that a person states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation.conformal import Promise, exit_threshold, lowest_level
from isthmus.evaluation.errors import NoPromise
from isthmus.evaluation.judge import BATCH, Judge
from runtime.answers import answers_of
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.stage import Stage


@dataclass(frozen=True, slots=True)
class Promised:
    """One exit or cut: the promise, or the sentence that says why there is none."""

    place: str
    promise: Promise | None
    why: str = ""


def promises(bundle: Bundle, items: NDArray[Any], report: Callable[[str], None], *, risk: float) -> list[Promised]:
    """For every exit its threshold, for every cut its lowest level, at which answers differ from the whole model's
    with at most this risk (see `isthmus.evaluation.conformal`).

    Args:
        items: calibration samples, [items, ...]: none that anything was fitted on.
        risk: share of answers that may differ, above 0 and below 1.
    """
    engine = engine_named("onnxruntime", 1)
    judge, codecs = Judge(Stage(bundle, engine), items, None), Codecs(bundle, engine)
    found = []
    for cut in bundle.manifest.cuts:
        activations = judge.at(items, cut.index)
        if any(exit_.cut == cut.index for exit_ in bundle.manifest.exits):
            answers = [
                answer
                for start in range(0, len(items), BATCH)
                for answer in answers_of(judge.stage.exit(cut.index, activations[start : start + BATCH]))
            ]
            confidence = np.array([answer.confidence for answer in answers])
            agrees = np.array([answer.label for answer in answers]) == judge.truth
            found.append(_asked(f"exit at cut {cut.index}", partial(exit_threshold, confidence, agrees, risk=risk)))
        levels = []
        for number in range(len(cut.levels)):
            report(f"promise of cut {cut.index} level {number}")
            codec = codecs.at(cut.index, number)
            restored = np.concatenate([codec.decode(codec.encode(item[None])) for item in activations])
            levels.append(judge.right(restored, cut.index))
        found.append(_asked(f"level of cut {cut.index}", partial(lowest_level, np.stack(levels), risk=risk)))
    return found


def _asked(place: str, promise: Callable[[], Promise]) -> Promised:
    try:
        return Promised(place, promise())
    except NoPromise as exc:
        return Promised(place, None, str(exc))

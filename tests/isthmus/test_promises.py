"""Promises of a real bundle: thresholds and levels against counting by hand."""

from __future__ import annotations

import numpy as np

from isthmus.evaluation.promises import promises
from runtime.answers import answers_of
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.stage import Stage
from tests.runtime.tiny_bundle import TinyBundle, pictures

RISK = 0.3


def test_what_is_promised_is_what_the_samples_show(tiny_bundle: TinyBundle) -> None:
    items = np.concatenate(pictures(80, seed=5))
    with Bundle.open(tiny_bundle.path) as bundle:
        found = {one.place: one for one in promises(bundle, items, lambda told: None, risk=RISK)}
        stage, codecs = Stage(bundle, engine_named("onnxruntime", 1)), Codecs(bundle, engine_named("onnxruntime", 1))
        whole = stage.run(items)[0].argmax(1)
        features = stage.run(items, 0, 1)[0]
        assert set(found) == {"exit at cut 1", *(f"level of cut {cut}" for cut in range(3))}
        chosen = found["level of cut 1"].promise
        assert chosen is not None
        codec = codecs.at(1, int(chosen.choice))
        restored = np.concatenate([codec.decode(codec.encode(item[None])) for item in features])
        assert chosen.observed == float((stage.run(restored, 1)[0].argmax(1) != whole).mean())
        assert chosen.observed < RISK
        early = answers_of(stage.exit(1, features))
    promise = found["exit at cut 1"].promise
    if promise is None:
        assert "does not support" in found["exit at cut 1"].why
    else:
        final = np.array([answer.confidence >= promise.choice for answer in early])
        wrong = np.array([answer.label for answer in early]) != whole
        assert promise.observed == float((final & wrong).mean())
        assert promise.used == float(final.mean())


def test_too_few_samples_are_told_of_and_nothing_is_promised(tiny_bundle: TinyBundle) -> None:
    items = np.concatenate(pictures(6, seed=5))
    with Bundle.open(tiny_bundle.path) as bundle:
        found = promises(bundle, items, lambda told: None, risk=0.02)
    assert all(one.promise is None and "at least 149 samples" in one.why for one in found)

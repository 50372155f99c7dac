"""MobileNetV2 with its trained weights, on real photographs, at every cut."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.long
def test_every_photograph_has_the_same_class_at_every_cut_as_from_the_unsplit_model() -> None:
    from benchmarks.every_cut import PHOTOGRAPHS, answers
    from benchmarks.photographs import at_hand, labels, photographs

    if not at_hand():
        pytest.skip("ISTHMUS_DATA holds no photographs and weights")
    whole, split = answers(photographs(PHOTOGRAPHS))
    assert split.shape[0] == PHOTOGRAPHS
    assert split.shape[1] > 50
    assert np.array_equal(split, np.repeat(whole[:, None], split.shape[1], axis=1))
    assert float(np.mean(whole == labels(PHOTOGRAPHS))) > 0.8

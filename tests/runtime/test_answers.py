import math

import numpy as np
import pytest

from runtime.answers import Answer, answer_of, answers_of


def test_confidence_is_the_softmax_probability() -> None:
    logits = np.array([[0.0, math.log(3.0)], [math.log(4.0), 0.0]], np.float32)
    first, second = answers_of(logits)
    assert (first.label, second.label) == (1, 0)
    assert first.confidence == pytest.approx(0.75)
    assert second.confidence == pytest.approx(0.8)


def test_large_logits_do_not_overflow() -> None:
    assert answer_of(np.array([1e30, -1e30, 0], np.float32)) == Answer(label=0, confidence=1.0)


@pytest.mark.parametrize("shape", [(2, 3), (1, 0), (1, 2, 3), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        answer_of(np.zeros(shape))

"""The generator of the built-in task."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.builtin import digits


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_arguments_draw_the_same_picture(split: digits.Split) -> None:
    for index in (0, 7, 123_456):
        first, second = digits.draw(split, index), digits.draw(split, index)
        assert first.label == second.label
        assert np.array_equal(first.picture, second.picture)
        assert first.picture.shape == (128, 128, 3)
        assert first.picture.dtype == np.uint8


def test_train_and_test_share_no_digit_and_no_photograph() -> None:
    train, test = digits._digits("train")[0], digits._digits("test")[0]
    assert len(train) + len(test) == 1797
    # The data set itself holds a few equal drawings; what must not be shared is the drawing's place in it.
    order = np.random.default_rng(20).permutation(1797)
    assert not set(order[: len(test)]) & set(order[len(test) :])
    assert not set(digits.PHOTOGRAPHS["train"]) & set(digits.PHOTOGRAPHS["test"])


def test_the_digit_is_what_differs_from_its_background() -> None:
    rng = np.random.default_rng([0, 1, 5])
    strokes, labels = digits._digits("test")
    chosen = int(rng.integers(len(labels)))
    background = digits._background(rng, "test")
    item = digits.draw("test", 5)
    changed = np.abs(item.picture.astype(float) - background).max(axis=2) > 8
    assert item.label == labels[chosen]
    assert 0.01 < changed.mean() < 0.5
    assert strokes[chosen].shape == (8, 8)


def test_every_class_is_drawn() -> None:
    _, labels = digits.arrays("test", 150)
    assert set(labels) == set(range(10))

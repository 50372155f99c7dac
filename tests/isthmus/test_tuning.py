"""Classifiers tuned on a codec's output, where it is known how much there is to win."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.evaluation.errors import BadItems
from isthmus.evaluation.tuning import Tuner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Brightness(nn.Module):
    """Two classes: bright pictures and dark ones, by a threshold that the pictures of `items` are made for."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 2, 1)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.scale.weight.fill_(1.0)
            self.scale.bias.zero_()
            self.last.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
            self.last.bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.last(self.scale(pictures.permute(0, 3, 1, 2).float() / 255).mean((2, 3)))
        return found


def items(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [count, 8, 8, 1] around 64 and around 192, and which."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    noise = generator.integers(-40, 41, (count, 8, 8, 1))
    return (64 + 128 * labels[:, None, None, None] + noise).astype(np.uint8), labels


def halved(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A codec that darkens: to a network that was not told, all pictures are dark."""
    return pictures // 2


def right(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float((answers == truth).mean())


@pytest.mark.parametrize("labelled", [True, False])
def test_a_tuned_classifier_wins_back_what_a_codec_has_shifted(labelled: bool) -> None:
    model = Brightness().eval()
    seen, labels = items(400, 1)
    test, truth = items(200, 2)
    before = [parameter.clone() for parameter in model.parameters()]
    stock = model(torch.from_numpy(halved(test))).argmax(1).numpy()
    assert right(stock, truth) < 0.6
    tuner = Tuner(model, seen, labels if labelled else None, steps=400)
    assert right(tuner.whole(halved(seen))(halved(test)), truth) > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_tail_behind_a_cut_is_tuned_on_activations() -> None:
    model = Brightness().eval()
    seen, labels = items(400, 1)
    test, truth = items(200, 2)

    def activations(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = model.scale(
                torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
            ).numpy()
        return found / 2

    tuned = Tuner(model, seen, labels, steps=400).behind("scale", activations(seen))
    assert right(tuned(activations(test)), truth) > 0.9


def test_a_handful_of_samples_is_not_enough() -> None:
    with pytest.raises(BadItems, match="at least 32"):
        Tuner(Brightness(), *items(10, 1), steps=10)

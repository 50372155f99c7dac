"""Learned bottlenecks: something small is trained for real, and the run-time codec codes exactly its symbols."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partitioner.api import LearnedPart, Partition, partition
from partitioner.compressors.bottleneck import Factorised, Shape
from partitioner.compressors.distillation import Recipe, train_bottlenecks
from partitioner.compressors.fitting import fit_part
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import engine_named

pytestmark = pytest.mark.slow

WEIGHTS = (3e-2, 3e-3)
"""Of a bit, at the two levels."""


def _batch(generator: torch.Generator, count: int = 32) -> tuple[Tensor, Tensor]:
    """Pictures [count, 1, 16, 16] with a bright quarter; which one is the label."""
    labels = torch.randint(0, 4, (count,), generator=generator)
    pictures = 0.3 * torch.randn(count, 1, 16, 16, generator=generator)
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        picture[0, 8 * (label // 2) :, 8 * (label % 2) :][:8, :8] += 1.0
    return pictures, labels


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        pictures, labels = _batch(generator)
        optimiser.zero_grad()
        F.cross_entropy(net(pictures), labels).backward()
        optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def parts(network: nn.Module) -> Partition:
    return partition(network, torch.zeros(2, 1, 16, 16), cuts=["2"])


@pytest.fixture(scope="module")
def trained(parts: Partition) -> Factorised:
    torch.manual_seed(0)
    bottleneck = Factorised(Shape(channels=8, halvings=1, width=8, latent=4, levels=2))
    generator = torch.Generator().manual_seed(1)
    batches = (_batch(generator)[0] for _ in range(200))
    said: list[float] = []
    torch.set_flush_denormal(True)
    try:
        train_bottlenecks(
            parts.segments,
            {1: bottleneck},
            batches,
            Recipe({1: WEIGHTS}, 200),
            report=lambda _, done: said.append(done),
        )
    finally:
        torch.set_flush_denormal(False)  # other tests count on denormal numbers
    assert said == sorted(said)
    return bottleneck


def _held_out() -> tuple[Tensor, Tensor]:
    return _batch(torch.Generator().manual_seed(2), 300)


def test_a_trained_bottleneck_keeps_the_answer_and_a_cheaper_level_sends_fewer_bits(
    parts: Partition, trained: Factorised
) -> None:
    pictures, labels = _held_out()
    bits = []
    with torch.inference_mode():
        activation = parts.run(pictures, last=1)
        whole = (parts.run(pictures).argmax(1) == labels).float().mean()
        for level in range(2):
            restored, level_bits = trained(activation, level)
            split = (parts.run(restored, first=1).argmax(1) == labels).float().mean()
            bits.append(float(level_bits.mean()))
            assert split >= whole - 0.05
    assert bits[0] < bits[1] < 8 * activation[0].numel()


def test_a_whole_plane_is_one_number_for_each_channel() -> None:
    bottleneck = Factorised(Shape(channels=8, halvings=1, width=8, latent=4, levels=2, plane=4)).eval()
    activation = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        restored, bits = bottleneck(activation, 1)
    assert bottleneck.symbols(activation, 0).shape == (3, 4, 1, 1)
    assert restored.shape == activation.shape
    assert bits.shape == (3,)


def test_bits_are_cheap_first() -> None:
    recipe = Recipe({1: WEIGHTS}, 100)
    prices = [recipe.price(step) for step in range(100)]
    assert prices[0] == 0.02
    assert prices == sorted(prices)
    assert prices[-1] == 1.0


@pytest.fixture(scope="module")
def part(parts: Partition, trained: Factorised) -> LearnedPart:
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        return fit_part(trained, [parts.run(_batch(generator, 200)[0], last=1) for _ in range(5)])


def test_the_codec_of_the_bundle_codes_the_symbols_of_the_bottleneck(
    parts: Partition, trained: Factorised, part: LearnedPart, tmp_path: Path
) -> None:
    parts.save(tmp_path / "small.bundle", model_id="small", levels={"2": [part]})
    pictures, _ = _held_out()
    activations = parts.run(pictures[:40], last=1)
    with Bundle.open(tmp_path / "small.bundle") as bundle:
        codecs = Codecs(bundle, engine_named("onnxruntime", 1))
        for level in range(2):
            codec = codecs.at(1, level)
            assert isinstance(codec, LearnedCodec)
            expected = trained.symbols(activations, level).numpy()
            sizes = []
            differing = 0
            for activation, symbols in zip(activations.detach().numpy(), expected, strict=True):
                found = codec.symbols(activation[None])
                differing += int((found != symbols).sum())
                payload = codec.encode(activation[None])
                assert np.array_equal(codec.decode_symbols(payload), found)
                sizes.append(len(payload))
            assert differing <= 0.001 * expected.size  # engines round differently, and tables clip
            with torch.inference_mode():
                estimated = trained(activations, level)[1]
            assert np.mean(sizes) <= float(estimated.mean()) / 8 * 1.1 + 5

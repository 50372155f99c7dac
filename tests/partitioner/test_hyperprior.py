"""A bottleneck with a hyperprior: trained for real, made integers, and coded alike by every engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.api import LearnedPart, partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.fitting import fit_part
from partitioner.compressors.hyperprior import HyperBottleneck
from partitioner.compressors.integers import NARROWEST, SCALES, WIDEST, integer_decoder
from partitioner.compressors.methods import METHODS
from partitioner.compressors.trainer import train_compressor
from runtime.bundle import Bundle
from runtime.codecs import Codecs, HyperpriorCodec
from runtime.engines import engine_named
from runtime.manifest import LearnedLevel
from tests.partitioner.test_methods import PLAN, Quarters, network, right, teacher_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENGINES = [name for name, module in (("onnxruntime", "onnxruntime"), ("openvino", "openvino")) if find_spec(module)]
SHAPE = Shape(channels=8, halvings=1, width=8, latent=6, levels=2)


class Net(nn.Module):
    """Something to cut: [1, 16, 16] to [8, 8, 8] to 4 answers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU())
        self.tail = nn.Sequential(nn.Flatten(), nn.Linear(512, 4))

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.tail(self.head(pictures))
        return answer


@pytest.fixture(scope="module")
def untrained() -> HyperBottleneck:
    """Random weights, with statistics of the normalisations that fit what goes through."""
    torch.manual_seed(3)
    made = HyperBottleneck(SHAPE).train()
    with torch.no_grad():
        for _ in range(10):
            made(torch.randn(32, 8, 8, 8), 0)
        made.hyper_last.bias[6:] = torch.linspace(-2, 2, 6)
    return made.eval().requires_grad_(False)


def test_integers_stay_near_the_floats_that_they_were_made_of(untrained: HyperBottleneck) -> None:
    for level in range(2):
        decoder = integer_decoder(untrained, level)
        symbols = torch.randint(-4, 5, (20, 3, 2, 2), generator=torch.Generator().manual_seed(level))
        gain, hyper_gain = (x[level].exp()[:, None, None] for x in (untrained.log_gain, untrained.log_hyper_gain))
        with torch.inference_mode():
            mean, log_scale = untrained.parameters_of(symbols.float() / hyper_gain, torch.Size((4, 4)))
        means = (mean * gain).numpy()
        scales = (log_scale.exp() * gain).clamp(NARROWEST, WIDEST).numpy()
        step = (WIDEST / NARROWEST) ** (1 / (SCALES - 1))
        for item in range(20):
            found, rows = decoder.run(symbols[item].numpy(), 4, 4)
            assert np.abs(found / 64 - means[item]).max() <= 0.02
            assert np.abs(np.log(NARROWEST * step**rows / scales[item])).max() <= 0.51 * np.log(step)


@pytest.fixture(scope="module")
def bundle(untrained: HyperBottleneck, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    torch.manual_seed(0)
    parts = partition(Net().eval(), torch.zeros(2, 1, 16, 16), cuts=["head"])
    part = fit_part(untrained, [_activations(0, 100)])
    path = tmp_path_factory.mktemp("hyper") / "bundle"
    parts.save(path, model_id="hyper", levels={"head": [part]})
    with Bundle.open(path) as opened:
        yield opened


def _activations(seed: int, items: int) -> Tensor:
    return torch.randn(items, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


def _codec(bundle: Bundle, engine: str, level: int, threads: int = 1) -> HyperpriorCodec:
    codec = Codecs(bundle, engine_named(engine, threads)).at(1, level)
    assert isinstance(codec, HyperpriorCodec)
    return codec


def test_the_bundle_declares_the_hyperprior_and_counts_its_work(bundle: Bundle) -> None:
    bundle.verify_all()
    level = bundle.manifest.cuts[1].levels[0]
    assert isinstance(level, LearnedLevel)
    assert level.hyperprior is not None
    assert level.hyperprior.encoder in bundle.manifest.referenced()
    assert level.hyperprior.latent.shape == (3, 2, 2)
    integers = 16 * (16 * 3 * 9 + 12 * 16 * 9)
    assert min(level.encoder_macs, level.decoder_macs) > integers


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_symbols_of_torch_but_for_a_thousandth(
    bundle: Bundle, untrained: HyperBottleneck, engine: str
) -> None:
    """A symbol of the hyperprior that rounds otherwise moves means, and so some symbols of its item."""
    activations = _activations(5, 60)
    for level in range(2):
        codec = _codec(bundle, engine, level)
        found = np.stack([codec.symbols(item[None]) for item in activations.numpy()])
        differing = (found != _torch_symbols(codec, untrained, activations)).mean()
        assert differing <= 0.001
        for symbols in found[:20]:
            assert np.array_equal(codec.decode_symbols(codec.encode_symbols(symbols)), symbols)


def _torch_symbols(codec: HyperpriorCodec, bottleneck: HyperBottleneck, activations: Tensor) -> NDArray[np.int32]:
    """What the codec makes of encoders that torch runs, all items in one batch."""
    with torch.inference_mode():
        latents = bottleneck.encoder(activations)
        hypers = bottleneck.hyper_encoder(latents)
    return np.stack([codec.symbols_of(*pair) for pair in zip(latents.numpy(), hypers.numpy(), strict=True)])


@pytest.mark.parametrize("engine", ENGINES)
def test_payloads_do_not_depend_on_threads_and_decode_to_the_same_latent_on_all(bundle: Bundle, engine: str) -> None:
    one, other = (_codec(bundle, engine, 1, threads) for threads in (1, min(os.cpu_count() or 1, 2)))
    first = _codec(bundle, ENGINES[0], 1)
    for item in _activations(6, 20).numpy():
        payload = one.encode(item[None])
        assert other.encode(item[None]) == payload
        assert first.latent(payload).tobytes() == other.latent(payload).tobytes()
        assert one.decode(payload).shape == (1, 8, 8, 8)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return network()


def test_a_trained_hyperprior_keeps_the_answers_and_its_payloads_are_what_training_estimated(
    net: nn.Sequential, tmp_path: Path
) -> None:
    shape = Shape(channels=8, halvings=0, width=8, latent=4, levels=2)
    warned: list[str] = []
    compressor = train_compressor(
        METHODS["hyperprior"], shape, teacher_of(net), Quarters(600, 1), PLAN,
        work=tmp_path, report=lambda told, done: None, warn=warned.append,
    )  # fmt: skip
    assert not warned
    parts = partition(net, torch.zeros(2, 1, 16, 16), cuts=["2"])
    test = Quarters(200, 3)
    with torch.inference_mode():
        counted, given = (parts.run(pictures, last=1) for pictures in (Quarters(600, 2).pictures, test.pictures))
        part: LearnedPart = fit_part(compressor, [counted])
    parts.save(tmp_path / "bundle", model_id="quarters", levels={"2": [part]})
    sizes = []
    with Bundle.open(tmp_path / "bundle") as bundle:
        for level in range(2):
            codec = _codec(bundle, "onnxruntime", level)
            payloads = [codec.encode(item[None]) for item in given.numpy()]
            restored = torch.from_numpy(np.concatenate([codec.decode(payload) for payload in payloads]))
            sizes.append(float(np.mean([len(payload) for payload in payloads])))
            with torch.inference_mode():
                estimated = float(compressor(given, level)[1].mean()) / 8
            assert sizes[-1] <= 1.1 * estimated + 5
            assert right(net, given, test.labels) - right(net, restored, test.labels) <= 0.05
    assert sizes[0] < sizes[1] <= given[0].numel() * 4 / 20

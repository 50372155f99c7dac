"""One training, two encoders: each level at half of the width and at all of it, behind one decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from partitioner.api import partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.fitting import fit_parts
from partitioner.compressors.methods import METHODS
from partitioner.compressors.methods.slimmable import Slim
from partitioner.compressors.trainer import train_compressor
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import LearnedLevel
from tests.partitioner.test_methods import PLAN, SHAPE, Quarters, network, right, teacher_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return network()


def test_the_narrow_encoder_is_the_first_half_of_the_wide_ones_channels() -> None:
    torch.manual_seed(0)
    compressor = Slim(Shape(channels=8, halvings=2, width=8, latent=4, levels=2)).eval()
    narrow, wide = (bottleneck.encoder for bottleneck in compressor.variants())
    for name, weight in narrow.named_parameters():
        if weight.ndim == 4:
            whole = dict(wide.named_parameters())[name]
            assert torch.equal(weight, whole[: len(weight), : weight.shape[1]]), name
    assert narrow[0][1].weight.shape[0] == 4
    activation = torch.randn(3, 8, 16, 16)
    torch.manual_seed(1)
    with torch.inference_mode():
        assert torch.equal(compressor.latent(activation), wide(activation))
        compressor.train()
        drawn = [compressor.latent(activation) for _ in range(20)]
        expected = [encoder.train()(activation) for encoder in (narrow, wide)]
    which = [[torch.allclose(latent, one, atol=1e-5) for one in expected] for latent in drawn]
    assert all(sum(row) == 1 for row in which)
    assert {row.index(True) for row in which} == {0, 1}


def test_both_widths_keep_the_answers_and_share_a_decoder(net: nn.Sequential, tmp_path: Path) -> None:
    compressor = train_compressor(
        METHODS["slimmable"], SHAPE, teacher_of(net), Quarters(600, 1), PLAN,
        work=tmp_path, report=lambda told, done: None, warn=print,
    )  # fmt: skip
    parts = partition(net, torch.zeros(2, 1, 16, 16), cuts=["2"])
    test = Quarters(200, 3)
    with torch.inference_mode():
        counted, given = (parts.run(pictures, last=1) for pictures in (Quarters(600, 2).pictures, test.pictures))
    parts.save(tmp_path / "bundle", model_id="quarters", levels={"2": fit_parts(compressor, [counted])})
    with Bundle.open(tmp_path / "bundle") as bundle:
        levels = [level for level in bundle.manifest.cuts[1].levels if isinstance(level, LearnedLevel)]
        assert [level.row for level in levels] == [0, 0, 1, 1]
        assert len({level.decoder for level in levels}) == 1
        codecs = Codecs(bundle, engine_named("onnxruntime", 1))
        sizes = []
        for number, level in enumerate(levels):
            payloads = [codecs.at(1, number).encode(item[None]) for item in given.numpy()]
            restored = np.concatenate([codecs.at(1, number).decode(payload) for payload in payloads])
            sizes.append(float(np.mean([len(payload) for payload in payloads])))
            assert right(net, given, test.labels) - right(net, torch.from_numpy(restored), test.labels) <= 0.05, number
            narrow = number % 2 == 0
            assert narrow == (level.encoder_macs < max(each.encoder_macs for each in levels))
    assert max(sizes[:2]) < min(sizes[2:])

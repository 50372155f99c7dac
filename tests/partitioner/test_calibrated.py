"""Calibrated codecs: fitted to a real network without labels, coded by the run-time codec, measured on other items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from torch import Tensor, nn

from partitioner.api import partition
from partitioner.compressors.calibrated import Settings, fit_calibrated
from partitioner.compressors.transform import Analysis, Frequencies, Synthesis
from partitioner.errors import PartitionError, UnsupportedModel
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from tests.partitioner import models


def smooth(count: int, seed: int) -> Tensor:
    """Pictures with structure, float32 [count, 3, 32, 32]."""
    coarse = torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, 32, mode="bicubic")


@pytest.mark.parametrize("shape", [(6, 28, 28), (5, 14, 14), (4, 7, 9), (10, 7, 7), (9, 12), (17,)])
def test_the_transform_is_undone_by_its_inverse(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    frequencies = Frequencies(shape)
    groups, channels = frequencies.block**2, frequencies.planes[0]
    matrices = torch.randn(
        1 if frequencies.shared else groups, channels, channels, generator=generator, dtype=torch.float64
    )
    matrices += 4 * torch.eye(channels, dtype=torch.float64)
    means = torch.randn(groups, channels, generator=generator, dtype=torch.float64)
    activation = torch.randn(3, *shape, generator=generator)
    scales = torch.rand(groups, generator=generator, dtype=torch.float64) + 0.5
    latent = Analysis(shape, matrices, means, scales)(activation)
    assert latent.shape[1:] == frequencies.latent
    restored = Synthesis(shape, torch.linalg.inv(matrices), means, scales)(latent)
    torch.testing.assert_close(restored, activation, atol=2e-4, rtol=2e-4)


def test_blocks_keep_energy() -> None:
    activation = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    spectra = Frequencies((3, 28, 28))(activation)
    assert spectra.square().sum() == pytest.approx(float(activation.square().sum()), rel=1e-4)


@pytest.mark.slow
def test_levels_beat_quantised_zstd_on_items_that_nothing_was_fitted_to(tmp_path: Path) -> None:
    """Through a written bundle and its run-time codecs, against int8 + zstd-19 of the same tensor."""
    cut = "layer1"
    torch.manual_seed(0)
    parts = partition(models.settled(models.ResidualNet()), smooth(2, 0), cuts=[cut])
    with torch.no_grad():
        seen, fresh = (parts.run(smooth(count, seed), last=1) for count, seed in ((80, 1), (40, 2)))
    part = fit_calibrated(lambda x: parts.run(x, first=1), seen, Settings(steps=(1.2, 0.6, 0.3)))
    parts.save(tmp_path / "bundle", model_id="calibrated", levels={cut: [part]})
    low, high = float(seen.min()), float(seen.max())
    eight_bits = np.clip(np.rint((fresh.numpy() - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    plain = np.mean([len(zstandard.ZstdCompressor(level=19).compress(item.tobytes())) for item in eight_bits])
    with torch.no_grad():
        whole = parts.run(fresh, first=1).argmax(1)
    sizes, agreement, error = [], [], []
    with Bundle.open(tmp_path / "bundle") as bundle:
        codecs = Codecs(bundle, engine_named("onnxruntime", 1))
        for level in range(part.rows):
            payloads = [codecs.at(1, level).encode(item[None]) for item in fresh.numpy()]
            restored = torch.from_numpy(np.concatenate([codecs.at(1, level).decode(p) for p in payloads]))
            sizes.append(np.mean([len(payload) for payload in payloads]))
            error.append(float((restored - fresh).square().mean() / fresh.var()))
            with torch.no_grad():
                agreement.append(float((parts.run(restored, first=1).argmax(1) == whole).float().mean()))
    assert sizes == sorted(sizes)
    assert error == sorted(error, reverse=True)
    assert agreement[-1] >= 0.95
    assert sizes[-1] < 0.6 * plain


def test_directions_that_no_answer_depends_on_get_fewer_bytes() -> None:
    """A tail that reads half of the channels; the others are noise of equal strength."""
    activations = torch.randn(64, 8, 8, 8, generator=torch.Generator().manual_seed(3))
    part = fit_calibrated(
        lambda x: x[:, :4].flatten(1), activations, Settings(steps=(0.5,), sensitivity=1.0, task="tensor")
    )
    with torch.no_grad():
        latent = part.encoder(activations)
        symbols = (latent * torch.from_numpy(part.tables["gain"][0])[:, None, None]).round()
        restored = part.decoder(symbols * torch.from_numpy(part.tables["inverse_gain"][0])[:, None, None])
    error = (restored - activations).square().mean((0, 2, 3))
    assert error[:4].max() < 0.3 * error[4:].min()


def test_what_cannot_be_calibrated_is_refused_with_the_way_round() -> None:
    with pytest.raises(PartitionError, match="do not vary"):
        fit_calibrated(lambda x: x, torch.zeros(20, 4, 4, 4))
    with pytest.raises(PartitionError, match="at least 8"):
        fit_calibrated(lambda x: x, torch.randn(3, 4, 4, 4))
    with pytest.raises(UnsupportedModel, match="zstd"):
        fit_calibrated(lambda x: x, torch.randn(20, 2, 4, 4, 4))

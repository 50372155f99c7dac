"""What features give away: an attacker who has pairs of pictures and features learns to paint the picture.

The black-box inversion of Z. He, T. Zhang and R. Lee, "Model inversion attacks against collaborative inference", ACSAC
2019: a convolutional decoder on what the tier sees, judged on pictures that it has not seen. It is a lower bound, for a
better attacker may exist; features are not anonymous because this one fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.evaluation.errors import BadItems
from partitioner.compressors.resumable import Schedule, fit
from partitioner.compressors.trainer import batch_at
from partitioner.compressors.transform import as_planes
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import LearnedLevel, Manifest
from runtime.stage import Stage

LEAST_ITEMS, LEAST_SIDE = 40, 8
_SAME_DB = 100.0
"""Stands for pictures that were painted without any error."""
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Leak:
    """What an attack restores.

    Attributes:
        psnr_db: peak signal-to-noise ratio of the painted pictures, mean over the held-out ones.
        ssim: structural similarity, 1 for the same picture.
        blind_db, blind_ssim: of the mean picture, which needs no features.
    """

    cut: int
    level: int
    psnr_db: float
    ssim: float
    blind_db: float
    blind_ssim: float


class Attacker(nn.Module):
    """Features [batch, ...] to a picture [batch, colours, height, width], 0 to 1."""

    def __init__(self, features: tuple[int, ...], colours: int, height: int, width: int, breadth: int = 48) -> None:
        super().__init__()
        channels, rows, columns = as_planes(features)
        self._planes, self._size = (channels, rows, columns), (height, width)
        layers: list[nn.Module] = [nn.Conv2d(channels, breadth, 3, padding=1), nn.ReLU()]
        while rows * 2 <= height and columns * 2 <= width:
            layers += [nn.Conv2d(breadth, 4 * breadth, 1), nn.PixelShuffle(2), nn.ReLU()]
            layers += [nn.Conv2d(breadth, breadth, 3, padding=1), nn.ReLU()]
            rows, columns = 2 * rows, 2 * columns
        self._steps = nn.Sequential(*layers)
        self._paint = nn.Conv2d(breadth, colours, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        x = self._steps(features.reshape(len(features), *self._planes))
        x = F.interpolate(x, self._size, mode="bilinear", align_corners=False)
        return torch.sigmoid(self._paint(x))


def attack(
    features: NDArray[np.float32],
    pictures: NDArray[np.uint8],
    *,
    steps: int,
    seed: int = 0,
    cut: int = 0,
    level: int = 0,
) -> Leak:
    """Train an attacker on four fifths of the pairs and judge it on the rest.

    Args:
        features: [items, ...] as the tier sees them.
        pictures: [items, height, width, colours], what they were computed from.

    Raises:
        BadItems: too few pairs, or pictures of less than 8 pixels.
    """
    if len(pictures) < LEAST_ITEMS or pictures.ndim != 4 or min(pictures.shape[1:3]) < LEAST_SIDE:
        raise BadItems(
            f"the attack needs at least {LEAST_ITEMS} pictures [height, width, colours] of {LEAST_SIDE} pixels or "
            f"more, not {list(pictures.shape)}; add samples"
        )
    edge = len(pictures) * 4 // 5
    scale = max(float(features[:edge].std()), 1e-6)
    seen, targets = torch.from_numpy(features / scale), torch.from_numpy(pictures).permute(0, 3, 1, 2)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attacker = Attacker(features.shape[1:], targets.shape[1], *targets.shape[2:])

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, edge, _BATCH, seed))
        loss = F.mse_loss(attacker(seen[chosen]), targets[chosen].float() / 255)
        return loss, ""

    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(steps, 3e-3, seed, keep_every=steps)
        fit(attacker, loss_at, schedule, file=Path(folder) / "attacker.safetensors", report=lambda told, done: None)
    with torch.inference_mode():
        painted = torch.cat([attacker(seen[i : i + _BATCH]) for i in range(edge, len(seen), _BATCH)])
    found = (painted * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    truth = pictures[edge:]
    blind = np.broadcast_to(pictures[:edge].mean(0).round().astype(np.uint8), truth.shape)
    return Leak(cut, level, *_judged(found, truth), *_judged(blind, truth))


def _judged(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> tuple[float, float]:
    noise = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(truth, found, strict=True) if (a != b).any()]
    alike = [structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in zip(truth, found, strict=True)]
    return float(np.mean(noise)) if noise else float("inf"), float(np.mean(alike))


def leaks(bundle: Bundle, items: NDArray[Any], report: Callable[[str], None], *, steps: int) -> list[Leak]:
    """One attack on the smallest and the largest learned level and on the lossless one of every cut.

    Args:
        items: pictures, uint8 [items, height, width, colours], as the bundle takes them.

    Raises:
        BadItems: the bundle takes no pictures, or too few were given.
    """
    if items.dtype != np.uint8 or items.ndim != 4 or items.shape[1:] != bundle.manifest.input.shape:
        raise BadItems("the attack paints pictures, and this bundle takes none; leave --leakage out")
    engine = engine_named("onnxruntime", 1)
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    found = []
    for cut in bundle.manifest.cuts[1:]:
        if cut.tensor.dtype != "float32" or len(cut.tensor.shape) > 3:
            continue
        activations = np.concatenate([stage.run(items[i : i + _BATCH], 0, cut.index)[0] for i in _starts(items)])
        learned = [number for number, level in enumerate(cut.levels) if isinstance(level, LearnedLevel)]
        for level in sorted({*learned[:1], *learned[-1:], len(cut.levels) - 1}):
            report(f"attacking cut {cut.index} level {level}")
            codec = codecs.at(cut.index, level)
            features = np.concatenate([codec.decode(codec.encode(item[None])) for item in activations])
            found.append(attack(features, items, steps=steps, cut=cut.index, level=level))
    return found


def recorded(manifest: Manifest, found: Sequence[Leak]) -> Manifest:
    """The manifest with what attacks restored from each level, for plans to bound (`privacy.most_leaked_db`).

    A level that was not attacked itself gets the figure of the next larger one that was: more bits give away more.
    """
    cuts = []
    for cut in manifest.cuts:
        attacked = {leak.level: min(leak.psnr_db, _SAME_DB) for leak in found if leak.cut == cut.index}
        levels = []
        for number, level in enumerate(cut.levels):
            above = [place for place in attacked if place >= number]
            told = round(attacked[min(above)], 2) if above else None
            levels.append(level.model_copy(update={"leaked_psnr_db": told}))
        cuts.append(cut.model_copy(update={"levels": tuple(levels)}))
    return manifest.model_copy(update={"cuts": tuple(cuts)})


def _starts(items: NDArray[Any]) -> range:
    return range(0, len(items), _BATCH)

"""What sending Fashion-MNIST pictures as files costs, with the network as it is and tuned on each codec's output."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks import fashion
from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve
from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report, Schedule, fit
from partitioner.compressors.trainer import batch_at

QUALITIES: Final[dict[baselines.Format, tuple[int, ...]]] = {
    "webp": (0, 10, 30, 60),
    "jpeg": (2, 10, 30),
    "avif": (5, 20, 40),
}
TUNED_ON, STEPS, BATCH = 12_800, fashion.steps_of(300), 128


@dataclass(frozen=True)
class Measured:
    """One quality of one format on the test set.

    Attributes:
        sizes: bytes of each file; `bare`: without what could be sent once (`baselines.bare_sizes`).
        stock: whether the network as it is was right; `tuned`: that which was tuned on such files.
    """

    sizes: NDArray[np.int64]
    bare: NDArray[np.int64]
    stock: NDArray[np.bool_]
    tuned: NDArray[np.bool_]


def measure(format: baselines.Format, quality: int, network: fashion.FashionNet, report: Report) -> Measured:
    """One quality; kept in the results folder, and read from there the second time."""
    kept = fashion.WORK / "pictures" / f"{format}-{quality}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as found:
            return Measured(found["sizes"], found["bare"], found["stock"], found["tuned"])
    pictures, labels = fashion.read("test")
    files = baselines.picture_files([grey[..., 0] for grey in pictures], format, quality)
    read = baselines.read_pictures(files, "L")[..., None]
    tuned = _tuned(format, quality, network, report)
    made = Measured(
        np.array([len(file) for file in files]),
        baselines.bare_sizes([grey[..., 0] for grey in pictures], format, quality),
        fashion.answers(network, read) == labels,
        fashion.answers(tuned, read) == labels,
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_suffix(".partial.npz")
    np.savez(beside, sizes=made.sizes, bare=made.bare, stock=made.stock, tuned=made.tuned)
    beside.replace(kept)
    return made


def _tuned(format: baselines.Format, quality: int, network: fashion.FashionNet, report: Report) -> fashion.FashionNet:
    """The network after `STEPS` more batches of pictures as this codec leaves them."""
    pictures, labels = fashion.read("train")
    files = baselines.picture_files([grey[..., 0] for grey in pictures[:TUNED_ON]], format, quality)
    read = torch.from_numpy(baselines.read_pictures(files, "L")[..., None])
    classes = torch.from_numpy(labels[:TUNED_ON])
    tuned = deepcopy(network).train().requires_grad_(True)

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, len(classes), BATCH, quality))
        with torch.autocast("cpu", torch.bfloat16):
            logits = tuned(varied(read[chosen], mirror=True, shift=0))
        loss = F.cross_entropy(logits.float(), classes[chosen], label_smoothing=0.05)
        return loss, f"{format} {quality}: loss {float(loss.detach()):.3f}"

    file = fashion.WORK / "pictures" / f"{format}-{quality}.safetensors"
    fit(tuned, loss_at, Schedule(STEPS, 1e-3, quality, weight_decay=0.02), file=file, report=report)
    return tuned.eval()


def curves(network: fashion.FashionNet, report: Report) -> list[Curve]:
    """Each format with the stock network, tuned, and tuned with its constant bytes known beforehand."""
    made = []
    for format, qualities in QUALITIES.items():
        found = [measure(format, quality, network, report) for quality in qualities]
        levels = tuple(f"q{quality}" for quality in qualities)
        sizes = np.stack([one.sizes for one in found]).astype(np.float64)
        bare = np.stack([one.bare for one in found]).astype(np.float64)
        tuned = np.stack([one.tuned for one in found])
        made += [
            Curve(f"{format}, stock network", levels, sizes, np.stack([one.stock for one in found])),
            Curve(f"{format}, tuned network", levels, sizes, tuned),
            Curve(f"{format}, tuned network, constant bytes out of band", levels, bare, tuned),
        ]
    return made

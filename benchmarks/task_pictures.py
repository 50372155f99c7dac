"""What sending a task's pictures as files costs, with the network as it is and tuned on each codec's output."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.task import Task, answers, steps_of
from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve
from isthmus.evaluation.rivals import BARE
from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report, Schedule, fit
from partitioner.compressors.trainer import batch_at

TUNED_ON, STEPS, BATCH = 12_800, steps_of(300), 128
TUNED = "tuned network"
Quality = tuple[baselines.Format, int]


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


def kept(task: Task, quality: Quality) -> Path:
    """Where a quality's figures are kept; there once it is measured."""
    return task.work / "pictures" / "{}-{}.npz".format(*quality)


def measure(task: Task, quality: Quality, network: nn.Module, report: Report) -> Measured:
    """One quality; kept in the work folder, and read from there the second time."""
    file = kept(task, quality)
    if file.is_file():
        with np.load(file, allow_pickle=False) as found:
            return Measured(found["sizes"], found["bare"], found["stock"], found["tuned"])
    pictures, labels = task.tests
    planes = task.planes(pictures)
    files = baselines.picture_files(planes, *quality)
    read = task.opened(files)
    tuned = _tuned(task, quality, network, report)
    made = Measured(
        np.array([len(one) for one in files]),
        baselines.bare_sizes(planes, files, *quality),
        answers(network, read) == labels,
        answers(tuned, read) == labels,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".partial.npz")
    np.savez(beside, sizes=made.sizes, bare=made.bare, stock=made.stock, tuned=made.tuned)
    beside.replace(file)
    return made


def _tuned(task: Task, quality: Quality, network: nn.Module, report: Report) -> nn.Module:
    """The network after `STEPS` more batches of pictures as this codec leaves them."""
    files = baselines.picture_files(task.planes(task.samples.pictures[:TUNED_ON].numpy()), *quality)
    read, classes = torch.from_numpy(task.opened(files)), task.samples.labels[:TUNED_ON]
    tuned = deepcopy(network).train().requires_grad_(True)
    name, number = quality

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, len(classes), BATCH, number))
        with torch.autocast("cpu", torch.bfloat16):
            logits = tuned(varied(read[chosen], mirror=True, shift=0))
        loss = F.cross_entropy(logits.float(), classes[chosen], label_smoothing=0.05)
        return loss, f"{name} {number}: loss {float(loss.detach()):.3f}"

    file = kept(task, quality).with_suffix(".safetensors")
    fit(tuned, loss_at, Schedule(STEPS, 1e-3, number, weight_decay=0.02), file=file, report=report)
    return tuned.eval()


def curves(task: Task, qualities: Sequence[Quality], network: nn.Module, report: Report) -> list[Curve]:
    """Each format with the stock network, tuned, and tuned with its constant bytes known beforehand."""
    made = []
    for format in dict.fromkeys(format for format, _ in qualities):
        chosen = [quality for quality in qualities if quality[0] == format]
        found = [measure(task, quality, network, report) for quality in chosen]
        levels = tuple(f"q{number}" for _, number in chosen)
        sizes = np.stack([one.sizes for one in found]).astype(np.float64)
        bare = np.stack([one.bare for one in found]).astype(np.float64)
        tuned = np.stack([one.tuned for one in found])
        made += [
            Curve(f"{format}, stock network", levels, sizes, np.stack([one.stock for one in found])),
            Curve(f"{format}, {TUNED}", levels, sizes, tuned),
            Curve(f"{format}, {TUNED}{BARE}", levels, bare, tuned),
        ]
    return made

"""Trained compressors at cuts of a task's network: real payloads of real bundles on the whole test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.task import BATCH, Task
from isthmus.evaluation.curves import Curve
from partitioner.api import Partition, partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.fitting import fit_part
from partitioner.compressors.methods import METHODS
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan, Teacher, choose_device, train_compressor
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import LearnedLevel

COUNTED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Codec:
    """One training. `match`: modules behind the cut whose activations are matched."""

    cut: str
    method: str
    shape: Shape
    plan: Plan
    match: tuple[str, ...]
    grain: Literal["", "fine "] = ""

    @property
    def name(self) -> str:
        return f"{self.grain}{self.method} behind {self.cut}"

    def folder(self, task: Task) -> Path:
        """Checkpoints and bundle."""
        return task.work / self.name.replace(" ", "-")

    def kept(self, task: Task) -> Path:
        """What was measured; there once the stage is finished."""
        return self.folder(task) / "curve.npz"


@dataclass(frozen=True)
class Found:
    """A codec's curve on the test set, and what its device part costs as a share of the network's MACs."""

    curve: Curve
    device_share: float


def measure(task: Task, codec: Codec, network: nn.Module, report: Report) -> Found:
    """Train, export and measure; kept in the work folder."""
    kept = codec.kept(task)
    if not kept.is_file():
        sizes, right, share = _measured(task, codec, network, report)
        beside = kept.with_suffix(".partial.npz")
        np.savez(beside, sizes=sizes, right=right, share=share)
        beside.replace(kept)
    with np.load(kept, allow_pickle=False) as found:
        levels = tuple(map(str, range(len(found["sizes"]))))
        return Found(Curve(codec.name, levels, found["sizes"], found["right"]), float(found["share"]))


def _measured(
    task: Task, codec: Codec, network: nn.Module, report: Report
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    folder, samples = codec.folder(task), task.samples
    example = samples.pictures[:2]
    device = choose_device("auto")
    taught = partition(network.to(device), example.to(device), cuts=[codec.cut, *codec.match])
    teacher = Teacher(taught.segments[0], taught.segments[1:], True, device)
    compressor = train_compressor(
        METHODS[codec.method], codec.shape, teacher, samples, codec.plan,
        work=folder, report=lambda told, done: report(f"{codec.name}: {told}", done), warn=print,
    )  # fmt: skip
    parts = partition(network.cpu(), example, cuts=[codec.cut])
    part = fit_part(compressor, [head(parts, one) for one in torch.split(samples.pictures[:COUNTED], BATCH)])
    parts.save(folder / "bundle", model_id="task", task="classification", levels={codec.cut: [part]}, overwrite=True)
    pictures, labels = task.tests
    activations = torch.cat([head(parts, one) for one in torch.split(torch.from_numpy(pictures), BATCH)]).numpy()
    sizes, right = [], []
    with Bundle.open(folder / "bundle") as bundle:
        codecs = Codecs(bundle, engine_named("onnxruntime", 1))
        for level in range(part.rows):
            one = codecs.at(1, level)
            payloads = [one.encode(item[None]) for item in activations]
            restored = np.concatenate([one.decode(payload) for payload in payloads])
            sizes.append([float(len(payload)) for payload in payloads])
            right.append(tail(parts, restored) == labels)
            report(f"{codec.name}: measuring", (level + 1) / part.rows)
        manifest = bundle.manifest
    first = manifest.cuts[1].levels[0]
    assert isinstance(first, LearnedLevel)
    share = (manifest.segments[0].macs + first.encoder_macs) / sum(segment.macs for segment in manifest.segments)
    return np.array(sizes), np.stack(right), share


@torch.inference_mode()
def head(parts: Partition, pictures: Tensor) -> Tensor:
    """Activations at the cut."""
    return parts.run(pictures, last=1)


@torch.inference_mode()
def tail(parts: Partition, restored: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes behind restored activations, int64 [items]."""
    found = [parts.run(batch, first=1).argmax(1) for batch in torch.split(torch.from_numpy(restored), BATCH)]
    return torch.cat(found).numpy()

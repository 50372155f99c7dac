"""From a seed to the built-in bundle: data, network, cuts, exit, bottlenecks, export, measured figures.

Each stage leaves its result in a work folder; an interrupted run goes on from the last finished stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isthmus.builtin import digits
from isthmus.builtin.measured import measure_bundle
from isthmus.builtin.network import DigitsNet
from isthmus.builtin.training import ExitHead, Pictures, Report, accuracy, batches, mixed, train_exit, train_network
from partitioner.api import ExitPart, Partition, partition
from partitioner.bundle_writer import replace_manifest
from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.distillation import Recipe, train_bottlenecks
from partitioner.compressors.fitting import fit_part
from partitioner.parts import LearnedPart
from runtime.bundle import Bundle
from runtime.manifest import ImageLevel, Level, RawLevel, ZstdLevel

EXIT_AFTER = "blocks.2"
TRAIN_ITEMS, TEST_ITEMS = 40_000, 2_000
NETWORK_STEPS, EXIT_STEPS = 3_200, 2_400


@dataclass(frozen=True, slots=True)
class Codec:
    """The learned codec of one cut: its sizes, and how it is trained.

    The rest as in `Recipe`: an early cut needs more bits for the same answer, and longer until it can say anything.
    """

    shape: Shape
    bit_weights: tuple[float, ...]
    steps: int
    free_share: float = 0.05
    ramp_share: float = 0.35


CODECS = {
    "blocks.0": Codec(Shape(40, 2, 24, 16, 4), (6e-4, 2.4e-4, 9e-5, 3e-5), 1_500, 0.45, 0.3),
    "blocks.1": Codec(Shape(64, 1, 64, 16, 4), (2e-3, 8e-4, 3e-4, 1e-4), 2_200),
    "blocks.2": Codec(Shape(64, 1, 64, 16, 4), (2e-3, 8e-4, 3e-4, 1e-4), 2_200),
    "blocks.3": Codec(Shape(112, 0, 64, 12, 4), (2e-3, 8e-4, 3e-4, 1e-4), 1_500, 0.05, 0.3),
}
PICTURES: tuple[Level, ...] = (
    *(ImageLevel(format="webp", quality=quality) for quality in (0, 1, 3, 6, 10, 15, 25, 40, 60, 80)),
    *(ImageLevel(format="jpeg", quality=quality) for quality in (5, 8, 12, 18, 25, 40, 60, 80)),
)


def train_builtin(output: Path, work: Path, *, seed: int, scale: float, report: Report) -> None:
    """Train everything and write the bundle with its measured figures.

    Args:
        output: the bundle's folder; replaced when it exists.
        work: where finished stages are kept.
        seed: of data order and weights.
        scale: length of training, 1 for the released bundle; small values only exercise the path.
        report: progress, called often.
    """
    torch.set_flush_denormal(True)  # dead channels decay into denormal numbers, which slow training down tenfold
    work.mkdir(parents=True, exist_ok=True)
    train, test = pictures_of("train", round(TRAIN_ITEMS * scale), report), pictures_of("test", TEST_ITEMS, report)
    network = DigitsNet().eval()
    _stage(work / "network.safetensors", network, lambda: train_network(
        train, seed=seed, steps=max(20, round(NETWORK_STEPS * scale)), report=report
    ))  # fmt: skip
    report(f"network: accuracy {accuracy(network, test):.2%}", 1.0)

    parts = partition(network, torch.from_numpy(test.pictures[:2]), cuts=list(CODECS))
    at = parts.index_of(EXIT_AFTER)
    exit_ = ExitHead(CODECS[EXIT_AFTER].shape.channels).eval()
    _stage(work / "exit.safetensors", exit_, lambda: train_exit(
        partial(parts.run, last=at), partial(parts.run, first=at), CODECS[EXIT_AFTER].shape.channels, train,
        seed=seed, steps=max(20, round(EXIT_STEPS * scale)), report=report,
    ))  # fmt: skip
    report(f"exit: accuracy {accuracy(lambda x: exit_(parts.run(x, last=at)), test):.2%}", 1.0)

    bottlenecks = {}
    for name, codec in CODECS.items():
        bottlenecks[name] = Bottleneck(codec.shape).eval()
        train_it = partial(_train_bottleneck, parts, name, train, seed=seed, scale=scale, report=report)
        _stage(work / f"{name}.safetensors", bottlenecks[name], train_it)
    learned = _fit(parts, bottlenecks, train, report)
    _save(output, parts, exit_, learned, seed)
    with Bundle.open(output) as bundle:
        manifest = measure_bundle(bundle, test, report)
    replace_manifest(output, manifest)


def pictures_of(split: digits.Split, count: int, report: Report) -> Pictures:
    """Draw a split on all cores."""
    size = 250
    starts = range(0, count, size)
    made = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(_draw, [split] * len(starts), starts, [min(size, count - start) for start in starts])
        for number, job in enumerate(jobs, start=1):
            made.append(job)
            report(f"data: {split} pictures", number / len(starts))
    return Pictures(np.concatenate([x for x, _ in made]), np.concatenate([y for _, y in made]))


def _draw(split: digits.Split, start: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return digits.arrays(split, count, start=start)


def _stage(path: Path, target: nn.Module, train: Callable[[], nn.Module]) -> None:
    """Fill `target` from the stage's file, training it first when there is none."""
    if not path.exists():
        trained = train()
        beside = path.with_suffix(".partial")
        save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, beside)
        beside.replace(path)
    target.load_state_dict(load_file(path))


def _train_bottleneck(
    parts: Partition, name: str, train: Pictures, *, seed: int, scale: float, report: Report
) -> Bottleneck:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    codec, cut = CODECS[name], parts.index_of(name)
    steps = max(20, round(codec.steps * scale))
    bottleneck = Bottleneck(codec.shape)
    train_bottlenecks(
        parts.segments,
        {cut: bottleneck},
        (mixed(pictures, generator) for pictures, _ in batches(train, 32, steps, generator)),
        Recipe({cut: codec.bit_weights}, steps, free_share=codec.free_share, ramp_share=codec.ramp_share),
        report=lambda text, done: report(f"{name}: {text}", done),
    )
    return bottleneck


def _fit(
    parts: Partition, bottlenecks: dict[str, Bottleneck], train: Pictures, report: Report
) -> dict[str, LearnedPart]:
    fitted = {}
    for number, name in enumerate(CODECS):
        at = parts.index_of(name)
        fitted[name] = fit_part(bottlenecks[name], _activations(parts, train, at))
        report("tables: counting symbols", (number + 1) / len(CODECS))
    return fitted


def _activations(parts: Partition, data: Pictures, cut: int) -> Iterator[Tensor]:
    for start in range(0, min(4_000, len(data.labels)), 250):
        with torch.inference_mode():
            yield parts.run(torch.from_numpy(data.pictures[start : start + 250]), last=cut)


def _save(output: Path, parts: Partition, exit_: nn.Module, learned: dict[str, LearnedPart], seed: int) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    levels: dict[str, list[Level | LearnedPart]] = {"input": [*PICTURES, ZstdLevel(), RawLevel()]}
    levels.update({name: [part, ZstdLevel(), RawLevel()] for name, part in learned.items()})
    parts.save(
        output,
        model_id="digits-in-the-wild",
        task="classification",
        classes=digits.CLASSES,
        levels=levels,
        exits=[ExitPart(EXIT_AFTER, exit_)],
        provenance={"command": f"isthmus train builtin --seed {seed}", "data": "scikit-learn digits on photographs"},
        overwrite=True,
    )

"""From a seed to the built-in bundle: data, network, exit, bottlenecks, export, measured figures.

Each stage leaves its result in a work folder; an interrupted run goes on from the last finished stage. What does not
build on one another is trained at the same time, each in a process with one thread: two such are faster than one with
two, and the result does not depend on the number of cores.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.builtin import digits
from isthmus.builtin.measured import measure_bundle
from isthmus.builtin.stages import (
    CODECS,
    EXIT,
    EXIT_AFTER,
    NETWORK,
    Plan,
    bottleneck_of,
    exit_of,
    network_of,
    partition_of,
    run_stage,
)
from isthmus.builtin.training import Pictures, Report, accuracy
from partitioner.api import ExitPart, Partition
from partitioner.bundle_writer import replace_manifest
from partitioner.compressors.fitting import fit_part
from partitioner.parts import LearnedPart
from runtime.bundle import Bundle
from runtime.manifest import ImageLevel, Level, RawLevel, ZstdLevel

TRAIN_ITEMS, UNLABELLED_ITEMS, TEST_ITEMS = 40_000, 50_000, 2_000
PICTURES: tuple[Level, ...] = (
    *(ImageLevel(format="webp", quality=quality) for quality in (0, 1, 3, 6, 10, 15, 25, 40, 60, 80)),
    *(ImageLevel(format="jpeg", quality=quality) for quality in (5, 8, 12, 18, 25, 40, 60, 80)),
)
Draw = Callable[[int], digits.Item]


def train_builtin(output: Path, work: Path, *, seed: int, scale: float, report: Report) -> None:
    """Train everything and write the bundle with its measured figures.

    Args:
        output: the bundle's folder; replaced when it exists.
        work: where finished stages are kept.
        seed: of data order and weights.
        scale: length of training, 1 for the released bundle; small values only exercise the path.
        report: progress, called often.
    """
    work.mkdir(parents=True, exist_ok=True)
    plan = Plan(work, seed, scale)
    for name, draw, count in (
        ("train", _draw_train, plan.steps(TRAIN_ITEMS)),
        ("unlabelled", digits.unlabelled, plan.steps(UNLABELLED_ITEMS)),
        ("test", _draw_test, TEST_ITEMS),
    ):
        plan.keep_pictures(name, partial(drawn, draw, count, report))
    _run_stages([NETWORK], plan, threads=2, report=report)
    _run_stages([*CODECS, EXIT], plan, threads=1, report=report)

    test = plan.pictures("test")
    parts, exit_ = partition_of(plan), exit_of(plan)
    at = parts.index_of(EXIT_AFTER)
    report(f"network: accuracy {accuracy(network_of(plan), test):.2%}", 1.0)
    report(f"exit: accuracy {accuracy(lambda x: exit_(parts.run(x, last=at)), test):.2%}", 1.0)
    _save(output, parts, exit_, _fit(parts, plan, report), seed)
    with Bundle.open(output) as bundle:
        manifest = measure_bundle(bundle, test, report)
    replace_manifest(output, manifest)


def _draw_train(index: int) -> digits.Item:
    return digits.draw("train", index)


def _draw_test(index: int) -> digits.Item:
    return digits.draw("test", index)


def drawn(draw: Draw, count: int, report: Report) -> Pictures:
    """Draw items 0 to `count` on all cores."""
    pictures = np.empty((count, digits.SIDE, digits.SIDE, 3), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for index, item in enumerate(pool.map(draw, range(count), chunksize=100)):
            pictures[index], labels[index] = item.picture, item.label
            if index % 500 == 0:
                report("data: drawing pictures", index / count)
    return Pictures(pictures, labels)


def _run_stages(stages: Sequence[str], plan: Plan, *, threads: int, report: Report) -> None:
    """Run stages that do not need one another, in processes of `threads` threads, and pass their progress on."""
    context = multiprocessing.get_context("spawn")
    said: Queue[tuple[str, float]] = context.Queue()
    workers = max(1, (os.cpu_count() or 1) // threads)
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(threads, said)) as pool:
        pending: set[Future[None]] = {pool.submit(_run_stage, stage, plan) for stage in stages}
        while pending:
            done, pending = wait(pending, timeout=0.5)
            for future in done:
                future.result()
            _pass_on(said, report)


def _pass_on(said: Queue[tuple[str, float]], report: Report) -> None:
    while True:
        try:
            report(*said.get_nowait())
        except Empty:
            return


_said: Queue[tuple[str, float]] | None = None
"""In a worker: where its progress goes."""


def _start_worker(threads: int, said: Queue[tuple[str, float]]) -> None:
    global _said
    _said = said
    torch.set_num_threads(threads)


def _run_stage(stage: str, plan: Plan) -> None:
    assert _said is not None
    said = _said
    run_stage(stage, plan, lambda text, done: said.put((text, done)))


def _fit(parts: Partition, plan: Plan, report: Report) -> dict[str, LearnedPart]:
    fitted = {}
    train = plan.pictures("train")
    for number, name in enumerate(CODECS):
        at = parts.index_of(name)
        fitted[name] = fit_part(bottleneck_of(plan, name), _activations(parts, train, at))
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

"""MobileNetV2 with its trained weights, cut everywhere, on the photographs: raw payloads, answers image by image.

Each photograph goes through every cut: head, raw payload, tail, in the files of one bundle on ONNX Runtime. The truth
is the model itself in PyTorch, unsplit. Takes about five minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figure import Figure
from benchmarks.photographs import MobileNet, at_hand, in_batches, labels, photographs
from partitioner.api import partition
from runtime.bundle import Bundle
from runtime.codecs.raw import RawCodec
from runtime.engines import engine_named
from runtime.stage import Stage

PHOTOGRAPHS = 600


def figures() -> Sequence[Figure]:
    """How many answers differ from the unsplit model's, over all photographs and cuts; none without the data."""
    return figures_of(PHOTOGRAPHS) if at_hand() else []


def figures_of(count: int) -> list[Figure]:
    """The same for the first photographs only."""
    items, truths = photographs(count), labels(count)
    whole, split = answers(items)
    accuracy = float(np.mean(whole == truths))
    by_cut = (split == truths[:, None]).mean(axis=0)
    unlike = int((split != whole[:, None]).sum())
    return [
        Figure("photographs", len(items), "count"),
        Figure("cuts, the input among them", split.shape[1], "count"),
        Figure("answers unlike the whole model's", unlike, "count", 0, "at most", "unsplit, PyTorch"),
        Figure("top-1 of the whole model", accuracy, "share"),
        Figure("top-1 at the worst cut", float(by_cut.min()), "share", accuracy, "at least", "whole model"),
    ]


def answers(items: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes from the unsplit model, [items], and from every cut, [items, cuts]."""
    model = MobileNet()
    whole = in_batches(model, torch.from_numpy(items)).argmax(1).numpy()
    with tempfile.TemporaryDirectory() as folder:
        partition(model, torch.from_numpy(items[:1])).save(Path(folder) / "bundle", model_id="mobilenet")
        with Bundle.open(Path(folder) / "bundle") as bundle:
            stage = Stage(bundle, engine_named("onnxruntime", 1))
            codecs = [RawCodec(cut.tensor) for cut in bundle.manifest.cuts]
            split = np.stack([_at_every_cut(stage, codecs, item) for item in items])
    return whole, split


def _at_every_cut(stage: Stage, codecs: Sequence[RawCodec], item: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[cuts]: the class that the tail finds in what the head's payload decodes to."""
    found: list[int] = []
    activation: NDArray[Any] = item[None]
    for cut, codec in enumerate(codecs):
        if cut:
            (activation,) = stage.run(activation, cut - 1, cut)
        (logits,) = stage.run(codec.decode(codec.encode(activation)), cut)
        found.append(int(logits.argmax()))
    return np.array(found, np.int64)

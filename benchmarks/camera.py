"""A fixed camera over a car park: what the prefilter of still scenes and a learned filter save, and what they miss."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import mobilenet
from benchmarks.figure import Figure
from device.filter.neural import pool
from device.stillness import Stillness, StillSettings
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage

VIDEO = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "video" / "car_frames.npz"
HEAD, AREAS, FOLDS = 4, 6, 10
"""Blocks of MobileNetV2 in the head, rows and columns of areas, and parts of the clip that are left out in turn."""

Bools = NDArray[np.bool_]


def figures() -> Sequence[Figure]:
    """Shares of bytes are of the clip's own JPEG files. Nothing, where the clip is not there."""
    if not VIDEO.is_file():
        return []
    clip = Clip()
    changed, found = _prefiltered(clip)
    if mobilenet.can_be_made() and find_spec("sklearn") is not None:
        found += _filtered(clip, changed)
    return found


class Clip:
    """The frames, their files' sizes, and which of them the scene has moved in since the frame before."""

    def __init__(self) -> None:
        packed = np.load(VIDEO)
        data, offsets = packed["jpeg"], packed["offsets"]
        files = [data[begin:end].tobytes() for begin, end in pairwise(offsets)]
        pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        grey = [np.asarray(picture.convert("L")).astype(np.int16) for picture in pictures]
        self.frames = [np.asarray(picture) for picture in pictures]
        self.sizes = np.array([len(file) for file in files])
        self.moved: Bools = np.array([False, *((np.abs(new - old) > 15).mean() > 0.01 for old, new in pairwise(grey))])

    def bytes_share(self, sent: Bools) -> float:
        return float(self.sizes[sent].sum() / self.sizes.sum())

    def kept_share(self, sent: Bools) -> float:
        return float(sent[self.moved].mean())


def _prefiltered(clip: Clip) -> tuple[Bools, list[Figure]]:
    still = Stillness(StillSettings(refresh_s=1e9), time.monotonic)
    began_s = time.thread_time()
    scenes = [still.look(frame) for frame in clip.frames]
    cost_s = (time.thread_time() - began_s) / len(clip.frames)
    sent: Bools = np.array([True, *(np.diff(scenes) > 0)])
    return sent, [
        Figure("still scenes: bytes sent", clip.bytes_share(sent), "share", 0.45, against="all frames"),
        Figure("still scenes: moving steps kept", clip.kept_share(sent), "share", 0.99, "at least"),
        Figure("still scenes: cost per frame", 1e3 * cost_s, "ms", against="384x216 pixels"),
    ]


def _filtered(clip: Clip, changed: Bools) -> list[Figure]:
    """Each frame is judged by a filter that was made without it, from what is left of the clip: once for frames drawn
    at random, as the filter's promise has it, and once for whole stretches, where the scene has moved on."""
    from isthmus.training.filtering import fit_pooled

    features = pooled_features(clip.frames)
    drawn = np.random.default_rng(0).permutation(len(features))
    sees = {}
    for name, order in (("drawn", drawn), ("stretches", np.arange(len(features)))):
        passed = np.zeros(len(features), bool)
        for left_out in np.array_split(order, FOLDS):
            rest = np.setdiff1d(np.arange(len(features)), left_out)
            moved = clip.moved[rest]
            made = fit_pooled(features[rest[moved]], features[rest[~moved]], bundle="", cut=1).filter
            passed[left_out] = [made.sees(score) for score in made.score(features[left_out])]
        sees[name] = passed
    began_s = time.thread_time()
    for one in features:
        made.score(one[np.newaxis])
    cost_s = (time.thread_time() - began_s) / len(features)
    both = changed & sees["drawn"]
    return [
        Figure("prefilter and filter: bytes sent", clip.bytes_share(both), "share", 0.45, against="all frames"),
        Figure("prefilter and filter: moving steps kept", clip.kept_share(both), "share", 0.99, "at least"),
        Figure("filter alone: bytes sent", clip.bytes_share(sees["drawn"]), "share", against="all frames"),
        Figure("filter alone: moving steps kept", clip.kept_share(sees["drawn"]), "share", 0.99, "at least"),
        Figure(
            "filter on stretches it was not made on: moving steps kept", clip.kept_share(sees["stretches"]), "share",
            against="outside the promise",
        ),
        Figure("filter: cost per frame", 1e3 * cost_s, "ms", against="head not counted"),
    ]  # fmt: skip


def pooled_features(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Of the head of a bundle of MobileNetV2 with ImageNet's weights: [frames, channels, rows, columns]."""
    height, width, _ = frames[0].shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.bundle"
        mobilenet.write_bundle(path, size=(height, width), cuts=[HEAD - 1], blocks=HEAD + 2)
        with Bundle.open(path) as bundle:
            stage = Stage(bundle, engine_named("onnxruntime"))
            grid = AREAS, AREAS
            return np.concatenate([pool(stage.run(frame[np.newaxis], 0, 1)[0], grid) for frame in frames])

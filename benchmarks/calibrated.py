"""MobileNetV2 on ImageNet photographs, calibrated on 200 and tested on 400 others: bytes at 98 % agreement."""

from __future__ import annotations

import io
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks import photographs
from benchmarks.figure import Figure
from isthmus.evaluation.curves import bytes_at
from partitioner.api import Partition, partition
from partitioner.compressors.calibrated import Settings, fit_calibrated
from runtime.bundle import Bundle
from runtime.codecs import Codec, Codecs
from runtime.engines import engine_named

CUTS = (4, 7, 11, 14, 17)
FITTED, TESTED = 200, 400
AGREEMENT = 0.98
TARGET = 0.6
STEPS = (0.5, 0.42, 0.36, 0.3, 0.25, 0.2, 0.16)
"""Finer than the command's levels, and only where 98 % is near."""
QUALITIES = (40, 60, 75, 85, 90, 95, 98)


def figures() -> Sequence[Figure]:
    """One ratio for each cut, beside the picture as JPEG; nothing where the data are not at hand."""
    if not photographs.at_hand():
        return []
    pictures = torch.from_numpy(photographs.photographs(FITTED + TESTED))
    parts = partition(photographs.MobileNet(), pictures[:2], cuts=[photographs.cut_after(cut) for cut in CUTS])
    answers = photographs.in_batches(parts.run, pictures[FITTED:]).argmax(1)
    jpeg = _jpeg(parts, pictures[FITTED:], answers)
    found = [figure for number in range(1, len(CUTS) + 1) for figure in _cut(parts, number, pictures, answers, jpeg)]
    return [*found, jpeg]


def _cut(parts: Partition, number: int, pictures: Tensor, answers: Tensor, jpeg: Figure) -> list[Figure]:
    name = parts.cuts[number - 1].name
    activations = photographs.in_batches(partial(parts.run, last=number), pictures).clone()
    tail = partial(parts.run, first=number)
    plain = _eight_bits(activations[:FITTED], activations[FITTED:])
    part = fit_calibrated(tail, activations[:FITTED], Settings(steps=STEPS))
    whole = f"after block {CUTS[number - 1]}"
    with tempfile.TemporaryDirectory() as folder:
        parts.save(Path(folder) / "bundle", model_id="mobilenet", levels={name: [part]})
        with Bundle.open(Path(folder) / "bundle") as bundle:
            codecs = Codecs(bundle, engine_named("onnxruntime", 1))
            measured = [
                _level(codecs.at(number, level), activations[FITTED:], tail, answers) for level in range(part.rows)
            ]
    size = bytes_at([size for size, _ in measured], [agreement for _, agreement in measured], AGREEMENT)
    told = ", ".join(f"{level_bytes:.0f} B {agreement:.2%}" for level_bytes, agreement in measured)
    return [
        Figure(f"{whole}: bytes at 98 % agreement", size / plain, "ratio", TARGET, "at most", "int8 + zstd-19"),
        Figure(f"{whole}: bytes there", size, "bytes", None, "at most", f"int8 + zstd-19 {plain:.0f}; levels: {told}"),
        Figure(f"{whole}: bytes beside JPEG's", size / jpeg.value, "ratio", against="above 1 a plan warns of this cut"),
    ]


def _level(codec: Codec, activations: Tensor, tail: Callable[[Tensor], Tensor], answers: Tensor) -> tuple[float, float]:
    """Mean bytes of real payloads, and agreement of the answers behind them."""
    payloads = [codec.encode(item[None]) for item in activations.numpy()]
    restored = torch.from_numpy(np.concatenate([codec.decode(payload) for payload in payloads]))
    return float(np.mean([len(payload) for payload in payloads])), _agreement(tail, restored, answers)


def _agreement(tail: Callable[[Tensor], Tensor], restored: Tensor, answers: Tensor) -> float:
    return float((photographs.in_batches(tail, restored).argmax(1) == answers).float().mean())


def _eight_bits(fitted: Tensor, tested: Tensor) -> float:
    """Mean bytes of the tensor in 8 bits (one scale, from the fitted items) under zstd-19."""
    low, high = float(fitted.min()), float(fitted.max())
    compressor = zstandard.ZstdCompressor(level=19)
    steps: NDArray[np.uint8] = ((tested - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return float(np.mean([len(compressor.compress(item.tobytes())) for item in steps]))


def _jpeg(parts: Partition, pictures: Tensor, answers: Tensor) -> Figure:
    """What the picture itself costs at that agreement: an early cut must beat it to be worth its while."""
    kept: dict[int, list[bytes]] = {}

    def agrees(quality: int) -> bool:
        files = [_encoded(picture, quality) for picture in pictures.numpy()]
        read = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        kept[quality] = files
        return _agreement(parts.run, torch.from_numpy(read), answers) >= AGREEMENT

    place = bisect_left(QUALITIES, True, hi=len(QUALITIES) - 1, key=agrees)
    quality = QUALITIES[place]
    files = kept.get(quality) or [_encoded(picture, quality) for picture in pictures.numpy()]
    return Figure(f"JPEG of the picture, quality {quality}", float(np.mean([len(file) for file in files])), "bytes")


def _encoded(picture: NDArray[np.uint8], quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()

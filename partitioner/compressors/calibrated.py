"""A codec without training, for any model and cut, from a few hundred unlabelled samples: minutes on a CPU.

Per frequency of a blockwise DCT, channels are weighted by how much the answer depends on them, decorrelated
(Karhunen-Loeve), and quantised with one step throughout. With S the covariance of the channels and J that of the
answer's gradient, noise d costs E[d' J d]; coding J^(1/2) x along the eigenvectors of J^(1/2) S J^(1/2) with equal
steps is the reverse water-filling for that cost, and prunes directions that matter to no answer. J is trusted half
(exponent 1/4 instead of 1/2): it is a linearisation from few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partitioner.compressors.transform import Analysis, Frequencies, Synthesis
from partitioner.errors import PartitionError
from partitioner.parts import LearnedPart
from protocol.tables import Tables

Tail = Callable[[Tensor], Tensor]
STEPS: Final = (1.2, 0.85, 0.6, 0.45, 0.33, 0.25)
"""Quantiser steps of the levels, smallest payload first, as shares of the activation's standard deviation."""
_BATCH = 20
_RUNNERS_UP = 3
_MAX_SYMBOL = 2000
_LEAST_ITEMS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How to calibrate.

    Attributes:
        steps: see `STEPS`; larger first.
        sensitivity: exponent of J, 0 (ignore the answer) to 1 (trust the gradients wholly).
        rounding: added to a magnitude before rounding down; below 0.5 it widens the zone that becomes zero.
        task: "classification": the margins between the first answer and the next count; "tensor": any output.
    """

    steps: tuple[float, ...] = STEPS
    sensitivity: float = 0.5
    rounding: float = 0.4
    task: Literal["classification", "tensor"] = "classification"


def fit_calibrated(tail: Tail, activations: Tensor, settings: Settings | None = None) -> LearnedPart:
    """The codec of one cut.

    Args:
        tail: what follows the cut, differentiable, with frozen parameters.
        activations: float32 [items, ...] at the cut, of typical samples; 200 are plenty.

    Returns:
        One level per step; encoder and decoder are linear.

    Raises:
        PartitionError: too few samples, another dtype, or activations that do not vary.
    """
    settings = settings or Settings()
    _check(activations)
    shape = tuple(activations.shape[1:])
    frequencies = Frequencies(shape)
    means, spread = _moments(frequencies, activations)
    weights = _sensitivity(frequencies, tail, activations, settings)
    scales = torch.ones(len(means), dtype=torch.float64)
    if frequencies.shared:
        scales = _scales(weights, settings.sensitivity)
        weights, spread = weights.mean(0, keepdim=True), spread.mean(0, keepdim=True)
    matrices, inverses = _transform(spread, weights, settings.sensitivity)
    encoder = Analysis(shape, matrices, means, scales).eval()
    decoder = Synthesis(shape, inverses, means, scales).eval()
    with torch.inference_mode():
        latents = torch.cat([encoder(batch) for batch in _batches(activations)]).flatten(2).numpy()
    steps = [step * float(activations.std()) for step in settings.steps]
    return LearnedPart(encoder, decoder, _stacked([_fit_row(latents, step, settings.rounding) for step in steps]))


def _check(activations: Tensor) -> None:
    if activations.dtype != torch.float32 or len(activations) < _LEAST_ITEMS:
        raise PartitionError(
            f"calibration needs at least {_LEAST_ITEMS} float32 activations, not {len(activations)} of "
            f"{activations.dtype}; add samples, or cut where the tensor is float32"
        )
    if not (torch.isfinite(activations).all() and float(activations.std()) > 0):
        raise PartitionError("the activations do not vary or are not finite, so there is nothing to fit; check samples")


def _moments(frequencies: Frequencies, activations: Tensor) -> tuple[Tensor, Tensor]:
    """Means [frequencies, channels] and covariances [frequencies, channels, channels], float64."""
    with torch.inference_mode():
        grouped = [_by_frequency(frequencies, frequencies(batch)) for batch in _batches(activations)]
        count = sum(x.shape[2] for x in grouped)
        means = torch.stack([x.double().sum(2) for x in grouped]).sum(0) / count
        spread = torch.stack([_products(x - means[..., None]) for x in grouped]).sum(0) / count
    return means, spread


def _by_frequency(frequencies: Frequencies, spectra: Tensor) -> Tensor:
    """[batch, frequencies * channels, h, w] to [frequencies, channels, batch * h * w]."""
    channels = frequencies.planes[0]
    flat = spectra.flatten(2).transpose(0, 1).flatten(1)
    return flat.reshape(-1, channels, flat.shape[1])


def _products(x: Tensor) -> Tensor:
    x = x.double()
    return x @ x.transpose(1, 2)


def _sensitivity(frequencies: Frequencies, tail: Tail, activations: Tensor, settings: Settings) -> Tensor:
    """J for each frequency: [frequencies, channels, channels], with a mean trace of `channels`."""
    total: Tensor | None = None
    for gradients in _gradients(tail, activations, settings.task):
        with torch.no_grad():
            found = _products(_by_frequency(frequencies, frequencies(gradients)))
        total = found if total is None else total + found
    assert total is not None
    trace = total.diagonal(dim1=1, dim2=2).sum(1).mean()
    identity = torch.eye(total.shape[1], dtype=torch.float64).expand_as(total)
    return total / trace * total.shape[1] if float(trace) > 0 else identity


def _gradients(tail: Tail, activations: Tensor, task: str) -> Iterator[Tensor]:
    """Gradients of the answer, per batch; those of narrow decisions weigh more, for they are what noise turns."""
    generator = torch.Generator().manual_seed(0)
    for batch in _batches(activations):
        batch = batch.clone().requires_grad_(True)
        answer = tail(batch).flatten(1)
        if task == "classification" and answer.shape[1] > 1:
            best = answer.topk(min(_RUNNERS_UP + 1, answer.shape[1]), dim=1).values
            margins = best[:, :1] - best[:, 1:]
            floor = 0.05 * margins.detach().square().mean()
            figures = margins / (margins.detach().square() + floor).sqrt()
        else:
            signs = torch.randint(0, 2, (answer.shape[1], _RUNNERS_UP), generator=generator) * 2.0 - 1.0
            figures = answer @ signs
        for column in range(figures.shape[1]):
            keep = column + 1 < figures.shape[1]
            yield torch.autograd.grad(figures[:, column].sum(), batch, retain_graph=keep)[0]


def _scales(weights: Tensor, exponent: float) -> Tensor:
    """How much finer each frequency is quantised, [frequencies]; a mean over all channels, it is trusted more."""
    trace = weights.diagonal(dim1=1, dim2=2).sum(1) / weights.shape[1]
    return trace.clamp_min(0.01) ** min(exponent, 0.5)


def _transform(spread: Tensor, weights: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """Per frequency the matrix into the latent, whose directions have falling variance, and its inverse."""
    values, vectors = torch.linalg.eigh(weights)
    floor = 0.02 * values.mean(1, keepdim=True).clamp_min(1e-12)
    roots = torch.maximum(values, floor) ** (exponent / 2)
    into = (vectors * roots[:, None]) @ vectors.transpose(1, 2)
    back = (vectors / roots[:, None]) @ vectors.transpose(1, 2)
    directions = torch.linalg.eigh(into @ spread @ into).eigenvectors.flip(2)
    return directions.transpose(1, 2) @ into, back @ directions


def _fit_row(latents: NDArray[np.float32], step: float, rounding: float) -> dict[str, NDArray[Any]]:
    """Tables of one level from latents [items, channels, positions]."""
    channels = latents.shape[1]
    scaled = np.abs(latents) / np.float32(step)
    magnitude = np.minimum(np.floor(scaled + np.float32(rounding)), _MAX_SYMBOL)
    symbols = np.copysign(magnitude, latents).astype(np.int32)
    counts, lows = [], []
    for channel in range(channels):
        seen = symbols[:, channel].ravel()
        lows.append(int(seen.min()) - 1)
        counts.append(np.bincount(seen - lows[-1], minlength=int(np.ptp(seen)) + 3) + 0.02)
    tables = Tables.from_counts(counts, np.array(lows))
    return {
        "gain": np.full(channels, 1 / step, np.float32),
        "inverse_gain": np.full(channels, step, np.float32),
        "rounding": np.full(channels, rounding, np.float32),
        "shift": np.stack([_shift(scaled, magnitude, magnitude == 1), _shift(scaled, magnitude, magnitude > 1)], 1),
        "cdf": tables.cdf.astype(np.int32),
        "size": tables.size,
        "offset": tables.offset,
    }


def _shift(scaled: NDArray[Any], magnitude: NDArray[Any], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far the mean of what was rounded to a symbol lies from it, shrunk where little was seen: [channels]."""
    off = np.where(chosen, scaled - magnitude, 0).sum((0, 2), dtype=np.float64)
    shift: NDArray[np.float32] = np.clip(off / (chosen.sum((0, 2)) + 20), -1, 1).astype(np.float32)
    return shift


def _stacked(rows: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    longest = max(row["cdf"].shape[1] for row in rows)
    for row in rows:
        row["cdf"] = np.pad(row["cdf"], ((0, 0), (0, longest - row["cdf"].shape[1])), mode="edge")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _batches(items: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]

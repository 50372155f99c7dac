"""What training adds to a partition: learned levels and exits, as modules, before they become files of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.bundle_writer import BundleWriter, OnnxPart
from runtime.manifest import Exit, Hyperprior, LearnedLevel, Level, Measured, RawLevel, TensorSpec, ZstdLevel


@dataclass(frozen=True)
class LearnedPart:
    """The learned codec of one cut: one level per row of its tables, row 0 the smallest.

    Attributes:
        encoder: activation [batch, ...] to latent float32 [batch, channels, height, width]; in evaluation mode.
        decoder: latent to activation.
        tables: "gain", "inverse_gain", "cdf", "size", "offset", first axis the row; see `runtime.codecs.learned`.
        measured: per row, or empty.
        hyper_encoder: latent to the hyperprior's own latent, where the tables are those of a hyperprior.
        view: latent to float32 of the model's input shape and range, for people to look at. Each row then makes two
            levels: one that is answered as ever, and behind it one whose answers carry the view.
    """

    encoder: nn.Module
    decoder: nn.Module
    tables: Mapping[str, NDArray[Any]]
    measured: Sequence[Measured | None] = ()
    hyper_encoder: nn.Module | None = None
    view: nn.Module | None = None

    @property
    def rows(self) -> int:
        return len(self.tables["gain"])


@dataclass(frozen=True)
class ExitPart:
    """A classifier at a cut: activation [batch, ...] to logits [batch, classes]; in evaluation mode."""

    after: str
    module: nn.Module
    measured: Measured | None = None


def write_levels(
    writer: BundleWriter, cut: int, tensor: TensorSpec, entries: Sequence[Level | LearnedPart]
) -> tuple[Level, ...]:
    """The manifest's levels of a cut; writes the files of the learned ones. A lossless level comes last."""
    levels: list[Level] = []
    decoders: dict[nn.Module, OnnxPart] = {}
    for number, entry in enumerate(entries):
        if isinstance(entry, LearnedPart):
            stem = f"cut_{cut}" if number == 0 else f"cut_{cut}_{number}"
            levels += _write_learned(writer, stem, tensor, entry, decoders)
        else:
            levels.append(entry)
    if not levels or not isinstance(levels[-1], RawLevel | ZstdLevel):
        levels.append(RawLevel())
    return tuple(_merged(levels))


def _merged(levels: Sequence[Level]) -> list[Level]:
    """Levels of one decoder in the order of their rows: encoders of several widths do not part small from large."""
    first: dict[str, int] = {}
    keys = [
        (first.setdefault(level.decoder, place), level.row) if isinstance(level, LearnedLevel) else (place, 0)
        for place, level in enumerate(levels)
    ]
    return [levels[place] for place in sorted(range(len(levels)), key=lambda place: keys[place])]


def _write_learned(
    writer: BundleWriter, stem: str, tensor: TensorSpec, part: LearnedPart, decoders: dict[nn.Module, OnnxPart]
) -> list[LearnedLevel]:
    """`decoders`: those of this cut that are written already; encoders of several widths share one."""
    activation = example_of(tensor)
    with torch.no_grad():
        latent = part.encoder(activation)
    encoder = writer.add_onnx(part.encoder, activation, f"{stem}_encoder")
    decoder = decoders.get(part.decoder)
    if decoder is None:
        decoder = decoders[part.decoder] = writer.add_onnx(part.decoder, latent, f"{stem}_decoder")
    hyper = None if part.hyper_encoder is None else writer.add_onnx(part.hyper_encoder, latent, f"{stem}_hyper_encoder")
    view = None if part.view is None else writer.add_onnx(part.view, latent, f"{stem}_view")
    data = [file for written in (encoder, decoder, hyper, view) if written for file in written.data]
    tables = writer.add_tensors(f"{stem}_tables.safetensors", part.tables)
    integer_macs = _integer_macs(part, tuple(latent.shape))
    measured = part.measured or [None] * part.rows
    return [
        LearnedLevel(
            encoder=encoder.model,
            decoder=decoder.model,
            data=tuple(dict.fromkeys(data)),
            tables=tables,
            row=row,
            latent=encoder.output.model_copy(update={"name": "latent"}),
            hyperprior=None if hyper is None else _hyperprior(hyper),
            view=path,
            encoder_macs=encoder.macs + (hyper.macs if hyper else 0) + integer_macs,
            decoder_macs=decoder.macs + integer_macs,
            measured=figures,
        )
        for row, figures in zip(range(part.rows), measured, strict=True)
        for path in ((None,) if view is None else (None, view.model))
    ]


def _hyperprior(written: OnnxPart) -> Hyperprior:
    return Hyperprior(encoder=written.model, latent=written.output.model_copy(update={"name": "hyper_latent"}))


def _integer_macs(part: LearnedPart, latent: tuple[int, ...]) -> int:
    """Multiply-accumulates of a hyper decoder, counted as if both of its layers ran over the latent's plane."""
    weights = sum(int(array[0].size) for name, array in part.tables.items() if name.startswith("hyper_weight_"))
    return weights * math.prod(latent[2:])


def write_exit(writer: BundleWriter, cut: int, part: ExitPart, tensors: Sequence[TensorSpec]) -> Exit:
    """The manifest's entry of an exit; writes its graph."""
    written = writer.add_onnx(part.module, example_of(tensors[cut]), f"exit_{cut}")
    return Exit(cut=cut, model=written.model, data=written.data, macs=written.macs, measured=part.measured)


def example_of(tensor: TensorSpec) -> Tensor:
    """Two random items of a declared tensor."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, *tensor.shape)
    if tensor.dtype == "float32":
        return torch.randn(shape, generator=generator)
    dtype = {"uint8": torch.uint8, "int64": torch.int64}[tensor.dtype]
    return torch.randint(0, 256 if tensor.dtype == "uint8" else 2, shape, generator=generator, dtype=dtype)

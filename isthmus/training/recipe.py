"""The recipe of a training: one TOML file. A misspelt key is named, with the nearest valid one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from partitioner.compressors.methods import METHODS

MOST_LEVELS: Final = 62
"""Learned levels of a cut: a bundle has 64 at most, and two are lossless."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Table):
    """Where samples come from: one of three.

    `folder`: pictures, or one folder of pictures for each class. `items`: a .npy file of inputs, with `labels` beside
    it or without. `dataset`: "module:function" of yours; the function returns anything with `len` and `[index]`, whose
    items are inputs, or pairs of input and class.
    """

    folder: Path | None = None
    items: Path | None = None
    labels: Path | None = None
    dataset: str | None = None
    side: Annotated[int, Field(ge=1, le=4096)] = 224
    """Height and width that pictures of a folder are brought to; the model gets uint8 [batch, side, side, 3]."""
    limit: Annotated[int, Field(ge=8)] = 1_000_000
    mirror: bool = False
    """Mirror half of the pictures, left to right: inputs [height, width, channels] only."""
    shift: Annotated[int, Field(ge=0, le=64)] = 0
    """Move pictures by up to so many pixels."""

    @model_validator(mode="after")
    def _one(self) -> Data:
        named = [name for name in ("folder", "items", "dataset") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"needs exactly one of folder, items and dataset, not {len(named)}")
        if self.labels is not None and self.items is None:
            raise ValueError("labels belong to items; a folder has one folder for each class instead")
        return self


class Bottleneck(_Table):
    """Sizes of the compressor, and what its bits cost."""

    latent: Annotated[int, Field(ge=1, le=1024)] = 12
    """Channels that are coded."""
    width: Annotated[int, Field(ge=1, le=1024)] = 32
    """Channels inside encoder and decoder."""
    halvings: Annotated[int, Field(ge=0, le=5)] = 0
    """How often the encoder halves height and width."""
    depth: Annotated[int, Field(ge=1, le=8)] = 1
    """Cheap convolutions of the encoder behind the halvings: more work there, a better choice of what to send."""
    whole: bool = False
    """One number per channel for the whole plane, instead of one for each position: for payloads of a few bytes."""
    bit_weights: tuple[Annotated[float, Field(gt=0)], ...] = (2e-3, 8e-4, 3e-4, 1e-4)
    """One for each level, smallest payload first: the loss of a bit beside one nat of disagreement."""

    @field_validator("bit_weights")
    @classmethod
    def _falling(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not 1 <= len(weights) <= 16 or list(weights) != sorted(weights, reverse=True):
            raise ValueError("1 to 16 numbers, from the largest (fewest bytes) to the smallest")
        return weights


class View(_Table):
    """A second tail behind the same payloads: a picture of the input, for people to look at."""

    weight: Annotated[float, Field(ge=0)] = 0.5
    """Of the picture's squared error, in units of the inputs' variance, beside one nat of disagreement. 0: the picture
    is painted from what the answers need, and costs no bits."""


class Training(_Table):
    """How long, how fast, where."""

    steps: Annotated[int, Field(ge=10)] = 2_000
    batch: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    seed: Annotated[int, Field(ge=0)] = 1
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`."""


class Recipe(_Table):
    """A whole training."""

    model: str
    """"module:function"; the function returns the model, trained, in evaluation mode."""
    cut: str
    """Module to cut after; `isthmus.partition(model, example)` prints those that exist."""
    match: tuple[str, ...] | None = None
    """Modules behind the cut whose activations are matched; by default three, spread over what follows."""
    method: str = "gained"
    task: Literal["classification", "tensor"] = "classification"
    output: Path
    work: Path = Path("runs/train")
    """Checkpoints; a second run goes on from them."""
    data: Data
    test: Data | None = None
    """Samples that training does not see, for the figures in the bundle; by default the last tenth of `data`."""
    bottleneck: Bottleneck = Bottleneck()
    training: Training = Training()
    view: View | None = None

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"one of {', '.join(METHODS)} (calibrated needs no recipe: isthmus train calibrated)")
        return method

    @model_validator(mode="after")
    def _few_levels(self) -> Recipe:
        levels = len(self.bottleneck.bit_weights)
        levels *= (2 if self.method == "slimmable" else 1) * (1 if self.view is None else 2)
        if levels > MOST_LEVELS:
            raise ValueError(
                f"{len(self.bottleneck.bit_weights)} bit_weights make {levels} levels with this method and view, and a "
                f"cut has at most {MOST_LEVELS} beside the lossless ones; give fewer"
            )
        return self

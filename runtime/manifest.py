"""The manifest of a bundle: what it declares about one partitioned model. Schema version 1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = 1
MAX_ELEMENTS = 1 << 26
"""Bound on the elements of any declared tensor: 256 MiB of float32."""

Dtype = Literal["uint8", "float32", "int64"]
MAX_DIMENSION = 1 << 20
Dimension = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
ROW_BYTES = 4096
"""Several inputs of more than `MAX_DIMENSION` bytes go in rows of so many."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or path.startswith("/") or set(path) & set("\\:\0") or ".." in parts:
        raise ValueError(f"{path!r} is not a path inside the bundle")
    return path


def _inside_all(paths: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for path in (paths,) if isinstance(paths, str) else paths:
        _inside(path)
    return paths


class TensorSpec(_Declared):
    """One tensor of one item: `shape` leaves the batch axis out."""

    name: str
    dtype: Dtype
    shape: tuple[Dimension, ...]

    @property
    def elements(self) -> int:
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of one item."""
        return self.elements * {"uint8": 1, "float32": 4, "int64": 8}[self.dtype]

    @classmethod
    def of_several(cls, tensors: Sequence[TensorSpec]) -> TensorSpec:
        """The one that carries several: their bytes, one behind the other; zeros fill the last of several rows."""
        size = sum(tensor.nbytes for tensor in tensors)
        shape = (size,) if size <= MAX_DIMENSION else (-(-size // ROW_BYTES), ROW_BYTES)
        return cls(name="inputs", dtype="uint8", shape=shape)

    @model_validator(mode="after")
    def _bounded(self) -> TensorSpec:
        if self.elements > MAX_ELEMENTS:
            raise ValueError(f"tensor {self.name!r} declares {self.elements} elements, more than {MAX_ELEMENTS}")
        return self


class FileEntry(_Declared):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Graph(_Declared):
    """An ONNX graph with one input (the model's first may have several), and the files that hold its weights."""

    model: str
    data: tuple[str, ...] = ()
    """Locations of the graph's external data. Weights are stored once: many graphs name the same file."""
    macs: Annotated[int, Field(ge=0)]
    """Multiply-accumulates of one item."""

    _paths = field_validator("model", "data")(_inside_all)


class Segment(Graph):
    """What lies between two neighbouring cuts: one output where another segment follows, else all of the model's."""

    parameters: Annotated[int, Field(ge=0)]
    state: tuple[TensorSpec, ...] | None = None
    """What it keeps for a stream from one frame to the next, such as a key-value cache: the graph takes these behind
    its input and gives them, renewed, behind its outputs, in the same order. Zeros before a stream's first frame."""

    @field_validator("state")
    @classmethod
    def _some_state(cls, state: tuple[TensorSpec, ...] | None) -> tuple[TensorSpec, ...] | None:
        if state is not None and not 1 <= len(state) <= 64:
            raise ValueError("a segment keeps 1 to 64 tensors; leave state out where it keeps none")
        return state


class Measured(_Declared):
    """Figures of one level on the bundle's own test set."""

    payload_bytes: Annotated[float, Field(ge=0)]
    """Mean bytes of one payload."""
    accuracy: Annotated[float, Field(ge=0, le=1)]
    agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of items whose answer equals the uncompressed model's."""
    items: Annotated[int, Field(ge=1)]


Decibels = Annotated[float, Field(ge=0)]
"""How well pictures were painted from what a level sends (`isthmus evaluate --leakage`); None: nobody tried."""


class RawLevel(_Declared):
    """The activation as it is: little-endian, row-major."""

    codec: Literal["raw"] = "raw"
    measured: Measured | None = None
    leaked_psnr_db: Decibels | None = None


class ZstdLevel(_Declared):
    """Byte planes of the activation, compressed by Zstandard without loss."""

    codec: Literal["zstd"] = "zstd"
    measured: Measured | None = None
    leaked_psnr_db: Decibels | None = None


class ImageLevel(_Declared):
    """A picture file of the input: only at cut 0 and for uint8 [height, width, 3]."""

    codec: Literal["image"] = "image"
    format: Literal["webp", "jpeg"]
    quality: Annotated[int, Field(ge=0, le=100)]
    measured: Measured | None = None
    leaked_psnr_db: Decibels | None = None


class Hyperprior(_Declared):
    """A few numbers sent in front of a latent, from which both ends compute where its values lie and how widely.

    `encoder` maps the latent to them; the way back is integer arithmetic (`runtime.codecs.hyper_decoder`), whose
    weights lie in the level's tables.
    """

    encoder: str
    latent: TensorSpec
    """float32 [channels, height, width]: each channel has a table of its own."""

    _paths = field_validator("encoder")(_inside)

    @field_validator("latent")
    @classmethod
    def _plane(cls, latent: TensorSpec) -> TensorSpec:
        if latent.dtype != "float32" or len(latent.shape) != 3:
            raise ValueError("the latent of a hyperprior is float32 [channels, height, width]")
        return latent


class LearnedLevel(_Declared):
    """A trained encoder and decoder around integer symbols (see `runtime.codecs.learned`): each channel with a table of
    its own, or each symbol with the one that a hyperprior chooses (see `runtime.codecs.hyperprior`).

    `encoder` maps the activation to the latent, `decoder` back; levels of one cut share both and differ by the
    row of the tables that they use.
    """

    codec: Literal["learned"] = "learned"
    encoder: str
    decoder: str
    data: tuple[str, ...] = ()
    """Files that hold the weights of encoder and decoder."""
    tables: str
    row: Annotated[int, Field(ge=0, le=255)]
    latent: TensorSpec
    """float32, [channels, ...]; [channels, height, width] with a hyperprior."""
    hyperprior: Hyperprior | None = None
    view: str | None = None
    """A second tail: a graph from the latent to float32 of the model's input shape and range, for people to look at."""
    encoder_macs: Annotated[int, Field(ge=0)]
    decoder_macs: Annotated[int, Field(ge=0)]
    measured: Measured | None = None
    leaked_psnr_db: Decibels | None = None

    _paths = field_validator("encoder", "decoder", "tables", "data")(_inside_all)

    @field_validator("view")
    @classmethod
    def _view_inside(cls, view: str | None) -> str | None:
        return view if view is None else _inside(view)

    @field_validator("latent")
    @classmethod
    def _channels_first(cls, latent: TensorSpec) -> TensorSpec:
        if latent.dtype != "float32" or not latent.shape:
            raise ValueError("a latent is float32 [channels, ...]")
        return latent

    @property
    def graphs(self) -> tuple[str, ...]:
        """Paths of its graphs; `data` is of all of them."""
        optional = (self.hyperprior and self.hyperprior.encoder, self.view)
        return (self.encoder, self.decoder, *(path for path in optional if path))

    @model_validator(mode="after")
    def _repeats(self) -> LearnedLevel:
        if self.hyperprior is not None:
            repeat_of(self.latent.shape, self.hyperprior.latent.shape)
        return self


def repeat_of(latent: tuple[int, ...], hyper: tuple[int, ...]) -> int:
    """How many rows and columns of a latent [c, h, w] each one of its hyperprior [c, h, w] speaks for.

    Raises:
        ValueError: the planes do not fit; a ValidationError of the manifest that says so.
    """
    if len(latent) == 3 and len(hyper) == 3:
        factor = -(-latent[1] // hyper[1])
        if [-(-side // factor) for side in latent[1:]] == list(hyper[1:]):
            return factor
    raise ValueError(f"a hyperprior of {list(hyper)} does not fit a latent of {list(latent)}")


Level = Annotated[RawLevel | ZstdLevel | ImageLevel | LearnedLevel, Field(discriminator="codec")]


class Cut(_Declared):
    """The tensor that crosses between segment `index - 1` and segment `index`. Cut 0 is the input itself."""

    index: Annotated[int, Field(ge=0, le=255)]
    after: str
    """Module path in the model's own names, "input" for cut 0."""
    tensor: TensorSpec
    levels: tuple[Level, ...]
    """Level 0 is the smallest; a lossless level comes last."""

    @field_validator("levels")
    @classmethod
    def _some(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        if not 1 <= len(levels) <= 64:
            raise ValueError("a cut has 1 to 64 levels")
        return levels

    @model_validator(mode="after")
    def _pictures_fit(self) -> Cut:
        tensor = self.tensor
        picture = self.index == 0 and tensor.dtype == "uint8" and len(tensor.shape) == 3 and tensor.shape[2] == 3
        if any(level.codec == "image" for level in self.levels) and not (picture and max(tensor.shape) <= 16383):
            raise ValueError("an image level needs cut 0 and uint8 [height, width, 3] with sides of at most 16383")
        return self


class Postprocessor(_Declared):
    """Code that turns what the last segment gives into the answer. It is installed on the machines that answer, in this
    very version (see `runtime.postprocessing`)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    takes: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=64)]
    """What the last segment's graph gives, of one item."""


class Exit(Graph):
    """A small classifier at a cut whose answer may be final: one output, the logits."""

    cut: Annotated[int, Field(ge=1, le=255)]
    measured: Measured | None = None


class Profile(_Declared):
    """Seconds of each part on one machine and engine: medians of several runs, one item, one thread."""

    machine: str
    engine: str
    segment_s: tuple[float, ...]
    exit_s: tuple[float, ...] = ()
    encode_s: tuple[tuple[float, ...], ...] = ()
    """[cut][level]"""
    decode_s: tuple[tuple[float, ...], ...] = ()
    """[cut][level]"""


class Manifest(_Declared):
    schema_version: Literal[1]
    model_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    counter: Annotated[int, Field(ge=0)] = 0
    """Grows with every release of a model: what a tier has accepted, it never goes below."""
    task: Literal["classification", "tensor"]
    classes: tuple[str, ...] = ()
    input: TensorSpec
    inputs: tuple[TensorSpec, ...] | None = None
    """Where the model takes several: what the first segment's graph takes, in order. `input` then is their bytes, one
    behind the other (see `runtime.inputs`)."""
    outputs: tuple[TensorSpec, ...]
    """What the model answers. For a classification, the first output is the logits."""
    postprocessor: Postprocessor | None = None
    """Makes `outputs` of what the last segment gives; without one, they are that."""
    segments: tuple[Segment, ...]
    cuts: tuple[Cut, ...]
    """Cut k crosses in front of segment k; cut 0 is the input."""
    exits: tuple[Exit, ...] = ()
    measured: Measured | None = None
    """The whole model, uncompressed."""
    profiles: tuple[Profile, ...] = ()
    provenance: dict[str, str] = Field(default_factory=dict)
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if not 1 <= len(self.segments) <= 255:
            raise ValueError("a bundle has 1 to 255 segments")
        if not self.outputs:
            raise ValueError("a model has at least one output")
        if [cut.index for cut in self.cuts] != list(range(len(self.segments))):
            raise ValueError("cuts must be numbered 0 to segments - 1, in order")
        if self.cuts[0].tensor != self.input:
            raise ValueError("cut 0 must carry the input")
        if self.inputs is not None:
            self._check_inputs(self.inputs)
        if len({exit_.cut for exit_ in self.exits}) < len(self.exits):
            raise ValueError("two exits name the same cut")
        for exit_ in self.exits:
            if exit_.cut >= len(self.segments):
                raise ValueError(f"an exit names cut {exit_.cut}, which does not exist")
        for path in self.files:
            _inside(path)
        for path in self.referenced():
            if path not in self.files:
                raise ValueError(f"{path!r} is used but not listed under files")
        return self

    def _check_inputs(self, inputs: tuple[TensorSpec, ...]) -> None:
        names = {spec.name for spec in inputs}
        if not 2 <= len(inputs) <= 64 or len(names) < len(inputs) or "" in names:
            raise ValueError("inputs are 2 to 64 tensors of different names; leave them out where the model takes one")
        if self.input != TensorSpec.of_several(inputs):
            raise ValueError(f"inputs take {TensorSpec.of_several(inputs).shape} bytes, which input does not declare")

    @property
    def takes(self) -> tuple[TensorSpec, ...]:
        """What the model takes, of one item."""
        return (self.input,) if self.inputs is None else self.inputs

    @property
    def gives(self) -> tuple[TensorSpec, ...]:
        """What the last segment's graph gives, of one item."""
        return self.outputs if self.postprocessor is None else self.postprocessor.takes

    @property
    def keeps_state(self) -> bool:
        """Whether frames belong to streams, whose order matters (see `runtime.streams`)."""
        return any(segment.state for segment in self.segments)

    def referenced(self) -> set[str]:
        """Paths of all files that segments, levels and exits use, weights included."""
        graphs: tuple[Graph, ...] = (*self.segments, *self.exits)
        paths = {path for graph in graphs for path in (graph.model, *graph.data)}
        for cut in self.cuts:
            for level in cut.levels:
                if isinstance(level, LearnedLevel):
                    paths |= {*level.graphs, level.tables, *level.data}
        return paths

    def to_bytes(self) -> bytes:
        """The canonical file `manifest.json`; its SHA-256 is the bundle's digest."""
        return (self.model_dump_json(indent=1, exclude_none=True) + "\n").encode()


def digest_of(manifest_bytes: bytes) -> bytes:
    """SHA-256 of the manifest file, 32 bytes: names the bundle, for it names the hash of every file."""
    return hashlib.sha256(manifest_bytes).digest()

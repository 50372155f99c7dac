"""An inference request and its answer as both doors understand them. No JSON, no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Parameter: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One tensor of a request, batch axis included. `data` is little-endian, row-major, of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the caller wants."""

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a caller asks. An empty version is the newest; no outputs are all of them."""

    model: str
    version: str
    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of an answer, batch axis included; little-endian, row-major."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """An answer. Its outputs are in the order in which they were asked for."""

    model: str
    version: str
    id: str
    outputs: tuple[OutputTensor, ...]

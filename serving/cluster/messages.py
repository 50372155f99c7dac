"""What goes to a worker and comes back: small values, the same for every kind of cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from protocol.messages import Tensor
from runtime.stage import State
from serving.passage import Activation


@dataclass(frozen=True, slots=True)
class Asked:
    """One frame to be run from its cut to the end.

    Attributes:
        cut, level, payload: as the device sent them.
        activation: [1, ...], instead of a payload; None otherwise.
        states: by segment, what the frame's stream goes on from; empty for a stream's first frame, and where there is
            no state.
    """

    cut: int
    level: int
    payload: bytes
    activation: Activation | None = None
    states: dict[int, State] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The model's outputs for one frame.

    Attributes:
        outputs: in the order of the manifest.
        states: by segment, what the stream's next frame goes on from.
    """

    outputs: tuple[Tensor, ...]
    states: dict[int, State] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why one frame has no outputs.

    Attributes:
        undecodable: its payload is none; otherwise the bundle cannot be run on it.
        detail: a sentence.
    """

    undecodable: bool
    detail: str


Answer: TypeAlias = Done | Failed

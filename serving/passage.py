"""One frame on its way through a tier: where it stands, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocol.messages import Frame, Tensor
from runtime.stage import State
from serving.scheduling.jobs import Batch

Activation: TypeAlias = NDArray[Any]


@dataclass(eq=False, slots=True)
class Passage:
    """Written by the thread that does the frame's next step, and by the event loop between steps.

    Attributes:
        frame: as it came.
        arrived_s: when, on the server's clock.
        deadline_s: when its time is over.
        cut: where it stands.
        activation: what it carries there, [1, ...]; None until decoded.
        payload: what is to be passed up, once encoded.
        outputs: the model's, once run to the end.
        shown: what its level shows of the input, if it does: sent behind the outputs.
        states: by segment, what the next step of its stream goes on from; of segments yet to run, what this one does.
        queue_s: waited for a thread.
        decode_s: in batches that decoded it.
        run_s: in batches that ran or encoded it.
        upstream_s: waited for the tier above.
        batch, batch_s: the last batch that ran it, and how long that took; None before.
        trace: what the frame carries on its way up; see `transport.tracing`.
    """

    frame: Frame
    arrived_s: float
    deadline_s: float
    cut: int
    activation: Activation | None = None
    payload: bytes = b""
    outputs: tuple[Tensor, ...] = ()
    shown: tuple[Tensor, ...] = ()
    states: dict[int, State] = field(default_factory=dict)
    queue_s: float = 0.0
    decode_s: float = 0.0
    run_s: float = 0.0
    upstream_s: float = 0.0
    batch: Batch | None = None
    batch_s: float = 0.0
    trace: bytes = b""

    def at_cut(self) -> Activation:
        """The activation, which earlier steps have made."""
        assert self.activation is not None, "a frame is decoded before it is run"
        return self.activation


def stacked(rows: Sequence[Activation]) -> Activation:
    """One array [n, ...] of rows [1, ...]; without a copy where they lie one behind the other in one array already.

    Frames that go on together after a batch do.
    """
    first = rows[0]
    if len(rows) == 1:
        return first
    if first.base is not None and first.flags.c_contiguous:
        begin = _address(first)
        if all(
            row.base is first.base and _address(row) == begin + place * first.nbytes and row.shape == first.shape
            for place, row in enumerate(rows)
        ):
            strides = (first.nbytes, *first.strides[1:])
            return np.lib.stride_tricks.as_strided(first, (len(rows), *first.shape[1:]), strides, writeable=False)
    return np.concatenate(rows)


def _address(array: Activation) -> int:
    return int(array.__array_interface__["data"][0])

"""One bundle as a tier serves it: what it accepts of a frame, and the work it does on one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.errors import Code
from protocol.messages import Frame, Tensor
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import Engine
from runtime.stage import Stage

Activation = NDArray[Any]


class Served:
    """Stage and codecs of one bundle. Its work blocks, and may be done from several threads."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self._stage = Stage(bundle, engine)
        self._codecs = Codecs(bundle, engine)

    def warm(self) -> None:
        """Load every codec and segment, and run each once, so that the first frame is not the slow one.

        Raises:
            BundleError: a file is damaged, or the engine cannot run it.
        """
        manifest = self.bundle.manifest
        for cut in manifest.cuts:
            activation = np.zeros((1, *cut.tensor.shape), cut.tensor.dtype)
            self._stage.run(activation, cut.index, cut.index + 1)
            for level in range(len(cut.levels)):
                codec = self._codecs.at(cut.index, level)
                codec.decode(codec.encode(activation))

    def fault(self, frame: Frame) -> tuple[Code, str] | None:
        """What is wrong with a frame by the manifest alone, before anything is allocated for it."""
        cuts = self.bundle.manifest.cuts
        if frame.cut >= len(cuts):
            return Code.UNKNOWN_CUT, f"there is no cut {frame.cut}; the bundle has cuts 0 to {len(cuts) - 1}"
        cut = cuts[frame.cut]
        if frame.level >= len(cut.levels):
            return Code.UNKNOWN_CUT, f"cut {frame.cut} has levels 0 to {len(cut.levels) - 1}, not {frame.level}"
        if frame.shape != cut.tensor.shape:
            return Code.WRONG_SHAPE, f"cut {frame.cut} carries {list(cut.tensor.shape)}, not {list(frame.shape)}"
        bound = self._codecs.at(frame.cut, frame.level).max_payload_bytes
        if len(frame.payload) > bound:
            detail = f"{len(frame.payload)} bytes are more than the {bound} of cut {frame.cut} level {frame.level}"
            return Code.TOO_LONG, detail
        return self._fault_of_handover(frame)

    def decode(self, frame: Frame) -> Activation:
        """The activation that a frame carries, [1, ...].

        Raises:
            UndecodablePayload: the bytes are no payload of that level.
        """
        return self._codecs.at(frame.cut, frame.level).decode(frame.payload)

    def advance(self, activation: Activation, first: int, last: int) -> Activation:
        """Run from one cut to another."""
        return self._stage.run(activation, first, last)[0]

    def encode(self, activation: Activation, cut: int, level: int) -> bytes:
        """The payload of an activation."""
        return self._codecs.at(cut, level).encode(activation)

    def finish(self, activation: Activation, first: int) -> tuple[Tensor, ...]:
        """Run to the end; the outputs without their batch axis."""
        outputs = self._stage.run(activation, first)
        specs = self.bundle.manifest.outputs
        return tuple(Tensor.of(spec.name, output[0]) for spec, output in zip(specs, outputs, strict=True))

    def _fault_of_handover(self, frame: Frame) -> tuple[Code, str] | None:
        handover, cuts = frame.handover, self.bundle.manifest.cuts
        if handover is None:
            return None
        if not frame.cut <= handover.cut < len(cuts):
            detail = f"a handover from cut {frame.cut} is to cuts {frame.cut} to {len(cuts) - 1}, not {handover.cut}"
            return Code.UNKNOWN_CUT, detail
        levels = len(cuts[handover.cut].levels)
        if handover.level >= levels:
            return Code.UNKNOWN_CUT, f"cut {handover.cut} has levels 0 to {levels - 1}, not {handover.level}"
        return None

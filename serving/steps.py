"""The steps that a tier's work is made of. Each does its work for several frames at once, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from protocol.errors import IsthmusError
from protocol.messages import Tensor
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import LoadedModel
from runtime.errors import BundleError, BundleInvalid, UndecodablePayload
from runtime.manifest import TensorSpec
from runtime.stage import Stage, State
from serving.passage import Passage, stacked

VIEW: Final = "view"
"""Name of the tensor behind a model's outputs that shows its input, where a frame's level does."""


class Step(Protocol):
    """One kind of work. Two frames whose next steps are the same object may be batched."""

    decodes: bool
    """Whether its time counts as decoding."""
    joins: bool
    """Whether it does several frames in one go, rather than one after the other."""

    def __hash__(self) -> int: ...

    def __call__(self, passages: Sequence[Passage]) -> Mapping[Passage, IsthmusError]:
        """Do the work for each.

        Returns:
            What is wrong with single frames; the others went through.

        Raises:
            BundleError: nobody's fault in particular: none went through.
        """
        ...


class Decode:
    """Payloads of one level, one after the other: what decodes them knows nothing of batches."""

    decodes = True
    joins = False

    def __init__(self, bundle: Bundle, decode: Callable[[bytes], NDArray[Any]], what: str) -> None:
        self._decode = decode
        self._name = _name(f"decode {what}", bundle)

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Decode each; a payload that is none is its own frame's fault."""
        faults: dict[Passage, BundleError] = {}
        for passage in passages:
            try:
                passage.activation = self._decode(passage.frame.payload)
            except UndecodablePayload as exc:
                faults[passage] = exc
        return faults


class DecodeLearned:
    """Payloads of all learned levels of a cut that share a decoder: entropy decoding one by one, the decoder once."""

    decodes = True
    joins = True

    def __init__(self, bundle: Bundle, codecs: Codecs, decoder: LoadedModel, cut: int, levels: Sequence[int]) -> None:
        self._spec, self._input = bundle.manifest.cuts[cut].tensor, bundle.manifest.input
        self._decoder = decoder
        self._codecs: dict[int, LearnedCodec] = {}
        for level in levels:
            codec = codecs.at(cut, level)
            assert isinstance(codec, LearnedCodec)
            self._codecs[level] = codec
        self._name = _name(f"decode cut {cut} levels {', '.join(map(str, levels))}", bundle)

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Decode all that are payloads."""
        faults: dict[Passage, BundleError] = {}
        latents, sound = [], []
        for passage in passages:
            try:
                latent = self._codecs[passage.frame.level].latent(passage.frame.payload)
            except UndecodablePayload as exc:
                faults[passage] = exc
            else:
                latents.append(latent[None])
                sound.append(passage)
        if sound:
            (activations,) = self._decoder.run([stacked(latents)])
            _require(activations.shape == (len(sound), *self._spec.shape), self._name, self._spec)
            for row, passage in enumerate(sound):
                passage.activation = activations[row : row + 1]
                passage.shown = self._shown(passage.frame.level, latents[row][0])
        return faults

    def _shown(self, level: int, latent: NDArray[Any]) -> tuple[Tensor, ...]:
        """The view, where the level has one: one by one, for people look at few."""
        codec, spec = self._codecs[level], self._input
        if not codec.shows:
            return ()
        shown = codec.shown(latent)
        _require(shown.shape == (1, *spec.shape), f"the view of {self._name}", spec)
        if spec.dtype == "uint8":
            shown = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
        return (Tensor.of(VIEW, shown[0]),)


class Run:
    """One segment."""

    decodes = False
    joins = True

    def __init__(self, bundle: Bundle, stage: Stage, segment: int) -> None:
        self._stage = stage
        self._segment = segment
        last = segment + 1 == len(bundle.manifest.segments)
        self._outputs = bundle.manifest.outputs if last else None
        self._keeps_state = bool(bundle.manifest.segments[segment].state)
        self._name = _name(f"run segment {segment}", bundle)

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Run all together."""
        batch = stacked([passage.at_cut() for passage in passages])
        outputs, kept = self._stage.step(batch, self._segment, self._before(passages))
        for output in (*outputs, *kept):
            if len(output) != len(passages):
                raise BundleInvalid(f"segment {self._segment} gives {len(output)} items for {len(passages)}")
        if self._keeps_state:
            self._keep(passages, kept)
        for row, passage in enumerate(passages):
            passage.cut = self._segment + 1
            if self._outputs is None:
                passage.activation = outputs[0][row : row + 1]
            else:
                passage.activation = None
                named = zip(self._outputs, outputs, strict=True)
                passage.outputs = (*(Tensor.of(spec.name, output[row]) for spec, output in named), *passage.shown)
        return {}

    def _before(self, passages: Sequence[Passage]) -> State:
        """The states of their streams, one row for each; a fresh one where there is none."""
        if not self._keeps_state:
            return ()
        states = [passage.states.get(self._segment) or self._stage.fresh_state(self._segment) for passage in passages]
        return tuple(map(stacked, zip(*states, strict=True)))

    def _keep(self, passages: Sequence[Passage], kept: State) -> None:
        """Give each its row, of its own: a view would keep the whole batch in memory."""
        for row, passage in enumerate(passages):
            own = kept if len(passages) == 1 else tuple(array[row : row + 1].copy() for array in kept)
            passage.states[self._segment] = own


class Encode:
    """Activations to payloads of one level, to be passed up."""

    decodes = False
    joins = False

    def __init__(self, bundle: Bundle, codecs: Codecs, cut: int, level: int) -> None:
        self._codec = codecs.at(cut, level)
        self._name = _name(f"encode cut {cut} level {level}", bundle)

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Encode each."""
        for passage in passages:
            passage.payload = self._codec.encode(passage.at_cut())
        return {}


def _name(what: str, bundle: Bundle) -> str:
    """Unlike that of any step of another bundle, whose figures stand beside it."""
    return f"{what} of {bundle.manifest.model_id} ({bundle.digest.hex()[:8]})"


def _require(fits: bool, name: str, spec: TensorSpec) -> None:
    if not fits:
        raise BundleInvalid(f"{name} does not give {spec.dtype} {list(spec.shape)} for each frame; export again")

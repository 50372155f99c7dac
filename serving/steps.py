"""The steps that a tier's work is made of. Each does its work for several frames at once, in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from protocol.messages import Tensor
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import LoadedModel
from runtime.errors import BundleError, BundleInvalid, UndecodablePayload
from runtime.manifest import TensorSpec
from runtime.stage import Stage, State
from serving.passage import Passage, stacked


class Step(Protocol):
    """One kind of work. Two frames whose next steps are the same object may be batched."""

    decodes: bool
    """Whether its time counts as decoding."""
    joins: bool
    """Whether it does several frames in one go, rather than one after the other."""

    def __hash__(self) -> int: ...

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Do the work for each.

        Returns:
            What is wrong with single frames; the others went through.

        Raises:
            BundleError: nobody's fault in particular: none went through.
        """
        ...


class Decode:
    """Payloads of one level whose codec knows nothing of batches: one after the other."""

    decodes = True
    joins = False

    def __init__(self, codecs: Codecs, cut: int, level: int) -> None:
        self._codec = codecs.at(cut, level)
        self._name = f"decode cut {cut} level {level}"

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Decode each; a payload that is none is its own frame's fault."""
        faults: dict[Passage, BundleError] = {}
        for passage in passages:
            try:
                passage.activation = self._codec.decode(passage.frame.payload)
            except UndecodablePayload as exc:
                faults[passage] = exc
        return faults


class DecodeLearned:
    """Payloads of all learned levels of a cut that share a decoder: entropy decoding one by one, the decoder once."""

    decodes = True
    joins = True

    def __init__(self, bundle: Bundle, codecs: Codecs, decoder: LoadedModel, cut: int, levels: Sequence[int]) -> None:
        self._spec = bundle.manifest.cuts[cut].tensor
        self._decoder = decoder
        self._codecs: dict[int, LearnedCodec] = {}
        for level in levels:
            codec = codecs.at(cut, level)
            assert isinstance(codec, LearnedCodec)
            self._codecs[level] = codec
        self._name = f"decode cut {cut} levels {', '.join(map(str, levels))}"

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
        return faults


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
        self._name = f"run segment {segment}"

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
                passage.outputs = tuple(
                    Tensor.of(spec.name, output[row]) for spec, output in zip(self._outputs, outputs, strict=True)
                )
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

    def __init__(self, codecs: Codecs, cut: int, level: int) -> None:
        self._codec = codecs.at(cut, level)
        self._name = f"encode cut {cut} level {level}"

    def __str__(self) -> str:
        return self._name

    def __call__(self, passages: Sequence[Passage]) -> dict[Passage, BundleError]:
        """Encode each."""
        for passage in passages:
            passage.payload = self._codec.encode(passage.at_cut())
        return {}


def _require(fits: bool, name: str, spec: TensorSpec) -> None:
    if not fits:
        raise BundleInvalid(f"{name} does not give {spec.dtype} {list(spec.shape)} for each frame; export again")

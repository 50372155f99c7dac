"""Run a stretch of a bundle's segments, or an exit, on an engine."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.activations import check_activation, matches
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import BundleInvalid, PostprocessorFailed
from runtime.graphs import Graphs
from runtime.inputs import parted
from runtime.manifest import Exit, TensorSpec
from runtime.postprocessing import finished, required

State: TypeAlias = tuple[NDArray[Any], ...]
"""What one segment keeps, [batch, ...] each, in the order of the manifest."""


class Stage:
    """All segments and exits of a bundle, loaded as they are first used. Safe to share between threads.

    Raises:
        PostprocessorMissing: the bundle names one that is not installed here.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._manifest = bundle.manifest
        declared = bundle.manifest.postprocessor
        self._finish = None if declared is None else partial(finished, required(declared), declared.name)
        self._graphs = Graphs(bundle, engine)
        self._exits: dict[int, Exit] = {exit_.cut: exit_ for exit_ in bundle.manifest.exits}

    def run(self, activation: NDArray[Any], first: int = 0, last: int | None = None) -> list[NDArray[Any]]:
        """Run segments `first` to `last - 1`.

        Args:
            activation: what cut `first` carries, [batch, ...] with the cut's dtype and shape.
            first: a cut.
            last: the cut to stop at, exclusive as a segment; None or the number of segments runs to the end.

        Segments that keep a state begin with a fresh one, and what they would keep is dropped; see `step`.

        Returns:
            The one tensor of cut `last`, or all outputs of the model. `first == last` gives the activation back.

        Raises:
            UnsupportedShape: the activation is not what cut `first` declares.
            BundleInvalid: a segment gives another tensor than the next cut declares.
            PostprocessorFailed: the post-processor raised an error, or gave something else than declared.
            EngineError, BundleCorrupt: from the engine and the files.
            IndexError: no such cuts, or `last` before `first`.
        """
        last = len(self._manifest.segments) if last is None else last
        if not 0 <= first <= last <= len(self._manifest.segments) or first == len(self._manifest.segments):
            raise IndexError(f"there are no segments {first} to {last} in a bundle of {len(self._manifest.segments)}")
        check_activation(activation, self._manifest.cuts[first].tensor, where=f"cut {first}")
        outputs = [activation]
        for index in range(first, last):
            outputs, _ = self._run_one(index, outputs[0], self.fresh_state(index, len(activation)))
        return outputs

    def step(
        self, activation: NDArray[Any], segment: int, state: State | None = None
    ) -> tuple[list[NDArray[Any]], State]:
        """Run one segment on a frame of a stream.

        Args:
            activation: what the cut in front carries, [batch, ...].
            segment: which one.
            state: what the same segment gave for the frame before; None for a stream's first frame.

        Returns:
            The segment's outputs, and the state for the next frame; empty where it keeps none.

        Raises:
            UnsupportedShape: activation or state are not what is declared.
            BundleInvalid, EngineError, BundleCorrupt: as `run`.
        """
        check_activation(activation, self._manifest.cuts[segment].tensor, where=f"cut {segment}")
        if state is None:
            state = self.fresh_state(segment, len(activation))
        for array, spec in zip(state, self._manifest.segments[segment].state or (), strict=True):
            check_activation(array, spec, where=f"the state {spec.name!r} of segment {segment}", items=len(activation))
        return self._run_one(segment, activation, state)

    def fresh_state(self, segment: int, items: int = 1) -> State:
        """The state before a stream's first frame: zeros, [items, ...] each."""
        declared = self._manifest.segments[segment].state or ()
        return tuple(np.zeros((items, *spec.shape), spec.dtype) for spec in declared)

    def _run_one(self, index: int, activation: NDArray[Any], state: State) -> tuple[list[NDArray[Any]], State]:
        segment, inputs = self._manifest.segments[index], self._manifest.inputs
        taken = [activation] if index or inputs is None else parted(activation, inputs)
        found = self._graphs.at(segment.model, segment.data).run([*taken, *state])
        outputs, kept = found[: len(found) - len(state)], tuple(found[len(found) - len(state) :])
        self._check_outputs(index, outputs)
        if self._finish is not None and index + 1 == len(self._manifest.segments):
            outputs = self._finish(outputs)
            self._check_answers(outputs, len(activation))
        if not all(map(matches, kept, segment.state or ())):
            raise BundleInvalid(f"segment {index} gives another state than the manifest declares; export it again")
        return outputs, kept

    def exit(self, cut: int, activation: NDArray[Any]) -> NDArray[Any]:
        """Logits of the exit at a cut, [batch, classes].

        Raises:
            IndexError: the bundle has no exit there.
            UnsupportedShape: the activation is not what the cut declares.
        """
        if cut not in self._exits:
            raise IndexError(f"there is no exit at cut {cut}; exits: {sorted(self._exits)}")
        check_activation(activation, self._manifest.cuts[cut].tensor, where=f"cut {cut}")
        graph = self._exits[cut]
        return self._graphs.at(graph.model, graph.data).run([activation])[0]

    def _check_outputs(self, index: int, outputs: list[NDArray[Any]]) -> None:
        inner = index + 1 < len(self._manifest.segments)
        declared = (self._manifest.cuts[index + 1].tensor,) if inner else self._manifest.gives
        if len(outputs) != len(declared) or not all(map(matches, outputs, declared)):
            raise BundleInvalid(f"segment {index} gives {_against(outputs, declared)}; export the bundle again")

    def _check_answers(self, answers: list[NDArray[Any]], items: int) -> None:
        declared = self._manifest.outputs
        fit = len(answers) == len(declared) and all(map(matches, answers, declared))
        if not fit or any(len(answer) != items for answer in answers):
            raise PostprocessorFailed(
                f"the post-processor gives {_against(answers, declared)} for {items} items; export the bundle again "
                "with the version that is installed"
            )


def _against(found: list[NDArray[Any]], declared: tuple[TensorSpec, ...]) -> str:
    given = ", ".join(f"{array.dtype} {list(array.shape[1:])}" for array in found)
    return f"{given} where the manifest declares {', '.join(f'{spec.dtype} {list(spec.shape)}' for spec in declared)}"

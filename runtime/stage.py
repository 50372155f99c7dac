"""Run a stretch of a bundle's segments, or an exit, on an engine."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from runtime.activations import check_activation, matches
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import BundleInvalid
from runtime.graphs import Graphs
from runtime.manifest import Exit


class Stage:
    """All segments and exits of a bundle, loaded as they are first used. Safe to share between threads."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._manifest = bundle.manifest
        self._graphs = Graphs(bundle, engine)
        self._exits: dict[int, Exit] = {exit_.cut: exit_ for exit_ in bundle.manifest.exits}

    def run(self, activation: NDArray[Any], first: int = 0, last: int | None = None) -> list[NDArray[Any]]:
        """Run segments `first` to `last - 1`.

        Args:
            activation: what cut `first` carries, [batch, ...] with the cut's dtype and shape.
            first: a cut.
            last: the cut to stop at, exclusive as a segment; None or the number of segments runs to the end.

        Returns:
            The one tensor of cut `last`, or all outputs of the model. `first == last` gives the activation back.

        Raises:
            UnsupportedShape: the activation is not what cut `first` declares.
            BundleInvalid: a segment gives another tensor than the next cut declares.
            EngineError, BundleCorrupt: from the engine and the files.
            IndexError: no such cuts, or `last` before `first`.
        """
        last = len(self._manifest.segments) if last is None else last
        if not 0 <= first <= last <= len(self._manifest.segments) or first == len(self._manifest.segments):
            raise IndexError(f"there are no segments {first} to {last} in a bundle of {len(self._manifest.segments)}")
        check_activation(activation, self._manifest.cuts[first].tensor, where=f"cut {first}")
        outputs = [activation]
        for index in range(first, last):
            segment = self._manifest.segments[index]
            outputs = self._graphs.at(segment.model, segment.data).run(outputs)
            self._check_outputs(index, outputs)
        return outputs

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
        declared = (self._manifest.cuts[index + 1].tensor,) if inner else self._manifest.outputs
        if len(outputs) != len(declared) or not all(map(matches, outputs, declared)):
            found = ", ".join(f"{output.dtype} {list(output.shape[1:])}" for output in outputs)
            raise BundleInvalid(
                f"segment {index} gives {found} where the manifest declares "
                f"{', '.join(f'{spec.dtype} {list(spec.shape)}' for spec in declared)}; export the bundle again"
            )

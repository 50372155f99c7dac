"""What a manifest says about a post-processor: it is tried on the example once, for it declares no shapes itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from partitioner.capture import Graph
from partitioner.errors import UnsupportedModel
from runtime.manifest import Postprocessor, TensorSpec
from runtime.postprocessing import finished, installed


def finish(name: str, graph: Graph, takes: Sequence[TensorSpec]) -> tuple[Postprocessor, tuple[TensorSpec, ...]]:
    """The post-processor of that name as a manifest names it, and the answers that it makes of the model's outputs.

    Args:
        takes: the model's outputs, of one item.

    Raises:
        PostprocessorMissing: it is not installed here.
        PostprocessorFailed: it fails on the example's outputs.
        UnsupportedModel: its answers are none that a bundle can declare.
    """
    found = installed(name)
    outputs = [output.numpy(force=True) for output in graph.eager(graph.example)]
    answers = finished(found, name, outputs)
    items = len(graph.example[0])
    specs = tuple(_spec_of(name, number, answer, items) for number, answer in enumerate(answers))
    if not specs:
        raise UnsupportedModel(f"the post-processor {name!r} gives nothing; let it give at least one array")
    return Postprocessor(name=name, version=found.version, takes=tuple(takes)), specs


def _spec_of(name: str, number: int, answer: NDArray[Any], items: int) -> TensorSpec:
    if answer.ndim == 0 or len(answer) != items:
        raise UnsupportedModel(
            f"the post-processor {name!r} gives {list(answer.shape)} for {items} items; the first axis is the batch"
        )
    try:
        return TensorSpec.model_validate(
            {"name": f"answer_{number}", "dtype": str(answer.dtype), "shape": answer.shape[1:]}
        )
    except ValidationError as exc:
        raise UnsupportedModel(
            f"answer {number} of the post-processor {name!r}, {answer.dtype} {list(answer.shape[1:])}, cannot be "
            f"declared in a bundle: {exc.errors()[0]['msg']}; give uint8, float32 or int64 of a fixed shape"
        ) from exc

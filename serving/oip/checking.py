"""Whether a request fits its model, from shapes and lengths alone: nothing is allocated for it before."""

from __future__ import annotations

from typing import Final

from serving.oip.catalog import Model, TensorMetadata
from serving.oip.datatypes import elements_of
from serving.oip.errors import invalid
from serving.oip.values import InferenceRequest, InputTensor, RequestedOutput

_FOREIGN: Final = {
    "classification": "classes are not picked here: ask for the logits",
    "shared_memory_region": "tensors in shared memory are not taken: send them in the request",
}
_IDLE: Final = (0, "", False)


def check_inputs(request: InferenceRequest, model: Model, *, most_items: int) -> int:
    """Require exactly the model's inputs, as many items of each, and as many bytes as its shape says.

    Returns:
        Items in the request.

    Raises:
        RequestRefused: naming what differs.
    """
    _check_parameters(request)
    specs = {spec.name: spec for spec in model.inputs}
    names = [tensor.name for tensor in request.inputs]
    if sorted(names) != sorted(specs):
        taken = f"one input, {_told(list(specs))}" if len(specs) == 1 else f"the inputs {_told(list(specs))}"
        raise invalid(f"model {model.name!r} takes {taken}, and was given {_told(names)}")
    counts = [_check_input(tensor, specs[tensor.name], most_items) for tensor in request.inputs]
    if min(counts) < max(counts):
        raise invalid(f"all inputs of a request have as many items; {_told(names)} have {counts}")
    return counts[0]


def _check_input(tensor: InputTensor, spec: TensorMetadata, most_items: int) -> int:
    """Items of one input."""
    if tensor.datatype != spec.datatype:
        raise invalid(f"input {spec.name!r} is {spec.datatype}, not {tensor.datatype[:16]!r}")
    if len(tensor.shape) != len(spec.shape) or tensor.shape[1:] != spec.shape[1:]:
        raise invalid(f"input {spec.name!r} has the shape {list(spec.shape)}, not {list(tensor.shape[:16])}")
    items = tensor.shape[0]
    if not 1 <= items <= most_items:
        raise invalid(f"a request has 1 to {most_items} items here, not {items}; send several requests")
    _check_length(tensor, items * spec.item_bytes)
    return items


def wanted_outputs(request: InferenceRequest, model: Model) -> list[int]:
    """Which of the model's outputs to give, in the order asked for.

    Raises:
        RequestRefused: an output is asked for twice, or the model has none of that name.
    """
    names = [spec.name for spec in model.outputs]
    wanted = [output.name for output in request.outputs]
    if not wanted:
        return list(range(len(names)))
    for name in wanted:
        if name not in names:
            raise invalid(f"model {model.name!r} has no output {name[:64]!r}; it has {', '.join(names)}")
    if len(set(wanted)) < len(wanted):
        raise invalid(f"an output is asked for twice: {_told(wanted)}")
    return [names.index(name) for name in wanted]


def timeout_s_of(request: InferenceRequest) -> float | None:
    """The parameter `timeout`, in microseconds, as seconds; None where there is none, or it is 0.

    Raises:
        RequestRefused: it is no count of microseconds.
    """
    timeout = request.parameters.get("timeout", 0)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 0:
        raise invalid("the parameter timeout is a whole number of microseconds")
    return timeout / 1e6 if timeout else None


def _check_parameters(request: InferenceRequest) -> None:
    """Refuse what would change the answer if it were understood."""
    if request.parameters.get("sequence_id", 0) not in _IDLE:
        raise invalid("models here keep no state between requests: leave sequence_id away")
    tensors: tuple[InputTensor | RequestedOutput, ...] = (*request.inputs, *request.outputs)
    for tensor in tensors:
        for name, why in _FOREIGN.items():
            if tensor.parameters.get(name, 0) not in _IDLE:
                raise invalid(f"tensor {tensor.name[:64]!r}: {why}")


def _check_length(tensor: InputTensor, needed: int) -> None:
    if len(tensor.data) != needed:
        raise invalid(
            f"input {tensor.name!r} has {len(tensor.data)} bytes where its shape of {elements_of(tensor.shape)} "
            f"elements needs {needed}"
        )


def _told(names: list[str]) -> str:
    return ", ".join(repr(name[:64]) for name in names[:8]) or "none"

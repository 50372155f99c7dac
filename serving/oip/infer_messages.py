"""Inference requests and answers as protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from serving.oip.datatypes import DTYPES, array_of_numbers, elements_of
from serving.oip.errors import invalid
from serving.oip.messages import ModelInferRequest, ModelInferResponse
from serving.oip.values import InferenceRequest, InferenceResponse, InputTensor, Parameter, RequestedOutput

_CONTENTS: Final = {"UINT8": "uint_contents", "FP32": "fp32_contents", "INT64": "int64_contents"}


def parsed(kind: Any, data: bytes) -> Any:
    """A message of a class.

    Raises:
        RequestRefused: the bytes are none.
    """
    try:
        return kind.FromString(data)
    except DecodeError as exc:
        raise invalid(f"the bytes are no {kind.DESCRIPTOR.full_name}") from exc


def read_request(data: bytes) -> tuple[InferenceRequest, bool]:
    """A request, and whether its tensors came raw: then the answer's are raw too, else they are typed.

    Raises:
        RequestRefused: it is no such request.
    """
    found = parsed(ModelInferRequest, data)
    raw = found.raw_input_contents
    if raw and len(raw) != len(found.inputs):
        raise invalid(f"there are {len(raw)} raw_input_contents for {len(found.inputs)} inputs")
    inputs = tuple(_input(tensor, raw[place] if raw else None) for place, tensor in enumerate(found.inputs))
    outputs = tuple(RequestedOutput(output.name, _parameters(output.parameters)) for output in found.outputs)
    request = InferenceRequest(
        found.model_name, found.model_version, found.id, inputs, outputs, _parameters(found.parameters)
    )
    return request, bool(raw)


def written_response(response: InferenceResponse, *, raw: bool) -> Any:
    """A `ModelInferResponse`."""
    message = ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    for tensor in response.outputs:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            message.raw_output_contents.append(tensor.data)
        else:
            array = np.frombuffer(tensor.data, DTYPES[tensor.datatype])
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(array.tolist())
    return message


def _input(tensor: Any, raw: bytes | None) -> InputTensor:
    shape = tuple(tensor.shape)
    parameters = _parameters(tensor.parameters)
    if raw is None:
        return InputTensor(tensor.name, tensor.datatype, shape, _typed(tensor, shape), parameters)
    if tensor.HasField("contents"):
        raise invalid(f"input {tensor.name[:64]!r} has contents beside raw_input_contents")
    return InputTensor(tensor.name, tensor.datatype, shape, raw, parameters)


def _typed(tensor: Any, shape: tuple[int, ...]) -> bytes:
    if tensor.datatype not in _CONTENTS:
        return b""  # no model here has such an input, and the check against the model says so
    numbers = getattr(tensor.contents, _CONTENTS[tensor.datatype])
    if len(numbers) != elements_of(shape):
        raise invalid(
            f"input {tensor.name[:64]!r} has {len(numbers)} {_CONTENTS[tensor.datatype]} where its shape "
            f"{list(shape[:16])} needs {elements_of(shape)}"
        )
    return array_of_numbers(tensor.name[:64], tensor.datatype, numbers).tobytes()


def _parameters(given: Mapping[str, Any]) -> dict[str, Parameter]:
    found = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found

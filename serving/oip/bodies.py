"""Bodies of REST requests and answers: JSON, with the binary tensors of the extension behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from serving.oip.catalog import Model
from serving.oip.datatypes import DTYPES, bytes_of_numbers
from serving.oip.errors import invalid
from serving.oip.values import (
    InferenceRequest,
    InferenceResponse,
    InputTensor,
    OutputTensor,
    Parameter,
    RequestedOutput,
)

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_SIZE: Final = "binary_data_size"
_TOLD_CHARACTERS: Final = 120


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    parameters: dict[str, Parameter] = {}


class _Input(_Form):
    name: str
    datatype: str
    shape: list[int]
    data: Any = None


class _Output(_Form):
    name: str


class _Request(_Form):
    id: str = ""
    inputs: list[_Input]
    outputs: list[_Output] = []


def read_request(name: str, version: str, body: bytes, header: str | None) -> InferenceRequest:
    """An inference request from its body.

    Args:
        name, version: from the path; an empty version is the newest.
        body: JSON, and behind it the binary tensors.
        header: `Inference-Header-Content-Length`: the length of the JSON, where there are binary tensors.

    Raises:
        RequestRefused: it is no such request.
    """
    length = _length_of_json(header, len(body))
    form = _parsed(body[:length])
    tensors = _Tensors(memoryview(body)[length:], given=header is not None)
    inputs = tuple(tensors.read(item) for item in form.inputs)
    tensors.require_end()
    outputs = tuple(RequestedOutput(output.name, output.parameters) for output in form.outputs)
    return InferenceRequest(name, version, form.id, inputs, outputs, form.parameters)


def read_raw_request(model: Model, version: str, body: bytes | memoryview) -> InferenceRequest:
    """The form of the extension without any JSON: the whole body is the one input, of as many items as fit.

    Raises:
        RequestRefused: it is not a whole number of items, or the model takes several inputs.
    """
    if len(model.inputs) > 1:
        raise invalid(f"model {model.name!r} takes {len(model.inputs)} inputs, and a body without JSON holds one")
    (taken,) = model.inputs
    items, rest = divmod(len(body), taken.item_bytes)
    if rest or not items:
        raise invalid(f"an item of model {model.name!r} has {taken.item_bytes} bytes; {len(body)} are no whole items")
    tensor = InputTensor(taken.name, taken.datatype, (items, *taken.shape[1:]), body)
    return InferenceRequest(model.name, version, "", (tensor,))


def written_response(response: InferenceResponse, request: InferenceRequest) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where binary tensors follow.

    Raises:
        RequestRefused: an output holds what JSON cannot say, and was not asked for as binary.
    """
    every = request.parameters.get("binary_data_output") is True
    asked = {output.name: output.parameters for output in request.outputs}
    binary, outputs = [], []
    for tensor in response.outputs:
        as_binary = bool(asked.get(tensor.name, {}).get("binary_data", every))
        outputs.append(_output(tensor, as_binary=as_binary))
        if as_binary:
            binary.append(tensor.data)
    told: dict[str, object] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        told["id"] = response.id
    content = to_json(told | {"outputs": outputs})
    return b"".join((content, *binary)), len(content) if binary else None


def read_object(body: bytes) -> Mapping[str, Any]:
    """A small JSON object; an empty body is an empty one.

    Raises:
        RequestRefused: something else.
    """
    if not body.strip():
        return {}
    tree = _json(body)
    if not isinstance(tree, dict):
        raise invalid("the body must be a JSON object")
    return tree


class _Tensors:
    """Gives each input its part of the binary data, in order."""

    def __init__(self, binary: memoryview, *, given: bool) -> None:
        self._binary = binary
        self._given = given
        self._at = 0

    def read(self, item: _Input) -> InputTensor:
        shape = tuple(item.shape)
        if _SIZE in item.parameters:
            data: bytes | memoryview = self._part(item)
        elif item.datatype in DTYPES:
            data = bytes_of_numbers(item.name[:64], item.datatype, shape, item.data)
        else:
            data = b""  # no model here has such an input, and the check against the model says so
        return InputTensor(item.name, item.datatype, shape, data, item.parameters)

    def require_end(self) -> None:
        if self._at != len(self._binary):
            raise invalid(f"{len(self._binary) - self._at} bytes behind the JSON belong to no input")

    def _part(self, item: _Input) -> memoryview:
        size = item.parameters[_SIZE]
        if not self._given:
            raise invalid(f"input {item.name[:64]!r} is binary, so the header {HEADER_LENGTH} is needed")
        if item.data is not None:
            raise invalid(f"input {item.name[:64]!r} has both data and {_SIZE}")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(self._binary) - self._at:
            left = len(self._binary) - self._at
            raise invalid(f"input {item.name[:64]!r} names {str(size)[:32]} binary bytes where {left} are left")
        self._at += size
        return self._binary[self._at - size : self._at]


def _length_of_json(header: str | None, body_bytes: int) -> int:
    if header is None:
        return body_bytes
    if not (header.isascii() and header.isdigit() and len(header) < 16 and int(header) <= body_bytes):
        raise invalid(f"the header {HEADER_LENGTH} must be the length of the JSON, 0 to {body_bytes} bytes here")
    return int(header)


def _parsed(content: bytes) -> _Request:
    try:
        return _Request.model_validate(_json(content))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise invalid(f"{where[:_TOLD_CHARACTERS]}: {first['msg'][:_TOLD_CHARACTERS]}") from exc


def _json(content: bytes) -> Any:
    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError as exc:
        raise invalid(f"the body is not JSON: {str(exc)[:_TOLD_CHARACTERS]}") from exc


def _output(tensor: OutputTensor, *, as_binary: bool) -> dict[str, object]:
    told: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if as_binary:
        return told | {"parameters": {_SIZE: len(tensor.data)}}
    array = np.frombuffer(tensor.data, DTYPES[tensor.datatype])
    if not np.isfinite(array).all():
        raise invalid(f"output {tensor.name!r} holds infinity or no number, which JSON cannot say; ask for binary data")
    return told | {"data": array.tolist()}

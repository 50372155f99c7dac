"""REST: tensors as binary data behind the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from isthmus.conformance.cases import Area, Check, Inapplicable, Way, require, shown
from isthmus.conformance.rest_inference import require_same
from isthmus.conformance.rest_refusals import require_refused
from isthmus.conformance.target import HEADER_LENGTH, Answer, Target, outputs_of
from isthmus.conformance.tensors import Tensor

BINARY = Area("rest.binary", "Binary Tensor Data Extension", Way.REST, "binary_tensor_data")


def _described(tensor: Tensor, **parameters: object) -> dict[str, Any]:
    told = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    return told | {"parameters": {"binary_data_size": len(tensor.raw)} | parameters}


def post(target: Target, tree: dict[str, Any], binary: bytes, *, length: object = ..., extra: bytes = b"") -> Answer:
    """A request with binary data. `length` replaces the header; None leaves it away."""
    content = json.dumps(tree).encode()
    headers = {"Content-Type": "application/octet-stream"}
    if length is not None:
        headers[HEADER_LENGTH] = str(len(content)) if length is ... else str(length)
    return target.http("POST", f"{target.path}/infer", content + binary + extra, headers)


def _request(tensors: Sequence[Tensor], **fields: Any) -> tuple[dict[str, Any], bytes]:
    return {"inputs": [_described(tensor) for tensor in tensors]} | fields, b"".join(tensor.raw for tensor in tensors)


def _answered(target: Target, items: int = 1, **fields: Any) -> Answer:
    answer = post(target, *_request(target.inputs(items), **fields))
    require(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")
    return answer


def _wanted(target: Target, *, binary: bool) -> list[dict[str, Any]]:
    return [{"name": one.name, "parameters": {"binary_data": binary}} for one in target.described.outputs]


def _is_binary(answer: Answer) -> bool:
    return all("binary_data_size" in (output.get("parameters") or {}) for output in answer.json()["outputs"])


@BINARY.case("input", "binary inputs mean the same as JSON")
def _(target: Target) -> None:
    expected = target.rest_outputs(target.rest_request())
    require_same(outputs_of(_answered(target)), expected, "binary and JSON input")


@BINARY.case("json-output", "outputs are JSON where nothing else is asked for")
def _(target: Target) -> None:
    answer = _answered(target)
    require(not _is_binary(answer) and not answer.binary, shown(answer.json()["outputs"]))


@BINARY.case("output", "`binary_data` gives an output as binary data, with the same values")
def _(target: Target) -> None:
    answer = _answered(target, outputs=_wanted(target, binary=True))
    require(_is_binary(answer), shown(answer.json()))
    require_same(outputs_of(answer), target.rest_outputs(target.rest_request()), "binary and JSON output")


@BINARY.case("output-of-json", "also where the inputs are JSON")
def _(target: Target) -> None:
    request = target.rest_request(outputs=_wanted(target, binary=True))
    answer = target.post(f"{target.path}/infer", request)
    require(answer.status == 200 and _is_binary(answer), f"status {answer.status}: {answer.body[:120]!r}")
    require_same(outputs_of(answer), target.rest_outputs(target.rest_request()), "binary and JSON output")


@BINARY.case("output-all", "`binary_data_output` gives all of them so")
def _(target: Target) -> None:
    require(_is_binary(_answered(target, parameters={"binary_data_output": True})), "an output is in JSON")


@BINARY.case("output-overridden", "unless an output says that it is not")
def _(target: Target) -> None:
    answer = _answered(target, parameters={"binary_data_output": True}, outputs=_wanted(target, binary=False))
    require(not any("binary_data_size" in (one.get("parameters") or {}) for one in answer.json()["outputs"]),
            shown(answer.json()["outputs"]))  # fmt: skip


@BINARY.case("output-explicit-json", "`binary_data` false gives JSON")
def _(target: Target) -> None:
    answer = _answered(target, outputs=_wanted(target, binary=False))
    require(not answer.binary, f"{len(answer.binary)} bytes behind the JSON")


@BINARY.case("output-no-data", "a binary output has no `data`")
def _(target: Target) -> None:
    outputs = _answered(target, outputs=_wanted(target, binary=True)).json()["outputs"]
    require(all("data" not in one for one in outputs), shown(outputs))


@BINARY.case("header", "an answer with binary data says how long its JSON is")
def _(target: Target) -> None:
    answer = _answered(target, outputs=_wanted(target, binary=True))
    require(HEADER_LENGTH.lower() in answer.headers, shown(dict(answer.headers)))
    require(isinstance(answer.json(), dict), shown(answer.json_bytes))


@BINARY.case("sizes", "the sizes told add up to the bytes behind the JSON")
def _(target: Target) -> None:
    answer = _answered(target, outputs=_wanted(target, binary=True))
    told = sum(one["parameters"]["binary_data_size"] for one in answer.json()["outputs"])
    require(told == len(answer.binary), f"{told} told, {len(answer.binary)} there")


@BINARY.case("content-length", "and Content-Length is that of the whole body")
def _(target: Target) -> None:
    answer = _answered(target, outputs=_wanted(target, binary=True))
    length = answer.headers.get("content-length")
    require(length is None or int(length) == len(answer.body), shown(length))


@BINARY.case("id", "`id` comes back")
def _(target: Target) -> None:
    answer = _answered(target, id="of-binary", parameters={"binary_data_output": True})
    require(answer.json().get("id") == "of-binary", shown(answer.json().get("id")))


@BINARY.case("batch", "a batch in binary gives what it gives in JSON")
def _(target: Target) -> None:
    if not target.batches:
        raise Inapplicable("the model takes no batches")
    found = outputs_of(_answered(target, 3, parameters={"binary_data_output": True}))
    require_same(found, target.rest_outputs(target.rest_request(3)), "batch in binary and JSON")


def _refused(length: object = ..., *, cut: int = 0, extra: bytes = b"", size: object = ..., **fields: Any) -> Check:
    """A request that is wrong in its binary part."""

    def check(target: Target) -> None:
        tree, binary = _request(target.inputs())
        if size is not ...:
            tree["inputs"][0]["parameters"]["binary_data_size"] = size
        tree["inputs"][0].update(fields)
        answer = post(target, tree, binary[: len(binary) - cut], length=length, extra=extra)
        require_refused(target, answer)

    return check


BINARY.add("no-header", "binary data without the header are refused", _refused(None))
BINARY.add("header-long", "a header longer than the body is refused", _refused(1 << 40))
BINARY.add("header-negative", "a negative one is refused", _refused(-5))
BINARY.add("header-text", "one that is no number is refused", _refused("many"))
BINARY.add("header-short", "one that cuts the JSON is refused", _refused(5))
BINARY.add("data-short", "fewer bytes than told are refused", _refused(cut=1))
BINARY.add("size-larger", "more bytes told than there are is refused", _refused(size=1 << 40))
BINARY.add("size-negative", "a negative size is refused", _refused(size=-1))
BINARY.add("size-text", "a size that is no number is refused", _refused(size="all"))
BINARY.add("size-not-shape", "a size that the shape does not need is refused", _refused(size=1, extra=b""))
BINARY.add("shape-not-size", "a shape that the bytes do not fill is refused", _refused(shape=[1 << 40]))

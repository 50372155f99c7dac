"""gRPC: requests that are wrong, each in one way. All must be refused by a status that says something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from isthmus.conformance.cases import Area, Check, Deviation, Inapplicable, Way, require, shown
from isthmus.conformance.grpc_inference import infer, require_typed
from isthmus.conformance.grpc_metadata import require_status
from isthmus.conformance.target import Target
from isthmus.conformance.tensors import FIELDS, INTEGERS

REFUSED = Area("grpc.refused", "OIP gRPC, Inference: errors are indicated by the status", Way.GRPC)
Change = Callable[[dict[str, Any]], object]


def _request(change: Change, *, raw: bool = True) -> Check:
    def check(target: Target) -> None:
        if not raw:
            require_typed(target)
        fields = target.grpc_request(raw=raw)
        change(fields)
        code = require_status(target, "ModelInfer", fields)
        require(code is not grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
        require(target.call("ServerLive").live, "afterwards the server is not live")

    return check


def _input(**fields: Any) -> Check:
    return _request(lambda request: request["inputs"][0].update(fields))


def _shape(change: Callable[[list[int]], list[int]]) -> Check:
    return _request(lambda request: request["inputs"][0].update(shape=change(request["inputs"][0]["shape"])))


def _contents(change: Callable[[list[Any]], list[Any]]) -> Check:
    def changed(request: dict[str, Any]) -> None:
        (field,) = request["inputs"][0]["contents"]
        request["inputs"][0]["contents"] = {field: change(request["inputs"][0]["contents"][field])}

    return _request(changed, raw=False)


def _raw(change: Callable[[list[bytes]], list[bytes]]) -> Check:
    return _request(lambda request: request.update(raw_input_contents=change(request["raw_input_contents"])))


REFUSED.add(
    "model-unknown", "a model that is not there", _request(lambda request: request.update(model_name="nowhere"))
)
REFUSED.add("model-missing", "no model named", _request(lambda request: request.update(model_name="")))
REFUSED.add("inputs-empty", "no inputs", _request(lambda request: request.update(inputs=[], raw_input_contents=[])))
REFUSED.add("name-unknown", "an input that the model does not have", _input(name="no_such_input"))
REFUSED.add("name-missing", "an input without a name", _input(name=""))
REFUSED.add("datatype-unknown", "a datatype that there is not", _input(datatype="FLOATY"))
REFUSED.add("datatype-missing", "an input without a datatype", _input(datatype=""))
REFUSED.add("shape-missing", "an input without a shape", _input(shape=[]))
REFUSED.add("shape-negative", "a negative dimension", _shape(lambda shape: [-1, *shape[1:]]))
REFUSED.add("shape-one-more", "an axis too many", _shape(lambda shape: [*shape, 2]))
REFUSED.add("shape-larger", "a shape larger than the data", _shape(lambda shape: [shape[0] + 1, *shape[1:]]))
REFUSED.add("shape-huge", "a shape larger than any memory", _shape(lambda shape: [1 << 62, *shape[1:]]))
REFUSED.add("raw-short", "a byte too few", _raw(lambda raw: [raw[0][:-1], *raw[1:]]))
REFUSED.add("raw-long", "a byte too many", _raw(lambda raw: [raw[0] + b"\0", *raw[1:]]))
REFUSED.add("raw-more", "more raw contents than inputs", _raw(lambda raw: [*raw, raw[0]]))
REFUSED.add("typed-empty", "no contents at all", _contents(lambda values: []))
REFUSED.add("typed-short", "an element too few", _contents(lambda values: values[:-1]))
REFUSED.add("typed-long", "an element too many", _contents(lambda values: [*values, values[0]]))
REFUSED.add(
    "output-unknown", "an output that the model does not have",
    _request(lambda request: request.update(outputs=[{"name": "no_such_output"}])),
)  # fmt: skip
REFUSED.add(
    "input-twice", "an input given twice",
    _request(
        lambda request: request.update(
            inputs=[*request["inputs"], request["inputs"][0]],
            raw_input_contents=[*request["raw_input_contents"], request["raw_input_contents"][0]],
        )
    ),
)  # fmt: skip


@REFUSED.case("version-unknown", "a version that is not there")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    require_status(target, "ModelInfer", target.grpc_request(model_version="987654321"))


@REFUSED.case("both-forms", "raw contents and typed contents in one request")
def _(target: Target) -> None:
    require_typed(target)
    both = target.grpc_request(raw=False) | {"raw_input_contents": target.grpc_request()["raw_input_contents"]}
    require_status(target, "ModelInfer", both)


@REFUSED.case("typed-range", "numbers that the datatype cannot hold")
def _(target: Target) -> None:
    fields = target.grpc_request(raw=False)
    datatype = fields["inputs"][0]["datatype"]
    if datatype not in INTEGERS or "8" not in datatype.removesuffix("64"):
        raise Inapplicable("the first input's field holds exactly its datatype")
    values = fields["inputs"][0]["contents"][FIELDS[datatype]]
    fields["inputs"][0]["contents"] = {FIELDS[datatype]: [1000] * len(values)}
    require_status(target, "ModelInfer", fields)


@REFUSED.case("no-message", "bytes that are no message are refused", clause="gRPC, status codes")
def _(target: Target) -> None:
    try:
        found = target.call_bytes("ModelInfer", b"\xff\xff\xff\xff")
    except grpc.RpcError:
        require(target.call("ServerLive").live, "afterwards the server is not live")
        return
    raise Deviation(f"answered: {shown(str(found))}")


@REFUSED.case("still-right", "after all that, a correct request is answered")
def _(target: Target) -> None:
    infer(target, target.grpc_request())

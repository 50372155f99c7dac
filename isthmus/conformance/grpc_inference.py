"""gRPC: correct requests, raw and typed, alone and in streams."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from isthmus.conformance.cases import Area, Check, Deviation, Inapplicable, Way, require, shown
from isthmus.conformance.rest_inference import require_same
from isthmus.conformance.target import Target, grpc_input, grpc_outputs_of
from isthmus.conformance.tensors import FIELDS, Tensor

INFER = Area("grpc.infer", "OIP gRPC, Inference", Way.GRPC)
STREAM = Area("grpc.stream", "gRPC extension, ModelStreamInfer", Way.GRPC)


def infer(target: Target, fields: dict[str, Any]) -> Any:
    """The answer to a request that is correct.

    Raises:
        Deviation: it was refused.
    """
    try:
        return target.call("ModelInfer", fields)
    except grpc.RpcError as exc:
        raise Deviation(f"status {exc.code().name}: {shown(exc.details())}") from exc


def outputs(target: Target, fields: dict[str, Any]) -> list[Tensor]:
    """What it gives."""
    return grpc_outputs_of(infer(target, fields))


def require_typed(target: Target) -> None:
    """Raises:
    Inapplicable: an input's datatype has no typed contents.
    """
    if any(one.datatype not in FIELDS for one in target.described.inputs):
        raise Inapplicable("an input's datatype travels raw only")


def _answers(look: Callable[[Target, Any], bool], **fields: Any) -> Check:
    def check(target: Target) -> None:
        found = infer(target, target.grpc_request(**fields))
        require(look(target, found), shown(str(found)))

    return check


INFER.add("raw", "a request with raw_input_contents is answered", _answers(lambda target, found: bool(found.outputs)))
INFER.add("model-name", "`model_name` is the model's", _answers(lambda target, found: found.model_name == target.model))
INFER.add("id", "`id` is the request's", _answers(lambda target, found: found.id == "7", id="7"))
INFER.add("id-unicode", "also where it is not ASCII", _answers(lambda target, found: found.id == "ü✓", id="ü✓"))
INFER.add("id-long", "also with 1000 characters", _answers(lambda target, found: found.id == "x" * 1000, id="x" * 1000))
INFER.add(
    "version",
    "`model_version`, if given, is one that the model has",
    _answers(
        lambda target, found: (
            not found.model_version or not target.described.versions or found.model_version in target.described.versions
        )
    ),
)
INFER.add(
    "outputs-all",
    "without `outputs` all of them are given",
    _answers(
        lambda target, found: {one.name for one in found.outputs} == {one.name for one in target.described.outputs}
    ),
)


@INFER.case("typed", "typed contents mean the same as raw ones")
def _(target: Target) -> None:
    require_typed(target)
    typed = outputs(target, target.grpc_request(raw=False))
    require_same(typed, outputs(target, target.grpc_request()), "typed and raw")


@INFER.case("one-form", "outputs are raw, all of them, or typed, all of them")
def _(target: Target) -> None:
    for raw in (True, False):
        if not raw:
            require_typed(target)
        found = infer(target, target.grpc_request(raw=raw))
        typed = [bool(one.contents.ListFields()) for one in found.outputs]
        told = len(found.raw_output_contents)
        require((told == len(found.outputs) and not any(typed)) or (not told and all(typed)), shown(str(found)))


@INFER.case("output-datatypes", "outputs have the datatypes of the metadata")
def _(target: Target) -> None:
    declared = {one.name: one.datatype for one in target.described.outputs}
    for output in infer(target, target.grpc_request()).outputs:
        require(output.datatype == declared[output.name], shown(output.datatype))


@INFER.case("output-shapes", "and shapes that fit those of the metadata")
def _(target: Target) -> None:
    declared = {one.name: one for one in target.described.outputs}
    for output in infer(target, target.grpc_request()).outputs:
        require(declared[output.name].fits(list(output.shape)), shown(list(output.shape)))


@INFER.case("output-sizes", "and as many bytes as those need")
def _(target: Target) -> None:
    for tensor in outputs(target, target.grpc_request()):
        require(tensor.values.size == int(np.prod(tensor.shape)), shown(tensor.shape))


@INFER.case("outputs-one", "an output that is asked for alone comes alone")
def _(target: Target) -> None:
    whole = outputs(target, target.grpc_request())
    for declared in target.described.outputs:
        alone = outputs(target, target.grpc_request(outputs=[{"name": declared.name}]))
        require_same(alone, [one for one in whole if one.name == declared.name], f"output {declared.name}")


@INFER.case("by-version", "a version that is told can be asked")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        found = infer(target, target.grpc_request(model_version=version)).model_version
        require(found in ("", version), shown(found))


def _batched(*, raw: bool) -> Check:
    def check(target: Target) -> None:
        if not target.batches:
            raise Inapplicable("the model takes no batches")
        if not raw:
            require_typed(target)
        together = outputs(target, target.grpc_request(4, raw=raw))
        rows = [_row(target, target.inputs(4), row) for row in range(4)]
        for place, tensor in enumerate(together):
            values = np.concatenate([row[place].values for row in rows])
            require_same(
                [tensor], [Tensor(tensor.name, tensor.datatype, tuple(values.shape), values)], "batch, singles"
            )

    return check


def _row(target: Target, tensors: list[Tensor], row: int) -> list[Tensor]:
    alone = [Tensor(one.name, one.datatype, (1, *one.shape[1:]), one.values[row : row + 1]) for one in tensors]
    inputs = [grpc_input(one, raw=True) for one in alone]
    return outputs(
        target, {"model_name": target.model, "inputs": inputs, "raw_input_contents": [one.raw for one in alone]}
    )


INFER.add("batch", "a batch gives what its items give alone", _batched(raw=True))
INFER.add("batch-typed", "also with typed contents", _batched(raw=False))


@INFER.case("concurrent", "eight requests at a time each get their own answer")
def _(target: Target) -> None:
    expected = [outputs(target, target.grpc_request(seed=seed)) for seed in (0, 1)]

    def ask(place: int) -> Any:
        return infer(target, target.grpc_request(seed=place % 2, id=str(place)))

    with ThreadPoolExecutor(8) as pool:
        for place, found in enumerate(pool.map(ask, range(8))):
            require(found.id == str(place), shown(found.id))
            require_same(grpc_outputs_of(found), expected[place % 2], f"request {place}")


def _streamed(target: Target, requests: list[dict[str, Any]]) -> list[Any]:
    """All answers of a stream.

    Raises:
        Inapplicable: the server has no streams, or of another form than Triton's, which it may.
    """
    try:
        target.stream([target.grpc_request()])
        return target.stream(requests)
    except grpc.RpcError as exc:
        if exc.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise Inapplicable("the server has no ModelStreamInfer") from exc
        raise Deviation(f"the stream ended with {exc.code().name}: {shown(exc.details())}") from exc
    except DecodeError as exc:
        raise Inapplicable("the server's ModelStreamInfer answers in another form than Triton's") from exc


@STREAM.case("answers", "each request of a stream gets an answer")
def _(target: Target) -> None:
    answers = _streamed(target, [target.grpc_request(id=str(place)) for place in range(5)])
    found = sorted(answer.infer_response.id for answer in answers)
    require(found == [str(place) for place in range(5)], shown(found))


@STREAM.case("values", "with the outputs that the request gives alone")
def _(target: Target) -> None:
    answers = _streamed(target, [target.grpc_request(id=str(seed), seed=seed) for seed in range(3)])
    for answer in answers:
        alone = outputs(target, target.grpc_request(seed=int(answer.infer_response.id)))
        require_same(grpc_outputs_of(answer.infer_response), alone, "in a stream and alone")


@STREAM.case("no-error", "and an empty error_message")
def _(target: Target) -> None:
    (answer,) = _streamed(target, [target.grpc_request()])
    require(answer.error_message == "", shown(answer.error_message))


@STREAM.case("error", "a wrong request in a stream gets an error_message")
def _(target: Target) -> None:
    (answer,) = _streamed(target, [target.grpc_request(model_name="no-such-model-anywhere")])
    require(answer.error_message != "", shown(str(answer)))


@STREAM.case("error-goes-on", "and the requests after it are answered")
def _(target: Target) -> None:
    wrong = target.grpc_request(model_name="no-such-model-anywhere")
    answers = _streamed(target, [wrong, target.grpc_request(id="after")])
    require([answer.infer_response.id for answer in answers if not answer.error_message] == ["after"], shown(answers))


@STREAM.case("empty", "a stream without a request ends well")
def _(target: Target) -> None:
    require(_streamed(target, []) == [], "an answer to nothing")

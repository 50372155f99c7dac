"""REST: correct requests in JSON, and what their answers hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isthmus.conformance.cases import Area, Check, Inapplicable, Way, require, shown
from isthmus.conformance.target import Answer, Target, answer_on, json_input, outputs_of
from isthmus.conformance.tensors import Tensor, alike

INFER = Area("rest.infer", "OIP REST, Inference", Way.REST)
_ID = "request-1"


def infer(target: Target, request: object, version: str | None = None) -> Answer:
    """The answer to a request that is correct.

    Raises:
        Deviation: it was refused.
    """
    path = target.path if version is None else f"{target.path}/versions/{version}"
    answer = target.post(f"{path}/infer", request)
    require(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")
    return answer


def require_same(found: list[Tensor], expected: list[Tensor], what: str) -> None:
    """Raises:
    Deviation: other outputs.
    """
    same = len(found) == len(expected) and all(map(alike, found, expected))
    require(same, f"{what}: {shown([tensor.flat[:4] for tensor in found])} beside "
                  f"{shown([tensor.flat[:4] for tensor in expected])}")  # fmt: skip


def _answers(look: Callable[[Target, Any], bool], **fields: Any) -> Check:
    """Looks at the JSON of the answer to a correct request with more fields."""

    def check(target: Target) -> None:
        told = infer(target, target.rest_request(**fields)).json()
        require(look(target, told), shown(told))

    return check


def _is_echoed(request_id: str) -> Check:
    return _answers(lambda target, told: told.get("id") == request_id, id=request_id)


INFER.add("status", "POST v2/models/MODEL/infer gives 200", _answers(lambda target, told: True))
INFER.add(
    "model-name", "`model_name` is the model's", _answers(lambda target, told: told["model_name"] == target.model)
)
INFER.add(
    "model-version",
    "`model_version`, if given, is one that the model has",
    _answers(
        lambda target, told: (
            not told.get("model_version")
            or not target.described.versions
            or told["model_version"] in target.described.versions
        )
    ),
)
INFER.add("id", "`id` is the request's", _is_echoed(_ID))
INFER.add("id-unicode", "also where it is not ASCII", _is_echoed("übung-海峡-✓"), clause="RFC 8259, 8.1")
INFER.add("id-escapes", "also with quotes, backslashes and line ends", _is_echoed('a"b\\c\n\t\u0001'))
INFER.add("id-long", "also with 1000 characters", _is_echoed("x" * 1000))
INFER.add(
    "outputs-all",
    "without `outputs` all of them are given",
    _answers(
        lambda target, told: {one["name"] for one in told["outputs"]} == {one.name for one in target.described.outputs}
    ),
)
INFER.add(
    "outputs-empty",
    "and with an empty `outputs` too",
    _answers(lambda target, told: len(told["outputs"]) == len(target.described.outputs), outputs=[]),
)
INFER.add(
    "parameters-empty", "an empty `parameters` is taken", _answers(lambda target, told: True, parameters={}),
)  # fmt: skip


@INFER.case("content-type", "an answer without binary data is application/json")
def _(target: Target) -> None:
    kind = infer(target, target.rest_request()).headers.get("content-type", "")
    require(kind.partition(";")[0].strip() == "application/json", shown(kind))


@INFER.case("output-datatypes", "outputs have the datatypes of the metadata")
def _(target: Target) -> None:
    declared = {one.name: one.datatype for one in target.described.outputs}
    for output in infer(target, target.rest_request()).json()["outputs"]:
        require(output["datatype"] == declared[output["name"]], shown(output["datatype"]))


@INFER.case("output-shapes", "outputs have shapes that fit those of the metadata")
def _(target: Target) -> None:
    declared = {one.name: one for one in target.described.outputs}
    for output in infer(target, target.rest_request()).json()["outputs"]:
        require(declared[output["name"]].fits(output["shape"]), shown(output["shape"]))


@INFER.case("output-sizes", "outputs have as many elements as their shapes need", clause="OIP, Tensor Data")
def _(target: Target) -> None:
    for output in infer(target, target.rest_request()).json()["outputs"]:
        found = int(np.array(output["data"], dtype=object).size)
        require(found == int(np.prod(output["shape"])), f"{found} elements of shape {output['shape']}")


@INFER.case("deterministic", "the same request gives the same outputs", clause="what the kit asks of the model")
def _(target: Target) -> None:
    request = target.rest_request()
    require_same(target.rest_outputs(request), target.rest_outputs(request), "the same request twice")


@INFER.case("nested-data", "data nested as the shape is mean the same as flat data", clause="OIP, Tensor Data")
def _(target: Target) -> None:
    tensors = target.inputs()
    nested = {"inputs": [json_input(tensor) | {"data": tensor.nested} for tensor in tensors]}
    require_same(outputs_of(infer(target, nested)), target.rest_outputs(target.rest_request()), "nested and flat")


@INFER.case("outputs-one", "an output that is asked for alone comes alone")
def _(target: Target) -> None:
    whole = target.rest_outputs(target.rest_request())
    for place, declared in enumerate(target.described.outputs):
        alone = outputs_of(infer(target, target.rest_request(outputs=[{"name": declared.name}])))
        expected = [tensor for tensor in whole if tensor.name == target.described.outputs[place].name]
        require_same(alone, expected, f"output {declared.name}")


@INFER.case("version-path", "a version that is told can be asked, and answers as the model")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        told = infer(target, target.rest_request(), version).json()
        require(told.get("model_version", version) == version, shown(told.get("model_version")))


def _batched(items: int) -> Check:
    def check(target: Target) -> None:
        if not target.batches:
            raise Inapplicable("the model takes no batches")
        singles = [target.inputs(seed=seed) for seed in range(items)]
        together = []
        for place, first in enumerate(singles[0]):
            values = np.concatenate([single[place].values for single in singles])
            together.append(Tensor(first.name, first.datatype, tuple(values.shape), values))
        found = outputs_of(infer(target, {"inputs": [json_input(tensor) for tensor in together]}))
        alone = [target.rest_outputs({"inputs": [json_input(tensor) for tensor in single]}) for single in singles]
        if all(map(alike, alone[0], alone[1])):
            raise Inapplicable("the model gives two samples the same outputs, so nothing can be told apart")
        for place, tensor in enumerate(found):
            values = np.concatenate([outputs[place].values for outputs in alone])
            require_same(
                [tensor], [Tensor(tensor.name, tensor.datatype, tuple(values.shape), values)], "batch, singles"
            )

    return check


for _items in (2, 3, 8):
    INFER.add(
        f"batch-{_items}", f"a batch of {_items} gives what its items give alone", _batched(_items),
        clause="OIP REST, Request Input: shape and data are of the entire batch",
    )  # fmt: skip


def _formatted(write: Callable[[dict[str, Any]], bytes], headers: dict[str, str] | None = None) -> Check:
    """A correct request in another writing."""

    def check(target: Target) -> None:
        answer = target.http("POST", f"{target.path}/infer", write(target.rest_request(id=_ID)), headers or {})
        require(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")
        require(answer.json().get("id") == _ID, shown(answer.json().get("id")))

    return check


def _reversed(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _reversed(tree[key]) for key in reversed(list(tree))}
    return [_reversed(one) for one in tree] if isinstance(tree, list) else tree


_JSON = {"Content-Type": "application/json"}
INFER.add(
    "json-indented", "white space in JSON means nothing",
    _formatted(lambda tree: json.dumps(tree, indent=3).encode(), _JSON), clause="RFC 8259, 2",
)  # fmt: skip
INFER.add(
    "json-order", "the order of keys means nothing",
    _formatted(lambda tree: json.dumps(_reversed(tree)).encode(), _JSON), clause="RFC 8259, 4",
)  # fmt: skip
INFER.add(
    "charset", "a charset in the content type is taken",
    _formatted(lambda tree: json.dumps(tree).encode(), {"Content-Type": "application/json; charset=utf-8"}),
    clause="RFC 9110, 8.3",
)  # fmt: skip


@INFER.case("chunked", "a body in chunks is taken", clause="RFC 9112, 7.1")
def _(target: Target) -> None:
    content = json.dumps(target.rest_request(id=_ID)).encode()
    with target.connected() as connection:
        halves = iter([content[: len(content) // 2], content[len(content) // 2 :]])
        connection.request("POST", f"{target.path}/infer", body=halves, headers=_JSON, encode_chunked=True)
        answer = answer_on(connection)
    require(answer.status == 200 and answer.json().get("id") == _ID, f"status {answer.status}: {answer.body[:120]!r}")


@INFER.case("one-connection", "two requests on one connection get their own answers", clause="RFC 9112, 9.3")
def _(target: Target) -> None:
    with target.connected() as connection:
        for request_id in ("first", "second"):
            body = json.dumps(target.rest_request(id=request_id)).encode()
            connection.request("POST", f"{target.path}/infer", body=body, headers=_JSON)
            told = answer_on(connection).json()
            require(told.get("id") == request_id, shown(told.get("id")))


@INFER.case("concurrent", "eight requests at a time each get their own answer")
def _(target: Target) -> None:
    def ask(place: int) -> tuple[str, list[Tensor], list[Tensor]]:
        answer = infer(target, target.rest_request(id=str(place), seed=place % 2))
        return answer.json().get("id"), outputs_of(answer), expected[place % 2]

    expected = [target.rest_outputs(target.rest_request(seed=seed)) for seed in (0, 1)]
    with ThreadPoolExecutor(8) as pool:
        for place, (request_id, found, true) in enumerate(pool.map(ask, range(8))):
            require(request_id == str(place), shown(request_id))
            require_same(found, true, f"request {place}")

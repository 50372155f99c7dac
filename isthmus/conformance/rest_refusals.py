"""REST: requests that are wrong, each in one way. All must be refused by an error status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from isthmus.conformance.cases import Area, Check, Inapplicable, Way, require, shown
from isthmus.conformance.target import Answer, Target
from isthmus.conformance.tensors import INTEGERS

ERROR = Area("rest.error", "OIP REST, Inference Response JSON Error Object", Way.REST)
REFUSED = Area("rest.refused", "OIP REST, Inference Response JSON Error Object", Way.REST)
Change = Callable[[dict[str, Any]], None]
_JSON: Final = {"Content-Type": "application/json"}


def require_refused(target: Target, answer: Answer) -> None:
    """An error status, and a server that lives on.

    Raises:
        Deviation: one of them is missing.
    """
    require(answer.status >= 400, f"status {answer.status}")
    live = target.get("/v2/health/live")
    require(live.status == 200, f"afterwards the server gives {live.status} for live")


def _body(content: bytes) -> Check:
    def check(target: Target) -> None:
        answer = target.http("POST", f"{target.path}/infer", content, _JSON)
        require_refused(target, answer)

    return check


def _request(change: Change) -> Check:
    def check(target: Target) -> None:
        request = target.rest_request()
        change(request)
        require_refused(target, target.post(f"{target.path}/infer", request))

    return check


def _input(**fields: Any) -> Check:
    """With fields of the first input replaced, or removed where they are None."""

    def change(request: dict[str, Any]) -> None:
        first = request["inputs"][0]
        first.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del first[name]

    return _request(change)


def _data(change: Callable[[list[Any]], object]) -> Check:
    """With other data for the first input."""

    def changed(request: dict[str, Any]) -> None:
        request["inputs"][0]["data"] = change(request["inputs"][0]["data"])

    return _request(changed)


def _shape(change: Callable[[list[int]], object]) -> Check:
    def changed(request: dict[str, Any]) -> None:
        request["inputs"][0]["shape"] = change(request["inputs"][0]["shape"])

    return _request(changed)


def _error(change: Callable[[Target, dict[str, Any]], str | None], content: bytes | None = None) -> Check:
    """Requires an error object of a request that is changed, or of other bytes; the change may name another path."""

    def check(target: Target) -> None:
        request = target.rest_request()
        path = change(target, request) or f"{target.path}/infer"
        answer = target.http("POST", path, json.dumps(request).encode() if content is None else content, _JSON)
        require(answer.status >= 400, f"status {answer.status}")
        try:
            told = answer.json()
        except ValueError:
            told = None
        require(isinstance(told, dict) and isinstance(told.get("error"), str), f"no error object: {answer.body[:99]!r}")
        require(told["error"] != "", "the error says nothing")

    return check


ERROR.add(
    "of-json", "the body of a refusal of no JSON is an object with the text `error`", _error(lambda *_: None, b"{")
)
ERROR.add("of-request", "also where `inputs` is missing", _error(lambda _, request: request.pop("inputs") and None))
ERROR.add(
    "of-tensor", "also where an input's shape is not that of its data",
    _error(lambda _, request: request["inputs"][0].update(data=[])),
)  # fmt: skip
ERROR.add(
    "of-model", "also where the model is not there",
    _error(lambda *_: "/v2/models/no-such-model-anywhere/infer"),
)  # fmt: skip


@ERROR.case("is-json", "and is application/json", clause="OIP REST: the API uses JSON; RFC 9110, 8.3")
def _(target: Target) -> None:
    kind = target.http("POST", f"{target.path}/infer", b"{", _JSON).headers.get("content-type", "")
    require(kind.partition(";")[0].strip() == "application/json", shown(kind))


def _beyond_range(target: Target) -> None:
    request = target.rest_request()
    datatype = request["inputs"][0]["datatype"]
    if datatype not in INTEGERS:
        raise Inapplicable("the first input is not of whole numbers")
    request["inputs"][0]["data"][0] = 1 << 70
    require_refused(target, target.post(f"{target.path}/infer", request))


for _name, _content, _expects in (
    ("empty-body", b"", "an empty body is refused"),
    ("no-json", b"this is no JSON", "a body that is not JSON is refused"),
    ("cut-json", b'{"inputs": [{"name": "x", "sha', "JSON that ends too early is refused"),
    ("array", b"[]", "an array in place of the object is refused"),
    ("text", b'"inputs"', "a text in place of the object is refused"),
    ("null", b"null", "null in place of the object is refused"),
    ("deep", b"[" * 20_000, "20,000 open brackets are refused"),
    ("not-unicode", b'{"id": "\xff\xfe", "inputs": []}', "bytes that are no UTF-8 are refused"),
):
    REFUSED.add(_name, _expects, _body(_content))

REFUSED.add("no-inputs", "a request without `inputs` is refused", _request(lambda request: request.pop("inputs")))
REFUSED.add("inputs-empty", "a request with no input is refused", _request(lambda request: request.update(inputs=[])))
REFUSED.add("inputs-text", "`inputs` must be an array", _request(lambda request: request.update(inputs="x")))
REFUSED.add("inputs-numbers", "of objects", _request(lambda request: request.update(inputs=[1])))
REFUSED.add("name-unknown", "an input that the model does not have is refused", _input(name="no_such_input"))
REFUSED.add("name-missing", "an input needs a name", _input(name=None))
REFUSED.add("datatype-missing", "an input needs a datatype", _input(datatype=None))
REFUSED.add("datatype-unknown", "a datatype that there is not is refused", _input(datatype="FLOATY"))
REFUSED.add("shape-missing", "an input needs a shape", _input(shape=None))
REFUSED.add("shape-text", "a shape must be an array", _input(shape="1"))
REFUSED.add("shape-of-texts", "of whole numbers", _input(shape=["a", "b"]))
REFUSED.add("shape-negative", "that are not negative", _shape(lambda shape: [-1, *shape[1:]]))
REFUSED.add("shape-fraction", "nor fractions", _shape(lambda shape: [shape[0] + 0.5, *shape[1:]]))
REFUSED.add("shape-one-more", "a shape with an axis too many is refused", _shape(lambda shape: [*shape, 2]))
REFUSED.add("shape-larger", "a shape larger than the data is refused", _shape(lambda shape: [shape[0] + 1, *shape[1:]]))
REFUSED.add("shape-huge", "and one larger than any memory", _shape(lambda shape: [1 << 62, *shape[1:]]))
REFUSED.add("data-missing", "an input needs data", _input(data=None))
REFUSED.add("data-empty", "and as many as its shape needs: not none", _data(lambda data: []))
REFUSED.add("data-one-less", "not one less", _data(lambda data: data[:-1]))
REFUSED.add("data-one-more", "not one more", _data(lambda data: [*data, data[0]]))
REFUSED.add("data-object", "data must be an array", _data(lambda data: {"0": data[0]}))
REFUSED.add("data-null", "without null in it", _data(lambda data: [None, *data[1:]]))
REFUSED.add("data-objects", "nor objects", _data(lambda data: [{}, *data[1:]]))
REFUSED.add("data-uneven", "nested evenly", _data(lambda data: [[data[0]], data[1:]]))
REFUSED.add("data-range", "numbers that the datatype cannot hold are refused", _beyond_range)
REFUSED.add(
    "input-twice", "an input given twice is refused",
    _request(lambda request: request["inputs"].append(dict(request["inputs"][0]))),
)  # fmt: skip
REFUSED.add(
    "input-more", "an input beyond the model's is refused",
    _request(lambda request: request["inputs"].append({**request["inputs"][0], "name": "one_more"})),
)  # fmt: skip
REFUSED.add(
    "output-unknown", "an output that the model does not have is refused",
    _request(lambda request: request.update(outputs=[{"name": "no_such_output"}])),
)  # fmt: skip
REFUSED.add(
    "output-nameless", "a requested output needs a name", _request(lambda request: request.update(outputs=[{}])),
)  # fmt: skip
REFUSED.add("outputs-text", "`outputs` must be an array", _request(lambda request: request.update(outputs="x")))
REFUSED.add("id-object", "`id` must be text", _request(lambda request: request.update(id={"a": 1})))
REFUSED.add(
    "parameters-array", "`parameters` must be an object", _request(lambda request: request.update(parameters=[1])),
    clause="OIP, Parameters",
)  # fmt: skip


@REFUSED.case("model-unknown", "a model that is not there gives an error")
def _(target: Target) -> None:
    require_refused(target, target.post("/v2/models/no-such-model-anywhere/infer", target.rest_request()))


@REFUSED.case("version-unknown", "a version that is not there gives an error")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    require_refused(target, target.post(f"{target.path}/versions/987654321/infer", target.rest_request()))


@REFUSED.case("get-infer", "GET where POST is due gives 404 or 405", clause="RFC 9110, 15.5.6")
def _(target: Target) -> None:
    answer = target.get(f"{target.path}/infer")
    require(answer.status in (404, 405), f"status {answer.status}")


@REFUSED.case("still-right", "after all that, a correct request is answered")
def _(target: Target) -> None:
    answer = target.post(f"{target.path}/infer", target.rest_request())
    require(answer.status == 200, shown(answer.body))

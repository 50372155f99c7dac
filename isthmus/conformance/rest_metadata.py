"""REST: what the server and the model say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus.conformance.cases import Area, Check, Inapplicable, Way, require, shown
from isthmus.conformance.target import Target
from isthmus.conformance.tensors import DATATYPES

SERVER = Area("rest.server", "OIP REST, Server Metadata", Way.REST)
MODEL = Area("rest.model", "OIP REST, Model Metadata", Way.REST)
_ABSENT = "/v2/models/no-such-model-anywhere"


def _of(path: Callable[[Target], str], look: Callable[[Any], bool]) -> Check:
    """Looks at the metadata at a path."""

    def check(target: Target) -> None:
        told = target.get(path(target)).json()
        require(look(told), shown(told))

    return check


def _server(look: Callable[[Any], bool]) -> Check:
    return _of(lambda target: "/v2", look)


def _model(look: Callable[[Any], bool]) -> Check:
    return _of(lambda target: target.path, look)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@SERVER.case("status", "GET v2 gives 200")
def _(target: Target) -> None:
    answer = target.get("/v2")
    require(answer.status == 200, f"status {answer.status}")


@SERVER.case("content-type", "metadata are application/json", clause="OIP REST: the API uses JSON; RFC 9110, 8.3")
def _(target: Target) -> None:
    kind = target.get("/v2").headers.get("content-type", "")
    require(kind.partition(";")[0].strip() == "application/json", shown(kind))


SERVER.add("name", "`name` is text", _server(lambda told: isinstance(told["name"], str) and told["name"] != ""))
SERVER.add("version", "`version` is text", _server(lambda told: isinstance(told["version"], str)))
SERVER.add("extensions", "`extensions` is an array of texts", _server(lambda told: _texts(told["extensions"])))
SERVER.add(
    "extensions-once",
    "no extension is named twice",
    _server(lambda told: len(told["extensions"]) == len(set(told["extensions"]))),
)


@SERVER.case("unknown-path", "a path that is not in the protocol gives 404", clause="RFC 9110, 15.5.5")
def _(target: Target) -> None:
    answer = target.get("/v2/nothing/of/the/kind")
    require(answer.status == 404, f"status {answer.status}")


@MODEL.case("status", "GET v2/models/MODEL gives 200")
def _(target: Target) -> None:
    answer = target.get(target.path)
    require(answer.status == 200, f"status {answer.status}")


@MODEL.case("name", "`name` is the model's")
def _(target: Target) -> None:
    told = target.get(target.path).json()
    require(told["name"] == target.model, shown(told["name"]))


MODEL.add(
    "versions",
    "`versions`, if given, is an array of texts",
    _model(lambda told: told.get("versions") is None or _texts(told["versions"])),
)
MODEL.add("platform", "`platform` is text", _model(lambda told: isinstance(told["platform"], str)))
for _kind in ("inputs", "outputs"):
    MODEL.add(
        _kind,
        f"`{_kind}` is an array of at least one tensor",
        _model(lambda told, kind=_kind: isinstance(told[kind], list) and bool(told[kind])),  # type: ignore[misc]
    )
    MODEL.add(
        f"{_kind}-names",
        f"each of `{_kind}` has a name of its own",
        _model(
            lambda told, kind=_kind: (
                _texts([one["name"] for one in told[kind]])  # type: ignore[misc]
                and len({one["name"] for one in told[kind]}) == len(told[kind])
            )
        ),
    )
    MODEL.add(
        f"{_kind}-datatypes",
        f"each of `{_kind}` has a datatype of the protocol",
        _model(lambda told, kind=_kind: all(one["datatype"] in DATATYPES for one in told[kind])),  # type: ignore[misc]
        clause="OIP, Tensor Data Types",
    )
    MODEL.add(
        f"{_kind}-shapes",
        f"each of `{_kind}` has a shape of whole numbers, -1 where it varies",
        _model(
            lambda told, kind=_kind: all(  # type: ignore[misc]
                type(dimension) is int and dimension >= -1 for one in told[kind] for dimension in one["shape"]
            )
        ),
    )


@MODEL.case("each-version", "every version that is told has metadata of the same model")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        answer = target.get(f"{target.path}/versions/{version}")
        require(answer.status == 200, f"version {version}: status {answer.status}")
        require(answer.json()["name"] == target.model, shown(answer.json()))


@MODEL.case("unknown", "a model that is not there gives an error status")
def _(target: Target) -> None:
    answer = target.get(_ABSENT)
    require(answer.status >= 400, f"status {answer.status}")


@MODEL.case("unknown-error", "its body is an object with the text `error`")
def _(target: Target) -> None:
    told = target.get(_ABSENT).json()
    require(isinstance(told, dict) and isinstance(told.get("error"), str) and told["error"] != "", shown(told))


@MODEL.case("unknown-version", "a version that is not there gives an error status")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    answer = target.get(f"{target.path}/versions/987654321")
    require(answer.status >= 400, f"status {answer.status}")


@MODEL.case("unknown-version-error", "its body is an object with the text `error`")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    told = target.get(f"{target.path}/versions/987654321").json()
    require(isinstance(told, dict) and isinstance(told.get("error"), str), shown(told))

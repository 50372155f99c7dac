"""REST: is the server alive, is it ready, is the model."""

from __future__ import annotations

from isthmus.conformance.cases import Area, Inapplicable, Way, require, shown
from isthmus.conformance.target import Answer, Target, answer_on

HEALTH = Area("rest.health", "OIP REST, Health", Way.REST)
_ABSENT = "no-such-model-anywhere"


def _ok(answer: Answer) -> None:
    require(answer.status == 200, f"status {answer.status}")


def _says(answer: Answer, key: str) -> None:
    """A body is optional in older text; where there is one it must not contradict the status."""
    if answer.body.strip():
        told = answer.json()
        require(isinstance(told, dict) and told.get(key, True) is True, shown(told))


@HEALTH.case("live", "GET v2/health/live gives 200")
def _(target: Target) -> None:
    _ok(target.get("/v2/health/live"))


@HEALTH.case("live-body", "the body, if any, is JSON and says live")
def _(target: Target) -> None:
    _says(target.get("/v2/health/live"), "live")


@HEALTH.case("ready", "GET v2/health/ready gives 200")
def _(target: Target) -> None:
    _ok(target.get("/v2/health/ready"))


@HEALTH.case("ready-body", "the body, if any, is JSON and says ready")
def _(target: Target) -> None:
    _says(target.get("/v2/health/ready"), "ready")


@HEALTH.case("model-ready", "GET v2/models/MODEL/ready gives 200")
def _(target: Target) -> None:
    _ok(target.get(f"{target.path}/ready"))


@HEALTH.case("model-ready-body", "the body, if any, names the model and says ready")
def _(target: Target) -> None:
    answer = target.get(f"{target.path}/ready")
    _says(answer, "ready")
    if answer.body.strip():
        require(answer.json().get("name", target.model) == target.model, shown(answer.json()))


@HEALTH.case("model-version-ready", "GET v2/models/MODEL/versions/VERSION/ready gives 200 for a version told")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        _ok(target.get(f"{target.path}/versions/{version}/ready"))


@HEALTH.case("unknown-model-not-ready", "a model that is not there is not said to be ready")
def _(target: Target) -> None:
    answer = target.get(f"/v2/models/{_ABSENT}/ready")
    require(answer.status >= 400, f"status {answer.status}")


@HEALTH.case("unknown-version-not-ready", "a version that is not there is not said to be ready")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    answer = target.get(f"{target.path}/versions/987654321/ready")
    require(answer.status >= 400, f"status {answer.status}")


@HEALTH.case("live-again", "asking twice on one connection gives 200 twice", clause="RFC 9112, 9.3")
def _(target: Target) -> None:
    with target.connected() as connection:
        for _ in range(2):
            connection.request("GET", "/v2/health/live")
            _ok(answer_on(connection))

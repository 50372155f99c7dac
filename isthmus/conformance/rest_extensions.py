"""REST: statistics, and the index of the repository."""

from __future__ import annotations

import time
from typing import Any

from isthmus.conformance.cases import Area, Inapplicable, Way, require, shown
from isthmus.conformance.rest_inference import infer
from isthmus.conformance.rest_refusals import require_refused
from isthmus.conformance.target import Target

STATISTICS = Area("rest.statistics", "Statistics Extension", Way.REST, "statistics")
REPOSITORY = Area("rest.repository", "Model Repository Extension, Index", Way.REST, "model_repository")
_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


def _statistics(target: Target) -> dict[str, Any]:
    """Those of the version that answers."""
    version = infer(target, target.rest_request()).json().get("model_version")
    found = target.get(f"{target.path}/stats").json()["model_stats"]
    mine = [one for one in found if version is None or one.get("version") == version]
    require(len(mine) == 1, shown(found))
    stats: dict[str, Any] = mine[0]
    return stats


@STATISTICS.case("all", "GET v2/models/stats lists the model")
def _(target: Target) -> None:
    answer = target.get("/v2/models/stats")
    require(answer.status == 200, f"status {answer.status}")
    names = [one["name"] for one in answer.json()["model_stats"]]
    require(target.model in names, shown(names))


@STATISTICS.case("model", "GET v2/models/MODEL/stats lists only the model")
def _(target: Target) -> None:
    names = {one["name"] for one in target.get(f"{target.path}/stats").json()["model_stats"]}
    require(names == {target.model}, shown(names))


@STATISTICS.case("version", "with a version, only that one")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    version = target.described.versions[-1]
    found = target.get(f"{target.path}/versions/{version}/stats").json()["model_stats"]
    require([one.get("version") for one in found] == [version], shown(found))


@STATISTICS.case("unknown", "of a model that is not there there are none")
def _(target: Target) -> None:
    require_refused(target, target.get("/v2/models/no-such-model-anywhere/stats"))


@STATISTICS.case("keys", "all keys are there, with whole numbers")
def _(target: Target) -> None:
    found = _statistics(target)
    for key in ("last_inference", "inference_count", "execution_count"):
        require(type(found[key]) is int and found[key] >= 0, f"{key}: {shown(found[key])}")


@STATISTICS.case("durations", "each stage has a count and nanoseconds")
def _(target: Target) -> None:
    found = _statistics(target)["inference_stats"]
    for stage in _STAGES:
        duration = found[stage]
        require(all(type(duration[key]) is int and duration[key] >= 0 for key in ("count", "ns")), shown(duration))


@STATISTICS.case("success", "a request answered counts as one success")
def _(target: Target) -> None:
    counts = [_statistics(target)["inference_stats"]["success"]["count"] for _ in range(2)]
    require(counts[1] - counts[0] == 1, f"{counts[0]}, then {counts[1]}")


@STATISTICS.case("items", "each item of a batch counts as an inference")
def _(target: Target) -> None:
    if not target.batches:
        raise Inapplicable("the model takes no batches")
    before = _statistics(target)["inference_count"]
    infer(target, target.rest_request(5))
    after = _statistics(target)["inference_count"]
    require(after - before == 6, f"{before}, then {after}: one of five and one of one")


@STATISTICS.case("executions", "a request is executed at least once, and at most once for each item")
def _(target: Target) -> None:
    before = _statistics(target)["execution_count"]
    after = _statistics(target)["execution_count"]
    require(after - before == 1, f"{before}, then {after}")


@STATISTICS.case("time", "answered requests take time")
def _(target: Target) -> None:
    found = _statistics(target)["inference_stats"]
    require(found["success"]["ns"] > 0 and found["compute_infer"]["ns"] > 0, shown(found))


@STATISTICS.case("last", "`last_inference` is in milliseconds since the epoch, and just now")
def _(target: Target) -> None:
    found = _statistics(target)["last_inference"]
    require(abs(found / 1000 - time.time()) < 3600, f"{found} with {round(time.time() * 1000)} on the kit's clock")


@STATISTICS.case("batches", "the batches executed add up to the executions")
def _(target: Target) -> None:
    found = _statistics(target)
    counts = [one["compute_infer"]["count"] for one in found["batch_stats"]]
    require(sum(counts) == found["execution_count"], f"{counts} and {found['execution_count']}")
    require(all(type(one["batch_size"]) is int and one["batch_size"] > 0 for one in found["batch_stats"]),
            shown(found["batch_stats"]))  # fmt: skip


def _index(target: Target, tree: object) -> list[dict[str, Any]]:
    answer = target.post("/v2/repository/index", tree)
    require(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")
    told = answer.json()
    require(isinstance(told, list), shown(told))
    entries: list[dict[str, Any]] = told
    return entries


@REPOSITORY.case("index", "POST v2/repository/index lists the model")
def _(target: Target) -> None:
    names = [one["name"] for one in _index(target, {})]
    require(target.model in names, shown(names))


@REPOSITORY.case("entries", "entries have name, state and reason as text")
def _(target: Target) -> None:
    for one in _index(target, {}):
        require(all(isinstance(one.get(key, ""), str) for key in ("version", "state", "reason")), shown(one))
        require(isinstance(one["name"], str), shown(one))


@REPOSITORY.case("state", "a model that answers is READY")
def _(target: Target) -> None:
    infer(target, target.rest_request())
    states = [one.get("state") for one in _index(target, {}) if one["name"] == target.model]
    require("READY" in states, shown(states))


@REPOSITORY.case("ready", "with `ready`, models that are ready are listed")
def _(target: Target) -> None:
    found = _index(target, {"ready": True})
    require(target.model in [one["name"] for one in found], shown(found))
    require(all(one.get("state", "READY") == "READY" for one in found), shown(found))


@REPOSITORY.case("not-ready", "and `ready` false leaves none out")
def _(target: Target) -> None:
    require(len(_index(target, {"ready": False})) >= len(_index(target, {"ready": True})), "fewer than ready ones")


@REPOSITORY.case(
    "load-unknown", "a model that is not there cannot be loaded", clause="Model Repository Extension, Load"
)
def _(target: Target) -> None:
    require_refused(target, target.post("/v2/repository/models/no-such-model-anywhere/load", {}))

"""gRPC: health, metadata, statistics, repository."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from isthmus.conformance.cases import Area, Deviation, Inapplicable, Way, require, shown
from isthmus.conformance.target import Target
from isthmus.conformance.tensors import DATATYPES

SERVER = Area("grpc.server", "OIP gRPC, Server Live, Ready and Metadata", Way.GRPC)
MODEL = Area("grpc.model", "OIP gRPC, Model Ready and Metadata", Way.GRPC)
STATISTICS = Area("grpc.statistics", "Statistics Extension", Way.GRPC, "statistics")
REPOSITORY = Area("grpc.repository", "Model Repository Extension", Way.GRPC, "model_repository")
_ABSENT = "no-such-model-anywhere"


def require_status(target: Target, method: str, fields: Mapping[str, Any]) -> grpc.StatusCode:
    """The status of a call that must be refused, by a status other than UNKNOWN, with a sentence.

    Raises:
        Deviation: it was answered, or the status says nothing.
    """
    try:
        answer = target.call(method, fields)
    except grpc.RpcError as exc:
        code = exc.code()
        require(code is not grpc.StatusCode.UNKNOWN, f"status UNKNOWN: {shown(exc.details())}")
        require(bool(exc.details()), f"status {code.name} without a sentence")
        return code
    raise Deviation(f"answered: {shown(str(answer))}")


@SERVER.case("live", "ServerLive says live")
def _(target: Target) -> None:
    require(target.call("ServerLive").live, "not live")


@SERVER.case("ready", "ServerReady says ready")
def _(target: Target) -> None:
    require(target.call("ServerReady").ready, "not ready")


@SERVER.case("name", "ServerMetadata names the server")
def _(target: Target) -> None:
    require(target.call("ServerMetadata").name != "", "no name")


@SERVER.case("extensions", "no extension is named twice")
def _(target: Target) -> None:
    found = list(target.call("ServerMetadata").extensions)
    require(len(set(found)) == len(found), shown(found))


@SERVER.case("unknown-method", "a method that is not there gives UNIMPLEMENTED", clause="gRPC, status codes")
def _(target: Target) -> None:
    call = target.unknown_method()
    require(call is grpc.StatusCode.UNIMPLEMENTED, shown(call))


@MODEL.case("ready", "ModelReady says ready")
def _(target: Target) -> None:
    require(target.call("ModelReady", {"name": target.model}).ready, "not ready")


@MODEL.case("version-ready", "also for each version that is told")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        require(target.call("ModelReady", {"name": target.model, "version": version}).ready, f"version {version}")


@MODEL.case("unknown-not-ready", "a model that is not there is not said to be ready")
def _(target: Target) -> None:
    try:
        ready = target.call("ModelReady", {"name": _ABSENT}).ready
    except grpc.RpcError:
        return
    require(not ready, "ready")


@MODEL.case("name", "ModelMetadata gives the model's name")
def _(target: Target) -> None:
    found = target.call("ModelMetadata", {"name": target.model}).name
    require(found == target.model, shown(found))


@MODEL.case("tensors", "with at least one input and one output")
def _(target: Target) -> None:
    found = target.call("ModelMetadata", {"name": target.model})
    require(bool(found.inputs) and bool(found.outputs), shown(str(found)))


@MODEL.case("datatypes", "of datatypes of the protocol", clause="OIP, Tensor Data Types")
def _(target: Target) -> None:
    found = target.call("ModelMetadata", {"name": target.model})
    kinds = {one.datatype for one in (*found.inputs, *found.outputs)}
    require(kinds <= set(DATATYPES), shown(kinds))


@MODEL.case("shapes", "and shapes with -1 where they vary")
def _(target: Target) -> None:
    found = target.call("ModelMetadata", {"name": target.model})
    for one in (*found.inputs, *found.outputs):
        require(all(dimension >= -1 for dimension in one.shape), shown(list(one.shape)))


@MODEL.case("version", "metadata can be asked by version")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    for version in target.described.versions:
        found = target.call("ModelMetadata", {"name": target.model, "version": version})
        require(found.name == target.model, shown(found.name))


@MODEL.case("unknown", "metadata of a model that is not there are refused")
def _(target: Target) -> None:
    require_status(target, "ModelMetadata", {"name": _ABSENT})


@MODEL.case("unknown-version", "and of a version that is not there")
def _(target: Target) -> None:
    if not target.described.versions:
        raise Inapplicable("the model has no versions")
    require_status(target, "ModelMetadata", {"name": target.model, "version": "987654321"})


@STATISTICS.case("all", "ModelStatistics without a name lists the model")
def _(target: Target) -> None:
    names = [one.name for one in target.call("ModelStatistics").model_stats]
    require(target.model in names, shown(names))


@STATISTICS.case("model", "with a name, only that one")
def _(target: Target) -> None:
    names = {one.name for one in target.call("ModelStatistics", {"name": target.model}).model_stats}
    require(names == {target.model}, shown(names))


@STATISTICS.case("counts", "a request that is answered is counted once")
def _(target: Target) -> None:
    counts = []
    for _ in range(2):
        target.call("ModelInfer", target.grpc_request())
        found = target.call("ModelStatistics", {"name": target.model}).model_stats
        counts.append(
            (sum(one.inference_stats.success.count for one in found), sum(one.inference_count for one in found))
        )
    require(counts[1] == (counts[0][0] + 1, counts[0][1] + 1), shown(counts))


@STATISTICS.case("unknown", "of a model that is not there there are none")
def _(target: Target) -> None:
    require_status(target, "ModelStatistics", {"name": _ABSENT})


@REPOSITORY.case("index", "RepositoryIndex lists the model as READY")
def _(target: Target) -> None:
    found = {one.name: one.state for one in target.call("RepositoryIndex").models}
    require(found.get(target.model) == "READY", shown(found))


@REPOSITORY.case("ready", "also among those that are ready")
def _(target: Target) -> None:
    found = [one.name for one in target.call("RepositoryIndex", {"ready": True}).models]
    require(target.model in found, shown(found))


@REPOSITORY.case("load-unknown", "a model that is not there cannot be loaded")
def _(target: Target) -> None:
    require_status(target, "RepositoryModelLoad", {"model_name": _ABSENT})

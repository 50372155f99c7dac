"""Both ways in: they must tell the same."""

from __future__ import annotations

from isthmus.conformance.cases import Area, Way, require, shown
from isthmus.conformance.grpc_inference import outputs
from isthmus.conformance.rest_inference import require_same
from isthmus.conformance.target import Target

BOTH = Area("both", "OIP: REST and gRPC are two forms of one protocol", Way.BOTH)


@BOTH.case("server", "the same name, version and extensions")
def _(target: Target) -> None:
    rest, grpc = target.get("/v2").json(), target.call("ServerMetadata")
    told = (rest["name"], rest["version"], sorted(rest["extensions"]))
    require(told == (grpc.name, grpc.version, sorted(grpc.extensions)), shown((told, str(grpc))))


@BOTH.case("model", "the same versions and tensors of the model")
def _(target: Target) -> None:
    rest, grpc = target.get(target.path).json(), target.call("ModelMetadata", {"name": target.model})
    require((rest.get("versions") or []) == list(grpc.versions), shown(list(grpc.versions)))
    for kind in ("inputs", "outputs"):
        theirs = [(one.name, one.datatype, list(one.shape)) for one in getattr(grpc, kind)]
        require([(one["name"], one["datatype"], one["shape"]) for one in rest[kind]] == theirs, shown(theirs))


@BOTH.case("outputs", "the same outputs for the same inputs")
def _(target: Target) -> None:
    for seed in range(3):
        require_same(
            outputs(target, target.grpc_request(seed=seed)),
            target.rest_outputs(target.rest_request(seed=seed)),
            "gRPC and REST",
        )

"""What both doors tell of the server and its models: trees of plain values, with the protocol's own keys."""

from __future__ import annotations

from typing import Any

from serving.oip.catalog import PLATFORM, Model, TensorMetadata
from serving.oip.service import EXTENSIONS, NAME, InferenceService
from serving.oip.statistics import Duration


def server_metadata(service: InferenceService) -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": NAME, "version": service.version, "extensions": list(EXTENSIONS)}


def model_metadata(service: InferenceService, name: str, version: str = "") -> dict[str, Any]:
    """A model's tensors; its versions are all that are served.

    Raises:
        RequestRefused: there is no such model or version.
    """
    model = service.catalog.find(name, version)
    return {
        "name": model.name,
        "versions": list(service.catalog.versions(name)),
        "platform": PLATFORM,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
    }


def repository_index(service: InferenceService, *, ready: bool) -> list[dict[str, Any]]:
    """Every version of every model; with `ready`, only those that take requests now."""
    if service.ready:
        state, reason = "READY", ""
    else:
        state, reason = "UNAVAILABLE", "this tier is shutting down"
    models = [] if ready and not service.ready else service.catalog.all()
    return [{"name": model.name, "version": model.version, "state": state, "reason": reason} for model in models]


def statistics_of(service: InferenceService, name: str = "", version: str = "") -> list[dict[str, Any]]:
    """Statistics of all models, all versions of one, or one.

    Raises:
        RequestRefused: there is no such model or version.
    """
    return [_statistics(service, model) for model in service.catalog.chosen(name, version)]


def _statistics(service: InferenceService, model: Model) -> dict[str, Any]:
    found = service.statistics.of(model.bundle.tag)
    stages = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": found.last_inference_ms,
        "inference_count": found.inference_count,
        "execution_count": found.execution_count,
        "inference_stats": {stage: _duration(getattr(found, stage)) for stage in stages},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(Duration(duration.count)),
                "compute_infer": _duration(duration),
                "compute_output": _duration(Duration(duration.count)),
            }
            for size, duration in sorted(found.batches.items())
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def _tensor(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}

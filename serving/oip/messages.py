"""Message classes of the protocol, from `open_inference.pb`, in a pool of descriptors of their own.

The names of the messages (`inference.ModelInferRequest`, ...) are those of every other implementation. In protobuf's
default pool a program that has one of those too - Triton's client, say - could not be loaded beside this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "inference.GRPCInferenceService"


def _load() -> dict[str, Any]:
    """Every top-level message class by name."""
    compiled = (Path(__file__).parent / "open_inference.pb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled).file
    pool.AddSerializedFile(file.SerializeToString())
    described = pool.FindFileByName(file.name)
    return {name: message_factory.GetMessageClass(found) for name, found in described.message_types_by_name.items()}


_CLASSES: Final = _load()

InferParameter: Final = _CLASSES["InferParameter"]
ModelInferRequest: Final = _CLASSES["ModelInferRequest"]
ModelInferResponse: Final = _CLASSES["ModelInferResponse"]
ModelStreamInferResponse: Final = _CLASSES["ModelStreamInferResponse"]


def message(name: str) -> Any:
    """A message class by its name.

    Raises:
        KeyError: the protocol has none of that name.
    """
    return _CLASSES[name]

"""The public face: `import isthmus`, and the command `isthmus`. Holds no logic that another room needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus import testbed
    from partitioner.api import partition
    from runtime.bundle import Bundle

__all__ = ["Bundle", "partition", "testbed"]

_PLACES = {"partition": "partitioner.api", "Bundle": "runtime.bundle"}


def __getattr__(name: str) -> Any:
    """Import on first use: `import isthmus` costs neither torch nor an engine."""
    from importlib import import_module

    if name == "testbed":
        return import_module("isthmus.testbed")
    if name not in _PLACES:
        raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
    from isthmus.rooms import check_rooms

    check_rooms()
    return getattr(import_module(_PLACES[name]), name)

"""What a bundle cannot say as a graph: post-processors, installed on the machines that answer.

A bundle carries no code. Where a model ends in steps that ONNX has no operators for, the manifest names a
post-processor and its version, and a package that is installed there provides it under the entry-point group `GROUP`:

    [project.entry-points."isthmus.postprocessors"]
    yolo-boxes = "my_package.boxes:yolo_boxes"
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import PostprocessorFailed, PostprocessorMissing
from runtime.manifest import Postprocessor as Declared

GROUP: Final = "isthmus.postprocessors"


class Postprocessor(Protocol):
    """Anything that can be called and has a version. Called from several threads.

    Attributes:
        version: changes whenever the same outputs would give other answers.
    """

    version: str

    def __call__(self, outputs: Sequence[NDArray[Any]], /) -> Sequence[NDArray[Any]]:
        """From what the last segment gives, [batch, ...] each, to the answers, [batch, ...] each of fixed shapes.

        Items of a batch do not depend on each other.
        """
        ...


def installed(name: str) -> Postprocessor:
    """The post-processor of that name on this machine.

    Raises:
        PostprocessorMissing: no package provides it, or what it provides cannot be used.
    """
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = f"installed are {', '.join(sorted(found.names))}" if found.names else "none is installed"
        raise PostprocessorMissing(
            f"the post-processor {name!r} is not installed here ({known}); install the package that provides it "
            f"under the entry-point group {GROUP!r}"
        )
    try:
        loaded: Postprocessor = found[name].load()
    except (ImportError, AttributeError) as exc:
        raise PostprocessorMissing(
            f"the post-processor {name!r} ({found[name].value}) cannot be imported: {exc}; repair its package"
        ) from exc
    if not callable(loaded) or not isinstance(getattr(loaded, "version", None), str):
        raise PostprocessorMissing(
            f"the post-processor {name!r} ({found[name].value}) is no callable with a version; give it one"
        )
    return loaded


def required(declared: Declared) -> Postprocessor:
    """The post-processor that a bundle names, in the version that it names.

    Raises:
        PostprocessorMissing: it is not there, or in another version.
    """
    found = installed(declared.name)
    if found.version != declared.version:
        raise PostprocessorMissing(
            f"the bundle was made with version {declared.version!r} of the post-processor {declared.name!r}, and "
            f"{found.version!r} is installed here; install that version, or export the bundle again with this one"
        )
    return found


def finished(postprocessor: Postprocessor, name: str, outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The answers for some outputs.

    Raises:
        PostprocessorFailed: it raised an error.
    """
    try:
        return [np.asarray(answer) for answer in postprocessor(outputs)]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise PostprocessorFailed(
            f"the post-processor {name!r} failed: {type(exc).__name__}: {exc}; report it to its makers"
        ) from exc

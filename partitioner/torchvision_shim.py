"""Makes `import torchvision` (and so compressai and timm) work beside a CPU-only torch.

torchvision's published Linux wheel is built for CUDA. Beside a CPU build of torch its C++ library does not load, and
the import fails with `operator torchvision::nms does not exist`, because the package registers fake kernels for two
operators whose schemas that library would have declared. Declaring the two schemas first is enough: neither operator is
called by anything here. Beside a matching torch this does nothing.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> bool:
    """Declare torchvision's `nms` and `qnms` where its own library cannot. Call before importing torchvision.

    Returns:
        Whether they were declared; False where torchvision is absent, imported already, or fits this torch.
    """
    if _declared or "torchvision" in sys.modules:
        return False
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations or _own_library_loads(found.submodule_search_locations[0]):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)  # a declaration lives as long as this object
    return True


def _own_library_loads(folder: str) -> bool:
    for library in Path(folder).glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return True
    return False

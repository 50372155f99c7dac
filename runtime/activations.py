"""Whether an array is what a manifest declares."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from runtime.errors import UnsupportedShape
from runtime.manifest import TensorSpec


def matches(array: NDArray[Any], spec: TensorSpec) -> bool:
    """Whether an array [batch, ...] has the declared dtype and shape, with a batch of at least one."""
    return array.dtype == spec.dtype and array.ndim > 0 and array.shape[0] > 0 and array.shape[1:] == spec.shape


def check_activation(array: NDArray[Any], spec: TensorSpec, *, where: str, items: int | None = None) -> None:
    """Refuse an array that is not as declared.

    Args:
        array: [batch, ...].
        spec: of one item.
        where: names the place in the sentence.
        items: the batch size it must have, or None for any.

    Raises:
        UnsupportedShape: another dtype, shape or batch size.
    """
    if not matches(array, spec) or items not in (None, array.shape[0]):
        batch = "batch" if items is None else items
        raise UnsupportedShape(
            f"{where} takes {spec.dtype} [{', '.join(map(str, (batch, *spec.shape)))}] and was given "
            f"{array.dtype} {list(array.shape)}; convert the array first"
        )

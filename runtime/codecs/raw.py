"""The identity codec: the activation's own bytes, little-endian and row-major."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.activations import check_activation
from runtime.errors import UndecodablePayload
from runtime.manifest import TensorSpec


class RawCodec:
    """Exact, and as long as the tensor."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._dtype = little_endian(spec)
        self.max_payload_bytes = spec.nbytes

    def encode(self, activation: NDArray[Any]) -> bytes:
        """The bytes of one item, [1, ...]."""
        check_activation(activation, self._spec, where="the raw codec", items=1)
        return activation.astype(self._dtype, copy=False).tobytes()

    def decode(self, payload: bytes) -> NDArray[Any]:
        """One item, [1, ...], read-only: a view of the payload.

        Raises:
            UndecodablePayload: not exactly the tensor's bytes.
        """
        if len(payload) != self.max_payload_bytes:
            raise UndecodablePayload(f"a raw payload here has {self.max_payload_bytes} bytes, not {len(payload)}")
        flat = np.frombuffer(payload, self._dtype)
        return flat.reshape(1, *self._spec.shape).astype(self._spec.dtype, copy=False)


def little_endian(spec: TensorSpec) -> np.dtype[Any]:
    """The dtype of a tensor as it is written, whatever this machine's byte order."""
    return np.dtype(spec.dtype).newbyteorder("<")

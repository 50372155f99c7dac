"""Without loss: the activation's byte planes, compressed by Zstandard (RFC 8878).

Floats of one activation share exponents, so their first bytes compress once they stand next to each other; the
shuffle is that of Blosc.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from runtime.activations import check_activation
from runtime.codecs.raw import little_endian
from runtime.errors import UndecodablePayload
from runtime.manifest import TensorSpec

_EFFORT = 3


class ZstdCodec:
    """Exact; one Zstandard frame that states its content's size. Contexts are made per call, for threads."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self.max_payload_bytes = spec.nbytes + (spec.nbytes >> 8) + 128  # no less than ZSTD_compressBound

    def encode(self, activation: NDArray[Any]) -> bytes:
        """Compress one item, [1, ...]."""
        check_activation(activation, self._spec, where="the zstd codec", items=1)
        written = np.ascontiguousarray(activation.astype(little_endian(self._spec), copy=False))
        planes = written.view(np.uint8).reshape(self._spec.elements, -1).T  # [bytes of an element, elements]
        return zstandard.ZstdCompressor(level=_EFFORT).compress(np.ascontiguousarray(planes).data)

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Restore one item, [1, ...].

        Raises:
            UndecodablePayload: too long, damaged, or a frame that declares another size.
        """
        if len(payload) > self.max_payload_bytes:
            raise UndecodablePayload(f"a zstd payload here has at most {self.max_payload_bytes} bytes")
        try:
            frame = zstandard.get_frame_parameters(payload)
            if frame.content_size != self._spec.nbytes:
                raise UndecodablePayload(f"a zstd payload here holds one frame of {self._spec.nbytes} bytes")
            content = zstandard.ZstdDecompressor().decompress(
                payload, max_output_size=self._spec.nbytes, allow_extra_data=False
            )
        except zstandard.ZstdError as exc:
            raise UndecodablePayload("the payload is no whole Zstandard frame") from exc
        planes = np.frombuffer(content, np.uint8).reshape(-1, self._spec.elements)
        flat = np.ascontiguousarray(planes.T).view(little_endian(self._spec))
        return flat.reshape(1, *self._spec.shape).astype(self._spec.dtype, copy=False)

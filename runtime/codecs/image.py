"""The input as a picture file, WebP or JPEG: what devices send when no learned codec is at hand."""

from __future__ import annotations

import io
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.activations import check_activation
from runtime.errors import BundleInvalid, UndecodablePayload
from runtime.manifest import TensorSpec

_HEADER_ALLOWANCE_BYTES = 4096
_PILLOW_FAILURES = (
    OSError,  # UnidentifiedImageError is one
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises for damaged files."""


class ImageCodec:
    """A picture of a uint8 [height, width, 3] tensor; loses what the format loses."""

    def __init__(self, spec: TensorSpec, format: Literal["webp", "jpeg"], quality: int) -> None:
        if spec.dtype != "uint8" or len(spec.shape) != 3 or spec.shape[2] != 3:
            raise BundleInvalid(f"an image level needs uint8 [height, width, 3], not {spec.dtype} {list(spec.shape)}")
        self._spec = spec
        self._format = format
        self._options = {"method": 4} if format == "webp" else {"optimize": True}
        self._quality = quality
        self.max_payload_bytes = 2 * spec.nbytes + _HEADER_ALLOWANCE_BYTES

    def encode(self, activation: NDArray[Any]) -> bytes:
        """Encode one picture, [1, height, width, 3]."""
        check_activation(activation, self._spec, where="the image codec", items=1)
        file = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(activation[0]))
        picture.save(file, self._format, quality=self._quality, **self._options)
        return file.getvalue()

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Decode one picture to [1, height, width, 3]; size and mode are read from its header first.

        Raises:
            UndecodablePayload: too long, another size or colour mode, animated, or damaged.
        """
        if len(payload) > self.max_payload_bytes:
            raise UndecodablePayload(f"a picture here has at most {self.max_payload_bytes} bytes")
        height, width, _ = self._spec.shape
        if self._format == "webp":
            _check_webp_header(payload, width, height)
        try:
            with Image.open(io.BytesIO(payload), formats=[self._format]) as picture:
                if picture.size != (width, height) or picture.mode != "RGB":
                    raise UndecodablePayload(
                        f"the picture is {picture.mode} {picture.size[0]}x{picture.size[1]}, not RGB {width}x{height}"
                    )
                return np.asarray(picture)[None]
        except _PILLOW_FAILURES as exc:
            raise UndecodablePayload(f"the payload is no whole {self._format} picture") from exc


def _check_webp_header(payload: bytes, width: int, height: int) -> None:
    """Refuse all but a plain lossy WebP of that size: libwebp's demuxer allocates the canvas that a header claims.

    The layout is RIFF, "VP8 " chunk, key frame header (RFC 9649 and RFC 6386, section 9.1).
    """
    if len(payload) < 30 or payload[:4] != b"RIFF" or payload[8:16] != b"WEBPVP8 " or payload[23:26] != b"\x9d\x01\x2a":
        raise UndecodablePayload("the payload is no plain lossy WebP picture")
    found_width, found_height = (side & 0x3FFF for side in struct.unpack_from("<HH", payload, 26))
    if (found_width, found_height) != (width, height):
        raise UndecodablePayload(f"the picture is {found_width}x{found_height}, not {width}x{height}")

"""The messages of the frame stream as small frozen values, and what is wrong with one outside the limits.

Field meanings are in `isthmus.proto`; times are integer microseconds. `protocol.messages` makes bytes of them, and them
of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google_crc32c import value as _crc32c
from numpy.typing import NDArray

from protocol.chunks import Chunk, Front
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import (
    DIGEST_BYTES,
    MAX_BUNDLES_IN_HELLO,
    MAX_CREDITS,
    MAX_DIMENSION,
    MAX_ELEMENTS,
    MAX_FILLER_BYTES,
    MAX_NAME_LENGTH,
    MAX_OUTPUTS,
    MAX_PAYLOAD_BYTES,
    MAX_RANK,
    MAX_TENSOR_NAME_LENGTH,
    TRACE_BYTES,
    VERSION,
)

_ITEM_BYTES: Final = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a stream, from the caller."""

    sender: str
    bundles: tuple[bytes, ...] = ()
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a tier is: frames waiting, and how long one arriving now would wait."""

    queued: int = 0
    wait_us: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """First message of a stream, from the tier."""

    tier: str
    bundles: tuple[bytes, ...]
    credits: int
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    load: Load = Load()
    version: int = VERSION
    takes_fronts: bool = False
    """Whether frames in chunks may be cut short (`protocol.chunks.Front`)."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Run to `cut`, encode at `level` and pass it up."""

    cut: int
    level: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One activation on its way up. `shape` leaves the batch axis out; `crc32c` is the payload's.

    `is_front` is not on the wire: the session has seen that the payload was cut short on its way.
    """

    id: int
    bundle: int
    cut: int
    level: int
    shape: tuple[int, ...]
    payload: bytes
    crc32c: int
    captured_us: int = 0
    remaining_us: int = 0
    handover: Handover | None = None
    trace: bytes = b""
    is_front: bool = False

    @classmethod
    def build(
        cls,
        *,
        id: int,
        bundle: int,
        cut: int,
        level: int,
        shape: tuple[int, ...],
        payload: bytes,
        captured_us: int = 0,
        remaining_us: int = 0,
        handover: Handover | None = None,
        trace: bytes = b"",
    ) -> Frame:
        """A frame with its checksum computed."""
        crc32c = int(_crc32c(payload))
        return cls(id, bundle, cut, level, shape, payload, crc32c, captured_us, remaining_us, handover, trace)

    def verify(self) -> None:
        """Check the payload against its checksum.

        Raises:
            RemoteProtocolError: `CHECKSUM`; refuse this frame, the stream goes on.
        """
        if _crc32c(self.payload) != self.crc32c:
            raise RemoteProtocolError(
                Code.CHECKSUM, "the payload does not match its CRC-32C; send the frame again", frame_id=self.id
            )


@dataclass(frozen=True, slots=True)
class Tensor:
    """One output: little-endian, row-major `data` of numpy type `dtype`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Tensor:
        """Copy an array.

        Raises:
            LocalProtocolError: its type cannot be sent.
        """
        if array.dtype.name not in _ITEM_BYTES:
            raise LocalProtocolError(
                f"tensor {name!r} is {array.dtype}, which cannot be sent; use {', '.join(_ITEM_BYTES)}"
            )
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return cls(name, array.dtype.name, array.shape, little.tobytes())

    def array(self) -> NDArray[Any]:
        """A read-only view of the data as an array of `shape`."""
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Timings:
    """Microseconds inside the answering tier.

    `arrived_us` is when the frame came, on the tier's own clock modulo 2^32, and 0 where it does not say: of use only
    beside that of another frame.
    """

    queue_us: int = 0
    decode_us: int = 0
    run_us: int = 0
    upstream_us: int = 0
    total_us: int = 0
    arrived_us: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one frame."""

    id: int
    outputs: tuple[Tensor, ...]
    answered_by: str
    timings: Timings = Timings()
    load: Load = Load()


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller no longer needs this frame. The tier still ends it with one result or refusal."""

    id: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Echoed by its id. `filler` means nothing: with it a probe takes a link as long as a frame does."""

    id: int
    filler: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame (or, with id 0, the stream) is refused."""

    id: int
    code: Code
    detail: str = ""
    retry_after_us: int = 0
    load: Load = Load()


@dataclass(frozen=True, slots=True)
class Received:
    """How many bytes have come in chunks since the stream began: what lies between the sender's count and this is on
    its way."""

    bytes: int


Upward = Hello | Frame | Cancel | Probe | Chunk | Front
Downward = Welcome | Result | Refusal | Probe | Received


def fault_of_hello(hello: Hello) -> str | None:
    return _fault_of_name("sender", hello.sender) or _fault_of_bundles(hello.bundles)


def fault_of_probe(probe: Probe) -> str | None:
    if len(probe.filler) > MAX_FILLER_BYTES:
        return f"a probe's filler of {len(probe.filler)} bytes is longer than {MAX_FILLER_BYTES}"
    return None


def _fault_of_name(field: str, name: str) -> str | None:
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        return f"{field} must be at most {MAX_NAME_LENGTH} printable characters"
    return None


def _fault_of_bundles(bundles: tuple[bytes, ...]) -> str | None:
    if len(bundles) > MAX_BUNDLES_IN_HELLO:
        return f"{len(bundles)} bundles are named, more than {MAX_BUNDLES_IN_HELLO}"
    if any(len(digest) != DIGEST_BYTES for digest in bundles):
        return f"a bundle digest must be {DIGEST_BYTES} bytes"
    return None


def fault_of_frame(frame: Frame) -> str | None:
    if frame.id == 0:
        return "a frame's id must not be 0, which means the stream"
    if len(frame.shape) > MAX_RANK:
        return f"the shape has {len(frame.shape)} axes, more than {MAX_RANK}"
    elements = 1
    for dimension in frame.shape:
        if not 1 <= dimension <= MAX_DIMENSION:
            return f"a dimension of {dimension} is not between 1 and {MAX_DIMENSION}"
        elements *= dimension
    if elements > MAX_ELEMENTS:
        return f"the shape has {elements} elements, more than {MAX_ELEMENTS}"
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        return f"a payload of {len(frame.payload)} bytes is longer than {MAX_PAYLOAD_BYTES}"
    if len(frame.trace) not in (0, TRACE_BYTES):
        return f"trace must be empty or {TRACE_BYTES} bytes"
    return None


def fault_of_welcome(welcome: Welcome) -> str | None:
    if not 1 <= welcome.credits <= MAX_CREDITS:
        return f"{welcome.credits} credits are not between 1 and {MAX_CREDITS}"
    if not 1 <= welcome.max_payload_bytes <= MAX_PAYLOAD_BYTES:
        return f"max_payload_bytes of {welcome.max_payload_bytes} is not between 1 and {MAX_PAYLOAD_BYTES}"
    return _fault_of_name("tier", welcome.tier) or _fault_of_bundles(welcome.bundles)


def fault_of_result(result: Result) -> str | None:
    if result.id == 0:
        return "a result's id must not be 0"
    if len(result.outputs) > MAX_OUTPUTS:
        return f"a result of {len(result.outputs)} tensors has more than {MAX_OUTPUTS}"
    for tensor in result.outputs:
        fault = _fault_of_tensor(tensor)
        if fault is not None:
            return fault
    return _fault_of_name("answered_by", result.answered_by)


def _fault_of_tensor(tensor: Tensor) -> str | None:
    if len(tensor.name) > MAX_TENSOR_NAME_LENGTH or not tensor.name.isprintable():
        return f"a tensor's name must be at most {MAX_TENSOR_NAME_LENGTH} printable characters"
    if tensor.dtype not in _ITEM_BYTES:
        return f"tensor {tensor.name!r} has a type that is none of {', '.join(_ITEM_BYTES)}"
    if len(tensor.shape) > MAX_RANK:
        return f"tensor {tensor.name!r} has {len(tensor.shape)} axes, more than {MAX_RANK}"
    nbytes = _ITEM_BYTES[tensor.dtype]
    for dimension in tensor.shape:
        if not 0 <= dimension <= MAX_DIMENSION:
            return f"tensor {tensor.name!r} has a dimension of {dimension}, not between 0 and {MAX_DIMENSION}"
        nbytes *= dimension
    if nbytes != len(tensor.data):
        return f"tensor {tensor.name!r} carries {len(tensor.data)} bytes but its shape and type need {nbytes}"
    return None

"""The messages of the frame stream as small frozen values, and their bytes.

`decode_*` is the one place where a peer's bytes become values: whatever it returns is within `protocol.limits`.
`encode_*` holds our own side to the same rules. Field meanings are in `isthmus.proto`; times are integer microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from google_crc32c import value as _crc32c
from numpy.typing import NDArray

from protocol import chunks, wire
from protocol import isthmus_pb2 as pb
from protocol.chunks import Chunk
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import (
    DIGEST_BYTES,
    MAX_BUNDLES_IN_HELLO,
    MAX_CREDITS,
    MAX_DETAIL_LENGTH,
    MAX_DIMENSION,
    MAX_ELEMENTS,
    MAX_MESSAGE_BYTES,
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
_CODES: Final = {code.value: code for code in Code}


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


@dataclass(frozen=True, slots=True)
class Handover:
    """Run to `cut`, encode at `level` and pass it up."""

    cut: int
    level: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One activation on its way up. `shape` leaves the batch axis out; `crc32c` is the payload's."""

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
    """Microseconds inside the answering tier."""

    queue_us: int = 0
    decode_us: int = 0
    run_us: int = 0
    upstream_us: int = 0
    total_us: int = 0


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
    """Echoed as it came, in either direction."""

    id: int


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


_IDLE: Final = Load()
Upward = Hello | Frame | Cancel | Probe | Chunk
Downward = Welcome | Result | Refusal | Probe | Received


def encode_upward(message: Upward) -> bytes:
    """Bytes of a message from caller to tier.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    out = pb.Upward()
    try:
        match message:
            case Frame():
                _refuse_own(_fault_of_frame(message))
                return _limited(_frame_bytes(message))
            case Chunk():
                return chunks.encode_chunk(message)
            case Hello(sender, bundles, version):
                _refuse_own(_fault_of_name("sender", sender) or _fault_of_bundles(bundles))
                out.hello.version, out.hello.sender = version, sender
                out.hello.bundles.extend(bundles)
            case Cancel(id_):
                out.cancel.id = id_
                out.cancel.SetInParent()
            case Probe(id_):
                out.probe.id = id_
                out.probe.SetInParent()
        return _limited(out.SerializeToString())
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError(f"this {type(message).__name__} cannot be encoded: {exc}") from exc


def encode_downward(message: Downward) -> bytes:
    """Bytes of a message from tier to caller.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    out = pb.Downward()
    try:
        match message:
            case Result():
                _refuse_own(_fault_of_result(message))
                return _limited(_result_bytes(message))
            case Refusal(id_, code, detail, retry_after_us, load):
                refusal: Any = out.refusal
                refusal.id, refusal.code, refusal.retry_after_us = id_, int(code), retry_after_us
                refusal.detail = detail[:MAX_DETAIL_LENGTH]
                _fill_load(refusal.load, load)
                refusal.SetInParent()
            case Welcome():
                _refuse_own(_fault_of_welcome(message))
                _fill_welcome(out.welcome, message)
            case Received(count):
                out.received.bytes = count
                out.received.SetInParent()
            case Probe(id_):
                out.probe.id = id_
                out.probe.SetInParent()
        return _limited(out.SerializeToString())
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError(f"this {type(message).__name__} cannot be encoded: {exc}") from exc


def decode_upward(data: bytes) -> Upward:
    """The message from a caller that these bytes hold.

    Raises:
        RemoteProtocolError: not a message, or one outside the limits; `frame_id` names the frame at fault if it could
            be read, and is 0 otherwise.
    """
    if data[:1] == chunks.TAG:
        return chunks.decode_chunk(data)
    if len(data) > wire.WHOLE_BYTES:
        return _read_long_frame(data)
    message = _parsed(pb.Upward, data)
    match message.WhichOneof("kind"):
        case "frame":
            frame = _read_frame(message.frame, message.frame.payload)
            _refuse_theirs(_fault_of_frame(frame), frame.id)
            return frame
        case "cancel":
            return Cancel(message.cancel.id)
        case "probe":
            return Probe(message.probe.id)
        case "hello":
            hello = Hello(message.hello.sender, tuple(message.hello.bundles), message.hello.version)
            _refuse_theirs(_fault_of_name("sender", hello.sender) or _fault_of_bundles(hello.bundles))
            return hello
        case _:
            raise _malformed(f"the message is of no kind that version {VERSION} knows")


def decode_downward(data: bytes) -> Downward:
    """The message from a tier that these bytes hold.

    Raises:
        RemoteProtocolError: not a message, or one outside the limits.
    """
    if len(data) > wire.WHOLE_BYTES:
        return _read_long_result(data)
    message = _parsed(pb.Downward, data)
    match message.WhichOneof("kind"):
        case "result":
            return _read_result(message.result)
        case "refusal":
            refusal = message.refusal
            code = _CODES.get(refusal.code, Code.CODE_UNSPECIFIED)
            detail = refusal.detail[:MAX_DETAIL_LENGTH]
            return Refusal(refusal.id, code, detail, refusal.retry_after_us, _read_load(refusal.load))
        case "probe":
            return Probe(message.probe.id)
        case "welcome":
            return _read_welcome(message.welcome)
        case "received":
            return Received(message.received.bytes)
        case _:
            raise _malformed(f"the message is of no kind that version {VERSION} knows")


def _parsed(kind: Any, data: bytes, whole: bytes | None = None) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as exc:
        raise _malformed("the bytes are not a message of isthmus.v1", wire.frame_id_of(whole or data)) from exc


def _read_long_frame(data: bytes) -> Frame:
    _require_short_enough(data)
    carved = wire.carved_frame(data)
    if carved is None:
        raise _malformed("a long message must be a frame, and long in its payload only", wire.frame_id_of(data))
    head, payload = carved
    message = _parsed(pb.Frame, head, data)
    frame = _read_frame(message, payload)
    _refuse_theirs("a frame has one payload" if message.payload else _fault_of_frame(frame), frame.id)
    return frame


def _read_long_result(data: bytes) -> Result:
    _require_short_enough(data)
    carved = wire.carved_result(data)
    if carved is None:
        raise _malformed("a long message must be a result, and long in its outputs' data only")
    head, outputs = carved
    return _read_result(_parsed(pb.Result, head), [(_parsed(pb.Tensor, output), long) for output, long in outputs])


def _require_short_enough(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        detail = f"a message of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}"
        raise RemoteProtocolError(Code.TOO_LONG, detail, frame_id=wire.frame_id_of(data))


def _limited(data: bytes) -> bytes:
    if len(data) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"a message of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}")
    return data


def _malformed(detail: str, frame_id: int = 0) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail, frame_id=frame_id)


def _refuse_own(fault: str | None) -> None:
    if fault is not None:
        raise LocalProtocolError(fault)


def _refuse_theirs(fault: str | None, frame_id: int = 0) -> None:
    if fault is not None:
        raise _malformed(fault, frame_id)


def _frame_bytes(frame: Frame) -> bytes:
    """An `Upward` with the frame; joined by hand, since protobuf would copy the payload twice."""
    out = pb.Frame()
    out.id, out.bundle, out.cut, out.level = frame.id, frame.bundle, frame.cut, frame.level
    out.shape.extend(frame.shape)
    out.crc32c, out.captured_us, out.remaining_us = frame.crc32c, frame.captured_us, frame.remaining_us
    out.trace = frame.trace
    if frame.handover is not None:
        out.handover.cut, out.handover.level = frame.handover.cut, frame.handover.level
        out.handover.SetInParent()
    head = out.SerializeToString()
    size = wire.varint(len(frame.payload))
    whole = wire.varint(len(head) + 1 + len(size) + len(frame.payload))
    return b"".join((wire.FRAME_TAG, whole, head, wire.PAYLOAD_TAG, size, frame.payload))


def _read_frame(data: Any, payload: bytes) -> Frame:
    handover = Handover(data.handover.cut, data.handover.level) if data.HasField("handover") else None
    return Frame(
        data.id,
        data.bundle,
        data.cut,
        data.level,
        tuple(data.shape),
        payload,
        data.crc32c,
        data.captured_us,
        data.remaining_us,
        handover,
        data.trace,
    )


def _fill_load(out: Any, load: Load) -> None:
    if load.queued or load.wait_us:
        out.queued = load.queued
        out.wait_us = load.wait_us


def _read_load(data: Any) -> Load:
    return Load(data.queued, data.wait_us)


def _fill_welcome(out: Any, welcome: Welcome) -> None:
    out.version = welcome.version
    out.tier = welcome.tier
    out.bundles.extend(welcome.bundles)
    out.credits = welcome.credits
    out.max_payload_bytes = welcome.max_payload_bytes
    _fill_load(out.load, welcome.load)


def _read_welcome(data: Any) -> Welcome:
    load = _read_load(data.load)
    welcome = Welcome(data.tier, tuple(data.bundles), data.credits, data.max_payload_bytes, load, data.version)
    _refuse_theirs(_fault_of_welcome(welcome))
    return welcome


def _result_bytes(result: Result) -> bytes:
    """A `Downward` with the result; joined by hand, as in `_frame_bytes`."""
    out: Any = pb.Result()
    out.id, out.answered_by = result.id, result.answered_by
    timings, source = out.timings, result.timings
    timings.queue_us, timings.decode_us, timings.run_us = source.queue_us, source.decode_us, source.run_us
    timings.upstream_us, timings.total_us = source.upstream_us, source.total_us
    timings.SetInParent()
    _fill_load(out.load, result.load)
    head = out.SerializeToString()
    parts = [head]
    for tensor in result.outputs:
        output = pb.Tensor(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape).SerializeToString()
        size = wire.varint(len(tensor.data))
        whole = wire.varint(len(output) + 1 + len(size) + len(tensor.data))
        parts += (wire.OUTPUT_TAG, whole, output, wire.DATA_TAG, size, tensor.data)
    return b"".join((wire.RESULT_TAG, wire.varint(sum(map(len, parts))), *parts))


def _read_result(data: Any, outputs: Sequence[tuple[Any, bytes]] | None = None) -> Result:
    """From a message; or from its head, and its outputs with their data apart."""
    count = len(data.outputs) if outputs is None else len(outputs)
    if count > MAX_OUTPUTS:
        raise _malformed(f"a result of {count} tensors has more than {MAX_OUTPUTS}", data.id)
    if outputs is None:
        tensors = [Tensor(output.name, output.dtype, tuple(output.shape), output.data) for output in data.outputs]
    else:
        tensors = [Tensor(head.name, head.dtype, tuple(head.shape), long or head.data) for head, long in outputs]
    times = data.timings
    result = Result(
        data.id,
        tuple(tensors),
        data.answered_by,
        Timings(times.queue_us, times.decode_us, times.run_us, times.upstream_us, times.total_us),
        _read_load(data.load) if data.HasField("load") else _IDLE,
    )
    _refuse_theirs(_fault_of_result(result), result.id)
    return result


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


def _fault_of_frame(frame: Frame) -> str | None:
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


def _fault_of_welcome(welcome: Welcome) -> str | None:
    if not 1 <= welcome.credits <= MAX_CREDITS:
        return f"{welcome.credits} credits are not between 1 and {MAX_CREDITS}"
    if not 1 <= welcome.max_payload_bytes <= MAX_PAYLOAD_BYTES:
        return f"max_payload_bytes of {welcome.max_payload_bytes} is not between 1 and {MAX_PAYLOAD_BYTES}"
    return _fault_of_name("tier", welcome.tier) or _fault_of_bundles(welcome.bundles)


def _fault_of_result(result: Result) -> str | None:
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

"""The bytes of the frame stream's messages; the values that they stand for are in `protocol.values`.

`decode_*` is the one place where a peer's bytes become values: whatever it returns is within `protocol.limits`.
`encode_*` holds our own side to the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError

from protocol import chunks, wire
from protocol import isthmus_pb2 as pb
from protocol.chunks import Chunk, Front, fault_of_front
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import MAX_DETAIL_LENGTH, MAX_MESSAGE_BYTES, MAX_OUTPUTS, VERSION
from protocol.values import (
    Cancel,
    Downward,
    Frame,
    Handover,
    Hello,
    Load,
    Probe,
    Received,
    Refusal,
    Result,
    Tensor,
    Timings,
    Upward,
    Welcome,
    fault_of_frame,
    fault_of_hello,
    fault_of_probe,
    fault_of_result,
    fault_of_welcome,
)

__all__ = [
    "Cancel",
    "Downward",
    "Frame",
    "Front",
    "Handover",
    "Hello",
    "Load",
    "Probe",
    "Received",
    "Refusal",
    "Result",
    "Tensor",
    "Timings",
    "Upward",
    "Welcome",
    "decode_downward",
    "decode_front",
    "decode_upward",
    "encode_downward",
    "encode_upward",
    "frame_head",
]

_CODES: Final = {code.value: code for code in Code}
_IDLE: Final = Load()


def encode_upward(message: Upward) -> bytes:
    """Bytes of a message from caller to tier.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    try:
        match message:
            case Frame():
                return frame_head(message) + message.payload
            case Chunk():
                return chunks.encode_chunk(message)
            case Hello():
                return _hello_bytes(message)
            case Front():
                return _front_bytes(message)
            case Cancel(id_):
                return _serialized(pb.Upward(cancel=pb.Cancel(id=id_)))
            case Probe():
                _refuse_own(fault_of_probe(message))
                return _serialized(pb.Upward(probe=pb.Probe(id=message.id, filler=message.filler)))
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError(f"this {type(message).__name__} cannot be encoded: {exc}") from exc


def frame_head(frame: Frame) -> bytes:
    """What `encode_upward` makes of a frame, but for the payload, which follows it and is not copied.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    _refuse_own("a payload is cut short on its way only (`protocol.chunks.Front`)" if frame.is_front else None)
    _refuse_own(fault_of_frame(frame))
    out = pb.Frame()
    try:
        out.id, out.bundle, out.cut, out.level = frame.id, frame.bundle, frame.cut, frame.level
        out.shape.extend(frame.shape)
        out.crc32c, out.captured_us, out.remaining_us = frame.crc32c, frame.captured_us, frame.remaining_us
        out.trace = frame.trace
        if frame.handover is not None:
            out.handover.cut, out.handover.level = frame.handover.cut, frame.handover.level
            out.handover.SetInParent()
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError(f"this Frame cannot be encoded: {exc}") from exc
    fields = out.SerializeToString()
    size = wire.varint(len(frame.payload))
    whole = wire.varint(len(fields) + 1 + len(size) + len(frame.payload))
    return b"".join((wire.FRAME_TAG, whole, fields, wire.PAYLOAD_TAG, size))


def encode_downward(message: Downward) -> bytes:
    """Bytes of a message from tier to caller.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    try:
        match message:
            case Result():
                return _result_bytes(message)
            case Refusal():
                return _refusal_bytes(message)
            case Welcome():
                return _welcome_bytes(message)
            case Received(count):
                return _serialized(pb.Downward(received=pb.Received(bytes=count)))
            case Probe(id_):  # an echo goes without the filler
                return _serialized(pb.Downward(probe=pb.Probe(id=id_)))
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
            return _read_frame(message.frame)
        case "cancel":
            return Cancel(message.cancel.id)
        case "front":
            front = Front(message.front.id, message.front.bytes, message.front.crc32c, message.front.waited_us)
            _refuse_theirs(fault_of_front(front))
            return front
        case "probe":
            probe = Probe(message.probe.id, message.probe.filler)
            _refuse_theirs(fault_of_probe(probe))
            return probe
        case "hello":
            hello = Hello(message.hello.sender, tuple(message.hello.bundles), message.hello.version)
            _refuse_theirs(fault_of_hello(hello))
            return hello
        case _:
            raise _malformed(f"the message is of no kind that version {VERSION} knows")


def decode_front(data: bytes, front: Front) -> Frame:
    """The frame whose message these bytes begin, cut short within its payload: `is_front`, and with that checksum.

    Raises:
        RemoteProtocolError: not the beginning of a frame, or one outside the limits; concerns the frame.
    """
    carved = wire.carved_front(data)
    if carved is None:
        raise _malformed("a frame can be cut short within its payload only, which must come last", front.id)
    head, payload = carved
    return replace(_read_frame(_parsed(pb.Frame, head, data), payload), crc32c=front.crc32c, is_front=True)


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
    if message.payload:
        raise _malformed("a frame has one payload", message.id)
    return _read_frame(message, payload)


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


def _serialized(message: Any) -> bytes:
    return _limited(message.SerializeToString())


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


def _front_bytes(front: Front) -> bytes:
    _refuse_own(fault_of_front(front))
    out: Any = pb.Upward()
    out.front.id, out.front.bytes = front.id, front.message_bytes
    out.front.crc32c, out.front.waited_us = front.crc32c, front.waited_us
    return _serialized(out)


def _hello_bytes(hello: Hello) -> bytes:
    _refuse_own(fault_of_hello(hello))
    return _serialized(pb.Upward(hello=pb.Hello(version=hello.version, sender=hello.sender, bundles=hello.bundles)))


def _read_frame(data: Any, payload: bytes | None = None) -> Frame:
    """From a message; or from its head, and its payload apart."""
    frame = Frame(
        data.id,
        data.bundle,
        data.cut,
        data.level,
        tuple(data.shape),
        data.payload if payload is None else payload,
        data.crc32c,
        data.captured_us,
        data.remaining_us,
        Handover(data.handover.cut, data.handover.level) if data.HasField("handover") else None,
        data.trace,
    )
    _refuse_theirs(fault_of_frame(frame), frame.id)
    return frame


def _fill_load(out: Any, load: Load) -> None:
    if load.queued or load.wait_us:
        out.queued = load.queued
        out.wait_us = load.wait_us


def _read_load(data: Any) -> Load:
    return Load(data.queued, data.wait_us)


def _welcome_bytes(welcome: Welcome) -> bytes:
    _refuse_own(fault_of_welcome(welcome))
    out: Any = pb.Downward()
    out.welcome.version, out.welcome.tier = welcome.version, welcome.tier
    out.welcome.bundles.extend(welcome.bundles)
    out.welcome.credits, out.welcome.max_payload_bytes = welcome.credits, welcome.max_payload_bytes
    out.welcome.takes_fronts = welcome.takes_fronts
    _fill_load(out.welcome.load, welcome.load)
    return _serialized(out)


def _refusal_bytes(refusal: Refusal) -> bytes:
    out: Any = pb.Downward()
    out.refusal.id, out.refusal.code = refusal.id, int(refusal.code)
    out.refusal.retry_after_us, out.refusal.detail = refusal.retry_after_us, refusal.detail[:MAX_DETAIL_LENGTH]
    _fill_load(out.refusal.load, refusal.load)
    return _serialized(out)


def _read_welcome(data: Any) -> Welcome:
    load = _read_load(data.load)
    welcome = Welcome(
        data.tier, tuple(data.bundles), data.credits, data.max_payload_bytes, load, data.version, data.takes_fronts
    )
    _refuse_theirs(fault_of_welcome(welcome))
    return welcome


def _result_bytes(result: Result) -> bytes:
    """A `Downward` with the result; joined by hand, as in `_frame_bytes`."""
    _refuse_own(fault_of_result(result))
    out: Any = pb.Result()
    out.id, out.answered_by = result.id, result.answered_by
    timings, source = out.timings, result.timings
    timings.queue_us, timings.decode_us, timings.run_us = source.queue_us, source.decode_us, source.run_us
    timings.upstream_us, timings.total_us = source.upstream_us, source.total_us
    timings.arrived_us = source.arrived_us
    timings.SetInParent()
    _fill_load(out.load, result.load)
    head = out.SerializeToString()
    parts = [head]
    for tensor in result.outputs:
        output = _tensor_head(tensor.name, tensor.dtype, tensor.shape)
        size = wire.varint(len(tensor.data))
        whole = wire.varint(len(output) + 1 + len(size) + len(tensor.data))
        parts += (wire.OUTPUT_TAG, whole, output, wire.DATA_TAG, size, tensor.data)
    return _limited(b"".join((wire.RESULT_TAG, wire.varint(sum(map(len, parts))), *parts)))


@lru_cache(maxsize=256)
def _tensor_head(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """A tensor without its data: hardly ever another than in the answer before."""
    return bytes(pb.Tensor(name=name, dtype=dtype, shape=shape).SerializeToString())


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
        Timings(times.queue_us, times.decode_us, times.run_us, times.upstream_us, times.total_us, times.arrived_us),
        _read_load(data.load) if data.HasField("load") else _IDLE,
    )
    _refuse_theirs(fault_of_result(result), result.id)
    return result

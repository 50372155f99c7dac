"""What strangers' bytes reach: each target takes any bytes, and may raise nothing but its own refusal.

A target returns a short word for what became of the input; inputs with a new word are kept and mutated further.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from google.protobuf.message import DecodeError
from google_crc32c import value as crc32c

from protocol import isthmus_pb2 as pb
from protocol import packets, rans
from protocol.chunks import Front
from protocol.errors import BitstreamError, Code, RemoteProtocolError
from protocol.events import Cancelled, FrameArrived, Greeted
from protocol.fragments import MOST_MESSAGE_BYTES, MOST_NOTED, MOST_UNFINISHED, Gathering, Note, decode_datagram
from protocol.messages import (
    Hello,
    Refusal,
    Result,
    Welcome,
    decode_downward,
    decode_upward,
    encode_downward,
    encode_upward,
)
from protocol.packing import unpack
from protocol.partial import MOST_UNFINISHED as MOST_FRAMES
from protocol.partial import Partial
from protocol.prefix import decode_prefix
from protocol.session import ClientSession, ServerSession, State, tag_of
from protocol.topics import Topics, checked
from protocol.wire import FRONT_TAG, answered_id_of, carved_front, frame_id_of
from runtime.bundle import read_manifest
from runtime.errors import BundleError, UndecodablePayload
from runtime.onnx_locations import external_locations
from serving.oip import bodies, infer_messages
from serving.oip.errors import RequestRefused
from tests.protocol.samples import DIGEST, frame, laplace
from tests.runtime.hyper_level import SPEC, codec_of, row_of

Target = Callable[[bytes], str]

TABLES = laplace(4, seed=1, reach=6)
POSITIONS = 64
FEW_POSITIONS = 16
HYPERPRIOR = codec_of(row_of())
_NUMBERS = re.compile(r"[0-9]+|'[^']*'|\"[^\"]*\"")


def _word(error: Exception) -> str:
    """An error without what varies from input to input."""
    return f"{type(error).__name__} {_NUMBERS.sub('#', str(error))[:80]}"


def upward(data: bytes) -> str:
    """A message from a caller. Whatever is read is within the limits, so our own side can write it."""
    try:
        messages = [decode_upward(message) for message in unpack(data)]
    except RemoteProtocolError as error:
        return _word(error)
    assert [decode_upward(encode_upward(message)) for message in messages] == messages
    return " ".join(sorted({type(message).__name__ for message in messages}))


def downward(data: bytes) -> str:
    """A message from a tier."""
    try:
        messages = [decode_downward(message) for message in unpack(data)]
    except RemoteProtocolError as error:
        return _word(error)
    for message in messages:
        if isinstance(message, Result):
            for tensor in message.outputs:
                assert tensor.array().nbytes == len(tensor.data)
        assert decode_downward(encode_downward(message)) == message
    return " ".join(sorted({type(message).__name__ for message in messages}))


def tier(data: bytes) -> str:
    """A whole stream at a tier, after its hello: length-prefixed messages, checksums made right."""
    session = ServerSession(bundles=lambda: (DIGEST,), welcome=lambda _: Welcome("edge", (DIGEST,), 3))
    session.receive(encode_upward(Hello("fuzz", (DIGEST,))))
    seen: list[str] = []
    waiting: set[int] = set()
    for message in _messages(data):
        try:
            for part in unpack(_honest(message)):
                for event in session.receive(_honest_end(session, part)):
                    seen.append(type(event).__name__)
                    assert not isinstance(event, Greeted)
                    if isinstance(event, FrameArrived):
                        assert event.frame.id not in waiting
                        waiting.add(event.frame.id)
                    if isinstance(event, Cancelled):
                        waiting.remove(event.frame_id)
                        session.refuse(Refusal(event.frame_id, Code.EXPIRED))
        except RemoteProtocolError as error:
            seen.append(error.code.name)
            session.refuse_stream(error.code, error.detail)
            assert session.state is State.CLOSED
            break
        assert session.in_flight == waiting
        assert len(waiting) <= 3
    return " ".join(seen[:6])


def caller(data: bytes) -> str:
    """A whole stream at a caller with two frames in flight: each ends once."""
    session = ClientSession(Hello("fuzz", (DIGEST,)))
    session.start()
    session.receive(encode_downward(Welcome("edge", (DIGEST,), 3)))
    for number in (1, 7):
        session.send_frame(frame(number))
    seen, ended = [], 0
    for message in _messages(data):
        try:
            for part in unpack(message):
                for event in session.receive(part):
                    seen.append(type(event).__name__)
                    ended += type(event).__name__ in ("Answered", "Refused")
                if session.state is State.CLOSED:
                    return " ".join(seen[:6])
        except RemoteProtocolError as error:
            seen.append(error.code.name)
            break
        assert ended + len(session.in_flight) == 2
    return " ".join(seen[:6])


def bitstream(data: bytes) -> str:
    """A payload of a learned level. What decodes, encodes to the same symbols again."""
    try:
        symbols = rans.decode(data, TABLES, POSITIONS)
    except BitstreamError as error:
        return _word(error)
    assert symbols.shape == (TABLES.rows, POSITIONS)
    return "symbols"


def prefix(data: bytes) -> str:
    """The front of a payload, read symbol by symbol in Python, so of few. What is known is what the tables hold."""
    try:
        symbols, known = decode_prefix(data, TABLES, FEW_POSITIONS)
    except BitstreamError as error:
        return _word(error)
    assert symbols.shape == (TABLES.rows, FEW_POSITIONS)
    assert 0 <= known <= symbols.size
    return f"symbols {known.bit_length()}"


def parts(data: bytes) -> str:
    """Packets of a payload that decode alone, those that came."""
    try:
        symbols, known = packets.join(list(_messages(data)), TABLES, POSITIONS)
    except BitstreamError as error:
        return _word(error)
    assert symbols.shape == known.shape == (TABLES.rows, POSITIONS)
    return f"symbols {int(known.sum()).bit_length()}"


def hyperprior(data: bytes) -> str:
    """A payload of a level whose distributions follow from its own front."""
    try:
        latent = HYPERPRIOR.latent(data)
    except UndecodablePayload as error:
        return _word(error)
    assert latent.shape == SPEC.shape
    return "latent"


def datagrams(data: bytes) -> str:
    """What comes in datagrams, one after the other: notes, and fragments of messages and frames that are told once."""
    gathering, partial, told, notes = Gathering(), Partial(), [], 0
    for datagram in _messages(data):
        try:
            found = decode_datagram(datagram)
            if isinstance(found, Note):
                assert len(found.complete) <= MOST_NOTED
                notes += 1
                continue
            message = gathering.add(found)
            frames = [] if message is None else partial.add(message, now_s=float(len(told)))
        except RemoteProtocolError as error:
            return _word(error)
        assert len(gathering) <= MOST_UNFINISHED
        if message is not None:
            assert 0 < len(message) == found.total <= MOST_MESSAGE_BYTES
            assert found.number not in told
            assert len(partial) <= MOST_FRAMES
            assert len(frames) <= 1
            told.append(found.number)
    partial.overdue(math.inf)
    assert not len(partial)
    return f"{min(notes, 3)} notes, {len(told)} messages"


def manifest(data: bytes) -> str:
    """The manifest of a bundle that nobody signed."""
    try:
        read_manifest(data)
    except BundleError as error:
        return _word(error)
    return "manifest"


def graph(data: bytes) -> str:
    """An ONNX file, read for the places of its weights."""
    try:
        external_locations(data)
    except ValueError as error:
        return _word(error)
    return "graph"


def topic(data: bytes) -> str:
    """The topic of a message from a broker, its payload behind a zero byte: as a worker takes it apart."""
    name, _, payload = data.partition(b"\0")
    topics = Topics("edge")
    try:
        parsed = topics.parse(name.decode(errors="replace"))
        messages = unpack(payload)
    except RemoteProtocolError as error:
        return _word(error)
    for part in (parsed.caller, parsed.worker):
        assert not part or checked(part) == part
    for message in messages:
        assert 0 <= frame_id_of(message) < 1 << 64
        assert 0 <= answered_id_of(message) < 1 << 64
    return parsed.kind


def request(data: bytes) -> str:
    """The body of an inference request over REST, behind two bytes: the length of its JSON, 0 for no such header."""
    length, body = int.from_bytes(data[:2], "little"), data[2:]
    try:
        read = bodies.read_request("model", "", body, str(length) if length else None)
    except RequestRefused as error:
        return _word(error)
    assert all(len(tensor.data) <= 8 * len(body) for tensor in read.inputs)
    return f"request of {len(read.inputs)}"


def inference(data: bytes) -> str:
    """An inference request over gRPC."""
    try:
        read, raw = infer_messages.read_request(data)
    except RequestRefused as error:
        return _word(error)
    assert all(len(tensor.data) <= 8 * len(data) for tensor in read.inputs)
    return f"inference of {len(read.inputs)} {raw}"


TARGETS: dict[str, Target] = {
    "upward": upward,
    "downward": downward,
    "tier": tier,
    "caller": caller,
    "bitstream": bitstream,
    "prefix": prefix,
    "parts": parts,
    "hyperprior": hyperprior,
    "datagrams": datagrams,
    "manifest": manifest,
    "graph": graph,
    "topic": topic,
    "request": request,
    "inference": inference,
}


def framed(messages: list[bytes]) -> bytes:
    """Several messages as the input of `tier` and `caller`."""
    return b"".join(len(message).to_bytes(2, "little") + message for message in messages)


def _messages(data: bytes) -> Iterator[bytes]:
    position = 0
    while position + 2 <= len(data):
        length = int.from_bytes(data[position : position + 2], "little")
        yield data[position + 2 : position + 2 + length]
        position += 2 + length


def _honest_end(session: ServerSession, message: bytes) -> bytes:
    """With the right checksum, where it cuts short a frame of which chunks have come."""
    if message[:1] != FRONT_TAG:
        return message
    try:
        front = decode_upward(message)
    except RemoteProtocolError:
        return message
    assert isinstance(front, Front)
    carved = carved_front(bytes(session._assembly._parts.get(front.id, (0, b""))[1]))
    return message if carved is None else encode_upward(replace(front, crc32c=crc32c(carved[1])))


def _honest(message: bytes) -> bytes:
    """With the right checksum and bundle, where it is a frame, so that the frame is not refused for those."""
    try:
        parsed = pb.Upward.FromString(message)
    except DecodeError:
        return message
    if parsed.WhichOneof("kind") != "frame":
        return message
    parsed.frame.crc32c = crc32c(parsed.frame.payload)
    parsed.frame.bundle = tag_of(DIGEST)
    return bytes(parsed.SerializeToString())

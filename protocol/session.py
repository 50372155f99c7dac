"""One frame stream as two state machines, one for each end. Bytes in, events out; no sockets and no clock.

Each message is one `bytes`: the transport keeps messages apart. What must be sent back stands in the event as `reply`.

    caller  ClientSession   new -> start() -> greeting -> Welcomed -> open -> StreamRefused -> closed
    tier    ServerSession   new -> Greeted (reply: Welcome) -> open -> refuse_stream() -> closed

Every frame sent is answered once, by a `Result` or a `Refusal`, even after a `Cancel`; until then it holds one credit.
A faulty frame is refused by its id and the stream goes on. A long frame may come in chunks (`protocol.chunks`). Bytes
that name no frame, and a broken greeting, raise `RemoteProtocolError`: the session is then closed, and the transport
sends `refuse_stream` and ends the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum, auto

from protocol.chunks import Assembly, Chunk, Front
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.events import (
    Answered,
    Cancelled,
    ClientEvent,
    Faulty,
    FrameArrived,
    Greeted,
    Probed,
    Progressed,
    Refused,
    ServerEvent,
    StreamRefused,
    Welcomed,
)
from protocol.limits import CHUNKS_VERSION, MAX_CREDITS, MAX_HELLO_BYTES, MIN_VERSION, VERSION
from protocol.messages import (
    Cancel,
    Frame,
    Hello,
    Probe,
    Received,
    Refusal,
    Result,
    Upward,
    Welcome,
    decode_downward,
    decode_front,
    decode_upward,
    encode_downward,
    encode_upward,
    frame_head,
)


class State(Enum):
    """Where a session stands; see the module's drawing."""

    NEW = auto()
    GREETING = auto()
    OPEN = auto()
    CLOSED = auto()


def tag_of(digest: bytes) -> int:
    """What a frame carries to name a bundle: the first 8 bytes of its digest, little-endian."""
    return int.from_bytes(digest[:8], "little")


class ClientSession:
    """The caller's end: a device, or an edge towards its cloud."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._state = State.NEW
        self._in_flight: dict[int, None] = {}
        self._welcome: Welcome | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def welcome(self) -> Welcome | None:
        """What the tier said first, once it has."""
        return self._welcome

    @property
    def credits_left(self) -> int:
        """Frames that may be sent now; 0 unless the stream is open."""
        if self._welcome is None or self._state is not State.OPEN:
            return 0
        return self._welcome.credits - len(self._in_flight)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Ids of the frames sent and not answered, oldest first."""
        return tuple(self._in_flight)

    def start(self) -> bytes:
        """The first message to send.

        Raises:
            LocalProtocolError: already started.
        """
        if self._state is not State.NEW:
            raise LocalProtocolError("the session has been started; make a new one for each stream")
        data = encode_upward(self._hello)
        self._state = State.GREETING
        return data

    def send_frame(self, frame: Frame) -> bytes:
        """The message that sends a frame; takes one credit until the frame is answered.

        Raises:
            LocalProtocolError: as `begin_frame`.
        """
        return self.begin_frame(frame) + frame.payload

    def begin_frame(self, frame: Frame) -> bytes:
        """The message of `send_frame` but for the payload, which follows it, and may be long.

        Raises:
            LocalProtocolError: the stream is not open, no credit is left, the id is in use, the payload is longer
                than this tier takes, or a value is outside the limits.
        """
        welcome = self._require_open()
        if frame.id in self._in_flight:
            raise LocalProtocolError(f"frame {frame.id} is in flight; ids must be unique until answered")
        if len(self._in_flight) >= welcome.credits:
            raise LocalProtocolError(f"all {welcome.credits} credits are in use; wait for an answer")
        if len(frame.payload) > welcome.max_payload_bytes:
            raise LocalProtocolError(
                f"a payload of {len(frame.payload)} bytes is longer than the {welcome.max_payload_bytes} taken here"
            )
        head = frame_head(frame)
        self._in_flight[frame.id] = None
        return head

    @property
    def takes_chunks(self) -> bool:
        """Whether the tier reads frames in chunks."""
        return self._welcome is not None and self._welcome.version >= CHUNKS_VERSION

    @property
    def takes_fronts(self) -> bool:
        """Whether the tier reads frames in chunks that are cut short."""
        return self.takes_chunks and self._welcome is not None and self._welcome.takes_fronts

    def withdraw(self, frame_id: int) -> None:
        """Forget a frame whose message was never sent, at least not all of it; its credit is back at once.

        Of a frame in chunks, tell the tier by `Cancel` that the rest will not come.

        Raises:
            LocalProtocolError: the frame is not in flight.
        """
        if not self._end(frame_id):
            raise LocalProtocolError(f"frame {frame_id} is not in flight; it may have been answered already")

    def cancel(self, frame_id: int) -> bytes:
        """The message that says a frame in flight is no longer needed. Its credit returns with its answer.

        Raises:
            LocalProtocolError: the stream is not open or the frame not in flight.
        """
        self._require_open()
        if frame_id not in self._in_flight:
            raise LocalProtocolError(f"frame {frame_id} is not in flight; it may have been answered already")
        return encode_upward(Cancel(frame_id))

    def probe(self, probe_id: int, filler: bytes = b"") -> bytes:
        """The message of a probe, which the tier echoes without the filler.

        Raises:
            LocalProtocolError: the stream is not open.
        """
        self._require_open()
        return encode_upward(Probe(probe_id, filler))

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take one message from the tier.

        Raises:
            RemoteProtocolError: the tier broke the protocol. The session is closed; `in_flight` will not be answered.
            LocalProtocolError: not started, or closed.
        """
        if self._state in (State.NEW, State.CLOSED):
            raise LocalProtocolError(f"a {self._state.name.lower()} session receives nothing")
        try:
            return self._take(data)
        except RemoteProtocolError:
            self._state = State.CLOSED
            raise

    def close(self) -> tuple[int, ...]:
        """End the session, as when the connection is lost; the ids of frames that will not be answered."""
        self._state = State.CLOSED
        return self.in_flight

    def _require_open(self) -> Welcome:
        if self._welcome is None or self._state is not State.OPEN:
            raise LocalProtocolError(f"the stream is {self._state.name.lower()}, not open; wait for Welcomed")
        return self._welcome

    def _take(self, data: bytes) -> list[ClientEvent]:
        message = decode_downward(data)
        if isinstance(message, Refusal) and message.id == 0:
            return [StreamRefused(message, self.close())]
        if self._state is State.GREETING:
            if not isinstance(message, Welcome):
                raise _out_of_order("the tier's first message must be Welcome or Refusal")
            return [self._open(message)]
        match message:
            case Result():
                return [Answered(message)] if self._end(message.id) else []
            case Refusal():
                return [Refused(message)] if self._end(message.id) else []
            case Probe():
                return [Probed(message)]
            case Received(count):
                return [Progressed(count)]
            case _:
                raise _out_of_order("Welcome came twice")

    def _open(self, welcome: Welcome) -> Welcomed:
        if not MIN_VERSION <= welcome.version <= self._hello.version:
            detail = (
                f"the tier chose version {welcome.version}; this caller speaks {MIN_VERSION} to {self._hello.version}"
            )
            raise RemoteProtocolError(Code.VERSION, detail)
        self._welcome = welcome
        self._state = State.OPEN
        return Welcomed(welcome)

    def _end(self, frame_id: int) -> bool:
        """Give a frame's credit back. A second answer to one frame, or one to no frame, changes nothing."""
        if frame_id not in self._in_flight:
            return False
        del self._in_flight[frame_id]
        return True


class ServerSession:
    """The tier's end of one stream.

    Args:
        bundles: gives the digests served now; asked at each hello and frame, so it may change.
        welcome: makes the welcome for a hello; its `version` is replaced by the one both speak.
    """

    def __init__(self, *, bundles: Callable[[], Collection[bytes]], welcome: Callable[[Hello], Welcome]) -> None:
        self._bundles = bundles
        self._make_welcome = welcome
        self._state = State.NEW
        self._draining = False
        self._in_flight: set[int] = set()
        self._digests: dict[int, bytes] = {}
        self._credits = 0
        self._max_payload_bytes = 0
        self._takes_chunks = False
        self._assembly = Assembly()

    @property
    def state(self) -> State:
        return self._state

    @property
    def in_flight(self) -> frozenset[int]:
        """Ids of the frames that still need an answer."""
        return frozenset(self._in_flight)

    def receive(self, data: bytes) -> list[ServerEvent]:
        """Take one message from the caller.

        Raises:
            RemoteProtocolError: the caller broke the protocol in a way that no frame can answer for. The session is
                closed; send `refuse_stream(error.code, error.detail)` and end the stream.
            LocalProtocolError: the session is closed.
        """
        if self._state is State.CLOSED:
            raise LocalProtocolError("a closed session receives nothing")
        try:
            return [self._greet(data)] if self._state is State.NEW else self._take(data)
        except RemoteProtocolError:
            self._state = State.CLOSED
            raise

    def answer(self, result: Result) -> bytes:
        """The message that answers a frame.

        Raises:
            LocalProtocolError: the frame is not waiting for an answer, or the result is outside the limits.
        """
        self._require_waiting(result.id)
        data = encode_downward(result)
        self._in_flight.discard(result.id)
        return data

    def refuse(self, refusal: Refusal) -> bytes:
        """The message that refuses a frame.

        Raises:
            LocalProtocolError: the frame is not waiting for an answer, or a value is outside the limits.
        """
        self._require_waiting(refusal.id)
        data = encode_downward(refusal)
        self._in_flight.discard(refusal.id)
        return data

    def refuse_stream(self, code: Code, detail: str, *, retry_after_us: int = 0) -> bytes:
        """The last message of a stream that the tier ends. The session is closed; frames in flight are void."""
        self._state = State.CLOSED
        self._in_flight.clear()
        return encode_downward(Refusal(0, code, detail, retry_after_us))

    def drain(self) -> None:
        """Refuse every frame from now on with `DRAINING`; those in flight are still answered."""
        self._draining = True

    def _require_waiting(self, frame_id: int) -> None:
        if self._state is not State.OPEN:
            raise LocalProtocolError(f"the stream is {self._state.name.lower()}; nothing can be answered on it")
        if frame_id not in self._in_flight:
            raise LocalProtocolError(f"frame {frame_id} is not waiting for an answer on this stream")

    def _greet(self, data: bytes) -> Greeted:
        if len(data) > MAX_HELLO_BYTES:
            raise _out_of_order(f"the first message must be Hello, of at most {MAX_HELLO_BYTES} bytes")
        hello = _first_hello(data)
        if hello.version < MIN_VERSION:
            detail = f"version {hello.version} is not spoken here; versions {MIN_VERSION} to {VERSION} are"
            raise RemoteProtocolError(Code.VERSION, detail)
        welcome = self._make_welcome(hello)
        welcome = replace(
            welcome, credits=min(welcome.credits, MAX_CREDITS), version=min(hello.version, VERSION), takes_fronts=True
        )
        reply = encode_downward(welcome)
        self._digests = {tag_of(digest): digest for digest in hello.bundles}
        self._credits, self._max_payload_bytes = welcome.credits, welcome.max_payload_bytes
        self._takes_chunks = welcome.version >= CHUNKS_VERSION
        self._state = State.OPEN
        return Greeted(hello, reply)

    def _take(self, data: bytes) -> list[ServerEvent]:
        try:
            message = decode_upward(data)
        except RemoteProtocolError as error:
            if error.frame_id == 0:
                raise
            return [_faulty(error.frame_id, error.code, error.detail)]
        match message:
            case Frame():
                return [self._accept(message)]
            case Cancel(frame_id):
                unfinished = self._assembly.forget(frame_id)
                return [Cancelled(frame_id)] if frame_id in self._in_flight and not unfinished else []
            case Chunk():
                return self._add(message)
            case Front():
                return [self._cut_short(message)]
            case Probe():
                return [Probed(message, encode_downward(message))]
            case Hello():
                raise _out_of_order("Hello came twice")

    def _add(self, chunk: Chunk) -> list[ServerEvent]:
        """One more part of a frame; with the last one, the frame."""
        if not self._takes_chunks:
            raise _out_of_order(f"chunks need version {CHUNKS_VERSION}")
        whole = self._assembly.add(chunk)
        count = self._assembly.received_bytes
        progressed = Progressed(count, encode_downward(Received(count)))
        return [progressed] if whole is None else [progressed, self._accept_whole(whole, chunk)]

    def _accept_whole(self, data: bytes, last: Chunk) -> FrameArrived | Faulty:
        try:
            frame = decode_upward(data)
        except RemoteProtocolError as error:
            return _faulty(last.id, error.code, error.detail)
        return self._accept_later(frame, last)

    def _cut_short(self, front: Front) -> FrameArrived | Faulty:
        """The rest of a frame in chunks does not come."""
        try:
            frame = decode_front(self._assembly.cut_short(front), front)
        except RemoteProtocolError as error:
            if error.frame_id == 0:
                raise
            return _faulty(front.id, error.code, error.detail)
        return self._accept_later(frame, front)

    def _accept_later(self, message: Upward, last: Chunk | Front) -> FrameArrived | Faulty:
        """What has come in chunks, as `last` ended them."""
        if not isinstance(message, Frame) or message.id != last.id:
            raise _out_of_order(f"the chunks of frame {last.id} hold something else")
        return self._accept(replace(message, remaining_us=max(0, message.remaining_us - last.waited_us)))

    def _accept(self, frame: Frame) -> FrameArrived | Faulty:
        fault = self._fault_of(frame)
        if fault is not None:
            return _faulty(frame.id, *fault)
        try:
            frame.verify()
        except RemoteProtocolError as error:
            return _faulty(frame.id, error.code, error.detail)
        self._in_flight.add(frame.id)
        return FrameArrived(frame)

    def _fault_of(self, frame: Frame) -> tuple[Code, str] | None:
        if frame.id in self._in_flight:
            return Code.MALFORMED, f"frame {frame.id} is unanswered; ids must be unique until answered"
        if self._draining:
            return Code.DRAINING, "this tier is shutting down; use another or come back later"
        if len(self._in_flight) >= self._credits:
            return Code.OVERLOADED, f"all {self._credits} credits of this stream are in use; wait for an answer"
        if len(frame.payload) > self._max_payload_bytes:
            return (
                Code.TOO_LONG,
                f"a payload of {len(frame.payload)} bytes is longer than the {self._max_payload_bytes} taken here",
            )
        digest = self._digests.get(frame.bundle)
        if digest is None:
            return Code.UNKNOWN_BUNDLE, "the frame's bundle was not named in this stream's Hello"
        if digest not in self._bundles():
            return Code.UNKNOWN_BUNDLE, "the frame's bundle is not served here"
        return None


def _faulty(frame_id: int, code: Code, detail: str) -> Faulty:
    refusal = Refusal(frame_id, code, detail)
    return Faulty(refusal, encode_downward(refusal))


def _out_of_order(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED, detail)


def _first_hello(data: bytes) -> Hello:
    message = decode_upward(data)
    if not isinstance(message, Hello):
        raise _out_of_order("the first message must be Hello")
    return message

"""What a session (`protocol.session`) makes of the bytes that it is given. `reply` is to be sent back."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.messages import Frame, Hello, Probe, Refusal, Result, Welcome


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The tier accepts the stream: frames may be sent."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame of ours has its result; its credit is back."""

    result: Result


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame of ours is refused; its credit is back."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """The tier ends the stream; `frames` were in flight and will not be answered. The session is closed."""

    refusal: Refusal
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe came: at a tier, with its echo as `reply`, to be sent; at a caller, our own come back, with none."""

    probe: Probe
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class Progressed:
    """So many bytes of chunks have come: at a tier, with `reply`, to be sent; at a caller, of ours."""

    received_bytes: int
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class Greeted:
    """A caller said hello; `reply` is the welcome, to be sent."""

    hello: Hello
    reply: bytes


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame within limits, with a valid checksum and of a bundle known here. It must be answered once."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller no longer needs this unanswered frame. Answering it (`EXPIRED`, or its result) is still due."""

    frame_id: int


@dataclass(frozen=True, slots=True)
class Faulty:
    """A frame that cannot be accepted; `reply` is its refusal, to be sent. The stream goes on."""

    refusal: Refusal
    reply: bytes


ClientEvent = Welcomed | Answered | Refused | StreamRefused | Probed | Progressed
ServerEvent = Greeted | FrameArrived | Cancelled | Probed | Progressed | Faulty

"""Errors of the wire, and the ancestor of every error that a person can meet.

IsthmusError
└── IsthmusProtocolError
    ├── LocalProtocolError       we broke the protocol: a bug on this side
    └── RemoteProtocolError      the peer broke it: refuse the frame or end the stream
        └── BitstreamError       a payload that is no bitstream of its level
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Why a frame or a stream is refused. Numbers are those of `isthmus.proto` and never change."""

    CODE_UNSPECIFIED = 0
    MALFORMED = 1
    VERSION = 2
    UNKNOWN_BUNDLE = 3
    UNKNOWN_CUT = 4
    WRONG_SHAPE = 5
    TOO_LONG = 6
    CHECKSUM = 7
    UNDECODABLE = 8
    EXPIRED = 9
    OVERLOADED = 10
    UPSTREAM = 11
    DRAINING = 12
    INTERNAL = 13
    FORBIDDEN = 14


class IsthmusError(Exception):
    """Ancestor of every error with a sentence for a person; programs print it and leave with `exit_code`."""

    exit_code: int = 1


class IsthmusProtocolError(IsthmusError):
    """Base of everything that goes wrong on the wire."""


class LocalProtocolError(IsthmusProtocolError):
    """This side asked for something that the protocol forbids now. A bug, or the state was not looked at."""


class RemoteProtocolError(IsthmusProtocolError):
    """The peer's bytes break the protocol.

    Attributes:
        code: what a `Refusal` should carry.
        detail: one sentence that may be sent back to the peer.
        frame_id: the frame at fault where it could be read, else 0 (the stream as a whole).
    """

    def __init__(self, code: Code, detail: str, *, frame_id: int = 0) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
        self.detail = detail
        self.frame_id = frame_id


class BitstreamError(RemoteProtocolError):
    """A payload cannot be decoded with the given tables: truncated, damaged, too long or not made for them."""

    def __init__(self, detail: str, *, frame_id: int = 0) -> None:
        super().__init__(Code.UNDECODABLE, detail, frame_id=frame_id)

"""What carries messages between the two ends: anything that keeps them apart and in order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

FOREVER_S = float("inf")


class Outgoing(NamedTuple):
    """An encoded message, and when it is of no more use, on the sender's clock."""

    data: bytes
    due_s: float = FOREVER_S


class StreamEnded(Exception):
    """The stream is over; the sentence tells why."""


class Stream(Protocol):
    """One end of one stream of messages."""

    @property
    def most_bytes(self) -> int:
        """No longer message can be written."""
        ...

    @property
    def whole_bytes(self) -> int:
        """Frames up to this length are not cut into chunks: what comes behind does not wait for them anyway."""
        ...

    async def read(self) -> Sequence[bytes]:
        """The next messages; none when the other end has ended the stream.

        Raises:
            StreamEnded: it broke.
            RemoteProtocolError: the bytes are not what this transport carries.
        """
        ...

    async def write(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages over; returns when more may be written.

        Raises:
            StreamEnded: it broke.
        """
        ...


class Connector(Protocol):
    """Opens streams to one tier, each over a fresh connection."""

    def open(self) -> AbstractAsyncContextManager[Stream]:
        """A stream; leaving the context ends it.

        Raises:
            StreamEnded: there is no way to the tier now.
        """
        ...

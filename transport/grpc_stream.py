"""Messages over a bidirectional gRPC stream: several that go together are packed into one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from protocol.limits import MAX_MESSAGE_BYTES
from protocol.packing import packs, unpack
from transport.errors import CertificateUnusable
from transport.options import STREAM_METHOD, channel_options
from transport.seam import Outgoing, Stream, StreamEnded
from transport.settings import Dial

_log = logging.getLogger(__name__)


class GrpcStream:
    """Over the call object of either end."""

    most_bytes = MAX_MESSAGE_BYTES
    whole_bytes = 0

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> Sequence[bytes]:
        """The next messages; none when the other end has ended the stream."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as exc:
            raise StreamEnded(f"{exc.code().name.lower()}: {exc.details()}") from exc
        return () if data is grpc.aio.EOF else unpack(data)

    async def write(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages over, packed where there are several."""
        try:
            if len(messages) == 1:
                await self._call.write(messages[0].data)
                return
            for data in packs([message.data for message in messages]):
                await self._call.write(data)
        except grpc.aio.AioRpcError as exc:
            raise StreamEnded(f"{exc.code().name.lower()}: {exc.details()}") from exc
        except asyncio.InvalidStateError as exc:
            raise StreamEnded("the call has ended") from exc


class GrpcConnector:
    """Opens streams to a tier that listens.

    Raises:
        CertificateUnusable: a TLS file cannot be read.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._credentials = dial.tls.credentials() if dial.tls is not None else None
        self._options = channel_options(dial.tls.server_name if dial.tls is not None else None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stream]:
        """A stream over a channel of its own; gRPC connects as the first message is written."""
        async with self._channel() as channel:
            yield GrpcStream(channel.stream_stream(STREAM_METHOD)())

    def _channel(self) -> grpc.aio.Channel:
        if self._dial.tls is None:
            return grpc.aio.insecure_channel(self._dial.target, options=self._options)
        try:
            self._credentials = self._dial.tls.credentials()  # they may have been renewed
        except CertificateUnusable as exc:
            _log.error("%s; the credentials read before stay in use", exc)
        return grpc.aio.secure_channel(self._dial.target, self._credentials, options=self._options)

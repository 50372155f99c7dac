"""A caller without manners: writes any bytes, reads when it likes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from protocol.messages import Downward, Hello, Welcome, decode_downward, encode_upward
from protocol.packing import unpack
from transport.options import STREAM_METHOD, channel_options


class RawStream:
    def __init__(self, call: Any) -> None:
        self._call = call
        self._unread: deque[bytes] = deque()

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(20):
            await self._call.write(data)

    async def read(self) -> Downward | None:
        """The next message, or None at the stream's end."""
        if not self._unread:
            async with asyncio.timeout(20):
                data = await self._call.read()
            if data is grpc.aio.EOF:
                return None
            self._unread.extend(unpack(data))
        return decode_downward(self._unread.popleft())

    async def greet(self, *bundles: bytes) -> Welcome:
        await self.write(encode_upward(Hello("rude", bundles)))
        welcome = await self.read()
        assert isinstance(welcome, Welcome)
        return welcome


@asynccontextmanager
async def raw_stream(port: int) -> AsyncIterator[RawStream]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options(None)) as channel:
        yield RawStream(channel.stream_stream(STREAM_METHOD)())

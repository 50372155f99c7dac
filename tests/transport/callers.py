"""A caller that records what it is told, and a server around any handler, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from protocol.messages import Frame, Hello, Refusal, Result
from transport.client import FrameClient
from transport.events import ClientEvent
from transport.server import FrameServer, Identity
from transport.settings import Dial, Listen
from transport.stream import Handler, Request

DIGEST = bytes(range(32))
TAG = int.from_bytes(DIGEST[:8], "little")


def frame(frame_id: int, payload: bytes = b"payload", remaining_us: int = 30_000_000, **changes: Any) -> Frame:
    return Frame.build(
        id=frame_id,
        bundle=TAG,
        cut=0,
        level=0,
        shape=(len(payload),),
        payload=payload,
        remaining_us=remaining_us,
        **changes,
    )


async def echo(request: Request) -> Result | Refusal:
    return Result(request.frame.id, (), "edge")


class Caller:
    """A client whose events can be awaited one by one."""

    def __init__(self, target: str, **options: Any) -> None:
        self._events: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._tried = asyncio.Event()
        options.setdefault("sleep", self._sleep)
        dial = options.pop("dial", None) or Dial(target=target)
        hello = Hello(options.pop("name", "tester"), (DIGEST,))
        self.client = FrameClient(dial, hello, self._events.put_nowait, **options)

    async def _sleep(self, delay_s: float) -> None:
        self._tried.set()
        await asyncio.sleep(delay_s)

    async def event(self) -> ClientEvent:
        async with asyncio.timeout(20):
            return await self._events.get()

    async def expect(self, kind: type[Any]) -> Any:
        event = await self.event()
        assert isinstance(event, kind), event
        return event

    async def attempted(self) -> str:
        """Why the latest attempt to connect failed, once one has."""
        while self.client.reason == "not connected yet":
            self._tried.clear()
            await self._tried.wait()
        return self.client.reason

    def nothing_waits(self) -> bool:
        return self._events.empty()


@asynccontextmanager
async def calling(target: str, **options: Any) -> AsyncIterator[Caller]:
    caller = Caller(target, **options)
    async with caller.client:
        yield caller


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[FrameServer]:
    listen = options.pop("listen", Listen())
    server = FrameServer(handler, listen, Identity("edge", lambda: (DIGEST,)), **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()

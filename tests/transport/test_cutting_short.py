"""A frame that is cut short on a real stream: the tier has the front of its payload, and answers it."""

from __future__ import annotations

import asyncio

import pytest

from protocol.messages import Frame, Refusal, Result
from tests.transport.callers import calling, frame, serving
from transport.events import Answered, Welcomed
from transport.stream import Request

LONG = bytes(range(256)) * 4_000


class Tier:
    """Answers at once and keeps what it was asked."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def __call__(self, request: Request) -> Result | Refusal:
        self.frames.append(request.frame)
        return Result(request.frame.id, (), "edge")


@pytest.mark.parametrize("mid_flight", [False, True])
async def test_the_tier_answers_the_front_and_the_next_frame_whole(mid_flight: bool) -> None:
    tier = Tier()
    async with serving(tier) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        client = caller.client
        size = client.send(frame(1, LONG))
        while mid_flight and client.written(1) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        shortened = client.shorten(1, 5_000)
        assert shortened is not None
        assert shortened.message_bytes == size - shortened.taken_back
        client.send(frame(2, LONG[:3000]))
        assert {(await caller.expect(Answered)).result.id for _ in range(2)} == {1, 2}
        assert client.shorten(1, 10) is None
        assert client.written(1) == float("inf")
    front = next(one for one in tier.frames if one.id == 1)
    assert front.is_front
    assert len(front.payload) == len(LONG) - shortened.taken_back
    assert front.payload == LONG[: len(front.payload)]
    if not mid_flight:
        assert len(front.payload) == 5_000
    assert [one.is_front for one in tier.frames if one.id == 2] == [False]

"""The order in which messages leave."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from protocol.chunks import Assembly, Chunk, Front, decode_chunk
from protocol.limits import MAX_PARTED
from protocol.messages import decode_upward
from transport.uplink import Uplink
from transport.window import Window

LONG = bytes(range(256)) * 256
VERY_LONG = LONG * 10


def uplink(in_parts: bool = True) -> tuple[Uplink, Window]:
    window = Window()
    made = Uplink(window, lambda: 5.0)
    made.in_parts = in_parts
    return made, window


def put(queue: Uplink, frame_id: int, message: bytes, due_s: float) -> None:
    queue.put_frame(frame_id, message[:3], message[3:], 5.0, due_s)


async def taken(queue: Uplink, window: Window, count: int = 0) -> list[str]:
    """The next messages, by name; chunks by their frame, confirmed at once and joined where they follow each other."""
    names: list[str] = []
    while len(queue) and (not count or len(names) < count):
        for data, _ in await queue.take():
            name = f"chunk {decode_chunk(data).id}" if data[:1] == b"\x32" else data[:9].decode().strip()
            if names[-1:] != [name]:
                names.append(name)
        window.received(window._sent_bytes, 5.0)
    return names


async def test_the_earliest_deadline_leaves_first_and_equal_ones_in_order() -> None:
    queue, window = uplink()
    for frame_id, due_s in ((1, 9.0), (2, 7.0), (3, 9.0), (4, 8.0)):
        put(queue, frame_id, b"frame %d" % frame_id, due_s=due_s)
    queue.put(b"probe")
    assert await taken(queue, window) == ["probe", "frame 2", "frame 4", "frame 1", "frame 3"]


async def test_an_urgent_frame_goes_between_the_chunks_of_a_long_one() -> None:
    queue, window = uplink()
    put(queue, 1, LONG, due_s=9.0)
    assembly = Assembly()
    parts = [decode_chunk(data) for data, _ in await queue.take()]
    assert 0 < len(parts) < 4
    put(queue, 2, b"frame 2", due_s=7.0)
    put(queue, 3, b"frame 3", due_s=11.0)
    window.received(window._sent_bytes, 5.0)
    while len(queue):
        for data, _ in await queue.take():
            if data[:1] == b"\x32":
                parts.append(decode_chunk(data))
            else:
                whole = sum(len(part.data) for part in parts) == len(LONG)
                assert data == (b"frame 3" if whole else b"frame 2")
        window.received(window._sent_bytes, 5.0)
    assert [assembly.add(part) for part in parts][-1] == LONG


async def test_long_frames_wait_for_room_and_urgent_ones_do_not() -> None:
    queue, window = uplink()
    put(queue, 1, LONG, due_s=9.0)
    while window.has_room_for(window.chunk_bytes):
        await queue.take()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    put(queue, 2, b"frame 2", due_s=7.0)
    assert await waiting == [(b"frame 2", 7.0)]


async def test_short_frames_wait_for_room_until_the_tier_is_silent() -> None:
    window = Window()
    queue = Uplink(window, time.monotonic)
    queue.in_parts = True
    for frame_id in range(1, 40):
        put(queue, frame_id, LONG[:4000], due_s=time.monotonic() + 60.0)
    async with asyncio.timeout(30):
        while window.has_room_for(window.chunk_bytes):
            await queue.take()
        assert len(queue)
        while len(queue):
            await queue.take()
    assert window.silent_in_s(time.monotonic()) <= 0


async def test_a_tier_without_chunks_gets_frames_whole() -> None:
    queue, _ = uplink(in_parts=False)
    put(queue, 1, LONG, due_s=9.0)
    assert await queue.take() == [(LONG, 9.0)]


async def test_a_frame_is_withdrawn_before_between_and_after_its_parts() -> None:
    queue, window = uplink()
    put(queue, 1, b"frame 1", due_s=6.0)
    assert queue.withdraw(1) == 0
    put(queue, 2, LONG, due_s=9.0)
    put(queue, 3, b"frame 3", due_s=10.0)
    first = await queue.take()
    assert queue.withdraw(2) == sum(len(decode_chunk(data).data) for data, _ in first)
    assert await taken(queue, window) == ["frame 3"]
    assert queue.withdraw(3) is None
    assert queue.withdraw(99) is None


async def test_no_more_frames_are_unfinished_than_a_tier_allows() -> None:
    now_s = [5.0]

    def later() -> float:  # chunks stay short on a link that takes 0.1 s for each
        now_s[0] += 0.1
        return now_s[0]

    window = Window()
    queue = Uplink(window, later)
    queue.in_parts = True
    begun: set[int] = set()
    for frame_id in range(1, MAX_PARTED + 5):  # each more urgent than those before
        put(queue, frame_id, VERY_LONG, due_s=100.0 - frame_id)
        begun |= {decode_chunk(data).id for data, _ in await queue.take()}
        window.received(window._sent_bytes, later())
    assert begun == set(range(1, MAX_PARTED + 1))
    assert set(await taken(queue, window)) == {f"chunk {frame_id}" for frame_id in range(1, MAX_PARTED + 5)}


async def until_front(queue: Uplink, window: Window, frame_id: int) -> tuple[bytes, Front]:
    """What leaves of a frame that is cut short, and how that is said."""
    data = b""
    while True:
        for message, _ in await queue.take():
            part = decode_upward(message)
            if isinstance(part, Front):
                return data, part
            assert isinstance(part, Chunk)
            assert (part.id, part.total, part.offset) == (frame_id, len(LONG), len(data))
            data += part.data
        window.received(window._sent_bytes, 5.0)


@pytest.mark.parametrize("kept", [100, 40_000])
async def test_a_frame_of_which_nothing_has_left_is_cut_short(kept: int) -> None:
    queue, window = uplink()
    queue.takes_fronts = True
    put(queue, 1, LONG, due_s=9.0)
    assert queue.written(1) == 0
    assert queue.shorten(1, kept) == (len(LONG), kept + 3)
    assert await until_front(queue, window, 1) == (LONG[: kept + 3], Front.of(1, 3, LONG[3 : kept + 3], 0))
    put(queue, 2, LONG[:9], due_s=10.0)
    assert await queue.take() == [(LONG[:9], 10.0)]
    assert queue.written(1) == math.inf
    assert queue.withdraw(1) is None


async def test_a_frame_of_which_parts_have_left_keeps_those_and_may_be_cut_again() -> None:
    queue, window = uplink()
    queue.takes_fronts = True
    put(queue, 1, LONG, due_s=9.0)
    before = b"".join(decode_chunk(data).data for data, _ in await queue.take())
    assert queue.written(1) == len(before) > 0
    assert queue.shorten(1, 50_000) == (len(LONG), 50_003)
    assert queue.shorten(1, 60_000) is None
    assert queue.shorten(1, 10) == (50_003, len(before))
    (end,) = await queue.take()
    assert decode_upward(end.data) == Front.of(1, 3, before[3:], 0)
    assert queue.shorten(1, 1) is None
    assert await taken(queue, window) == []


async def test_frames_go_whole_to_tiers_that_do_not_read_fronts_and_where_all_has_left() -> None:
    queue, window = uplink()
    put(queue, 1, LONG, due_s=9.0)
    assert queue.shorten(1, 10) is None
    queue.takes_fronts = True
    assert await taken(queue, window) == ["chunk 1"]
    assert queue.shorten(1, 10) is None
    assert queue.shorten(99, 10) is None

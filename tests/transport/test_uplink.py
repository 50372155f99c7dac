"""The order in which messages leave."""

from __future__ import annotations

import asyncio
import time

from protocol.chunks import Assembly, decode_chunk
from protocol.limits import MAX_PARTED
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
    while window.has_room:
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
        while window.has_room:
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

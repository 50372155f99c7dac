"""What a tier keeps for streams: bounded, dropped when idle, one step at a time. On a clock of the test's own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving.errors import Overloaded
from serving.states import Kept, States

EACH_BYTES = 800


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def _step(states: States, key: str, step: int) -> bool:
    """Run one step of a stream of one segment; whether its state was here."""
    async with states.turn(key) as kept:
        known = kept.begun([0], step) is not None
        kept.end({0: (np.zeros((1, EACH_BYTES // 8)),)}, [0], step)
    return known


async def test_the_streams_unused_for_longest_make_room_and_the_bound_holds() -> None:
    states = States(4 * EACH_BYTES, 1e9, Clock())
    for name in "abcdef":
        await _step(states, name, 0)
    assert states.explained() == {"streams": 4, "bytes": 4 * EACH_BYTES, "dropped": 2}
    assert [await _step(states, name, 1) for name in "fedc"] == [True] * 4
    assert [await _step(states, name, 1) for name in "ab"] == [False] * 2


async def test_a_stream_that_is_larger_than_the_bound_by_itself_can_go_on() -> None:
    states = States(EACH_BYTES // 2, 1e9, Clock())
    assert [await _step(states, "a", step) for step in range(5)] == [True] * 5
    await _step(states, "b", 0)
    assert states.explained()["streams"] == 1


async def test_a_stream_is_dropped_when_it_was_idle_for_too_long() -> None:
    clock = Clock()
    states = States(1 << 20, 10.0, clock)
    await _step(states, "a", 0)
    clock.now_s = 9.0
    await _step(states, "b", 0)
    clock.now_s = 11.0
    assert await _step(states, "b", 1)
    assert not await _step(states, "a", 1)


async def test_steps_of_one_stream_follow_each_other_and_those_of_others_do_not_wait() -> None:
    states = States(1 << 20, 1e9, Clock())
    order: list[str] = []
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold(key: str, name: str, *, wait: bool) -> None:
        async with states.turn(key):
            order.append(f"{name} begins")
            if wait:
                begun.set()
                await release.wait()
            order.append(f"{name} ends")

    first = asyncio.create_task(hold("a", "first", wait=True))
    await begun.wait()
    second = asyncio.create_task(hold("a", "second", wait=False))
    await hold("b", "other", wait=False)
    release.set()
    await asyncio.gather(first, second)
    assert order == ["first begins", "other begins", "other ends", "first ends", "second begins", "second ends"]


async def test_a_stream_at_work_is_never_dropped_and_a_new_one_is_refused_instead() -> None:
    states = States(EACH_BYTES, 0.001, clock := Clock())
    async with states.turn("a") as kept:
        kept.end({0: (np.zeros((1, EACH_BYTES // 4)),)}, [0], 0)
    async with states.turn("a") as kept:
        clock.now_s = 100.0
        with pytest.raises(Overloaded):
            async with states.turn("b"):
                pass
        assert kept.begun([0], 1) is not None
    async with states.turn("b") as fresh:
        assert fresh.begun([0], 1) is None


def test_the_step_a_stream_is_needed_from() -> None:
    kept = Kept()
    assert kept.begun([1, 2], 0) == {}
    assert kept.begun([1, 2], 3) is None
    assert kept.resume_at([1, 2], 3) == 0
    for step in range(2):
        kept.end({1: ()}, [1, 2], step)
    assert kept.begun([1, 2], 2) is not None
    assert kept.resume_at([1, 2], 3) == 2, "it goes on where it stands"
    assert kept.resume_at([1, 2], 1) == 0, "it cannot go back"
    kept.end({}, [1], 2)
    assert kept.begun([1, 2], 3) is None
    assert kept.resume_at([1, 2], 3) == 0, "its segments stand at different steps"

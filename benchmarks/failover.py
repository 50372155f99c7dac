"""How long answers stay away when a tier is killed in mid-stream, on loopback; part of `bench connections`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from benchmarks.figure import Figure
from benchmarks.wire import far_ends
from benchmarks.wire_ends import DIGEST
from protocol.messages import Frame, Hello
from protocol.session import tag_of
from transport.client import FrameClient
from transport.events import Answered, ClientEvent, Lost
from transport.settings import Dial

KILLS = 20
INTERVAL_S = 0.005
"""Between two frames."""
BEFORE_S, AFTER_S = 0.5, 1.0
"""Frames are sent for so long on either side of a kill."""
PAYLOAD = bytes(4 << 10)


def figures() -> Sequence[Figure]:
    """The longest gap between two answers around each kill, and the frames without an answer."""
    runs = [_one_kill() for _ in range(KILLS)]
    gaps = sorted(gap for gap, _ in runs)
    p99 = gaps[min(len(gaps) - 1, round(0.99 * len(gaps)))]
    return [
        Figure(
            "gap when a tier is killed, p99", p99, "s", 0.25, "at most", "loopback", KILLS, (gaps[-1] - gaps[0]) / 2
        ),
        Figure("frames without an answer", float(sum(left for _, left in runs)), "frames", 0.0, "at most", "", KILLS),
    ]


def _one_kill() -> tuple[float, int]:
    with ExitStack() as opened:
        first, second = (opened.enter_context(far_ends()) for _ in range(2))
        return asyncio.run(_Failover().run(first, second))


class _Failover:
    """Sends every frame to the first tier while it is there, and what that one loses to the second."""

    def __init__(self) -> None:
        self._unanswered: dict[int, Frame] = {}
        self._answers_s: list[float] = []
        self._clients: list[FrameClient] = []
        self._all_answered = asyncio.Event()

    async def run(self, first: dict[str, int], second: dict[str, int]) -> tuple[float, int]:
        async with (
            FrameClient(Dial(target=f"127.0.0.1:{first['frames']}"), Hello("bench", (DIGEST,)), self._learn) as one,
            FrameClient(Dial(target=f"127.0.0.1:{second['frames']}"), Hello("bench", (DIGEST,)), self._learn) as other,
        ):
            self._clients = [one, other]
            async with asyncio.timeout(60):
                await one.until_ready()
                await other.until_ready()
            killed_s = time.perf_counter() + BEFORE_S
            await self._send(first["pid"], killed_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self._all_answered.wait()
        around = [at_s for at_s in self._answers_s if at_s > killed_s - BEFORE_S / 2]
        return max(later - earlier for earlier, later in itertools.pairwise(around)), len(self._unanswered)

    async def _send(self, pid: int, killed_s: float) -> None:
        killed = False
        for number in range(1, round((BEFORE_S + AFTER_S) / INTERVAL_S)):
            frame = Frame.build(
                id=number, bundle=tag_of(DIGEST), cut=1, level=0, shape=(len(PAYLOAD),), payload=PAYLOAD,
                remaining_us=30_000_000,
            )  # fmt: skip
            self._unanswered[number] = frame
            self._all_answered.clear()
            self._pass_on(frame)
            if not killed and time.perf_counter() >= killed_s:
                os.kill(pid, signal.SIGKILL)
                killed = True
            await asyncio.sleep(INTERVAL_S)

    def _pass_on(self, frame: Frame) -> None:
        """To the first tier that takes it."""
        ready = [client for client in self._clients if client.credits_left > 0]
        if ready:
            ready[0].send(frame)

    def _learn(self, event: ClientEvent) -> None:
        match event:
            case Answered(result):
                self._answers_s.append(time.perf_counter())
                self._unanswered.pop(result.id, None)
                if not self._unanswered:
                    self._all_answered.set()
            case Lost(frames):
                for number in frames:
                    self._pass_on(self._unanswered[number])
            case _:
                pass

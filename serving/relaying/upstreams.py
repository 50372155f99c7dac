"""Several tiers above: the one that should answer first is asked, others where it fails or is late."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Final

from protocol.messages import Frame, Handover, Refusal, Result
from serving.errors import UpstreamUnreachable
from serving.relaying.prediction import Way, expected_s
from serving.upstream import ELSEWHERE, Upstream

_LATE: Final = 2.0
"""An answer is late after this many times what was expected, ..."""
_LATE_S: Final = 0.02
"""... and not before this."""
_HOMES: Final = 4096
"""Streams whose tier is remembered."""


class Upstreams:
    """Asks one of several tiers above. What one of them keeps for a stream, it is asked again for (see `home`).

    Args:
        upstreams: at least one; equals are asked in this order.
        clock: monotonic seconds, theirs.
    """

    def __init__(self, upstreams: Sequence[Upstream], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstreams = tuple(upstreams)
        self._clock = clock
        self._homes: OrderedDict[Hashable, Upstream] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether any can be asked now."""
        return any(upstream.ready for upstream in self._upstreams)

    def start(self) -> None:
        """Begin to connect to all."""
        for upstream in self._upstreams:
            upstream.start()

    async def close(self) -> None:
        """End all streams; whoever waits gets `UpstreamUnreachable`."""
        await asyncio.gather(*(upstream.close() for upstream in self._upstreams))

    async def ended(self) -> None:
        """Return when none is connected to any more; or raise what broke the first that broke, which is a defect."""
        await asyncio.gather(*(upstream.ended() for upstream in self._upstreams))

    async def until_ready(self) -> None:
        """Return as soon as all can be asked; put a timeout around it."""
        await asyncio.gather(*(upstream.until_ready() for upstream in self._upstreams))

    def best(self, payload_bytes: float) -> Upstream | None:
        """The one that should answer first; None where none can be asked."""
        return next(iter(self._in_order(payload_bytes)), None)

    async def ask(self, frame: Frame, home: Hashable = None) -> Result | Refusal:
        """An answer, from whichever gives one first; a refusal where all refuse. Cancelling withdraws the frame.

        Args:
            frame: `remaining_us` as of now.
            home: names the stream that a frame belongs to. Such frames go to one tier as long as it can be asked, and
                to one at a time.

        Raises:
            UpstreamUnreachable: none can be asked, or all broke off.
        """
        if home is not None:
            return await self._ask_home(frame, home)
        if len(self._upstreams) == 1:
            return await self._upstreams[0].ask(frame)
        return await self._ask_in_turn(frame)

    async def _ask_home(self, frame: Frame, home: Hashable) -> Result | Refusal:
        failed: UpstreamUnreachable | None = None
        for _ in self._upstreams:
            upstream = self._home(home, len(frame.payload))
            if upstream is None:
                break
            try:
                return await upstream.ask(frame)
            except UpstreamUnreachable as exc:
                failed = exc
                del self._homes[home]
        raise failed or UpstreamUnreachable("no tier above can be asked")

    def _home(self, home: Hashable, payload_bytes: float) -> Upstream | None:
        """Where a stream lives: where it did, as long as that can be asked."""
        upstream = self._homes.get(home)
        if upstream is None or not upstream.ready:
            upstream = self.best(payload_bytes)
            if upstream is None:
                return None
            self._homes[home] = upstream
        self._homes.move_to_end(home)
        if len(self._homes) > _HOMES:
            self._homes.popitem(last=False)
        return upstream

    async def _ask_in_turn(self, frame: Frame) -> Result | Refusal:
        """The best first; the next one as soon as all asked before have failed, or are late."""
        deadline_s = self._clock() + 1e-6 * frame.remaining_us
        left = self._in_order(len(frame.payload))
        asking: set[asyncio.Task[Result | Refusal]] = set()
        said: Refusal | UpstreamUnreachable = UpstreamUnreachable("no tier above can be asked")
        try:
            while left or asking:
                if left:
                    remaining_us = max(1, round(1e6 * (deadline_s - self._clock())))
                    asking.add(asyncio.create_task(left[0].ask(replace(frame, remaining_us=remaining_us))))
                patience_s = self._patience_s(left[0], len(frame.payload)) if len(left) > 1 else None
                left = left[1:]
                done, asking = await asyncio.wait(asking, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                for answer in map(_outcome, done):
                    if isinstance(answer, Result) or (isinstance(answer, Refusal) and answer.code not in ELSEWHERE):
                        return answer
                    said = answer
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if isinstance(said, Refusal):
            return said
        raise said

    def _in_order(self, payload_bytes: float) -> list[Upstream]:
        """Those that can be asked, the one that should answer first in front."""
        ready = [upstream for upstream in self._upstreams if upstream.ready]
        if len(ready) < 2:
            return ready
        return sorted(ready, key=lambda upstream: (not upstream.willing, self._expected_s(upstream, payload_bytes)))

    def _patience_s(self, upstream: Upstream, payload_bytes: float) -> float:
        return max(_LATE * self._expected_s(upstream, payload_bytes), _LATE_S)

    def _expected_s(self, upstream: Upstream, payload_bytes: float) -> float:
        """The way there and back and the wait there; what the work takes is about the same everywhere."""
        way = Way(Handover(0, 0), 0.0, payload_bytes, upstream.work_s)
        return float(expected_s([way], upstream.link(), upstream.wait_s(), self._clock())[0])


def _outcome(task: asyncio.Task[Result | Refusal]) -> Result | Refusal | UpstreamUnreachable:
    error = task.exception()
    if isinstance(error, UpstreamUnreachable):
        return error
    return task.result()

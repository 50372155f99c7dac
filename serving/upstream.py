"""The tier above, as something that is asked and answers."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

from protocol.messages import Frame, Hello, Refusal, Result
from serving.errors import UpstreamUnreachable
from transport.client import FrameClient
from transport.errors import NotReady
from transport.events import Answered, ClientEvent, Lost, Probed, Refused, Welcomed
from transport.settings import Dial


class Upstream:
    """A client of the tier above, whose frames carry ids of their own.

    Args:
        dial: its address and our credentials.
        hello: names this tier, and the bundles whose frames it will pass up.
    """

    def __init__(self, dial: Dial, hello: Hello) -> None:
        self._client = FrameClient(dial, hello, self._learn)
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Result | Refusal]] = {}

    @property
    def ready(self) -> bool:
        """Whether it can be asked now."""
        return self._client.credits_left > 0

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()

    async def close(self) -> None:
        """End the stream; whoever waits gets `UpstreamUnreachable`."""
        await self._client.close()

    async def until_ready(self) -> None:
        """Return as soon as a stream is up; put a timeout around it."""
        await self._client.until_ready()

    async def ask(self, frame: Frame) -> Result | Refusal:
        """Send a frame up and wait for its answer, which carries another id. Cancelling withdraws the frame.

        Raises:
            UpstreamUnreachable: no stream, no credit, or the stream broke before the answer.
        """
        frame_id = next(self._ids)
        answer: asyncio.Future[Result | Refusal] = asyncio.get_running_loop().create_future()
        self._asked[frame_id] = answer
        try:
            self._client.send(replace(frame, id=frame_id))
            return await answer
        except NotReady as exc:
            raise UpstreamUnreachable(str(exc)) from exc
        except asyncio.CancelledError:
            self._client.cancel(frame_id)
            raise
        finally:
            del self._asked[frame_id]

    def _learn(self, event: ClientEvent) -> None:
        match event:
            case Answered(result):
                self._settle(result)
            case Refused(refusal):
                self._settle(refusal)
            case Lost(frames, reason):
                for frame_id in frames:
                    answer = self._asked.get(frame_id)
                    if answer is not None and not answer.done():
                        answer.set_exception(UpstreamUnreachable(reason))
            case Welcomed() | Probed():
                pass

    def _settle(self, answer: Result | Refusal) -> None:
        asked = self._asked.get(answer.id)
        if asked is not None and not asked.done():
            asked.set_result(answer)

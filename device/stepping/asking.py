"""A tier as something that is asked and answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from protocol.messages import Frame, Hello, Refusal, Result
from transport.asking import Questions
from transport.client import FrameClient
from transport.errors import NotReady
from transport.events import Answered, ClientEvent, Lost, Refused
from transport.settings import Dial


class Unanswered(Exception):
    """No answer will come to this frame: there is no stream to the tier, or it broke."""


class Asked(Protocol):
    """What a stepper needs of a tier."""

    async def ask(self, frame: Frame) -> Result | Refusal:
        """The answer to a frame, which carries another id.

        Raises:
            Unanswered: none will come.
        """
        ...

    async def until_ready(self) -> None:
        """Return as soon as the tier can be asked."""
        ...


class Asker:
    """Asks one tier, over a stream that it keeps alive.

    Args:
        dial: its address and our credentials.
        hello: our greeting; names the bundle.
    """

    def __init__(self, dial: Dial, hello: Hello) -> None:
        self._client = FrameClient(dial, hello, self._learn)
        self._questions = Questions(Unanswered)

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()

    async def close(self) -> None:
        """End the stream."""
        await self._client.close()

    async def until_ready(self) -> None:
        """Return as soon as a stream is up; put a timeout around it."""
        await self._client.until_ready()

    async def ask(self, frame: Frame) -> Result | Refusal:
        """The answer to a frame. Cancelling withdraws it.

        Raises:
            Unanswered: no stream, or it broke before the answer.
        """
        with self._questions.asked() as (frame_id, answer):
            try:
                self._client.send(replace(frame, id=frame_id))
                return await answer
            except NotReady as exc:
                raise Unanswered(str(exc)) from exc
            except asyncio.CancelledError:
                self._client.cancel(frame_id)
                raise

    def _learn(self, event: ClientEvent) -> None:
        match event:
            case Answered(result):
                self._questions.settle(result)
            case Refused(refusal):
                self._questions.settle(refusal)
            case Lost(frames, reason):
                self._questions.lose(frames, reason)
            case _:
                pass

"""Frames whose senders wait for the answer: what a client of a tier learns goes to whoever asked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from protocol.messages import Refusal, Result


class Questions:
    """Frames of one client that are not answered yet, by ids of their own.

    Args:
        unanswered: the error of whoever asked a frame that was lost; takes the reason.
    """

    def __init__(self, unanswered: Callable[[str], Exception]) -> None:
        self._unanswered = unanswered
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Result | Refusal]] = {}

    @contextmanager
    def asked(self) -> Iterator[tuple[int, asyncio.Future[Result | Refusal]]]:
        """A frame's id and its answer to come; forgotten at the end."""
        frame_id = next(self._ids)
        answer: asyncio.Future[Result | Refusal] = asyncio.get_running_loop().create_future()
        self._asked[frame_id] = answer
        try:
            yield frame_id, answer
        finally:
            del self._asked[frame_id]

    def settle(self, answer: Result | Refusal) -> None:
        """An answer has come; of a frame that nobody waits for any more it is ignored."""
        asked = self._asked.get(answer.id)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    def lose(self, frame_ids: Iterable[int], reason: str) -> None:
        """No answer will come to these."""
        for frame_id in frame_ids:
            asked = self._asked.get(frame_id)
            if asked is not None and not asked.done():
                asked.set_exception(self._unanswered(reason))

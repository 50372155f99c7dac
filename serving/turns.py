"""One step of a stream in this tier: on which states it runs, and how it goes on above."""

from __future__ import annotations

from collections.abc import Hashable

from protocol.messages import Frame, Refusal, Result
from runtime.streams import Place, needed, placed
from serving.errors import StateLost
from serving.passage import Passage
from serving.relaying.upstreams import Upstreams
from serving.states import Kept


class Turn:
    """Belongs to one frame, while it has its stream to itself.

    Args:
        stream: names the stream among all that this tier knows.
        place: the frame's.
        kept: the stream's.
    """

    def __init__(self, stream: Hashable, place: Place, kept: Kept) -> None:
        self._stream = stream
        self._place = place
        self.kept = kept

    def begin(self, passage: Passage, segments: range) -> None:
        """Give a frame the states that these segments run it on.

        Raises:
            StateLost: they are not here.
        """
        states = self.kept.begun(segments, self._place.step)
        if states is None:
            raise StateLost(self.kept.resume_at(segments, self._place.step))
        passage.states = states

    def end(self, passage: Passage, segments: range) -> None:
        """The frame has gone through them: keep what the next step runs on."""
        self.kept.end(passage.states, segments, self._place.step)

    def upward(self, payload: bytes) -> bytes:
        """What goes up for this step, remembered in case that it has to be sent again."""
        whole = placed(self._place, payload)
        self.kept.sent.put(self._place.step, whole)
        return whole

    async def ask(self, upstreams: Upstreams, frame: Frame) -> Result | Refusal:
        """The answer from above; a tier that has lost the stream's state is sent all that it lacks first.

        Where that is not all here, the answer still asks for it, and is for the frame's sender.

        Raises:
            UpstreamUnreachable: no answer will come.
        """
        answer = await upstreams.ask(frame, self._stream)
        first = needed(answer) if isinstance(answer, Result) else None
        again = None if first is None else self.kept.sent.between(first, self._place.step + 1)
        for payload in again or ():
            answer = await upstreams.ask(_carrying(frame, payload), self._stream)
            if isinstance(answer, Refusal) or needed(answer) is not None:
                break
        return answer


def _carrying(frame: Frame, payload: bytes) -> Frame:
    """The same frame with another payload."""
    return Frame.build(
        id=frame.id,
        bundle=frame.bundle,
        cut=frame.cut,
        level=frame.level,
        shape=frame.shape,
        payload=payload,
        captured_us=frame.captured_us,
        remaining_us=frame.remaining_us,
        trace=frame.trace,
    )

"""The frames that are open, and the one place where they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from adaptation.plan import Route
from device.errors import HistoryError
from device.frames import OpenFrame, Step
from device.history import Ending, FrameRecord, History
from runtime.answers import Answer

UNCHANGED = "nothing has changed"
"""Why a frame has the answer of the one before."""
NOTHING = "nothing to see"
"""Why a frame is answered without a label: the learned filter's answer."""


class Later(Enum):
    """Whether a frame without an answer could get one when nothing hurries."""

    PERHAPS = auto()
    UNWANTED = auto()
    """A newer one took its place."""
    NEVER = auto()
    """It cannot be read, or does not fit the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a frame ended; what a frame without an answer has no use for is left out."""

    ended: Ending
    reason: str = ""
    by: Route | None = None
    exit: bool = False
    answer: Answer | None = None
    tier_s: float = 0.0
    network_s: float = 0.0
    later: Later = Later.PERHAPS


def dropped(reason: str, later: Later = Later.PERHAPS) -> Outcome:
    """Ended without having been tried to the end."""
    return Outcome(ended=Ending.DROPPED, reason=reason, later=later)


def answered_before(answer: Answer) -> Outcome:
    """Nothing has changed since a frame that was answered."""
    return Outcome(ended=Ending.ANSWERED, by=Route.DEVICE, answer=answer, reason=UNCHANGED)


def nothing_to_see() -> Outcome:
    """The learned filter says that the frame shows nothing: that is its answer."""
    return Outcome(ended=Ending.ANSWERED, by=Route.DEVICE, reason=NOTHING)


def expired(reason: str) -> Outcome:
    """Ended because no answer can come in time."""
    return Outcome(ended=Ending.EXPIRED, reason=reason)


class Endings:
    """Knows every open frame and writes the line of each that ends.

    Args:
        history: takes the lines.
        clock: the agent's.
        start_s: captures are told from here.
        after: called with each frame that has ended, its line and how; must not block and must not raise.
    """

    def __init__(
        self,
        history: History,
        *,
        clock: Callable[[], float],
        start_s: float,
        after: Callable[[OpenFrame, FrameRecord, Outcome], None] = lambda *_: None,
    ) -> None:
        self._history = history
        self._clock = clock
        self._start_s = start_s
        self._after = after
        self._open: dict[int, OpenFrame] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when a frame cannot be brought to its end; the run has to stop then."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, frame: OpenFrame) -> None:
        """A frame is open from here on."""
        self._history.begin(frame.id)
        self._open[frame.id] = frame
        self._none_open.clear()

    def open_frames(self) -> Iterable[OpenFrame]:
        """Every open frame, the oldest first."""
        return self._open.values()

    @property
    def explains(self) -> bool:
        """Whether decisions are worth describing: the history goes to a file."""
        return self._history.written

    def find(self, frame_id: int) -> OpenFrame | None:
        """The frame, if it is open."""
        return self._open.get(frame_id)

    async def all(self) -> None:
        """Wait until no frame is open."""
        await self._none_open.wait()

    def end(self, frame: OpenFrame, outcome: Outcome) -> None:
        """End a frame. One that has ended already keeps its first end."""
        if frame.step is Step.ENDED:
            return
        frame.step = Step.ENDED
        for timer in (frame.timer, frame.held):
            if timer is not None:
                timer.cancel()
        del self._open[frame.id]
        record = self._record(frame, outcome)
        try:
            self._history.end(record)
        except HistoryError as exc:
            self.fail(exc)
        self._after(frame, record, outcome)
        if frame.told is not None:
            frame.told()
        if not self._open:
            self._none_open.set()

    def fail(self, error: BaseException) -> None:
        """Bring the run to a stop; the first error counts."""
        if not self.fault.done():
            self.fault.set_exception(error)

    def end_all(self, outcome: Outcome) -> None:
        """End every open frame."""
        for frame in list(self._open.values()):
            self.end(frame, outcome)

    def _record(self, frame: OpenFrame, outcome: Outcome) -> FrameRecord:
        choice, latency_s = frame.choice, self._clock() - frame.captured_s
        return FrameRecord(
            frame=frame.id,
            captured_s=frame.captured_s - self._start_s,
            ended=outcome.ended,
            by=outcome.by,
            route=choice.route if choice else None,
            reason=outcome.reason,
            cut=choice.cut if choice else None,
            level=choice.level if choice else None,
            exit=outcome.exit,
            front_of=frame.front_of.level if frame.front_of else None,
            payload_bytes=_sent_bytes(frame),
            message_bytes=frame.message_bytes,
            latency_s=latency_s,
            deadline_s=frame.deadline_s - frame.captured_s,
            in_time=outcome.ended is Ending.ANSWERED and not frame.late and self._clock() <= frame.deadline_s,
            answer=outcome.answer.label if outcome.answer else None,
            confidence=outcome.answer.confidence if outcome.answer else None,
            device_s=frame.device_s,
            hedge_s=frame.hedge_s,
            tier_s=outcome.tier_s,
            network_s=outcome.network_s,
            decision=None if frame.explain is None else frame.explain(),
            source=frame.name,
            key=frame.key,
            late=frame.late,
        )


def _sent_bytes(frame: OpenFrame) -> int:
    """Of its payload."""
    if frame.front_of is not None:
        return frame.front_bytes
    return len(frame.payload) if frame.message_bytes else 0

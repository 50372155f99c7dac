"""Takes a stream of frames through head and tiers, and through the loss of a tier that keeps its state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from numpy.typing import NDArray

from device.errors import StreamBroken
from device.stepping.asking import Asked, Unanswered
from protocol.errors import Code
from protocol.messages import Frame, Handover, Result, Tensor
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import Engine
from runtime.stage import Stage, State
from runtime.streams import Place, Sent, needed, placed

_AGAIN_S: Final = 0.02
"""Between two tries where a tier does not say when to come back."""
_SHARE_OF_TRY: Final = 0.3
"""Of the patience for a step, the deadline of each try: an edge whose cloud is silent gives it up in time."""
_PASSING: Final = frozenset({Code.OVERLOADED, Code.DRAINING, Code.EXPIRED, Code.UPSTREAM})
"""Refusals that may not come again."""


class Stepper:
    """One stream of a bundle whose segments keep state: step n goes on from what step n - 1 left, on every tier.

    The device runs the segments before the cut and keeps their state itself. It keeps what it sent, too: a tier that
    has lost its part of the stream is sent all of it again, which costs time and changes no answer.

    Args:
        bundle: the model.
        engine: runs the head.
        tier: answers; starting and closing it stays with the caller.
        stream: the stream's id, 0 to 2^64 - 1: drawn at random, so that none is ever used twice.
        cut: where frames leave the device.
        level: how they are encoded there; take a lossless one for the very answers of the whole model.
        handover: where the edge passes them on, if it is to.
        patience_s: for one step, with all that has to be sent again.
        sleep: waits between tries.

    Attributes:
        steps: answered so far.
        sent_again: frames that were sent again because a tier had lost its part of the stream.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        tier: Asked,
        *,
        stream: int,
        cut: int,
        level: int,
        handover: Handover | None = None,
        patience_s: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bundle = bundle
        self._stage = Stage(bundle, engine)
        self._codec = Codecs(bundle, engine).at(cut, level)
        self._tier = tier
        self._stream = stream
        self._cut = cut
        self._level = level
        self._handover = handover
        self._patience_s = patience_s
        self._sleep = sleep
        self._states: dict[int, State] = {}
        self._sent = Sent()
        self.steps = 0
        self.sent_again = 0

    async def step(self, item: NDArray[Any]) -> tuple[Tensor, ...]:
        """The model's outputs for the next item of the stream, without the batch axis.

        Args:
            item: [1, ...] as the bundle's input declares it.

        Raises:
            StreamBroken: no answer within the patience, or the tier refuses the stream for good.
            UnsupportedShape: not such an item.
        """
        activation, states = self._head(item)
        place = Place(self._stream, self.steps)
        self._sent.put(place.step, placed(place, self._codec.encode(activation)))
        try:
            async with asyncio.timeout(self._patience_s):
                outputs = await self._answer(place.step)
        except TimeoutError as exc:
            raise StreamBroken(
                f"step {place.step} of the stream got no answer within {self._patience_s:g} s; see the tier's log, "
                "and give it more time where it has much to catch up with"
            ) from exc
        self._states = states
        self.steps += 1
        return outputs

    def _head(self, item: NDArray[Any]) -> tuple[NDArray[Any], dict[int, State]]:
        """What crosses the cut, and the head's state after this step."""
        activation, states = item, {}
        for segment in range(self._cut):
            (activation,), states[segment] = self._stage.step(activation, segment, self._states.get(segment))
        return activation, states

    async def _answer(self, step: int) -> tuple[Tensor, ...]:
        """The answer to a step, after as many of those before it as the tier asks for."""
        at = step
        while True:
            answer = await self._result(at)
            first = needed(answer)
            if first is not None:
                at = min(max(first, 0), step)
                self.sent_again += step - at
            elif at == step:
                return answer.outputs
            else:
                at += 1

    async def _result(self, step: int) -> Result:
        """The tier's result for one step, however often it has to be asked."""
        while True:
            try:
                answer = await self._tier.ask(self._frame(step))
            except Unanswered:
                await self._tier.until_ready()
                await self._sleep(_AGAIN_S)
                continue
            if isinstance(answer, Result):
                return answer
            if answer.code not in _PASSING:
                raise StreamBroken(f"the tier refuses step {step} of the stream: {answer.detail}")
            await self._sleep(max(_AGAIN_S, 1e-6 * answer.retry_after_us))

    def _frame(self, step: int) -> Frame:
        payloads = self._sent.between(step, step + 1)
        assert payloads is not None, "every step is kept before it is sent"
        return Frame.build(
            id=1,
            bundle=self._bundle.tag,
            cut=self._cut,
            level=self._level,
            shape=self._bundle.manifest.cuts[self._cut].tensor.shape,
            payload=payloads[0],
            remaining_us=round(1e6 * self._patience_s * _SHARE_OF_TRY),
            handover=self._handover,
        )

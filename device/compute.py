"""The device's processor: one thread that runs heads, exits and encoders, stretched to the emulated device's speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from numpy.typing import NDArray

from adaptation.plan import Choice
from device.engines.affinity import pin
from device.figures import Figures
from device.filter.neural import NeuralFilter
from device.frames import OpenFrame
from device.plan import exit_at
from runtime.codecs import Codecs
from runtime.codecs.parts import in_packets
from runtime.manifest import Manifest
from runtime.stage import Stage
from runtime.stretch import Stretch


class Compute:
    """Works for one frame at a time, outside the event loop, and teaches the figures what it took.

    Who wants work done takes a turn first; turns are given in the order of asking.

    Args:
        processors: the thread, and those of an engine that it loads, stay on these; none leaves them to the system.
    """

    def __init__(
        self,
        manifest: Manifest,
        stage: Stage,
        codecs: Codecs,
        figures: Figures,
        stretch: Stretch,
        clock: Callable[[], float],
        processors: Sequence[int] = (),
    ) -> None:
        self._manifest = manifest
        self._stage = stage
        self._codecs = codecs
        self._figures = figures
        self._stretch = stretch
        self._clock = clock
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="compute", initializer=pin, initargs=(tuple(processors),)
        )
        self._turn = asyncio.Lock()
        self._free_s = clock()
        self._asking = 0

    @property
    def busy(self) -> bool:
        """Whether somebody has the processor or waits for it."""
        return self._asking > 0

    def free_s(self) -> float:
        """When the work that is known of now should be done; now, if there is none."""
        return max(self._clock(), self._free_s) if self._asking else self._clock()

    @asynccontextmanager
    async def turn(self, expected_s: float = 0.0) -> AsyncIterator[None]:
        """Wait for the processor and have it alone; `expected_s` is what the work should take, where it is known."""
        self._free_s = self.free_s() + expected_s
        self._asking += 1
        try:
            async with self._turn:
                yield
        finally:
            self._asking -= 1

    def expect(self, seconds: float) -> None:
        """The turn's holder has learnt how long its work should take."""
        self._free_s = max(self._free_s, self._clock() + seconds)

    async def encode(self, frame: OpenFrame, cut: int, level: int) -> None:
        """Bring the frame to a cut and make its payload there.

        Raises:
            BundleError: the picture does not fit the model, or engine or codec failed; the frame cannot be sent.
        """
        await self._in_thread(self._encode, frame, cut, level)

    async def reach(self, frame: OpenFrame, cut: int) -> None:
        """Bring the frame to a cut.

        Raises:
            BundleError: as for `encode`.
        """
        await self._in_thread(self._advance, frame, cut)

    async def answer(self, frame: OpenFrame, cut: int) -> NDArray[Any]:
        """The logits of the exit at a cut, or of the whole model (`cut` = number of segments); [1, classes].

        Raises:
            BundleError: as for `encode`.
        """
        logits: NDArray[Any] = await self._in_thread(self._answer, frame, cut)
        return logits

    async def score(self, frame: OpenFrame, filter_: NeuralFilter) -> tuple[float, float]:
        """Bring the frame to a filter's cut; its score there, and the seconds that the filter alone took.

        Raises:
            BundleError: as for `encode`.
        """
        found: tuple[float, float] = await self._in_thread(self._score, frame, filter_)
        return found

    async def warm_up(self, item: NDArray[Any], choices: Iterable[Choice]) -> None:
        """Load what the choices need, so that no frame waits for it; learns nothing.

        Raises:
            BundleError: a file is not as the manifest says, or the engine cannot run it.
        """
        await self._in_thread(self._warm_up, item, tuple(choices))

    def close(self) -> None:
        """Wait for the work under way; nothing more is taken."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, work: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _warm_up(self, item: NDArray[Any], choices: tuple[Choice, ...]) -> None:
        carried = [item]
        for index in range(len(self._manifest.segments)):
            carried.append(self._stage.run(carried[-1], index, index + 1)[0])
        for exit_ in self._manifest.exits:
            self._stage.exit(exit_.cut, carried[exit_.cut])
        for cut, level in {(choice.cut, choice.level) for choice in choices}:
            if level is not None:
                self._codecs.at(cut, level).encode(carried[cut])

    def in_packets(self, frame: OpenFrame, cut: int, level: int) -> bytes:
        """The payload of a frame for a link that loses packets."""
        return in_packets(self._codecs.at(cut, level), frame.payload)

    def _encode(self, frame: OpenFrame, cut: int, level: int) -> None:
        self._advance(frame, cut)
        payload, seconds = self._timed(self._codecs.at(cut, level).encode, frame.activation)
        self._figures.learn_encode(cut, level, seconds)
        frame.payload = payload
        frame.device_s += seconds

    def _score(self, frame: OpenFrame, filter_: NeuralFilter) -> tuple[float, float]:
        self._advance(frame, filter_.cut)
        scores, seconds = self._timed(filter_.score, frame.activation)
        frame.device_s += seconds
        return float(scores[0]), seconds

    def _answer(self, frame: OpenFrame, cut: int) -> NDArray[Any]:
        position = exit_at(self._manifest, cut)
        if position is None:
            outputs, seconds = self._timed(self._stage.run, frame.activation, frame.reached)
            self._figures.learn_segments(frame.reached, cut, seconds)
            frame.device_s += seconds
            logits: NDArray[Any] = outputs[0]
            return logits
        self._advance(frame, cut)
        logits, seconds = self._timed(self._stage.exit, cut, frame.activation)
        self._figures.learn_exit(position, seconds)
        frame.device_s += seconds
        return logits

    def _advance(self, frame: OpenFrame, cut: int) -> None:
        """Run the segments between what the frame has reached and a cut; from the picture if that is behind."""
        if frame.reached > cut:
            frame.activation, frame.reached, frame.head_s = frame.image, 0, 0.0
        outputs, seconds = self._timed(self._stage.run, frame.activation, frame.reached, cut)
        if cut > frame.reached:
            self._figures.learn_segments(frame.reached, cut, seconds)
        frame.activation, frame.reached = outputs[0], cut
        frame.head_s += seconds
        frame.device_s += seconds

    def _timed(self, work: Callable[..., Any], *args: object) -> tuple[Any, float]:
        started_s = self._clock()
        value = self._stretch.call(work, *args)
        return value, self._clock() - started_s

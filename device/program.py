"""The device agent as a program: startup, run, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from itertools import count

from device.afterwards import Afterwards
from device.draining import Draining, DrainRules
from device.generation import Common, Generation, items_for, trusted_bundle
from device.history import Ending, History
from device.settings import Settings, SpoolSettings
from device.sinks import Sink, open_sink
from device.sources import Clock, Source, open_source
from device.sources.opening import listening_port
from device.spool import Spool, SpoolLimits
from device.succession import Succession
from runtime.manifest import TensorSpec

SAMPLES = 4
"""Items of the source that the parts are measured on."""

_log = logging.getLogger(__name__)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    source: Callable[[Clock], Source] | None = None,
    sinks: Sequence[Sink] = (),
) -> None:
    """Run the agent until its source ends, `stop` is set, or SIGINT or SIGTERM arrives.

    Prints two JSON lines to standard output: {"event": "ready", ...} when the first frame is about to be captured and
    {"event": "done", ...} at the end.

    Args:
        settings: checked settings.
        stop: set it to stop; where it is given, signals are left to the caller.
        source: makes the source from the agent's clock, in place of the one in the settings.
        sinks: besides those of the settings.

    Raises:
        IsthmusError: bundle, source, sink, spool, history or fixed choice are not usable; a sentence for a person.
    """
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(_stopped_by_signals())
        bundle = stack.enter_context(trusted_bundle(settings))
        spool = _spool(settings.spool, clock)
        if spool is not None:
            stack.callback(spool.close)
        opened = _source(settings, source, clock, bundle.manifest.input, spool)
        history = stack.enter_context(History(settings.history.path))
        afterwards = Afterwards(settings.name, spool)
        stack.push_async_callback(asyncio.to_thread, afterwards.close)
        for one, named in zip(settings.sinks, _names(settings), strict=True):
            afterwards.add(open_sink(one), named, one.waiting)
        for number, sink in enumerate(sinks):
            afterwards.add(sink, f"given {number}")
        common = Common(clock, history, count(1), _run_name(settings), clock(), afterwards.ended)
        items = items_for(await asyncio.to_thread(opened.samples, SAMPLES), bundle.manifest.input)
        first = await Generation.open(settings, bundle, items, common, interval_s=opened.interval_s)
        running = _Running(Succession(stop), opened, afterwards, clock)
        _tell("ready", **_facts(settings, first, opened))
        try:
            await running.until_done(first, _draining(settings.spool, spool, running))
        finally:
            _tell("done", **_summary(history))


class _Running:
    """The tasks of a run: feeding frames to whoever is in charge, and draining the spool."""

    def __init__(self, succession: Succession, source: Source, afterwards: Afterwards, clock: Clock) -> None:
        self.succession = succession
        self.source = source
        self.afterwards = afterwards
        self.clock = clock
        self.live_s = clock()

    async def until_done(self, first: Generation, draining: Draining | None) -> None:
        """Run until every generation has ended; whichever task fails ends the run."""
        self.afterwards.keeps = self._keeps(first.settings.spool)
        self.succession.begin(first)
        serving = asyncio.create_task(self.succession.done(), name="generations")
        helping = [asyncio.create_task(self._feed(), name="feed")]
        if draining is not None:
            helping.append(asyncio.create_task(draining.run(), name="drain"))
        try:
            while not serving.done():
                done, _ = await asyncio.wait({serving, *helping}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                helping = [task for task in helping if not task.done()]
        finally:
            for task in (serving, *helping):
                task.cancel()
            await asyncio.wait({serving, *helping})

    async def _feed(self) -> None:
        async with aclosing(self.source.frames()) as items:
            async for captured in items:
                self.live_s = self.clock()
                if captured.kept:
                    self.afterwards.begun(captured.key)
                self.succession.put(captured)
        self.succession.end()

    def _keeps(self, spool: SpoolSettings | None) -> Callable[[], bool]:
        """Whether an unanswered frame is worth keeping now."""
        if spool is None or spool.keep == "unanswered":
            return lambda: spool is not None
        return lambda: not self.succession.current.agent.reachable()


def _draining(settings: SpoolSettings | None, spool: Spool | None, running: _Running) -> Draining | None:
    if settings is None or spool is None:
        return None
    rules = DrainRules(share=settings.share, allowed_s=settings.allowed_s, alone=settings.alone)
    return Draining(
        spool, running.afterwards, lambda: running.succession.current.agent,
        lambda: running.succession.current.planner.plan(), rules, lambda: running.live_s, running.clock,
    )  # fmt: skip


def _spool(settings: SpoolSettings | None, clock: Clock) -> Spool | None:
    if settings is None:
        return None
    return Spool(settings.path, SpoolLimits(settings.max_bytes, settings.max_age_s), clock=clock)


def _source(
    settings: Settings, given: Callable[[Clock], Source] | None, clock: Clock, spec: TensorSpec, spool: Spool | None
) -> Source:
    if given is not None:
        return given(clock)
    return open_source(settings.source, clock=clock, spec=spec, keep=None if spool is None else spool.keep)


def _names(settings: Settings) -> list[str]:
    """Of the sinks, for logs and metrics: their kind, numbered where there are several."""
    kinds = [one.kind for one in settings.sinks]
    return [kind if kinds.count(kind) == 1 else f"{kind} {number}" for number, kind in enumerate(kinds)]


def _run_name(settings: Settings) -> str:
    """Names one run of one device: keys are made of it."""
    return f"{settings.name}-{int(time.time())}-{uuid.uuid4().hex[:6]}"


def _facts(settings: Settings, first: Generation, source: Source) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": settings.name, "bundle": first.bundle.digest.hex(), "tiers": [link.tier for link in first.links],
    }  # fmt: skip
    port = listening_port(source)
    return facts if port is None else facts | {"push_port": port}


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _summary(history: History) -> dict[str, int]:
    return {
        "frames": history.begun,
        **{ending.value: history.endings[ending] for ending in Ending},
        "in_time": history.in_time,
        "lost": len(history.open_frames),
    }


def _tell(event: str, **facts: object) -> None:
    """One JSON line for whoever started this program."""
    print(json.dumps({"event": event, **facts}), flush=True)

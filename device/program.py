"""The device agent as a program: startup, run, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptation.link import UplinkEstimator
from adaptation.policies import FixedPolicy
from adaptation.values import Route
from device.agent import Agent, Means
from device.compute import Compute
from device.endings import Endings
from device.figures import Figures
from device.frames import OpenFrame
from device.history import Ending, History
from device.plan import Planner
from device.settings import Settings
from device.sources import Source, open_source
from device.tiers import TierLink
from device.waiting import Everything, Latest, WaitingRoom
from protocol.messages import Hello
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import TensorSpec
from runtime.measure import time_parts
from runtime.stage import Stage
from runtime.stretch import Stretch

SAMPLES = 4
"""Items of the source that the parts are measured on."""
PLAN_LOOK_S = 0.25
"""How often the plan is compared with the measured figures."""
GREETING_S = 1.0
"""The longest wait for the tiers at the start."""
GRACE_S = 1.0
"""The longest wait for frames in flight after a stop."""

_log = logging.getLogger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Run the agent until its source ends, `stop` is set, or SIGINT or SIGTERM arrives.

    Prints two JSON lines to standard output: {"event": "ready", ...} when the first frame is about to be captured and
    {"event": "done", ...} at the end.

    Args:
        settings: checked settings.
        stop: set it to stop; where it is given, signals are left to the caller.

    Raises:
        IsthmusError: bundle, source, history or fixed choice are not usable; a sentence for a person.
    """
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(_stopped_by_signals())
        bundle = stack.enter_context(Bundle.open(settings.bundle))
        source = open_source(settings.source, clock=clock)
        history = stack.enter_context(History(settings.history.path))
        engine = engine_named(settings.engine.name, settings.engine.threads)
        items = await asyncio.to_thread(_items_for, source, bundle.manifest.input)
        profile = await asyncio.to_thread(time_parts, bundle, engine, items, budget_s=settings.measure_s)
        figures = Figures(profile, slowdown=settings.emulated_slowdown, clock=clock)
        policy = settings.policy.build()
        fixed = policy.choice if isinstance(policy, FixedPolicy) else None
        planner = Planner(bundle.manifest, figures, _routes(settings), fixed, PLAN_LOOK_S)
        stretch = Stretch(settings.emulated_slowdown)
        compute = Compute(bundle.manifest, Stage(bundle, engine), Codecs(bundle, engine), figures, stretch, clock)
        stack.callback(compute.close)
        await compute.warm_up(items[0], (option.choice for option in planner.plan()))
        estimator = UplinkEstimator()
        room: WaitingRoom[OpenFrame] = (
            Latest() if settings.source.keep == "latest" else Everything(settings.source.capacity)
        )
        means = Means(
            manifest=bundle.manifest,
            bundle_tag=bundle.tag,
            source=source,
            room=room,
            compute=compute,
            figures=figures,
            planner=planner,
            policy=policy,
            rescues=fixed is None,
            estimator=estimator,
            endings=Endings(history, deadline_s=settings.deadline_s, clock=clock),
        )
        agent = Agent(
            means,
            deadline_s=settings.deadline_s,
            interval_s=1.0 / settings.source.rate_hz,
            grace_s=min(GRACE_S, settings.deadline_s),
            clock=clock,
        )
        hello = Hello(settings.name, (bundle.digest,))
        links = [
            TierLink(tier, dial, hello, estimator, clock, agent.on_end)
            for tier, dial in ((Route.EDGE, settings.edge), (Route.CLOUD, settings.cloud))
            if dial is not None
        ]
        agent.use(links)
        for link in links:
            await stack.enter_async_context(link.client)
        await _first_greetings(links)
        _tell("ready", name=settings.name, bundle=bundle.digest.hex(), tiers=[link.tier for link in links])
        try:
            await agent.run(stop)
        finally:
            _tell("done", **_summary(history))


async def _first_greetings(links: Sequence[TierLink]) -> None:
    """Wait a little for the tiers, so that the first frames have a choice; then go on with those that are there."""
    try:
        async with asyncio.timeout(GREETING_S):
            for link in links:
                await link.greeted.wait()
    except TimeoutError:
        away = ", ".join(f"{link.tier} at {link.client.target}" for link in links if not link.greeted.is_set())
        _log.warning("starting without %s; frames are answered elsewhere until it is there", away)


def _items_for(source: Source, spec: TensorSpec) -> list[NDArray[Any]]:
    """Items of the source that fit the model, with a batch axis; where there are none, noise."""
    fitting = [
        item[np.newaxis] for item in source.samples(SAMPLES) if item.shape == spec.shape and item.dtype == spec.dtype
    ]
    if fitting:
        return fitting
    _log.warning("no item of the source has the model's input %s %s", spec.dtype, list(spec.shape))
    noise = np.random.default_rng(0).integers(0, 256, size=(1, *spec.shape))
    return [noise.astype(spec.dtype)]


def _routes(settings: Settings) -> list[Route]:
    """The ways out of this device that the settings know."""
    routes = []
    if settings.edge is not None:
        routes.append(Route.EDGE)
        if settings.edge.passes_on or settings.policy.route == Route.EDGE_TO_CLOUD.value:
            routes.append(Route.EDGE_TO_CLOUD)
    if settings.cloud is not None:
        routes.append(Route.CLOUD)
    return routes


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

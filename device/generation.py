"""One bundle with one set of settings, ready to answer frames.

A running agent is never altered. New settings or a new bundle make a new generation beside it; when that is ready the
next frame goes there, and the old one answers what it has begun and ends. So a change takes place between two frames,
and one that cannot be carried out leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import NDArray

from adaptation.budget import ByteBudget
from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.policies import FixedPolicy
from device.agent import Agent
from device.compute import Compute
from device.endings import Endings, Outcome
from device.engines.affinity import pinned, require_processors
from device.engines.choosing import chosen_engine
from device.feed import Feed
from device.figures import Figures
from device.frames import OpenFrame
from device.history import FrameRecord, History
from device.means import Means
from device.opening import filter_of
from device.plan import Planner
from device.savings import Savings
from device.settings import Settings
from device.tiers import TierLink
from device.waiting import Everything, Latest, WaitingRoom
from protocol.messages import Hello
from runtime.answers import Answer
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import Profile
from runtime.measure import between_frames, time_parts
from runtime.stage import Stage
from runtime.stretch import Stretch
from transport.tracing import Silent, Tracer

PLAN_LOOK_S = 0.25
"""How often the plan is compared with the measured figures."""
GREETING_S = 1.0
"""The longest wait for the tiers at the start."""
GRACE_S = 1.0
"""The longest wait for frames in flight after a stop."""

After = Callable[[Bundle, OpenFrame, FrameRecord, Outcome], None]
"""Called with each frame that has ended."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Common:
    """What all generations of one run share."""

    clock: Callable[[], float]
    history: History
    ids: Iterator[int]
    run_name: str
    start_s: float
    after: After
    savings: Savings = field(default_factory=Savings)
    known: Callable[[int], Answer | None] = lambda _: None
    """The answer of a still scene."""
    tracer: Tracer = field(default_factory=Silent)


class Generation:
    """See the module. Made by `open`; `serve` runs it and closes what it opened."""

    def __init__(
        self, settings: Settings, bundle: Bundle, profile: Profile, planner: Planner, agent: Agent, feed: Feed,
        links: Sequence[TierLink], opened: AsyncExitStack,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.bundle = bundle
        self.profile = profile
        self.planner = planner
        self.agent = agent
        self.feed = feed
        self.links = links
        self._opened = opened

    @classmethod
    async def open(
        cls,
        settings: Settings,
        bundle: Bundle,
        items: Sequence[NDArray[Any]],
        common: Common,
        *,
        interval_s: float,
        profile: Profile | None = None,
    ) -> Self:
        """Measure, load and connect; the bundle is closed with the generation, or at once if this fails.

        Args:
            settings: checked settings.
            bundle: open.
            items: what to measure and warm up with, each [1, ...] as cut 0 declares; at least one.
            common: shared with the generations before and after.
            interval_s: between two frames.
            profile: of this bundle on this machine, where it has been measured before.

        Raises:
            IsthmusError: bundle, TLS files or fixed choice are not usable; a sentence for a person.
        """
        async with AsyncExitStack() as opening:
            opening.enter_context(bundle)
            parts, measured = await asyncio.to_thread(_loaded_and_measured, settings, bundle, items, profile)
            figures = Figures(measured, slowdown=settings.emulated_slowdown, clock=common.clock)
            policy = settings.policy.build()
            fixed = policy.choice if isinstance(policy, FixedPolicy) else None
            bound = settings.privacy.most_leaked_db
            planner = Planner(
                bundle.manifest, figures, routes_of(settings), fixed, PLAN_LOOK_S, math.inf if bound is None else bound
            )
            compute = Compute(
                bundle.manifest, *parts, figures,
                Stretch(settings.emulated_slowdown), common.clock, settings.engine.processors,
            )  # fmt: skip
            opening.callback(compute.close)
            await compute.warm_up(items[0], (option.choice for option in planner.plan()))
            filter_ = await asyncio.to_thread(filter_of, settings.filter, bundle)
            feed, estimator = Feed(interval_s), UplinkEstimator()
            means = Means(
                manifest=bundle.manifest,
                bundle_tag=bundle.tag,
                source=feed,
                room=_room(settings),
                compute=compute,
                figures=figures,
                planner=planner,
                policy=policy,
                rescues=fixed is None,
                estimator=estimator,
                endings=_endings(bundle, common),
                filter=filter_,
                savings=common.savings,
                known=common.known,
                ids=common.ids,
                run_name=common.run_name,
                tracer=common.tracer,
            )
            agent = Agent(
                means,
                deadline_s=settings.deadline_s,
                interval_s=interval_s,
                grace_s=min(GRACE_S, settings.deadline_s),
                clock=common.clock,
                budget=None if settings.bytes_per_month is None else ByteBudget(settings.bytes_per_month),
            )
            links = _links(settings, bundle, estimator, common.clock, agent)
            agent.use(links)
            for link in links:
                await opening.enter_async_context(link.client)
            await _first_greetings(links)
            return cls(settings, bundle, measured, planner, agent, feed, links, opening.pop_all())

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer what is fed until `retire`, or `stop` is set; then close everything.

        Raises:
            HistoryError: an end could not be written.
        """
        async with self._opened:
            await self.agent.run(stop)

    async def close(self) -> None:
        """Close a generation that never served."""
        await self._opened.aclose()

    def retire(self) -> None:
        """Take no more frames; what has begun is brought to its end."""
        self.feed.close()


def routes_of(settings: Settings) -> list[Route]:
    """The ways out of this device that the settings know."""
    routes = []
    if settings.edge is not None:
        routes.append(Route.EDGE)
        if settings.edge.passes_on or settings.policy.route == Route.EDGE_TO_CLOUD.value:
            routes.append(Route.EDGE_TO_CLOUD)
    if settings.cloud is not None:
        routes.append(Route.CLOUD)
    return routes


def _loaded_and_measured(
    settings: Settings, bundle: Bundle, items: Sequence[NDArray[Any]], profile: Profile | None
) -> tuple[tuple[Stage, Codecs], Profile]:
    """The model's parts on the engine that the profile was measured on; without a profile, on the engine of the
    settings, and measured now: with the same parts that will answer frames, so that no weight is in memory twice."""
    require_processors(settings.engine.processors)
    name = chosen_engine(settings.engine, bundle) if profile is None else profile.engine
    engine = engine_named(name, settings.engine.threads)
    parts = Stage(bundle, engine), Codecs(bundle, engine)
    if profile is None:
        with pinned(settings.engine.processors):
            profile = time_parts(bundle, engine, items, budget_s=settings.measure_s, rest_s=between_frames, parts=parts)
    return parts, profile


def _room(settings: Settings) -> WaitingRoom[OpenFrame]:
    return Latest() if settings.source.keep == "latest" else Everything(settings.source.capacity)


def _endings(bundle: Bundle, common: Common) -> Endings:
    def after(frame: OpenFrame, record: FrameRecord, outcome: Outcome) -> None:
        common.after(bundle, frame, record, outcome)

    return Endings(common.history, clock=common.clock, start_s=common.start_s, after=after)


def _links(
    settings: Settings, bundle: Bundle, estimator: UplinkEstimator, clock: Callable[[], float], agent: Agent
) -> list[TierLink]:
    hello = Hello(settings.name, (bundle.digest,))
    return [
        TierLink(tier, dial, hello, estimator, clock, agent.on_end)
        for tier, dial in ((Route.EDGE, settings.edge), (Route.CLOUD, settings.cloud))
        if dial is not None
    ]


async def _first_greetings(links: Sequence[TierLink]) -> None:
    """Wait a little for the tiers, so that the first frames have a choice; then go on with those that are there."""
    try:
        async with asyncio.timeout(GREETING_S):
            for link in links:
                await link.greeted.wait()
    except TimeoutError:
        away = ", ".join(f"{link.tier} at {link.client.target}" for link in links if not link.greeted.is_set())
        _log.warning("starting without %s; frames are answered elsewhere until it is there", away)

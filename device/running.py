"""A run of the agent: frames fed to whoever is in charge, the spool drained, and changes made between two frames."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from device.afterwards import Afterwards
from device.generation import Common, Generation
from device.items import items_for
from device.savings import Saver
from device.settings import PolicySettings, Settings
from device.sources import Captured, Clock, Source
from device.stillness import Stillness
from device.succession import Succession
from device.trusting import trusted_bundle
from protocol.errors import IsthmusError
from runtime.bundle import Bundle
from runtime.manifest import Profile

STUCK_S = 30.0
"""A frame that is so long past its deadline and still being computed shows that the agent hangs."""
AFTER_RESTART = ("name", "history", "sinks", "spool", "status", "still", "log", "trust", "updates", "notices")
"""Tables that a running agent does not change."""
REPLAYED = ("folder", "glob", "video", "signal")
"""Sources that a running agent may exchange: the others hold a port, a camera or standard input."""

_log = logging.getLogger(__name__)


class Running:
    """Belongs to the event loop's thread.

    Args:
        settings: in force at the start.
        succession: of generations; the first one has begun.
        source: of frames.
        open_source: makes another one from settings and bundle.
        items: recorded inputs without a batch axis, for measuring.
        afterwards: takes what has ended.
        common: shared by the generations.
        stillness: looks whether anything has changed.
        configured: the bundle that the configuration names, where another one is in force.
    """

    def __init__(
        self,
        settings: Settings,
        succession: Succession,
        source: Source,
        open_source: Callable[[Settings, Bundle], Source],
        items: Sequence[NDArray[Any]],
        afterwards: Afterwards,
        common: Common,
        stillness: Stillness | None = None,
        configured: Path | None = None,
    ) -> None:
        self.settings = settings
        self.succession = succession
        self.afterwards = afterwards
        self.common = common
        self.items = list(items)
        self.live_s = common.clock()
        """When the last live frame was captured."""
        self._stillness = stillness
        self._source = source
        self._open_source = open_source
        self._configured = configured or settings.bundle
        self._changing = asyncio.Lock()
        self._feeding: asyncio.Task[None] | None = None
        self._refed = asyncio.Event()
        afterwards.keeps = self._keeps

    @property
    def clock(self) -> Clock:
        """Of the run."""
        return self.common.clock

    async def until_done(self, *helpers: Coroutine[Any, Any, None]) -> None:
        """Run until every generation has ended.

        Args:
            helpers: run beside and are cancelled at the end.

        Raises:
            IsthmusError: whatever a generation, the source or a helper raises ends the run.
        """
        serving = asyncio.create_task(self.succession.done(), name="generations")
        others = {asyncio.create_task(self._feed_on(), name="feed")}
        others |= set(map(asyncio.create_task, helpers))
        try:
            while not serving.done():
                done, _ = await asyncio.wait({serving, *others}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                others -= done
        finally:
            for task in (serving, *others):
                task.cancel()
            await asyncio.wait({serving, *others})

    def alive(self) -> bool:
        """Whether the agent in charge gets on with its frames."""
        return self.succession.current.agent.overdue_s() < STUCK_S

    async def reload(self, settings: Settings) -> bool:
        """Take new settings between two frames; where that cannot be done, all stays as it was and the log says why."""
        settings = self._changeable(settings)
        if settings == self.settings:
            _log.info("the settings have not changed")
            return True
        try:
            await self._reload(settings)
        except IsthmusError as exc:
            _log.error("the new settings are not taken: %s", exc)
            return False
        _log.info("the new settings are in force")
        return True

    async def take_bundle(self, bundle: Bundle, profile: Profile | None, policy: PolicySettings | None = None) -> None:
        """Put another bundle in force between two frames; it is closed if that fails, and the old one stays.

        Args:
            bundle: open.
            profile: measured here, if it was.
            policy: to choose by from here on; None keeps the one in force.

        Raises:
            IsthmusError: it cannot be made ready.
        """
        async with self._changing:
            changed = {"bundle": bundle.path} if policy is None else {"bundle": bundle.path, "policy": policy}
            settings = self.settings.model_copy(update=changed)
            items = items_for(self.items, bundle.manifest)
            generation = await Generation.open(
                settings, bundle, items, self.common, interval_s=self._source.interval_s, profile=profile
            )
            self.settings = settings
            self.succession.begin(generation)
            if self._stillness is not None:
                self._stillness.forget()

    async def _reload(self, settings: Settings) -> None:
        async with self._changing:
            before = self.succession.current
            bundle = await asyncio.to_thread(trusted_bundle, settings)
            source = None
            try:
                if settings.source != self.settings.source:
                    source = self._open_source(settings, bundle)
            except BaseException:
                bundle.close()
                raise
            interval_s = (source or self._source).interval_s
            same = bundle.digest == before.bundle.digest and settings.engine == self.settings.engine
            items = items_for(self.items, bundle.manifest)
            profile = before.profile if same else None
            generation = await Generation.open(
                settings, bundle, items, self.common, interval_s=interval_s, profile=profile
            )
            self.settings = settings
            self.succession.begin(generation)
            if self._stillness is not None and not same:
                self._stillness.forget()
            if source is not None:
                self._exchange(source)

    def _changeable(self, settings: Settings) -> Settings:
        """The new settings, with the old values where only a restart can change them."""
        kept = {key: getattr(self.settings, key) for key in AFTER_RESTART if hasattr(settings, key)}
        old, new = self.settings.source, settings.source
        if old != new and not (old.kind in REPLAYED and new.kind in REPLAYED):
            kept["source"] = old
        if settings.bundle == self._configured:
            kept_bundle = {"bundle": self.settings.bundle}  # what came by way of `updates` stays
            settings = settings.model_copy(update=kept_bundle)
        self._configured = settings.bundle if settings.bundle != self.settings.bundle else self._configured
        changed = [key for key, value in kept.items() if value != getattr(settings, key)]
        if changed:
            _log.warning("%s: changes here take effect after a restart", ", ".join(changed))
        return settings.model_copy(update=kept)

    def _exchange(self, source: Source) -> None:
        self._source = source
        if self._feeding is not None:
            self._refed.set()
            self._feeding.cancel()

    async def _feed_on(self) -> None:
        """Feed from the source in force until one of them ends by itself."""
        while True:
            self._refed.clear()
            self._feeding = asyncio.create_task(self._feed(self._source), name="source")
            try:
                await asyncio.wait({self._feeding})
            except asyncio.CancelledError:
                self._feeding.cancel()
                await asyncio.wait({self._feeding})
                raise
            if not self._refed.is_set():
                self._feeding.result()
                self.succession.end()
                return

    async def _feed(self, source: Source) -> None:
        async with aclosing(source.frames()) as items:
            async for captured in items:
                self.live_s = self.clock()
                if captured.kept:
                    self.afterwards.begun(captured.key)
                self.succession.put(await self._looked_at(captured))

    async def _looked_at(self, captured: Captured) -> Captured:
        """With the number of its scene, where still scenes are looked for."""
        if self._stillness is None or isinstance(captured.content, str):
            return captured
        scene, seconds = await asyncio.to_thread(_timed, self._stillness.look, captured.content)
        self.common.savings.look(Saver.STILL, seconds)
        return replace(captured, scene=scene)

    def _keeps(self) -> bool:
        """Whether an unanswered frame is worth keeping now."""
        spool = self.settings.spool
        if spool is None or spool.keep == "unanswered":
            return spool is not None
        return not self.succession.current.agent.reachable()


def _timed(look: Callable[[NDArray[Any]], int], content: NDArray[Any]) -> tuple[int, float]:
    """The scene, and the processor seconds that it took to tell."""
    began_s = time.thread_time()
    return look(content), time.thread_time() - began_s

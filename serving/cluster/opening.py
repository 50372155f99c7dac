"""Puts a cluster behind a tier: deploys the workers, gives the tier its steps, and keeps their number right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.bundle import Bundle
from runtime.engines import Engine
from serving.cluster.away import Away, Cluster, ServedAway
from serving.cluster.errors import WorkerLost
from serving.cluster.scaling import Scaling, Seen
from serving.cluster.settings import RaySettings
from serving.served import Served
from serving.workers import Workers

_EVERY_S: Final = 1.0
_log = logging.getLogger(__name__)


class Scaled(Cluster, Protocol):
    """Workers whose number can be changed. All calls block."""

    def start(self) -> None:
        """Have the least number of them.

        Raises:
            ClusterUnusable: that cannot be.
        """
        ...

    def running(self) -> int:
        """How many there are now.

        Raises:
            WorkerLost: nobody knows at this moment.
        """
        ...

    def scale(self, workers: int) -> None:
        """Have so many, soon.

        Raises:
            WorkerLost: that could not be asked for at this moment.
        """
        ...

    def stop(self) -> None:
        """End all of them."""
        ...


class OpenCluster:
    """The cluster of one tier.

    Args:
        settings: `[ray]`.
        cluster: its workers.
        clock, sleep: in seconds.
    """

    def __init__(
        self,
        settings: RaySettings,
        cluster: Scaled,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._scaling = Scaling(settings.least, settings.most, settings.calm_s)
        self._least = settings.least
        self._cluster = cluster
        self._clock = clock
        self._sleep = sleep
        self._aways: list[Away] = []
        self._task: asyncio.Task[None] | None = None
        self.threads = settings.most

    def serve(self, bundle: Bundle, engine: Engine) -> Served:
        """A bundle whose steps the workers do."""
        served = ServedAway(bundle, engine, self._cluster)
        self._aways.append(served.away)
        return served

    async def start(self) -> None:
        """Have the least number of workers.

        Raises:
            ClusterUnusable: that cannot be.
        """
        await asyncio.to_thread(self._cluster.start)

    def watch(self, workers: Workers) -> None:
        """Keep the number of workers right from now on, and as many of the tier's threads at work: one for each."""
        self._task = asyncio.create_task(self._keep(workers), name="scaling")

    async def stop(self) -> None:
        """End all workers."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._cluster.stop)

    async def _keep(self, workers: Workers) -> None:
        """Every second: as many threads as there are workers, and as many workers as are wanted."""
        wanted, before = self._least, self._look(workers)
        while True:
            try:
                running = await asyncio.to_thread(self._cluster.running)
                workers.allow(max(1, running))
                await self._sleep(_EVERY_S)
                now = self._look(workers)
                seen, before = _between(before, now, workers.wait_s, max(1, running)), now
                more = self._scaling.decide(seen, now.at_s)
                if more != wanted:
                    _log.info("%d workers are wanted, %d run", more, running)
                    await asyncio.to_thread(self._cluster.scale, more)
                    wanted = more
            except WorkerLost as exc:
                _log.warning("the number of workers stays as it is for now: %s", exc)
                await self._sleep(_EVERY_S)

    def _look(self, workers: Workers) -> _Counted:
        totals = workers.scheduler.totals
        turned_away = totals.refused + totals.displaced + totals.late
        busy_s = sum(away.busy_s for away in self._aways)
        return _Counted(self._clock(), busy_s, totals.taken, totals.refused + totals.late, turned_away)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Totals since the start, at one moment."""

    at_s: float
    busy_s: float
    taken: int
    not_taken: int
    turned_away: int


def _between(before: _Counted, now: _Counted, wait_s: float, workers: int) -> Seen:
    return Seen(
        seconds=now.at_s - before.at_s,
        busy_s=now.busy_s - before.busy_s,
        offered=now.taken + now.not_taken - before.taken - before.not_taken,
        turned_away=now.turned_away - before.turned_away,
        wait_s=wait_s,
        workers=workers,
    )

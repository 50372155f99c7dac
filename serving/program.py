"""A tier as a program: startup, serve, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from protocol.messages import Hello, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.signing import Trust
from runtime.stretch import Stretch
from serving.passage import Passage
from serving.relaying.relay import RelayMaker
from serving.relaying.upstreams import Upstreams
from serving.served import Served
from serving.settings import OperationsSettings, TierSettings
from serving.states import States
from serving.tier import Observer, Tier
from serving.upstream import Upstream
from serving.vitals import Vitals
from transport.address import is_loopback
from transport.admission import Revoked
from transport.errors import ExtraMissing
from transport.options import ConnectionLimits
from transport.server import FrameServer, Identity
from transport.settings import Broker, Dial
from transport.stream import Request
from transport.tracing import tracer_of

if TYPE_CHECKING:
    from serving.cluster.opening import OpenCluster
    from serving.cluster.settings import RaySettings
    from serving.metrics import Metrics
    from serving.oip.opening import OpenInference
    from serving.oip.statistics import Statistics
    from serving.operations import Operations
    from transport.datagram_server import DatagramServer
    from transport.mqtt_worker import MqttWorker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Served:
    """A running tier and the doors that it has."""

    tier: Tier
    server: FrameServer
    upstream: Upstreams | None
    worker: MqttWorker | None
    datagrams: DatagramServer | None
    oip: OpenInference | None

    def parts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What has to run as long as the program; see `Vitals`."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {"thread that does the work": self.tier.workers.ended}
        if self.worker is not None:
            parts["MQTT worker"] = self.worker.ended
        if self.upstream is not None:
            parts["connection to the tiers above"] = self.upstream.ended
        return parts

    async def drain(self, timeout_s: float) -> int:
        """Let what is here finish; how many streams and requests were cut."""
        doors = [door for door in (self.server, self.worker, self.datagrams, self.oip) if door is not None]
        return sum(await asyncio.gather(*(door.drain(timeout_s) for door in doors)))


async def run_tier(
    kind: Literal["edge", "cloud"],
    settings: TierSettings,
    *,
    above: Sequence[Dial] = (),
    relay: RelayMaker | None = None,
    ray: RaySettings | None = None,
    stop: asyncio.Event | None,
) -> None:
    """Serve until told to stop, then drain.

    Prints one JSON line when ready: `{"event": "ready", "tier", "name", "port", "bundles"}`, and the ports for
    operators, for datagrams and of the Open Inference Protocol where there are such.

    Args:
        kind: what the tier is.
        settings: all there is to set.
        above: the tiers to hand frames to, if any. They need not be there, now or later.
        relay: see `serving.tier.Tier`.
        ray: a cluster whose workers do the work; only for a tier with none above.
        stop: ends the program when set. Without it, SIGINT and SIGTERM do.

    Raises:
        IsthmusError: the program cannot start, or a part of it has ended by itself; one sentence for a person.
    """
    async with AsyncExitStack() as opened:
        signals = None
        if stop is None:
            signals = opened.enter_context(_Signals())
            stop = signals.stop
        metrics = None if settings.operations is None else _metrics()
        served = await opened.enter_async_context(_serving(kind, settings, above, relay, ray, metrics))
        if signals is not None:
            signals.take()  # again: Ray puts handlers in their place that end the program in the middle of its shutdown
        vitals = Vitals(served.parts())
        ready: dict[str, object] = {
            "event": "ready",
            "tier": kind,
            "name": settings.name,
            "port": served.server.port,
            "bundles": [digest.hex() for digest in served.tier.digests()],
        }
        if settings.operations is not None and metrics is not None:
            operations = _operations(settings.operations, served.tier, metrics, stop, vitals)
            opened.push_async_callback(operations.stop)
            await operations.start()
            ready["operations"] = operations.port
        if served.datagrams is not None:
            ready["datagrams"] = served.datagrams.port
        if served.oip is not None:
            ready["oip"] = served.oip.ports
        print(json.dumps(ready), flush=True)
        await vitals.until(stop)
        _log.info("draining for at most %g s", settings.drain_s)
        cut = await served.drain(settings.drain_s)
        if cut:
            _log.warning("%d streams or requests were not done in %g s and were cut", cut, settings.drain_s)
        if vitals.broken is not None:
            raise vitals.broken


@asynccontextmanager
async def _serving(
    kind: Literal["edge", "cloud"],
    settings: TierSettings,
    above: Sequence[Dial],
    relay: RelayMaker | None,
    ray: RaySettings | None,
    metrics: Metrics | None,
) -> AsyncIterator[_Served]:
    """All parts of a running tier; leaving stops them, the newest first."""
    async with AsyncExitStack() as opened:
        for listen in (settings.listen, settings.listen_datagrams, settings.operations):
            if listen is not None:
                listen.require_safe()
        for dial in above:
            dial.require_safe()
        tracer = tracer_of(settings.traces, kind, time.monotonic)
        opened.push_async_callback(asyncio.to_thread, tracer.close)
        settings.oip.require_safe()
        near = _is_near(settings)
        trust = settings.trust.trust(exposed=not near)
        bundles = await asyncio.to_thread(_open_bundles, settings.bundles, trust)
        for bundle in bundles:
            opened.enter_context(bundle)
        upstream = _upstreams(above, settings.name, bundles) if above else None
        statistics = _statistics() if any(settings.oip.doors) else None
        cluster = None if ray is None else _cluster(ray, settings, bundles)
        if cluster is not None:
            opened.push_async_callback(cluster.stop)
            await cluster.start()
        tier = Tier(
            kind,
            bundles,
            engine_named(settings.engine.name, settings.engine.threads),
            upstream=upstream,
            clock=time.monotonic,
            threads=settings.workers if cluster is None else cluster.threads,
            capacity=settings.queue,
            weights=settings.weights,
            relay=relay,
            stretch=Stretch(settings.emulated_slowdown),
            observe=_observers(metrics, statistics),
            tracer=tracer,
            states=States(settings.state.most_bytes, settings.state.idle_s, time.monotonic),
            serve=Served if cluster is None else cluster.serve,
        )
        identity = Identity(kind, tier.digests)
        server = FrameServer(
            tier,
            settings.listen,
            identity,
            credits=settings.credits,
            load=tier.load,
            limits=ConnectionLimits(streams=settings.streams),
            quotas=settings.quotas,
        )
        worker = None if settings.broker is None else _worker(tier, settings.broker, settings, identity)
        opened.push_async_callback(tier.stop)
        await tier.start()
        if cluster is not None:
            cluster.watch(tier.workers)
        if upstream is not None:
            upstream.start()
            opened.push_async_callback(upstream.close)
        opened.push_async_callback(server.stop)
        await server.start()
        if worker is not None:
            opened.push_async_callback(worker.stop)
            worker.start()
        datagrams = None if settings.listen_datagrams is None else _datagrams(tier, settings, identity)
        if datagrams is not None:
            opened.push_async_callback(datagrams.stop)
            await datagrams.start()
        oip = None if statistics is None else _open_inference(tier, bundles, statistics, settings)
        if oip is not None:
            opened.push_async_callback(oip.stop)
            await oip.start()
        yield _Served(tier, server, upstream, worker, datagrams, oip)


def _is_near(settings: TierSettings) -> bool:
    """Whether only this machine's programs meet the tier."""
    frames = [settings.listen, *([settings.listen_datagrams] if settings.listen_datagrams is not None else [])]
    hosts = [*(listen.host for listen in frames), *(listen.host for _, listen in settings.oip.doors)]
    return all(map(is_loopback, hosts)) and (settings.broker is None or settings.broker.is_near)


def _upstreams(above: Sequence[Dial], name: str, bundles: Sequence[Bundle]) -> Upstreams:
    hello = Hello(name, tuple(bundle.digest for bundle in bundles))
    return Upstreams([Upstream(dial, hello) for dial in above])


def _cluster(ray: RaySettings, settings: TierSettings, bundles: Sequence[Bundle]) -> OpenCluster:
    from serving.cluster.opening import OpenCluster  # only who has a cluster pays for what leads there
    from serving.cluster.ray_serve import RayWorkers

    engine = (settings.engine.name, settings.engine.threads)
    return OpenCluster(ray, RayWorkers(ray, settings.name, bundles, engine, settings.emulated_slowdown), time.monotonic)


def _worker(tier: Tier, broker: Broker, settings: TierSettings, identity: Identity) -> MqttWorker:
    from transport.mqtt_worker import MqttWorker  # only who uses a broker pays for its client

    return MqttWorker(
        tier,
        broker,
        identity,
        name=settings.name,
        credits=settings.credits,
        load=tier.load,
        quotas=settings.quotas,
        revoked=Revoked.named_by(settings.listen.tls, time.monotonic),
    )


def _datagrams(tier: Tier, settings: TierSettings, identity: Identity) -> DatagramServer:
    try:
        from transport.datagram_server import DatagramServer
    except ModuleNotFoundError as exc:
        raise ExtraMissing(str(exc.name), "quic") from exc
    assert settings.listen_datagrams is not None
    return DatagramServer(
        tier,
        settings.listen_datagrams,
        identity,
        credits=settings.credits,
        load=tier.load,
        quotas=settings.quotas,
    )


def _statistics() -> Statistics:
    from serving.oip.statistics import Statistics  # only a tier with a door of that protocol needs what is behind it

    return Statistics()


def _open_inference(
    tier: Tier, bundles: Sequence[Bundle], statistics: Statistics, settings: TierSettings
) -> OpenInference:
    from serving.oip.opening import OpenInference

    return OpenInference(settings.oip, bundles, tier, statistics, settings.quotas, time.monotonic)


def _observers(*observers: Observer | None) -> Observer | None:
    """All of them as one; None where there is none."""
    given = [observer for observer in observers if observer is not None]

    def each(passage: Passage, request: Request, answer: Result | Refusal, /) -> None:
        for observer in given:
            observer(passage, request, answer)

    return given[0] if len(given) == 1 else each if given else None


def _metrics() -> Metrics:
    from serving.metrics import Metrics  # only a tier with a door for operators needs the libraries behind it

    return Metrics(time.monotonic)


def _operations(
    wanted: OperationsSettings, tier: Tier, metrics: Metrics, stop: asyncio.Event, vitals: Vitals
) -> Operations:
    from serving.operations import Operations

    metrics.watch(tier)
    return Operations(
        wanted,
        alive=lambda: vitals.well,
        ready=lambda: vitals.well and not stop.is_set(),
        explain=tier.explained,
        registry=metrics.registry,
        clock=time.monotonic,
    )


def _open_bundles(paths: Sequence[Path], trust: Trust | None) -> list[Bundle]:
    """Open and verify all, by their makers too; nothing stays open if one of them fails."""
    bundles: list[Bundle] = []
    try:
        for path in paths:
            bundles.append(Bundle.open(path, trust=trust))
            bundles[-1].verify_all()
    except BaseException:
        for bundle in bundles:
            bundle.close()
        raise
    return bundles


class _Signals:
    """Sets `stop` on SIGINT or SIGTERM while entered."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()

    def __enter__(self) -> _Signals:
        self.take()
        return self

    def take(self) -> None:
        """Have the signals come here, whoever had them before."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.stop.set)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

"""The device agent as a program: startup, run, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from device.afterwards import Afterwards
from device.arenas import few_arenas
from device.draining import Draining, DrainRules
from device.endings import Outcome
from device.frames import OpenFrame
from device.generation import After, Common, Generation
from device.history import Ending, FrameRecord, History
from device.items import items_for
from device.notify import Notify
from device.opening import add_sinks, open_history, open_source_of, open_spool
from device.running import Running
from device.savings import Savings
from device.settings import NoticesSettings, Settings, SpoolSettings, StatusSettings
from device.sinks import Sink
from device.sources import Clock, Source
from device.sources.opening import listening_port
from device.spans import end_span
from device.spool import Spool
from device.status import Recent, Report
from device.stillness import Stillness
from device.succession import Succession
from device.trusting import trusted_bundle
from device.updates.inbox import Inbox, accepted_bundle
from device.updates.settings import UpdateSettings
from protocol.errors import IsthmusError
from runtime.answers import Answer
from runtime.bundle import Bundle
from transport.tracing import tracer_of

if TYPE_CHECKING:
    from device.status.server import StatusServer

SILENT = Notify()
SAMPLES = 4
"""Items of the source that the parts are measured on."""

_log = logging.getLogger(__name__)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    source: Callable[[Clock], Source] | None = None,
    sinks: Sequence[Sink] = (),
    reread: Callable[[], Settings] | None = None,
    notify: Notify = SILENT,
) -> None:
    """Run the agent until its source ends, `stop` is set, or SIGINT or SIGTERM arrives.

    Prints two JSON lines to standard output: {"event": "ready", ...} when the first frame is about to be captured and
    {"event": "done", ...} at the end.

    Args:
        settings: checked settings.
        stop: set it to stop; where it is given, signals are left to the caller.
        source: makes the source from the agent's clock, in place of the one in the settings.
        sinks: besides those of the settings.
        reread: reads the settings again upon SIGHUP; without it the signal is left alone.
        notify: who is told that the agent is ready and alive.

    Raises:
        IsthmusError: bundle, source, sink, spool, history or fixed choice are not usable; a sentence for a person.
    """
    few_arenas()
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(_signalled(signal.SIGINT, signal.SIGTERM))
        hung_up = asyncio.Event() if reread is None else stack.enter_context(_signalled(signal.SIGHUP))
        configured, settings = settings.bundle, accepted_bundle(settings)
        bundle = stack.enter_context(trusted_bundle(settings))
        troubles: list[str] = []
        spool = open_spool(settings.spool, clock, troubles)
        if spool is not None:
            stack.callback(spool.close)
        opened = open_source_of(settings, bundle, given=source, clock=clock, spool=spool)
        history = stack.enter_context(open_history(settings.history.path))
        afterwards = Afterwards(settings.name, spool)
        stack.push_async_callback(asyncio.to_thread, afterwards.close)
        add_sinks(afterwards, settings, sinks)
        after: list[After] = [afterwards.ended]
        still = None if settings.still is None else Stillness(settings.still, clock)
        known = _nothing if still is None else still.answer_of
        if still is not None:
            after.append(partial(_learn, still))
        savings = Savings()
        after.append(partial(_count, savings))
        tell = partial(_tell_all, after)
        tracer = tracer_of(settings.traces, "device", clock)
        stack.push_async_callback(asyncio.to_thread, tracer.close)
        after.append(end_span)
        common = Common(clock, history, count(1), _run_name(settings), clock(), tell, savings, known, tracer)
        samples = await asyncio.to_thread(opened.samples, SAMPLES)
        items = items_for(samples, bundle.manifest)
        first = await Generation.open(settings, bundle, items, common, interval_s=opened.interval_s)
        succession = Succession(stop)
        again = partial(open_source_of, given=source, clock=clock, spool=spool)
        running = Running(settings, succession, opened, again, samples, afterwards, common, still, configured)
        succession.begin(first)
        facts = _facts(settings, first, opened)
        if settings.status is not None:
            report = Report(running, history, afterwards, spool, troubles)
            facts["status_port"] = stack.enter_context(_status(settings.status, report, after)).port
        _tell("ready", **facts)
        notify.ready(f"answering as {settings.name}")
        try:
            await running.until_done(
                notify.live(running.alive),
                *_reloading(running, reread, notify, hung_up),
                *_draining(settings.spool, spool, running),
                *_updating(settings.updates, running, samples, after),
                *_noticing(settings.notices, running, reread, after),
            )
        finally:
            notify.stopping()
            _tell("done", **_summary(history))


def _reloading(
    running: Running, reread: Callable[[], Settings] | None, notify: Notify, asked: asyncio.Event
) -> list[Coroutine[Any, Any, None]]:
    return [] if reread is None else [_reload_when(running, reread, notify, asked)]


async def _reload_when(running: Running, reread: Callable[[], Settings], notify: Notify, asked: asyncio.Event) -> None:
    """Take new settings each time it is asked for."""
    while True:
        await asked.wait()
        asked.clear()
        notify.reloading()
        taken = await _reloaded(running, reread)
        notify.ready("new settings are in force" if taken else "new settings were refused; see the log")
        _tell("reloaded", taken=taken)


async def _reloaded(running: Running, reread: Callable[[], Settings]) -> bool:
    """Read the settings again and take them; whether they are in force."""
    try:
        return await running.reload(await asyncio.to_thread(reread))
    except IsthmusError as exc:
        _log.error("the new settings are not taken: %s", exc)
        return False


def _updating(
    settings: UpdateSettings | None, running: Running, samples: Sequence[NDArray[Any]], after: list[After]
) -> list[Coroutine[Any, Any, None]]:
    if settings is None:
        return []
    inbox = Inbox(settings, running, samples)
    after.append(inbox.watch)
    if settings.control is None:
        return [inbox.run()]
    from device.updates.remote import Remote  # only who has a control plane needs its client

    remote = Remote(settings.control, settings.folder, running)
    after.append(remote.tally.note)
    return [inbox.run(), remote.run()]


def _noticing(
    settings: NoticesSettings | None, running: Running, reread: Callable[[], Settings] | None, after: list[After]
) -> list[Coroutine[Any, Any, None]]:
    if settings is None:
        return []
    from device.notices import Notices  # only who uses a broker pays for its client

    reload = None if reread is None else partial(_reloaded, running, reread)
    notices = Notices(settings, running, reload)
    after.append(notices.tally.note)
    return [notices.run()]


def _draining(settings: SpoolSettings | None, spool: Spool | None, running: Running) -> list[Coroutine[Any, Any, None]]:
    if settings is None or spool is None:
        return []
    rules = DrainRules(share=settings.share, allowed_s=settings.allowed_s, alone=settings.alone)
    draining = Draining(
        spool, running.afterwards, lambda: running.succession.current.agent,
        lambda: running.succession.current.planner.plan(), rules, lambda: running.live_s, running.clock,
    )  # fmt: skip
    return [draining.run()]


def _status(settings: StatusSettings, report: Report, after: list[After]) -> StatusServer:
    """The server of health and metrics, told of every frame from here on."""
    from device.status.metrics import Metrics  # only who is asked for metrics needs the library
    from device.status.server import StatusServer

    recent, metrics = Recent(settings.frames), Metrics(report.gauges)

    def note(_bundle: Bundle, _frame: OpenFrame, record: FrameRecord, _outcome: Outcome) -> None:
        recent.add(record)
        metrics.add(record)

    after.append(note)
    return StatusServer(settings, report, metrics, recent)


def _learn(still: Stillness, _bundle: Bundle, frame: OpenFrame, record: FrameRecord, outcome: Outcome) -> None:
    """What a scene shows, from a frame of it that was looked at."""
    if outcome.ended is Ending.ANSWERED and not record.reason and not frame.late:
        still.learn(frame.scene, outcome.answer)


def _count(savings: Savings, _bundle: Bundle, _frame: OpenFrame, record: FrameRecord, _outcome: Outcome) -> None:
    savings.ended(record)


def _nothing(_scene: int) -> Answer | None:
    """What is known of scenes where nobody looks."""
    return None


def _tell_all(after: Sequence[After], *ended: Any) -> None:
    for one in after:
        one(*ended)


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
def _signalled(*numbers: signal.Signals) -> Iterator[asyncio.Event]:
    """An event that these signals set."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in numbers:
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

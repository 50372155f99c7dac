"""A part that ends by itself is noticed: the tier turns unhealthy and ends, for whoever starts it again."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from edge.program import run
from edge.settings import load
from serving.errors import PartBroken
from serving.scheduling.scheduler import Scheduler
from serving.vitals import Vitals
from tests.runtime.tiny_bundle import TinyBundle
from transport.client import FrameClient
from transport.mqtt_worker import MqttWorker
from transport.server import Identity
from transport.settings import Broker


async def for_ever() -> None:
    await asyncio.Event().wait()


async def with_an_error() -> None:
    raise ZeroDivisionError("no")


async def without_one() -> None:
    """Ends at once."""


@pytest.mark.parametrize(("part", "why"), [(with_an_error, "ZeroDivisionError: no"), (without_one, "without an error")])
async def test_the_first_part_that_ends_is_named(part: object, why: str) -> None:
    stop = asyncio.Event()
    vitals = Vitals({"steady part": for_ever, "sick part": part})  # type: ignore[dict-item]
    assert vitals.well
    await vitals.until(stop)
    assert stop.is_set()
    assert not vitals.well
    assert vitals.broken is not None
    assert "sick part" in str(vitals.broken)
    assert why in str(vitals.broken)
    assert vitals.broken.exit_code == 1


async def test_nothing_is_broken_when_it_is_told_to_stop() -> None:
    stop = asyncio.Event()
    vitals = Vitals({"part": for_ever})
    until = asyncio.create_task(vitals.until(stop))
    await asyncio.sleep(0)
    stop.set()
    await until
    assert vitals.well


@pytest.mark.parametrize(
    ("owner", "method", "part"),
    [(Scheduler, "next", "thread that does the work"), (FrameClient, "_keep_alive", "connection to the tiers above")],
)
async def test_a_tier_of_which_a_part_has_died_ends(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, part: str
) -> None:
    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError("no")

    async def broken_too(*_: object) -> None:
        broken()

    monkeypatch.setattr(owner, method, broken if owner is Scheduler else broken_too)
    settings = {"bundles": f'["{tiny_bundle.path}"]', "listen.port": 0, "cloud.target": "127.0.0.1:9"}
    with pytest.raises(PartBroken, match=f"{part} ended by itself, with ZeroDivisionError: no"):
        async with asyncio.timeout(60):
            await run(load(None, settings), stop=asyncio.Event())


async def test_a_worker_at_a_broker_that_breaks_is_noticed_and_one_that_stops_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(self: MqttWorker) -> None:
        raise ZeroDivisionError("of the worker")

    monkeypatch.setattr(MqttWorker, "_work", broken)
    worker = MqttWorker(
        lambda request: asyncio.sleep(0),  # type: ignore[arg-type]
        Broker(target="127.0.0.1:9"),
        Identity("edge", tuple),
        name="edge",
    )
    worker.start()
    with pytest.raises(ZeroDivisionError, match="of the worker"):
        await worker.ended()
    monkeypatch.setattr(MqttWorker, "_work", lambda self: for_ever())
    other = MqttWorker(
        lambda request: asyncio.sleep(0),  # type: ignore[arg-type]
        Broker(target="127.0.0.1:9"),
        Identity("edge", tuple),
        name="other",
    )
    other.start()
    ended = asyncio.create_task(other.ended())
    await asyncio.sleep(0)
    await other.stop()
    await ended

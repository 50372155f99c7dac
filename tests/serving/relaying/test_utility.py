"""The goal `utility`: what answers are worth, and whom an edge answers, forwards and sheds for it."""

from __future__ import annotations

import asyncio
import pathlib
import time
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from benchmarks.utility import Edge
from edge.settings import RelaySettings, load
from protocol.messages import Handover, Refusal, Result
from runtime.bundle import Bundle
from runtime.errors import SettingsError
from serving.errors import WorthOfNone
from serving.relaying.worth import Ledger, Worth
from serving.scheduling.jobs import Path
from serving.tier import Tier
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.occupied import a_passage, occupied
from tests.serving.tiers import Device, Running, a_device, a_tier, logits_of, whole
from transport.stream import Request

AMOUNTS = some.floats(0.0, 100.0)


@given(AMOUNTS, AMOUNTS, AMOUNTS, some.booleans())
def test_what_is_lost_elsewhere_is_the_difference_of_the_best_choices(
    benefit: float, edge_cost: float, cloud_cost: float, in_time_above: bool
) -> None:
    """With this edge: an answer here. Without it: one from above, or none, whichever leaves more."""
    if edge_cost >= benefit:
        with pytest.raises(ValidationError, match="edge_cost"):
            Worth(benefit=benefit, edge_cost=edge_cost)
        return
    worth = Worth(benefit=benefit, edge_cost=edge_cost, cloud_cost=cloud_cost)
    without = [0.0, benefit - cloud_cost] if in_time_above else [0.0]
    assert worth.lost_elsewhere(in_time_above=in_time_above) == pytest.approx(benefit - edge_cost - max(without))


def test_a_ledger_counts_benefits_costs_and_the_windows_in_which_enough_were_in_time() -> None:
    worth = Worth(benefit=10.0, edge_cost=1.0, cloud_cost=4.0, rate=0.5, window_s=10.0, bonus=100.0)
    ledger = Ledger(worth, 0.0)
    ledger.end(1.0, in_time=True, worked=True, passed_up=False)  # 9
    ledger.end(2.0, in_time=False, worked=True, passed_up=False)  # -1
    assert not ledger.behind(3.0)
    ledger.end(4.0, in_time=False, worked=False, passed_up=False)  # 0
    assert ledger.behind(5.0), "one of three is less than half"
    assert not ledger.behind(10.0), "a window without frames lacks nothing"
    ledger.end(31.0, in_time=True, worked=True, passed_up=True)  # 5
    ledger.behind(55.0)
    assert ledger.explained() == {"utility": 13.0, "bonuses": 100.0, "windows": 2, "windows_kept": 1}


async def test_a_frame_is_answered_by_the_edge_wherever_it_asks_to_be_handed_over(tiny_bundle: TinyBundle) -> None:
    async with AsyncExitStack() as opened:
        cloud, edge = await _tiers(opened, tiny_bundle, Worth(cloud_cost=0.5))
        device = await opened.enter_async_context(a_device(tiny_bundle.path, edge.dial))
        item = tiny_bundle.items[0]
        result = await device.answer(device.frame(item, 1, handover=Handover(2, 0)))
        assert result.answered_by == "edge"
        np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)
        told = edge.tier.explained()["utility"]
        assert told == {_model(device): {"utility": 1.0, "bonuses": 0.0, "windows": 0, "windows_kept": 0}}
        assert cloud.tier.explained()["taken"] == 0


async def test_it_goes_up_where_an_answer_from_above_leaves_more(tiny_bundle: TinyBundle) -> None:
    async with AsyncExitStack() as opened:
        _, edge = await _tiers(opened, tiny_bundle, Worth(edge_cost=0.5, cloud_cost=0.25))
        device = await opened.enter_async_context(a_device(tiny_bundle.path, edge.dial))
        result = await device.answer(device.frame(tiny_bundle.items[0], 1))
        assert result.answered_by == "cloud"
        told = edge.tier.explained()["utility"]
        assert isinstance(told, dict)
        assert told[_model(device)]["utility"] == 0.75


@pytest.mark.parametrize(("cloud_cost", "by"), [(0.5, "cloud"), (1.5, None)])
async def test_what_there_is_no_time_for_goes_up_if_that_is_worth_it(
    tiny_bundle: TinyBundle, cloud_cost: float, by: str | None
) -> None:
    async with AsyncExitStack() as opened:
        _, edge = await _tiers(opened, tiny_bundle, Worth(cloud_cost=cloud_cost), capacity=1)
        device = await opened.enter_async_context(a_device(tiny_bundle.path, edge.dial))
        assert (await device.answer(device.frame(tiny_bundle.items[0], 1))).answered_by == "edge"
        async with occupied(edge.tier.workers):
            answer = await device.ask(device.frame(tiny_bundle.items[0], 1))
        if by is None:
            assert isinstance(answer, Refusal)
        else:
            assert isinstance(answer, Result)
            assert answer.answered_by == by


async def test_a_frame_that_was_refused_waits_for_an_idle_moment_and_is_answered_here(
    tiny_bundle: TinyBundle,
) -> None:
    """Two frames that seem to take 40 of the 60 seconds that each has: no time for the second, but an idle moment."""
    async with AsyncExitStack() as opened:
        cloud, edge = await _tiers(opened, tiny_bundle, Worth(cloud_cost=0.5))
        device = await opened.enter_async_context(a_device(tiny_bundle.path, edge.dial))
        _seems_to_take(edge.tier, device, 40.0)
        async with occupied(edge.tier.workers):
            asking = [asyncio.create_task(device.answer(device.frame(tiny_bundle.items[0], 2))) for _ in range(2)]
            await _waiting(edge.tier, 2)
            assert edge.tier.explained()["refused"] == 1
        assert [(await answer).answered_by for answer in asking] == ["edge", "edge"]
        assert cloud.tier.explained()["taken"] == 0


async def test_while_too_few_are_in_time_frames_go_up_past_a_busy_edge(tiny_bundle: TinyBundle) -> None:
    async with AsyncExitStack() as opened:
        _, edge = await _tiers(opened, tiny_bundle, Worth(cloud_cost=0.5, rate=1.0, window_s=3600.0))
        device = await opened.enter_async_context(a_device(tiny_bundle.path, edge.dial))
        frame = device.frame(tiny_bundle.items[0], 2)
        assert (await device.answer(frame)).answered_by == "edge"
        hopeless = Request(device.frame(tiny_bundle.items[0], 2), "device", time.monotonic() - 3600.0)
        assert isinstance(await edge.tier(hopeless), Refusal)
        _seems_to_take(edge.tier, device, 20.0)
        async with occupied(edge.tier.workers):
            waiting = asyncio.create_task(edge.tier.workers.do(a_passage(), _path(edge.tier, device), "another"))
            await _waiting(edge.tier, 1)
            assert (await device.answer(device.frame(tiny_bundle.items[0], 2))).answered_by == "cloud"
            waiting.cancel()


async def _tiers(opened: AsyncExitStack, bundle: TinyBundle, worth: Worth, **options: Any) -> tuple[Running, Running]:
    """A cloud, and an edge below it with this goal."""
    with Bundle.open(bundle.path) as known:
        relay = RelaySettings(goal="utility", worth={known.manifest.model_id: worth})
    cloud = await opened.enter_async_context(a_tier("cloud", bundle.path))
    edge = await opened.enter_async_context(a_tier("edge", bundle.path, cloud.dial, relay=relay.build, **options))
    return cloud, edge


def _model(device: Device) -> str:
    return device.bundle.manifest.model_id


def _path(tier: Tier, device: Device) -> Path:
    (served,) = tier._served.values()
    return served.between(2, None)


def _seems_to_take(tier: Tier, device: Device, seconds: float) -> None:
    """Let a tier believe that its last segment takes so long, though the quickest run was not."""
    (step,) = _path(tier, device).steps
    for _ in range(200):
        tier.workers.scheduler.costs.learn(step, 1, seconds)
    tier.workers.scheduler.costs.of(step).forbid_batches()


async def _waiting(tier: Tier, count: int) -> None:
    async with asyncio.timeout(20):
        while tier.workers.queued < count:  # noqa: ASYNC110 - the scheduler tells nobody
            await asyncio.sleep(0.001)


def test_utility_brings_in_more_than_speed_does_at_every_load() -> None:
    for times in (1.0, 4.0):
        alone, latency, utility = (Edge(goal, 3).run(times) for goal in ("alone", "latency", "utility"))
        assert utility >= 0.99 * latency
        assert utility >= 0.99 * alone
    assert utility > 1.04 * latency, "the edge is too small for all: what is worth little makes room"


async def test_a_model_that_is_not_served_is_named(tiny_bundle: TinyBundle) -> None:
    async with AsyncExitStack() as opened:
        cloud = await opened.enter_async_context(a_tier("cloud", tiny_bundle.path))
        relay = RelaySettings(goal="utility", worth={"tinny": Worth()})
        with pytest.raises(WorthOfNone, match=r"'tinny'.*name one of tiny"):
            await opened.enter_async_context(a_tier("edge", tiny_bundle.path, cloud.dial, relay=relay.build))


def test_figures_of_another_goal_are_refused(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "edge.toml"
    begin = 'bundles = ["x"]\n[cloud]\ntarget = "a:1"\n[relay]\n'
    for lines, key in (
        ("[relay.worth.m]\nbenefit = 2.0\n", "worth"),
        ('goal = "utility"\naccuracy_loss = 0.1\n', "loss"),
    ):
        config.write_text(begin + lines)
        with pytest.raises(SettingsError, match=key):
            load(config)
    config.write_text(begin + 'goal = "utility"\n[relay.worth."my/model"]\nbenefit = 2.0\nrate = 0.9\n')
    relay = load(config).relay
    assert isinstance(relay, RelaySettings)
    assert relay.worth["my/model"] == Worth(benefit=2.0, rate=0.9)

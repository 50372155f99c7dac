import asyncio
import shutil
import signal
import time
from dataclasses import dataclass

import pytest

from adaptation.decision import Decision, ExitFirst
from adaptation.plan import Choice, Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import Snapshot
from device.settings import PolicySettings
from device.sources import Captured, replay
from protocol.errors import Code
from protocol.messages import Refusal
from runtime.bundle import MANIFEST_NAME, Bundle, read_manifest
from tests.device.conftest import assert_each_ended_once, assert_says
from tests.device.processes import start_tier
from transport.server import FrameServer, Identity
from transport.settings import Listen
from transport.stream import Request

RAW = {0: 3, 1: 4, 2: 4}
"""The lossless level "raw" of each cut of the tiny bundle."""
SLOW = 300.0
"""Makes the tiny model so slow on the device that a tier is worth its while."""


@pytest.fixture
async def cloud(tiny_bundle):
    program, port = await start_tier("cloud", tiny_bundle.path)
    yield f"127.0.0.1:{port}"
    await program.kill()


@pytest.fixture
async def edge(tiny_bundle, cloud):
    program, port = await start_tier("edge", tiny_bundle.path, cloud_port=int(cloud.rpartition(":")[2]))
    yield f"127.0.0.1:{port}"
    await program.kill()


async def test_every_cut_and_route_gives_the_unsplit_models_answer(device, truth, edge, cloud):
    for route in (Route.EDGE, Route.CLOUD, Route.EDGE_TO_CLOUD):
        for cut, level in RAW.items():
            lines = await device.run(
                source__limit=12, source__keep="all", deadline_s=5.0, edge__target=edge, cloud__target=cloud,
                policy__name="fixed", policy__cut=cut, policy__level=level, policy__route=str(route),
            )  # fmt: skip
            assert_each_ended_once(lines, 12)
            for line in lines:
                assert_says(line, truth(line["source"]))
                assert line["by"] == ("edge" if route is Route.EDGE else "cloud")
                assert (line["route"], line["cut"], line["level"]) == (route, cut, level)
                assert line["message_bytes"] > line["payload_bytes"] > 0
                assert line["tier_s"] > 0
                assert line["in_time"]


async def test_learned_levels_are_sent_and_answered(device, edge):
    lines = await device.run(
        source__limit=20, source__keep="all", deadline_s=5.0, edge__target=edge,
        policy__name="fixed", policy__cut=2, policy__level=0, policy__route="edge",
    )  # fmt: skip
    answered = [line for line in lines if line["by"] == "edge"]
    assert len(answered) >= 10
    assert max(line["payload_bytes"] for line in answered) < 200


async def test_frames_overlap_on_the_way(device, edge):
    """One frame's wait for its answer does not hold up the next one's head."""
    lines = await device.run(
        source__limit=60, source__rate_hz=1000.0, source__keep="all", deadline_s=5.0, edge__target=edge,
        policy__name="fixed", policy__cut=1, policy__level=4, policy__route="edge",
    )  # fmt: skip
    assert_each_ended_once(lines, 60)
    ended_s = {line["frame"]: line["captured_s"] + line["latency_s"] for line in lines}
    sent_s = {line["frame"]: ended_s[line["frame"]] - line["network_s"] - line["tier_s"] for line in lines}
    assert any(sent_s[frame + 1] < ended_s[frame] for frame in range(1, 60))


@dataclass(frozen=True)
class AsksTheExit:
    """Sends every frame at cut 1 unless its exit is sure enough."""

    confidence: float

    def decide(self, snapshot: Snapshot) -> Decision:
        return Decision(Choice(1, 2, Route.EDGE), 0.1, 1.0, "", exit_first=ExitFirst(1, self.confidence))


@pytest.mark.parametrize(("confidence", "by"), [(0.0, "device"), (1.0, "edge")])
async def test_an_exit_that_is_sure_enough_ends_the_frame_and_another_does_not(
    device, edge, monkeypatch, confidence, by
):
    monkeypatch.setattr(PolicySettings, "build", lambda settings: AsksTheExit(confidence))
    lines = await device.run(source__limit=10, source__keep="all", deadline_s=5.0, edge__target=edge)
    assert_each_ended_once(lines, 10)
    answered = [line for line in lines if line["ended"] == "answered"]
    assert len(answered) >= 5
    assert {line["by"] for line in answered} == {by}
    assert {line["cut"] for line in lines} == {1}
    assert {line["exit"] for line in answered} == {by == "device"}


@dataclass(frozen=True)
class SendsAndRemembers:
    """Sends every frame at cut 1 and keeps what each decision was told of bytes and importance."""

    seen: list[Snapshot]

    def decide(self, snapshot: Snapshot) -> Decision:
        self.seen.append(snapshot)
        return Decision(Choice(1, 2, Route.EDGE), 0.1, 1.0, "")


async def test_decisions_know_what_is_left_of_the_data_plan_and_what_a_frame_is_worth(device, edge, monkeypatch):
    """At a megabyte a month 23 bytes are in hand: what has been sent is missing from that, whoever counts it."""
    policy = SendsAndRemembers([])
    monkeypatch.setattr(PolicySettings, "build", lambda settings: policy)
    monkeypatch.setattr(replay, "Captured", lambda *args: Captured(*args, importance=3.0))
    lines = await device.run(
        source__limit=10, source__keep="all", deadline_s=5.0, edge__target=edge, bytes_per_month=1e6
    )
    assert_each_ended_once(lines, 10)
    assert {one.importance for one in policy.seen} == {3.0}
    allowed = [one.allowance for one in policy.seen]
    assert all(one is not None and one.left_bytes < 100.0 for one in allowed)
    assert allowed[-1].left_bytes == 0.0
    assert allowed[-1].price > 0.0


@dataclass(frozen=True)
class ThinksAgain(DeadlinePolicy):
    """Decides for level 0 at cut 2, and for another level, or for the device, when the features are there."""

    instead: Choice | None = None

    def decide(self, snapshot: Snapshot) -> Decision:
        return Decision(Choice(2, 0, Route.EDGE), 0.1, 1.0, "")

    def on_sending(self, snapshot: Snapshot, choice: Choice) -> Choice:
        return self.instead or choice


async def test_a_frame_is_sent_as_it_is_decided_when_its_head_is_done(device, truth, edge, monkeypatch):
    for instead in (Choice(2, RAW[2], Route.EDGE), Choice(3, None, Route.DEVICE)):
        monkeypatch.setattr(PolicySettings, "build", lambda settings, instead=instead: ThinksAgain(instead=instead))
        lines = await device.run(source__limit=8, source__keep="all", deadline_s=5.0, edge__target=edge)
        assert_each_ended_once(lines, 8)
        for line in lines:
            assert_says(line, truth(line["source"]))
            assert (line["cut"], line["level"], line["by"]) == (instead.cut, instead.level, str(instead.route))


async def test_a_slow_device_with_a_good_link_uses_a_tier(device, edge):
    lines = await device.run(
        source__limit=40, source__rate_hz=20.0, emulated_slowdown=SLOW, edge__target=edge, measure_s=0.2
    )
    assert_each_ended_once(lines, 40)
    assert sum(line["by"] == "edge" for line in lines[20:]) >= 10


@pytest.mark.parametrize("kind", ["edge", pytest.param("cloud", marks=pytest.mark.slow)])
async def test_a_tier_that_is_killed_loses_no_frame_and_is_used_again(device, tiny_bundle, kind, reserved_port):
    program, _ = await start_tier(kind, tiny_bundle.path, port=reserved_port)
    stop = asyncio.Event()
    target = {f"{kind}__target": f"127.0.0.1:{reserved_port}"}
    running = asyncio.create_task(
        device.run(stop=stop, source__rate_hz=20.0, emulated_slowdown=SLOW, measure_s=0.2, **target)
    )
    try:
        await tier_answers(device, kind, after=0, more=10)
        await program.kill()
        killed_at = len(device.lines())
        await asyncio.sleep(2.0)  # the length of the outage is part of the claim
        program, _ = await start_tier(kind, tiny_bundle.path, port=reserved_port)
        returned_at, returned_s = len(device.lines()), time.monotonic()
        await tier_answers(device, kind, after=returned_at, more=1)
        away_s = time.monotonic() - returned_s
        await tier_answers(device, kind, after=returned_at, more=10)
    finally:
        stop.set()
        lines = await running
        await program.kill()
    assert_each_ended_once(lines)
    assert {line["by"] for line in lines[killed_at + 3 : returned_at]} <= {"device", None}
    assert any(line["by"] == "device" for line in lines[killed_at:returned_at])
    assert away_s < 2.0


async def test_an_edge_that_falls_silent_costs_few_frames(device, tiny_bundle):
    """Not dead, only silent: no stream breaks. Frames in flight expire, the next are answered here."""
    program, port = await start_tier("edge", tiny_bundle.path)
    stop = asyncio.Event()
    running = asyncio.create_task(
        device.run(
            stop=stop,
            source__rate_hz=20.0,
            emulated_slowdown=SLOW,
            measure_s=0.2,
            edge__target=f"127.0.0.1:{port}",
            policy__hedge=False,
        )
    )
    try:
        await tier_answers(device, "edge", after=0, more=10)
        program.process.send_signal(signal.SIGSTOP)
        silent_at = len(device.lines())
        async with asyncio.timeout(30):
            while sum(line["by"] == "device" for line in device.lines()[silent_at:]) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        program.process.send_signal(signal.SIGCONT)
        await tier_answers(device, "edge", after=len(device.lines()), more=5)
    finally:
        stop.set()
        lines = await running
        await program.kill()
    assert_each_ended_once(lines)
    expired = [line for line in lines[silent_at:] if line["ended"] == "expired"]
    assert any("no answer from edge in time: silent for" in line["reason"] for line in expired)
    assert all(not line["in_time"] and line["answer"] is None for line in expired)


async def test_a_tier_that_refuses_everything_does_not_stop_the_device(device, tiny_bundle):
    asked = []

    async def refuse(request: Request) -> Refusal:
        asked.append(request.frame.id)
        return Refusal(request.frame.id, Code.OVERLOADED, "64 frames wait already")

    with Bundle.open(tiny_bundle.path) as bundle:
        server = FrameServer(refuse, Listen(), Identity("edge", lambda: [bundle.digest]))
    await server.start()
    lines = await device.run(
        source__limit=30, source__rate_hz=20.0, emulated_slowdown=SLOW, deadline_s=0.5, measure_s=0.2,
        edge__target=f"127.0.0.1:{server.port}",
    )  # fmt: skip
    await server.stop()
    assert_each_ended_once(lines, 30)
    by_frame = {line["frame"]: line for line in lines}
    assert asked
    assert {by_frame[frame]["ended"] for frame in asked} <= {"answered", "expired"}
    assert any(by_frame[frame]["by"] == "device" for frame in asked)


async def test_a_tier_without_this_bundle_is_not_used(device, tiny_bundle, tmp_path, caplog):
    other = tmp_path / "other.isthmus"
    shutil.copytree(tiny_bundle.path, other)
    manifest = read_manifest((other / MANIFEST_NAME).read_bytes()).model_copy(update={"counter": 9})
    (other / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    program, port = await start_tier("edge", other)
    lines = await device.run(source__limit=30, emulated_slowdown=SLOW, edge__target=f"127.0.0.1:{port}")
    await program.kill()
    assert_each_ended_once(lines, 30)
    assert {line["by"] for line in lines if line["ended"] == "answered"} == {"device"}
    assert "does not serve this bundle" in caplog.text


async def test_an_edge_without_its_cloud_finishes_what_was_to_be_passed_on(device, truth, tiny_bundle):
    program, port = await start_tier("edge", tiny_bundle.path, cloud_port=9)
    lines = await device.run(
        source__limit=20, source__keep="all", deadline_s=5.0, edge__target=f"127.0.0.1:{port}",
        policy__name="fixed", policy__cut=1, policy__level=4, policy__route="edge_to_cloud",
    )  # fmt: skip
    await program.kill()
    answered = [line for line in lines if line["ended"] == "answered"]
    assert len(answered) >= 10
    assert {line["by"] for line in answered} == {"edge"}
    for line in answered:
        assert_says(line, truth(line["source"]))


async def tier_answers(device, kind, *, after: int, more: int) -> None:
    """Wait until so many more lines say that the tier answered."""
    async with asyncio.timeout(30):
        while sum(line["by"] == kind for line in device.lines()[after:]) < more:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

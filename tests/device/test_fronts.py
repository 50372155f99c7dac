"""Payloads that are cut short on their way: the device takes the end back, the tier answers what has come."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from adaptation.decision import Decision
from adaptation.hedging import Hedging
from adaptation.link import UplinkEstimator
from adaptation.plan import Choice, Option, Plan, Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import Snapshot
from device.frames import OpenFrame, Step
from device.hedges import Hedges
from device.plan import embedded_levels
from device.settings import PolicySettings
from device.tiers import TierLink
from protocol.messages import Hello
from runtime.answers import answer_of
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.codecs.parts import Parts
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from tests.device import embedded_bundle
from tests.device.conftest import assert_each_ended_once, assert_says
from tests.device.processes import ROOT, Program, start_tier
from transport.client import Shortened
from transport.settings import Dial

LEVELS = ((4_000, 0.5), (10_000, 0.75), (24_000, 0.99))
PLAN = Plan(
    (
        Option(Choice(2, None, Route.DEVICE), 0.5, 0.0, 0.0, 0.0, 0.3),
        *(
            Option(Choice(1, level, Route.EDGE), 0.001, size, 90.0, 0.002, accuracy, 100.0)
            for level, (size, accuracy) in enumerate(LEVELS)
        ),
    )
)


@dataclass
class HalfWritten:
    """A stream that has written so many bytes of every frame."""

    bytes: int = 2_000
    asked: list[int] = field(default_factory=list)

    def written(self, frame_id: int) -> float:
        return self.bytes

    def shorten(self, frame_id: int, payload_bytes: int) -> Shortened | None:
        self.asked.append(payload_bytes)
        return Shortened(payload_bytes + 100, LEVELS[2][0] - payload_bytes)


def on_its_way(embedded: bool) -> tuple[OpenFrame, HalfWritten, Hedges, UplinkEstimator, list[float]]:
    """A frame of the highest level on a link that was fast and of which nothing is heard any more."""
    now_s, estimator = [0.0], UplinkEstimator()
    for number in range(20):  # 24 kB in 96 ms: 2 Mbit/s
        now_s[0] = 0.2 * number
        estimator.sent(number, 24_100, now_s[0], Route.EDGE)
        estimator.acknowledged(number, now_s[0] + 0.12, 0.002)
    now_s[0] = 4.0
    link = TierLink(Route.EDGE, Dial(target="127.0.0.1:1"), Hello("d"), estimator, lambda: now_s[0], lambda *_: None)
    stream = link.client = HalfWritten()  # type: ignore[assignment]
    estimator.sent(link.key(77), 24_100, 4.0, Route.EDGE)
    frame = OpenFrame(77, "", None, 4.0, 4.8, None, step=Step.SENT, choice=Choice(1, 2, Route.EDGE))  # type: ignore[arg-type]
    frame.payload, frame.message_bytes = bytes(LEVELS[2][0]), 24_100
    hedges = Hedges(
        DeadlinePolicy(hedging=Hedging()), None, lambda: PLAN, estimator, lambda: [frame], {Route.EDGE: link},  # type: ignore[arg-type]
        {(1, 2)} if embedded else (), 0.1, lambda: now_s[0], lambda *_: None,
    )  # fmt: skip
    return frame, stream, hedges, estimator, now_s


def test_a_payload_on_a_link_that_has_slowed_down_is_cut_to_the_front_of_most_worth() -> None:
    frame, stream, hedges, estimator, now_s = on_its_way(embedded=True)
    assert not hedges.drop_useless(estimator.estimate(now_s[0]))
    now_s[0] = 4.35
    assert hedges.drop_useless(estimator.estimate(now_s[0]))
    assert stream.asked == [LEVELS[1][0]]
    assert (frame.choice, frame.front_of) == (Choice(1, 1, Route.EDGE), Choice(1, 2, Route.EDGE))
    assert (frame.front_bytes, frame.message_bytes) == (LEVELS[1][0], LEVELS[1][0] + 100)
    assert frame.awaited
    believed = estimator.estimate(now_s[0])
    assert believed.backlog_bytes == pytest.approx(LEVELS[1][0] + 100)


def test_other_payloads_and_those_of_which_too_much_has_left_stay_whole() -> None:
    for embedded, written in ((False, 2_000), (True, 20_000)):
        frame, stream, hedges, estimator, now_s = on_its_way(embedded)
        stream.bytes, now_s[0] = written, 4.35
        hedges.drop_useless(estimator.estimate(now_s[0]))
        assert not stream.asked
        assert frame.choice == Choice(1, 2, Route.EDGE)


def test_only_levels_that_were_trained_for_it_may_be_cut(tmp_path: Path, tiny_bundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        assert not embedded_levels(bundle.manifest)
        named = bundle.manifest.model_copy(update={"provenance": {"codec": "embedded"}})
    assert embedded_levels(named) == {(cut, level) for cut in (1, 2) for level in (0, 1, 2)}


@dataclass(frozen=True)
class TheMostOneAtATime(DeadlinePolicy):
    """Sends a frame at the highest level, whatever the link, and drops those that come while it is on its way."""

    def decide(self, snapshot: Snapshot) -> Decision:
        choice = None if snapshot.in_flight else Choice(1, 2, Route.EDGE)
        return Decision(choice, 0.1, 1.0, "one at a time")

    def on_sending(self, snapshot: Snapshot, decided: Choice) -> Choice:
        return decided


@pytest.mark.slow
async def test_on_a_link_that_drops_the_tier_answers_fronts_and_the_history_says_so(device, tmp_path, monkeypatch):
    """From 2 Mbit/s to 0.08: 40 kB take 0.2 s and then 4 s, and 3 s are allowed."""
    monkeypatch.setattr(PolicySettings, "build", lambda settings: TheMostOneAtATime(hedging=Hedging()))
    path, items = embedded_bundle.build(_folder(tmp_path / "embedded"))
    pictures = _folder(tmp_path / "long")
    for number, item in enumerate(items):
        Image.fromarray(item[0]).save(pictures / f"{number}.png")
    tier, port = await start_tier("edge", path)
    link, through = await _link(tmp_path / "link.toml", port)
    stop = asyncio.Event()
    running = asyncio.create_task(
        device.run(
            stop, bundle=str(path), source__path=str(pictures), source__rate_hz=4.0, deadline_s=3.0,
            edge__target=f"127.0.0.1:{through}", measure_s=0.05,
        )
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while not any(_answered_front(line) for line in device.lines()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        stop.set()
        lines = await running
    finally:
        running.cancel()
        await link.kill()
        await tier.kill()
    assert_each_ended_once(lines)
    fronts = [line for line in lines if _answered_front(line)]
    with Bundle.open(path) as bundle:
        stage, codecs = Stage(bundle, OnnxRuntimeEngine()), Codecs(bundle, OnnxRuntimeEngine())
        for line in fronts:
            assert line["level"] < line["front_of"]
            codec = codecs.at(1, line["front_of"])
            assert isinstance(codec, LearnedCodec)
            payload = codec.encode(stage.run(items[int(Path(line["source"]).stem)], 0, 1)[0])
            assert 133 <= line["payload_bytes"] < len(payload)
            assert line["payload_bytes"] < line["message_bytes"] < len(payload)
            restored = Parts(codec).front(payload[: line["payload_bytes"]])
            assert_says(line, answer_of(stage.run(restored, 1)[0]))


def _answered_front(line: dict[str, object]) -> bool:
    return line["front_of"] is not None and line["by"] == "edge"


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


async def _link(settings: Path, port: int) -> tuple[Program, int]:
    """The link emulator as a process, its clock running; the port that leads through it."""
    steps = [[2.0, 2e6], [600.0, 8e4]]
    settings.write_text(
        f'[uplink]\nkind = "steps"\nsteps = {steps}\ndelay_s = 0.01\nqueue_bytes = 3000\n'
        f'[downlink]\nkind = "unlimited"\ndelay_s = 0.01\n[[forward]]\nname = "edge"\ntarget = "127.0.0.1:{port}"\n'
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "testbed.link", str(settings), cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )
    program = Program(process)
    ports = (await program.line())["ports"]
    assert process.stdin is not None
    process.stdin.write(b"start\n")
    return program, ports["edge"]

"""A cloud whose tail runs on a Ray cluster of three processes: the same results, also when they are killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from protocol.messages import Handover
from tests.runtime import recurrent_bundle
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program
from tests.serving.test_streams import UP, talking
from tests.serving.tiers import a_device, a_tier, logits_of, whole
from transport.settings import Dial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'isthmus[ray]'"),
]
WORKERS = 3


@dataclass(frozen=True)
class RayCloud:
    """A running cloud of the tiny bundle and of the recurrent one."""

    dial: Dial
    pid: int
    recurrent: Path

    def workers(self) -> set[int]:
        """Process ids of the replicas that are ready."""
        return {pid for pid in _descendants(self.pid) if _command(pid).startswith("ray::ServeReplica")}

    async def all_there_but(self, gone: set[int]) -> None:
        """Return when there are as many workers as there should be, none of them among the killed."""
        await _until(lambda: len(self.workers() - gone) >= WORKERS)


@pytest.fixture(scope="module")
def cloud(tiny_bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCloud]:
    folder = tmp_path_factory.mktemp("ray")
    recurrent = recurrent_bundle.build(folder)
    log = folder / "log"
    settings = [f"bundles={[str(tiny_bundle.path), str(recurrent)]}", "listen.port=0"]
    settings += [f"ray.least={WORKERS}", f"ray.most={WORKERS}", "ray.cpus=0.5", "ray.start_s=400"]
    with a_program("cloud", log, *settings) as program:
        yield RayCloud(program.dial, program.process.pid, recurrent)
        program.process.terminate()
        assert program.process.wait(60) == 0, log.read_text()


def _descendants(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = {int(child) for task in tasks for child in _read(task).split()}
    return children | {below for child in children for below in _descendants(child)}


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def _read(path: Path) -> str:
    """A file of /proc; empty where the process or thread has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def test_three_processes_answer_every_cut_and_level_as_the_model_run_here(
    cloud: RayCloud, tiny_bundle: TinyBundle
) -> None:
    assert len(cloud.workers()) == WORKERS
    async with a_device(tiny_bundle.path, cloud.dial) as device:
        for item in tiny_bundle.items[:2]:
            for cut in device.bundle.manifest.cuts:
                result = await device.answer(device.frame(item, cut.index))
                np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)
                for level in range(len(cut.levels)):
                    frame = device.frame(item, cut.index, level)
                    decoded = device.codecs.at(cut.index, level).decode(frame.payload)
                    truth = device.stage.run(decoded, cut.index)[0][0]
                    np.testing.assert_allclose(logits_of(await device.answer(frame)), truth, atol=1e-4)


async def test_an_edge_hands_over_to_it_at_every_cut(cloud: RayCloud, tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    async with (
        a_tier("edge", tiny_bundle.path, cloud.dial) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
    ):
        for first, second in itertools.combinations_with_replacement(range(3), 2):
            result = await device.answer(device.frame(item, first, handover=Handover(second, device.raw_level(second))))
            assert result.answered_by == "cloud"
            np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)


async def test_killing_workers_loses_no_frame(cloud: RayCloud, tiny_bundle: TinyBundle) -> None:
    """Four callers that each wait for their answers; two of three workers are killed meanwhile, one after the other."""
    truths = [whole(tiny_bundle.whole, item) for item in tiny_bundle.items]
    killed: set[int] = set()
    answered: asyncio.Queue[int] = asyncio.Queue()
    enough = asyncio.Event()
    async with a_device(tiny_bundle.path, cloud.dial) as device:
        frames = [[device.frame(item, cut) for cut in range(3)] for item in tiny_bundle.items]

        async def call(at: int) -> None:
            while not enough.is_set():
                result = await device.answer(frames[at % len(frames)][at % 3])
                np.testing.assert_allclose(logits_of(result), truths[at % len(frames)], atol=1e-4)
                answered.put_nowait(at)
                at += 1

        async with asyncio.TaskGroup() as calls:
            for caller in range(4):
                calls.create_task(call(caller))
            for _ in range(2):
                await _several(answered)
                victim = min(cloud.workers() - killed)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
            await cloud.all_there_but(killed)
            await _several(answered)
            enough.set()


async def _several(answered: asyncio.Queue[int]) -> None:
    """Return when thirty more frames have been answered."""
    while not answered.empty():
        answered.get_nowait()
    for _ in range(30):
        await answered.get()


async def test_a_stream_goes_on_when_the_worker_of_its_last_step_is_killed(cloud: RayCloud) -> None:
    """Its state is in the tier: nothing is sent again, whichever worker is gone."""
    killed: set[int] = set()
    async with talking(cloud.recurrent, cloud.dial) as direct:
        await direct.steps(3)
        for victim in list(cloud.workers())[:2]:
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            await direct.steps(3)
        assert direct.stepper.sent_again == 0
    async with (
        a_tier("edge", cloud.recurrent, cloud.dial) as edge,
        talking(cloud.recurrent, edge.dial, handover=UP) as up,
    ):
        await up.steps(4)
        assert up.stepper.sent_again == 0
    await cloud.all_there_but(killed)


@pytest.mark.long
async def test_workers_follow_the_load_up_and_down(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """Callers who keep more frames here than one slow worker answers in a second make a second one, for as long."""
    settings = [f"bundles={[str(tiny_bundle.path)]}", "listen.port=0", "emulated_slowdown=50"]
    settings += ["ray.least=1", "ray.most=2", "ray.calm_s=2", "ray.cpus=0.5", "ray.start_s=400"]
    with a_program("cloud", tmp_path / "log", *settings) as program:
        cloud = RayCloud(program.dial, program.process.pid, tmp_path)
        assert len(cloud.workers()) == 1
        enough = asyncio.Event()
        async with a_device(tiny_bundle.path, cloud.dial) as device, asyncio.TaskGroup() as calls:

            async def call() -> None:
                while not enough.is_set():
                    await device.answer(device.frame(tiny_bundle.items[0], 0))

            for _ in range(16):
                calls.create_task(call())
            await _until(lambda: len(cloud.workers()) == 2)
            enough.set()
        await _until(lambda: len(cloud.workers()) == 1)
        program.process.terminate()
        assert program.process.wait(60) == 0, (tmp_path / "log").read_text()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while True:
            if holds():
                return
            await asyncio.sleep(0.1)

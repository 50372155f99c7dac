"""A language model, token by token over device, edge and cloud: the very text of the unsplit one, whoever is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from device.stepping.asking import Asker
from device.stepping.stepper import Stepper
from protocol.messages import Handover, Hello
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from tests.ports import reserved_port
from tests.serving.processes import Program, a_program
from transport.settings import Dial

LM = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "lm"
BEGINNING = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
"""As the model's first publication has it."""
TOKENS = 45
KILLED_AT = {15: "cloud", 30: "edge"}
"""With the token that is then on its way."""
RAW = 1

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.slow,
    pytest.mark.skipif(not LM.is_dir(), reason="needs the stories' model in ISTHMUS_DATA"),
]


@dataclass(frozen=True)
class Stories:
    """The bundle, and what the whole model writes."""

    path: Path
    ids: Sequence[int]
    text: str


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Stories:
    import torch

    from partitioner.capture import quiet_torch
    from tests.examples.stories import export, model, tokens

    shape, weights = model.read(LM / "stories260K.safetensors")
    ids = [tokens.FIRST]
    with quiet_torch(), torch.no_grad():
        while len(ids) < TOKENS + 1:
            ids.append(int(model.whole(shape, weights, ids).argmax()))
        path = export.export(LM / "stories260K.safetensors", tmp_path_factory.mktemp("stories"))
    return Stories(path, ids, tokens.text(tokens.read(LM / "tok512.bin"), ids))


class Tiers:
    """An edge and a cloud as processes; either can be killed and started again on its port."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder, self._bundle = folder, bundle
        self._held = ExitStack()
        self._ports = {room: self._held.enter_context(reserved_port()) for room in ("edge", "cloud")}
        self._running: dict[str, tuple[ExitStack, Program]] = {}

    def start(self, room: str, *more: str) -> Program:
        opened = ExitStack()
        arguments = (f"bundles=['{self._bundle}']", f"listen.port={self._ports[room]}", *more)
        program = opened.enter_context(a_program(room, self._folder / f"{room}.log", *arguments))
        self._running[room] = opened, program
        return program

    def kill_and_start_again(self, room: str, *more: str) -> None:
        opened, program = self._running[room]
        program.process.send_signal(signal.SIGKILL)
        program.process.wait()
        opened.close()
        self.start(room, *more)

    def stop(self) -> None:
        for opened, _ in self._running.values():
            opened.close()
        self._held.close()


def test_the_whole_model_tells_the_known_story(stories: Stories) -> None:
    assert stories.ids[:10] == [1, 403, 407, 261, 378, 432, 383, 286, 261, 376]
    assert stories.text.startswith(BEGINNING)


async def test_the_split_model_writes_it_token_by_token_though_each_tier_is_killed(
    stories: Stories, tmp_path: Path
) -> None:
    async with AsyncExitStack() as opened:
        tiers = Tiers(tmp_path, stories.path)
        opened.callback(tiers.stop)
        above = f"cloud.target={tiers.start('cloud').dial.target}"
        edge = tiers.start("edge", above)
        bundle = opened.enter_context(Bundle.open(stories.path))
        asker = await _asker(opened, bundle, edge.dial)
        stepper = Stepper(
            bundle,
            OnnxRuntimeEngine(),
            asker,
            stream=2026,
            cut=1,
            level=RAW,
            handover=Handover(2, RAW),
            patience_s=120.0,
        )
        ids = [stories.ids[0]]
        sent_again = []
        while len(ids) <= TOKENS:
            asked = asyncio.create_task(stepper.step(np.array([[ids[-1]]], np.int64)))
            victim = KILLED_AT.get(len(ids))
            if victim is not None:
                sent_again.append(stepper.sent_again)
                await asyncio.sleep(0)  # the step is on its way
                await asyncio.to_thread(tiers.kill_and_start_again, victim, *((above,) if victim == "edge" else ()))
            (logits,) = await asked
            ids.append(int(logits.array().argmax()))
            assert ids[-1] == stories.ids[len(ids) - 1], f"token {len(ids) - 1}"
        first, second = KILLED_AT
        assert sent_again[0] == 0
        assert sent_again[1] >= first - 1
        assert stepper.sent_again >= sent_again[1] + second - 1


async def _asker(opened: AsyncExitStack, bundle: Bundle, dial: Dial) -> Asker:
    asker = Asker(dial, Hello("device", (bundle.digest,)))
    asker.start()
    opened.push_async_callback(asker.close)
    async with asyncio.timeout(60):
        await asker.until_ready()
    return asker

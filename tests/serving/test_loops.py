"""A tier answers the same on every event loop that it can be run on."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession

from runtime.errors import SettingsError
from serving import loops
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program
from tests.serving.tiers import a_device, logits_of, whole


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
async def test_on_uvloop_a_tier_answers_as_on_pythons_own(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    settings = [f"bundles={[str(tiny_bundle.path)]}", "listen.port=0", "event_loop=uvloop", "oip.rest.port=0"]
    truth = whole(tiny_bundle.whole, tiny_bundle.items[0])
    with a_program("cloud", tmp_path / "log", *settings) as cloud:
        async with a_device(tiny_bundle.path, cloud.dial) as device:
            for cut in range(3):
                result = await device.answer(device.frame(tiny_bundle.items[0], cut))
                np.testing.assert_allclose(logits_of(result), truth, atol=1e-4)
        url = f"http://127.0.0.1:{cloud.ready['oip']['rest']}/v2/models/tiny"
        item, raw = tiny_bundle.items[0].tobytes(), {"Inference-Header-Content-Length": "0"}
        async with ClientSession() as session:
            for _ in range(2):
                async with session.post(f"{url}/infer", data=item, headers=raw) as answer:
                    np.testing.assert_allclose((await answer.json())["outputs"][0]["data"], truth, atol=1e-4)
                async with session.get(url) as metadata:
                    assert (await metadata.json())["name"] == "tiny"
        cloud.process.terminate()
        assert cloud.process.wait(60) == 0


def test_a_loop_that_is_not_installed_is_named_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)

    async def never() -> None:
        raise AssertionError

    with pytest.raises(SettingsError, match="pip install uvloop"):
        loops.run(never, "uvloop")

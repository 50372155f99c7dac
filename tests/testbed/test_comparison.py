"""Alternatives run live with real programs on the tiny bundle."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from adaptation.plan import Choice, Route
from runtime.answers import answer_of
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.manifest import Manifest
from runtime.stage import Stage
from testbed import toml
from testbed.alternatives import adaptive, cloud_jpeg, describe, device_only, fixed
from testbed.comparison import Progress, run_alternative, tiers
from testbed.errors import ChildError, ScenarioError
from testbed.figures import figures
from testbed.hindsight import measured_plan, slowdown_for
from testbed.link.settings import DirectionSettings
from testbed.pace import whole_model_s
from testbed.setting import Setting

if TYPE_CHECKING:
    from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture
def setting(tiny_bundle: TinyBundle, tmp_path: Path) -> Setting:
    """The tiny bundle's own items, labelled by its unsplit model, over a link that dies and comes back."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    labels = {}
    with Bundle.open(tiny_bundle.path) as bundle:
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        for number, item in enumerate(tiny_bundle.items):
            Image.fromarray(item[0]).save(inputs / f"{number}.png")
            labels[f"{number}.png"] = answer_of(stage.run(item)[0]).label
    moving = DirectionSettings(kind="steps", steps=((0.6, 8e6), (0.5, 0), (1, 8e6)), delay_s=0.005)
    return Setting(
        bundle=tiny_bundle.path, inputs=inputs, labels=labels, uplink=moving, downlink=moving, frames=16,
        rate_hz=10, slowdown=10.0, measure_s=0.1,
    )  # fmt: skip


def _manifest(setting: Setting) -> Manifest:
    with Bundle.open(setting.bundle) as bundle:
        return bundle.manifest


@pytest.mark.slow
def test_alternatives_run_on_the_same_link_and_lose_no_frame(setting: Setting, tmp_path: Path) -> None:
    seen: list[Progress] = []
    to_edge = fixed("to_edge", Choice(1, 0, Route.EDGE), "always to the edge")
    with tiers(setting, tmp_path / "run") as running:
        remote = run_alternative(setting, to_edge, running, progress=seen.append)
        chosen = run_alternative(setting, adaptive(), running)
    for record in (remote, chosen):
        found = figures(record)
        assert (found["frames"], found["frames_lost"]) == (16, 0)
        assert record.link[0]["event"] == "start"
    assert [line for progress in seen for line in progress.history] == list(remote.history)
    assert sum(line.get("up_bytes", 0) for line in remote.link) > 0
    assert {line["by"] for line in remote.history} == {"edge", None}
    in_outage = [line for line in remote.history if 0.65 < line["captured_s"] + remote.first_capture_s < 0.8]
    assert in_outage
    assert not any(line["in_time"] for line in in_outage)
    assert figures(remote)["bytes_per_frame"] > 0


def test_device_only_is_the_whole_model_on_the_device(setting: Setting) -> None:
    manifest = _manifest(setting)
    assert device_only(manifest).policy == {"name": "fixed", "cut": len(manifest.segments), "route": "device"}


@pytest.mark.slow
def test_a_program_that_fails_says_why(setting: Setting, tmp_path: Path) -> None:
    with tiers(setting, tmp_path / "run") as running, pytest.raises(ChildError, match="cut 9"):
        run_alternative(setting, fixed("wrong", Choice(9, 0, Route.EDGE), ""), running)


def test_unlabelled_inputs_are_named_before_anything_starts(setting: Setting) -> None:
    Image.new("RGB", (32, 32)).save(setting.inputs / "new.png")
    with pytest.raises(ScenarioError, match=r"new\.png"):
        setting.names()


def test_cloud_jpeg_is_the_smallest_picture_that_keeps_the_accuracy(setting: Setting) -> None:
    manifest = _manifest(setting)
    assert manifest.measured is not None
    chosen = cloud_jpeg(manifest)
    assert (chosen.policy["cut"], chosen.policy["route"]) == (0, "cloud")
    sizes = {
        level.measured.payload_bytes: index
        for index, level in enumerate(manifest.cuts[0].levels)
        if level.codec == "image" and level.measured and level.measured.accuracy >= manifest.measured.accuracy - 0.01
    }
    assert chosen.policy["level"] == sizes[min(sizes)]
    lossless = manifest.cuts[0].model_copy(update={"levels": manifest.cuts[0].levels[2:]})
    with pytest.raises(ScenarioError, match="no JPEG or WebP"):
        cloud_jpeg(manifest.model_copy(update={"cuts": (lossless, *manifest.cuts[1:])}))


def test_the_plan_holds_every_choice_at_the_devices_speed(setting: Setting) -> None:
    manifest, plan = measured_plan(setting)
    whole = plan.find(Choice(len(manifest.segments), None, Route.DEVICE))
    assert whole is not None
    assert whole.device_s > 0
    assert describe(whole.choice, manifest) == "whole model on the device"
    assert {option.choice.route for option in plan} == {Route.DEVICE, Route.EDGE, Route.CLOUD}


def test_the_slowdown_makes_the_whole_model_as_slow_as_asked(setting: Setting) -> None:
    def pace(bundle: Path, items: Sequence[Path]) -> float:
        """Runs that take 1, 4, 2, 9 and 5 s."""
        times = iter([0, 1, 10, 14, 20, 22, 30, 39, 40, 45])
        return whole_model_s(bundle, items, runs=5, sleep=lambda _: None, thread_time=lambda: next(times))

    assert slowdown_for(setting, 200.0, pace) == 200 / 4
    assert slowdown_for(setting, 3.0, pace) == 1


def test_settings_files_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    table = {
        "path": tmp_path / 'a "quoted" \\ näme', "on": True, "rate": 1e-05, "count": 3, "steps": [(1, 2.5), (3, 0)],
        "edge": {"target": "127.0.0.1:1", "passes_on": False, "tls": None}, "forward": [{"name": "x"}, {"name": "y"}],
        "absent": None,
    }  # fmt: skip
    assert tomllib.loads(toml.dumps(table)) == {
        "path": str(table["path"]), "on": True, "rate": 1e-05, "count": 3, "steps": [[1, 2.5], [3, 0]],
        "edge": {"target": "127.0.0.1:1", "passes_on": False}, "forward": [{"name": "x"}, {"name": "y"}],
    }  # fmt: skip
    with pytest.raises(TypeError):
        toml.dumps({"what": object()})

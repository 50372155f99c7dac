"""Timings of a machine: what simulated time does with them, and where they come from."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from isthmus.builtin.demo import BUNDLE
from isthmus.cli.main import app
from runtime.bundle import Bundle
from runtime.manifest import Manifest
from testbed.backends.calibration import (
    WHOLE_MODEL_S,
    Calibration,
    _factors,
    _noise,
    _programs,
    _steady,
    read_calibration,
)
from testbed.backends.named import backend_named
from testbed.backends.simulated.terms import own_timings, plan_of, supply_of
from testbed.errors import ScenarioError
from testbed.link.settings import DirectionSettings
from testbed.results.figures import ALL
from testbed.running import Repetition, run_scenario
from testbed.scenarios import library
from testbed.scenarios.material import Supplier
from tests.testbed.test_scenario_run import suppliers

__all__ = ["suppliers"]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    with Bundle.open(BUNDLE) as bundle:
        return bundle.manifest


def test_devices_and_tiers_take_as_much_longer_as_was_found(manifest: Manifest) -> None:
    scenario = library.open_scenario("elevator")[1]
    own = own_timings(manifest)
    slower = own.model_copy(update={"device_factor": 1.5, "encode_factor": 2.0, "tier_factor": 3.0})
    before, after = (plan_of(scenario, scenario.device["camera"], manifest, one) for one in (own, slower))
    for one, other in zip(before, after, strict=True):
        head_s = one.device_s if one.head_s is None else one.head_s
        assert other.device_s == pytest.approx(1.5 * (head_s + 2.0 * (one.device_s - head_s)))
        assert other.tier_s == pytest.approx(3.0 * one.tier_s)
        assert other.message_bytes == one.message_bytes


def test_a_slowdown_multiplies_the_pace_of_the_whole_model(manifest: Manifest) -> None:
    own = own_timings(manifest).model_copy(update={"pace_s": 0.004})
    slow, whole = (
        library.open_scenario("elevator", {"device.camera.slowdown": times, "device.camera.whole_model_s": whole_s})[1]
        for times, whole_s in ((50.0, None), (None, 0.2))
    )
    plans = [plan_of(scenario, scenario.device["camera"], manifest, own) for scenario in (slow, whole)]
    for one, other in zip(*plans, strict=True):
        assert one.device_s == pytest.approx(other.device_s)


def test_timings_are_read_as_they_were_written_and_mistakes_are_told(tmp_path: Path, manifest: Manifest) -> None:
    path = tmp_path / "timings.json"
    written = Calibration(profile=manifest.profiles[0], device_factor=1.25, programs_s=0.004)
    path.write_text(written.model_dump_json())
    assert read_calibration(path) == written
    path.write_text(written.model_dump_json().replace("1.25", "-1"))
    with pytest.raises(ScenarioError, match=r"no timings.*device_factor = -1.*isthmus testbed calibrate"):
        read_calibration(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_calibration(tmp_path / "absent")


def _played(
    tmp_path: Path,
    suppliers: dict[str, Supplier],
    policy: dict[str, object],
    whole_model_s: float,
    longer: dict[str, Any],
) -> Repetition:
    """ "asymmetric" in simulated time by a machine whose parts all take a millisecond, but for what takes longer."""
    changes = {"device.camera.policy": policy, "device.camera.whole_model_s": whole_model_s, "seconds": 6}
    folder = Path(mkdtemp(dir=tmp_path))
    with Bundle.open(suppliers["digits"](folder).bundle) as bundle:
        own = own_timings(bundle.manifest)
    alike = {
        "segment_s": tuple(1e-3 for _ in own.profile.segment_s),
        "encode_s": tuple(tuple(1e-3 for _ in levels) for levels in own.profile.encode_s),
    }
    timings = own.model_copy(update={"profile": own.profile.model_copy(update=alike), **longer})
    scenario = library.open_scenario("asymmetric", changes)[1]
    return run_scenario(
        "asymmetric", scenario, backend_named("simulated", timings), folder / "run", suppliers
    ).repetitions[0]


def test_a_machines_timings_move_simulated_latency_by_what_the_programs_take(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    fixed = {"name": "fixed", "cut": 1, "level": 0, "route": "edge"}
    plain, network, device = (
        _played(tmp_path, suppliers, fixed, 0.01, longer).figures[ALL]["mean_latency_s"]
        for longer in ({}, {"programs_s": 0.03}, {"own_s": 0.03})
    )
    assert network - plain == pytest.approx(0.03, abs=1e-6)
    assert device - plain == pytest.approx(0.03, abs=1e-6)


def test_simulated_devices_take_now_more_and_now_less_as_running_ones_did(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    fixed = {"name": "fixed", "cut": 2, "level": 0, "route": "edge"}
    alike, apart, again = (
        [line["device_s"] for line in played.records["camera"][0].history]
        for noise in ((0.0,), (-0.02, 0.0, 0.05), (-0.02, 0.0, 0.05))
        for played in [_played(tmp_path, suppliers, fixed, 0.05, {"device_noise": noise})]
    )
    usual_s = alike[0]
    assert alike == pytest.approx([usual_s] * 60)
    assert {round((seconds - usual_s) / math.sqrt(usual_s), 6) for seconds in apart} == {-0.02, 0.0, 0.05}
    assert apart == again


def _lines(cut: int, level: int, *seconds: float) -> list[dict[str, float]]:
    return [{"cut": cut, "level": level, "device_s": one} for one in seconds]


def test_what_frames_take_beside_their_mean_is_told_by_the_root_of_that() -> None:
    assert _noise([_lines(0, 1, 0.03, 0.05, 0.04), _lines(4, 1, 0.1, 0.2)]) == pytest.approx(
        (-0.05, 0.05, 0.0, -0.05 / math.sqrt(0.15), 0.05 / math.sqrt(0.15)), abs=1e-5
    )


def test_a_moment_at_which_the_machine_stood_still_is_left_out() -> None:
    frames = _lines(0, 1, *np.random.default_rng(2).normal(0.04, 0.004, 200).tolist())
    assert _steady([*frames, *_lines(0, 1, 0.34)]) == frames
    assert _steady(frames[:1]) == frames[:1]


def test_heads_and_encoders_are_told_apart_by_runs_with_and_without_a_head(manifest: Manifest) -> None:
    """Of a device whose heads take 1.2 and whose encoders take 1.5 times as long as by themselves."""
    profile, cut = manifest.profiles[0], len(manifest.segments) - 1
    unit_s = WHOLE_MODEL_S / sum(profile.segment_s)
    whole = [_lines(0, level, *[1.5 * unit_s * profile.encode_s[0][level]] * 3) for level in (2, 5)]
    inner_s = unit_s * (1.2 * sum(profile.segment_s[:cut]) + 1.5 * profile.encode_s[cut][1])
    heads, encoders = _factors(profile, whole, _lines(cut, 1, 0.9 * inner_s, 1.1 * inner_s))
    assert (heads, heads * encoders) == pytest.approx((1.2, 1.5))
    assert _factors(profile, whole, whole[0]) == pytest.approx((1.5, 1.0)), "a model with one cut has no heads"


def test_what_programs_add_is_split_into_a_least_and_an_exponential() -> None:
    drawn = 0.004 + np.random.default_rng(1).exponential(0.002, 20_000)
    assert _programs(drawn.tolist()) == pytest.approx((0.004, 0.002), rel=0.05)
    assert _programs([0.003] * 20) == pytest.approx((0.003, 0.0))


def test_what_a_byte_costs_in_programs_comes_on_top_of_the_link() -> None:
    link = DirectionSettings(kind="steps", steps=((5.0, 8e6), (5.0, 0.0), (1.0, 8e6)))
    plain, loaded = supply_of(link, 20.0), supply_of(link, 20.0, byte_s=3e-6)
    assert plain.when(100_000) == pytest.approx(0.1)
    assert loaded.when(100_000) == pytest.approx(0.1 + 0.3)
    assert loaded.at(9.0) == loaded.at(5.0)


def test_only_simulated_time_is_given_timings(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["testbed", "run", "elevator", "--timings", str(tmp_path / "t.json")])
    assert "takes its own time" in str(done.exception)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_machine_is_calibrated(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    CliRunner().invoke(app, ["testbed", "calibrate", "--output", str(path)], catch_exceptions=False)
    found = read_calibration(path)
    assert found.device_factor > 0.3
    assert found.tier_factor > 0.3
    assert found.pace_s is not None
    assert 0.2 < found.pace_s / sum(found.profile.segment_s) < 2.0

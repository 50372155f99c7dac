"""Profiles of machines: measured from a bundle without torch, written, read, and looked up for other cuts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from partitioner.errors import ProfileUnusable
from partitioner.profiling.energy import Counters, measured_power
from partitioner.profiling.lookup import measured_here, on_machine
from partitioner.profiling.machine import MachineProfile, ModelFigures, SegmentFigures, Timing
from partitioner.profiling.memory import peak_bytes, peaks_of
from partitioner.profiling.predictor import adapt
from partitioner.profiling.timing import Effort, measure_machine, time_works
from runtime.bundle import Bundle
from runtime.engines import engine_named
from tests.runtime.tiny_bundle import TinyBundle

BRIEF = Effort(budget_s=0.0, items=2)


def segment(after: str, seconds: float, before: int = 0, macs: int = 100, reference_s: float = 1e-3) -> SegmentFigures:
    return SegmentFigures(
        after=after,
        macs_before=before,
        macs=macs,
        weight_bytes=10,
        input_bytes=40,
        output_bytes=20,
        time=Timing(median_s=seconds),
        reference_s=reference_s,
    )


def model(*segments: SegmentFigures, graph: str = "g", bundle: str = "b") -> ModelFigures:
    return ModelFigures(model_id="m", bundle=bundle, graph=graph, segments=segments, levels=())


def profile(*models: ModelFigures, scale: float = 1.0) -> MachineProfile:
    return MachineProfile(machine="pi", engine="onnxruntime", scale=scale, models=models)


def test_every_segment_and_level_of_a_bundle_is_timed_and_survives_the_file(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        measured = measure_machine([bundle], engine_named("onnxruntime", 1), effort=BRIEF)
        manifest = bundle.manifest
    (found,) = measured.models
    assert [one.after for one in found.segments] == [cut.after for cut in manifest.cuts]
    assert sum(one.macs for one in found.segments) == sum(one.macs for one in manifest.segments)
    assert [len(levels) for levels in found.levels] == [len(cut.levels) for cut in manifest.cuts]
    assert all(one.time.median_s > 0 and one.time.runs >= 5 for one in found.segments)
    measured.save(tmp_path / "here.json")
    assert MachineProfile.load(tmp_path / "here.json") == measured
    assert [file.name for file in tmp_path.iterdir()] == ["here.json"]


def test_profiles_and_plans_of_bundles_need_neither_torch_nor_scipy(tiny_bundle: TinyBundle) -> None:
    code = (
        "import sys; from partitioner.profiling.timing import *; from runtime.engines import engine_named\n"
        "import partitioner.question\n"
        "with Bundle.open(sys.argv[1]) as b: measure_machine([b], engine_named('onnxruntime', 1),"
        " effort=Effort(budget_s=0.0, items=1))\n"
        "assert not {'torch', 'scipy', 'compressai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_bundle.path)], check=True, timeout=100)


def test_the_median_and_the_quartiles_of_the_rounds_are_told() -> None:
    ticks = iter([0.0, 3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 5.0, 0.0, 4.0])
    warmed = []
    timings = time_works([{("segment", 0, 0): lambda: warmed.append(1)}], BRIEF, lambda: next(ticks))
    timing = timings["segment", 0, 0]
    assert (timing.median_s, timing.spread_s, timing.runs) == (3.0, 1.5, 5)
    assert len(warmed) == 5 + BRIEF.warm_up


@pytest.mark.skipif(peak_bytes() is None, reason="the system does not tell a process its peak")
def test_the_peak_of_a_process_grows_with_the_segments_it_runs(tiny_bundle: TinyBundle) -> None:
    peaks = peaks_of(tiny_bundle.path, "onnxruntime")
    assert peaks is not None
    assert len(peaks) == len(Bundle.open(tiny_bundle.path).manifest.segments)
    assert 0 < peaks[0] <= peaks[-1] < 1 << 30
    assert peaks == sorted(peaks)


def test_a_bundle_that_does_not_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProfileUnusable, match=r"no bundle at .*--no-memory"):
        peaks_of(tmp_path / "missing", "onnxruntime")


class Meter:
    """Counters in a folder: idle adds 1 J a second, work 5 J a second; the clock moves as it is used."""

    def __init__(self, folder: Path, wrap: int) -> None:
        self.now_s, self._wrap = 0.0, wrap
        self._zone = folder / "intel-rapl:0"
        self._zone.mkdir()
        (folder / "intel-rapl:0:0").mkdir()  # a part of the package: counted in it
        (self._zone / "max_energy_range_uj").write_text(str(wrap))
        self._joules = 0.0
        self.spend(0.0, 0.0)

    def spend(self, seconds: float, watts: float) -> None:
        self.now_s += seconds
        self._joules += seconds * watts
        (self._zone / "energy_uj").write_text(str(int(self._joules * 1e6) % self._wrap))


@pytest.mark.parametrize("wrap", [1 << 40, 7_000_000])
def test_watts_are_what_work_adds_also_when_a_counter_wraps(tmp_path: Path, wrap: int) -> None:
    meter = Meter(tmp_path, wrap)
    power = measured_power(
        Counters(tmp_path),
        lambda: meter.spend(0.1, 3.0),
        busy_s=2.0,
        clock=lambda: meter.now_s,
        sleep=lambda seconds: meter.spend(seconds, 1.0),
    )
    assert power is not None
    assert power.watts == pytest.approx(2.0, abs=0.01)
    assert power.source == "measured"


def test_without_counters_nothing_is_measured(tmp_path: Path) -> None:
    assert measured_power(Counters(tmp_path), lambda: None) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "isthmus profile"),
        (json.dumps({"schema_version": 1, "machine": "a", "engine": "b", "threads": 0}), "threads"),
        (json.dumps({"schema_version": 2, "machine": "a", "engine": "b"}), "schema_version"),
    ],
)
def test_what_is_no_profile_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "pi.json").write_text(content)
    with pytest.raises(ProfileUnusable, match=words):
        MachineProfile.load(tmp_path / "pi.json")
    with pytest.raises(ProfileUnusable, match="isthmus profile BUNDLE"):
        MachineProfile.load(tmp_path / "missing.json")


FINE = (segment("input", 0.1), segment("a", 0.2, 100), segment("b", 0.4, 200))
COARSE = model(segment("input", 1e-3, 0, 200), segment("b", 1e-3, 200), bundle="other")


def test_seconds_between_fewer_cuts_are_added_up_and_stay_measured() -> None:
    found = on_machine(profile(model(*FINE)), COARSE)
    assert found.source == "measured"
    assert found.seconds == pytest.approx((0.3, 0.4))


def test_a_slower_machine_counts_as_declared() -> None:
    found = on_machine(profile(model(*FINE)).slowed(10), COARSE)
    assert found.source == "declared"
    assert found.seconds == pytest.approx((3.0, 4.0))
    assert found.told.startswith("10 times")


def test_another_network_is_predicted_from_what_was_measured() -> None:
    times_ten = [segment("x", 0.01 * n, macs=100 * n, reference_s=0.001 * n) for n in range(1, 11)]
    found = on_machine(profile(model(*times_ten, graph="another", bundle="c")), COARSE)
    assert found.source == "predicted"
    assert found.seconds == pytest.approx((0.01, 0.01), rel=0.2)
    assert measured_here(COARSE, "here").seconds == (1e-3, 1e-3)


def test_too_few_segments_predict_nothing() -> None:
    with pytest.raises(ProfileUnusable, match="with 2 segments"):
        on_machine(profile(model(segment("x", 1.0), segment("y", 1.0), graph="another", bundle="c")), COARSE)


def test_ten_segments_tell_a_machine_that_is_slow_at_moving_bytes() -> None:
    machine = [
        segment("x", 2.0 * reference + 1e-8 * moved, macs=0, reference_s=reference).model_copy(
            update={"input_bytes": moved, "output_bytes": 0}
        )
        for reference, moved in zip([1e-3, 2e-3, 3e-3, 4e-3, 5e-3] * 2, [10**5, 10**6] * 5, strict=True)
    ]
    unseen = segment("y", 0.0, macs=0, reference_s=2.5e-3).model_copy(
        update={"input_bytes": 500_000, "output_bytes": 0}
    )
    assert adapt(machine).seconds([unseen]) == pytest.approx([1e-2], rel=0.1)

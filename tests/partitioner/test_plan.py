"""From a model, machines, a link and a goal to a plan that prints, explains itself and saves its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import isthmus
from partitioner.api import Partition, partition
from partitioner.cuts import narrow
from partitioner.errors import InvalidSetting, NoFeasiblePlan, ProfileUnusable
from partitioner.planned import Planned
from partitioner.planning.links import parse_link, told
from partitioner.planning.network import Link
from partitioner.profiling.machine import MachineProfile, ModelFigures, Power, SegmentFigures, Timing
from partitioner.profiling.timing import Effort, measure_machine
from partitioner.question import Question, plan_bundle
from runtime.bundle import Bundle
from runtime.engines import engine_named
from tests.runtime.tiny_bundle import TinyBundle

BRIEF = Effort(budget_s=0.0, items=1)
CUTS = ["1", "3", "5"]


@pytest.fixture(scope="module")
def parts() -> Partition:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 8), (8, 4)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10)).eval()
    return partition(model, torch.rand(1, 3, 32, 32), cuts=CUTS)


@pytest.fixture(scope="module")
def pi(parts: Partition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that takes 10, 20, 30 and 40 ms for the segments and draws 4 W."""
    seconds = (0.01, 0.02, 0.03, 0.04)
    starts = [("input", 0, 12 * 32 * 32), *((cut.name, cut.macs_before, cut.bytes) for cut in parts.cuts)]
    segments = tuple(
        SegmentFigures(
            after=after,
            macs_before=before,
            macs=1,
            weight_bytes=1,
            input_bytes=size,
            output_bytes=1,
            time=Timing(median_s=taken),
        )
        for (after, before, size), taken in zip(starts, seconds, strict=True)
    )
    figures = ModelFigures(model_id="m", bundle="", graph=parts.graph.fingerprint, segments=segments, levels=())
    path = tmp_path_factory.mktemp("profiles") / "pi.json"
    machine = MachineProfile(
        machine="pi", engine="onnxruntime", power=Power(watts=4.0, source="declared"), models=(figures,)
    )
    machine.save(path)
    return path


@pytest.fixture(scope="module")
def bundle(parts: Partition, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    folder = tmp_path_factory.mktemp("planned") / "bundle"
    parts.save(folder, model_id="m")
    with Bundle.open(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def plan(bundle: Bundle, pi: Path) -> Planned:
    return plan_bundle(bundle, Question(pi, links=("1Mbit 5ms",), effort=BRIEF, programs_s=0.002))


@pytest.mark.slow
def test_a_plan_adds_up_the_profile_the_link_and_this_machine(plan: Planned) -> None:
    for choice in plan.rows():
        hops, figures = plan.choices.hops(choice), plan.choices.figures_at(choice)
        front = hops[0].place if hops else 4
        assert figures["tier_0_s"] == pytest.approx(sum((0.01, 0.02, 0.03, 0.04)[:front]), abs=2e-3)
        sent = [12 * 32 * 32, 4 * 8 * 256, 4 * 8 * 64, 4 * 4 * 16, 0][front]
        assert figures["bytes"] == sent
        if hops:
            assert figures["link_0_s"] + figures["delay_s"] == pytest.approx((sent + 40) * 8 / 1e6 + 0.012)
        assert figures["joules"] == pytest.approx(4.0 * figures["tier_0_s"])
    # 98 ms for the input, 65 behind 10 ms of work, 16 behind 30, 2 behind 60, 12 ms of delay and programs: second cut.
    assert plan.cuts == ("3",)
    assert "device: measured: on pi, onnxruntime, 1 thread" in str(plan)
    assert "link: declared: 1 Mbit/s, 5 ms one way, 2 ms in the programs at its ends" in str(plan)
    assert "best for latency: 3 (raw)" in str(plan)


@pytest.mark.parametrize(
    ("link", "goal", "limits", "cuts"),
    [
        ("1Gbit 0ms", "latency", {}, ("input",)),
        ("10kbit 5ms", "latency", {}, ()),
        ("1Mbit 5ms", "energy", {}, ("input",)),
        ("1Mbit 5ms", "energy", {"latency_s": 0.07}, ("3",)),
        ("1Mbit 5ms", "bytes", {}, ()),
        ("1Mbit 5ms", "bytes", {"latency_s": 0.08}, ("5",)),
        ("1Mbit 5ms", "throughput", {}, ("3",)),
    ],
)
def test_goals_and_limits_choose_as_arithmetic_says(
    plan: Planned, link: str, goal: str, limits: dict[str, float], cuts: tuple[str, ...]
) -> None:
    chain = replace(plan.chain, links=(parse_link(link),))
    assert Planned(plan.model_id, chain, goal, limits, plan.sources).cuts == cuts


def test_stretches_name_the_rates_at_which_another_cut_wins(plan: Planned) -> None:
    fastest = {plan.name_of(one.choice): one for one in plan.stretches()}
    assert "3 (raw)" in fastest
    # Input or cut 1: 12288 - 8192 bytes against 10 ms of the device.
    assert fastest["3 (raw)"].low_bps < 1e6 < fastest["3 (raw)"].high_bps
    assert plan.as_object()["best"]["hops"] == [{"after": "3", "level": "raw"}]
    assert [one["high_bps"] for one in plan.as_object()["fastest"][0]][-1] == pytest.approx(1e8)


def test_an_impossible_limit_is_named(plan: Planned) -> None:
    with pytest.raises(NoFeasiblePlan, match=r"latency_s of at most 0\.001"):
        Planned(plan.model_id, plan.chain, "latency", {"joules": 10.0, "latency_s": 0.001}, plan.sources)


def test_joules_need_a_stated_power(bundle: Bundle) -> None:
    with pytest.raises(ProfileUnusable, match="--watts"):
        plan_bundle(bundle, Question(links=("1Mbit 5ms",), goal="energy", effort=BRIEF))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"link": "10 parsecs"}, '"10Mbit 40ms"'),
        ({"link": "10Mbit", "goal": "speed"}, "latency, energy, bytes, throughput"),
        ({"link": ("10Mbit", "1Mbit")}, "1 links between them and 2"),
        ({"link": "10Mbit", "device": "nowhere.json"}, "isthmus profile"),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_measured(
    arguments: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partitioner.api.capture", None)  # would fail if reached
    with pytest.raises((InvalidSetting, ProfileUnusable), match=words):
        partition(nn.Linear(2, 2).eval(), torch.rand(1, 2), **arguments)


@pytest.mark.slow
def test_three_tiers_and_a_slower_device_are_planned_and_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 2, 3, 2, 1), nn.ReLU()).eval()
    plan = isthmus.partition(
        model, torch.rand(1, 3, 32, 32), device=50, edge=True, link=["20Mbit 1ms", Link(1e8, 0.01)], goal="latency"
    )
    assert plan.sources["device"].startswith("declared: 50 times what")
    assert plan.sources["edge"].startswith("measured")
    manifest = plan.save(tmp_path / "bundle")
    assert manifest.model_id == "Sequential"
    assert set(plan.cuts) <= {cut.after for cut in manifest.cuts}
    with Bundle.open(tmp_path / "bundle") as bundle:
        bundle.verify_all()


def test_a_bundle_with_trained_levels_is_planned_with_their_bytes_and_accuracy(tiny_bundle: TinyBundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        here = measure_machine([bundle], engine_named("onnxruntime", 1), effort=BRIEF)
        plan = plan_bundle(bundle, Question(here.slowed(20), links=("1Mbit 20ms",), effort=BRIEF))
        manifest = bundle.manifest
    assert plan.chain.accuracy == (manifest.measured.accuracy if manifest.measured else None)
    assert manifest.measured is not None
    assert plan.chain.accuracy == manifest.measured.accuracy
    learned = [(place, cut) for place, cut in zip(plan.chain.places, manifest.cuts, strict=True) if cut.index]
    for place, cut in learned:
        for level, declared in zip(place.levels, cut.levels, strict=True):
            assert declared.measured is not None
            assert level.bytes == declared.measured.payload_bytes
            if declared.codec == "learned":
                assert level.loss == pytest.approx(manifest.measured.accuracy - declared.measured.accuracy)


def test_narrow_cuts_carry_less_than_everything_in_front_of_them(parts: Partition) -> None:
    chosen = narrow(parts.graph, parts.every_cut.cuts)
    sizes = [12 * 32 * 32, *(cut.bytes for cut in chosen)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert min(cut.bytes for cut in parts.every_cut) == sizes[-1]
    assert [cut.name for cut in chosen][:2] == ["1", "3"]  # behind the activations, not between
    assert len(narrow(parts.graph, parts.every_cut.cuts, most=2)) == 2


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("10Mbit 40ms", Link(10e6, 0.04)),
        ("1.5 gbit", Link(1.5e9)),
        ("800kbit/200kbit 0.1s", Link(8e5, 0.1, 2e5)),
    ],
)
def test_links_are_read_as_people_write_them(text: str, link: Link) -> None:
    assert parse_link(text) == link


def test_links_that_carry_nothing_are_refused() -> None:
    for text in ("", "0Mbit", "fast", "10Mbit 40", "10MB/s"):
        with pytest.raises(InvalidSetting):
            parse_link(text)
    assert told(parse_link("10Mbit/2Mbit 40ms")) == "10 Mbit/s up, 2 Mbit/s down, 40 ms one way"

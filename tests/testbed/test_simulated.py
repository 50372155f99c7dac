"""Scenarios in simulated time: the same bytes for the same seed, links that are shared, and what befalls tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adaptation.policies import FixedPolicy
from isthmus.builtin.demo import traced_link
from isthmus.cli.testbed import suppliers as built_in
from runtime.bundle import Bundle
from testbed.backends.named import backend_named
from testbed.backends.simulated.absence import RESTART_S
from testbed.backends.simulated.terms import supply_of
from testbed.errors import TraceError
from testbed.link.settings import DirectionSettings
from testbed.results.figures import ALL
from testbed.results.files import TABLES
from testbed.results.page import page
from testbed.running import Repetition, run_scenario
from testbed.scenarios import library
from testbed.scenarios.material import Supplier
from testbed.simulation.cell import Cell
from testbed.simulation.run import Simulation
from testbed.simulation.uplink import Line, Uplink
from tests.testbed.test_scenario_run import SIMULATED, _scenario, suppliers
from tests.testbed.test_simulation import conditions

__all__ = ["suppliers"]

RADIO = DirectionSettings(kind="rate", rate_bps=4e6, delay_s=0.015)
STEADY = SIMULATED.replace('kind = "markov", states = [[1e6, 2], [50e3, 1], [0, 0.5]]', 'kind = "rate", rate_bps = 1e6')
PATIENT = {
    "device.camera.rate_hz": 2,
    "device.camera.deadline_s": 9,
    "device.camera.whole_model_s": 0.01,
    "seconds": 10,
}


def _played(folder: Path, suppliers: dict[str, Supplier], text: str = STEADY, **overrides: object) -> Repetition:
    scenario = _scenario(folder, text, **overrides)
    taken = sum(path.is_dir() for path in folder.iterdir())
    run = run_scenario("own", scenario, backend_named("simulated"), folder / f"run-{taken}", suppliers)
    return run.repetitions[0]


def _latencies(played: Repetition) -> dict[float, float]:
    """Of the only device's frames, by the time of their capture."""
    return {line["captured_s"]: line["latency_s"] for line in played.records["camera"][0].history}


def _fixed(route: str) -> Mapping[str, Any]:
    return {"device.camera.policy": {"name": "fixed", "cut": 1, "level": 0, "route": route}}


@pytest.mark.parametrize(
    "direction",
    [
        RADIO,
        DirectionSettings(kind="steps", steps=((0.5, 1e6), (0.3, 0.0), (0.2, 4e5))),
        DirectionSettings(kind="trace", path=Path(__file__).parent / "packets.up", from_s=0.2, to_s=0.9),
    ],
    ids=lambda direction: direction.kind,
)
def test_a_supply_books_as_the_link_of_running_programs(direction: DirectionSettings) -> None:
    emulated, uplink = direction.capacity(), Uplink(Line(supply_of(direction, 5.0)), 0.0)
    for number in range(12):
        now_s = 0.1 * number + 1e-5
        assert uplink.send(number, 1000, now_s).leaves_s == pytest.approx(emulated.book(now_s, 1000), abs=1e-5)


def test_a_link_without_a_limit_is_one_and_rows_of_rates_are_not_played(tmp_path: Path) -> None:
    assert supply_of(DirectionSettings(kind="unlimited"), 1.0).at(1.0) > 1e9
    rows = tmp_path / "rows.txt"
    rows.write_text("0.0 1.5\n1.0 2.5\n")
    with pytest.raises(TraceError, match=r"rows\.txt"):
        traced_link(rows, 0.0, 1.0)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    changes = {"device.camera.count": 2, "seconds": 8}
    shared = _scenario(tmp_path, SIMULATED, repetitions=2, **changes)
    backend = backend_named("simulated")
    runs = [run_scenario("own", shared, backend, tmp_path / name, suppliers) for name in ("one", "two")]
    for name in ("run.json", *(f"{table}.csv" for table in TABLES)):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert page([runs[0]]) == page([runs[1]])
    assert [verdict.holds for verdict in runs[0].verdicts] == [True, False]
    assert not runs[0].holds
    other = _played(tmp_path, suppliers, SIMULATED, seed=2, **changes)
    assert other.figures == runs[0].repetitions[1].figures
    assert other.figures != runs[0].repetitions[0].figures


def test_a_device_waits_for_what_the_link_takes(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    """A fixed choice on a steady link: head, message over the rate, both delays, tail; all known beforehand."""
    changes = {**_fixed("edge"), "device.camera.rate_hz": 1, "device.camera.deadline_s": 9,
               "device.camera.slowdown": 3, "link.lte.uplink.rate_bps": 4e5}  # fmt: skip
    text = STEADY.replace("whole_model_s = 0.1", "")
    for slowdown in (1, 50):
        record = _played(tmp_path, suppliers, text, **changes, **{"edge.slowdown": slowdown}).records["camera"][0]
        with Bundle.open(record.setting.bundle) as bundle:
            profile, manifest = bundle.manifest.profiles[0], bundle.manifest
        head_s = 3 * (profile.segment_s[0] + profile.encode_s[1][0])
        tail_s = slowdown * (profile.decode_s[1][0] + sum(profile.segment_s[1:]))
        answer_bytes = sum(output.nbytes for output in manifest.outputs) + 90
        line = record.history[5]
        expected_s = 0.02 + head_s + line["message_bytes"] * 8 / 4e5 + tail_s + answer_bytes * 8 / 4e5
        assert line["latency_s"] == pytest.approx(expected_s, abs=1e-3)


def test_devices_on_one_link_wait_for_one_another_first_in_first_out() -> None:
    """Against a loop over all messages in the order in which they are ready."""
    given = conditions(seconds=3.0, deadline_s=9.0, interval_s=0.3, probing=False)
    option = max((one for one in given.plan if one.choice.remote), key=lambda one: one.message_bytes)
    cell = Cell(given.supply)
    devices = [
        Simulation(replace(given, first_s=first_s), FixedPolicy(option.choice), cell=cell)
        for first_s in (0.0, 0.013, 0.21)
    ]
    for device in devices:
        device.begin()
    cell.play()
    frames = [frame for device in devices for frame in device.run_.frames]
    free_s, waited = 0.0, 0
    for frame in sorted(frames, key=lambda one: one.captured_s):
        ready_s = frame.captured_s + frame.device_s
        waited += free_s > ready_s
        free_s = given.supply.when(max(given.supply.at(ready_s), given.supply.at(free_s)) + option.message_bytes)
        assert frame.done_s == pytest.approx(free_s + 2 * given.one_way_s + option.tier_s, abs=1e-6)
    assert len(frames) == 30
    assert waited >= 10


def test_several_devices_share_a_link_and_each_has_its_figures(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    thin = {**PATIENT, **_fixed("edge"), "link.lte.uplink.rate_bps": 3e3}  # enough for one, too little for three
    alone = _played(tmp_path, suppliers, **thin).figures
    shared = _played(tmp_path, suppliers, **thin, **{"device.camera.count": 3}).figures
    assert set(shared) == {"camera-1", "camera-2", "camera-3", "camera", ALL}
    assert shared[ALL]["frames"] == 3 * alone[ALL]["frames"]
    assert shared[ALL]["frames_lost"] == 0
    for number in (1, 2, 3):
        assert shared[f"camera-{number}"]["mean_latency_s"] > 1.5 * alone["camera"]["mean_latency_s"], shared


def test_what_is_sent_into_a_stall_is_answered_behind_it(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    """Up and down are held back each by itself: the tail and the way down follow the end of the stall, and the answers
    that it held cross the downlink one behind the other, a millisecond each. A tier that stands still holds the way up.
    """
    cut = '[fault.cut]\nkind = "partition"\nlink = "lte"\ntarget = "edge"\nat_s = 4.2\nfor_s = 2\n'
    pause = '[fault.cut]\nkind = "pause"\ntarget = "edge"\nat_s = 4.2\nfor_s = 2\n'
    faults = {"none": "", "up": f'{cut}direction = "up"\n', "down": f'{cut}direction = "down"\n', "pause": pause}
    found = {
        name: _latencies(_played(tmp_path, suppliers, STEADY + text, **PATIENT, **_fixed("edge")))
        for name, text in faults.items()
    }
    calm = found["none"]
    for at_s in (0.5, 2.0, 7.0, 9.0):
        assert found["up"][at_s] == found["down"][at_s] == found["pause"][at_s] == pytest.approx(calm[at_s])
    for at_s in (4.5, 5.0, 6.0):
        assert 6.2 - at_s <= found["down"][at_s] < 6.2 - at_s + 0.01
        assert 6.2 - at_s + 0.01 < found["up"][at_s] < 6.2 - at_s + calm[at_s]
        assert found["pause"][at_s] == pytest.approx(found["up"][at_s])


def test_a_cut_between_the_tiers_holds_back_what_the_edge_passes_on_and_nothing_else(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    text = STEADY.replace("[edge]", "[edge]\n[cloud]")
    cut = '[fault.cut]\nkind = "partition"\nlink = "backhaul"\ntarget = "cloud"\nat_s = 4.2\nfor_s = 2\n'
    for route in ("edge", "cloud", "edge_to_cloud"):
        calm, held = (
            _latencies(_played(tmp_path, suppliers, one, **PATIENT, **_fixed(route))) for one in (text, text + cut)
        )
        assert held[2.0] == pytest.approx(calm[2.0])
        if route == "edge_to_cloud":
            assert 6.2 - 5.0 < held[5.0] < 6.2 - 5.0 + calm[5.0]
        else:
            assert held[5.0] == pytest.approx(calm[5.0])


def test_a_dead_tier_answers_nothing_and_devices_turn_to_others_at_once(
    tmp_path: Path, suppliers: dict[str, Supplier]
) -> None:
    text = STEADY.replace("[edge]", "[edge]\n[cloud]") + (
        '[fault.crash]\nkind = "kill"\ntarget = "edge"\nat_s = 4\nfor_s = 3\n'
    )
    changes = {"device.camera.whole_model_s": 0.2, "seconds": 16}
    lines = _played(tmp_path, suppliers, text, **changes).records["camera"][0].history
    by = {"before": set[str](), "meanwhile": set[str](), "after": set[str]()}
    for line in lines:
        at_s = line["captured_s"]
        when = "before" if at_s < 3.7 else "meanwhile" if 4 <= at_s < 7 + RESTART_S - 0.3 else "after"
        if line["by"] is not None and not 3.7 <= at_s < 4:
            by[when].add(line["by"])
    assert "edge" in by["before"]
    assert "edge" not in by["meanwhile"]
    assert by["meanwhile"], "somebody else answers"
    assert "edge" in by["after"]


def test_a_tier_that_nobody_can_use_is_a_dead_one(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    """It refuses its bundle, nobody trusts it, or its broker is gone: the answers are those of a dead one."""
    fault = '[fault.away]\nkind = "{}"\ntarget = "{}"\nat_s = 4\nfor_s = 2\n'
    broker = '[broker]\ntier = "edge"\n'
    changes = {"device.camera.whole_model_s": 0.2, "seconds": 7}
    told = {
        kind: _played(tmp_path, suppliers, STEADY + more + fault.format(kind.partition(" ")[0], target), **changes)
        for kind, target, more in (
            ("kill", "edge", ""), ("bad-bundle", "edge", ""), ("expired-certificate", "edge", ""),
            ("kill broker", "broker", broker),
        )
    }  # fmt: skip
    dead = told.pop("kill")
    assert {line["by"] for line in dead.records["camera"][0].history} >= {"edge", "device"}
    for kind, played in told.items():
        assert played.records["camera"][0].history == dead.records["camera"][0].history, kind


def test_a_tier_that_is_robbed_of_time_takes_that_much_longer(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    thief = '[fault.thief]\nkind = "steal"\ntarget = "edge"\nshare = 0.75\nat_s = 4\nfor_s = 3\n'
    slow = {**PATIENT, **_fixed("edge"), "edge.slowdown": 100}
    played = _played(tmp_path, suppliers, **slow)
    with Bundle.open(played.records["camera"][0].setting.bundle) as bundle:
        profile = bundle.manifest.profiles[0]
    tier_s = 100 * (profile.decode_s[1][0] + sum(profile.segment_s[1:]))
    calm, robbed = _latencies(played), _latencies(_played(tmp_path, suppliers, STEADY + thief, **slow))
    assert robbed[2.0] == pytest.approx(calm[2.0])
    assert robbed[5.0] - calm[5.0] == pytest.approx(3 * tier_s)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["narrowband", "rural-3g"])
def test_on_thin_links_small_payloads_keep_what_others_cannot(tmp_path: Path, name: str) -> None:
    """The scenario's own expectations tell them apart."""
    table = next(iter(library.open_scenario(name)[1].device))
    policies = {
        "own": {},
        "alone": {"name": "fixed", "cut": 5, "route": "device"},
        "large": {"name": "fixed", "cut": 0, "level": 17, "route": "edge"},
    }
    held = {}
    for policy, changes in policies.items():
        overrides = {f"device.{table}.policy": changes} if changes else {}
        scenario = library.open_scenario(name, overrides)[1]
        held[policy] = run_scenario(name, scenario, backend_named("simulated"), tmp_path / policy, built_in()).holds
    assert held == {"own": True, "alone": False, "large": False}

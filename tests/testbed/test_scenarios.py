"""Scenario files: the library, what is drawn from a seed, and what a mistake is answered with. Nothing runs here."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from protocol.errors import IsthmusError
from testbed.errors import ScenarioError
from testbed.link.capacity import Steps
from testbed.link.conditions import Stall
from testbed.scenarios import library
from testbed.scenarios.faults import KINDS as FAULT_KINDS
from testbed.scenarios.faults.kill import Kill
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.material import Material, material_for
from testbed.scenarios.rates import Handovers, Markov, Wifi
from testbed.scenarios.scenario import Scenario, read_scenario

SMALL = """
about = "For tests."
seconds = 4
[device.camera]
link = "lte"
slowdown = 2
[edge]
[cloud]
[link.lte]
uplink = { kind = "markov", states = [[1e6, 0.5], [0, 0.2]] }
[link.lte.condition.shaky]
kind = "jitter"
mean_s = 0.01
[fault.crash]
kind = "kill"
target = "edge"
every_s = 1
for_s = 0.5
[expect.nothing-lost]
figure = "frames_lost"
at_most = 0
"""


def _read(folder: Path, text: str, **overrides: object) -> Scenario:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return read_scenario(path, overrides)


@pytest.mark.parametrize("name", library.names())
def test_every_scenario_of_the_library_is_valid_and_says_what_it_shows(name: str) -> None:
    found, scenario = library.open_scenario(name)
    played = scenario.played()
    assert found == name
    assert scenario.about.endswith(".")
    assert "nothing-lost" in scenario.expect
    assert set(played.links) == {*scenario.link, BACKHAUL}
    for link in played.links.values():
        assert link.uplink.capacity().offered_bytes(0, scenario.seconds) > 0


def test_the_library_has_names_that_people_would_guess_and_every_kind_of_fault() -> None:
    expected = {"elevator", "tunnel", "stadium", "driving-lte", "rural-3g", "office-wifi", "flapping", "edge-crash",
                "rollout-of-a-bad-bundle", "cloud-brownout", "clock-jump", "broker-restart"}  # fmt: skip
    assert expected <= set(library.names())
    scenarios = [library.open_scenario(name)[1] for name in library.names()]
    assert len(scenarios) >= 15
    assert {fault.kind for scenario in scenarios for fault in scenario.fault.values()} == set(FAULT_KINDS)
    conditions = {one.kind for scenario in scenarios for link in scenario.link.values()
                  for one in link.condition.values()}  # fmt: skip
    assert conditions == {"jitter", "reset", "stall"}


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('link = "lte"', 'link = "lt"', r"device\.camera\.link = 'lt'.*did you mean 'lte'\?"),
        ("slowdown = 2", "slowdwon = 2", r"'device\.camera\.slowdwon'; did you mean 'slowdown'\?"),
        ("slowdown = 2", "slowdown = 0.5", r"device\.camera\.slowdown = 0\.5 is refused.*greater than or equal to 1"),
        ("slowdown = 2", "slowdown = 2\nwhole_model_s = 1", r"give one of slowdown and whole_model_s"),
        ('kind = "kill"', 'kind = "kil"', r"fault\.crash.*no kind 'kil'; did you mean 'kill'\?"),
        ('kind = "jitter"', 'kind = "jiter"', r"shaky.*no kind 'jiter'; did you mean 'jitter'\?"),
        ('kind = "markov"', 'kind = "marcov"', r"link\.lte\.uplink.*did you mean 'markov'\?"),
        ('target = "edge"', 'target = "egde"', r"fault\.crash\.target = 'egde'.*did you mean 'edge'\?"),
        ('target = "edge"', 'target = "camera"', r"there is no tier 'camera'"),
        ('kind = "kill"', 'kind = "disk-full"', r"fault\.crash\.target = 'edge'.*there is no device 'edge'"),
        ("[edge]\n", '[edge]\n[broker]\ntier = "cluod"\n', r"broker\.tier = 'cluod' is refused"),
        (
            '"frames_lost"',
            '"joules_per_frame"',
            r"nothing is known of the energy of 'camera'; add device\.camera\.power",
        ),
        ("for_s = 0.5", "", r"comes at random has to end; give for_s"),
        ("every_s = 1", "every_s = 1\nat_s = 2", r"give one of at_s and every_s"),
        ('"frames_lost"', '"lost"', r"expect\.nothing-lost.*no figure 'lost'; did you mean 'frames_lost'\?"),
        ("at_most = 0", "", r"nothing is expected of it; give at_most, at_least or both"),
        ("mean_s = 0.01", 'mean_s = 0.01\nforward = "clou"', r"forward = 'clou'.*did you mean 'cloud'\?"),
        ("[edge]\n[cloud]\n", "", r"it has no tier; add \[edge\], \[cloud\] or both"),
        ("seconds = 4", 'seconds = "long"', r"seconds = 'long' is refused"),
    ],
)
def test_a_mistake_is_answered_with_key_value_reason_and_nearest_name(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    assert right in SMALL
    _read(tmp_path, SMALL)
    with pytest.raises(IsthmusError, match=told):
        _read(tmp_path, SMALL.replace(right, wrong))


def test_an_unknown_scenario_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ScenarioError, match=r"no scenario 'elevater'.*did you mean 'elevator'\?"):
        library.open_scenario("elevater")


def test_overrides_reach_any_key(tmp_path: Path) -> None:
    changed = _read(tmp_path, SMALL, **{"fault.crash.for_s": "0.9", "device.camera.policy.name": "neurosurgeon"})
    assert changed.fault["crash"].for_s == 0.9
    assert changed.device["camera"].policy.name == "neurosurgeon"


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    scenario = _read(tmp_path, SMALL)
    assert scenario.played() == scenario.played()
    assert scenario.played(1) == _read(tmp_path, SMALL, seed=2).played()
    assert scenario.played().occurrences != scenario.played(1).occurrences
    assert scenario.played().links["lte"].uplink != scenario.played(1).links["lte"].uplink
    assert scenario.played().links["lte"].conditions != scenario.played(1).links["lte"].conditions


def test_both_directions_of_a_link_move_together_unless_they_are_given_apart(tmp_path: Path) -> None:
    link = _read(tmp_path, SMALL).played().links["lte"]
    assert link.uplink == link.downlink
    apart = SMALL.replace("[link.lte.condition", 'downlink = { kind = "rate", rate_bps = 5e6 }\n[link.lte.condition')
    assert _read(tmp_path, apart).played().links["lte"].downlink.rate_bps == 5e6


def test_faults_at_random_do_not_overlap_and_come_as_often_as_asked() -> None:
    fault = Kill(kind="kill", target="edge", every_s=10, for_s=2)
    found = fault.occurrences("crash", 20_000, Random(1))
    for before, after in pairwise(found):
        assert before.ends_s is not None
        assert before.begins_s < before.ends_s < after.begins_s
    assert len(found) == pytest.approx(20_000 / 12, rel=0.1)
    lasts = [one.ends_s - one.begins_s for one in found if one.ends_s is not None]
    assert 1 <= min(lasts) <= max(lasts) <= 3


def test_a_partition_becomes_a_stall_of_its_link(tmp_path: Path) -> None:
    text = (
        SMALL + '[fault.cut]\nkind = "partition"\nlink = "lte"\ntarget = "cloud"\ndirection = "up"\nat_s = 1\nfor_s = 2'
    )
    conditions = _read(tmp_path, text).played().links["lte"].conditions
    assert conditions[-1] == Stall(kind="stall", direction="up", forward="cloud", from_s=1, to_s=3)
    wrong = text.replace('link = "lte"\ntarget = "cloud"', 'link = "backhaul"\ntarget = "edge"')
    with pytest.raises(IsthmusError, match="set target to 'cloud'"):
        _read(tmp_path, wrong)


def test_a_bundle_that_is_not_there_is_answered_with_the_built_in_ones(tmp_path: Path) -> None:
    suppliers = {"digits": lambda folder: Material(folder, folder, {})}
    with pytest.raises(ScenarioError, match="'digit' is neither a path nor built in; did you mean 'digits'"):
        material_for(_read(tmp_path, SMALL, bundle="digit"), suppliers, tmp_path)
    with pytest.raises(ScenarioError, match="give inputs and labels"):
        material_for(_read(tmp_path, SMALL, bundle=str(tmp_path)), {}, tmp_path)


# Links drawn from parameters.


def test_a_markov_link_spends_its_time_as_its_stationary_distribution_says() -> None:
    """With jumps to either neighbour alike, the middle of three states is entered twice as often as an end."""
    link = Markov(kind="markov", states=((8e6, 1.0), (1e6, 2.0), (1e5, 0.5)))
    steps = link.drawn(40_000, Random(1))
    whole = sum(seconds for seconds, _ in steps)
    weights = {8e6: 1 * 1.0, 1e6: 2 * 2.0, 1e5: 1 * 0.5}
    for rate_bps, weight in weights.items():
        share = sum(seconds for seconds, rate in steps if rate == rate_bps) / whole
        assert share == pytest.approx(weight / sum(weights.values()), rel=0.06)
    assert whole >= 40_000
    neighbours = {(a[1], b[1]) for a, b in pairwise(steps)}
    assert (8e6, 1e5) not in neighbours


def test_wifi_falls_with_distance_and_ends() -> None:
    link = Wifi(kind="wifi", near_m=1, far_m=40, walk_s=10, shadowing_db=0, exponent=3, snr_1m_db=50, airtime=0.5)
    assert link.rate_bps(1) == 0.5 * 65e6
    assert link.rate_bps(10) == 0.5 * 58.5e6  # 50 dB - 30 dB = 20 dB
    assert link.rate_bps(10, -0.1) == 0.5 * 52e6
    assert link.rate_bps(100) == 0
    rates = [rate for _, rate in link.drawn(10, Random(1))]
    assert rates[:10] == sorted(rates[:10], reverse=True)
    assert rates[10:] == sorted(rates[10:])


def test_handovers_are_dead_for_their_gap_and_log_normal_between() -> None:
    link = Handovers(kind="handovers", median_bps=5e6, spread=0.5, every_s=10, gap_s=0.2, first_s=3)
    steps = link.drawn(20_000, Random(1))
    capacity = Steps(steps)
    assert capacity.offered_bytes(3, 3.2) == 0
    assert capacity.offered_bytes(13, 13.2) == 0
    assert capacity.offered_bytes(12.9, 13) > 0
    logs = [math.log(rate) for _, rate in steps if rate]
    assert statistics.mean(logs) == pytest.approx(math.log(5e6), abs=0.05)
    assert statistics.stdev(logs) == pytest.approx(0.5, rel=0.1)

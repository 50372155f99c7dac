import pytest

from adaptation.plan import Choice, Route
from device.figures import FORGET_S, Figures
from runtime.manifest import Profile

PROFILE = Profile(
    machine="m", engine="e", segment_s=(0.01, 0.02, 0.03), exit_s=(0.004,),
    encode_s=((0.001,), (0.002,), (0.003,)), decode_s=((0.001,), (0.002,), (0.003,)),
)  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_slow_device_takes_longer_and_a_tier_does_not():
    figures = Figures(PROFILE, slowdown=10.0, clock=Clock())
    assert figures.segments_s(0, 3) == pytest.approx(0.6)
    assert figures.exit_s(0) == pytest.approx(0.04)
    assert figures.encode_s(1, 0) == pytest.approx(0.02)
    assert figures.tier_s(Choice(1, 0, Route.EDGE)) == pytest.approx(0.002 + 0.05)


def test_figures_follow_what_is_measured():
    figures = Figures(PROFILE, slowdown=1.0, clock=Clock())
    for _ in range(80):
        figures.learn_segments(0, 2, 0.06)
        figures.learn_encode(0, 0, 0.0005)
        figures.learn_tier(Choice(1, 0, Route.EDGE), 0.1)
    assert figures.segments_s(0, 2) == pytest.approx(0.06, rel=0.02)
    assert figures.encode_s(0, 0) == pytest.approx(0.0005, rel=0.02)
    assert figures.tier_s(Choice(1, 0, Route.EDGE)) == pytest.approx(0.1, rel=0.01)
    assert figures.tier_s(Choice(1, 0, Route.CLOUD)) == pytest.approx(0.1, rel=0.01)
    assert figures.tier_s(Choice(2, 0, Route.EDGE)) == pytest.approx(0.033)


def test_the_way_behind_the_edge_is_learnt_from_one_frame_for_all_levels_and_only_load_is_forgotten() -> None:
    clock = Clock()
    figures = Figures(PROFILE, slowdown=1.0, clock=clock)
    own_s = figures.tier_s(Choice(1, 0, Route.EDGE))
    assert figures.tier_s(Choice(1, 0, Route.EDGE_TO_CLOUD)) == own_s
    figures.learn_tier(Choice(1, 0, Route.EDGE_TO_CLOUD), own_s + 0.04)
    assert figures.tier_s(Choice(1, 0, Route.EDGE_TO_CLOUD)) == pytest.approx(own_s + 0.04)
    other_s = figures.tier_s(Choice(2, 0, Route.EDGE))
    assert figures.tier_s(Choice(2, 0, Route.EDGE_TO_CLOUD)) == pytest.approx(other_s + 0.04)
    assert figures.tier_s(Choice(1, 0, Route.EDGE)) == own_s
    for _ in range(50):
        figures.learn_tier(Choice(1, 0, Route.EDGE_TO_CLOUD), own_s + 0.5)
    assert figures.tier_s(Choice(1, 0, Route.EDGE_TO_CLOUD)) == pytest.approx(own_s + 0.5, rel=0.01)
    clock.now_s += 1000.0
    assert figures.tier_s(Choice(1, 0, Route.EDGE_TO_CLOUD)) == pytest.approx(own_s + 0.04)


def test_a_device_that_has_become_slow_is_slow_in_parts_not_tried_since():
    figures = Figures(PROFILE, slowdown=1.0, clock=Clock())
    for _ in range(20):
        figures.learn_segments(0, 2, 4 * 0.03)
    assert figures.segments_s(0, 2) == pytest.approx(0.12, rel=0.02)
    assert figures.segments_s(2, 3) > 2 * 0.03
    assert figures.encode_s(1, 0) > 2 * 0.002
    assert figures.exit_s(0) > 2 * 0.004


def test_a_part_too_short_to_time_well_says_little_about_the_others():
    figures = Figures(PROFILE, slowdown=0.1, clock=Clock())
    for _ in range(3):
        figures.learn_encode(0, 0, 3 * figures.encode_s(0, 0))
    assert figures.segments_s(0, 3) < 1.1 * 0.006


def test_one_hiccup_counts_little_and_is_forgotten():
    clock = Clock()
    figures = Figures(PROFILE, slowdown=1.0, clock=clock)
    figures.learn_segments(0, 1, 10.0)
    assert figures.segments_s(0, 1) < 0.015
    clock.now_s += 5 * FORGET_S
    assert figures.segments_s(0, 1) == pytest.approx(0.01, rel=0.01)

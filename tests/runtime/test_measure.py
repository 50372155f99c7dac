import itertools

import pytest

from runtime.bundle import Bundle
from runtime.engines import Engine, engine_named
from runtime.measure import between_frames, time_parts
from tests.runtime.tiny_bundle import TinyBundle


def test_every_part_is_timed(tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine) -> None:
    profile = time_parts(bundle, engine, tiny_bundle.items, budget_s=0)
    manifest = bundle.manifest
    assert (len(profile.segment_s), len(profile.exit_s)) == (len(manifest.segments), len(manifest.exits))
    levels = [len(cut.levels) for cut in manifest.cuts]
    assert [len(row) for row in profile.encode_s] == [len(row) for row in profile.decode_s] == levels
    parts = [*profile.segment_s, *profile.exit_s, *itertools.chain(*profile.encode_s, *profile.decode_s)]
    assert min(parts) > 0
    assert profile.engine == "onnxruntime"


def test_figures_are_medians_on_the_clock_given(tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine) -> None:
    """All parts of round r take r seconds; the budget of 2 s ends after the fourth round: the median is 2.5 s."""
    parts = sum(2 * len(cut.levels) for cut in bundle.manifest.cuts) + len(bundle.manifest.segments) + 1
    readings = (part_s for round_s in range(1, 6) for _ in range(parts) for part_s in (0.0, float(round_s)))
    wall = iter([0.0, 1.0, 2.5])
    profile = time_parts(
        bundle, engine, tiny_bundle.items, clock=lambda: next(wall), thread_clock=lambda: next(readings)
    )
    assert set(profile.segment_s + profile.exit_s) == {2.5}


@pytest.mark.parametrize("budget_s", [1000.0, 0.003])
def test_rests_before_heads_and_encoders_take_half_of_the_budget_at_most(
    tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine, budget_s: float
) -> None:
    cold = 1 + sum(len(cut.levels) for cut in bundle.manifest.cuts)
    rests: list[float] = []
    wall = iter([0.0, 2.0 * budget_s])
    time_parts(
        bundle,
        engine,
        tiny_bundle.items,
        budget_s=budget_s,
        rest_s=between_frames,
        clock=lambda: next(wall),
        sleep=rests.append,
    )
    assert len(rests) == 3 * cold
    assert rests == pytest.approx([min(0.005, 0.5 * budget_s / (3 * cold))] * len(rests))


def test_several_threads_are_timed_by_the_wall(tiny_bundle: TinyBundle, bundle: Bundle) -> None:
    """The wall goes on by one second at each look, so every part takes one; nobody asks for processor time."""
    seconds = itertools.count()
    profile = time_parts(
        bundle, engine_named("onnxruntime", threads=2), tiny_bundle.items, budget_s=1.0,
        clock=lambda: float(next(seconds)), thread_clock=lambda: 1 / 0,
    )  # fmt: skip
    assert set(profile.segment_s + profile.exit_s) == {1.0}


def test_timing_needs_an_item(bundle: Bundle, engine: Engine) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        time_parts(bundle, engine, [])

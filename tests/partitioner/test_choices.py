"""Plans of a bundle against every way to run it, counted one frame at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from partitioner.errors import InvalidSetting, NoFeasiblePlan
from partitioner.planning.chain import Chain, Level, Place
from partitioner.planning.choices import Choices
from partitioner.planning.network import Link, Tier

Way = tuple[tuple[int, int], ...]
"""Per link in use: place and level."""


def random_chain(generator: np.random.Generator, tiers: int) -> Chain:
    segments = int(generator.integers(1, 6))

    def seconds() -> tuple[float, ...]:
        return tuple(float(value) for value in generator.exponential(0.01, tiers))

    places = tuple(
        Place(
            f"place {place}",
            tuple(
                Level(
                    name=f"level {level}",
                    bytes=float(generator.exponential(2e4)),
                    encode_s=seconds(),
                    decode_s=seconds(),
                    loss=None if generator.random() < 0.1 else float(generator.uniform(0, 0.1)),
                )
                for level in range(int(generator.integers(1, 4)))
            ),
        )
        for place in range(segments)
    )
    return Chain(
        places=places,
        seconds=tuple(seconds() for _ in range(segments)),
        memory_bytes=tuple(float(value) for value in np.cumsum(generator.exponential(1e6, segments + 1))),
        result_bytes=float(generator.exponential(100)),
        tiers=tuple(Tier(f"tier {tier}", float(generator.uniform(0, 5))) for tier in range(tiers)),
        links=tuple(
            Link(float(10 ** generator.uniform(5.5, 8)), float(generator.exponential(0.01)), 2e6, 1e-6)
            for _ in range(tiers - 1)
        ),
        accuracy=0.9,
    )


def ways(chain: Chain) -> Iterator[Way]:
    """Every way to run a chain."""
    exits = [(place, level) for place, one in enumerate(chain.places) for level in range(len(one.levels))]
    yield ()
    if chain.links:
        yield from ((one,) for one in exits)
    if len(chain.links) == 2:
        yield from ((one, other) for one in exits for other in exits if one[0] < other[0] or one == other)


def lived(chain: Chain, way: Way) -> dict[str, float]:
    """One frame, step by step."""
    figures = {"latency_s": 0.0, "joules": 0.0, "bytes": 0.0, "accuracy": 0.9}
    stages, at, arrived = [], 0, None
    for tier, machine in enumerate(chain.tiers[: len(way) + 1]):
        out = way[tier] if tier < len(way) else None
        busy = 0.0
        if out is None or out != arrived:
            if arrived is not None:
                busy += chain.places[arrived[0]].levels[arrived[1]].decode_s[tier]
            end = len(chain.seconds) if out is None else out[0]
            busy += sum(chain.seconds[segment][tier] for segment in range(at, end))
            at = end
            if out is not None:
                level = chain.places[out[0]].levels[out[1]]
                busy += level.encode_s[tier]
                figures["accuracy"] -= math.nan if level.loss is None else level.loss
        stages.append(busy)
        figures["joules"] += busy * machine.watts
        if out is not None:
            link, sent = chain.links[tier], chain.places[out[0]].levels[out[1]].bytes
            stages.append(sent * 8 / link.rate_bps + chain.result_bytes * 8 / (link.down_bps or link.rate_bps))
            figures["latency_s"] += 2 * link.delay_s
            figures["bytes"] += sent
            figures["joules"] += sent * link.joules_per_byte
        arrived = out
    figures["latency_s"] += sum(stages)
    figures["slowest_s"] = max(stages)
    figures["memory_bytes"] = chain.memory_bytes[way[0][0] if way else len(chain.seconds)]
    return figures


@pytest.mark.parametrize("tiers", [1, 2, 3])
def test_every_way_is_among_the_choices_with_the_figures_of_a_frame_that_goes_it(tiers: int) -> None:
    generator = np.random.default_rng(tiers)
    for _ in range(15):
        chain = random_chain(generator, tiers)
        choices = Choices(chain)
        places = {tuple((hop.place, hop.level) for hop in choices.hops(one)): one for one in range(len(choices))}
        assert set(places) == set(ways(chain))
        assert len(places) == len(choices)
        for way, place in places.items():
            found = choices.figures_at(place)
            truth = lived(chain, way)
            assert {name: found[name] for name in truth} == pytest.approx(truth, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("tiers", [2, 3])
def test_the_best_choice_within_limits_is_the_best_of_all_ways(tiers: int) -> None:
    generator = np.random.default_rng(20 + tiers)
    figure_of = {"latency": "latency_s", "energy": "joules", "bytes": "bytes", "throughput": "slowest_s"}
    for _ in range(25):
        chain = random_chain(generator, tiers)
        choices, all_ways = Choices(chain), [lived(chain, way) for way in ways(chain)]
        deadline = float(np.quantile([one["latency_s"] for one in all_ways], generator.uniform(0.2, 0.9)))
        for goal, figure in figure_of.items():
            assert choices.figures_at(choices.choose(goal))[figure] == pytest.approx(min(w[figure] for w in all_ways))
            limits = {"latency_s": deadline, "accuracy": 0.8}
            kept = [one for one in all_ways if one["latency_s"] <= deadline and one["accuracy"] >= 0.8]
            if kept:
                found = choices.figures_at(choices.choose(goal, limits))
                assert found["latency_s"] <= deadline
                assert found["accuracy"] >= 0.8
                assert found[figure] == pytest.approx(min(one[figure] for one in kept))
            else:
                with pytest.raises(NoFeasiblePlan):
                    choices.choose(goal, limits)


def test_at_every_rate_the_fastest_choice_is_that_of_its_stretch() -> None:
    generator = np.random.default_rng(9)
    for _ in range(20):
        chain = random_chain(generator, int(generator.integers(2, 4)))
        link = int(generator.integers(0, len(chain.links)))
        stretches = Choices(chain).best_between(link, 1e4, 1e9)
        assert [stretches[0].low_bps, stretches[-1].high_bps] == [1e4, 1e9]
        assert [one.high_bps for one in stretches[:-1]] == [one.low_bps for one in stretches[1:]]
        for stretch in stretches:
            rate = math.sqrt(stretch.low_bps * stretch.high_bps)
            links = [Link(rate, one.delay_s, one.down_bps) if k == link else one for k, one in enumerate(chain.links)]
            there = Choices(
                Chain(chain.places, chain.seconds, chain.memory_bytes, chain.result_bytes, chain.tiers, tuple(links))
            )
            latency = there.figures["latency_s"]
            assert latency[stretch.choice] == pytest.approx(latency.min(), rel=1e-9)


def test_the_pareto_set_holds_no_beaten_choice_and_misses_none() -> None:
    generator = np.random.default_rng(11)
    for _ in range(20):
        choices = Choices(random_chain(generator, 3))
        costs = np.stack([choices.figures["latency_s"], -choices.figures["accuracy"]], axis=1)
        front = costs[choices.pareto("latency_s", "accuracy")]
        for cost in costs[np.isfinite(costs).all(axis=1)]:
            assert (front <= cost + 1e-9).all(axis=1).any()
        for point in front:
            assert not ((costs <= point).all(axis=1) & (costs < point - 1e-9).any(axis=1)).any()


def test_the_limit_that_rules_out_the_last_choice_is_named() -> None:
    choices = Choices(random_chain(np.random.default_rng(3), 2))
    least = float(choices.figures["latency_s"].min())
    with pytest.raises(NoFeasiblePlan, match="latency_s of at most") as caught:
        choices.choose("bytes", {"accuracy": 0.1, "latency_s": least / 2})
    assert caught.value.budget == "latency_s"
    with pytest.raises(NoFeasiblePlan, match=r"accuracy of at least 0\.95 .* the most accuracy .* is 0\.9; lower"):
        choices.choose("latency", {"accuracy": 0.95})


def test_an_accuracy_that_nobody_measured_keeps_no_limit() -> None:
    level = Level("raw", 10.0, (0.0,), (0.0,))
    chain = Chain((Place("input", (level,)),), ((1.0,),), (0.0, 1.0), 1.0, (Tier("device"),), ())
    with pytest.raises(NoFeasiblePlan, match="nobody has measured accuracy"):
        Choices(chain).choose("latency", {"accuracy": 0.5})
    with pytest.raises(InvalidSetting, match="did you mean 'latency_s'"):
        Choices(chain).choose("latency", {"latency": 0.5})
    with pytest.raises(InvalidSetting, match="latency, energy, bytes, throughput"):
        Choices(chain).choose("speed")

"""A plan says at which cuts a file of the input does better than anything that can be sent there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from partitioner.planned import Planned
from partitioner.planning.beaten import beaten
from partitioner.planning.chain import Chain, Level, Place
from partitioner.planning.dominance import undominated
from partitioner.planning.network import Link, Tier


def level(name: str, size: float, loss: float | None) -> Level:
    return Level(name, size, (0.0, 0.0), (0.0, 0.0), loss, "measured")


def chain_of(*places: tuple[Level, ...]) -> Chain:
    """One segment for each place, a device and a cloud."""
    return Chain(
        tuple(Place(f"place {number}", levels) for number, levels in enumerate(places)),
        tuple((0.01, 0.001) for _ in places),
        tuple(1e6 for _ in range(len(places) + 1)),
        10.0,
        (Tier("device"), Tier("cloud")),
        (Link(1e6),),
        0.9,
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_place_is_beaten_where_it_adds_nothing_to_the_front_of_bytes_and_loss(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [generator.integers(1, 9, (generator.integers(1, 5), 2)).astype(float) for _ in range(4)]
    chain = chain_of(*(tuple(level("one", size, loss / 100) for size, loss in group) for group in points))
    for place in range(1, 4):
        both = np.unique(np.concatenate([points[0], points[place]]), axis=0)
        front = {tuple(both[index]) for index in undominated(both)}
        adds = bool(front - {tuple(point) for point in points[0]})
        assert (place in beaten(chain)) == (not adds)


def test_levels_that_nobody_measured_are_not_called_beaten() -> None:
    picture, cut = level("jpeg 75", 1_000, 0.01), level("learned 0", 2_000, 0.02)
    assert list(beaten(chain_of((picture,), (cut,)))) == [1]
    assert not beaten(chain_of((picture,), (replace(cut, source="declared"),)))
    assert not beaten(chain_of((picture,), (replace(cut, loss=None),)))
    assert not beaten(chain_of((replace(picture, loss=None),), (cut,)))


def test_the_plan_names_the_cut_and_the_file_that_beats_it() -> None:
    worse, better = level("learned 0", 4_000, 0.02), level("learned 0", 300, 0.02)
    chain = chain_of((level("jpeg 40", 2_000, 0.04), level("jpeg 75", 3_000, 0.01)), (worse,), (better,))
    planned = Planned("model", chain, "latency", {}, {})
    (told,) = planned.warnings
    assert told.startswith("cutting after place 1 saves no bytes: jpeg 75 of the input takes 3,000 and loses 1 points")
    assert planned.as_object()["warnings"] == [told]
    assert "cutting after place 1 saves no bytes" in " ".join(str(planned).split())

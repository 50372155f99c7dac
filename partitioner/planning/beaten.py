"""Cuts that the input itself beats: no level there has fewer bytes than a picture file that loses no more.

Untrained codecs often do worse than JPEG at early cuts. A plan says where, for only training helps.
"""

from __future__ import annotations

from collections.abc import Sequence

from partitioner.planning.chain import Chain, Level


def beaten(chain: Chain) -> dict[int, Level]:
    """By the number of a place, the level of the input that beats its best; only of levels that were measured."""
    inputs = _measured(chain.places[0].levels)
    found = {}
    for number, place in enumerate(chain.places[1:], start=1):
        levels = _measured(place.levels)
        better = [_better(level, loss, inputs) for level, loss in levels]
        if better and all(better):
            found[number] = better[0][0]
    return found


def sentence(chain: Chain, place: int, level: Level) -> str:
    """What to tell a person of a place that is beaten."""
    return (
        f"cutting after {chain.places[place].name} saves no bytes: {level.name} of the input takes {level.bytes:,.0f} "
        f"and loses {100 * (level.loss or 0.0):.2g} points, and no level there does better; train a compressor for it"
    )


def _measured(levels: Sequence[Level]) -> list[tuple[Level, float]]:
    """Those whose bytes and loss are known from data, that of least loss first."""
    known = [(one, one.loss) for one in levels if one.source == "measured" and one.loss is not None]
    return sorted(known, key=lambda pair: (pair[1], pair[0].bytes))


def _better(level: Level, loss: float, inputs: Sequence[tuple[Level, float]]) -> list[Level]:
    """Levels of the input with no more bytes and no more loss, the smallest first."""
    found = [one for one, its_loss in inputs if its_loss <= loss and one.bytes <= level.bytes]
    return sorted(found, key=lambda one: one.bytes)

"""One fleet with other values of its settings: each combination of those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product

from testbed.errors import ScenarioError
from testbed.fleet.settings import Fleet
from testbed.names import nearest


def crossed(fleet: Fleet, over: Sequence[str]) -> list[tuple[dict[str, float], Fleet]]:
    """(the values, the fleet with them) for every combination.

    Args:
        over: `KEY=V1,V2,...` each; a key is a setting of a fleet that is a number.

    Raises:
        ScenarioError: a key is none, or a value is no number that it may have.
    """
    axes = [[(key, value) for value in values] for key, values in map(_axis, over)]
    points = [dict(point) for point in product(*axes)]
    return [(point, replace(fleet, **point)) for point in points]  # type: ignore[arg-type]


def _axis(text: str) -> tuple[str, list[float]]:
    key, _, values = text.partition("=")
    numbers = [one for one in fields(Fleet) if type(one.default) in (int, float)]
    kinds = {one.name: int if isinstance(one.default, int) else float for one in numbers}
    if key not in kinds:
        raise ScenarioError(f"--over {text!r}: a fleet has no number {key!r}; {nearest(key, kinds)}")
    try:
        return key, [kinds[key](value) for value in values.split(",")]
    except ValueError as exc:
        raise ScenarioError(f"--over {text!r} is not KEY=V1,V2,... of numbers ({exc}); write {key}=1,2") from exc

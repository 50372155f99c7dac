"""What a scenario's devices are given to work on: a bundle, inputs, and the right answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import ScenarioError
from testbed.names import nearest
from testbed.scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Material:
    """Attributes:
    bundle: path of the bundle.
    inputs: folder of items.
    labels: right answer of each item, by file name.
    """

    bundle: Path
    inputs: Path
    labels: Mapping[str, int] = field(repr=False)


Supplier = Callable[[Path], Material]
"""Makes the material of a built-in bundle; it may write into the folder that it is given."""


def material_for(scenario: Scenario, suppliers: Mapping[str, Supplier], folder: Path) -> Material:
    """The scenario's material.

    Args:
        suppliers: built-in bundles by name.
        folder: for what a supplier writes.

    Raises:
        ScenarioError: there is no such bundle, or its inputs are missing or unlabelled.
    """
    if scenario.bundle in suppliers:
        return suppliers[scenario.bundle](folder)
    bundle = Path(scenario.bundle)
    if not bundle.exists():
        raise ScenarioError(
            f"bundle = {scenario.bundle!r} is neither a path nor built in; {nearest(scenario.bundle, suppliers)}"
        )
    if scenario.inputs is None or scenario.labels is None:
        raise ScenarioError(f"bundle = {scenario.bundle!r} is a path; give inputs and labels too")
    return Material(bundle, scenario.inputs, _labels(scenario.labels))


def _labels(path: Path) -> dict[str, int]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ScenarioError(f"labels = {str(path)!r} cannot be read: {exc.strerror}; check the path") from exc
    except ValueError as exc:
        raise ScenarioError(f"labels = {str(path)!r} is not JSON: {exc}; correct it") from exc
    if not isinstance(read, dict) or not all(isinstance(value, int) for value in read.values()):
        raise ScenarioError(f"labels = {str(path)!r} is no object of file name to whole number; correct it")
    return {str(key): value for key, value in read.items()}

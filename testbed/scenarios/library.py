"""The scenarios that come with isthmus: one file each, found by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.errors import ScenarioError
from testbed.names import nearest
from testbed.scenarios.scenario import Scenario, read_scenario

FOLDER = Path(__file__).with_name("library")


def names() -> list[str]:
    """Of all that come with isthmus."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def path_of(given: str) -> Path:
    """The file of a named scenario, or the path that was given.

    Raises:
        ScenarioError: there is neither; with the nearest name.
    """
    named = FOLDER / f"{given}.toml"
    if "/" not in given and named.exists():
        return named
    if Path(given).is_file():
        return Path(given)
    raise ScenarioError(f"there is no scenario {given!r}, and no such file; {nearest(given, names())}")


def open_scenario(given: str, overrides: Mapping[str, object] | None = None) -> tuple[str, Scenario]:
    """(name, scenario) of a named one or of a file, with overrides (dotted keys).

    Raises:
        ScenarioError: there is none.
        SettingsError: a key or value is wrong.
    """
    path = path_of(given)
    return path.stem, read_scenario(path, overrides)

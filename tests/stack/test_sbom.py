"""The bill of materials names every installed package once, as CycloneDX asks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pytest

from compose import sbom


@pytest.fixture(scope="module")
def components() -> dict[str, dict[str, Any]]:
    """Those of this environment, by reference."""
    return {component["purl"]: component for component in sbom.bill(distributions())["components"]}


def test_every_package_of_this_environment_is_named(components: dict[str, dict[str, Any]]) -> None:
    folders = [path.stem for entry in sys.path for path in Path(entry).glob("*.dist-info")]
    assert folders
    names = {re.sub(r"[-_.]+", "-", folder.partition("-")[0]).lower() for folder in folders}
    assert {component["name"] for component in components.values()} >= names
    assert f"pkg:pypi/numpy@{version('numpy')}" in components


def test_licences_are_given_in_the_packages_own_words(components: dict[str, dict[str, Any]]) -> None:
    found = components[f"pkg:pypi/isthmus@{version('isthmus')}"]
    assert found["licenses"] == [{"license": {"name": "Apache-2.0"}}]


def test_run_as_a_program_it_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    subprocess.run([sys.executable, sbom.__file__, str(path)], check=True)
    written = json.loads(path.read_text())
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")

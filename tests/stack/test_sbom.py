"""The bill of materials names every installed package once, as CycloneDX asks."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path

from compose import sbom


def test_every_package_of_this_environment_is_named_once() -> None:
    components = sbom.bill(distributions())["components"]
    references = [component["purl"] for component in components]
    assert len(references) == len(set(references))
    assert f"pkg:pypi/numpy@{version('numpy')}" in references
    assert f"pkg:pypi/isthmus@{version('isthmus')}" in references


def test_licences_are_given_in_the_packages_own_words() -> None:
    found = {component["name"]: component for component in sbom.bill(distributions())["components"]}
    assert found["isthmus"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]


def test_run_as_a_program_it_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    subprocess.run([sys.executable, sbom.__file__, str(path)], check=True)
    written = json.loads(path.read_text())
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")

"""Writes what is installed beside this interpreter as a software bill of materials (CycloneDX 1.6, JSON).

    python sbom.py sbom.json

Run while an image is built: it lists the Python packages of the image, with versions and licences as they declare them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any


def bill(installed: Iterable[Distribution]) -> dict[str, Any]:
    """The bill of these distributions, sorted by name; each once."""
    found = {component["bom-ref"]: component for component in map(_component, installed)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [found[reference] for reference in sorted(found)],
    }


def _component(distribution: Distribution) -> dict[str, Any]:
    name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
    reference = f"pkg:pypi/{name}@{distribution.version}"
    component = {
        "type": "library",
        "bom-ref": reference,
        "purl": reference,
        "name": name,
        "version": distribution.version,
    }
    licence = _licence(distribution)
    return component if licence is None else component | {"licenses": [{"license": {"name": licence}}]}


def _licence(distribution: Distribution) -> str | None:
    """The licence in the package's own words: an SPDX expression, the short old field, or a classifier."""
    metadata = distribution.metadata
    for field in ("License-Expression", "License"):
        for said in metadata.get_all(field) or ():
            if "\n" not in said:
                return str(said)
    for classifier in metadata.get_all("Classifier") or ():
        if classifier.startswith("License ::"):
            return str(classifier).rpartition(" :: ")[2]
    return None


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(distributions()), indent=1) + "\n", encoding="utf-8")

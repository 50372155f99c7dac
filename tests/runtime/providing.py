"""Installs a package into a folder, as far as Python's metadata and imports can tell."""

from __future__ import annotations

from pathlib import Path


def provide(folder: Path, module: str, source: str, points: dict[str, str]) -> None:
    """A module, and a distribution with entry points of the group of post-processors.

    Args:
        folder: to be put on the path.
        points: name to "module:attribute".
    """
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = ["[isthmus.postprocessors]", *(f"{name} = {where}" for name, where in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")

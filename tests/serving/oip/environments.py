"""Virtual environments of other libraries, whose pins do not go with ours. Made once, kept under `results/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[3] / "results" / "environments"
_INSTALL_S = 600


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has them; skips the test where they cannot be installed."""
    folder = _FOLDER / name
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(requirements)
    if not done.is_file() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=_INSTALL_S)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        if finished.returncode:
            pytest.skip(f"cannot install {' '.join(requirements)}: {finished.stderr.strip().splitlines()[-1:]}")
        done.write_text(wanted)
    return python

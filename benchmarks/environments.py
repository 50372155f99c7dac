"""Virtual environments of other libraries, whose pins do not go with ours. Made once, kept under `results/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from protocol.errors import IsthmusError

_FOLDER = Path(__file__).resolve().parent.parent / "results" / "environments"
_INSTALL_S = 900


class CannotInstall(IsthmusError):
    """The package index has not given what is wanted."""


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has them.

    Raises:
        CannotInstall: they cannot be installed here.
    """
    folder = _FOLDER / name
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(requirements)
    if not done.is_file() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=_INSTALL_S)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        if finished.returncode:
            said = finished.stderr.strip().splitlines()[-1:]
            raise CannotInstall(f"cannot install {' '.join(requirements)}: {said}; look at pip's index and try again")
        done.write_text(wanted)
    return python

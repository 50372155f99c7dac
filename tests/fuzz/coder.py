"""The C coder on damaged payloads under the address and undefined-behaviour sanitisers, as a program of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("coder.c")
CODER: Final = Path(__file__).parents[2] / "protocol"


class NoSanitisers(Exception):
    """This machine cannot build it; the sentence tells why."""


def run_coder(rounds: int, seed: int = 1) -> str:
    """Encode, damage and decode so many payloads; what went wrong, empty where nothing did.

    Raises:
        NoSanitisers: there is no C compiler, or it has none.
    """
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoSanitisers("no gcc or clang")
    flags = ["-O1", "-g", "-std=c99", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{CODER}"]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "coder"
        command = [compiler, *flags, "-o", str(program), str(SOURCE)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0 and "san" in built.stderr and "cannot find" in built.stderr:
            raise NoSanitisers("this compiler has no sanitisers")
        if built.returncode != 0:
            return built.stderr
        done = subprocess.run([str(program), str(rounds), str(seed)], capture_output=True, text=True, check=False)
    return (
        "" if (done.returncode, done.stdout.strip()) == (0, "clean") else f"exit code {done.returncode}\n{done.stderr}"
    )

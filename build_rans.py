"""Compiles protocol/rans.c: as a hatchling hook while a wheel (or an editable install) is built, and by hand.

    python build_rans.py      # compile in place

Without a C compiler the package still works: `protocol.rans` then uses NumPy, with the same bytes and far slower.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface as _Interface
except ModuleNotFoundError:  # run by hand, where hatchling is not installed
    _Interface = object

SOURCE = "protocol/rans.c"
LIBRARY = "protocol/_rans.so"
FLAGS = ("-O3", "-std=c99", "-fPIC", "-shared", "-fvisibility=hidden")


def compile_rans(root: Path) -> str | None:
    """Compile in place with $CC, or else cc, gcc or clang. Returns None, or why there is no library."""
    compiler = _compiler()
    if compiler is None:
        return "no C compiler was found (set CC, or install gcc)"
    target = root / LIBRARY
    fresh = target.with_suffix(f".{os.getpid()}.tmp")
    command = [*compiler, *FLAGS, "-o", str(fresh), str(root / SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"`{shlex.join(command)}` failed: {done.stderr.strip()}"
        fresh.replace(target)  # in one step: a running program keeps the library it has mapped
    except OSError as exc:
        return f"{compiler[0]} could not be run: {exc}"
    finally:
        fresh.unlink(missing_ok=True)
    return None


def _compiler() -> list[str] | None:
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        return named
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return None


class BuildHook(_Interface):  # type: ignore[misc, valid-type, unused-ignore]
    """Adds the compiled library to the wheel, which is then of this platform only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; `version` is "standard" or "editable"."""
        root = Path(self.root)
        reason = compile_rans(root)
        if reason is not None:
            self.app.display_warning(f"isthmus: the C entropy coder is left out, the NumPy one will be used: {reason}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":  # which finds it in the working tree
            build_data["force_include"][str(root / LIBRARY)] = LIBRARY


def main() -> int:
    """Compile in place; 0 when the library is there."""
    reason = compile_rans(Path(__file__).resolve().parent)
    if reason is not None:
        print(f"{LIBRARY} was not built: {reason}", file=sys.stderr)
        return 1
    print(f"built {LIBRARY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

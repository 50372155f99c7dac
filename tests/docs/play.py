"""Runs files of Python one after the other, as cells of a notebook: `python play.py FILE...`."""

import ast
import asyncio
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path


async def play(files: Iterable[str]) -> None:
    """In one namespace, in which `await` may stand anywhere."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for file in files:
        source = Path(file).read_text(encoding="utf-8")
        code = compile(source, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(code, namespace)
        if inspect.isawaitable(found):
            await found


if __name__ == "__main__":
    sys.path.insert(0, "")
    asyncio.run(play(sys.argv[1:]))

"""Tiers and devices as real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Program:
    """One program of ours: `python -m edge`, for example, or any arguments to python."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str) -> Self:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        )

    async def line(self) -> dict[str, Any]:
        """The next JSON line of its output."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        if not line:
            assert self.process.stderr is not None
            raise AssertionError((await self.process.stderr.read()).decode())
        values: dict[str, Any] = json.loads(line)
        return values

    async def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, rest of the output, errors."""
        out, errors = await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), errors.decode()

    async def kill(self) -> None:
        """kill -9, if it is still there; returns when it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.end()


async def start_tier(kind: str, bundle: Path, *, port: int = 0, cloud_port: int | None = None) -> tuple[Program, int]:
    """An edge or a cloud that serves one bundle; the port it listens on."""
    arguments = [f'bundles=["{bundle}"]', f"listen.port={port}"]
    if cloud_port is not None:
        arguments.append(f"cloud.target=127.0.0.1:{cloud_port}")
    program = await Program.start("-m", kind, *arguments)
    return program, (await program.line())["port"]

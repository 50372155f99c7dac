"""Programs as forks of a process that has imported them: a start costs milliseconds, and `kill -9` is as real as ever.

The process that forks must have one thread only, and must not have used gRPC before.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import random
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

from testbed.processes import Child

PRELOADED: Final = (
    "cloud.program", "cloud.settings", "device.program", "device.settings", "edge.program", "edge.settings",
    "runtime.engines.onnxruntime", "serving.main", "testbed.link.program", "transport.mqtt_stream",
    "transport.mqtt_worker",
)  # fmt: skip
_PR_SET_PDEATHSIG: Final = 1
_LOOK_S: Final = 0.002
_LIBC = ctypes.CDLL(None)


def preload() -> None:
    """Import what the programs need, so that no fork has to."""
    for name in PRELOADED:
        importlib.import_module(name)


def fork(work: Callable[[], int | None], *, inherits: Sequence[int] = ()) -> int:
    """Do something in a process that dies with this one; its exit code is what `work` returns.

    Args:
        inherits: descriptors for its standard input, output and error, as far as given.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number, descriptor in enumerate(inherits):
            os.dup2(descriptor, number)
        random.seed()
        if os.getppid() == parent:
            code = work() or 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(pid: int) -> int:
    """The exit code of a fork, when it has ended; negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Forked:
    """As much of a `subprocess.Popen` as `testbed.processes.Child` wants."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float = float("inf")) -> int:
        until_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= until_s:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(_LOOK_S)
        return code


class Forks:
    """The programs of one run; leaving its context stops them all, as `testbed.processes.Children` does.

    Args:
        folder: where their logs go, as `NAME.log`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def start(self, name: str, module: str, arguments: Sequence[str], *, timeout_s: float = 60.0) -> Child:
        """Run a module as `python -m` would, and wait for its ready line.

        Raises:
            ChildError: it ended, or was not ready in time.
        """
        log = self._folder / f"{name}.log"
        (input_, to_input), (from_output, output) = os.pipe(), os.pipe()
        with log.open("wb") as errors:
            descriptors = (input_, output, errors.fileno())
            pid = fork(lambda: _become(module, arguments, (to_input, from_output)), inherits=descriptors)
        os.close(input_)
        os.close(output)
        process = Forked(pid, os.fdopen(to_input, "wb", 0), os.fdopen(from_output, "rb", 0))
        child = Child(name, cast("subprocess.Popen[Any]", process), log)
        self._children.append(child)
        child.ready = child.event("ready", timeout_s)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.stop()


def _become(module: str, arguments: Sequence[str], others: Sequence[int]) -> None:
    """The module as the main program of this process, in a group of its own."""
    os.setsid()
    for descriptor in others:
        os.close(descriptor)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)

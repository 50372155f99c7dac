"""Child programs that never outlive the one that started them.

Each runs in its own process group, tied to its parent by the kernel where it offers that (`testbed.tether`), so that
neither an error, nor Ctrl-C, nor a `kill -9` of the parent leaves one behind.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.errors import ChildError

_TETHER = Path(__file__).with_name("tether.py")
_SHOWN_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs.

    Attributes:
        python: the command that runs Python there.
        pid: the program's process id as this machine sees it, raising ProcessLookupError where it has ended; None where
            it is the process that is started here.
    """

    python: Sequence[str]
    pid: Callable[[], int] | None = None


HERE = Place((sys.executable,))
"""This machine as it is."""


def started(pid: int) -> int:
    """When a process started, in ticks since boot; -1 if there is none. Process ids are used again, these are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[19])


class Child:
    """A running program, started by `Children.start`.

    Attributes:
        name: for messages.
        ready: the object of its ready line.
        log: file with its standard error.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], log: Path, elsewhere: Callable[[], int] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self.ready: dict[str, Any] = {}
        self._process = process
        self._elsewhere = elsewhere
        self._unread = b""
        self._thief: _Thief | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.poll()

    def tell(self, line: str) -> None:
        """Write a line to its standard input.

        Raises:
            ChildError: it has ended.
        """
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode() + b"\n")
        except BrokenPipeError as exc:
            raise self._failure("ended and cannot be told anything") from exc

    def event(self, name: str, timeout_s: float) -> dict[str, Any]:
        """The next line `{"event": name, ...}` of its standard output; other lines are passed over.

        Raises:
            ChildError: it ended, or the line did not come in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            line = self._line(deadline_s, name, timeout_s)
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("event") == name:
                return told

    def has_said(self, name: str) -> bool:
        """Whether the line `{"event": name, ...}` has come by now; lines before it are passed over."""
        try:
            self.event(name, 0.0)
        except ChildError:
            return False
        return True

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends by itself; returns its exit code.

        Raises:
            ChildError: it still runs after `timeout_s`.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise self._failure(f"still runs after {timeout_s:g} s") from exc

    def pause(self) -> None:
        """Make it stand still, with all that it started; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on at its own speed."""
        if self._thief is not None:
            self._thief.stop()
            self._thief = None
        self._signal(signal.SIGCONT)

    def slow_down(self, share: float) -> None:
        """Make it stand still for this share of every 20 ms, until `resume`."""
        self.resume()
        self._thief = _Thief(self, share)
        self._thief.start()

    def notify(self) -> None:
        """Send SIGUSR1."""
        self._signal(signal.SIGUSR1)

    def limit_memory(self, spare_bytes: int | None) -> None:
        """Let it map no more than so many bytes beyond what it has mapped by now; None lifts the limit (Linux)."""
        if self.exit_code is not None:
            return
        try:
            pid = self._process.pid if self._elsewhere is None else self._elsewhere()
            _, most_bytes = resource.prlimit(pid, resource.RLIMIT_AS)
            limit_bytes = most_bytes if spare_bytes is None else _mapped_bytes(pid) + spare_bytes
            resource.prlimit(pid, resource.RLIMIT_AS, (limit_bytes, most_bytes))
        except (ProcessLookupError, FileNotFoundError):  # it has just ended
            return

    def kill(self) -> None:
        """End it as `kill -9` does, with all that it started."""
        if self.exit_code is None:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self.resume()

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, wait, and end it by force if it does not. Returns when it is gone; again is harmless."""
        self.ask_to_stop()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once; if it stood still, it goes on, so that it hears."""
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            self.resume()

    def log_tail(self) -> str:
        """The end of what it wrote to standard error."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return text[-_SHOWN_CHARACTERS:].strip()

    def _signal(self, number: int) -> None:
        if self.exit_code is not None:
            return
        try:
            if self._elsewhere is None:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._elsewhere(), number)
        except ProcessLookupError:  # it has just ended
            return

    def _line(self, deadline_s: float, awaited: str, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            if not select.select([descriptor], [], [], left_s)[0]:
                raise self._failure(f"did not say {awaited!r} within {timeout_s:g} s")
            data = os.read(descriptor, 65536)
            if not data:
                self._process.wait()
                raise self._failure(f"ended with exit code {self.exit_code} before it said {awaited!r}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _failure(self, what: str) -> ChildError:
        tail = self.log_tail()
        log = f"its log ends:\n{tail}" if tail else "its log is empty"
        return ChildError(f"program {self.name!r} {what}; {log}")


def _mapped_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


class _Thief(threading.Thread):
    """Stops and continues a program in turn."""

    PERIOD_S = 0.02

    def __init__(self, child: Child, share: float) -> None:
        super().__init__(name=f"thief of {child.name}", daemon=True)
        self._child = child
        self._stolen_s = share * self.PERIOD_S
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set() and self._child.exit_code is None:
            self._child.pause()
            self._ended.wait(self._stolen_s)
            self._child._signal(signal.SIGCONT)
            self._ended.wait(self.PERIOD_S - self._stolen_s)

    def stop(self) -> None:
        """Returns when it sends nothing any more."""
        self._ended.set()
        self.join()


class Children:
    """The programs of one run; leaving its context stops them all, the last started first.

    To be used in the parent's main thread: the kernel's tie is to the thread that starts a child.

    Args:
        folder: where their logs go, as `NAME.log`; made if absent.
        grace_s: time to end after SIGTERM, before SIGKILL.
    """

    def __init__(self, folder: Path, *, grace_s: float = 5.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._grace_s = grace_s
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        ready: str | None = "ready",
        timeout_s: float = 30.0,
        environment: Mapping[str, str] | None = None,
        pid: Callable[[], int] | None = None,
    ) -> Child:
        """Start a program and wait until it says that it is ready.

        Args:
            arguments: program and its arguments; `[sys.executable, "-m", "edge", "edge.toml"]`.
            ready: the event to wait for on its standard output; None waits for nothing.
            environment: variables beyond this process's own.
            pid: see `Place.pid`.

        Raises:
            ChildError: it ended, or was not ready in time; it is stopped with the others.
        """
        log = self._folder / f"{name}.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                env=None if environment is None else {**os.environ, **environment},
            )
        child = Child(name, process, log, pid)
        self._children.append(child)
        if ready is not None:
            child.ready = child.event(ready, timeout_s)
        return child

    def stop(self) -> None:
        """Stop all: first asked together, then waited for, then ended by force."""
        for child in reversed(self._children):
            child.ask_to_stop()
        while self._children:
            self._children[-1].stop(self._grace_s)
            self._children.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

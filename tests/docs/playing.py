"""Runs what pages show, on ports and in folders of its own, and leaves no program behind."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NAMES: Final = (
    (r"\b(edge|broker|camera|tier|control)\.local\b", "localhost"),
    ("/var/lib/isthmus", "var"),
    ("/etc/mosquitto/", "etc/"),
)
"""Of machines and folders, and what they are here."""
AMOUNTS: Final = (
    ("--seconds 60{0,1}0 ", "--seconds 5 "),
    ("--window 770:880", "--window 770:774"),
    ("--repeat [35]", "--repeat 2"),
    ("--leakage 2000", "--leakage 2"),
    ("--tune train/", "--tune train/ --tune-steps 3"),
    (r"training\.steps=4000", "training.steps=40"),
    (r"^steps = [0-9]+", "steps = 40"),
    (r"^side = 224", "side = 64"),
    ("--items photos/ --cut", "--items photos/ --side 64 --cut"),
)
"""What costs nothing but time, and less of it."""
PORTS: Final = ("1883", "7201", "7202", "7299", "7300", "8000", "8001", "8883", "9201", "9477")

WATCH: Final = "exec 3<&0 </dev/null; { read -r <&3 || true; kill -KILL -- -$$; } >/dev/null 2>&1 &\n"
"""Of a script: when the other end of its standard input is gone, whatever took it, so are all of its programs."""


def some_ports(count: int) -> list[str]:
    """Free ports that the system gives to nobody by itself, so that they still are when a program asks for them."""
    found: list[str] = []
    while len(found) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0 and str(port) not in found:
                found.append(str(port))
    return found


def ports_exchanged() -> list[tuple[str, str]]:
    """Ports that pages name, and free ones: regular expressions that Python and sed read alike, and replacements."""
    return [(rf"\b{port}\b", other) for port, other in zip(PORTS, some_ports(len(PORTS)), strict=True)]


def exchanged() -> list[tuple[str, str]]:
    """The same with names and amounts."""
    return [*NAMES, *AMOUNTS, *ports_exchanged()]


def exchange(text: str, table: Iterable[tuple[str, str]]) -> str:
    """A text with everything exchanged."""
    for old, new in table:
        text = re.sub(old, new, text, flags=re.MULTILINE)
    return text


def surroundings(home: Path) -> dict[str, str]:
    """Variables of a reader whose folder is `home`: nothing of this process's own."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "default",
        "TERM": "dumb",
        "COLUMNS": "160",
    }


def played(
    script: str, folder: Path, environment: Mapping[str, str], patience_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in a group of its own, which ends with it, and with this process whatever ends that."""
    ours, theirs = os.pipe()
    command = ["bash", "-c", WATCH + script]
    with tempfile.TemporaryFile("w+") as told:
        try:
            running = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=ours, stdout=told, stderr=told, start_new_session=True
            )
        finally:
            os.close(ours)
        try:
            running.wait(patience_s)
        except subprocess.TimeoutExpired:
            told.write(f"\nnot done after {patience_s:g} s\n")
            told.flush()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            os.close(theirs)
        told.seek(0)
        return subprocess.CompletedProcess(command, running.returncode, told.read())

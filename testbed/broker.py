"""An MQTT broker of a scenario's own, as a program: `python -m testbed.broker CONFIG.toml` becomes mosquitto.

It serves this machine only. A second process, which ends with that, prints `{"event": "ready", "port": PORT}` once it
listens. Where somebody takes the port first, it ends: start it again.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from protocol.errors import IsthmusError
from runtime.settings import load_settings
from testbed.errors import TestbedError

_LOOK_S = 0.02


class BrokerError(TestbedError):
    """There is no mosquitto here. For a person to read."""

    exit_code = 1


class Settings(BaseModel):
    """All settings of the program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """For mosquitto's configuration and log."""
    port: int = 0
    """0 takes a free one."""
    command: tuple[str, ...] = ()
    """What runs mosquitto where that is not here, such as a container's engine; its own arguments follow."""


def why_not() -> str:
    """Why there can be no broker here; empty if there can."""
    return "" if _program() else "there is no mosquitto (Debian's package of that name)"


def _program() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def become(settings: Settings) -> None:
    """Never returns: this process is mosquitto from here on, so that every signal meets it.

    Raises:
        BrokerError: it is not installed.
    """
    command = settings.command or ((program,) if (program := _program()) else ())
    if not command:
        raise BrokerError(why_not())
    port = settings.port or _free_port()
    config, log = settings.folder / "mosquitto.conf", settings.folder / f"mosquitto-{os.getpid()}.log"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
        "user root\npersistence false\n"
    )
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    subprocess.Popen([sys.executable, "-m", "testbed.broker", "watch", str(log), str(port)])
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.execvp(command[0], [*command, "-c", str(config)])


def watch(log: Path, port: int) -> None:
    """Say when the process that started this one listens; end without a word if it ends first."""
    broker = os.getppid()
    while os.getppid() == broker:
        if b" running" in log.read_bytes():
            print(json.dumps({"event": "ready", "port": port}), flush=True)
            return
        time.sleep(_LOOK_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
    return port


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if arguments[0] == "watch":
        watch(Path(arguments[1]), int(arguments[2]))
        return 0
    try:
        become(load_settings(Settings, Path(arguments[0])))
    except IsthmusError as error:
        print(f"broker: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""A real mosquitto for tests, on a port of its own; tests skip where there is none."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiomqtt
import pytest

from protocol.topics import rules_of_caller, rules_of_controller, rules_of_worker
from tests.ports import reserved_port
from tests.transport.callers import DIGEST, Caller, calling
from tests.transport.pki import Pki
from transport.mqtt_worker import MqttWorker
from transport.server import Identity
from transport.settings import Broker, Dial
from transport.stream import Handler

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="no mosquitto on this machine; Debian's package of that name has it"
)
GROUP = "edge"


@dataclass
class Mosquitto:
    """A broker process; `kill` and `start` it as you like."""

    folder: Path
    port: int
    lines: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        assert MOSQUITTO is not None
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *self.lines, ""]))
        path = self.folder / "mosquitto.log"
        with path.open("a") as log:
            begun = log.tell()
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=log, stderr=log)
        while self.process.poll() is None:  # that something listens there says not that it is this one
            if " running" in path.read_text()[begun:]:
                return self
            time.sleep(0.005)
        raise AssertionError(path.read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def dial(self) -> Dial:
        return Dial(target=f"127.0.0.1:{self.port}", group=GROUP)

    @property
    def broker(self) -> Broker:
        return Broker(target=f"127.0.0.1:{self.port}", group=GROUP)


OPEN = ("allow_anonymous true", "max_inflight_messages 0", "set_tcp_nodelay true")


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Mosquitto]:
    """A broker that lets everyone in, or one with these lines more."""
    with reserved_port() as port:
        running = Mosquitto(folder, port, (*OPEN, *lines)).start()
        try:
            yield running
        finally:
            running.kill()


def guarded(
    folder: Path, pki: Pki, callers: tuple[str, ...], workers: dict[str, str], controllers: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Lines of a broker that knows everyone by certificate and holds each to its rules.

    Args:
        workers: the name in a worker's certificate to its name as a worker.
    """
    rules = []
    for caller in callers:
        rules += [f"user {caller}", *(f"topic {access} {topic}" for access, topic in rules_of_caller(GROUP, caller))]
    for user, worker in workers.items():
        rules += [f"user {user}", *(f"topic {access} {topic}" for access, topic in rules_of_worker(GROUP, worker))]
    for name in controllers:
        rules += [f"user {name}", *(f"topic {access} {topic}" for access, topic in rules_of_controller(GROUP, name))]
    (folder / "acl").write_text("\n".join(rules) + "\n")
    return (
        f"cafile {pki.folder}/ca.pem",
        f"certfile {pki.folder}/tier.pem",
        f"keyfile {pki.folder}/tier.key",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {folder}/acl",
    )


@asynccontextmanager
async def working(
    handler: Handler, broker: Broker, name: str = "worker-1", **options: Any
) -> AsyncIterator[MqttWorker]:
    worker = MqttWorker(handler, broker, Identity("edge", lambda: (DIGEST,)), name=name, **options)
    worker.start()
    try:
        async with asyncio.timeout(20):
            await worker.until_ready()
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def calling_over(dial: Dial, name: str = "tester", **options: Any) -> AsyncIterator[Caller]:
    async with calling("", dial=dial, name=name, **options) as caller:
        yield caller


@asynccontextmanager
async def plain(broker: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """A client without manners."""
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        yield client

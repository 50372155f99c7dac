"""The link of packets as a program: ready line, counts on demand, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from testbed.packets.namespaces import FAR_ADDRESS, NEAR_ADDRESS, NamespacePair
from testbed.packets.path import PacketPath
from testbed.packets.settings import Settings
from testbed.packets.stage import Lane, punctual_loop

_PRIORITY: Final = -10


def run(settings: Settings) -> None:
    """Carry packets until SIGINT or SIGTERM; then the namespaces are gone.

    Prints `{"event": "ready", "near": NAMESPACE, "far": NAMESPACE, "near_address", "far_address"}`. For each line
    `counts` on standard input it prints `{"event": "counts", "up": {...}, "down": {...}}`, packets and bytes since the
    start.

    Raises:
        PacketLinkError: the namespaces cannot be made.
    """
    with suppress(PermissionError):  # a link does not wait for the programs on it; late packets are delay
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    with asyncio.Runner(loop_factory=punctual_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    """From the first signal on, all further ones are ignored until everything is removed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    with NamespacePair(settings.mtu_bytes) as pair:
        await _carry(pair, settings, ended)


async def _carry(pair: NamespacePair, settings: Settings, ended: asyncio.Event) -> None:
    lanes = {
        "up": Lane(pair.near_tun, pair.far_tun, PacketPath(settings.uplink, f"{settings.seed}/up")),
        "down": Lane(pair.far_tun, pair.near_tun, PacketPath(settings.downlink, f"{settings.seed}/down")),
    }
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    obeying = asyncio.create_task(_obey(orders, lanes), name="orders")
    _tell(event="ready", near=pair.near, far=pair.far, near_address=NEAR_ADDRESS, far_address=FAR_ADDRESS)
    try:
        await ended.wait()
    finally:
        obeying.cancel()
        for lane in lanes.values():
            lane.close()


async def _obey(orders: asyncio.StreamReader, lanes: dict[str, Lane]) -> None:
    while line := await orders.readline():
        if line.strip() == b"counts":
            _tell(event="counts", **{name: lane.count.as_object() for name, lane in lanes.items()})


def _tell(**fields: object) -> None:
    print(json.dumps(fields), flush=True)

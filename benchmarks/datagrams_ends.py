"""The two ends that `benchmarks.datagrams` puts on either side of a link of packets, as programs.

`python -m benchmarks.datagrams_ends serve FOLDER ADDRESS` listens for gRPC and for QUIC.
`python -m benchmarks.datagrams_ends call FOLDER TARGET grpc|datagrams CALLERS` sends frames as long as it is told.
Both end with a line on their standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from protocol.messages import Frame, Hello, Refusal, Result, Tensor
from protocol.session import tag_of
from transport.authority import Authority, signing_request, write_secret
from transport.client import FrameClient
from transport.datagram_server import DatagramServer
from transport.events import Answered, ClientEvent, Lost, Refused
from transport.server import FrameServer, Identity
from transport.settings import CallerTls, Dial, Listen, Tls
from transport.stream import Request

DIGEST: Final = hashlib.sha256(b"benchmark").digest()
FRAME_BYTES: Final = 2048
ANSWER: Final = bytes(40)
"""Ten numbers."""
RATE_HZ: Final = 5.0
DEADLINE_S: Final = 30.0
LAST_S: Final = 10.0
"""For the last answers."""
WARM_UP: Final = 25
"""Frames of each caller that do not count."""


def certificates(folder: Path, address: str) -> None:
    """An authority, a tier's certificate for this address, and a device's."""
    authority = Authority.create(folder)
    key, certificate = authority.tier("tier", [address])
    (folder / "tier.key").write_bytes(key)
    (folder / "tier.pem").write_bytes(certificate)
    key, request = signing_request()
    write_secret(folder / "device.key", key)
    (folder / "device.pem").write_bytes(authority.enrol(authority.token("device"), request))


async def answer(request: Request) -> Result | Refusal:
    """Ten numbers, at once."""
    return Result(request.frame.id, (Tensor("scores", "float32", (10,), ANSWER),), "edge")


async def serve(folder: Path, address: str) -> None:
    """Both servers, until told to end."""
    tls = Tls(certificate=folder / "tier.pem", key=folder / "tier.key", client_ca=folder / "ca.pem")
    listen, identity = Listen(host=address, tls=tls), Identity("edge", lambda: (DIGEST,))
    over_tcp, over_quic = FrameServer(answer, listen, identity), DatagramServer(answer, listen, identity)
    await over_tcp.start()
    await over_quic.start()
    print(json.dumps({"event": "ready", "grpc": over_tcp.port, "datagrams": over_quic.port}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await over_quic.stop()
    await over_tcp.stop()


class Sender:
    """One caller, and how long each of its frames took."""

    def __init__(self, dial: Dial) -> None:
        self.taken_s: list[float] = []
        """Of all frames but the first ones, from which the transport learns about the link."""
        self.sent = 0
        self.refused = 0
        self._sent_s: dict[int, float] = {}
        self._settled = asyncio.Event()
        """No frame is under way."""
        self._client = FrameClient(dial, Hello("device", (DIGEST,)), self._learn)

    async def run(self, ended: asyncio.Event, ready: asyncio.Event, first_s: float) -> None:
        """A frame every 200 ms, the first after `first_s`, until `ended`; then wait for what is under way."""
        payload, number = bytes(range(256)) * (FRAME_BYTES // 256), 0
        async with self._client as client:
            await client.until_ready()
            ready.set()
            next_s = time.monotonic() + first_s
            while not ended.is_set():
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))
                next_s += 1 / RATE_HZ
                number += 1
                self.sent += 1
                if client.credits_left:
                    self._sent_s[number] = time.monotonic()
                    self._settled.clear()
                    client.send(_frame(number, payload))
                else:
                    self.refused += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self._settled.wait()
            self.refused += len(self._sent_s)

    def _learn(self, event: ClientEvent) -> None:
        match event:
            case Answered(result):
                taken_s = time.monotonic() - self._sent_s.pop(result.id)
                if result.id > WARM_UP:
                    self.taken_s.append(taken_s)
            case Refused(refusal):
                self.refused += self._sent_s.pop(refusal.id, None) is not None
            case Lost(frames):
                for number in frames:
                    self.refused += self._sent_s.pop(number, None) is not None
        if not self._sent_s:
            self._settled.set()


def _frame(number: int, payload: bytes) -> Frame:
    return Frame.build(
        id=number,
        bundle=tag_of(DIGEST),
        cut=1,
        level=0,
        shape=(len(payload),),
        payload=payload,
        remaining_us=int(1e6 * DEADLINE_S),
    )


async def call(folder: Path, target: str, transport: str, callers: int) -> None:
    """Frames until told to end; then one line with the seconds that each took."""
    tls = CallerTls(ca=folder / "ca.pem", certificate=folder / "device.pem", key=folder / "device.key")
    dial = Dial(target=target, tls=tls, datagrams=transport == "datagrams")
    senders = [Sender(dial) for _ in range(callers)]
    ended, readies = asyncio.Event(), [asyncio.Event() for _ in senders]
    async with asyncio.TaskGroup() as tasks:
        for place, (sender, ready) in enumerate(zip(senders, readies, strict=True)):
            tasks.create_task(sender.run(ended, ready, place / RATE_HZ / callers))
        for ready in readies:
            await ready.wait()
        print(json.dumps({"event": "ready"}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        ended.set()
    taken_s = [taken for sender in senders for taken in sender.taken_s]
    told = {
        "event": "taken",
        "taken_s": taken_s,
        "sent": sum(sender.sent for sender in senders),
        "refused": sum(sender.refused for sender in senders),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(Path(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run(call(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])))

"""The far ends that `benchmarks.wire` calls, in a process of their own: a frame server, and bare gRPC streams.

`python -m benchmarks.wire_ends [IDLE_MS]` prints its ports as one JSON line and serves until its standard input ends.
`python -m benchmarks.wire_ends mqtt PORT` does the same behind a broker: a worker of frames, and a bare echo.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from typing import Any

import aiomqtt
import grpc

from protocol.messages import Refusal, Result, Tensor
from transport.mqtt_worker import MqttWorker
from transport.options import ConnectionLimits, server_options
from transport.server import FrameServer, Identity
from transport.settings import Broker, Listen
from transport.stream import Request

DIGEST = hashlib.sha256(b"benchmark").digest()
BARE_METHOD = "/bare.Echo/Stream"
BARE_UP, BARE_DOWN = "bare/up", "bare/down"
GROUP = "bench"
CREDITS = 32
PICTURE_BYTES = 4 << 20


def allocate_a_picture() -> None:
    """Have the C library keep freed memory, as it does in any program that has once held a picture.

    Until so much was freed in one piece, glibc gives each buffer of 128 KiB back to the kernel, and each new one costs
    as many page faults as the rest of its way: then it is measured how often either side copies (decision 0166).
    """
    bytearray(PICTURE_BYTES)


async def frames_back(request: Request) -> Result | Refusal:
    """The payload comes back as the one output."""
    frame = request.frame
    return Result(frame.id, (Tensor("echo", "uint8", frame.shape, frame.payload),), "edge")


async def bytes_back(_requests: object, call: Any) -> None:
    """Nothing but gRPC: what is read is written."""
    while (data := await call.read()) is not grpc.aio.EOF:
        await call.write(data)


async def main(limits: ConnectionLimits) -> None:
    """Serve both until told to end."""
    bare = grpc.aio.server(options=server_options(limits))
    handler = grpc.method_handlers_generic_handler(
        "bare.Echo", {"Stream": grpc.stream_stream_rpc_method_handler(bytes_back)}
    )
    bare.add_generic_rpc_handlers((handler,))
    bare_port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    server = FrameServer(frames_back, Listen(), Identity("edge", lambda: (DIGEST,)), credits=CREDITS, limits=limits)
    await server.start()
    print(json.dumps({"bare": bare_port, "frames": server.port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
    await bare.stop(grace=None)


async def behind_a_broker(port: int) -> None:
    """Serve frames and bare messages over a broker until told to end."""
    broker = Broker(target=f"127.0.0.1:{port}", group=GROUP)
    worker = MqttWorker(frames_back, broker, Identity("edge", lambda: (DIGEST,)), name="far", credits=CREDITS)
    worker.start()
    await worker.until_ready()
    async with bare_client(port) as bare:
        await bare.subscribe(BARE_UP, qos=1)
        print(json.dumps({"broker": port}), flush=True)
        echoing = asyncio.create_task(_echo(bare))
        await asyncio.to_thread(sys.stdin.read)
        echoing.cancel()
    await worker.stop()


def bare_client(port: int) -> aiomqtt.Client:
    """Nothing but aiomqtt, told as we are not to wait for more to send."""
    at_once = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, socket_options=[at_once])


async def _echo(client: aiomqtt.Client) -> None:
    async for message in client.messages:
        await client.publish(BARE_DOWN, message.payload, qos=1)


if __name__ == "__main__":
    allocate_a_picture()
if __name__ == "__main__" and sys.argv[1:2] == ["mqtt"]:
    asyncio.run(behind_a_broker(int(sys.argv[2])))
elif __name__ == "__main__":
    asyncio.run(main(ConnectionLimits(idle_ms=int(sys.argv[1])) if len(sys.argv) > 1 else ConnectionLimits()))

"""The far ends that `benchmarks.wire` calls, in a process of their own: a frame server, and bare gRPC streams.

`python -m benchmarks.wire_ends [IDLE_MS]` prints its ports as one JSON line and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

import grpc

from protocol.messages import Refusal, Result, Tensor
from transport.options import ConnectionLimits, server_options
from transport.server import FrameServer, Identity
from transport.settings import Listen
from transport.stream import Request

DIGEST = hashlib.sha256(b"benchmark").digest()
BARE_METHOD = "/bare.Echo/Stream"
CREDITS = 32


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


if __name__ == "__main__":
    asyncio.run(main(ConnectionLimits(idle_ms=int(sys.argv[1])) if len(sys.argv) > 1 else ConnectionLimits()))

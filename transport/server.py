"""The tier's end: accepts streams of frames on one port, answers health checks, drains."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protocol.errors import Code
from protocol.messages import Hello, Load, Welcome
from protocol.session import ServerSession
from transport.admission import Admission, Caller, Revoked, caller_of
from transport.errors import address_error
from transport.grpc_stream import GrpcStream
from transport.options import SERVICE, ConnectionLimits, server_options
from transport.settings import Listen, Quotas
from transport.stream import Handler, TierStream

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_AGE_SHARE: Final = 0.9
"""Streams end themselves before gRPC, which spreads a connection's age by a tenth, would cut them."""
_FLUSH_S: Final = 0.1
"""For the last bytes of streams that have ended."""

_log = logging.getLogger(__name__)
_LIMITS: Final = ConnectionLimits()
_QUOTAS: Final = Quotas()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a tier says of itself: "edge" or "cloud", and the digests it serves, asked at each hello and frame."""

    tier: str
    bundles: Callable[[], Collection[bytes]]


class FrameServer:
    """Serves frame streams and the standard gRPC health service.

    Args:
        handler: what to do with a frame.
        listen: where; beyond loopback only with TLS and a client CA.
        identity: what the welcome says.
        credits: frames that one stream may have unanswered.
        load: how busy the tier is now.
        clock: monotonic seconds.
        limits: of connections and streams.
        quotas: of the callers with certificates.

    Raises:
        InsecureBinding: the settings would serve strangers.
    """

    def __init__(
        self,
        handler: Handler,
        listen: Listen,
        identity: Identity,
        *,
        credits: int = 32,
        load: Callable[[], Load] = Load,
        clock: Callable[[], float] = time.monotonic,
        limits: ConnectionLimits = _LIMITS,
        quotas: Quotas = _QUOTAS,
    ) -> None:
        listen.require_safe()
        self._handler = handler
        self._listen = listen
        self._identity = identity
        self._credits = credits
        self._load = load
        self._clock = clock
        self._limits = limits
        self._admission = Admission(quotas, Revoked.named_by(listen.tls, clock), clock)
        self._health = health.aio.HealthServicer()
        self._streams: dict[TierStream, asyncio.Task[Any] | None] = {}
        self._draining = False
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start`."""
        return self._port

    async def start(self) -> None:
        """Bind and accept.

        Raises:
            AddressInUse: another program listens there.
            AddressUnusable: the address cannot be bound.
            CertificateUnusable: a TLS file cannot be read.
        """
        server = grpc.aio.server(
            options=server_options(self._limits),
            compression=grpc.Compression.NoCompression,
            maximum_concurrent_rpcs=self._limits.streams,
        )
        stream = grpc.stream_stream_rpc_method_handler(self._serve)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Stream": stream}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._port = self._bind(server)
        await server.start()
        self._server = server
        await self._report(_SERVING)

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, answer what is here, end every stream politely; then stop.

        Returns:
            Streams that were not done in time and were cut.
        """
        self._draining = True
        await self._report(_NOT_SERVING)
        for stream in self._streams:
            stream.drain()
        running = [task for task in self._streams.values() if task is not None]
        late = 0
        if running:
            _, pending = await asyncio.wait(running, timeout=timeout_s)
            late = len(pending)
        await self.stop(grace_s=_FLUSH_S)
        return late

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Accept no more, cut every stream (after `grace_s`) and close the port."""
        self._draining = True
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace=grace_s)

    async def _report(self, status: int) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _serve(self, _requests: object, call: Any) -> None:
        session = ServerSession(bundles=self._identity.bundles, welcome=self._welcome)
        if self._draining:
            await call.write(session.refuse_stream(Code.DRAINING, "this tier is shutting down; use another"))
            return
        caller = caller_of(call)
        if caller is None:
            await self._converse(session, call, None)
            return
        turned_away = self._admission.enter(caller)
        if turned_away is not None:
            _log.warning("turned away %s (%s): %s", caller.name, caller.fingerprint[:16], turned_away.detail)
            await call.write(session.refuse_stream(turned_away.code, turned_away.detail))
            return
        try:
            await self._converse(session, call, caller)
        finally:
            self._admission.leave(caller)

    async def _converse(self, session: ServerSession, call: Any, caller: Caller | None) -> None:
        stream = TierStream(
            session,
            GrpcStream(call),
            caller=caller,
            admission=self._admission,
            handler=self._handler,
            clock=self._clock,
            load=self._load,
            age_s=self._limits.age_ms * _AGE_SHARE / 1000,
        )
        self._streams[stream] = asyncio.current_task()
        try:
            await stream.run()
        finally:
            del self._streams[stream]

    def _welcome(self, _hello: Hello) -> Welcome:
        return Welcome(self._identity.tier, tuple(self._identity.bundles()), self._credits, load=self._load())

    def _bind(self, server: grpc.aio.Server) -> int:
        listen = self._listen
        try:
            if listen.tls is None:
                return int(server.add_insecure_port(listen.address))
            return int(server.add_secure_port(listen.address, listen.tls.credentials()))
        except RuntimeError as exc:
            raise address_error(listen.host, listen.port, _why_unusable(listen)) from exc


def _why_unusable(listen: Listen) -> OSError:
    """The system's reason, which gRPC does not tell: bind once more by hand."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as exc:
        return exc
    return OSError(errno.EADDRINUSE, "it was in use a moment ago")

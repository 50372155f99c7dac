"""The gRPC door: the methods of `inference.GRPCInferenceService`. Bytes are parsed here, to refuse bad ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from serving.oip.errors import OipUnusable, Reason, RequestRefused
from serving.oip.infer_messages import parsed, read_request, written_response
from serving.oip.messages import SERVICE, ModelStreamInferResponse, message
from serving.oip.service import InferenceService
from serving.oip.telling import model_metadata, repository_index, server_metadata, statistics_of
from transport.admission import Caller, caller_of
from transport.options import ConnectionLimits, server_options
from transport.settings import Listen

_KEY: Final = "oip.grpc"
_AHEAD: Final = 16
"""Requests of one stream that are worked on at the same time; no more are read."""
_FLUSH_S: Final = 0.1
_SMALL_BYTES: Final = 64 << 10
"""Longer messages are read in a thread."""
Answering = Callable[[Any], dict[str, Any]]


class GrpcDoor:
    """Listens for gRPC requests.

    Args:
        service: answers.
        listen: where; beyond loopback only with TLS and a client CA.
        requests: how many calls there may be at once.
    """

    def __init__(self, service: InferenceService, listen: Listen, *, requests: int) -> None:
        self._service = service
        self._listen = listen
        self._limits = ConnectionLimits(streams_per_connection=requests, streams=requests)
        self._here: set[asyncio.Task[Any]] = set()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start`."""
        return self._port

    async def start(self) -> None:
        """Bind and answer.

        Raises:
            OipUnusable: the address cannot be bound.
            CertificateUnusable: a TLS file cannot be read.
        """
        listen = self._listen
        listen.require_safe()
        server = grpc.aio.server(
            options=server_options(self._limits),
            compression=grpc.Compression.NoCompression,
            maximum_concurrent_rpcs=self._limits.streams,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._methods()),))
        try:
            if listen.tls is None:
                self._port = int(server.add_insecure_port(listen.address))
            else:
                self._port = int(server.add_secure_port(listen.address, listen.tls.credentials()))
        except RuntimeError as exc:
            why = "another program listens there, or it is no address of this machine"
            raise OipUnusable(_KEY, listen.host, listen.port, why) from exc
        await server.start()
        self._server = server

    async def drain(self, timeout_s: float) -> int:
        """Take no more requests, wait for those that are here, then stop; how many were cut."""
        self._service.drain()
        late = 0
        if self._here:
            _, pending = await asyncio.wait(self._here, timeout=timeout_s)
            late = len(pending)
        await self.stop(grace_s=_FLUSH_S)
        return late

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Close the port, and every connection after `grace_s`."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace=grace_s)

    def _methods(self) -> dict[str, Any]:
        service = self._service
        told: dict[str, Answering] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": service.ready},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: server_metadata(service),
            "ModelMetadata": lambda asked: model_metadata(service, asked.name, asked.version),
            "ModelStatistics": lambda asked: {"model_stats": statistics_of(service, asked.name, asked.version)},
            "RepositoryIndex": lambda asked: {"models": repository_index(service, ready=asked.ready)},
            "RepositoryModelLoad": self._control,
            "RepositoryModelUnload": self._control,
        }
        unary = {name: self._unary(name, answering) for name, answering in told.items()}
        return unary | {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }

    def _model_ready(self, asked: Any) -> dict[str, Any]:
        self._service.catalog.find(asked.name, asked.version)
        return {"ready": self._service.ready}

    def _control(self, asked: Any) -> dict[str, Any]:
        self._service.catalog.find(asked.model_name)
        raise RequestRefused(Reason.UNSUPPORTED, "the models here are those of the tier's configuration: `bundles`")

    async def _infer(self, data: bytes, call: Any) -> bytes:
        with self._counted():
            remaining_s, caller = call.time_remaining(), caller_of(call)
            try:
                self._service.admitted.welcome(caller)
                answer = await self._answer(data, caller, math.inf if remaining_s is None else remaining_s)
            except RequestRefused as exc:
                await _abort(call, exc)
            content: bytes = answer.SerializeToString()
            return content

    async def _stream(self, requests: AsyncIterator[bytes], call: Any) -> None:
        """Answers come in the order of their requests; one that is refused does not end the stream."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_AHEAD)
        caller = caller_of(call)

        async def read() -> None:
            async for data in requests:
                await answers.put(group.create_task(self._answer_in_stream(data, caller)))
            await answers.put(None)

        with self._counted():
            async with asyncio.TaskGroup() as group:
                group.create_task(read(), name="requests of a stream")
                while (answer := await answers.get()) is not None:
                    await call.write(await answer)

    async def _answer_in_stream(self, data: bytes, caller: Caller | None) -> bytes:
        answer = ModelStreamInferResponse()
        try:
            self._service.admitted.welcome(caller)
            answer.infer_response.CopyFrom(await self._answer(data, caller, math.inf))
        except RequestRefused as exc:
            answer.error_message = str(exc)
        content: bytes = answer.SerializeToString()
        return content

    async def _answer(self, data: bytes, caller: Caller | None, time_left_s: float) -> Any:
        if len(data) <= _SMALL_BYTES:
            request, raw = read_request(data)
        else:
            request, raw = await asyncio.to_thread(read_request, data)
        answer = await self._service.infer(request, caller, time_left_s=time_left_s)
        return written_response(answer, raw=raw)

    def _unary(self, name: str, answering: Answering) -> Any:
        """The handler of a method whose answer is a tree of the response's own fields."""
        asked, answered = message(f"{name}Request"), message(f"{name}Response")

        async def handle(data: bytes, call: Any) -> bytes:
            try:
                self._service.admitted.welcome(caller_of(call))
                tree = answering(parsed(asked, data))
            except RequestRefused as exc:
                await _abort(call, exc)
            content: bytes = answered(**tree).SerializeToString()
            return content

        return grpc.unary_unary_rpc_method_handler(handle)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """The running task is among those here while entered."""
        task = asyncio.current_task()
        assert task is not None
        self._here.add(task)
        try:
            yield
        finally:
            self._here.discard(task)


def _abort(call: Any, refused: RequestRefused) -> Awaitable[Any]:
    """End a call with a refusal; gRPC's own retries wait as long as it says."""
    trailing: tuple[tuple[str, str], ...] = ()
    if refused.retry_after_s:
        trailing = (("grpc-retry-pushback-ms", str(math.ceil(refused.retry_after_s * 1000))),)
    aborted: Awaitable[Any] = call.abort(refused.reason.grpc, str(refused), trailing)
    return aborted

"""The other side of `transport.mqtt_notices`: plans and commands to callers behind a broker, and what they tell."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.topics import Topics
from transport.errors import NameUnusable, Unanswered
from transport.mqtt_connection import Connection, Received, connected
from transport.mqtt_notices import CORRELATION_BYTES, NOTICE_BYTES, require_short
from transport.seam import StreamEnded
from transport.settings import Broker

MOST_CALLERS: Final = 100_000
"""Of which capabilities are kept."""
_RECEIVE_MAXIMUM: Final = 1024

_log = logging.getLogger(__name__)


class MqttController:
    """One connection; made by `controlling`.

    Attributes:
        capabilities: of the callers that are connected, by name; complete from the start.
    """

    def __init__(
        self, connection: Connection, topics: Topics, name: str, on_telemetry: Callable[[str, bytes], None]
    ) -> None:
        self.capabilities: dict[str, bytes] = {}
        self._connection = connection
        self._topics = topics
        self._name = name
        self._on_telemetry = on_telemetry
        self._waiting: dict[bytes, tuple[str, asyncio.Future[bytes]]] = {}

    async def plan(self, caller: str, body: bytes) -> None:
        """Leave a plan for a caller, connected or not; no bytes remove it. Returns when the broker has it.

        Raises:
            StreamEnded: the connection has ended.
            LocalProtocolError: the body is too long, or the name cannot stand in a topic.
        """
        require_short(body)
        await self._connection.retain(self._topics.plans(caller), body)

    async def command(self, caller: str, body: bytes, timeout_s: float) -> bytes:
        """Have a caller do something; its reply.

        Raises:
            Unanswered: no reply came in time. Whether the caller obeyed is not known.
            StreamEnded: the connection has ended.
            LocalProtocolError: the body is too long, or the name cannot stand in a topic.
        """
        require_short(body)
        topic = self._topics.commands(self._name, caller)
        correlation = secrets.token_bytes(CORRELATION_BYTES)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = caller, reply
        try:
            self._connection.publish(topic, body, correlation=correlation, expiry_s=math.ceil(timeout_s))
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError as exc:
            raise Unanswered(caller, timeout_s) from exc
        finally:
            del self._waiting[correlation]

    async def listen(self) -> None:
        """Take in what callers tell, until the connection ends; `controlling` runs it.

        Raises:
            StreamEnded: it has ended.
        """
        try:
            while True:
                message = await self._connection.read()
                self._connection.ack(message)
                self._take(message)
        except StreamEnded as exc:
            for _, reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(StreamEnded(str(exc)))
            raise

    def _take(self, message: Received) -> None:
        try:
            kind, caller, _ = self._topics.parse(message.topic)
        except RemoteProtocolError as exc:
            _log.info("ignored a notice on %r: %s", message.topic, exc)
            return
        if len(message.payload) > NOTICE_BYTES or (message.retained and kind != "capabilities"):
            _log.info("ignored a notice of %r that is too long, or that was left behind", caller)
        elif kind == "capabilities":
            self._note(caller, message.payload)
        elif kind == "telemetry":
            self._on_telemetry(caller, message.payload)
        elif kind == "replies":
            asked, reply = self._waiting.get(message.correlation, ("", None))
            if reply is not None and asked == caller and not reply.done():
                reply.set_result(message.payload)

    def _note(self, caller: str, body: bytes) -> None:
        if not body:
            self.capabilities.pop(caller, None)
        elif caller in self.capabilities or len(self.capabilities) < MOST_CALLERS:
            self.capabilities[caller] = body


@asynccontextmanager
async def controlling(
    broker: Broker, name: str, on_telemetry: Callable[[str, bytes], None] = lambda _caller, _body: None
) -> AsyncIterator[MqttController]:
    """A controller that is connected. Commands raise `StreamEnded` once it no longer is; then make another.

    Args:
        broker: where, and the group.
        name: of this controller, unlike those of others.
        on_telemetry: called with the name of a caller and what it told; must not block.

    Raises:
        StreamEnded: no connection.
        NameUnusable: the name cannot stand in a topic.
        InsecureDial: the broker is beyond loopback and there is no TLS.
        CertificateUnusable: a TLS file cannot be read.
    """
    broker.require_safe()
    try:
        topics = Topics(broker.group)
        heard = topics.for_controller(name)
    except LocalProtocolError as exc:
        raise NameUnusable(str(exc)) from exc
    identifier = f"{topics.group}.controller.{name}"
    async with connected(broker, identifier, receive_maximum=_RECEIVE_MAXIMUM) as connection:
        await connection.subscribe(heard)
        controller = MqttController(connection, topics, name, on_telemetry)
        listening = asyncio.create_task(controller.listen(), name="MQTT controller")
        try:
            await connection.unsubscribe(topics.plans(name))  # when the broker agrees, what is retained has come
            yield controller
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            if not listening.cancelled():
                listening.exception()

"""What passes beside the frames over a broker: capabilities, telemetry, plans and commands. The caller's side.

Bodies are bytes that this module does not look into. Everything is QoS 1; a command that the broker delivers twice is
obeyed once, and one that was left behind for whoever comes is ignored.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.topics import Topics
from transport.errors import CertificateUnusable, NameUnusable
from transport.mqtt_connection import Connection, Received, connected
from transport.seam import StreamEnded
from transport.settings import Broker

NOTICE_BYTES: Final = 64 << 10
"""The longest body."""
CORRELATION_BYTES: Final = 16
MOST_COMMANDS: Final = 16
"""Under way at one time; the broker keeps the rest."""
_REMEMBERED: Final = 256
"""Commands of which the reply is kept, for when they are delivered again."""
_REPLY_EXPIRY_S: Final = 60.0
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 2.0

_log = logging.getLogger(__name__)


class Command(NamedTuple):
    """What a controller wants; the broker's rules vouch for its name."""

    controller: str
    body: bytes


class MqttNotices:
    """A caller that tells what it can do and how it is, follows plans and obeys commands. Reconnects for ever.

    Args:
        broker: where, and the group.
        caller: its name.
        capabilities: asked at each connection; what it gives is retained while the connection lasts.
        on_plan: called with each plan, the retained one first; no bytes mean that there is none any more.
        on_command: gives the reply to a command; what it raises ends `run`.

    Raises:
        NameUnusable: a name cannot stand in a topic.
        InsecureDial: the broker is beyond loopback and there is no TLS.
    """

    def __init__(
        self,
        broker: Broker,
        caller: str,
        *,
        capabilities: Callable[[], bytes],
        on_plan: Callable[[bytes], None],
        on_command: Callable[[Command], Awaitable[bytes]],
    ) -> None:
        broker.require_safe()
        self.reason = "not connected yet"
        """Why there is no connection; empty while there is one."""
        self._broker = broker
        self._caller = caller
        self._capabilities = capabilities
        self._on_plan = on_plan
        self._on_command = on_command
        try:
            self._topics = Topics(broker.group)
            self._presence = self._topics.capabilities(caller)
        except LocalProtocolError as exc:
            raise NameUnusable(str(exc)) from exc
        self._connection: Connection | None = None
        self._replies: OrderedDict[bytes, bytes | None] = OrderedDict()
        """By correlation; None while the command is being obeyed."""

    async def run(self) -> None:
        """Stay connected until cancelled. A command under way goes on when the connection breaks."""
        async with asyncio.TaskGroup() as commands:
            await self._keep_connected(commands)

    async def _keep_connected(self, commands: asyncio.TaskGroup) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                await self._one_connection(commands)
            except (StreamEnded, CertificateUnusable) as exc:
                if str(exc) != self.reason:
                    _log.warning("no notices over %s: %s", self._broker.target, exc)
                delay_s = _FIRST_DELAY_S if not self.reason else min(2 * delay_s, _LONGEST_DELAY_S)
                self.reason = str(exc)
            await asyncio.sleep(delay_s * (1.0 - 0.5 * random.random()))

    def tell(self, telemetry: bytes) -> bool:
        """Publish telemetry; False, and it is dropped, where there is no connection.

        Raises:
            LocalProtocolError: it is longer than `NOTICE_BYTES`.
        """
        require_short(telemetry)
        if self._connection is None:
            return False
        try:
            self._connection.publish(self._topics.telemetry(self._caller), telemetry, expiry_s=_REPLY_EXPIRY_S)
        except StreamEnded:
            return False
        return True

    async def _one_connection(self, commands: asyncio.TaskGroup) -> None:
        identifier = f"{self._topics.group}.notices.{self._caller}"
        async with connected(
            self._broker, identifier, will_topic=self._presence, receive_maximum=MOST_COMMANDS
        ) as connection:
            body = self._capabilities()
            require_short(body)
            await connection.subscribe(self._topics.for_caller(self._caller))
            await connection.retain(self._presence, body)  # who sees this may command at once
            self._connection, self.reason = connection, ""
            try:
                await self._hear(connection, commands)
            finally:
                self._connection = None
                with suppress(StreamEnded):
                    connection.publish(self._presence, b"", retain=True)

    async def _hear(self, connection: Connection, commands: asyncio.TaskGroup) -> None:
        while True:
            message = await connection.read()
            try:
                kind, _, controller = self._topics.parse(message.topic)
                if len(message.payload) > NOTICE_BYTES:
                    raise LocalProtocolError("it is too long")
            except (RemoteProtocolError, LocalProtocolError) as exc:
                _log.info("ignored a notice on %r: %s", message.topic, exc)
                connection.ack(message)
                continue
            if kind == "plans":
                connection.ack(message)
                self._on_plan(message.payload)
            elif message.retained or len(message.correlation) != CORRELATION_BYTES:
                _log.info("ignored a command of %r that was left behind, or that cannot be answered", controller)
                connection.ack(message)
            elif message.correlation in self._replies:
                self._reply(connection, message, controller, self._replies[message.correlation])
            else:
                self._remember(message.correlation, None)
                commands.create_task(self._obey(connection, message, controller), name=f"command of {controller}")

    async def _obey(self, connection: Connection, message: Received, controller: str) -> None:
        """Acknowledge with the reply, so that the receive maximum bounds the commands that are here."""
        reply = await self._on_command(Command(controller, message.payload))
        require_short(reply)
        self._remember(message.correlation, reply)
        with suppress(StreamEnded):
            self._reply(connection, message, controller, reply)

    def _remember(self, correlation: bytes, reply: bytes | None) -> None:
        self._replies[correlation] = reply
        if len(self._replies) > _REMEMBERED:
            self._replies.popitem(last=False)

    def _reply(self, connection: Connection, message: Received, controller: str, reply: bytes | None) -> None:
        if reply is not None:
            topic = self._topics.replies(controller, self._caller)
            connection.publish(topic, reply, correlation=message.correlation, expiry_s=_REPLY_EXPIRY_S)
        connection.ack(message)


def require_short(body: bytes) -> None:
    """Refuse a body that the other side would ignore.

    Raises:
        LocalProtocolError: it is longer than `NOTICE_BYTES`.
    """
    if len(body) > NOTICE_BYTES:
        raise LocalProtocolError(f"a notice of {len(body)} bytes is longer than {NOTICE_BYTES}; send less in each")

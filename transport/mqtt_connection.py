"""One connection to an MQTT 5 broker: the only module that knows aiomqtt and paho."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiomqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocol.limits import MAX_MESSAGE_BYTES
from transport.errors import CertificateUnusable
from transport.seam import StreamEnded
from transport.settings import CallerTls, Dial

KEEPALIVE_S: Final = 10
"""A peer that is silent for one and a half times as long is taken for dead by the broker."""
_TIMEOUT_S: Final = 3.0
"""For the broker's answers."""
_HEADER_BYTES: Final = 512
"""Of a packet, at most: topic, correlation and other properties."""

_PARTS: Final = ("parts", "1")
"""MQTT user property of a message whose answer may come in parts."""

_log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message from the broker; `ack` it, or no more than the receive maximum come."""

    topic: str
    payload: bytes
    correlation: bytes
    retained: bool
    mid: int
    qos: int
    takes_parts: bool = False
    """Whether its sender reads answers that come in parts."""


class Connection:
    """A connection that is up.

    Attributes:
        most_bytes: the broker takes no longer payload.
    """

    def __init__(self, client: aiomqtt.Client, most_bytes: int) -> None:
        self._client = client
        # aiomqtt cannot acknowledge by hand nor publish without waiting, and makes two tasks for each message read
        self._paho = client._client
        self.most_bytes = most_bytes
        self._why = ""
        self._arrived: asyncio.Queue[Received | None] = asyncio.Queue()
        self._paho.on_message = self._on_message
        client._disconnected.add_done_callback(self._on_disconnected)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        correlation: bytes = b"",
        expiry_s: float = math.inf,
        retain: bool = False,
        takes_parts: bool = False,
    ) -> None:
        """Send at QoS 1, without waiting for the broker's acknowledgement.

        Args:
            takes_parts: tell whoever answers that the answer may come in parts.

        Raises:
            StreamEnded: not connected.
        """
        info = self._paho.publish(topic, payload, 1, retain, _properties(correlation, expiry_s, takes_parts))
        if info.rc:
            raise StreamEnded(f"the broker is not connected ({info.rc})")

    async def retain(self, topic: str, payload: bytes) -> None:
        """Leave a message for all who subscribe later; no bytes remove it. Returns when the broker has it.

        Raises:
            StreamEnded: it did not answer, or refused.
        """
        with _ours():
            await self._client.publish(topic, payload, qos=1, retain=True)

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Returns when the broker has agreed.

        Raises:
            StreamEnded: it did not answer, or refused.
        """
        with _ours():
            codes = await self._client.subscribe([(topic, 1) for topic in topics])
        for topic, code in zip(topics, codes, strict=True):
            if getattr(code, "is_failure", False):
                raise StreamEnded(f"the broker does not let this program read {topic}: {code}")

    async def unsubscribe(self, topic: str) -> None:
        """Returns when the broker has agreed.

        Raises:
            StreamEnded: it did not answer.
        """
        with _ours():
            await self._client.unsubscribe(topic)

    async def read(self) -> Received:
        """The next message.

        Raises:
            StreamEnded: the connection broke.
        """
        message = await self._arrived.get()
        if message is None:
            self._arrived.put_nowait(None)  # for whoever asks again
            raise StreamEnded(self._why)
        return message

    def ack(self, message: Received) -> None:
        """Done with a message; the broker may send another."""
        self._paho.ack(message.mid, message.qos)

    def _on_message(self, _client: object, _data: object, message: MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        takes_parts = _PARTS in getattr(message.properties, "UserProperty", ())
        payload = bytes(message.payload)
        self._arrived.put_nowait(
            Received(message.topic, payload, correlation, message.retain, message.mid, message.qos, takes_parts)
        )

    def _on_disconnected(self, ended: asyncio.Future[None]) -> None:
        error = None if ended.cancelled() else ended.exception()
        self._why = f"the broker: {error or 'the connection has ended'}"
        self._arrived.put_nowait(None)


@asynccontextmanager
async def connected(
    dial: Dial, identifier: str, *, will_topic: str = "", will: bytes = b"", receive_maximum: int
) -> AsyncIterator[Connection]:
    """Connect anew: nothing of an earlier connection is kept. Leaving disconnects; the will is for all other endings.

    Args:
        dial: the broker; its TLS certificate names us there.
        identifier: a connection under the same one is ended by the broker.
        will_topic: where the will is retained; without one there is no will.
        will: no bytes remove what is retained there.
        receive_maximum: messages that the broker may send before one of them is acknowledged.

    Raises:
        StreamEnded: no connection, or it ended.
        CertificateUnusable: a TLS file cannot be read.
    """
    host, port = dial.address
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = receive_maximum
    client = aiomqtt.Client(
        host,
        port,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        keepalive=KEEPALIVE_S,
        timeout=_TIMEOUT_S,
        will=aiomqtt.Will(will_topic, will, qos=1, retain=True) if will_topic else None,
        properties=properties,
        tls_context=None if dial.tls is None else _context(dial.tls),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        max_inflight_messages=1024,
        logger=_log,
    )
    client._client.manual_ack_set(True)
    limits = _noting_limits(client)
    with _ours():
        async with client:
            yield Connection(client, limits.get("MaximumPacketSize", MAX_MESSAGE_BYTES) - _HEADER_BYTES)


def _noting_limits(client: aiomqtt.Client) -> dict[str, int]:
    """Filled with what the broker says of itself as it accepts the connection."""
    paho, found = client._client, dict[str, int]()
    usual: Any = paho.on_connect

    def on_connect(*arguments: Any) -> None:
        found.update({} if arguments[-1] is None else arguments[-1].json())
        usual(*arguments)

    paho.on_connect = on_connect
    return found


class _ours:
    """Turns aiomqtt's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, aiomqtt.MqttError):
            raise StreamEnded(f"the broker: {error}") from error


def _properties(correlation: bytes, expiry_s: float, takes_parts: bool) -> Any:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if correlation:
        properties.CorrelationData = correlation
    if math.isfinite(expiry_s):
        properties.MessageExpiryInterval = max(1, math.ceil(expiry_s))
    if takes_parts:
        properties.UserProperty = _PARTS
    return properties


def _context(tls: CallerTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as exc:
        raise CertificateUnusable("tls", str(tls.certificate), exc.strerror or str(exc)) from exc
    return context

"""Answers to an MQTT 5 broker: at least once, one message each; the key in it tells which were delivered again."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device.errors import SinkError
from device.sinks.sink import Delivery
from transport.settings import CallerTls

KEEPALIVE_S = 30
_UNKNOWN = "nobody answered"


class Mqtt:
    """Publishes with quality of service 1: an answer has arrived when the broker has said so.

    The connection is made at the first delivery and kept. After any failure it is given up with all that waits in it,
    so that nothing old is sent beside the next attempt.

    Args:
        target: the broker's host and port.
        topic: of all answers.
        tls: without it, plainly: for a broker on this machine.
        timeout_s: for making the connection, and then for a batch of answers.
        make: makes the client; for tests.
    """

    def __init__(
        self,
        target: tuple[str, int],
        topic: str,
        tls: CallerTls | None,
        timeout_s: float,
        make: Callable[[], Client] = lambda: Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5),
    ) -> None:
        self._target = target
        self._topic = topic
        self._tls = tls
        self._timeout_s = timeout_s
        self._make = make
        self._client: Client | None = None
        self._answered = threading.Event()
        self._greeting = _UNKNOWN
        self._refusals: dict[int, str] = {}
        self._content = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self._content.ContentType = "application/json"

    def put(self, deliveries: Sequence[Delivery]) -> None:
        try:
            client = self._client or self._connect()
            self._publish(client, deliveries)
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connect(self) -> Client:
        client = self._client = self._make()
        if self._tls is not None:
            client.tls_set_context(self._context(self._tls))
        client.on_connect = self._greeted
        client.on_publish = self._published
        client.connect_timeout = self._timeout_s
        self._answered.clear()
        self._greeting, self._refusals = _UNKNOWN, {}
        try:
            client.connect(*self._target, keepalive=KEEPALIVE_S, clean_start=True)
        except (OSError, ValueError) as exc:
            raise SinkError(f"the broker at {self._told} cannot be reached: {exc}; check sinks.target") from exc
        client.loop_start()
        self._answered.wait(self._timeout_s)
        if self._greeting:
            raise SinkError(f"the broker at {self._told} did not take this device: {self._greeting}; check its rules")
        return client

    def _publish(self, client: Client, deliveries: Sequence[Delivery]) -> None:
        end_s = time.monotonic() + self._timeout_s
        sent = [client.publish(self._topic, one.to_json(), qos=1, properties=self._content) for one in deliveries]
        for one in sent:
            if not _arrived(one, end_s):
                raise SinkError(f"the broker at {self._told} did not confirm answers in {self._timeout_s:g} s")
            if one.mid in self._refusals:
                why = self._refusals[one.mid]
                raise SinkError(f"the broker at {self._told} refused an answer on {self._topic!r}: {why}")

    def _greeted(self, _client: Client, _data: Any, _flags: Any, code: ReasonCode, _more: Properties | None) -> None:
        self._greeting = str(code) if code.is_failure else ""
        self._answered.set()

    def _published(self, _client: Client, _data: Any, number: int, code: ReasonCode, _more: Properties | None) -> None:
        if code.is_failure:
            self._refusals[number] = str(code)

    def _context(self, tls: CallerTls) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(tls.ca))
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as exc:
            raise SinkError(f"sinks.tls: a file cannot be used: {exc}; check ca, certificate and key") from exc
        return context

    @property
    def _told(self) -> str:
        return f"{self._target[0]}:{self._target[1]}"


def _arrived(one: MQTTMessageInfo, end_s: float) -> bool:
    if one.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
        return False
    one.wait_for_publish(max(0.0, end_s - time.monotonic()))
    return one.is_published()

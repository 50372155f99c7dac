"""A caller's stream to a group of workers behind an MQTT broker."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from protocol import chunks
from protocol.errors import LocalProtocolError
from protocol.packing import unpack
from protocol.topics import Topics
from protocol.wire import CANCEL_TAG, FRAME_TAG, FRONT_TAG, HELLO_TAG, answered_id_of, frame_id_of
from transport.errors import CertificateUnusable, NameUnusable
from transport.mqtt_connection import Connection, Received, connected
from transport.seam import Outgoing, Stream, StreamEnded
from transport.settings import Dial

NONCE_BYTES: Final = 8
NUMBER_BYTES: Final = 8
PART: Final = b"\x01"
"""Behind the nonce in the correlation data of a message that is a part of an answer."""
RECEIVE_MAXIMUM: Final = 1024
"""Answers that may wait here; credits bound them already."""

_log = logging.getLogger(__name__)


class MqttStream:
    """Frames go to whichever worker takes them, chunks to the one whose welcome came first.

    Everything carries this stream's nonce and a number, so that workers know a message that the broker delivers twice
    and answers to an earlier stream of this caller are not taken for ours.
    """

    whole_bytes = 0

    def __init__(self, connection: Connection, topics: Topics, caller: str, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._topics = topics
        self._caller = caller
        self._clock = clock
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._number = 0
        self._worker = ""
        self._open: set[int] = set()
        """Frames without an answer."""
        self._assembly = chunks.Assembly()
        """Answers of which parts have come."""
        self._in_parts: set[int] = set()
        """Frames of which chunks went to `_worker`."""

    @property
    def most_bytes(self) -> int:
        return self._connection.most_bytes

    async def read(self) -> Sequence[bytes]:
        """First a worker's welcome, then answers."""
        while True:
            message = await self._connection.read()
            self._connection.ack(message)
            kind, _, worker = self._topics.parse(message.topic)
            if kind == "workers":
                found = self._welcomed(worker, message)
                if found:
                    return found
            elif message.correlation[:NONCE_BYTES] == self._nonce and not message.retained:
                answers = self._answers(message)
                for answer in answers:
                    self._settle(answered_id_of(answer))
                if answers:
                    return answers

    def _answers(self, message: Received) -> Sequence[bytes]:
        """What a worker has sent, none while a part is missing."""
        if message.correlation[NONCE_BYTES:] != PART:
            return unpack(message.payload)
        whole = self._assembly.add(chunks.decode_chunk(message.payload))
        return () if whole is None else (whole,)

    async def write(self, messages: Sequence[Outgoing]) -> None:
        """Publish each message where it belongs."""
        for data, due_s in messages:
            if data[:1] == HELLO_TAG:
                await self._connection.retain(self._topics.callers(self._caller), data)
                await self._connection.subscribe(self._topics.of_caller(self._caller))
                continue
            self._number += 1
            correlation = self._nonce + self._number.to_bytes(NUMBER_BYTES, "big")
            expiry_s = due_s - self._clock() if due_s > 0 else 1.0
            topic = self._topic_of(data)
            self._connection.publish(topic, data, correlation=correlation, expiry_s=expiry_s, takes_parts=True)

    def _topic_of(self, data: bytes) -> str:
        first = data[:1]
        if first == chunks.TAG:
            number = chunks.decode_chunk(data).id
            self._open.add(number)
            self._in_parts.add(number)
            return self._topics.to(self._worker, self._caller)
        if first == FRONT_TAG:
            return self._topics.to(self._worker, self._caller)
        if first == CANCEL_TAG:
            in_parts = answered_id_of(data) in self._in_parts
            return self._topics.to(self._worker, self._caller) if in_parts else self._topics.notes(self._caller)
        if first == FRAME_TAG:
            self._open.add(frame_id_of(data))
        return self._topics.frames(self._caller)

    def _settle(self, frame_id: int) -> None:
        self._open.discard(frame_id)
        self._in_parts.discard(frame_id)

    def _welcomed(self, worker: str, message: Received) -> Sequence[bytes]:
        """Take note of a worker that came, died or left; the welcome of the first.

        Raises:
            StreamEnded: ours left, or one died that may have had frames of ours.
        """
        is_welcome = message.payload[:1] == HELLO_TAG
        if not self._worker:
            if is_welcome:
                self._worker = worker
                return (message.payload,)
        elif not is_welcome and worker == self._worker:
            raise StreamEnded(f"worker {worker} has gone")
        elif message.payload and not is_welcome and not message.retained and self._open:
            raise StreamEnded(f"worker {worker} has died, perhaps with frames of this stream")
        return ()


class MqttConnector:
    """Opens streams to the workers of a group.

    Raises:
        NameUnusable: the caller's name or the group's cannot stand in a topic.
    """

    def __init__(self, dial: Dial, caller: str, clock: Callable[[], float]) -> None:
        assert dial.group is not None
        self._dial = dial
        self._caller = caller
        self._clock = clock
        try:
            self._topics = Topics(dial.group)
            self._presence = self._topics.callers(caller)
        except LocalProtocolError as exc:
            raise NameUnusable(str(exc)) from exc

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stream]:
        """A stream over a connection of its own."""
        try:
            async with connected(
                self._dial,
                f"{self._topics.group}.caller.{self._caller}",
                will_topic=self._presence,
                will=b"",
                receive_maximum=RECEIVE_MAXIMUM,
            ) as connection:
                try:
                    yield MqttStream(connection, self._topics, self._caller, self._clock)
                finally:
                    with suppress(StreamEnded):
                        connection.publish(self._presence, b"", retain=True)
        except CertificateUnusable as exc:
            _log.error("%s", exc)
            raise StreamEnded(str(exc)) from exc

"""A tier as a worker behind an MQTT broker: shares a group's frames with the other workers of the group."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from protocol import chunks
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import MAX_BUNDLES_IN_HELLO, MAX_CREDITS
from protocol.messages import Hello, Load, Refusal, Welcome, encode_downward, encode_upward
from protocol.packing import unpack
from protocol.replay import Seen
from protocol.session import ServerSession
from protocol.topics import Topics
from protocol.wire import FRAME_TAG, HELLO_TAG, answered_id_of, frame_id_of
from transport.admission import Admission, Caller, Revoked, TurnedAway
from transport.background import ended
from transport.errors import NameUnusable
from transport.mqtt_connection import Connection, Received, connected
from transport.mqtt_stream import NONCE_BYTES, NUMBER_BYTES, PART
from transport.seam import Outgoing, StreamEnded
from transport.server import Identity
from transport.settings import Broker, Quotas
from transport.stream import Handler, TierStream

MOST_STREAMS: Final = 1024
"""Of all callers together; more are refused."""
_PART_FRAMING_BYTES: Final = 64
"""What a part may need besides its bytes."""
_AGE_S: Final = 3600.0
_ANSWER_EXPIRY_S: Final = 60.0
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 2.0
_GONE: Final = encode_downward(Refusal(0, Code.DRAINING, "this worker is gone"))
_log = logging.getLogger(__name__)
_QUOTAS: Final = Quotas()

Key = tuple[str, bytes]
"""A caller's name, and the nonce of its stream."""


class _Pipe:
    """One caller's stream, as `TierStream` reads and writes it.

    A message is acknowledged to the broker when its frame has been answered, so that the receive maximum bounds the
    frames that are here; all others at once.
    """

    whole_bytes = 0

    def __init__(self, connection: Connection, topic: str, nonce: bytes, hello: Hello) -> None:
        self.most_bytes = connection.most_bytes
        self.seen = Seen()
        self._connection = connection
        self._topic = topic
        self._nonce = nonce
        self._arrived: asyncio.Queue[Sequence[bytes]] = asyncio.Queue()
        self._arrived.put_nowait((encode_upward(hello),))
        self._unanswered: dict[int, Received] = {}
        self._takes_parts = False

    def put(self, message: Received) -> None:
        """A message of the caller has come.

        Raises:
            RemoteProtocolError: it is a pack that cannot be read.
        """
        self._takes_parts = message.takes_parts
        messages = unpack(message.payload)
        frame_ids = [frame_id_of(data) for data in messages if data[:1] == FRAME_TAG]
        if len(frame_ids) == 1 and frame_ids[0] and frame_ids[0] not in self._unanswered:
            self._unanswered[frame_ids[0]] = message
        else:
            self._connection.ack(message)
        self._arrived.put_nowait(messages)

    def end(self) -> None:
        """Nothing more comes."""
        self._arrived.put_nowait(())

    async def read(self) -> Sequence[bytes]:
        """The next messages of the caller."""
        return await self._arrived.get()

    async def write(self, messages: Sequence[Outgoing]) -> None:
        """Publish what is for the caller; it has its welcome from the retained one."""
        for data, _ in messages:
            if data[:1] == HELLO_TAG:
                continue
            number = answered_id_of(data) if data[:1] != chunks.TAG else 0
            for part, correlation in self._parts_of(data, number):
                self._connection.publish(self._topic, part, correlation=correlation, expiry_s=_ANSWER_EXPIRY_S)
            answered = self._unanswered.pop(number, None)
            if answered is not None:
                self._connection.ack(answered)

    def _parts_of(self, data: bytes, number: int) -> Iterator[tuple[bytes, bytes]]:
        """Payloads that the broker takes, and their correlation data."""
        if len(data) <= self.most_bytes:
            yield data, self._nonce
        elif self._takes_parts:
            size = self.most_bytes - _PART_FRAMING_BYTES
            for offset in range(0, len(data), size):
                part = chunks.Chunk(number, len(data), offset, data[offset : offset + size])
                yield chunks.encode_chunk(part), self._nonce + PART
        else:
            _log.error("the answer to frame %d has %d bytes, more than the broker takes", number, len(data))
            yield encode_downward(Refusal(number, Code.INTERNAL, "the answer is too large for the broker")), self._nonce

    def give_back(self) -> None:
        """Acknowledge what will not be answered."""
        for message in self._unanswered.values():
            self._connection.ack(message)
        self._unanswered.clear()


class MqttWorker:
    """Serves frames that come over a broker, with the same handler as a `FrameServer`. Reconnects for ever.

    Who a caller is, the broker decides: its rules (`protocol.topics.rules_of_caller`) let each write under its own name
    only. Frames of one stream may be shared out among workers, so each worker has its own session of it.

    Args:
        handler: what to do with a frame.
        broker: where, and the group to work for.
        identity: what the welcome says.
        name: of this worker, unlike those of the others.
        credits: frames of one stream unanswered here; also the messages that the broker sends ahead.
        load: how busy the tier is now.
        clock: monotonic seconds.
        quotas: of each caller, by name.
        revoked: callers who are welcome no more; None where nobody is shut out.

    Raises:
        NameUnusable: the worker's name cannot stand in a topic.
    """

    def __init__(
        self,
        handler: Handler,
        broker: Broker,
        identity: Identity,
        *,
        name: str,
        credits: int = 32,
        load: Callable[[], Load] = Load,
        clock: Callable[[], float] = time.monotonic,
        quotas: Quotas = _QUOTAS,
        revoked: Revoked | None = None,
    ) -> None:
        broker.require_safe()
        self.reason = "not connected yet"
        """Why there is no connection; empty while there is one."""
        self._handler = handler
        self._broker = broker
        self._identity = identity
        self._credits = credits
        self._load = load
        self._clock = clock
        self._admission = Admission(quotas, revoked, clock)
        self._topics = Topics(broker.group)
        try:
            self._presence = self._topics.workers(name)
        except LocalProtocolError as exc:
            raise NameUnusable(str(exc)) from exc
        self._name = name
        self._pipes: dict[Key, _Pipe] = {}
        self._streams: dict[Key, tuple[TierStream, asyncio.Task[None]]] = {}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._left = False
        """Whether it has said goodbye."""

    def start(self) -> None:
        """Begin to connect, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_working(), name="MQTT worker")

    async def ended(self) -> None:
        """Return when it works no more, after `stop` or `drain`; or raise what broke it, which is a defect."""
        await ended(self._task)

    async def until_ready(self) -> None:
        """Return as soon as frames can come; put a timeout around it."""
        await self._connected.wait()

    async def drain(self, timeout_s: float) -> int:
        """Take no more frames, answer those that are here, and leave.

        Returns:
            Streams that were not done in time.
        """
        late = 0
        if self._connection is not None:
            with suppress(StreamEnded):
                await self._connection.unsubscribe(self._topics.shared_frames())
            waits = [asyncio.create_task(stream.until_idle()) for stream, _ in self._streams.values()]
            if waits:
                _, pending = await asyncio.wait(waits, timeout=timeout_s)
                late = len(pending)
                for task in pending:
                    task.cancel()
            with suppress(StreamEnded):
                await self._connection.retain(self._presence, b"")
                self._left = True
        await self.stop()
        return late

    async def stop(self) -> None:
        """Leave; what is here is given up."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep_working(self) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                await self._work()
            except StreamEnded as exc:
                if str(exc) != self.reason:
                    _log.warning("no frames over %s: %s", self._broker.target, exc)
                delay_s = _FIRST_DELAY_S if self._connected.is_set() else min(2 * delay_s, _LONGEST_DELAY_S)
                self.reason = str(exc)
            finally:
                self._connection = None
                self._connected.clear()
                await self._end_all()
            await asyncio.sleep(delay_s * (1.0 - 0.5 * random.random()))

    async def _work(self) -> None:
        """Connect and take frames until the connection ends."""
        async with connected(
            self._broker,
            f"{self._topics.group}.worker.{self._name}",
            will_topic=self._presence,
            will=_GONE,
            receive_maximum=min(self._credits, MAX_CREDITS),
        ) as connection:
            await connection.subscribe(self._topics.of_worker(self._name))
            await connection.retain(self._presence, encode_downward(self._welcome(None)))
            self._connection, self.reason = connection, ""
            self._connected.set()
            _log.info("works for group %s at %s", self._topics.group, self._broker.target)
            try:
                await self._take_all(connection)
            finally:
                if not self._left:
                    with suppress(StreamEnded):
                        connection.publish(self._presence, _GONE, retain=True)

    async def _take_all(self, connection: Connection) -> None:
        while True:
            message = await connection.read()
            try:
                self._take(connection, message)
            except RemoteProtocolError as exc:
                _log.info("ignored a message on %r: %s", message.topic, exc)
                connection.ack(message)

    def _take(self, connection: Connection, message: Received) -> None:
        """Give a message to the stream that it belongs to.

        Raises:
            RemoteProtocolError: it belongs to none.
        """
        kind, caller, _ = self._topics.parse(message.topic)
        if message.retained and kind != "callers":
            raise RemoteProtocolError(Code.MALFORMED, "the message was left behind for whoever comes")
        if kind == "callers":
            connection.ack(message)
            if not message.payload:
                self._end_of(caller)
            return
        if len(message.correlation) != NONCE_BYTES + NUMBER_BYTES:
            raise RemoteProtocolError(Code.MALFORMED, "the message carries no nonce and number")
        key = caller, message.correlation[:NONCE_BYTES]
        pipe = self._pipes.get(key)
        if pipe is None:
            pipe = self._open(connection, key)
        if pipe.seen.is_new(int.from_bytes(message.correlation[NONCE_BYTES:], "big")):
            pipe.put(message)
        else:
            _log.info("a message of %r came again", caller)
            connection.ack(message)

    def _open(self, connection: Connection, key: Key) -> _Pipe:
        """A stream begins with its first message.

        Raises:
            RemoteProtocolError: this caller, or all together, have as many as they may; the caller is told.
        """
        caller, nonce = key
        certified = Caller(caller, "")
        topic = self._topics.results(caller)
        turned_away = self._admission.enter(certified)
        if turned_away is None and len(self._pipes) >= MOST_STREAMS:
            self._admission.leave(certified)
            turned_away = TurnedAway(Code.OVERLOADED, "this worker has as many streams as it may; come back later")
        if turned_away is not None:
            refusal = Refusal(0, turned_away.code, turned_away.detail, turned_away.retry_after_us)
            connection.publish(topic, encode_downward(refusal), correlation=nonce, expiry_s=_ANSWER_EXPIRY_S)
            raise RemoteProtocolError(turned_away.code, turned_away.detail)
        served = tuple(self._identity.bundles())[:MAX_BUNDLES_IN_HELLO]
        pipe = self._pipes[key] = _Pipe(connection, topic, nonce, Hello(caller, served))
        stream = TierStream(
            ServerSession(bundles=self._identity.bundles, welcome=self._welcome),
            pipe,
            caller=certified,
            admission=self._admission,
            handler=self._handler,
            clock=self._clock,
            load=self._load,
            age_s=_AGE_S,
        )
        task = asyncio.get_running_loop().create_task(self._serve(key, stream, pipe), name=f"frames of {caller}")
        self._streams[key] = stream, task
        return pipe

    async def _serve(self, key: Key, stream: TierStream, pipe: _Pipe) -> None:
        try:
            await stream.run()
        finally:
            self._admission.leave(Caller(key[0], ""))
            if self._pipes.get(key) is pipe:
                del self._pipes[key], self._streams[key]
            with suppress(StreamEnded):
                pipe.give_back()

    def _end_of(self, caller: str) -> None:
        """A caller has gone: so have its streams."""
        for (name, _), pipe in list(self._pipes.items()):
            if name == caller:
                pipe.end()

    async def _end_all(self) -> None:
        tasks = [task for _, task in self._streams.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._pipes.clear()
        self._streams.clear()

    def _welcome(self, _hello: Hello | None) -> Welcome:
        served = tuple(self._identity.bundles())[:MAX_BUNDLES_IN_HELLO]
        return Welcome(self._identity.tier, served, self._credits, load=self._load(), takes_fronts=True)

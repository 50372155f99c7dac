"""Messages over QUIC: frames and answers in datagrams with redundancy, all others in order. Experimental.

What is lost is made up for by further fragments until it has come, is answered, or its time has passed; nothing waits
behind it. Needs the extra `quic`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from protocol.errors import Code
from protocol.fragments import (
    MOST_MESSAGE_BYTES,
    MOST_NOTED,
    Fragment,
    Gathering,
    Note,
    decode_datagram,
    encode_note,
    fragment_head,
)
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.messages import Refusal, encode_downward
from protocol.partial import Partial, split_frame
from protocol.wire import FRAME_TAG, answered_id_of, frame_id_of
from transport.errors import CertificateUnusable
from transport.flight import NOTE_DELAY_S, Added, Flight, GivenUp
from transport.quic_connection import Arrival, QuicEnd, quic_to
from transport.seam import Outgoing, Stream, StreamEnded
from transport.settings import Dial

_DATAGRAM_TAG: Final = FRAME_TAG
"""First byte of what goes in datagrams: frames up, results down."""
_RENOTED_S: Final = 0.05
"""Fragments of a message that was noted longer ago say that the note was lost."""
_UNDELIVERED: Final = "the frame's time passed before all of it had come through"

_log = logging.getLogger(__name__)


class DatagramStream:
    """Either end of a connection.

    Args:
        end: the connection.
        role: a caller's frames that are not delivered in time are refused here; a tier's answers then go in order.
            A frame whose payload is a set of packets goes as frames of one packet each: redundancy is for the first
            of them, and the tier does without those that have not come in time.
        clock: monotonic seconds, those of the event loop.
    """

    most_bytes = MAX_MESSAGE_BYTES
    whole_bytes = MOST_MESSAGE_BYTES

    def __init__(self, end: QuicEnd, role: Literal["caller", "tier"], clock: Callable[[], float]) -> None:
        self._end = end
        self._role = role
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._flight = Flight(clock)
        self._gathering = Gathering()
        self._partial = Partial()
        self._frames: dict[int, list[int]] = {}
        """A caller's frames under way, to the numbers of their messages."""
        self._complete: deque[int] = deque(maxlen=MOST_NOTED)
        self._noted_s: dict[int, float] = {}
        """When the messages of `_complete` were noted."""
        self._note_timer: asyncio.TimerHandle | None = None
        self._overdue_timer: asyncio.TimerHandle | None = None

    @property
    def loss(self) -> float:
        """The share of fragments that are lost on the way there, as far as is known."""
        return self._flight.loss.share

    def close(self) -> None:
        """Send nothing more by itself."""
        for timer in (self._note_timer, self._overdue_timer):
            if timer is not None:
                timer.cancel()

    async def read(self) -> Sequence[bytes]:
        """The next messages.

        Raises:
            StreamEnded: the connection has ended.
            RemoteProtocolError: the other end sent what it may not.
        """
        while True:
            arrival: Arrival | None = await self._end.read()
            found: list[bytes] = []
            while arrival is not None:
                message = self._taken(arrival)
                if message is not None and self._role == "tier" and not isinstance(arrival, tuple):
                    found += self._partial.add(message, self._clock())
                elif message is not None:
                    found.append(message)
                arrival = self._end.read_now()
            self._arm()
            if found:
                return found

    async def write(self, messages: Sequence[Outgoing]) -> None:
        """Send what the congestion window allows; returns when little waits for it.

        Raises:
            StreamEnded: the connection has ended.
        """
        for data, due_s in messages:
            if data[:1] == _DATAGRAM_TAG and len(data) <= MOST_MESSAGE_BYTES:
                self._launch(data, due_s)
            else:
                self._end.send_record(0, data)
        self._arm()
        await self._end.room()

    def _launch(self, data: bytes, due_s: float) -> None:
        parts = split_frame(data) if self._role == "caller" else [data]
        launched = [self._flight.launch(part, due_s, spare=not place) for place, part in enumerate(parts)]
        if self._role == "caller":
            self._frames[frame_id_of(data)] = [number for number, _ in launched]
        if self._note_timer is not None:
            self._put_note()  # in the same packet
        self._end.send_datagrams([datagram for _, datagrams in launched for datagram in datagrams])

    def _taken(self, arrival: Arrival) -> bytes | None:
        """The message that came, if one is whole now and was not told before."""
        if isinstance(arrival, tuple):
            number, message = arrival
            return None if number and not self._gathering.is_new(number) else self._answered(message)
        match decode_datagram(arrival):
            case Note() as note:
                for number in self._flight.noted(note):
                    self._useless(number)
                return None
            case Fragment() as fragment:
                whole = self._gathering.add(fragment)
                self._owe_note(fragment.number, is_whole=whole is not None)
                return None if whole is None else self._answered(whole)

    def _answered(self, message: bytes) -> bytes:
        """A caller's frame that is answered has come, whether or not a note says so."""
        if self._role == "caller":
            for number in self._frames.pop(answered_id_of(message), ()):
                if self._flight.landed(number):
                    self._useless(number)
        return message

    def _useless(self, number: int) -> None:
        """What still waits of a message that has come, or is too late, does not leave any more."""
        head = fragment_head(number)
        self._flight.not_sent(self._end.take_back(lambda datagram: datagram.startswith(head)))

    def _owe_note(self, number: int, *, is_whole: bool) -> None:
        now_s = self._clock()
        if is_whole:
            if len(self._complete) == MOST_NOTED:
                del self._noted_s[self._complete[0]]
            self._complete.append(number)
            self._noted_s[number] = math.inf
        elif not self._noted_s.get(number, math.inf) < now_s - _RENOTED_S:
            return
        if self._note_timer is None:
            self._note_timer = self._loop.call_later(NOTE_DELAY_S, self._note)

    def _note(self) -> None:
        self._put_note()
        self._end.transmit()

    def _put_note(self) -> None:
        if self._note_timer is not None:
            self._note_timer.cancel()
            self._note_timer = None
        now_s = self._clock()
        self._noted_s.update((number, now_s) for number in self._complete if self._noted_s[number] == math.inf)
        self._end.put_before_others([encode_note(Note(self._gathering.received, tuple(self._complete)))])

    def _arm(self) -> None:
        due_s = min(self._flight.next_s, self._partial.next_s)
        if self._overdue_timer is not None:
            if self._overdue_timer.when() == due_s:
                return
            self._overdue_timer.cancel()
        self._overdue_timer = None if due_s == math.inf else self._loop.call_at(due_s, self._overdue)

    def _overdue(self) -> None:
        self._overdue_timer = None
        for action in self._flight.overdue(lambda number: self._end.waits(fragment_head(number))):
            match action:
                case Added(_, datagrams):
                    self._end.put_before_others(datagrams)
                    self._end.transmit()
                case GivenUp(number, message):
                    self._useless(number)
                    self._give_up(number, message)
        for message in self._partial.overdue(self._clock()):
            self._end.tell((0, message))
        self._arm()

    def _give_up(self, number: int, message: bytes) -> None:
        if self._role == "tier":
            self._end.send_record(number, message)
            return
        frame_id = frame_id_of(message)
        if self._frames.pop(frame_id, None) is None:
            return  # another packet of it was given up before
        self._end.tell((0, encode_downward(Refusal(frame_id, Code.EXPIRED, _UNDELIVERED))))


class DatagramConnector:
    """Opens streams to a tier that listens for QUIC. The clock is the event loop's."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stream]:
        """A stream over a connection of its own."""
        try:
            async with quic_to(self._dial) as end:
                stream = DatagramStream(end, "caller", asyncio.get_running_loop().time)
                try:
                    yield stream
                finally:
                    stream.close()
        except CertificateUnusable as exc:
            _log.error("%s", exc)
            raise StreamEnded(str(exc)) from exc

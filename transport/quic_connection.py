"""One end of a QUIC connection: records in order on one stream, and datagrams beside it.

aioquic hides some things that are needed here: which datagrams wait for the congestion window, how much of a stream
waits, and that a server asks for the caller's certificate. They are read from its private attributes, here alone; where
a newer version has none of them, callers are refused and nothing is let in.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from aioquic import tls as quic_tls
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    PingAcknowledged,
    QuicEvent,
    StreamDataReceived,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import MAX_MESSAGE_BYTES
from transport import veno
from transport.admission import Caller
from transport.errors import CertificateUnusable
from transport.seam import StreamEnded
from transport.settings import CallerTls, Dial

ALPN: Final = "isthmus/1"
IDLE_S: Final = 60.0
"""A connection that hears nothing for so long has ended."""
_PING_S: Final = 20.0
_DELIVERED: Final = 1
"""The ping of `delivered`."""
_STREAM: Final = 0
"""The one stream, opened by the caller."""
_HEAD: Final = struct.Struct(">II")
_UNSENT_BYTES: Final = 4 << 10
"""Beyond these and a congestion window no more is taken to be sent: where it waits instead, the urgent goes first."""
_WAITING_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""That came and were not read; beyond these the connection is ended."""
_FRAME_BYTES: Final = 65536
_ANY: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}

_log = logging.getLogger(__name__)

Record = tuple[int, bytes]
"""A number, 0 where it is no copy of a message in datagrams, and a message."""
Arrival = Record | bytes
"""A record, or a datagram."""


class QuicEnd(QuicConnectionProtocol):
    """Either end.

    Attributes:
        handshaken: set when the other end has proven what it has to, or the connection has ended.
        why: the connection has ended; empty while it has not.
    """

    def __init__(self, quic: QuicConnection, *_: Any, **__: Any) -> None:
        super().__init__(quic)
        self.handshaken = asyncio.Event()
        self.why = ""
        self._arrived: asyncio.Queue[Arrival | StreamEnded | RemoteProtocolError] = asyncio.Queue()
        self._waiting_bytes = 0
        self._unread = bytearray()
        self._echoed = asyncio.Event()
        self._spacious = asyncio.Event()
        self._spacious.set()

    def send_record(self, number: int, message: bytes) -> None:
        """Send a message so that it arrives, in order with the others sent like this."""
        self._quic.send_stream_data(_STREAM, _HEAD.pack(number, len(message)) + message)
        self.transmit()

    def send_datagrams(self, datagrams: Iterable[bytes]) -> None:
        """Send each in a packet of its own, so far as the congestion window goes; the others follow when it allows."""
        for datagram in datagrams:
            self._quic.send_datagram_frame(datagram)
            self.transmit()

    def put_before_others(self, datagrams: Sequence[bytes]) -> None:
        """Have datagrams go ahead of those that wait, with the next packet that leaves; `transmit` makes one leave."""
        self._quic._datagrams_pending.extendleft(reversed(datagrams))

    def take_back(self, is_useless: Callable[[bytes], bool]) -> int:
        """Drop datagrams that still wait for the congestion window; how many."""
        pending = self._quic._datagrams_pending
        kept = [datagram for datagram in pending if not is_useless(datagram)]
        dropped = len(pending) - len(kept)
        if dropped:
            pending.clear()
            pending.extend(kept)
        return dropped

    def waits(self, head: bytes) -> bool:
        """Whether a datagram that begins like this waits for the congestion window."""
        return any(datagram.startswith(head) for datagram in self._quic._datagrams_pending)

    async def room(self) -> None:
        """Wait until little waits to be sent."""
        await self._spacious.wait()

    async def delivered(self, timeout_s: float = 1.0) -> None:
        """Wait until the other end has acknowledged a ping that was sent behind all else, or for `timeout_s`."""
        self._echoed.clear()
        self.send_ping(_DELIVERED)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._echoed.wait()

    def send_ping(self, number: int = 0) -> None:
        """Have the other end acknowledge a packet."""
        self._quic.send_ping(number)
        self.transmit()

    async def read(self) -> Arrival:
        """What comes next.

        Raises:
            StreamEnded: the connection has ended.
            RemoteProtocolError: the other end broke the rules of records.
        """
        found = await self._arrived.get()
        if isinstance(found, Exception):
            self._arrived.put_nowait(found)  # for whoever asks again
            raise found
        self._waiting_bytes -= _size_of(found)
        return found

    def read_now(self) -> Arrival | None:
        """What has come already, if anything has."""
        if self._arrived.empty():
            return None
        found = self._arrived.get_nowait()
        if isinstance(found, Exception):
            self._arrived.put_nowait(found)
            return None
        self._waiting_bytes -= _size_of(found)
        return found

    def caller(self, client_ca: Path) -> Caller | None:
        """Who the other end has proven to be, if an authority signed it for callers; else None.

        The handshake has checked that the other end has the certificate's key.
        """
        context = self._quic.tls
        certificate: x509.Certificate | None = context._peer_certificate
        if certificate is None:
            return None
        try:
            quic_tls.verify_certificate(certificate, context._peer_certificate_chain, cafile=str(client_ca))
            usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        except (quic_tls.Alert, x509.ExtensionNotFound, ValueError, IndexError) as exc:
            _log.warning("a certificate is none of a caller: %s", exc)
            return None
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
            return None
        return Caller(str(name), hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest())

    def tell(self, record: Record) -> None:
        """Have a record read as if it had come."""
        self._put(record)

    def transmit(self) -> None:
        """Send what may be sent now; called by aioquic whenever that may have changed."""
        super().transmit()
        if self._unsent_bytes() > _UNSENT_BYTES + self._quic._loss.congestion_window:
            self._spacious.clear()
        else:
            self._spacious.set()

    def quic_event_received(self, event: QuicEvent) -> None:
        """Called by aioquic."""
        match event:
            case DatagramFrameReceived(data=data):
                if self._waiting_bytes < _WAITING_BYTES:  # else it is lost, as datagrams may be
                    self._put(data)
            case StreamDataReceived(data=data, stream_id=stream_id):
                if stream_id == _STREAM:
                    self._unread += data
                    self._take_records()
            case HandshakeCompleted():
                self.handshaken.set()
            case ConnectionTerminated(reason_phrase=reason, error_code=code):
                self.why = reason or f"closed with code {code}"
                self._arrived.put_nowait(StreamEnded(f"quic: {self.why}"))
                for waited_for in (self._spacious, self._echoed, self.handshaken):
                    waited_for.set()
            case PingAcknowledged(uid=number):
                if number == _DELIVERED:
                    self._echoed.set()
            case _:
                return

    def _take_records(self) -> None:
        while len(self._unread) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._unread)
            if size > MAX_MESSAGE_BYTES or self._waiting_bytes > _WAITING_BYTES:
                self._arrived.put_nowait(
                    RemoteProtocolError(Code.TOO_LONG, f"a message of {size} bytes, or more than is read, was sent")
                )
                self._unread.clear()
                self.close()
                return
            if len(self._unread) < _HEAD.size + size:
                return
            message = bytes(self._unread[_HEAD.size : _HEAD.size + size])
            del self._unread[: _HEAD.size + size]
            self._put((number, message))

    def _put(self, arrival: Arrival) -> None:
        self._waiting_bytes += _size_of(arrival)
        self._arrived.put_nowait(arrival)

    def _unsent_bytes(self) -> int:
        stream = self._quic._streams.get(_STREAM)
        waiting = 0 if stream is None else sum(span.stop - span.start for span in stream.sender._pending)
        return waiting + sum(map(len, self._quic._datagrams_pending))


def _size_of(arrival: Arrival) -> int:
    return len(arrival) if isinstance(arrival, bytes) else len(arrival[1])


def asking_for_certificate(quic: QuicConnection) -> None:
    """Have a server's connection ask for the caller's certificate, which aioquic can do but has no setting for."""
    initialise = quic._initialize

    def initialised(peer_cid: bytes) -> None:
        initialise(peer_cid)
        quic.tls._request_client_certificate = True

    quic._initialize = initialised  # type: ignore[method-assign]


def configuration(*, is_client: bool) -> QuicConfiguration:
    """What both ends agree on."""
    veno.register()
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        max_datagram_frame_size=_FRAME_BYTES,
        idle_timeout=IDLE_S,
        congestion_control_algorithm=veno.NAME,
    )


@asynccontextmanager
async def quic_to(dial: Dial) -> AsyncIterator[QuicEnd]:
    """A new connection. Leaving closes it.

    Raises:
        StreamEnded: there is no way to the other end now, or it is not who it should be.
        CertificateUnusable: a TLS file cannot be read.
    """
    host, port = dial.address
    settings = configuration(is_client=True)
    if dial.tls is None:
        settings.verify_mode = ssl.CERT_NONE  # loopback only: the tier makes a certificate up
    else:
        _load(settings, dial.tls)
    settings.server_name = settings.server_name or host
    loop = asyncio.get_running_loop()
    try:
        family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        udp, end = await loop.create_datagram_endpoint(
            lambda: QuicEnd(QuicConnection(configuration=settings)), family=family, local_addr=(_ANY[family], 0)
        )
    except OSError as exc:
        raise StreamEnded(f"quic: no way to {dial.target}: {exc.strerror or exc}") from exc
    try:
        end.connect(address)
        await end.handshaken.wait()
        if end.why:
            raise StreamEnded(f"quic: no connection to {dial.target}: {end.why}")
        pinging = loop.create_task(_keep_alive(end), name="QUIC pings")
        try:
            yield end
        finally:
            pinging.cancel()
    finally:
        end.close()
        udp.close()
        await asyncio.sleep(0)  # asyncio closes the socket in its next round


def _load(settings: QuicConfiguration, files: CallerTls) -> None:
    try:
        settings.load_verify_locations(cafile=str(files.ca))
        settings.load_cert_chain(files.certificate, files.key)
        files.ca.read_bytes()
    except (OSError, ValueError, IndexError) as exc:
        raise CertificateUnusable("tls", str(files.certificate), str(exc)) from exc
    settings.server_name = files.server_name


async def _keep_alive(connection: QuicEnd) -> None:
    while True:
        await asyncio.sleep(_PING_S)
        connection.send_ping()

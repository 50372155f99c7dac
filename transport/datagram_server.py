"""The tier's end of streams over QUIC, with the same handler as the gRPC one. Experimental: the extra `quic`."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from protocol.errors import Code
from protocol.messages import Hello, Load, Welcome
from protocol.session import ServerSession
from transport.admission import Admission, Caller, Revoked, TurnedAway
from transport.datagram_stream import DatagramStream
from transport.errors import CertificateUnusable, address_error
from transport.quic_connection import QuicEnd, asking_for_certificate, configuration
from transport.seam import Outgoing
from transport.server import Identity
from transport.settings import Listen, Quotas, Tls
from transport.stream import Handler, TierStream

MOST_STREAMS: Final = 1024
"""All connections together; more are refused."""
MOST_HANDSHAKES: Final = 128
"""Under way at one time; further connections are closed as they begin."""
_AGE_S: Final = 3600.0
_HANDSHAKE_S: Final = 10.0
_SELF_SIGNED_DAYS: Final = 365
_QUOTAS: Final = Quotas()

_log = logging.getLogger(__name__)


class DatagramServer:
    """Serves frame streams over QUIC (UDP). Certificates are read again at new connections when they have changed.

    Args:
        handler: what to do with a frame.
        listen: where; beyond loopback only with TLS and a client CA. On loopback without them QUIC, which knows no
            connections in clear, has a certificate made up for it.
        identity: what the welcome says.
        credits: frames that one stream may have unanswered.
        load: how busy the tier is now.
        clock: monotonic seconds.
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
        quotas: Quotas = _QUOTAS,
    ) -> None:
        listen.require_safe()
        self._handler = handler
        self._listen = listen
        self._identity = identity
        self._credits = credits
        self._load = load
        self._clock = clock
        self._admission = Admission(quotas, Revoked.named_by(listen.tls, clock), clock)
        self._streams: dict[asyncio.Task[None], TierStream | None] = {}
        self._handshakes = 0
        self._certificate: _Certificate | None = None
        self._draining = False
        self._server: QuicServer | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The UDP port listened on; 0 before `start`."""
        return self._port

    async def start(self) -> None:
        """Bind and accept.

        Raises:
            AddressInUse: another program listens there.
            AddressUnusable: the address cannot be bound.
            CertificateUnusable: a TLS file cannot be read.
        """
        listen, settings = self._listen, configuration(is_client=False)
        if listen.tls is None:
            settings.private_key, settings.certificate = _made_up()
        else:
            self._certificate = _Certificate(settings, listen.tls)
        try:
            transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: QuicServer(configuration=settings, create_protocol=self._accept, retry=listen.tls is not None),
                local_addr=(listen.host, listen.port),
            )
        except OSError as exc:
            raise address_error(listen.host, listen.port, exc) from exc
        self._server = server
        self._port = transport.get_extra_info("sockname")[1]

    async def drain(self, timeout_s: float) -> int:
        """Take no more streams, answer what is here, end every stream politely; then stop.

        Returns:
            Streams that were not done in time and were cut.
        """
        self._draining = True
        for stream in self._streams.values():
            if stream is not None:
                stream.drain()
        late = 0
        if self._streams:
            _, pending = await asyncio.wait(list(self._streams), timeout=timeout_s)
            late = len(pending)
        await self.stop()
        return late

    async def stop(self) -> None:
        """Accept no more, cut every stream and close the port."""
        self._draining = True
        server, self._server = self._server, None
        tasks = list(self._streams)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if server is not None:
            server.close()

    def _accept(self, quic: QuicConnection, **_: Any) -> QuicEnd:
        """Called by aioquic for each new connection."""
        end = QuicEnd(quic)
        if self._certificate is not None:
            self._certificate.renew()
            asking_for_certificate(quic)
        if self._handshakes >= MOST_HANDSHAKES:
            quic.close(reason_phrase="too many are at the door; come back later")
            return end
        self._handshakes += 1
        task = asyncio.get_running_loop().create_task(self._serve(end), name="datagram stream")
        self._streams[task] = None
        task.add_done_callback(self._streams.pop)
        return end

    async def _serve(self, end: QuicEnd) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                await end.handshaken.wait()
        except TimeoutError:
            end.close()
            return
        finally:
            self._handshakes -= 1
        if end.why:
            return
        try:
            await self._admit(end)
        finally:
            end.close()

    async def _admit(self, end: QuicEnd) -> None:
        session = ServerSession(bundles=self._identity.bundles, welcome=self._welcome)
        stream = DatagramStream(end, "tier", asyncio.get_running_loop().time)
        caller = None if self._listen.tls is None else end.caller(self._listen.tls.client_ca)
        turned_away = self._turned_away(caller)
        try:
            if turned_away is not None:
                refusal = session.refuse_stream(turned_away.code, turned_away.detail)
                await stream.read()  # a caller reads nothing before it has spoken
                await stream.write([Outgoing(refusal)])
                await end.delivered()
                return
            try:
                await self._converse(session, stream, caller)
                await end.delivered()
            finally:
                if caller is not None:
                    self._admission.leave(caller)
        finally:
            stream.close()

    def _turned_away(self, caller: Caller | None) -> TurnedAway | None:
        """Why a stream is not taken; None if it is, and then counted."""
        if self._draining:
            return TurnedAway(Code.DRAINING, "this tier is shutting down; use another")
        if len(self._streams) > MOST_STREAMS:
            return TurnedAway(Code.OVERLOADED, "this tier has as many streams as it may; come back later")
        if self._listen.tls is None:
            return None
        if caller is None:
            return TurnedAway(Code.FORBIDDEN, "this tier needs a certificate that its authority has signed; enrol")
        return self._admission.enter(caller)

    async def _converse(self, session: ServerSession, stream: DatagramStream, caller: Caller | None) -> None:
        running = TierStream(
            session,
            stream,
            caller=caller,
            admission=self._admission,
            handler=self._handler,
            clock=self._clock,
            load=self._load,
            age_s=_AGE_S,
        )
        task = asyncio.current_task()
        assert task is not None
        self._streams[task] = running
        await running.run()

    def _welcome(self, _hello: Hello) -> Welcome:
        return Welcome(self._identity.tier, tuple(self._identity.bundles()), self._credits, load=self._load())


class _Certificate:
    """The tier's certificate and key, in the settings of connections to come.

    Raises:
        CertificateUnusable: a file cannot be read now. Later, the last readable ones stay in use.
    """

    def __init__(self, settings: QuicConfiguration, files: Tls) -> None:
        self._settings = settings
        self._files = files
        self._stamp = self._look()
        self._load()

    def renew(self) -> None:
        """Read the files again if they have changed."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._load()
        except CertificateUnusable as exc:
            _log.error("%s; the certificate read before stays in use", exc)
            return
        self._stamp = stamp
        _log.info("the certificate has changed; new connections get the new one")

    def _look(self) -> tuple[int, ...]:
        try:
            return tuple(
                number
                for path in (self._files.certificate, self._files.key, self._files.client_ca)
                for number in (path.stat().st_mtime_ns, path.stat().st_size)
            )
        except OSError as exc:
            raise CertificateUnusable("listen.tls", str(self._files.certificate), exc.strerror or str(exc)) from exc

    def _load(self) -> None:
        found = configuration(is_client=False)
        try:
            found.load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ValueError, IndexError) as exc:
            raise CertificateUnusable("listen.tls", str(self._files.certificate), str(exc)) from exc
        ours = self._settings
        ours.certificate, ours.certificate_chain = found.certificate, found.certificate_chain
        ours.private_key = found.private_key


def _made_up() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key, and a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate

"""Whether tiers and receivers can be reached, and what the tiers say."""

from __future__ import annotations

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from device.doctor.case import Case, Fault
from device.sinks.settings import MqttSettings, WebhookSettings
from protocol.messages import Hello
from runtime.bundle import Bundle
from transport.client import FrameClient
from transport.events import ClientEvent, Refused
from transport.settings import CallerTls, Dial

NAME_S = 3.0
CONNECT_S = 3.0


async def names_resolve(case: Case) -> None:
    """The tiers' names have addresses."""
    for table, dial in case.tiers.items():
        await _addresses(f"{table}.target", dial.address.host)


async def ports_are_open(case: Case) -> None:
    """Somebody accepts connections at the tiers' addresses, and over TLS shows a certificate that is good here."""
    for table, dial in case.tiers.items():
        await _connect(f"{table}.target", *dial.address)
        if dial.tls is not None:
            await _shake_hands(table, dial, dial.tls)


async def tiers_answer(case: Case) -> None:
    """The tiers speak our protocol, take this device, and serve this bundle."""
    with Bundle.open(case.settings.bundle) as bundle:
        hello = Hello(case.settings.name, (bundle.digest,))
    for table, dial in case.tiers.items():
        await _greet(table, dial, hello, case.environment.greeting_s)


async def sinks_are_reachable(case: Case) -> None:
    """Somebody accepts connections where webhooks lead to, and where brokers should be."""
    for number, sink in enumerate(case.settings.sinks):
        if isinstance(sink, WebhookSettings):
            parts = urlsplit(sink.url)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
            await _addresses(f"sinks.{number}.url", host)
            await _connect(f"sinks.{number}.url", host, port)
        elif isinstance(sink, MqttSettings):
            host, port = sink.address
            await _addresses(f"sinks.{number}.target", host)
            await _connect(f"sinks.{number}.target", host, port)


async def _addresses(key: str, host: str) -> None:
    try:
        async with asyncio.timeout(NAME_S):
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError as exc:
        raise Fault(f"{key}: the name server did not answer for {host!r}", "check the network and its DNS") from exc
    except (OSError, UnicodeError) as exc:
        raise Fault(f"{key}: the name {host!r} is not known ({exc})", "check its spelling and the DNS") from exc


async def _connect(key: str, host: str, port: int) -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
    except TimeoutError as exc:
        raise Fault(
            f"{key}: {host} port {port} did not answer in {CONNECT_S:g} s",
            "check cable, route and firewall",
        ) from exc
    except ConnectionRefusedError as exc:
        raise Fault(
            f"{key}: nobody listens on {host} port {port}", "start the program there, or correct the port"
        ) from exc
    except OSError as exc:
        raise Fault(f"{key}: {host} port {port} cannot be reached: {exc}", "check network and address") from exc


async def _shake_hands(table: str, dial: Dial, tls: CallerTls) -> None:
    host, port = dial.address
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=tls.server_name or host
            )
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            await writer.drain()
            first = await reader.read(9)  # in TLS 1.3 a caller that is turned away learns it only now
            writer.close()
        if not first:
            raise Fault(
                f"{table}: {dial.target} closed the connection after the handshake: it does not take this device's "
                "certificate",
                f"enrol this device at the authority that {table} trusts, or lift its revocation",
            )
    except TimeoutError as exc:
        raise Fault(f"{table}: {dial.target} did not answer in TLS", "check what listens there") from exc
    except ssl.SSLCertVerificationError as exc:
        raise Fault(*_of_verification(table, dial, tls, exc)) from exc
    except ssl.SSLError as exc:
        raise Fault(*_of_handshake(table, dial, exc)) from exc
    except OSError as exc:
        raise Fault(
            f"{table}: {dial.target} broke the connection in the handshake ({exc})", "check what listens there"
        ) from exc


def _of_verification(table: str, dial: Dial, tls: CallerTls, exc: ssl.SSLCertVerificationError) -> tuple[str, str]:
    told = exc.verify_message
    if "mismatch" in told:
        shown = tls.server_name or dial.address.host
        return f"{table}: the certificate of {dial.target} is not for {shown!r}", f"set {table}.tls.server_name"
    if "expired" in told:
        return f"{table}: the certificate of {dial.target} has expired", "renew it at the tier"
    return (
        f"{table}: the certificate of {dial.target} is not from the authority in {table}.tls.ca ({told})",
        f"name the authority that made the tier's certificate in {table}.tls.ca",
    )


def _of_handshake(table: str, dial: Dial, exc: ssl.SSLError) -> tuple[str, str]:
    reason = exc.reason or str(exc)
    if "WRONG_VERSION_NUMBER" in reason or "UNEXPECTED_EOF" in reason or "RECORD_LAYER" in reason:
        return f"{table}: {dial.target} does not speak TLS", f"remove [{table}.tls], or give the tier its certificate"
    return (
        f"{table}: {dial.target} does not take this device's certificate ({reason.lower()})",
        f"enrol this device at the authority that the {table} trusts",
    )


async def _greet(table: str, dial: Dial, hello: Hello, limit_s: float) -> None:
    """Open a stream and wait for the welcome."""
    said: asyncio.Queue[ClientEvent] = asyncio.Queue()
    client = FrameClient(dial, hello, said.put_nowait)
    async with client:
        try:
            async with asyncio.timeout(limit_s):
                event = await said.get()
        except TimeoutError as exc:
            raise Fault(*_of_silence(table, dial, client.reason)) from exc
        if isinstance(event, Refused):
            why = f"{event.refusal.code.name.lower()}: {event.refusal.detail}"
            raise Fault(f"the {table} at {dial.target} turns this device away ({why})", f"see the log of the {table}")
        welcome = client.welcome
    if welcome is not None and not set(hello.bundles) & set(welcome.bundles):
        served = ", ".join(one.hex()[:16] for one in welcome.bundles) or "none"
        raise Fault(
            f"the {table} at {dial.target} does not serve this device's bundle {hello.bundles[0].hex()[:16]} "
            f"(it serves {served})",
            f"add the bundle to the settings of the {table}, or set another bundle here",
        )


def _of_silence(table: str, dial: Dial, reason: str) -> tuple[str, str]:
    if dial.tls is None:
        return (
            f"what listens at {dial.target} is no tier without TLS ({reason})",
            f"correct {table}.target, or add [{table}.tls] if the tier has certificates",
        )
    return f"the {table} at {dial.target} did not greet: {reason}", f"correct {table}.target"

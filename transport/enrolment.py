"""Enrolment over the network: a device shows a one-time token and gets a certificate. Both ends.

Its own port, for here callers have no certificate yet: TLS with the tier's certificate only, one unary call
`isthmus.v1.Enrolment/Enrol`, messages of at most 16 KiB. The token file names the tier, and carries the authority's
certificate, so the device knows whom it speaks to from its first byte.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated, Any, Final

import grpc
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol import isthmus_pb2 as pb
from transport.address import Address, Target
from transport.authority import SECRET_BYTES, Authority, signing_request, write_secret
from transport.errors import AddressUnusable, EnrolmentFailed, EnrolmentRefused

SERVICE: Final = "isthmus.v1.Enrolment"
METHOD: Final = f"/{SERVICE}/Enrol"
MAX_BYTES: Final = 16 << 10
TIMEOUT_S: Final = 20.0
_CONCURRENT: Final = 16

_log = logging.getLogger(__name__)


class Token(BaseModel):
    """What a device is handed, as a JSON file. Whoever has it can enrol once in that name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Target
    """Where to enrol."""
    name: str
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    authority: str
    """Certificate, PEM."""

    @classmethod
    def read(cls, path: Path) -> Token:
        """Read a token's file.

        Raises:
            EnrolmentFailed: not there, or no token.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as exc:
            raise EnrolmentFailed(f"{str(path)!r} is no readable token; ask for one: isthmus enroll token") from exc


class EnrolmentServer:
    """Answers enrolments from an authority.

    Args:
        authority: signs and keeps the tokens.
        host: where to listen.
        hosts: names and addresses under which devices reach this.
    """

    def __init__(self, authority: Authority, host: str, hosts: list[str], port: int = 0) -> None:
        self._authority = authority
        self._host = host
        self._pair = authority.tier("enrolment", hosts)
        self._server: grpc.aio.Server | None = None
        self._turn = asyncio.Lock()
        self.port = port

    async def start(self) -> None:
        """Bind and accept.

        Raises:
            AddressUnusable: the address cannot be bound.
        """
        limits = [
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", 60_000),
            ("grpc.compression_enabled_algorithms_bitset", 1),
        ]
        server = grpc.aio.server(options=limits, maximum_concurrent_rpcs=_CONCURRENT)
        handler = grpc.unary_unary_rpc_method_handler(self._enrol)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Enrol": handler}),))
        try:
            self.port = server.add_secure_port(
                str(Address(self._host, self.port)), grpc.ssl_server_credentials([self._pair])
            )
        except RuntimeError as exc:
            raise AddressUnusable(self._host, self.port, str(exc)) from exc
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            await self._server.stop(grace=None)

    async def _enrol(self, data: bytes, context: Any) -> bytes:
        try:
            asked = pb.EnrolRequest.FromString(data)
            if len(asked.secret) != SECRET_BYTES:
                raise EnrolmentRefused("this is no token; ask for one")
            async with self._turn:
                certificate = await asyncio.to_thread(self._authority.enrol, asked.secret, asked.request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is none of isthmus.v1")
        except EnrolmentRefused as exc:
            _log.warning("an enrolment from %s was refused: %s", context.peer(), exc)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(exc))
        _log.info("a device at %s has enrolled", context.peer())
        return bytes(pb.EnrolReply(certificate=certificate).SerializeToString())


def make_token(authority: Authority, name: str, tier: str, hours: float) -> Token:
    """A new token for a device.

    Raises:
        EnrolmentRefused: the name is none that a certificate may carry.
    """
    secret = authority.token(name, hours).hex()
    return Token(tier=tier, name=name, secret=secret, authority=authority.pem.decode())


async def enrol(token: Token, folder: Path) -> None:
    """Get a certificate, and write `device.key`, `device.pem` and `ca.pem` into a folder.

    The private key is made here and never leaves.

    Raises:
        EnrolmentFailed: the tier cannot be reached, is not the one of the token, or refuses; or the folder has a key.
    """
    if (folder / "device.key").exists():
        raise EnrolmentFailed(f"{str(folder)!r} has a device.key already; name another folder, or remove it")
    key, request = signing_request()
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MAX_BYTES)]
    trusted = grpc.ssl_channel_credentials(token.authority.encode())
    message = pb.EnrolRequest(secret=bytes.fromhex(token.secret), request=request).SerializeToString()
    try:
        async with grpc.aio.secure_channel(token.tier, trusted, options=options) as channel:
            data = await channel.unary_unary(METHOD)(message, timeout=TIMEOUT_S, wait_for_ready=False)
        certificate = pb.EnrolReply.FromString(data).certificate
    except grpc.aio.AioRpcError as exc:
        raise EnrolmentFailed(f"{token.tier} did not enrol this device: {exc.details()}") from exc
    except DecodeError as exc:
        raise EnrolmentFailed(f"{token.tier} gave no certificate; is it an enrolment server of isthmus?") from exc
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_secret(folder / "device.key", key)
        (folder / "device.pem").write_bytes(certificate)
        (folder / "ca.pem").write_text(token.authority)
    except OSError as exc:
        raise EnrolmentFailed(f"the certificate cannot be kept in {str(folder)!r}: {exc.strerror}") from exc


def write_token(token: Token, path: Path) -> None:
    """Write a token's file, for its owner only.

    Raises:
        EnrolmentFailed: the file is there already, or cannot be written.
    """
    try:
        write_secret(path, json.dumps(token.model_dump(), indent=1).encode() + b"\n")
    except OSError as exc:
        raise EnrolmentFailed(f"the token cannot be written to {str(path)!r}: {exc.strerror}") from exc

"""The control plane as a device sees it: HTTP requests that block, for threads."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from device.errors import DeviceError
from device.updates.settings import ControlSettings

ANSWER_S: Final = 30.0
"""The longest silence, besides what was asked to wait."""
MAX_ANSWER_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 18


class ControlPlaneError(DeviceError):
    """The control plane cannot be reached, refuses this device, or answers nonsense. The agent goes on as it is."""


class ControlPlane:
    """One connection, kept open between requests. Belongs to one thread at a time, but for `close`.

    Args:
        settings: `[updates.control]`.
        name: the device's.

    Raises:
        ControlPlaneError: the TLS files cannot be read.
    """

    def __init__(self, settings: ControlSettings, name: str) -> None:
        self._prefix = f"/v1/agent/{quote(name, safe='')}"
        self._url = settings.url
        self._closed = False
        parts = urlsplit(settings.url)
        host, port = parts.hostname or "", parts.port
        if settings.tls is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
            return
        try:
            context = ssl.create_default_context(cafile=str(settings.tls.ca))
            context.load_cert_chain(settings.tls.certificate, settings.tls.key)
        except OSError as exc:
            raise ControlPlaneError(f"updates.control.tls cannot be read: {exc}; enrol again") from exc
        self._connection = http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)

    def register(self, model_id: str, capabilities: Mapping[str, Any]) -> None:
        """Say what this device is.

        Raises:
            ControlPlaneError: it was not heard.
        """
        self._ask("PUT", "/registration", {"model_id": model_id, "capabilities": dict(capabilities)})

    def desired(self, etag: str, wait_s: float) -> dict[str, Any]:
        """What this device is to be like: when that is not what `etag` names, or after a while. Raises likewise."""
        path = f"/desired?etag={quote(etag)}&wait_s={wait_s:g}"
        found: dict[str, Any] = json.loads(self._ask("GET", path, wait_s=wait_s))
        return found

    def report(self, told: Mapping[str, Any]) -> None:
        """Tell how this device is. Raises likewise."""
        self._ask("POST", "/report", told)

    def fetch(self, digest: str, size: int, part: Path) -> None:
        """Bring the zip of a bundle into a file, going on where an earlier try ended; synced when this returns.

        It is no more than bytes yet: whoever uses it verifies it first. Raises likewise.
        """
        have = part.stat().st_size if part.exists() else 0
        if have > size:
            part.unlink()
            have = 0
        if have < size:
            self._fetch(digest, size, part, have)
        if part.stat().st_size != size:
            raise ControlPlaneError(f"{self._url} sent {part.stat().st_size} of the {size} bytes of bundle {digest}")

    def close(self) -> None:
        """Ask no more. A request that waits in another thread ends with an error."""
        self._closed = True
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _fetch(self, digest: str, size: int, part: Path, have: int) -> None:
        try:
            self._connection.request("GET", f"{self._prefix}/bundles/{digest}", headers={"Range": f"bytes={have}-"})
            answer = self._connection.getresponse()
            if answer.status not in (200, 206):
                raise ControlPlaneError(_refusal(self._url, answer, answer.read(MAX_ANSWER_BYTES)))
            with part.open("ab" if answer.status == 206 else "wb") as file:
                while file.tell() < size and (chunk := answer.read(min(_CHUNK_BYTES, size - file.tell()))):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, wait_s: float = 0.0) -> bytes:
        """Ask; once more on a new connection, if the one that was kept open turns out to be gone."""
        kept = self._connection.sock is not None
        try:
            return self._asked(method, path, body, wait_s)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as exc:
            self._connection.close()
            if self._closed or not kept:
                raise self._unreachable(exc) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc
        try:
            return self._asked(method, path, body, wait_s)
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, wait_s: float) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        if self._connection.sock is not None:
            self._connection.sock.settimeout(ANSWER_S + wait_s)
        self._connection.timeout = ANSWER_S + wait_s
        self._connection.request(method, self._prefix + path, data, headers)
        answer = self._connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES)
        if not 200 <= answer.status < 300:
            raise ControlPlaneError(_refusal(self._url, answer, content))
        return content

    def _unreachable(self, exc: Exception) -> ControlPlaneError:
        self._connection.close()
        return ControlPlaneError(f"the control plane {self._url} cannot be reached: {exc}; check updates.control.url")


def _refusal(url: str, answer: http.client.HTTPResponse, content: bytes) -> str:
    try:
        reason = str(json.loads(content)["error"])[:500]
    except (ValueError, KeyError, TypeError):
        reason = "it gave no reason"
    return f"the control plane {url} answered {answer.status}: {reason}"

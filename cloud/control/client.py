"""The control plane from the other side: what `isthmus fleet` asks it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from cloud.control.errors import ControlUnreachable, Refused

TIMEOUT_S = 60.0


class Client:
    """Asks one control plane in the name of a token.

    Args:
        url: `http://127.0.0.1:7300`, or `https://...`.
        token: see `isthmus fleet token`.
        authority: certificate (PEM) of the authority that signed the control plane's; None trusts the system's.

    Raises:
        ControlUnreachable: the certificate cannot be read.
    """

    def __init__(self, url: str, token: str, authority: Path | None = None) -> None:
        self._url = url
        verify: ssl.SSLContext | bool = False  # without TLS there is nothing to check, and loading roots takes time
        if url.startswith("https:"):
            try:
                verify = ssl.create_default_context(cafile=None if authority is None else str(authority))
            except OSError as exc:
                raise ControlUnreachable(f"{str(authority)!r} is no readable certificate: {exc.strerror}") from exc
        self._http = httpx.Client(
            base_url=url, verify=verify, timeout=TIMEOUT_S, headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )  # fmt: skip

    def get(self, path: str, **query: str | int) -> Any:
        """What lies there.

        Raises:
            Refused: the control plane says no; the sentence is its own.
            ControlUnreachable: it does not answer.
        """
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Do something. Raises as `get`."""
        return self._ask("POST", path, json=dict(body))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Set something. Raises as `get`."""
        return self._ask("PUT", path, json=dict(body))

    def delete(self, path: str) -> None:
        """Remove something. Raises as `get`."""
        self._ask("DELETE", path)

    def publish(self, archive: Path) -> Any:
        """Send the zip of a bundle. Raises as `get`."""
        with archive.open("rb") as file:
            return self._ask("PUT", "/v1/bundles", content=file)

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _ask(self, method: str, path: str, **rest: Any) -> Any:
        try:
            answer = self._http.request(method, path, **rest)
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            raise ControlUnreachable(
                f"no control plane answers at {self._url}: {exc}; start it with isthmus control, or name it with --at"
            ) from exc
        if answer.is_success:
            return answer.json() if answer.content else None
        raise Refused(_reason(answer))


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the control plane answered {answer.status_code} {answer.reason_phrase}"

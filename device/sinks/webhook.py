"""Answers by HTTP: at least once, in arrays, with the keys in them for the receiver to tell repeats by."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from device.errors import SinkError
from device.sinks.sink import Delivery


class Webhook:
    """POSTs a JSON array of answers; any 2xx takes them all. Redirects are not followed.

    Args:
        url: http or https.
        headers: sent along, for a token.
        timeout_s: for a whole exchange's silence.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", "User-Agent": "isthmus", **headers}
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def put(self, deliveries: Sequence[Delivery]) -> None:
        body = ("[" + ",".join(delivery.to_json() for delivery in deliveries) + "]").encode()
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1 << 16)
        except urllib.error.HTTPError as exc:
            with exc:
                raise SinkError(f"{self._url} answered {exc.code} {exc.reason}; check the receiver") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise SinkError(f"{self._url} did not take answers: {exc}; check that it is reachable") from exc

    def close(self) -> None:
        """Nothing is held open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A redirect is an error: answers and tokens go to the address that was set and nowhere else."""

"""What tiers tell about their queues and batches, at their doors for operators."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from transport.settings import Dial

TIMEOUT_S: Final = 1.0
BATCHES: Final = 10


@dataclass(frozen=True, slots=True)
class TierNow:
    """A tier at this moment."""

    name: str
    trouble: str
    """Why nothing is known; empty if something is."""
    figures: Mapping[str, Any]
    """`queued`, `wait_s`, `taken`, `refused`, `late`, ...: plain values, by the tier's own names."""
    batches: list[Mapping[str, Any]]
    """The last ones, the newest first: `step`, `size`, `waited_s`, `took_s`, `why`."""


def look(tiers: Mapping[str, int | Dial]) -> list[TierNow]:
    """Ask each tier; one that does not answer at once is told as such. Blocks, for a second each at most."""
    return [_ask(name, tier) for name, tier in tiers.items()]


def _ask(name: str, tier: int | Dial) -> TierNow:
    dial = Dial(target=f"127.0.0.1:{tier}") if isinstance(tier, int) else tier
    named = {} if dial.tls is None or dial.tls.server_name is None else {"sni_hostname": dial.tls.server_name}
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=_shown_to(dial)) as client:
            answer = client.get(f"{'http' if dial.tls is None else 'https'}://{dial.target}/batching", extensions=named)
        answer.raise_for_status()
        told = answer.json()
    except (httpx.HTTPError, OSError, ValueError) as exc:
        return TierNow(name, f"it does not answer at {dial.target} ({exc}); is [operations] in its settings?", {}, [])
    if not isinstance(told, dict):
        return TierNow(name, f"what answers at {dial.target} is no tier", {}, [])
    figures = {key: value for key, value in told.items() if isinstance(value, int | float | str)}
    return TierNow(name, "", figures, list(_batches(told.get("last", []))))


def _shown_to(dial: Dial) -> ssl.SSLContext | bool:
    """Our certificate, and whom we trust to be the tier; False where there is no TLS, and so nothing to check.

    Raises:
        OSError: a file cannot be read, or is none of its kind.
    """
    if dial.tls is None:
        return False
    context = ssl.create_default_context(cafile=str(dial.tls.ca))
    context.load_cert_chain(dial.tls.certificate, dial.tls.key)
    return context


def _batches(told: Any) -> Iterable[Mapping[str, Any]]:
    rows = told if isinstance(told, list) else []
    return [row for row in rows if isinstance(row, dict)][:BATCHES]

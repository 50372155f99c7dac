"""What tiers on this machine tell about their queues and batches, at their doors for operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

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


def look(ports: Mapping[str, int]) -> list[TierNow]:
    """Ask each tier; one that does not answer at once is told as such. Blocks, for a second each at most."""
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=False) as client:
        return [_ask(client, name, port) for name, port in ports.items()]


def _ask(client: httpx.Client, name: str, port: int) -> TierNow:
    try:
        answer = client.get(f"http://127.0.0.1:{port}/batching")
        answer.raise_for_status()
        told = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        return TierNow(name, f"it does not answer at port {port} ({exc}); is [operations] in its settings?", {}, [])
    if not isinstance(told, dict):
        return TierNow(name, f"what answers at port {port} is no tier", {}, [])
    figures = {key: value for key, value in told.items() if isinstance(value, int | float | str)}
    return TierNow(name, "", figures, list(_batches(told.get("last", []))))


def _batches(told: Any) -> Iterable[Mapping[str, Any]]:
    rows = told if isinstance(told, list) else []
    return [row for row in rows if isinstance(row, dict)][:BATCHES]

"""A sender of durable frames: what the agent has acknowledged must be answered, whatever happens to the agent."""

from __future__ import annotations

import http.client
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_PATIENCE_S: Final = 1.0


class Sender:
    """Pushes items in turn. Keys end with the number of their item.

    Args:
        items: each [1, ...].
    """

    def __init__(self, items: Sequence[NDArray[Any]]) -> None:
        self.acknowledged: set[str] = set()
        self.sent = 0
        self._bodies = [_npy(item[0]) for item in items]

    def push(self, port: int) -> None:
        """Send the next item; where nobody answers, it is given up, for nothing was promised."""
        number, self.sent = self.sent, self.sent + 1
        item = number % len(self._bodies)
        key = f"pushed-{number}-{item}"
        headers = {"Content-Type": "application/x-npy", "Idempotency-Key": key}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
            try:
                connection.request("POST", "/frames", self._bodies[item], headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                return
        if answer.status == 202 and told["kept"]:
            self.acknowledged.add(key)


def answered(path: Path) -> set[str]:
    """Keys of the answers that a sink has committed."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path, timeout=5.0)) as database:
        try:
            return {key for (key,) in database.execute("SELECT key FROM answers")}
        except sqlite3.OperationalError:
            return set()  # the table is not there yet


def _npy(item: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, item)
    return out.getvalue()

"""`[[sinks]]`: where answers go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from device.table import Table


class _SinkTable(Table):
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Answers that may wait for this sink; the oldest ones go first beyond that."""


class JsonLinesSettings(_SinkTable):
    """A file of JSON lines."""

    kind: Literal["jsonl"]
    path: Path


class SqliteSettings(_SinkTable):
    """A table `answers` in a SQLite file."""

    kind: Literal["sqlite"]
    path: Path


class WebhookSettings(_SinkTable):
    """An HTTP receiver."""

    kind: Literal["webhook"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0


SinkSettings = Annotated[JsonLinesSettings | SqliteSettings | WebhookSettings, Field(discriminator="kind")]

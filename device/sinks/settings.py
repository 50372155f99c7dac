"""`[[sinks]]`: where answers go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from device.table import Table
from transport.address import Address, Target
from transport.settings import CallerTls


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


class MqttSettings(_SinkTable):
    """A topic of an MQTT 5 broker."""

    kind: Literal["mqtt"]
    target: Target
    """The broker's host:port."""
    topic: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^+#\x00]+$")] = "isthmus/answers"
    tls: CallerTls | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0

    @property
    def address(self) -> Address:
        """The target, taken apart."""
        return Address.read(self.target)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.tls is None and not self.address.is_near:
            raise ValueError(
                "answers would go to another machine unencrypted and the broker would not know this device; add tls = "
                '{ ca = "ca.pem", certificate = "device.pem", key = "device.key" }'
            )
        if self.tls is not None and self.tls.server_name is not None:
            raise ValueError("tls.server_name does not apply to brokers; remove it, and name the host in target")
        return self


SinkSettings = Annotated[
    JsonLinesSettings | SqliteSettings | WebhookSettings | MqttSettings, Field(discriminator="kind")
]

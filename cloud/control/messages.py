"""What travels between the control plane and whoever asks it: the schemas of its OpenAPI description."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from cloud.control.figures import BUCKETS
from cloud.control.people import Role
from cloud.control.rollouts import Rules

NAME = r"^[A-Za-z0-9._-]{1,64}$"
DIGEST = r"^[0-9a-f]{64}$"
Name = Annotated[str, Field(pattern=NAME)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Bucket = Annotated[int, Field(ge=0, lt=BUCKETS)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """Text that every database can keep: UTF-8, and no NUL."""
        text = json.dumps(value, ensure_ascii=False, default=str)
        if "\\u0000" in text or not _is_utf8(text):
            raise ValueError("a text holds a character that cannot be kept: NUL, or half a surrogate pair")
        return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Published(_Message):
    """A bundle on the shelf."""

    digest: str
    model_id: str
    counter: int
    bytes: int
    signed: bool
    """Whether a maker's signature was checked when it came."""
    accuracy: float | None
    """Of the whole model, as its manifest promises."""
    published_at: float
    published_by: str
    released: bool = False
    """Whether every device of the model is to run it."""


class Registration(_Message):
    """A device tells what it is."""

    model_id: Name
    capabilities: Annotated[dict[Annotated[str, Field(max_length=64)], JsonValue], Field(max_length=64)] = {}
    """Processor, memory, engine, version: whatever the device knows of itself."""


class WantedBundle(_Message):
    """What a device is to run."""

    digest: str
    model_id: str
    counter: int
    bytes: int
    final: bool
    """False while it is on trial: the device must be able to go back."""


class Desired(_Message):
    """What a device is to be like."""

    etag: str
    """Changes when anything below does."""
    bundle: WantedBundle | None
    """None: the one that it has."""
    policy: dict[str, JsonValue] | None
    """The table `[policy]` of a device's settings; None: its own."""


class Counts(_Message):
    """Counts of one bundle since the device began to run; see `cloud.control.figures.Figures`."""

    frames: Count = 0
    answered: Count = 0
    in_time: Count = 0
    failed: Count = 0
    known: Count = 0
    right: Count = 0
    latency: dict[Bucket, Count] = {}


class Report(_Message):
    """What a device tells every few seconds. Counts only grow within a run: a lost or doubled report does no harm."""

    run: Name
    model_id: Name
    digest: Digest
    """In force now."""
    counts: Annotated[dict[Digest, Counts], Field(max_length=16)] = {}
    refusals: Annotated[dict[Digest, Annotated[str, Field(max_length=2000)]], Field(max_length=16)] = {}
    """Bundles that were tried and refused, and why."""
    status: Annotated[dict[Annotated[str, Field(max_length=64)], JsonValue], Field(max_length=64)] = {}
    """Link, cut, level, tiers, reasons of frames without an answer: for people to look at."""


class Start(_Message):
    """Begin to roll out a bundle."""

    digest: Digest
    rules: Rules = Rules()


class TakeBack(_Message):
    """End a rollout and take the bundle back."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] = "an operator took it back"


class SetPolicy(_Message):
    """A policy of devices, or None to leave the choice to their own settings."""

    policy: dict[str, JsonValue] | None


class NewToken(_Message):
    """A token for a person or a program."""

    name: Name
    role: Role


class MadeToken(_Message):
    """Shown this once."""

    id: str
    token: str


class Invitation(_Message):
    """A device that is to be let in."""

    name: Name
    hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24.0


Json = dict[str, Any]

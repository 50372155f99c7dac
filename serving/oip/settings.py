"""`[oip]`: where a tier speaks the Open Inference Protocol, and what it takes of a caller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.scheduling.costs import MAX_SIZE
from transport.settings import Listen


class OipSettings(BaseModel):
    """Each of the two doors is there if its table is. Beyond loopback both need TLS and an authority of callers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rest: Listen | None = None
    grpc: Listen | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long a request may take that names no time of its own."""
    requests: Annotated[int, Field(ge=1, le=65536)] = 128
    """Requests that may be here and unanswered on each door: a bound on memory, with the size of a message."""
    items: Annotated[int, Field(ge=1, le=4096)] = MAX_SIZE
    """Items (the first axis) of one request."""

    @property
    def doors(self) -> Iterator[tuple[str, Listen]]:
        """Key and address of each door that is set."""
        for key, listen in (("oip.rest", self.rest), ("oip.grpc", self.grpc)):
            if listen is not None:
                yield key, listen

    def require_safe(self) -> None:
        """Refuse to serve strangers.

        Raises:
            InsecureBinding: a door is beyond loopback and has no TLS with a client CA.
        """
        for _, listen in self.doors:
            listen.require_safe()

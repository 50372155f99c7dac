"""All parts of a running control plane, handed to whoever answers a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.control.bell import Bell
from cloud.control.database import Database
from cloud.control.settings import Settings
from cloud.control.shelf import Shelf
from cloud.control.telemetry import Telemetry
from transport.admission import Revoked
from transport.authority import Authority


@dataclass(frozen=True, slots=True)
class Plane:
    """See the module.

    Attributes:
        clock: the time of day, in Unix seconds.
        authority: makes tokens for new devices; None where the settings name none.
        revoked: callers whose certificates are no longer welcome.
    """

    settings: Settings
    database: Database
    shelf: Shelf
    telemetry: Telemetry
    bell: Bell
    clock: Callable[[], float]
    authority: Authority | None = None
    revoked: Revoked | None = None
    enrolment_port: int | None = None
